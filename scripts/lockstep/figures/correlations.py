"""Correlations of two raters' scores, with intervals that know of clusters.

Each measure gives its value and, for each pair of scores, by how much it moves the value (the
influence function, Hampel 1974). Sums of these over clusters tell the variance, however many
edits of a sample there are.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from lockstep.figures.clusters import FEWEST, LEVEL, Labels
from lockstep.rubrics.ties import settled

AT_A_TIME = 2_000_000
"""Numbers held at a time: bounds memory and changes no result."""


class Moved(NamedTuple):
    """A correlation, and what moves it."""

    value: float
    influence: np.ndarray
    """Of each pair of scores, on the value; they add up to 0."""
    leverage: np.ndarray
    """Share of each pair in the spread of the scores, the larger one of both raters'."""


def correlations(scores: np.ndarray, clusters: Labels) -> dict[str, Any]:
    """Return how two raters' scores go together.

    An interval is Student's on Fisher's z (1921), with the jackknife's variance over clusters as
    HC3 approximates it (MacKinnon and White 1985): each cluster's influence divided by 1 − its
    leverage. Degrees of freedom are 2 (Σu²)² / Σu⁴ of the clusters' influences u, Satterthwaite's
    (1946) of a sum of squares whose variance is Σu⁴; so a few clusters that decide the variance
    make the interval wide.

    Args:
        scores: of shape (edits, 2), all of them there.
        clusters: of each edit; edits of one sample, or of one source image, are a cluster.

    Returns:
        `count` of edits, `clusters`, and for each of `MEASURES` its value (None of fewer than three
        edits, or where one rater gives all the same) and `…_ci95`, `[low, high]` (None also with
        fewer than `FEWEST` clusters, and where the raters agree to the full or all clusters say the
        same).
    """
    pairs = settled(scores)
    names: dict[Hashable, int] = {}
    codes = np.array([names.setdefault(name, len(names)) for name in clusters], dtype=int)
    row: dict[str, Any] = {"count": len(pairs), "clusters": len(names)}
    for name, measure in MEASURES.items():
        row[name], row[f"{name}_ci95"] = _with_interval(pairs, codes, measure)
    return row


def _with_interval(
    pairs: np.ndarray, codes: np.ndarray, measure: Callable[..., Moved]
) -> tuple[float | None, list[float] | None]:
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None, None
    found = measure(*pairs.T)
    value = float(np.clip(found.value, -1, 1))
    count = int(codes.max()) + 1
    if count < FEWEST or abs(value) > 1 - 1e-12:
        return value, None
    from scipy.special import stdtrit

    moved = np.bincount(codes, found.influence) / len(pairs) / (1 - value**2)
    if (moved**2).sum() < 1e-18:
        return value, None
    freedom = 2 * (moved**2).sum() ** 2 / (moved**4).sum()
    leverage = np.minimum(np.bincount(codes, found.leverage), 1 - 1 / count)
    error = np.sqrt(((moved / (1 - leverage)) ** 2).sum())
    half = stdtrit(min(freedom, count - 1), 1 - LEVEL / 2) * error
    return value, [float(np.tanh(np.arctanh(value) + side * half)) for side in (-1, 1)]


def pearson(x: np.ndarray, y: np.ndarray) -> Moved:
    """Return the linear correlation."""
    return _linear(x - x.mean(), y - y.mean(), 0, 0, 0)


def spearman(x: np.ndarray, y: np.ndarray) -> Moved:
    """Return the linear correlation of ranks, ties sharing their mean rank.

    A pair also moves the ranks of all others.
    """
    (r, above_x), (s, above_y) = _ranks(x), _ranks(y)
    return _linear(r, s, above_x(s) + above_y(r), 2 * above_x(r), 2 * above_y(s))


def kendall(x: np.ndarray, y: np.ndarray) -> Moved:
    """Return tau-b: concordant less discordant pairs, over the geometric mean of those untied."""
    count = len(x)
    agree = _concordant(x, y) / count
    untied = [1 - _equal(values) / count for values in (x, y)]
    scale = np.sqrt(untied[0].mean() * untied[1].mean())
    value = agree.mean() / scale
    shares = sum(own / own.mean() - 1 for own in untied)
    influence = 2 * ((agree - agree.mean()) / scale - value / 2 * shares)
    return Moved(float(value), influence, np.full(count, 1 / count))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], Moved]] = {
    "spearman": spearman,
    "kendall": kendall,
    "pearson": pearson,
}


def _linear(x: np.ndarray, y: np.ndarray, both: Any, first: Any, second: Any) -> Moved:
    """Return the correlation of centred values.

    Args:
        both, first, second: what each pair adds by moving other pairs' values, in xy, x² and y².
    """
    xx, yy = (x * x).mean(), (y * y).mean()
    value = (x * y).mean() / np.sqrt(xx * yy)

    def moved(own: np.ndarray, scale: float) -> np.ndarray:
        return (own - own.mean()) / scale

    influence = moved(x * y + both, np.sqrt(xx * yy))
    influence -= value / 2 * (moved(x * x + first, xx) + moved(y * y + second, yy))
    leverage = np.maximum(x * x / xx, y * y / yy) / len(x)
    return Moved(float(value), influence, leverage)


def _ranks(values: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return centred ranks from −½ to ½, and what sums others' numbers above each value.

    The latter is the mean over all pairs of a number where the value is larger, half of it where
    it is equal.
    """
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = ((np.cumsum(counts) - counts / 2) / len(values) - 0.5)[codes]

    def above(numbers: np.ndarray) -> np.ndarray:
        sums = np.bincount(codes, numbers)
        return np.asarray(((sums.sum() - np.cumsum(sums) + sums / 2) / len(values))[codes])

    return ranks, above


def _equal(values: np.ndarray) -> np.ndarray:
    """Return of each value how many are equal."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[codes])


def _concordant(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return of each pair how many others are concordant with it, less those discordant."""
    rows, columns = (np.unique(values, return_inverse=True)[1] for values in (x, y))
    width = int(columns.max()) + 1
    order = np.argsort(rows, kind="stable")
    every = np.bincount(columns, minlength=width)
    # so far, by y: those of smaller x
    smaller = np.zeros(width)
    found = np.empty(len(x))
    most = max(1, AT_A_TIME // width)
    for start in range(0, int(rows.max()) + 1, most):
        first, last = np.searchsorted(rows[order], [start, start + most])
        own = order[first:last]
        height = int(rows[own].max()) - start + 1
        cells = (rows[own] - start) * width + columns[own]
        table = np.bincount(cells, minlength=height * width).reshape(height, width)
        up_to = smaller + np.cumsum(table, axis=0)
        # of smaller x less of larger x, and of these those of smaller y less of larger y
        less = (up_to - table) - (every - up_to)
        signs = 2 * np.cumsum(less, axis=1) - less - less.sum(axis=1, keepdims=True)
        found[own] = signs.ravel()[cells]
        smaller = up_to[-1]
    return found
