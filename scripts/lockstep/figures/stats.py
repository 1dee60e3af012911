"""Summaries of scores, and comparisons of editors.

A failed sample has no score: it lowers coverage and moves no mean.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lockstep.figures.clusters import LEVEL, Clustered, interval, mean, p_value
from lockstep.rubrics.ties import settled

Scores = Sequence[float] | np.ndarray
"""Numbers of one dimension."""


class Group(NamedTuple):
    """Scores of some samples, and what became of the others."""

    scores: Scores
    failures: Mapping[str, int]
    """Samples without a score by kind."""
    skipped: int = 0
    """Samples that the editor does not take."""
    clusters: Sequence[Hashable] | None = None
    """Cluster of each score (see `clusters`); None where each score is one of its own."""


def summarise(group: Group, threshold: float, scale: tuple[float, float]) -> dict[str, Any]:
    """Summarise the scores of the samples that have one.

    Args:
        threshold: score from which on a sample counts into `threshold_share`.
        scale: lowest and highest score possible.

    Returns:
        `mean, std, median, min, max` (None where there is nothing to say; std is the population's,
        ddof 0), `ci95`, `ci95_method` and `clusters` (see `with_interval`), `threshold_share` of
        the scored samples, `count` of them, `failed` others, `failures` by kind, `skipped` ones,
        which are in no other number, `coverage` = count / (count + failed), and `bounds`, the means
        that there would be were all failed samples lowest or all highest.
    """
    values = settled(group.scores)
    failed = sum(group.failures.values())
    return {
        **_location(values),
        **with_interval(mean([values], [_labels(0, group)]), scale),
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

    Intervals are of samples drawn within each category. `macro` has the mean, std, median, min and
    max of the categories' means, and the means of the categories' bounds and shares. Categories
    without samples are left out; while one with samples has no score, there is no mean. Its counts
    and coverage are those of the samples.
    """
    groups = [group for group in categories.values() if len(group.scores) or group.failures]
    parts = [settled(group.scores) for group in groups]
    labels = [_labels(number, group) for number, group in enumerate(groups)]
    scored = [number for number, part in enumerate(parts) if len(part)]
    failures = Counter[str]()
    for group in groups:
        failures.update(group.failures)
    every = np.concatenate(parts) if parts else np.array([])
    skipped = sum(group.skipped for group in categories.values())
    found = mean([parts[n] for n in scored], [labels[n] for n in scored])
    micro = {
        **summarise(Group(every, failures, skipped), threshold, scale),
        **with_interval(found, scale),
    }
    whole = parts if len(scored) == len(parts) else []
    bounds = [
        _bounds(part, sum(group.failures.values()), scale)
        for part, group in zip(parts, groups, strict=True)
    ]
    shares = [_share(part, threshold) for part in whole]
    macro = {
        **micro,
        **_location(np.array([part.mean() for part in whole])),
        **with_interval(mean(whole, labels, macro=True), scale),
        "clusters": micro["clusters"],
        "threshold_share": _mean([share for share in shares if share is not None]),
        "bounds": [_mean(ends) for ends in zip(*bounds, strict=True)] or None,
    }
    return {"micro": micro, "macro": macro}


def with_interval(found: Clustered | None, scale: tuple[float, float]) -> dict[str, Any]:
    """Return what a mean is sure of.

    Returns:
        `ci95`, its 95% interval (see `clusters.interval`), `ci95_method`, which is `clustered`, or
        `too few` where there is no interval, and the number of `clusters`; both None of no mean.
    """
    return {
        "ci95": interval(found, scale),
        "ci95_method": _method(found),
        "clusters": 0 if found is None else len(found.errors),
    }


def paired(
    first: Scores,
    second: Scores,
    scale: tuple[float, float],
    clusters: Sequence[Hashable] | None = None,
    parts: Sequence[Any] | None = None,
    macro: bool = False,
) -> dict[str, Any]:
    """Compare two editors' scores of the same samples.

    Args:
        scale: lowest and highest score possible.
        clusters: of each sample; each is one of its own by default.
        parts: what each sample is part of; samples are drawn within parts.
        macro: whether means are those of the parts' means.

    Returns:
        `count` of samples, `first_mean` and `second_mean`, the mean `difference` first − second
        with `ci95`, `ci95_method` and `clusters` (see `with_interval`), the two-sided `p_value`
        that the difference is none (see `clusters.p_value`) and its `p_value_method`, and `wins`,
        `ties` and `losses` of the first.
    """
    one, two = settled(first), settled(second)
    differences = settled(one - two)
    of = np.zeros(len(one)) if parts is None else np.asarray(parts)
    places = [np.flatnonzero(of == part) for part in dict.fromkeys(of.tolist())]
    names = range(len(one)) if clusters is None else clusters

    def average(values: np.ndarray) -> float | None:
        return _mean([values[own].mean() for own in places] if macro else values)

    found = mean(
        [differences[own] for own in places],
        [[names[int(k)] for k in own] for own in places],
        macro,
    )
    furthest = scale[1] - scale[0]
    return {
        "count": len(differences),
        "first_mean": average(one),
        "second_mean": average(two),
        "difference": average(differences),
        **with_interval(found, (-furthest, furthest)),
        "p_value": p_value(found, (-furthest, furthest)),
        "p_value_method": _method(found),
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
    from scipy.stats import mannwhitneyu

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


def _method(found: Clustered | None) -> str | None:
    return None if found is None else "too few" if found.few else "clustered"


def _labels(part: int, group: Group) -> Sequence[Hashable]:
    """Return the cluster of each of a group's scores."""
    if group.clusters is None:
        return [(part, number) for number in range(len(group.scores))]
    return group.clusters


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
