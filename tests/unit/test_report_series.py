"""Series of checkpoints in the report: the best step, differences, and what the page shows."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest

from lockstep.config.report import ReportSettings
from lockstep.figures import stats
from lockstep.report import comparisons, numbers, series, write
from lockstep.report.terms import Terms
from lockstep.rubrics.rubric import SCALE
from tests.conftest import ROOT
from tests.unit.test_report_numbers import scored, table


def run(means, samples=60, spread=1.0):
    """Return tables of checkpoints whose scores lie around means, in two categories."""
    draws = np.random.default_rng(0)
    return {
        f"run-{step}": {
            key: scored(key, np.clip(draws.normal(mean, spread, samples), 0, 10).tolist())
            for key in ("physical", "social")
        }
        for step, mean in enumerate(means)
    }


def terms(**given):
    headline = {"number": "score", "aggregate": "micro", "scale": SCALE, "protocol": None}
    return Terms(ReportSettings(**given), SCALE, {}, headline)


def told(frames, own=None, **given):
    own = own or {"run": [name for name in frames if name.startswith("run")]}
    steps = {name: number for number, name in enumerate(frames)}
    headlines = numbers._scores(frames)
    best = series.best_of(own, frames, headlines, terms(**given))
    (found,) = series.compared(own, steps, best, frames, headlines, terms(**given))
    return found


def test_the_best_step_and_the_earliest_that_is_not_clearly_different_from_it():
    found = told(run([2, 4, 6, 7.9, 8, 8.1]))
    assert (found["best"], found["earliest"]) == ("run-5", "run-3")
    first, *others, last = found["steps"]
    assert (first["from_first"], first["from_previous"]) == (None, None)
    assert last["from_best"] is None
    for place, line in enumerate(others, 1):
        rows = [line[kind] for kind in ("from_first", "from_previous", "from_best")]
        assert {row["first"] for row in rows} == {f"run-{place}"}
        assert [row["second"] for row in rows] == ["run-0", f"run-{place - 1}", "run-5"]
        assert {(row["category"], row["count"]) for row in rows} == {("overall", 120)}
    assert others[0]["from_first"]["clear"] and others[0]["from_first"]["difference"] > 1.5
    assert not others[3]["from_best"]["clear"]


def test_with_too_few_samples_no_earlier_step_is_called_as_good_as_the_best():
    found = told(run([2, 8], samples=10))
    assert (found["best"], found["earliest"]) == ("run-1", None)


def test_differences_of_a_series_are_those_of_any_two_editors_and_corrected_together():
    frames = run([3, 5, 6])
    found = told(frames)
    (alone,) = [
        row
        for row in comparisons.pairs(
            {name: frames[name] for name in ("run-1", "run-0")}, numbers._scores(frames), terms()
        )
        if row["category"] == "overall"
    ]
    row = found["steps"][1]["from_first"]
    apart = {"p_holm", "clear"}
    assert {k: v for k, v in row.items() if k not in apart} == {
        k: v for k, v in alone.items() if k not in apart
    }
    rows = {
        (row["first"], row["second"]): row
        for line in found["steps"]
        for kind in ("from_first", "from_previous", "from_best")
        if (row := line[kind]) is not None
    }
    corrected = stats.holm([row["p_value"] for row in rows.values()])
    assert [row["p_holm"] for row in rows.values()] == corrected


def test_the_earliest_of_equal_steps_is_the_best_and_one_that_lacks_scores_is_none():
    same = run([5, 7])
    same["run-2"] = same["run-1"]
    assert told(same)["best"] == "run-1"
    rows = [(f"physical-{n}", "ok" if n else "edit_failed", 9.0 if n else None) for n in range(60)]
    same["run-3"] = {**run([9])["run-0"], "physical": table("physical", rows)}
    assert told(same, min_coverage=1.0)["best"] == "run-1"
    assert told(same, min_coverage=0.9)["best"] == "run-3"
    lacking = {"run-0": {"physical": table("physical", rows)}}
    found = told(lacking, min_coverage=1.0)
    assert (found["best"], found["earliest"]) == (None, None)
    assert series.shown(["a", "run-0", "run-1"], {"run": ["run-0", "run-1"]}, {}) == ["a", "run-1"]


def test_forty_checkpoints_are_compared_with_three_others_each_and_not_all_with_all(monkeypatch):
    made = []
    monkeypatch.setattr(stats, "paired", lambda *given: made.append(given) or PAIRED)
    frames = {**run(np.linspace(2, 8, 40), samples=4), "other": run([5], samples=4)["run-0"]}
    found = told(frames)
    assert len(found["steps"]) == 40
    assert len(made) <= 3 * 39
    standing = series.shown(list(frames), {"run": list(frames)[:40]}, {"run": found["best"]})
    assert standing == [found["best"], "other"]


PAIRED = {
    **{"count": 8, "first_mean": 1.0, "second_mean": 1.0, "difference": 0.0, "ci95": (0.0, 0.0)},
    **{"ci95_method": "bca", "p_value": 1.0, "p_value_method": "permutation"},
    **{"wins": 0, "ties": 8, "losses": 0},
}

spec = importlib.util.spec_from_file_location("page_benchmark", ROOT / "benchmarks" / "page.py")
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a report in which the last editors are checkpoints of one run."""
    folder = tmp_path_factory.mktemp("results")
    first, *others = made_up.EDITORS
    editors = [
        {"name": name, "type": "diffusers", "model": "owner/name"}
        | ({"series": {"name": "run", "step": 100 * place}} if place else {})
        for place, name in enumerate((first, *others))
    ]
    settings, *given = made_up.make_results(folder, 60, side=32, editors=editors)
    lenient = settings.report.model_copy(update={"min_coverage": 0.5})
    write.write_report(settings.model_copy(update={"report": lenient}), *given)
    return folder / "report"


def test_the_page_shows_a_series_once_and_its_curve(written):
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    first, *others = made_up.EDITORS
    (run,) = report["series"]
    assert [step["editor"] for step in run["steps"]] == others
    assert run["best"] in others
    compared = {row[side] for row in report["comparisons"] for side in ("first", "second")}
    assert compared == {first, run["best"]}
    page = (written / "report.html").read_text(encoding="utf-8")
    results = page.split('<section id="results"')[1].split("</section>")[0]
    headline, rest = results.split('<h2 id="series-run">')
    for other in others:
        assert (other in headline) == (other == run["best"])
        assert other in rest
    assert "Mean scores over the steps" in rest and "series-run.csv" in rest
    curve = pd.read_csv(written / "series-run.csv")
    assert curve["group"].unique().tolist() == ["overall", *made_up.CATEGORIES]
    assert curve["step"].tolist()[: len(others)] == [100 * n for n in range(1, len(others) + 1)]
    means = pd.read_csv(written / "means.csv")
    assert means["editor"].unique().tolist() == [
        name for name in made_up.EDITORS if name in (first, run["best"])
    ]
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "## Checkpoints of run" in text
    index = (written / "data" / "index.js").read_text(encoding="utf-8")
    told = json.loads(index[index.index(",") + 1 : -3])["editors"]
    assert [own["name"] for own in told if own["standing"]] == [
        name for name in made_up.EDITORS if name in (first, run["best"])
    ]
    assert len({own["colour"] for own in told}) == 2
