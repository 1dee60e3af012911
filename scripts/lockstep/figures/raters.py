"""Agreement of several raters of the same things.

Ratings are a matrix of shape (raters, units), NaN where a rater gives none. A number that cannot be
told is None: there are too few ratings, or all of them are equal.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from lockstep.rubrics.ties import settled

Level = Literal["nominal", "ordinal", "interval"]

FEWEST = 10
"""Fewest units that two raters share for their correlation to count into a mean."""


def krippendorff_alpha(values: np.ndarray, level: Level = "interval") -> float | None:
    """Return Krippendorff's alpha: 1 is full agreement, 0 what chance gives.

    It is 1 − observed / expected disagreement over the units with at least two ratings
    (Krippendorff, Content Analysis, 2013, chapter 12). The disagreement of two values is their
    squared difference (`interval`); that of their mean ranks among all these ratings, which is
    Krippendorff's ordinal metric (`ordinal`); or 1 unless they are equal (`nominal`).

    Args:
        values: ratings of shape (raters, units), NaN where a rater gives none.
    """
    shared = values[:, (~np.isnan(values)).sum(axis=0) > 1]
    there = ~np.isnan(shared)
    every, units = shared[there], np.nonzero(there)[1]
    if not len(every) or np.ptp(every) == 0:
        return None
    counts = there.sum(axis=0)
    observed = expected = 0.0
    for column in _placed(every, level):
        away = column - (np.bincount(units, column) / counts)[units]
        # the sum of squared differences of all pairs of n values is 2n times that of deviations
        observed += float((away**2 / (counts - 1)[units] * counts[units]).sum())
        expected += float(np.var(column)) * len(every) ** 2 / (len(every) - 1)
    return 1 - observed / expected


def _placed(ratings: np.ndarray, level: Level) -> list[np.ndarray]:
    """Return columns in which squared differences are the disagreements of two ratings."""
    if level == "interval":
        return [ratings]
    if level == "ordinal":
        # it takes a second to import
        from scipy.stats import rankdata

        return [rankdata(ratings)]
    return [(ratings == value).astype(float) for value in np.unique(ratings)]


class Kappa(NamedTuple):
    """Fleiss' kappa, and what it is of."""

    value: float | None
    units: int
    ratings: int
    """Of each of these units."""


def fleiss_kappa(values: np.ndarray) -> Kappa:
    """Return Fleiss' kappa (1971), for which values are equal or not, and nothing between.

    It needs the same number of ratings of each unit, by whichever raters. Units with the most
    frequent number above one count; of two numbers as frequent, the higher one.

    Args:
        values: ratings of shape (raters, units), NaN where a rater gives none.
    """
    counts = (~np.isnan(values)).sum(axis=0)
    several = np.bincount(counts[counts > 1])
    if not len(several):
        return Kappa(None, 0, 0)
    ratings = int(len(several) - 1 - np.argmax(several[::-1]))
    chosen = values[:, counts == ratings]
    kinds = np.unique(chosen[~np.isnan(chosen)])
    table = np.array([(chosen == kind).sum(axis=0) for kind in kinds], dtype=float)
    units = table.shape[1]
    if len(kinds) == 1:
        return Kappa(None, units, ratings)
    observed = float(((table**2).sum(axis=0) - ratings).mean()) / (ratings * (ratings - 1))
    expected = float(((table.sum(axis=1) / (units * ratings)) ** 2).sum())
    return Kappa((observed - expected) / (1 - expected), units, ratings)


def deviation(values: np.ndarray) -> float | None:
    """Return the standard deviation between raters of one unit, pooled over units (ddof 1)."""
    counts = (~np.isnan(values)).sum(axis=0)
    shared = values[:, counts > 1]
    if not shared.size:
        return None
    squares = np.nansum((shared - np.nanmean(shared, axis=0)) ** 2)
    return math.sqrt(float(squares) / int((counts[counts > 1] - 1).sum()))


def spearman(one: np.ndarray, other: np.ndarray, fewest: int = FEWEST) -> float | None:
    """Return Spearman's correlation over the units that both have; None of fewer than `fewest`."""
    both = ~np.isnan(one) & ~np.isnan(other)
    first, second = one[both], other[both]
    if len(first) < max(fewest, 2) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    # it takes a second to import
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def pairwise(values: np.ndarray) -> list[float]:
    """Return Spearman's correlation of each two raters that have one."""
    found = (spearman(one, other) for one, other in combinations(values, 2))
    return [value for value in found if value is not None]


def with_others(values: np.ndarray) -> list[float | None]:
    """Return each rater's Spearman correlation with the mean of all others."""
    sums, counts = np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0)
    found = []
    for own in values:
        others = counts - ~np.isnan(own)
        rest = (sums - np.nan_to_num(own)) / np.maximum(others, 1)
        found.append(spearman(own, settled(np.where(others > 0, rest, np.nan))))
    return found


def fisher_mean(correlations: Sequence[float]) -> float | None:
    """Return the mean of correlations by Fisher's z: tanh of the mean of their artanh (1921).

    A correlation of 1 or −1 outweighs all others; both together have no mean.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.tanh(np.mean(np.arctanh(correlations))) if len(correlations) else np.nan
    return None if np.isnan(mean) else float(mean)


def means(values: np.ndarray) -> np.ndarray:
    """Return the mean rating of each unit; NaN where there is none."""
    counts = (~np.isnan(values)).sum(axis=0)
    sums = np.nansum(values, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def ceiling(correlation: float | None, counts: Sequence[int] | np.ndarray) -> float | None:
    """Return the correlation with the raters' mean that their own disagreement leaves possible.

    A judge that knew what infinitely many such raters give on average would have it: the square
    root of the mean's reliability (Spearman 1904), k r / (1 + (k − 1) r) of k ratings a unit
    (Spearman 1910, Brown 1910). None where r is not above 0.

    Args:
        correlation: r, mean of two raters' correlations.
        counts: number of ratings of each unit; k is their harmonic mean.
    """
    if correlation is None or correlation <= 0 or not len(counts):
        return None
    several = len(counts) / float(np.sum(1 / np.asarray(counts, dtype=float)))
    return math.sqrt(several * correlation / (1 + (several - 1) * correlation))
