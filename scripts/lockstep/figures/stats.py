"""Summaries of scores, and comparisons of editors.

A failed sample has no score: it lowers coverage and moves no mean. Resampling is seeded, so the
same scores give the same numbers.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu, norm, permutation_test

from lockstep.rubrics.ties import settled

RESAMPLES = 9999

LARGEST = 5000
"""Most scores that are resampled; the mean of more is taken for normal (docs/report.md)."""

AT_A_TIME = 2_000_000
"""Numbers resampled at a time: bounds memory and changes no result."""

LEVEL = 0.05
"""Corrected p-value below which two editors do not share a rank."""

Scores = Sequence[float] | np.ndarray
"""Numbers of one dimension."""


class Group(NamedTuple):
    """Scores of some samples, and what became of the others."""

    scores: Scores
    failures: Mapping[str, int]
    """Samples without a score by kind."""
    skipped: int = 0
    """Samples that the editor does not take."""


def summarise(group: Group, threshold: float, scale: tuple[float, float]) -> dict[str, Any]:
    """Summarise the scores of the samples that have one.

    Args:
        threshold: score from which on a sample counts into `threshold_share`.
        scale: lowest and highest score possible.

    Returns:
        `mean, std, median, min, max` (None where there is nothing to say; std is the population's,
        ddof 0), `ci95`, the interval of the mean, and its `ci95_method` (see `mean_interval`),
        `threshold_share` of the scored samples, `count` of them, `failed` others, `failures` by
        kind, `skipped` ones, which are in no other number, `coverage` = count / (count + failed),
        and `bounds`, the means that there would be were all failed samples lowest or all highest.
    """
    values = settled(group.scores)
    failed = sum(group.failures.values())
    interval, method = mean_interval([values])
    return {
        **_location(values),
        "ci95": interval,
        "ci95_method": method,
        "threshold_share": _share(values, threshold),
        "count": len(values),
        "failed": failed,
        "failures": dict(group.failures),
        "skipped": group.skipped,
        "coverage": len(values) / (len(values) + failed) if len(values) + failed else None,
        "bounds": _bounds(values, failed, scale),
    }


def overall(
    categories: Mapping[str, Group], threshold: float, scale: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Summarise over samples (micro) and over categories, each with the same weight (macro).

    `macro` has the mean, std, median, min and max of the categories' means, the interval of their
    mean with samples drawn within each category, and the means of the categories' bounds and
    shares. Categories without samples are left out; while one with samples has no score, there is
    no mean. Its counts and coverage are those of the samples.
    """
    groups = [group for group in categories.values() if len(group.scores) or group.failures]
    parts = [settled(group.scores) for group in groups]
    failures = Counter[str]()
    for group in groups:
        failures.update(group.failures)
    every = np.concatenate(parts) if parts else np.array([])
    skipped = sum(group.skipped for group in categories.values())
    micro = summarise(Group(every, failures, skipped), threshold, scale)
    scored = parts if all(map(len, parts)) else []
    interval, method = mean_interval(scored)
    bounds = [
        _bounds(part, sum(group.failures.values()), scale)
        for part, group in zip(parts, groups, strict=True)
    ]
    shares = [_share(part, threshold) for part in scored]
    macro = {
        **micro,
        **_location(np.array([part.mean() for part in scored])),
        "ci95": interval,
        "ci95_method": method,
        "threshold_share": _mean([share for share in shares if share is not None]),
        "bounds": [_mean(ends) for ends in zip(*bounds, strict=True)] or None,
    }
    return {"micro": micro, "macro": macro}


def mean_interval(parts: Sequence[np.ndarray]) -> tuple[list[float] | None, str | None]:
    """Return the 95% interval of a mean, or of the mean of several parts' means, and its method.

    Up to `LARGEST` scores it is the BCa bootstrap's (Efron 1987, as in scipy), which draws within
    each part; above, the normal distribution's, with the standard error sqrt(Σ s²/n) / parts
    (`normal`). Both are None with a part of less than two scores, or where all scores of each part
    are equal and there is nothing to resample.
    """
    small = not parts or min(map(len, parts)) < 2
    if small or all(np.ptp(part) == 0 for part in parts):
        return None, None
    count = sum(map(len, parts))
    if count > LARGEST:
        error = _standard_error(parts)
        mean = float(np.mean([part.mean() for part in parts]))
        return [float(bound) for bound in norm.interval(0.95, mean, error)], "normal"
    result = bootstrap(
        parts,
        lambda *own, axis: sum(np.mean(part, axis=axis) for part in own) / len(own),
        n_resamples=RESAMPLES,
        method="BCa",
        batch=AT_A_TIME // count,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    interval = [float(result.confidence_interval.low), float(result.confidence_interval.high)]
    return (interval, "bca") if np.isfinite(interval).all() else (None, None)


def paired(first: Scores, second: Scores, parts: Sequence[Any] | None = None) -> dict[str, Any]:
    """Compare two editors' scores of the same samples.

    Args:
        parts: what each sample is part of; the means are then those of the parts' means.

    Returns:
        `count` of samples, `first_mean` and `second_mean`, the mean `difference` first − second
        with `ci95` and `ci95_method` (see `mean_interval`), the two-sided `p_value` that the
        difference is none, and `wins`, `ties` and `losses` of the first. The p-value is that of
        random signs (scipy's permutation test of one sample; all signs where there are no more
        than 9999), above `LARGEST` samples that of a normal mean (`p_value_method`).
    """
    one, two = settled(first), settled(second)
    differences = settled(one - two)
    labels = np.zeros(len(one)) if parts is None else np.asarray(parts)
    places = [np.flatnonzero(labels == part) for part in dict.fromkeys(labels.tolist())]

    def mean(values: np.ndarray) -> float | None:
        return _mean([values[own].mean() for own in places])

    split = [differences[own] for own in places]
    interval, method = mean_interval(split)
    p_value, p_method = _p_value(split)
    return {
        "count": len(differences),
        "first_mean": mean(one),
        "second_mean": mean(two),
        "difference": mean(differences),
        "ci95": interval,
        "ci95_method": method,
        "p_value": p_value,
        "p_value_method": p_method,
        "wins": int((differences > 0).sum()),
        "ties": int((differences == 0).sum()),
        "losses": int((differences < 0).sum()),
    }


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct the p-values of several tests that are looked at together (Holm 1979).

    The i-th smallest of m becomes the largest of (m − j + 1) p_j over j ≤ i, 1 at most. None is no
    test and stays None.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for number, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - number) * p))
        corrected[place] = highest
    return corrected


