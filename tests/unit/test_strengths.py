"""Strengths from comparisons in pairs, and the design of the pairs."""

import importlib.util
import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from lockstep.figures import design, pairs
from lockstep.figures.arena import arena as arena_of
from lockstep.figures.arena import failures
from lockstep.figures.clusters import FEWEST
from lockstep.figures.pairs import Comparison
from lockstep.figures.strengths import ANCHOR, fit, strengths
from lockstep.records import PairRecord
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("arena", ROOT / "benchmarks" / "arena.py")
arena = importlib.util.module_from_spec(spec)
spec.loader.exec_module(arena)

WON = ("first", "second")
LOST = ("second", "first")
EQUAL = ("equal", "equal")
FIRST = ("first", "first")


def met(one, other, *replies):
    return [Comparison(f"s{k}", one, other, *each) for k, each in enumerate(replies)]


def negative_log_likelihood(parameters, counts):
    """The model as its docstring has it, cell by cell."""
    *theta, bias, margin = parameters
    if margin <= 0:
        return np.inf

    def probabilities(x):
        first, second = expit(x - margin), expit(-x - margin)
        return np.array([first, second, 1 - first - second])

    total = 0.5 * sum(np.log(expit(each)) + np.log(expit(-each)) for each in theta)
    total += np.array([0.25, 0.25, 0.5]) @ np.log(probabilities(bias))
    for i, j in itertools.permutations(range(len(theta)), 2):
        total += counts[i, j] @ np.log(probabilities(theta[i] - theta[j] + bias))
    return -total


@pytest.mark.parametrize("seed", range(3))
def test_a_fit_is_the_maximum_of_the_likelihood(seed):
    counts = np.random.default_rng(seed).integers(0, 9, size=(4, 4, 3)).astype(float)
    counts[range(4), range(4)] = 0
    start = [0, 0, 0, 0, 0, 0.5]
    known = minimize(
        negative_log_likelihood, start, (counts,), method="Nelder-Mead", tol=1e-12,
        options={"maxiter": 20000, "maxfev": 20000, "adaptive": True},
    ).x  # fmt: skip
    found = fit(counts)
    np.testing.assert_allclose(found.strengths, known[:4] - known[:4].mean(), atol=1e-4)
    np.testing.assert_allclose([found.bias, found.margin], known[4:], atol=1e-4)


def test_several_fits_at_once_are_those_of_each():
    counts = np.random.default_rng(0).integers(0, 9, size=(5, 3, 3, 3)).astype(float)
    together = fit(counts)
    for number in range(5):
        alone = fit(counts[number], fit(counts[0]))
        np.testing.assert_allclose(together.strengths[number], alone.strengths, atol=1e-7)
        np.testing.assert_allclose(together.margin[number], alone.margin, atol=1e-7)


def test_odds_of_ten_to_one_are_four_hundred_points():
    done = met("a", "b", *[WON] * 1000, *[LOST] * 100)
    found = strengths(done, ["a", "b"])
    ratings = [found["editors"][name]["rating"] for name in "ab"]
    assert sum(ratings) / 2 == pytest.approx(ANCHOR)
    assert ratings[0] - ratings[1] == pytest.approx(400, abs=2)
    assert [found["editors"][name]["rank"] for name in "ab"] == [1, 2]


def test_swapped_names_swap_ratings():
    done = met("a", "b", WON, WON, LOST, EQUAL, FIRST)
    turned = [Comparison(c.sample, c.other, c.one, c.backward, c.forward) for c in done]
    one, other = (strengths(each, ["a", "b"]) for each in (done, turned))
    for name in "ab":
        assert one["editors"][name]["rating"] == pytest.approx(other["editors"][name]["rating"])
    assert one["bias"]["rating"] == pytest.approx(other["bias"]["rating"])


def test_orders_that_disagree_are_a_tie_and_bias():
    found = strengths(met("a", "b", *[FIRST] * 20), ["a", "b"])
    assert found["editors"]["a"]["rating"] == pytest.approx(ANCHOR)
    assert found["bias"]["rating"] > 400
    none = strengths(met("a", "b", *[EQUAL] * 20), ["a", "b"])
    assert none["bias"]["rating"] == pytest.approx(0, abs=1e-6)
    assert none["margin"]["rating"] > 400


@pytest.mark.parametrize("replies", [[WON], [LOST], [EQUAL], [FIRST], [WON, LOST]])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_whatever_is_won_ratings_are_finite(replies, count):
    found = strengths(met("a", "b", *replies * count), ["a", "b"])
    numbers = [found["editors"][name]["rating"] for name in "ab"]
    assert np.isfinite(numbers).all()
    assert (found["editors"]["a"]["ci95"] is None) == (found["samples"] < FEWEST)


