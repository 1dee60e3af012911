"""Summaries: failures move no mean."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from lockstep import stats
from lockstep.rubric import SCALE


def test_a_summary_by_hand():
    summary = stats.summarise(stats.Group([2, 4, 9], {"missing": 2}), 4, SCALE)
    assert summary["mean"] == 5
    assert summary["std"] == pytest.approx(math.sqrt((9 + 1 + 16) / 3))
    assert (summary["median"], summary["min"], summary["max"]) == (4, 2, 9)
    assert (summary["count"], summary["failed"], summary["coverage"]) == (3, 2, 0.6)


def test_the_interval_is_scipys():
    scores = [7.1, 3.2, 9.0, 5.5, 6.1, 8.4]
    expected = bootstrap(
        (np.array(scores),), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert stats.summarise(stats.Group(scores, {}), 7, SCALE)["ci95"] == [
        expected.low,
        expected.high,
    ]


@pytest.mark.parametrize(("scores", "samples"), [([], 0), ([], 3), ([5.0], 1), ([5.0] * 4, 4)])
def test_where_there_is_nothing_to_say_nothing_is_said(scores, samples):
    summary = stats.summarise(stats.Group(scores, {"missing": samples - len(scores)}), 7, SCALE)
    assert summary["ci95"] is None
    assert summary["mean"] == (5 if scores else None)
    assert summary["coverage"] == (len(scores) / samples if samples else None)


def test_overall_counts_samples_and_categories():
    overall = stats.overall(
        {"a": stats.Group([2.0, 4.0], {"missing": 1}), "b": stats.Group([9.0], {})}, 7, SCALE
    )
    assert overall["micro"]["mean"] == 5
    assert overall["macro"]["mean"] == 6
    assert overall["macro"]["count"] == overall["micro"]["count"] == 3
    assert overall["macro"]["failed"] == 1


def test_no_macro_mean_while_a_category_has_no_score():
    overall = stats.overall(
        {"a": stats.Group([2.0], {}), "b": stats.Group([], {"missing": 1})}, 7, SCALE
    )
    assert overall["macro"]["mean"] is None
    assert overall["micro"]["mean"] == 2


def test_separation_by_hand():
    found = stats.separation([5.0, 7.0], [1.0, 5.0])
    # 5 > 1, 5 = 5, 7 > 1, 7 > 5
    assert found["auc"] == 3.5 / 4
    assert (found["mean"], found["control_mean"]) == (6, 3)
    assert (found["count"], found["controls"]) == (2, 2)
    assert stats.separation([1.0], [2.0, 3.0])["auc"] == 0
    assert stats.separation([2.0] * 3, [2.0])["auc"] == 0.5
    assert stats.separation([], [2.0])["auc"] is stats.separation([2.0], [])["auc"] is None
