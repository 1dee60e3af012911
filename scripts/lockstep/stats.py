"""Summaries of scores. A failed sample has no score: it lowers coverage and moves no mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu

RESAMPLES = 9999


def summarise(scores: Sequence[float], samples: int) -> dict[str, Any]:
    """Summarise the scores of the samples that have one.

    Args:
        scores: 0 to 10.
        samples: all samples, scored or not.

    Returns:
        `mean, std, median, min, max, ci95` (None where there is nothing to say), `count` of
        scored samples, `failed`, and `coverage` = count / samples. `std` is the population's
        (ddof 0), `ci95` the BCa bootstrap interval of the mean (Efron 1987, as in scipy).
    """
    values = np.asarray(scores, dtype=float)
    some = len(values) > 0
    return {
        "mean": float(values.mean()) if some else None,
        "std": float(values.std()) if some else None,
        "median": float(np.median(values)) if some else None,
        "min": float(values.min()) if some else None,
        "max": float(values.max()) if some else None,
        "count": len(values),
        "failed": samples - len(values),
        "coverage": len(values) / samples if samples else None,
        "ci95": _interval(values),
    }


def overall(categories: Mapping[str, Sequence[float]], samples: int) -> dict[str, dict[str, Any]]:
    """Summarise over samples (micro) and over the categories' means (macro).

    `macro` has no numbers while a category has no score at all. Its count, failed and coverage
    are those of the samples.
    """
    micro = summarise([score for scores in categories.values() for score in scores], samples)
    means = [float(np.mean(scores)) for scores in categories.values() if len(scores)]
    complete = len(means) == len(categories)
    macro = summarise(means if complete else [], samples)
    counts = {key: micro[key] for key in ("count", "failed", "coverage")}
    return {"micro": micro, "macro": {**macro, **counts, "ci95": None}}


def separation(edits: Sequence[float], controls: Sequence[float]) -> dict[str, Any]:
    """Tell how well scores tell edits from controls that deserve none.

    Returns:
        `auc`, the probability that an edit scores above a control, a tie counting half (Mann and
        Whitney 1947; 0.5 is a judge that cannot tell them apart, None where one kind is missing),
        the mean of both kinds, and their counts.
    """
    both = len(edits) > 0 and len(controls) > 0
    pairs = len(edits) * len(controls)
    return {
        "auc": float(mannwhitneyu(edits, controls).statistic) / pairs if both else None,
        "mean": float(np.mean(edits)) if len(edits) else None,
        "control_mean": float(np.mean(controls)) if len(controls) else None,
        "count": len(edits),
        "controls": len(controls),
    }


def _interval(values: np.ndarray) -> list[float] | None:
    # with equal values there is nothing to resample
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    result = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
    )
    interval = [float(result.confidence_interval.low), float(result.confidence_interval.high)]
    return interval if np.isfinite(interval).all() else None