def test_who_wins_or_loses_all_is_named():
    done = met("a", "b", WON, WON) + met("b", "c", WON, LOST) + met("a", "c", WON)
    (top, bottom) = sorted(strengths(done, ["a", "b", "c"])["bounded"])
    assert top == ("a won every reply against the other editors: its rating is a lower bound")
    assert bottom == (
        "b, c lost every reply against the other editors: their ratings are upper bounds"
    )
    assert not strengths([*done, *met("a", "c", FIRST)], ["a", "b", "c"])["bounded"]


@pytest.mark.parametrize(
    ("done", "editors", "reason"),
    [
        (met("a", "b", WON) + met("c", "d", WON), "abcd", "found none between a, b / c, d"),
        (met("a", "b", WON), "abc", "found none between a, b / c"),
        ([], "ab", "found none between a / b"),
        ([], "a", "expected at least two editors to compare, found 1"),
    ],
)
def test_editors_that_nothing_connects_have_no_ratings(done, editors, reason):
    found = strengths(done, list(editors))
    assert reason in found["reason"]
    assert not found["editors"]


@pytest.mark.parametrize("reply", [WON, EQUAL, FIRST])
def test_samples_that_all_say_the_same_are_not_sure(reply):
    none, few, more = (strengths(met("a", "b", *[reply] * n), ["a", "b"]) for n in (29, 30, 300))
    widths = [np.diff(found["editors"]["a"]["ci95"])[0] for found in (few, more)]
    assert widths[0] > 60
    assert widths[1] > 2
    # a difference without an interval is not clear, even where all samples say the same
    assert none["editors"]["a"]["ci95"] is none["differences"][0]["p_value"] is None
    assert [none["editors"][name]["rank"] for name in "ab"] == [1, 1]
    ranks = [few["editors"][name]["rank"] for name in "ab"]
    assert ranks == ([1, 2] if reply == WON else [1, 1])


def test_intervals_are_of_samples():
    # a sample's comparisons say the same, so that more of them say no more
    once = [Comparison(f"s{k}", "a", "b", *(WON if k % 3 else LOST)) for k in range(30)]
    wide = strengths(once, ["a", "b"])["editors"]["a"]["ci95"]
    again = strengths(once * 4, ["a", "b"])["editors"]["a"]["ci95"]
    assert np.diff(again) == pytest.approx(np.diff(wide), rel=0.1)


