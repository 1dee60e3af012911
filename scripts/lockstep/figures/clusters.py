"""Intervals and tests of means whose samples come in clusters.

Samples of one source image, and all edits of one sample, are a cluster: they go up and down
together, and only clusters are independent of each other. So a mean is described by what each
cluster adds to its error, and everything here works on these sums.

Scores are bounded, and the worst are often rare: of thirty good scores none may be the 0 that one
in twenty is. An interval that looks at what was seen alone then misses the truth. Therefore each
end is computed as if there were one sample more, at that end of the scale. It weighs little where
the seen scores are as far apart as it is from them, and most where all are alike.

`benchmarks/intervals.py` simulates how often intervals hold the truth.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

FEWEST = 30
"""Clusters from which on there are intervals and tests."""

FEWEST_FREEDOM = 8
"""Degrees of freedom that they must give, where some weigh much more than others."""

FEWEST_SQUARES = 4.0
"""Least degrees of freedom by the errors themselves, where one is larger than all others."""

UNSEEN = 1.2
"""Most that the sample weighs that was not seen; a seen one weighs 1."""

MOST_SKEW = 0.3
"""Skewness of a mean up to which it is corrected; that of few values is known too badly."""

LEVEL = 0.05
"""Share of intervals that may miss the truth."""

Labels = Iterable[Hashable]
"""The cluster of each value."""


class Clustered(NamedTuple):
    """A number, and what it is sure of."""

    value: float
    errors: np.ndarray
    """What each cluster adds to the value's error; their squares add up to its variance."""
    samples: int
    worth: float
    """Number of clusters of equal weight that tell as much (Kish 1965)."""
    freedom: float
    """Degrees of freedom of the variance."""

    @property
    def few(self) -> bool:
        """Whether there are too few clusters for an interval."""
        return len(self.errors) < FEWEST or self.freedom < FEWEST_FREEDOM

    @property
    def variance(self) -> float:
        return float((self.errors**2).sum())

    @property
    def alike(self) -> bool:
        """Whether all clusters say the same."""
        return self.variance < 1e-18

    @property
    def squares(self) -> float:
        """Degrees of freedom by the errors u themselves: (Σu²)² / Σu⁴, `FEWEST_SQUARES` at least.

        Satterthwaite's (1946) of as many squares.
        """
        return max(FEWEST_SQUARES, self.variance**2 / float((self.errors**4).sum()))


def mean(
    parts: Sequence[np.ndarray], labels: Sequence[Labels], macro: bool = False
) -> Clustered | None:
    """Describe the mean of several parts' values, each part drawn for itself.

    The variance is the cluster-robust one with the correction CR2 (Bell and McCaffrey 2002), which
    for a mean is √(1 − share) of a cluster in its part; degrees of freedom are Satterthwaite's
    (1946) for independent values. Of a mean over values, parts with a single cluster say nothing
    of how values differ within them: then all parts are one.

    Args:
        parts: values of each part.
        labels: clusters of each part's values; a cluster may be in several parts.
        macro: whether each part has the same weight, instead of each value.

    Returns:
        None where a part is empty, or there is none.
    """
    if not parts or not all(map(len, parts)):
        return None
    names: dict[Hashable, int] = {}
    codes = [np.array([names.setdefault(name, len(names)) for name in own]) for own in labels]
    if not macro and any(np.ptp(own) == 0 for own in codes):
        parts, codes = [np.concatenate(parts)], [np.concatenate(codes)]
    total = sum(map(len, parts))
    errors, weights, squares = np.zeros((3, len(names)))
    value, spread = 0.0, 0.0
    for part, own in zip(parts, codes, strict=True):
        weight = 1 / (len(parts) * len(part)) if macro else 1 / total
        sizes = np.bincount(own, minlength=len(names))
        share = sizes / len(part)
        sums = np.bincount(own, part - part.mean(), len(names))
        # a part of a single cluster has no sum, and no worth
        errors += weight * sums / np.sqrt(np.where(share < 1, 1 - share, 1))
        weights += weight * sizes
        squares += weight**2 * sizes
        value += weight * len(part) * part.mean()
        spread += (weight**2 * len(part)) ** 2 / max(1 / (share**2).sum() - 1, 1e-9)
    # a cluster in several parts is one
    freedom = min(squares.sum() ** 2 / spread, squares.sum() ** 2 / (squares**2).sum() - 1)
    return Clustered(float(value), errors, total, float(1 / (weights**2).sum()), float(freedom))


