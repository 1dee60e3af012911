"""Statistics: those of scipy, and failures that move no mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.figures import clusters, stats
from lockstep.figures.stats import Group
from lockstep.rubrics.combine import combined
from lockstep.rubrics.rubric import SCALE
from lockstep.rubrics.ties import settled

# a golden data set: scores of two editors and two categories of eight samples each
FIRST = {
    "physical": [7.1, 3.2, 9.0, 5.5, 6.1, 8.4, 2.0, 7.7],
    "social": [4.0, 4.5, 9.5, 10.0, 0.0, 6.2, 6.2, 5.1],
}
SECOND = {
    "physical": [6.0, 3.9, 8.2, 5.5, 4.4, 6.9, 2.5, 5.8],
    "social": [3.1, 4.5, 9.0, 7.4, 1.0, 5.9, 4.0, 5.2],
}


def every(scores):
    return [score for own in scores.values() for score in own]


def summarise(scores, **failures):
    return stats.summarise(Group(scores, failures), 7, SCALE)


def overall(**categories):
    return stats.overall(categories, 7, SCALE)


def test_a_summary_by_hand():
    summary = summarise([2, 7, 9], missing=1, edit_failed=1)
    assert summary["mean"] == 6
    assert summary["std"] == pytest.approx(math.sqrt((16 + 1 + 9) / 3))
    assert (summary["median"], summary["min"], summary["max"]) == (7, 2, 9)
    assert (summary["count"], summary["failed"], summary["coverage"]) == (3, 2, 0.6)
    assert summary["failures"] == {"missing": 1, "edit_failed": 1}
    assert summary["threshold_share"] == pytest.approx(2 / 3)
    # weights of 0.3, 0.5 and 0.2 make of 9, 7 and 4 what is 7 but for rounding
    seven = combined("weighted_mean", [(9, 0.3), (7, 0.5), (4, 0.2)])
    assert summarise([2, seven])["threshold_share"] == 0.5
    # (18 + 2 · 0) / 5 and (18 + 2 · 10) / 5
    assert summary["bounds"] == [3.6, 7.6]
    assert stats.summarise(Group([0, 1], {"missing": 2}), 0.5, (0, 1))["bounds"] == [0.25, 0.75]


@given(
    st.lists(st.floats(0, 10), max_size=9),
    st.integers(0, 5),
    st.lists(st.floats(0, 10), min_size=5, max_size=5),
)
def test_whatever_failed_samples_would_have_the_mean_lies_in_the_bounds(scores, failed, would):
    summary = stats.summarise(Group(scores, {"missing": failed} if failed else {}), 7, SCALE)
    if scores:
        assert summary["mean"] == pytest.approx(np.mean(scores), abs=1e-9)
    if scores or failed:
        low, high = summary["bounds"]
        assert low - 1e-9 <= np.mean([*scores, *would[:failed]]) <= high + 1e-9


def test_intervals_are_those_of_clusters_drawn_within_categories():
    parts = {name: np.tile(own, 3) for name, own in FIRST.items()}
    found = overall(**{name: Group(own, {}) for name, own in parts.items()})
    values, labels = list(parts.values()), [range(24), range(24, 48)]
    for kind, macro in (("micro", False), ("macro", True)):
        known = clusters.mean(values, labels, macro)
        assert found[kind]["mean"] == pytest.approx(known.value)
        assert found[kind]["ci95"] == pytest.approx(clusters.interval(known, SCALE))
        assert (found[kind]["ci95_method"], found[kind]["clusters"]) == ("clustered", 48)
    one = summarise(parts["physical"])
    assert (one["ci95"], one["ci95_method"], one["clusters"]) == (None, "too few", 24)
    # two samples of each source image are half as many clusters
    shared = [
        Group(own, {}, clusters=[k // 2 for k in own_])
        for own, own_ in zip(values, labels, strict=True)
    ]
    assert overall(a=shared[0], b=shared[1])["micro"]["ci95"] is None


def test_a_comparison_has_the_interval_and_the_p_value_of_its_clusters():
    one, two = np.tile(every(FIRST), 9), np.tile(every(SECOND), 9)
    found = stats.paired(one, two, SCALE)
    assert found["difference"] == pytest.approx((one - two).mean())
    known = clusters.mean([one - two], [range(144)])
    assert found["ci95"] == pytest.approx(clusters.interval(known, (-10, 10)))
    assert found["p_value"] == pytest.approx(clusters.p_value(known, (-10, 10)))
    assert 0 < found["p_value"] < 0.05
    assert (found["wins"], found["ties"], found["losses"]) == (90, 18, 36)
    assert found["p_value_method"] == found["ci95_method"] == "clustered"
    few = stats.paired(one, two, SCALE, [k // 5 for k in range(144)])
    assert (few["clusters"], few["p_value"], few["p_value_method"]) == (29, None, "too few")
    assert few["difference"] == found["difference"]


def test_scores_that_only_rounding_tells_apart_are_equal_to_everything_that_compares():
    four = [math.sqrt(2) * math.sqrt(8), 2**0.5 * 8**0.5, 4.0, 4 + 1e-12, 4 - 1e-12]
    assert len(set(four)) > 2
    assert stats.separation(four, four[::-1])["auc"] == 0.5
    found = stats.paired(four * 8, four[::-1] * 8, SCALE)
    assert (found["wins"], found["ties"], found["losses"], found["p_value"]) == (0, 40, 0, 1)
    summary = stats.summarise(Group(four, {}), 4, SCALE)
    assert summary["threshold_share"] == 1
    assert summary["min"] == summary["median"] == summary["max"] == 4
    assert summary["std"] == 0 and summary["ci95"] is None
    # equal differences of scores that are no sums of powers of two
    found = stats.paired([0.3, 0.8, 1.1] * 20, [0.1, 0.6, 0.9] * 20, SCALE)
    assert found == stats.paired([0.2] * 60, [0] * 60, SCALE) | {
        name: found[name] for name in ("first_mean", "second_mean")
    }
    means = {"b": 4 - 1e-12, "a": 4 + 1e-12}
    assert list(stats.ranks(means, [])) == ["b", "a"]


def test_what_is_equal_is_transitive():
    steps = [4 + i * 4e-10 for i in range(4)]
    same = {(i, j) for i in range(4) for j in range(4) if settled(steps[i]) == settled(steps[j])}
    assert all((i, k) in same for i, j in same for jj, k in same if j == jj)


def test_a_comparison_over_parts_is_of_the_parts_means():
    one, two, parts = [9, 7, 8, 4, 6, 5, 2], [5, 6, 6, 5, 7, 7, 3], [*"aaa", *"bbbb"]
    found = stats.paired(one, two, SCALE, parts=parts, macro=True)
    assert found["first_mean"] == pytest.approx((8 + 17 / 4) / 2)
    difference = ((4 + 1 + 2) / 3 + (-1 - 1 - 2 - 1) / 4) / 2
    assert found["difference"] == pytest.approx(difference)
    assert (found["wins"], found["losses"]) == (3, 4)
    every = stats.paired(one, two, SCALE, parts=parts)
    assert every["difference"] == pytest.approx((7 - 5) / 7)
    many = stats.paired(one * 10, two * 10, SCALE, parts=parts * 10, macro=True)
    split = [np.tile([4.0, 1, 2], 10), np.tile([-1.0, -1, -2, -1], 10)]
    known = clusters.mean(split, [range(30), range(30, 70)], macro=True)
    assert many["ci95"] == pytest.approx(clusters.interval(known, (-10, 10)))
    none = stats.paired([], [], SCALE)
    assert none["difference"] is none["ci95_method"] is None


@pytest.mark.parametrize(("scores", "samples"), [([], 0), ([], 3), ([5.0], 1), ([5.0] * 4, 4)])
def test_where_there_is_nothing_to_say_nothing_is_said(scores, samples):
    summary = summarise(scores, missing=samples - len(scores))
    assert summary["ci95"] is None
    assert summary["ci95_method"] == ("too few" if scores else None)
    assert summary["mean"] == (5 if scores else None)
    assert summary["coverage"] == (len(scores) / samples if samples else None)


def test_overall_counts_samples_and_categories():
    found = overall(a=Group([2.0, 4.0], {"missing": 1}), b=Group([9.0], {}), empty=Group([], {}))
    assert found["micro"]["mean"] == 5
    assert found["macro"]["mean"] == 6
    assert found["macro"]["count"] == found["micro"]["count"] == 3
    assert found["macro"]["failed"] == 1
    # a: 6/3 and 16/3, b: 9
    assert found["macro"]["bounds"] == pytest.approx([5.5, (16 / 3 + 9) / 2])
    assert found["macro"]["threshold_share"] == 0.5


def test_no_macro_mean_while_a_category_has_no_score():
    found = overall(a=Group([2.0], {}), b=Group([], {"missing": 1}))
    assert found["macro"]["mean"] is found["macro"]["threshold_share"] is None
    assert found["macro"]["bounds"] == [1, 6]
    assert found["micro"]["mean"] == 2


def test_p_values_are_corrected_by_hand():
    assert stats.holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, None, 0.06, 0.06, 0.02]
    )
    assert stats.holm([0.6, 0.7]) == [1, 1]


def test_editors_that_nothing_tells_apart_share_a_rank():
    def comparison(first, second, difference, clear):
        return {"first": first, "second": second, "difference": difference, "clear": clear}

    means = {"c": 3.0, "a": 5.0, "b": 4.5, "none": None}
    rows = [
        comparison("c", "a", -2.0, True),
        comparison("a", "b", 0.5, False),
        comparison("c", "b", -1.5, False),
        comparison("a", "none", None, False),
    ]
    assert list(stats.ranks(means, rows).items()) == [("a", 1), ("b", 1), ("c", 2)]
    rows[2]["clear"] = True
    assert stats.ranks(means, rows) == {"a": 1, "b": 1, "c": 3}


@pytest.mark.parametrize(
    ("interval", "p_holm", "clear"),
    [
        ([0.1, 0.5], 0.01, True),
        ([-0.5, -0.1], 0.01, True),
        ([-0.1, 0.5], 0.01, False),
        ([0.1, 0.5], 0.2, False),
        # too few clusters
        (None, None, False),
    ],
)
def test_only_a_sure_difference_tells_editors_apart(interval, p_holm, clear):
    assert stats.is_clear({"ci95": interval, "p_holm": p_holm}) is clear


def test_separation_by_hand():
    found = stats.separation([5.0, 7.0], [1.0, 5.0])
    # 5 > 1, 5 = 5, 7 > 1, 7 > 5
    assert found["auc"] == 3.5 / 4
    assert (found["mean"], found["control_mean"]) == (6, 3)
    assert (found["count"], found["controls"]) == (2, 2)
    assert stats.separation([1.0], [2.0, 3.0])["auc"] == 0
    assert stats.separation([2.0] * 3, [2.0])["auc"] == 0.5
    assert stats.separation([], [2.0])["auc"] is stats.separation([2.0], [])["auc"] is None