def test_samples_of_one_source_image_are_one_cluster():
    done = [Comparison(f"s{k}", "a", "b", *(WON if k % 6 > 1 else LOST)) for k in range(120)]
    own, shared, few = (
        strengths(done, ["a", "b"], {f"s{k}": k // n for k in range(120)}) for n in (1, 2, 5)
    )
    assert [found["clusters"] for found in (own, shared, few)] == [120, 60, 24]
    widths = [np.diff(found["editors"]["a"]["ci95"])[0] for found in (own, shared)]
    assert widths[1] == pytest.approx(2**0.5 * widths[0], rel=0.1)
    assert few["editors"]["a"]["ci95"] is None


def test_tournaments_hold_the_truth_and_find_the_bias():
    setting = arena.Setting(editors=8, samples=50, every=False, noise="edit")
    found = arena.summary([arena.tournament(setting, seed) for seed in range(40)])
    # of 320 intervals 93%, less two standard errors
    assert found["held"] > 0.90
    assert found["bias_found"] == 1
    assert found["bias_held"] > 0.85
    assert found["contradicted"] <= 0.1
    assert found["ordered"] > 0.6


def test_the_design_needs_half_of_all_pairs_for_the_same_width():
    def of(samples, every):
        own = [arena.tournament(arena.Setting(8, samples, every, "edit"), s) for s in range(5)]
        return own[0].comparisons, np.mean([outcome.width for outcome in own])

    every, chosen = of(40, True), of(70, False)
    assert chosen[0] <= every[0] / 2
    assert chosen[1] < 1.03 * every[1]


NAMES = [f"e{k}" for k in range(8)]


def test_few_editors_meet_in_all_pairs():
    assert design.budgets(10, 4) == [60]
    chosen = design.choose({"s": ["a", "b", "c"]}, ["a", "b", "c"], [], 3)
    assert {frozenset(pair[1:]) for pair in chosen} == {*map(frozenset, ("ab", "ac", "bc"))}


@pytest.mark.parametrize("editors", [5, 6, 8, 9, 30])
@pytest.mark.parametrize("samples", [1, 7, 100])
def test_the_first_round_connects_all_editors(editors, samples):
    names = [f"e{k}" for k in range(editors)]
    budgets = design.budgets(samples, editors)
    assert sum(budgets) == samples * max(6, editors)
    first = design.choose(dict.fromkeys(map(str, range(samples)), names), names, [], budgets[0])
    done = [Comparison(*pair, *EQUAL) for pair in first]
    assert strengths(done, names)["reason"] is None
    used = [sum(pair.sample == str(k) for pair in first) for k in range(samples)]
    assert max(used) - min(used) <= 1


def test_later_rounds_compare_close_editors():
    samples = dict.fromkeys(map(str, range(60)), NAMES)
    ladder = dict(zip(NAMES, np.arange(8) * 1.5, strict=True))
    first = design.choose(samples, NAMES, [], 400)
    done = [
        Comparison(*pair, *(WON if ladder[pair.one] > ladder[pair.other] else LOST))
        for pair in first
    ]

    def apart(chosen):
        return np.mean([abs(ladder[pair.one] - ladder[pair.other]) for pair in chosen])

    assert apart(design.choose(samples, NAMES, done, 200)) < 0.6 * apart(first)


def test_a_design_takes_no_pair_twice_and_no_edit_that_is_not_there():
    samples = {"x": ["e0", "e1", "e2"], "y": ["e1"], "z": []}
    done = [Comparison("x", "e1", "e0", *WON), Comparison("gone", "e0", "e7", *WON)]
    chosen = design.choose(samples, NAMES, done, 99)
    assert {tuple(pair) for pair in chosen} == {("x", "e0", "e2"), ("x", "e1", "e2")}
    assert chosen == design.choose(samples, NAMES, done, 99)
    assert design.choose({}, NAMES, [], 9) == []


def test_a_pair_that_failed_is_not_tried_again():
    editors = [f"editor-{k}" for k in range(5)]
    samples = {"c/x": editors}
    first = design.choose(samples, editors, [], 4)
    second = design.choose(samples, editors, [], 6, tried=first)
    assert len({*first, *second}) == 10
    assert design.choose(samples, editors, [], 6, tried=[*first, *second]) == []


def test_wins_ties_and_losses_are_counted_from_both_sides():
    done = met("a", "b", WON, WON, LOST, EQUAL, FIRST, ("equal", "second"))
    one, other = pairs.matrix(done, ["a", "b", "c"])
    assert one == {
        "editor": "a", "against": "b", "wins": 2, "ties": 3, "losses": 1, "disagreeing": 2,
    }  # fmt: skip
    assert (other["wins"], other["ties"], other["losses"]) == (1, 3, 2)


def test_position_bias_counts_orders_that_disagree():
    done = met("a", "b", WON, FIRST, FIRST, ("second", "second"), ("equal", "first"), EQUAL)
    assert pairs.position_bias(done) == {
        "comparisons": 6, "disagree": 4, "share": 4 / 6, "first": 2, "second": 1,
    }  # fmt: skip
    assert pairs.position_bias([])["share"] is None


def test_verdicts_are_compared_with_scores():
    scores = {
        "a": {"s0": 9.0, "s1": 2.0, "s2": 5.0},
        "b": {"s0": 1.0, "s1": 8.0, "s2": 5.0, "s3": 9.0},
        "c": {},
    }
    done = met("a", "b", WON, WON, WON, WON) + met("a", "c", WON)
    found = pairs.against_scores(done, {"a": 1100.0, "b": 900.0, "c": 950.0}, scores)
    assert (found["agree"], found["oppose"], found["same"]) == (1, 1, 1)
    assert found["opposed"] == [{"sample": "s1", "winner": "a", "loser": "b", "difference": -6.0}]
    assert found["reversed"] == [{"better_in_pairs": "a", "better_by_scores": "b"}]
    assert found["editors"] == 2
    assert found["spearman"] is None


def test_failed_comparisons_are_told_with_their_commonest_reason(tmp_path):
    errors = ["no numbers", None, "no numbers", "a long story"]
    found = [
        PairRecord(
            id=f"s{k}",
            one="a",
            other="b",
            category="c",
            status="judge_failed" if error else "ok",
            error=error,
        )
        for k, error in enumerate(errors)
    ]
    told = "3 of 4 comparisons failed, 2 of them for this reason: no numbers"
    assert failures(found) == told
    assert failures(found[1:2]) == ""
    table = tmp_path / "table.csv"
    table.write_text("id,category,status,score,source\ns0,c,ok,5,s\n", encoding="utf-8")
    (row,) = arena_of({"c": found}, {"a": {"c": table}, "b": {"c": table}})
    assert row["reason"].startswith(f"{told}; expected comparisons that connect all editors")
    assert row["failed"] == 4
