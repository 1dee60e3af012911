"""Agreement of two raters of the same edits: rank and linear correlations, with intervals."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau, pearsonr, spearmanr

from lockstep.rubrics.ties import settled

Measure = Callable[[np.ndarray, np.ndarray], Any]
"""Returns what has a `statistic`."""

MEASURES: dict[str, Measure] = {
    "spearman": spearmanr,
    "kendall": kendalltau,
    "pearson": pearsonr,
}

RESAMPLES = 1999


def fisher_mean(correlations: Sequence[float]) -> float | None:
    """Return the mean of correlations by Fisher's z: tanh of the mean of their artanh (1921).

    A correlation of 1 or −1 outweighs all others; both together have no mean.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.tanh(np.mean(np.arctanh(correlations))) if len(correlations) else np.nan
    return None if np.isnan(mean) else float(mean)


def correlations(scores: np.ndarray) -> dict[str, Any]:
    """Return how two raters' scores go together.

    Args:
        scores: of shape (edits, 2), all of them there.

    Returns:
        `count` of edits, and for each measure its value (Kendall's is tau-b) with a 95% interval,
        `[low, high]`, from a percentile bootstrap over the edits (Efron 1979). Both are None where
        too few edits or too equal scores give none.
    """
    pairs = settled(scores)
    row: dict[str, Any] = {"count": len(pairs)}
    for name, measure in MEASURES.items():
        row[name], row[f"{name}_ci95"] = _with_interval(pairs, measure)
    return row


def _with_interval(pairs: np.ndarray, measure: Measure) -> tuple[float | None, list[float] | None]:
    value = _correlation(pairs, measure)
    if value is None or len(pairs) < 4:
        return value, None
    generator = np.random.default_rng(0)
    drawn = (generator.integers(len(pairs), size=len(pairs)) for _ in range(RESAMPLES))
    values = [v for rows in drawn if (v := _correlation(pairs[rows], measure)) is not None]
    return value, [float(bound) for bound in np.percentile(values, [2.5, 97.5])]


def _correlation(pairs: np.ndarray, measure: Measure) -> float | None:
    """Return a correlation; None where one side is constant or there are fewer than three."""
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    return float(measure(pairs[:, 0], pairs[:, 1]).statistic)
