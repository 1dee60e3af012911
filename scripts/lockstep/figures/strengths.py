"""Strengths of editors from comparisons in pairs: Bradley and Terry's model with equal replies.

The model is that of ordered replies (Rao and Kupper 1967; with the order of showing, Agresti 1992):
an edit's merit is its editor's strength plus Gumbel noise, the place in which it is shown first is
worth `bias`, and the judge names an edit whose merit is larger by more than `margin`. With σ the
logistic function and x = strength of the first − strength of the second + bias,

    P(first) = σ(x − margin)    P(second) = σ(−x − margin)    P(equal) = the rest.

Each comparison is two replies, one in each order. Two orders that disagree give each editor one:
in the strengths they are a tie.
"""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, stdtr, stdtrit

from lockstep.figures.clusters import FEWEST, LEVEL
from lockstep.figures.pairs import Comparison
from lockstep.figures.stats import holm, is_clear, ranks

ANCHOR = 1000.0
"""Mean of all editors' ratings."""

POINT = 400 / math.log(10)
"""Rating points of a strength of 1: 400 points are odds of ten to one, as in Elo's ratings."""

STEPS = 100

CLOSE = 1e-8


class Fit(NamedTuple):
    """Parameters of the model; leading dimensions are those of the counts."""

    strengths: np.ndarray
    """Of each editor, natural logarithm of odds; their mean is 0."""
    bias: np.ndarray
    """What being shown first is worth, on the same scale."""
    margin: np.ndarray
    """Difference up to which edits are called equal, on the same scale."""
    information: np.ndarray
    """Second derivatives of −log likelihood by all parameters, in this order."""


def fit(counts: np.ndarray, start: Fit | None = None) -> Fit:
    """Return the parameters that make replies likeliest, a little drawn to equal strengths.

    Each editor has half a win and half a loss more against one of strength 0, and there is one more
    reply on two equal edits, half of it equal. So all parameters are finite whatever is won.
    The likelihood is concave; its maximum is found by Newton's steps.

    Args:
        counts: of replies, of shape (…, editor shown first, editor shown second, 3): those that
            name the first, the second, or call them equal.
        start: parameters near those that are looked for.
    """
    counts = np.asarray(counts, dtype=float)
    first, second, equal = np.moveaxis(counts, -1, 0)
    editors, leading = counts.shape[-2], counts.shape[:-3]
    # equal replies are those that neither editor wins with the margin against it
    lower, upper = first + equal, equal + second
    all_equal = equal.sum((-1, -2)) + 0.5
    found = np.zeros((*leading, editors + 2))
    found[..., -1] = 0.5
    if start is not None:
        found[:] = np.array([*start.strengths, start.bias, start.margin])
    for _ in range(STEPS):
        theta, bias, margin = found[..., :-2], found[..., -2], found[..., -1]
        x = theta[..., :, None] - theta[..., None, :] + bias[..., None, None]
        p, q = expit(x - margin[..., None, None]), expit(x + margin[..., None, None])
        u, v = first - lower * p, equal - upper * q
        a, b = lower * p * (1 - p), upper * q * (1 - q)
        # the reply more, on two equal edits
        p0, q0 = expit(bias - margin), expit(bias + margin)
        u0, v0 = 0.25 - 0.75 * p0, 0.5 - 0.75 * q0
        a0, b0 = 0.75 * p0 * (1 - p0), 0.75 * q0 * (1 - q0)
        s, d, w, e = u + v, v - u, a + b, b - a
        gap = np.expm1(2 * margin)
        gradient = np.empty_like(found)
        own = expit(theta)
        gradient[..., :-2] = s.sum(-1) - s.sum(-2) + 0.5 - own
        gradient[..., -2] = s.sum((-1, -2)) + u0 + v0
        gradient[..., -1] = d.sum((-1, -2)) + v0 - u0 + 2 * all_equal / gap
        curve = np.empty((*leading, editors + 2, editors + 2))
        curve[..., :-2, :-2] = -(w + np.swapaxes(w, -1, -2))
        place = np.arange(editors)
        curve[..., place, place] += w.sum(-1) + w.sum(-2) + own * (1 - own)
        for column, weight in ((-2, w), (-1, e)):
            cross = weight.sum(-1) - weight.sum(-2)
            curve[..., :-2, column] = curve[..., column, :-2] = cross
        curve[..., -2, -2] = w.sum((-1, -2)) + a0 + b0
        curve[..., -2, -1] = curve[..., -1, -2] = e.sum((-1, -2)) + b0 - a0
        curve[..., -1, -1] = curve[..., -2, -2] + 4 * all_equal * (gap + 1) / gap**2
        step = np.linalg.solve(curve, gradient[..., None])[..., 0]
        step /= np.maximum(1, np.abs(step).max(-1, keepdims=True))
        step[..., -1] = np.maximum(step[..., -1], -0.8 * margin)
        found = found + step
        if np.abs(step).max(initial=0) < CLOSE:
            break
    theta = found[..., :-2]
    return Fit(theta - theta.mean(-1, keepdims=True), found[..., -2], found[..., -1], curve)


