"""Several seeds a sample: only what is missing is made, and the report knows them together."""

import json
import shutil

from tests.workflow.conftest import EDITOR
from tests.workflow.test_workflow import pixels

OTHER = f"{EDITOR}-seed1"


def times(workflow, editor):
    return {
        path: path.stat().st_mtime_ns
        for path in (workflow.results / editor).glob("*/*/*")
        if path.suffix in (".png", ".jsonl", ".json")
    }


def test_a_second_seed_is_made_beside_the_first_which_stays_as_it_is(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    for category in workflow.results.glob(f"{EDITOR}/*"):
        if category.name != "physical":
            shutil.rmtree(category)
    workflow.config["benchmark"]["categories"] = ["物理"]
    workflow.run()
    kept, alone = times(workflow, EDITOR), workflow.report()
    assert "seeds" not in alone["settings"] and alone["seeds"] == []

    workflow.config["seeds_per_sample"] = 2
    output = workflow.run()
    assert f"with {EDITOR}," not in output and f"with {OTHER}," in output
    assert times(workflow, EDITOR) == kept
    first, second = pixels(workflow), pixels(workflow, OTHER)
    assert first.keys() == second.keys() and all(first[i] != second[i] for i in first)
    edits = {name: workflow.records("edits", editor=name) for name in (EDITOR, OTHER)}
    seeds = {name: {r["id"]: r["seed"] for r in rows} for name, rows in edits.items()}
    assert all(seeds[EDITOR][i] != seeds[OTHER][i] for i in first)

    report = workflow.report()
    (own,) = report["seeds"]
    assert (own["editor"], own["names"]) == (EDITOR, [EDITOR, OTHER])
    assert (own["samples"], own["edits"], own["failed"]) == (2, 4, 0)
    rows = {
        name: {r["id"]: r["score"] for r in workflow.records("scores", editor=name)}
        for name in (EDITOR, OTHER)
    }
    means = [(rows[EDITOR][i] + rows[OTHER][i]) / 2 for i in first]
    headline = report["editors"][EDITOR]["headline"]["mean"]
    assert abs(headline - sum(means) / 2) < 1e-9
    assert abs(own["best"] - sum(max(rows[EDITOR][i], rows[OTHER][i]) for i in first) / 2) < 1e-9
    assert [row["editor"] for row in report["leaderboard"]] == [EDITOR]
    index = (workflow.results / "report" / "data" / "index.js").read_text(encoding="utf-8")
    shown = json.loads(index.partition('",')[2].rpartition(")")[0])["editors"]
    assert [(e["name"], e["first_seed"], e["standing"]) for e in shown] == [
        (EDITOR, EDITOR, True),
        (OTHER, EDITOR, False),
    ]

    # fewer seeds leave what is there
    del workflow.config["seeds_per_sample"]
    workflow.run()
    assert times(workflow, EDITOR) == kept
    assert workflow.report()["editors"] == alone["editors"]
    workflow.config["seeds_per_sample"] = 2
    assert f"with {OTHER}," not in workflow.run()
