"""How the values of a rubric's criteria combine into scores from 0 to 10."""

import math
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from lockstep.errors import ReplyError
from lockstep.rubrics.kinds import Kind
from lockstep.rubrics.questions import SCALE
from lockstep.rubrics.rubric import Cap, Combine, Penalty, Rubric
from lockstep.rubrics.ties import settled

Number = float | NDArray[np.float64]
"""One score, or those of many combinations of values at a time."""

AT_A_TIME = 2_000_000
"""Combinations of values whose scores are in memory at a time; bounds memory, not what is exact."""


def score(rubric: Rubric, criteria: Mapping[str, float], tags: Sequence[str] = ()) -> float:
    """Combine criteria into a score, from whatever scale to 0 to 10, on the grid of `ties`.

    Args:
        tags: of the sample.

    Raises:
        ReplyError: if no criterion that counts for the sample has a value.
    """
    if not set(weighed(rubric, tags)) & criteria.keys():
        raise ReplyError("expected a criterion with a value, found answers that do not count")
    return float(settled(_score(rubric, counting(rubric, criteria), tags)))


def counting(rubric: Rubric, criteria: Mapping[str, Number]) -> dict[str, Number]:
    """Return the values that count, on the rubric's scale: no more than those of `at_most`.

    Args:
        criteria: those that have a value; one that was not asked for, or whose answer does not
            count, has none.
    """
    given = {name: _moved(rubric, name, value) for name, value in criteria.items()}
    bounds = {name: given[other] for name, other in rubric.at_most.items() if other in given}
    bounded = {
        name: np.minimum(given[name], most) for name, most in bounds.items() if name in given
    }
    return given | bounded


def _moved(rubric: Rubric, name: str, value: Number) -> Number:
    """Bring a value from the scale of its kind to that of the rubric."""
    own = next(valued.kind.scale for valued in rubric.valued if valued.name == name)
    if own is None or own == rubric.scale:
        return value
    (low, high), (least, most) = own, rubric.scale
    return least + (value - low) / (high - low) * (most - least)


def counted(rubric: Rubric, tags: Sequence[str]) -> list[str]:
    """Return the criteria that count for a sample with these tags."""
    weights = _weights(rubric, tags)
    return rubric.names if weights is None else [name for name in rubric.names if name in weights]


def weighed(rubric: Rubric, tags: Sequence[str]) -> list[str]:
    """Return the criteria that move the score of a sample with these tags: none of weight 0."""
    weights = {valued.name: valued.weight for valued in rubric.valued}
    return [name for name in counted(rubric, tags) if weights[name]]


def aspects(rubric: Rubric, criteria: Mapping[str, float]) -> dict[str, float]:
    """Combine the criteria of each aspect; none without aspects. On the rubric's scale."""
    parts = _aspects(rubric, counting(rubric, criteria))
    return {name: float(value) for name, (value, _) in parts.items()}


def _weights(rubric: Rubric, tags: Sequence[str]) -> Mapping[str, float] | None:
    return next((rubric.weights_of_tag[tag] for tag in tags if tag in rubric.weights_of_tag), None)


def _score(rubric: Rubric, criteria: Mapping[str, Number], tags: Sequence[str]) -> Number:
    """Combine values that count into scores from 0 to 10."""
    low, high = rubric.scale
    value = _valued(rubric, criteria, tags)
    for penalty in rubric.penalties:
        holds = _below(criteria, penalty)
        value = np.where(holds, np.maximum(low, value * penalty.factor), value)
    return value if rubric.scale == SCALE else (value - low) / (high - low) * SCALE[1]


def _below(criteria: Mapping[str, Number], rule: Cap | Penalty) -> NDArray[np.bool_] | bool:
    """Tell where a rule holds; nowhere without a value of its criterion."""
    return rule.criterion in criteria and settled(criteria[rule.criterion]) < rule.below


def _aspects(rubric: Rubric, criteria: Mapping[str, Number]) -> dict[str, tuple[Number, float]]:
    """Return the value and weight of each aspect."""
    how = rubric.combine_aspect
    if how is None:
        return {}
    parts: dict[str, tuple[Number, float]] = {}
    known = [valued for valued in rubric.valued if valued.name in criteria]
    for aspect in dict.fromkeys(c.aspect for c in known if c.aspect is not None):
        own = [c for c in known if c.aspect == aspect]
        values = [(criteria[c.name], c.weight) for c in own]
        parts[aspect] = (_combined(how, values), sum(c.weight for c in own))
    return parts