def ranks(
    means: Mapping[str, float | None], comparisons: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Rank editors by their means; those that their comparisons do not tell apart share ranks.

    An editor's rank is one more than the number of editors that are clearly better (`is_clear`).
    Editors of one rank stand in the order of their means, those of equal means as they are given.
    Editors without a mean have no rank.

    Args:
        comparisons: of all pairs, as from `paired`, with `first`, `second` and `clear`.
    """
    ranked = {e: float(settled(mean)) for e, mean in means.items() if mean is not None}
    better = dict.fromkeys(ranked, 0)
    for comparison in comparisons:
        pair = {comparison["first"], comparison["second"]}
        if pair <= ranked.keys() and comparison["clear"]:
            worse = "second" if comparison["difference"] > 0 else "first"
            better[comparison[worse]] += 1
    order = sorted(ranked, key=lambda editor: (better[editor], -ranked[editor]))
    return {editor: better[editor] + 1 for editor in order}


def is_clear(comparison: Mapping[str, Any]) -> bool:
    """Tell whether a comparison tells its editors apart: by interval and corrected p-value.

    Args:
        comparison: as from `paired`, with `p_holm`.
    """
    interval, p_value = comparison["ci95"], comparison["p_holm"]
    holds_zero = interval is not None and interval[0] <= 0 <= interval[1]
    return p_value is not None and p_value < LEVEL and not holds_zero


def separation(edits: Scores, controls: Scores) -> dict[str, Any]:
    """Tell how well scores tell edits from controls that deserve none.

    Returns:
        `auc`, the probability that an edit scores above a control, a tie counting half (Mann and
        Whitney 1947; 0.5 is a judge that cannot tell them apart, None where one kind is missing),
        the mean of both kinds, and their counts.
    """
    both = len(edits) > 0 and len(controls) > 0
    pairs = len(edits) * len(controls)
    one, two = settled(edits), settled(controls)
    return {
        "auc": float(mannwhitneyu(one, two).statistic) / pairs if both else None,
        "mean": float(np.mean(edits)) if len(edits) else None,
        "control_mean": float(np.mean(controls)) if len(controls) else None,
        "count": len(edits),
        "controls": len(controls),
    }


def _location(values: np.ndarray) -> dict[str, float | None]:
    measures: dict[str, Callable[[np.ndarray], float]]
    measures = {"mean": np.mean, "std": np.std, "median": np.median, "min": np.min, "max": np.max}
    some = len(values) > 0
    return {name: float(measure(values)) if some else None for name, measure in measures.items()}


def _share(values: np.ndarray, threshold: float) -> float | None:
    return _mean(values >= settled(threshold))


def _bounds(values: np.ndarray, failed: int, scale: tuple[float, float]) -> list[float] | None:
    samples = len(values) + failed
    return [float(values.sum() + failed * end) / samples for end in scale] if samples else None


def _mean(values: Scores) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _standard_error(parts: Sequence[np.ndarray]) -> float:
    return math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / len(parts)


def _p_value(parts: Sequence[np.ndarray]) -> tuple[float | None, str | None]:
    """Return the two-sided p-value that differences have no sign of their own, and its method.

    Args:
        parts: differences, whose means have the same weight each.
    """
    count = sum(map(len, parts))
    if count < 2:
        return None, None
    # whose mean is that of the parts' means
    differences = np.concatenate([part * (count / len(parts) / len(part)) for part in parts])
    if count > LARGEST:
        if min(map(len, parts)) < 2:
            return None, None
        error = _standard_error(parts)
        if error == 0:
            return (1.0 if settled(differences.mean()) == 0 else 0.0), "normal"
        return float(2 * norm.sf(abs(differences.mean()) / error)), "normal"
    result = permutation_test(
        (differences,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=AT_A_TIME // count,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue), "permutation"
