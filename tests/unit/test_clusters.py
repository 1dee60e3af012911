"""Intervals and tests of means whose samples come in clusters."""

import importlib.util
import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lockstep.figures.clusters import interval, mean, p_value
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("intervals", ROOT / "benchmarks" / "intervals.py")
intervals = importlib.util.module_from_spec(spec)
spec.loader.exec_module(intervals)

SCALE = (0.0, 10.0)


def test_of_independent_values_errors_are_students():
    values = np.random.default_rng(0).integers(0, 11, 500).astype(float)
    found = mean([values], [range(500)])
    assert found.value == pytest.approx(values.mean())
    assert (found.errors**2).sum() == pytest.approx(values.var(ddof=1) / 500)
    assert (found.worth, found.freedom) == (pytest.approx(500), pytest.approx(499))
    # of many symmetric values Hall's transformation and the unseen sample move little
    known = ttest_1samp(values, 5)
    expected = known.confidence_interval()
    width = expected.high - expected.low
    assert interval(found, SCALE) == pytest.approx([*expected], abs=0.02 * width)
    assert p_value(mean([values - 5], [range(500)]), (-10, 10)) == pytest.approx(
        known.pvalue, abs=0.02
    )


def test_values_that_are_there_twice_tell_nothing_more():
    values = np.random.default_rng(1).integers(0, 11, 60).astype(float)
    once = mean([values], [range(60)])
    twice = mean([np.repeat(values, 2)], [np.repeat(range(60), 2)])
    # but for the sample more, which is one of twice as many
    assert interval(twice, SCALE) == pytest.approx(interval(once, SCALE), rel=1e-4)
    assert interval(twice, SCALE, True) == pytest.approx(interval(once, SCALE, True))


def test_a_mean_of_parts_has_the_variance_of_each():
    generator = np.random.default_rng(2)
    parts = [generator.integers(0, 11, n).astype(float) for n in (20, 40)]
    labels = [range(20), range(20, 60)]
    variances = [part.var(ddof=1) / len(part) for part in parts]
    macro = mean(parts, labels, macro=True)
    assert macro.value == pytest.approx(np.mean([part.mean() for part in parts]))
    assert (macro.errors**2).sum() == pytest.approx(sum(variances) / 4)
    micro = mean(parts, labels)
    assert micro.value == pytest.approx(np.concatenate(parts).mean())
    assert (micro.errors**2).sum() == pytest.approx(variances[0] / 9 + variances[1] * 4 / 9)
    # an image in both parts is one cluster: what it adds to both is one error
    shared = mean([parts[0], parts[0]], [range(20), range(20)])
    assert (shared.errors**2).sum() == pytest.approx(variances[0])


def test_parts_of_one_cluster_are_taken_together_and_none_is_no_mean():
    parts = [np.arange(10.0) % 3 for _ in range(4)]
    labels = [[k] * 10 for k in range(4)]
    together = mean(parts, labels)
    assert together.errors == pytest.approx(
        mean([np.concatenate(parts)], [np.repeat(range(4), 10)]).errors
    )
    assert mean([], []) is mean([np.array([])], [[]]) is None


@pytest.mark.parametrize(("count", "few"), [(29, True), (30, False)])
def test_too_few_clusters_have_neither_interval_nor_p_value(count, few):
    values = np.random.default_rng(3).integers(0, 11, 3 * count) - 5.0
    found = mean([values], [np.arange(3 * count) % count])
    assert found.few is few
    assert (interval(found, (-10, 10)) is None) is (p_value(found, (-10, 10)) is None) is few


def test_a_tiny_category_leaves_a_macro_mean_without_an_interval():
    parts = [np.arange(n) % 7.0 for n in (50, 50, 50, 2)]
    labels = [[(k, n) for n in range(len(part))] for k, part in enumerate(parts)]
    assert mean(parts, labels, macro=True).few
    assert not mean(parts, labels).few


