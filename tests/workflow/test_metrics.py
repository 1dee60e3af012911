"""What models with local weights tell of edits, in real runs."""

import csv
import json

from tests import tiny_encoders
from tests.workflow.conftest import EDITOR, judge_by_files, make


def test_only_what_another_model_tells_is_measured_again(models, tmp_path):
    folders = {
        "clip": tiny_encoders.make_clip(tmp_path / "clip"),
        "dino": tiny_encoders.make_dino(tmp_path / "dino"),
        "lpips": tiny_encoders.make_alexnet(tmp_path / "lpips"),
    }
    control = [{"name": EDITOR, "type": "identity"}]
    one = {"path": "benchmark.json", "categories": ["physical"]}
    workflow = make(tmp_path / "work", models, per_category=2, editors=control, benchmark=one)
    judge_by_files(workflow)
    workflow.config["metrics"] = {name: str(folder) for name, folder in folders.items()}
    workflow.run()

    place = workflow.results / EDITOR / "physical"
    with open(place / "table.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert float(row["clip_similarity"]) == float(row["dino_similarity"]) == 1
        assert float(row["lpips"]) == 0 and float(row["clip_text"]) < 1
    told = workflow.report()["editors"][EDITOR]["preservation"]["distribution"]
    assert told["dino_similarity"] == {"low": 1, "median": 1, "high": 1}
    before = (place / "similarity.jsonl").read_text(encoding="utf-8")

    workflow.config["metrics"]["dino"] = str(tiny_encoders.make_dino(tmp_path / "other", seed=1))
    planned = workflow.run("-n")
    for stage in ("tabulating", "writing the report"):
        assert stage in planned
    for stage in ("editing", "scoring", "reading"):
        assert stage not in planned
    workflow.run()
    log = workflow.logs("tabulate/**/*.log")
    assert "dino: measured 2 of 2" in log and "clip: measured" not in log
    after = (place / "similarity.jsonl").read_text(encoding="utf-8")
    kept = [
        line for line in before.splitlines() if "dino_similarity" not in json.loads(line)["numbers"]
    ]
    assert len(kept) == 4 and set(kept) < set(after.splitlines())
    assert workflow.run("-n").count("Nothing to be done") == 1