def _valued(rubric: Rubric, criteria: Mapping[str, Number], tags: Sequence[str]) -> Number:
    """Combine values that count, on their own scale."""
    weights = _weights(rubric, tags)
    if weights is not None:
        parts = [(criteria[name], weight) for name, weight in weights.items() if name in criteria]
    elif rubric.combine_aspect is None:
        parts = [(criteria[c.name], c.weight) for c in rubric.valued if c.name in criteria]
    else:
        parts = list(_aspects(rubric, criteria).values())
    value = _combined(rubric.combine, parts)
    for cap in rubric.caps:
        holds = _below(criteria, cap)
        value = np.where(holds, np.minimum(value, cap.score), value)
    return value


def expected_score(
    rubric: Rubric, probabilities: Mapping[str, Sequence[float]], tags: Sequence[str] = ()
) -> float:
    """Return the score's expectation under the probabilities of the criteria's values, 0 to 10.

    The criteria are taken for independent, given the reply that their probabilities were read
    in. The expectation is exact: the score of each combination of values, caps and penalties
    included, by its probability. It has two decimals: those beyond depend on what was judged in
    the same batch.

    Args:
        probabilities: of each criterion's answers, in the order of its kind; only of criteria
            that have a value.
        tags: of the sample.
    """
    kinds = {valued.name: valued.kind for valued in rubric.valued}
    shares = {name: _shares(kinds[name], own) for name, own in probabilities.items()}
    return round(expectation(rubric, {n: own for n, own in shares.items() if own}, tags), 2)


def _shares(kind: Kind, probabilities: Sequence[float]) -> dict[float, float]:
    """Return the probability of each value of a kind, of all answers that count."""
    found: dict[float, float] = {}
    for option, share in zip(kind.options, probabilities, strict=True):
        if option.value is not None:
            found[option.value] = found.get(option.value, 0.0) + share
    total = sum(found.values())
    return {value: share / total for value, share in found.items()} if total else {}


def expectation(
    rubric: Rubric, shares: Mapping[str, Mapping[float, float]], tags: Sequence[str] = ()
) -> float:
    """Return the expected score of independent criteria.

    Args:
        shares: of each criterion the probability of each value.
        tags: of the sample.
    """
    own = {name: {v: p for v, p in by.items() if p > 0} for name, by in shares.items()}
    if math.prod(map(len, own.values())) > AT_A_TIME:
        widest = max(own, key=lambda name: len(own[name]))
        return math.fsum(
            share * expectation(rubric, {**own, widest: {value: 1.0}}, tags)
            for value, share in own[widest].items()
        )
    # an axis for each criterion
    mesh = np.ix_(*(np.array([*by], dtype=float) for by in own.values()))
    values = counting(rubric, dict(zip(own, mesh, strict=True)))
    scores = np.broadcast_to(_score(rubric, values, tags), tuple(map(len, own.values())))
    for by in reversed(own.values()):
        scores = scores @ np.array([*by.values()])
    return float(scores)


def uncertainty(probabilities: Mapping[str, Sequence[float]]) -> float:
    """Return how unsure a judge was: 0 is sure, 1 has all values alike.

    It is the mean over the criteria of the entropy of their values, over the entropy of values
    that are all alike (Shannon 1948).
    """
    entropies = [
        -sum(share * math.log(share) for share in shares if share > 0) / math.log(len(shares))
        for shares in probabilities.values()
    ]
    return round(sum(entropies) / len(entropies), 3)


def combined(how: Combine, parts: Sequence[tuple[float, float]]) -> float:
    """Combine values, 0 to 10, by their weights, on the grid of `ties`.

    Args:
        parts: each value with its weight.
    """
    return float(settled(_combined(how, parts)))


def _combined(how: Combine, parts: Sequence[tuple[Number, float]]) -> Number:
    # an aspect of weight 0 has a value, too
    parts = [part for part in parts if part[1]] or [(value, 1.0) for value, _ in parts]
    total = sum(weight for _, weight in parts)
    least = reduce(np.minimum, (value for value, _ in parts))
    most = reduce(np.maximum, (value for value, _ in parts))
    match how:
        case "weighted_mean":
            mean = sum(value * weight for value, weight in parts) / total
        case "geometric_mean":
            mean = math.prod(value ** (weight / total) for value, weight in parts)
        case "min":
            mean = least
    # no rounding may make more or less than 10 of 10s
    return np.clip(mean, least, most)