def test_of_equal_scores_the_interval_says_what_was_not_seen():
    # Clopper and Pearson 1934: of 50 of 50, the share is 0.929 or more
    low, high = interval(mean([np.full(50, 10.0)], [range(50)]), SCALE)
    assert low == pytest.approx(9.29, abs=0.05) and high == 10
    assert interval(mean([np.zeros(50)], [range(50)]), SCALE) == pytest.approx(
        [10 - high, 10 - low]
    )


def test_the_end_far_from_seen_scores_moves_only_where_these_are_alike():
    alike = np.where(np.arange(60) % 2, 8.9, 9.1)
    apart = np.where(np.arange(60) % 2, 5.0, 10.0)
    far = []
    for values in (alike, apart):
        found = mean([values], [range(60)])
        low, high = interval(found, SCALE)
        far.append((found.value - low) / (2 * math.sqrt((found.errors**2).sum())))
        assert found.value < high < found.value + 1
    assert far[0] > 5
    assert 1 < far[1] < 1.1


def test_where_a_p_value_is_below_five_percent_no_interval_holds_zero():
    generator = np.random.default_rng(4)
    clear = []
    for _ in range(300):
        values = generator.normal(generator.normal() / 2, 2, 40).round().clip(-10, 10)
        found = mean([values], [range(40)])
        low, high = interval(found, (-10, 10), difference=True)
        p = p_value(found, (-10, 10))
        assert not (p < 0.05 and low <= 0 <= high)
        clear.append((p < 0.05, not low <= 0 <= high))
    # the p-value asks for a little more
    assert set(clear) == {(True, True), (False, False), (False, True)}
    assert clear.count((False, True)) < 15


def test_of_a_difference_few_large_ones_make_the_interval_wide_on_both_sides():
    values = np.zeros(60)
    values[0] = 8
    low, high = interval(mean([values], [range(60)]), (-10, 10), difference=True)
    # as with four degrees of freedom, where Student's interval goes from -0.13 to 0.40
    assert (low, high) == (pytest.approx(-0.16, abs=0.02), pytest.approx(0.75, abs=0.02))
    values[:20] = np.tile([8, -8], 10)
    low, high = interval(mean([values], [range(60)]), (-10, 10), difference=True)
    assert [low, high] == pytest.approx([*ttest_1samp(values, 0).confidence_interval()], rel=0.1)


def test_equal_differences_are_clear_only_where_no_unseen_one_can_turn_them():
    def p(value, count):
        return p_value(mean([np.full(count, value)], [range(count)]), (-10, 10))

    # eight differences of +1 were called clear once
    assert p(1.0, 8) is None
    assert p(1.0, 34) > 0.05 > p(1.0, 40)
    assert p(0.2, 150) > 0.05 > p(0.2, 200)
    assert p(-1.0, 45) == pytest.approx(p(1.0, 45))
    assert p(0.0, 40) == 1


@pytest.mark.parametrize("name", ["even", "high, 5% 0"])
def test_intervals_hold_the_truth(name):
    generator, table = np.random.default_rng(5), intervals.quantiles()[name]
    for layout in intervals.LAYOUTS[1:]:
        cells = intervals.of_means(generator, 300, 50, layout, table)
        clear = cells.pop(intervals.CLEAR)
        # of 5%, and of 93 to 98%, with two standard errors
        assert np.mean(clear) < 0.08
        for held in cells.values():
            assert 0.90 < np.mean(held) < 0.997


def test_equal_editors_are_seldom_called_clearly_apart():
    generator = np.random.default_rng(6)
    # with random signs as a test, 20% are
    assert intervals.of_nothing(generator, 1000, 50, 3.0) < 7


def test_strengths_hold_the_truth():
    cells = intervals.of_strengths(np.random.default_rng(7), 150, 50, intervals.LAYOUTS[1], 1.0)
    assert min(map(np.mean, cells.values())) > 0.88
