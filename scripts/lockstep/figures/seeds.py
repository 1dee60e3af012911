"""Several seeds a sample: what they tell together, and how many it takes to tell editors apart.

A score is taken for x = μ + s + e with a part s of the sample and a part e of the seed. Seeds of
one sample tell the variance of e, the means of samples that of s.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lockstep.figures import tables
from lockstep.records.columns import NUMBERS

LEVEL, POWER = 0.05, 0.8
"""Of a two-sided test, and how often it finds a difference that is there."""

SEEDS = (1, 2, 3, 5, 10)
SAMPLES = (100, 270, 500, 1000)
"""Numbers of seeds and samples that the table of detectable differences is of."""


class Spread(NamedTuple):
    """How scores differ, as variances."""

    within: float
    """Between seeds of one sample."""
    between: float
    """Between samples, without what seeds add to their means."""


def averaged(
    frames: Sequence[pd.DataFrame], headlines: Sequence[pd.Series]
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the first seed's table and headline numbers with means over all seeds in them.

    A mean is over the seeds that have a score; a sample without any keeps the first seed's row.

    Args:
        frames: table of each seed, of the same category.
        headlines: the number of each of their rows that editors are ranked by.
    """
    first = frames[0]
    names = [*NUMBERS, *tables.criteria(first)]
    every = pd.concat(
        [
            frame.assign(headline=headline)[frame["status"] == "ok"]
            for frame, headline in zip(frames, headlines, strict=True)
        ]
    )
    means = every.groupby("id")[[*names, "headline"]].mean().reindex(first["id"])
    means.index = first.index
    scored = every.drop_duplicates("id").set_index("id").reindex(first["id"]).set_index(first.index)
    some = scored["status"].notna()
    whole = first.copy()
    # who failed with the first seed takes what it is from the first that did not
    columns = [name for name in first if name not in (*names, "id")]
    # a column of texts that is empty in the first table alone was read as one of numbers
    empty = [name for name in columns if whole[name].isna().all()]
    whole = whole.astype(dict.fromkeys(empty, object))
    whole.loc[some, columns] = scored.loc[some, columns]
    whole.loc[some, names] = means.loc[some, names]
    return whole, means["headline"]


def values(frames: Sequence[pd.DataFrame], headlines: Sequence[pd.Series]) -> pd.DataFrame:
    """Return the headline number of each sample (row) and seed (column), NaN where there is none.

    Arguments are those of `averaged`.
    """
    own = [
        headline.where(frame["status"] == "ok").set_axis(frame["id"])
        for frame, headline in zip(frames, headlines, strict=True)
    ]
    return pd.concat(own, axis=1, keys=range(len(own)))


def spread(scores: np.ndarray) -> Spread | None:
    """Tell the spread within samples from that between them, by a one-way analysis of variance.

    Args:
        scores: of shape (samples, seeds), NaN where there is none.

    Returns:
        None without two samples, or without a sample with two scores.
    """
    scores = scores[~np.isnan(scores).all(axis=1)]
    counts = (~np.isnan(scores)).sum(axis=1)
    freedom = (counts - 1).sum()
    if len(scores) < 2 or not freedom:
        return None
    means = np.nanmean(scores, axis=1)
    within = float(np.nansum((scores - means[:, None]) ** 2) / freedom)
    between = float(means.var(ddof=1) - within * np.mean(1 / counts))
    return Spread(within, max(0.0, between))


def best(scores: np.ndarray) -> np.ndarray:
    """Return each sample's best score, of the samples that have one; arguments as above."""
    return np.nanmax(scores[~np.isnan(scores).all(axis=1)], axis=1)


def power(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any] | None:
    """Return which differences of two editors could be found, and with how many samples and seeds.

    The paired difference over N samples with n seeds of each editor has the variance
    (b + w / n) / N. Here w is the sum of both editors' variances within samples, and b the variance
    of their samples' differences without what the seeds add. A two-sided test at 5% finds a
    difference of (1.96 + 0.84) standard errors in 80% of all cases.

    Args:
        first: as from `values`, of all categories.

    Returns:
        `samples` that both have, the `difference` of their means, `within_std` and `between_std`,
        `detectable` by number of samples, a list over `SEEDS`, and `needed` samples to find this
        difference, over `SEEDS` too; None where no seeds can be compared.
    """
    both = first.dropna(how="all").index.intersection(second.dropna(how="all").index)
    one, two = (own.loc[both].to_numpy(dtype=float) for own in (first, second))
    spreads = spread(one), spread(two)
    if spreads[0] is None or spreads[1] is None:
        return None
    apart = np.nanmean(one, axis=1) - np.nanmean(two, axis=1)
    added = sum(
        own.within * float(np.mean(1 / (~np.isnan(scores)).sum(axis=1)))
        for own, scores in ((spreads[0], one), (spreads[1], two))
    )
    within = spreads[0].within + spreads[1].within
    between = max(0.0, float(apart.var(ddof=1)) - added)
    difference = float(apart.mean())
    errors = sum(map(NormalDist().inv_cdf, (1 - LEVEL / 2, POWER)))
    variances = [between + within / seeds for seeds in SEEDS]
    counts = sorted({*SAMPLES, len(both)})
    return {
        "samples": len(both),
        "difference": difference,
        "within_std": math.sqrt(within),
        "between_std": math.sqrt(between),
        "detectable": {
            str(count): [errors * math.sqrt(variance / count) for variance in variances]
            for count in counts
        },
        "needed": [
            math.ceil(variance * (errors / difference) ** 2) if difference else None
            for variance in variances
        ],
    }