def interval(
    found: Clustered | None, scale: tuple[float, float], difference: bool = False
) -> list[float] | None:
    """Return the 95% interval of a mean; None where there are too few clusters.

    It is Student's with Hall's transformation for skewed values (1992). Each end of a mean of
    scores is that with one sample more (see `_unseen`).

    Args:
        scale: lowest and highest value that there can be.
        difference: whether it is the mean of differences. A few that are large decide how sure it
            is, on both sides; so degrees of freedom are at most those of the errors themselves (see
            `Clustered.squares`). The sample more is taken where all differences are alike.
    """
    if found is None or found.few:
        return None
    from scipy.special import stdtrit

    alike = found.alike
    freedom = found.freedom if alike or not difference else min(found.freedom, found.squares)
    t = float(stdtrit(freedom, 1 - LEVEL / 2))
    ends = []
    for end, quantile in zip(scale, (t, -t), strict=True):
        weight = _unseen(found, end) if alike or not difference else 0.0
        value, error, skew = _with_one_more(found, end, weight)
        if abs(skew) > 1e-6:
            quantile = 3 / skew * float(np.cbrt(1 + skew * (quantile - skew / 6)) - 1)
        ends.append(float(np.clip(value - error * quantile, *scale)))
    return ends


def p_value(found: Clustered | None, scale: tuple[float, float]) -> float | None:
    """Return the two-sided p-value that a mean is 0; None where there are too few clusters.

    Below 0.05 it needs more than an interval without 0: a sample more at the other end of the
    scale must not turn the mean, also where it is a difference. Arguments are those of `interval`.
    """
    if found is None or found.few:
        return None
    from scipy.special import stdtr

    side = -1 if found.value < 0 else 1
    end = scale[0] if side > 0 else scale[1]
    value, error, skew = _with_one_more(found, end, _unseen(found, end))
    if error == 0:
        return 1.0 if value == 0 else 0.0
    t = value / error
    t = t + skew / 3 * t**2 + skew**2 / 27 * t**3 + skew / 6
    freedom = found.freedom if found.alike else min(found.freedom, found.squares)
    return min(1.0, 2 * float(stdtr(freedom, -side * t)))


def _unseen(found: Clustered, end: float) -> float:
    """Return what a sample weighs that was not seen, at an end of the scale; a cluster weighs 1.

    It is `UNSEEN` of a sample where all values are alike, and less where they are apart: divided by
    (1 + 2 S / d²)², with d the end's distance from the value and S the sum of squared deviations of
    all clusters. S / d² is k where k clusters lie that far off and all others are alike.
    """
    distance = end - found.value
    if not distance:
        return 0.0
    seen = found.variance * found.worth * (found.worth - 1) / distance**2
    return UNSEEN * found.worth / found.samples / (1 + 2 * seen) ** 2


def _with_one_more(found: Clustered, end: float, weight: float) -> tuple[float, float, float]:
    """Return value, standard error and skewness with one more at an end of the scale."""
    distance, count, whole = end - found.value, found.worth, found.worth + weight
    variance = found.variance + distance**2 * weight / (whole * (count - 1))
    third = float((found.errors**3).sum())
    skew = np.clip(third / variance**1.5 if third else 0, -MOST_SKEW, MOST_SKEW)
    error = np.sqrt(count / whole * variance)
    return found.value + distance * weight / whole, float(error), float(skew)