def counts_of(
    comparisons: Sequence[Comparison], editors: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Return the replies of each sample, as `fit` takes them, and the samples."""
    place = {editor: number for number, editor in enumerate(editors)}
    samples = list(dict.fromkeys(each.sample for each in comparisons))
    row = {sample: number for number, sample in enumerate(samples)}
    counts = np.zeros((len(samples), len(editors), len(editors), 3))
    reply = {"first": 0, "second": 1, "equal": 2}
    for each in comparisons:
        one, other = place[each.one], place[each.other]
        counts[row[each.sample], one, other, reply[each.forward]] += 1
        counts[row[each.sample], other, one, reply[each.backward]] += 1
    return counts, samples


def strengths(
    comparisons: Sequence[Comparison],
    editors: Sequence[str],
    clusters: Mapping[str, Hashable] | None = None,
) -> dict[str, Any]:
    """Rate editors by their comparisons.

    Intervals are Student's on the variance that is robust to clusters (Liang and Zeger 1986), with
    degrees of freedom 2 (Σu²)² / Σu⁴ of the clusters' influences u, Satterthwaite's (1946) of a sum
    of squares whose variance is Σu⁴. Where editors are `bounded`, or all clusters say the same, the
    likelihood's own variance is added.

    Args:
        clusters: of each sample; each is one of its own by default.

    Returns:
        `reason`, a sentence where there are no ratings (None otherwise), `anchor`, the number of
        `samples`, `clusters` and `comparisons`, `editors`: for each its `rating`, `ci95` and `rank`
        (editors that are not clearly apart share ranks; see `stats.ranks`), `bias` and `margin`,
        each with `rating` points and `ci95`, `bounded`: sentences on editors whose rating no
        comparison bounds on one side, and `differences` of all pairs of editors. Intervals and
        p-values are None with fewer than `FEWEST` clusters.
    """
    counts, samples = counts_of(comparisons, editors)
    names: dict[Hashable, int] = {}
    codes = [
        names.setdefault(sample if clusters is None else clusters[sample], len(names))
        for sample in samples
    ]
    numbers = {"samples": len(samples), "clusters": len(names), "comparisons": len(comparisons)}
    return {**numbers, **of_counts(counts, np.array(codes, dtype=int), editors)}


def of_counts(counts: np.ndarray, codes: np.ndarray, editors: Sequence[str]) -> dict[str, Any]:
    """Rate editors by the replies of each sample, as `strengths` does.

    Args:
        counts: as from `counts_of`.
        codes: number of each sample's cluster, from 0.
    """
    total = counts.sum(0)
    result: dict[str, Any] = {
        "reason": _unconnected(total, editors),
        "anchor": ANCHOR,
        "editors": {},
        "bias": None,
        "margin": None,
        "bounded": [],
        "differences": [],
    }
    if result["reason"] is not None:
        return result
    best = fit(total)
    values = np.array([*best.strengths, best.bias, best.margin])
    bounded = _bounded(total, editors)
    known = None
    if codes.max() + 1 >= FEWEST:
        moved = np.zeros((codes.max() + 1, len(values)))
        np.add.at(moved, codes, _influences(counts, best))
        known = _Known(moved, _of_model(best), bool(bounded))
    differences = _differences(values, known, editors)
    ratings = {name: ANCHOR + POINT * values[k] for k, name in enumerate(editors)}
    ranked = ranks(ratings, differences)

    def row(k: int, base: float = 0) -> dict[str, Any]:
        ci95 = _interval(base + POINT * values[k], known, np.eye(len(values))[k])
        return {"rating": base + POINT * float(values[k]), "ci95": ci95}

    for name, rank in ranked.items():
        result["editors"][name] = {**row(editors.index(name), ANCHOR), "rank": rank}
    result.update(bias=row(-2), margin=row(-1), differences=differences)
    result["bounded"] = bounded
    return result


def _of_model(best: Fit) -> np.ndarray:
    """Return the parameters' covariance by the likelihood's curvature."""
    editors = len(best.strengths)
    centred = np.eye(editors + 2)
    centred[:editors, :editors] -= 1 / editors
    return centred @ np.linalg.inv(best.information) @ centred.T


class _Known(NamedTuple):
    """What tells how sure the parameters are."""

    moved: np.ndarray
    """Of shape (clusters, parameters): what each cluster adds to their errors."""
    model: np.ndarray
    """Covariance by the likelihood."""
    bounded: bool
    """Whether clusters do not tell how sure all parameters are."""


def _influences(counts: np.ndarray, best: Fit) -> np.ndarray:
    """Return by how much each sample moves the parameters, of shape (samples, parameters)."""
    x = best.strengths[:, None] - best.strengths[None, :] + best.bias
    p, q = expit(x - best.margin), expit(x + best.margin)
    # derivatives of the logarithm of each reply's probability, by x and by the margin
    by_x = np.stack([1 - p, -q, 1 - p - q], axis=-1)
    by_margin = np.stack([p - 1, -q, 1 + p - q + 2 / np.expm1(2 * best.margin)], axis=-1)
    own = (counts * by_x).sum(-1)
    scores = np.column_stack(
        [own.sum(-1) - own.sum(-2), own.sum((-1, -2)), (counts * by_margin).sum((-1, -2, -3))]
    )
    moved = (scores - scores.mean(axis=0)) @ np.linalg.inv(best.information)
    editors = len(best.strengths)
    moved[:, :editors] -= moved[:, :editors].mean(axis=1, keepdims=True)
    return np.asarray(moved)


def _error(known: _Known, direction: np.ndarray) -> tuple[float, float]:
    """Return the standard error of a sum of parameters, and its degrees of freedom."""
    clusters = len(known.moved)
    squares = (known.moved @ direction) ** 2
    total = squares.sum()
    # clusters that all say the same do not tell how sure they are; the model does
    alike = total < CLOSE**2
    variance = total * clusters / (clusters - 1)
    if alike or known.bounded:
        variance += direction @ known.model @ direction
    freedom = clusters - 1 if alike else min(clusters - 1, 2 * total**2 / (squares**2).sum())
    return math.sqrt(variance), float(freedom)


def _interval(value: float, known: _Known | None, direction: np.ndarray) -> list[float] | None:
    """Return the 95% interval of a number in rating points."""
    if known is None:
        return None
    error, freedom = _error(known, direction)
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * POINT * error
    return [float(value - half), float(value + half)]


def _differences(
    values: np.ndarray, known: _Known | None, editors: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare all pairs of editors: difference of ratings, p-values as Holm corrects them."""
    rows: list[dict[str, Any]] = []
    for one, other in itertools.combinations(range(len(editors)), 2):
        direction = np.zeros(len(values))
        direction[[one, other]] = 1, -1
        difference = POINT * float(direction @ values)
        p_value = None
        if known is not None:
            error, freedom = _error(known, direction)
            p_value = float(2 * stdtr(freedom, -abs(difference) / (POINT * error)))
        rows.append(
            {
                "first": editors[one],
                "second": editors[other],
                "difference": difference,
                "ci95": _interval(difference, known, direction),
                "p_value": p_value,
            }
        )
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = corrected
        row["clear"] = is_clear(row)
    return rows


def _unconnected(counts: np.ndarray, editors: Sequence[str]) -> str | None:
    """Return why there are no ratings; None if comparisons connect all editors."""
    if len(editors) < 2:
        return f"expected at least two editors to compare, found {len(editors)}"
    count, group = connected_components(counts.sum(-1), directed=False)
    if count == 1:
        return None
    found = " / ".join(
        ", ".join(name for name, own in zip(editors, group, strict=True) if own == each)
        for each in range(count)
    )
    return f"expected comparisons that connect all editors, found none between {found}"


def _bounded(counts: np.ndarray, editors: Sequence[str]) -> list[str]:
    """Return sentences on groups of editors that win or lose all comparisons with the others.

    Their ratings have no maximum of the likelihood (Ford 1957): what is drawn to equal strengths
    alone makes them finite.
    """
    first, second, equal = np.moveaxis(counts, -1, 0)
    # an edge where an editor took anything from another, in either order
    took = first + second.T + equal + equal.T
    number, group = connected_components(took, directed=True, connection="strong")
    sentences = []
    for each in range(number if number > 1 else 0):
        inside = group == each
        names = ", ".join(name for name, own in zip(editors, inside, strict=True) if own)
        taken = took[~inside][:, inside].any(), took[inside][:, ~inside].any()
        if not taken[0]:
            what, bound = "won", "lower"
        elif not taken[1]:
            what, bound = "lost", "upper"
        else:
            continue
        alone = inside.sum() == 1
        its = f"its rating is a{'n' * (bound == 'upper')} {bound} bound"
        sentences.append(
            f"{names} {what} every reply against the other editors: "
            f"{its if alone else f'their ratings are {bound} bounds'}"
        )
    return sentences
