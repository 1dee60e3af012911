"""Numbers of real runs without models: failures of each kind, and comparisons."""

import json
import shutil

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from lockstep.demo import tiny
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT
from tests.workflow.conftest import Workflow

RUBRICS = ROOT / "config" / "rubrics"
NAMES = ("00000_物理_easy", "00001_物理_medium", "00002_物理_hard", "00003_物理_easy")


def valid(workflow, path, name):
    """Return a JSON of the results that fits its published schema."""
    found = json.loads((workflow.results / path).read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(found))
    return found


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A run in which one edit fails, one reply does not parse and one edited image is lost."""
    folder = tmp_path_factory.mktemp("failed") / "work"
    folder.mkdir()
    tiny.make_benchmark(folder / "benchmark.json", per_category=4)
    criteria = read_rubric(RUBRICS / "physical.yaml").names
    for place, name in enumerate(NAMES):
        for editor in ("finished", "control"):
            reply = json.dumps(dict.fromkeys(criteria, 8 - place))
            path = folder / "replies" / editor / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(reply, encoding="utf-8")
    (folder / "replies" / "finished" / f"{NAMES[2]}.txt").write_text("I give it 7/10.")
    images = folder / "images"
    images.mkdir()
    for name in (NAMES[0], NAMES[2], NAMES[3]):
        Image.new("RGB", (64, 64), (9, 99, 199)).save(images / f"{name}.png")
    workflow = Workflow(
        folder,
        {
            "results": "results",
            "benchmark": {"path": "benchmark.json", "categories": ["physical"]},
            "editors": [
                {"name": "finished", "type": "precomputed", "folder": "images"},
                {"name": "control", "type": "identity"},
            ],
            "judge": {"type": "precomputed", "folder": "replies", "rubrics": str(RUBRICS)},
            "devices": {"accelerator": "cpu", "device_ids": [0]},
        },
    )
    edits = [
        f"results/{name}/physical/edits/shard-0-of-1.jsonl" for name in ("finished", "control")
    ]
    workflow.run(*edits)
    image = workflow.results / "finished" / "physical" / "images" / f"{NAMES[3]}.png"
    # it is away while it is to be judged, by a run that may not edit
    image.rename(folder / "away.png")
    workflow.run("--allowed-rules", "score", "tabulate", "report", "all")
    (folder / "away.png").rename(image)
    return workflow


def test_what_failed_is_shown_counted_and_bounded_and_moves_no_mean(failed):
    report = valid(failed, "report/report.json", "report.schema.json")
    numbers = report["editors"]["finished"]
    for row in (numbers["categories"]["physical"], numbers["overall"]["micro"]):
        assert row["failures"] == {"edit_failed": 1, "judge_failed": 1, "missing": 1}
        assert (row["count"], row["failed"], row["coverage"]) == (1, 3, 0.25)
        assert row["mean"] == row["min"] == row["max"] == 8
        # 8 and three times 0, or three times 10
        assert row["bounds"] == [2, 9.5]
    assert numbers["difficulties"]["easy"]["failures"] == {"missing": 1}
    assert report["editors"]["control"]["overall"]["micro"]["mean"] == 6.5
    (pair,) = (row for row in report["comparisons"] if row["category"] == "overall")
    # only over the sample that both have a score for
    assert (pair["count"], pair["difference"], pair["ties"]) == (1, 0, 1)
    assert not report["complete"] and report["leaderboard"] == []
    text = (failed.results / "report" / "report.md").read_text(encoding="utf-8")
    assert text.startswith(
        "> **INCOMPLETE: less than 95.0% of the samples have a score (finished in physical 25.0%)"
    )
    assert "| 1 edit_failed, 1 judge_failed, 1 missing | 2.00 | 9.50 |" in text
    statuses = [r["status"] for r in failed.records("scores", editor="finished")]
    assert statuses == ["ok", "edit_failed", "judge_failed", "missing"]


def test_runs_and_scores_of_others_are_compared(failed, tmp_path):
    """With a benchmark and without one."""
    workflow = failed.copy(tmp_path / "work")
    shutil.copytree(workflow.results, workflow.folder / "theirs")
    rows = [f"物理,{name},{score}" for name, score in zip(NAMES, (5, 5, 5, 5), strict=True)]
    (workflow.folder / "scores.csv").write_text("\n".join(["category,id,score", *rows]))
    sources = {"ours": "results", "theirs": "theirs", "published": "scores.csv"}
    workflow.config["compare"] = {"sources": sources}
    output = workflow.run("compare")
    assert "1 job: 1 compare" in output
    found = valid(workflow, "compare/compare.json", "compare.schema.json")
    assert list(found["editors"]) == [
        *("ours/control", "ours/finished", "published", "theirs/control", "theirs/finished")
    ]
    pairs = {
        (row["first"], row["second"]): row
        for row in found["comparisons"]
        if row["category"] == "overall"
    }
    same = pairs["ours/control", "theirs/control"]
    assert (same["count"], same["ties"], same["same_judge"]) == (4, 4, True)
    assert pairs["ours/control", "published"]["difference"] == 1.5

    alone = Workflow(workflow.folder, {"results": "alone", "compare": workflow.config["compare"]})
    alone.run()
    again = valid(alone, "compare/compare.json", "compare.schema.json")
    assert again["comparisons"] == found["comparisons"]
    assert {path.name for path in (alone.results / "compare").iterdir()} == {
        *("compare.json", "compare.md", "scores.csv", "scores.tex")
    }
    alone.config["compare"] = {"sources": {"gone": "nowhere"}}
    output = alone.run("-n", check=False)
    assert "compare.sources: found no file 'nowhere'" in output
    assert "Traceback" not in output
