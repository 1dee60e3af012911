"""Which pairs of edits to compare: those that tell most of the editors' strengths."""

import heapq
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from lockstep import records
from lockstep.figures.pairs import Comparison, comparisons
from lockstep.figures.strengths import counts_of, fit
from lockstep.plan import FEW_EDITORS, PAIR_ROUNDS
from lockstep.records import ChosenPair, EditRecord, PairRecord
from lockstep.records.hashes import sha256

UNKNOWN = 1e-4
"""Information that there is of a strength before any comparison."""


class Pair(NamedTuple):
    """Two editors whose edits of a sample are to be compared."""

    sample: str
    one: str
    other: str


def budgets(samples: int, editors: int) -> list[int]:
    """Return how many pairs each round compares; the first can connect all editors.

    Up to `FEW_EDITORS` editors that is all pairs in one round. Of more editors each edit is in two
    pairs on average: further pairs of a sample tell less than those of another sample.
    """
    every = math.comb(editors, 2)
    if editors <= FEW_EDITORS:
        return [samples * every]
    total = samples * max(editors, math.comb(FEW_EDITORS, 2))
    first = min(total, max(total // PAIR_ROUNDS, editors - 1))
    ends = [(total - first) * k // (PAIR_ROUNDS - 1) for k in range(PAIR_ROUNDS)]
    return [first, *(end - start for start, end in itertools.pairwise(ends))]


def of_round(
    category: str,
    edits: Mapping[str, Sequence[Path]],
    earlier: Sequence[PairRecord],
    number: int,
) -> list[ChosenPair]:
    """Return the pairs of a category that a round compares.

    Args:
        edits: records of the category's edits by editor.
        earlier: what the rounds before have found; what failed is not tried again.
        number: of the round, from 0.
    """
    present: dict[str, list[str]] = {}
    for editor, paths in edits.items():
        for edit in records.each_record(paths, EditRecord):
            own = present.setdefault(f"{category}/{edit.id}", [])
            if edit.status == "ok":
                own.append(editor)
    budget = budgets(len(present), len(edits))[number]
    tried = [Pair(f"{category}/{each.id}", each.one, each.other) for each in earlier]
    chosen = choose(present, list(edits), comparisons(earlier), budget, tried)
    return [
        ChosenPair(id=pair.sample.removeprefix(f"{category}/"), one=pair.one, other=pair.other)
        for pair in chosen
    ]


def choose(
    samples: Mapping[str, Collection[str]],
    editors: Sequence[str],
    earlier: Sequence[Comparison],
    budget: int,
    tried: Collection[Pair] = (),
) -> list[Pair]:
    """Choose pairs to compare, of those that were not compared before.

    One after the other, a pair of the sample that has the fewest is chosen: the one that lessens
    the mean variance of all differences of strengths most (A-optimal, Fedorov 1972), as it follows
    from what is known of the strengths. A comparison of editors far apart says little, so most are
    of close ones. Without earlier comparisons all strengths are equal, and the first pairs connect
    all editors. The same arguments give the same pairs.

    Args:
        samples: the editors that have an edit, by sample.
        budget: most pairs to choose.
        tried: pairs that are not chosen again, also where nothing was found of them.
    """
    editors = list(editors)
    information = _information(earlier, editors)
    one, other = np.triu_indices(len(editors), 1)
    place = {editor: number for number, editor in enumerate(editors)}
    number = {pair: k for k, pair in enumerate(zip(one.tolist(), other.tolist(), strict=True))}
    free: dict[str, np.ndarray] = {}
    for sample, present in samples.items():
        own = np.array([editor in present for editor in editors])
        free[sample] = own[one] & own[other]
    variance = np.linalg.inv(UNKNOWN * np.eye(len(editors)))
    taken = dict.fromkeys(samples, 0)
    for each in earlier:
        pair = number[tuple(sorted((place[each.one], place[each.other])))]  # type: ignore[index]
        variance = _known(variance, one[pair], other[pair], information[pair])
        if each.sample in free:
            free[each.sample][pair] = False
            taken[each.sample] += 1
    for sample, *both in tried:
        if sample in free:
            known = number[tuple(sorted(map(place.__getitem__, both)))]  # type: ignore[index]
            free[sample][known] = False
    queue = [(taken[sample], sha256(sample.encode()), sample) for sample in samples]
    heapq.heapify(queue)
    chosen: list[Pair] = []
    while queue and len(chosen) < budget:
        count, order, sample = heapq.heappop(queue)
        if not free[sample].any():
            continue
        gain = np.where(free[sample], _gains(variance, one, other, information), -1)
        # as far as digits are sure, so that every machine chooses the same
        pair = int(np.argmax(np.round(gain / gain.max(), 6)))
        free[sample][pair] = False
        variance = _known(variance, one[pair], other[pair], information[pair])
        chosen.append(Pair(sample, editors[one[pair]], editors[other[pair]]))
        heapq.heappush(queue, (count + 1, order, sample))
    return chosen


def _information(earlier: Sequence[Comparison], editors: Sequence[str]) -> np.ndarray:
    """Return what a comparison of each pair says of its difference (Fisher's information)."""
    counts, _ = counts_of(earlier, editors)
    found = fit(counts.sum(0))
    one, other = np.triu_indices(len(editors), 1)
    difference = found.strengths[one] - found.strengths[other]
    return sum(
        (_of_reply(difference + bias, found.margin) for bias in (found.bias, -found.bias)),
        np.zeros(len(one)),
    )


def _of_reply(x: np.ndarray, margin: np.ndarray) -> np.ndarray:
    first, not_second = expit(x - margin), expit(x + margin)
    a, b = first * (1 - first), not_second * (1 - not_second)
    equal = np.maximum(not_second - first, 1e-12)
    return a * (1 - first) + b * not_second + (b - a) ** 2 / equal


def _gains(
    variance: np.ndarray, one: np.ndarray, other: np.ndarray, information: np.ndarray
) -> np.ndarray:
    """Return by how much one more comparison of each pair lessens the sum of variances."""

    def quadratic(matrix: np.ndarray) -> np.ndarray:
        return matrix[one, one] + matrix[other, other] - 2 * matrix[one, other]

    return information * quadratic(variance @ variance) / (1 + information * quadratic(variance))


def _known(variance: np.ndarray, one: int, other: int, information: float) -> np.ndarray:
    """Return the variances with one more comparison (Sherman and Morrison)."""
    column = variance[:, one] - variance[:, other]
    return variance - np.outer(column, column) * (
        information / (1 + information * (column[one] - column[other]))
    )
