"""Correlations and their intervals over clusters."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lockstep.figures import correlations as module
from lockstep.figures.correlations import MEASURES, correlations

SCIPYS = {
    "spearman": scipy_stats.spearmanr,
    "kendall": scipy_stats.kendalltau,
    "pearson": scipy_stats.pearsonr,
}


def drawn(seed, count=80, digits=0):
    """Return two raters' scores with ties."""
    generator = np.random.default_rng(seed)
    x = np.round(generator.normal(6, 2, count), digits)
    return x, np.round(x + generator.normal(0, 2, count), digits)


@pytest.mark.parametrize("digits", [0, 9])
@pytest.mark.parametrize("name", MEASURES)
def test_values_are_scipys(name, digits):
    x, y = drawn(0, digits=digits)
    row = correlations(np.column_stack([x, y]), range(len(x)))
    assert row[name] == pytest.approx(SCIPYS[name](x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("name", MEASURES)
def test_influence_is_what_one_pair_more_moves(name):
    x, y = drawn(1)
    found = MEASURES[name](x, y)
    assert found.influence.sum() == pytest.approx(0, abs=1e-9)
    times = 200
    for place in (0, 7, 30):
        more = [np.append(np.tile(own, times), own[place]) for own in (x, y)]
        moved = (MEASURES[name](*more).value - found.value) * (times * len(x) + 1)
        assert moved == pytest.approx(found.influence[place], abs=0.01)


def test_how_many_numbers_are_held_at_a_time_changes_no_result(monkeypatch):
    x, y = drawn(2)
    whole = MEASURES["kendall"](x, y)
    monkeypatch.setattr(module, "AT_A_TIME", 1)
    parts = MEASURES["kendall"](x, y)
    np.testing.assert_array_equal(whole.influence, parts.influence)


def test_edits_of_one_sample_do_not_make_it_surer():
    x, y = drawn(3)
    once = correlations(np.column_stack([x, y]), range(80))
    # eight editors that do the same
    often = correlations(np.column_stack([np.repeat(x, 8), np.repeat(y, 8)]), np.arange(640) // 8)
    assert (often["count"], often["clusters"]) == (640, 80)
    for name in MEASURES:
        assert often[name] == pytest.approx(once[name])
        assert often[f"{name}_ci95"] == pytest.approx(once[f"{name}_ci95"], abs=1e-9)


def test_there_is_no_interval_of_too_few_clusters_or_of_full_agreement():
    x, y = drawn(4, 60)
    pairs = np.column_stack([x, y])
    assert correlations(pairs, np.arange(60) // 2)["kendall_ci95"] is not None
    few = correlations(pairs[:58], np.arange(58) // 2)
    assert few["clusters"] == 29 and few["kendall"] is not None and few["kendall_ci95"] is None
    same = correlations(np.column_stack([x, x]), range(60))
    assert (same["pearson"], same["pearson_ci95"]) == (1, None)
    flat = correlations(np.column_stack([x, np.ones(60)]), range(60))
    assert flat["spearman"] is flat["spearman_ci95"] is None


def test_there_is_no_interval_where_all_clusters_say_the_same():
    alike = np.tile([[0, 0], [0, 0], [5, 5], [5, 5], [0, 5], [5, 0]], (40, 1))
    row = correlations(alike.astype(float), np.repeat(range(40), 6))
    assert row["pearson"] == pytest.approx(1 / 3)
    assert row["pearson_ci95"] is None


@pytest.mark.parametrize("name", MEASURES)
def test_intervals_hold_the_truth_where_editors_share_samples(name):
    generator = np.random.default_rng(5)

    def edits(samples):
        shared = generator.normal(size=(3, samples, 1))
        own = generator.normal(size=(3, samples, 8)) / 2
        quality = shared[0] + own[0]
        return [np.round(quality + shared[k] / 2 + own[k], 1).ravel() for k in (1, 2)]

    truth = MEASURES[name](*edits(5000)).value
    hits = 0
    for _ in range(200):
        pairs = np.column_stack(edits(40))
        low, high = correlations(pairs, np.arange(320) // 8)[f"{name}_ci95"]
        hits += low <= truth <= high
    # an interval that takes edits for independent holds it in 60%
    assert 180 <= hits <= 199
