"""The whole workflow, from a benchmark to tables, reaches the quality of the demo.

Three judges score its edits: two on the devices, and one behind a server.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from lockstep.config import load
from lockstep.report.partial import write_partial
from tests.conftest import ROOT
from tests.fake_server import Server, answer
from tests.workflow.conftest import Workflow

LOADED = re.compile(r"loaded Qwen3VLForConditionalGeneration .* on cpu")


def reply(request: dict) -> tuple:
    """Answer with the same number for each criterion that is asked for."""
    names = re.findall(r'\\"(\w+)\\":', json.dumps(request))
    return answer(f"So. {json.dumps(dict.fromkeys(names, 4))}")


@pytest.fixture(scope="module")
def server():
    server = Server(reply)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory, server) -> Workflow:
    """The demo's own configuration, one sample of each of two categories, on one CPU slot."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    config["benchmark"] |= {"path": str(ROOT / config["benchmark"]["path"]), "limit": 1}
    config["benchmark"]["categories"] = ["physical", "referential"]
    config["editors"] = [e for e in config["editors"] if e["name"] in ("final", "identity")]
    for section in (*config["editors"], config["judge"]):
        for key in ("model", "rubrics"):
            if key in section:
                section[key] = str(ROOT / section[key])
    config["devices"]["device_ids"] = [0]
    judge = config.pop("judge")
    served = {"type": "openai", "model": "m", "url": server.url, "rubrics": judge["rubrics"]}
    config["judges"] = [
        {"name": "whole", **judge},
        {"name": "half", **judge, "dtype": "bfloat16"},
        {"name": "served", **served},
    ]
    config["report"]["ensemble"] = True
    workflow = Workflow(tmp_path_factory.mktemp("demo"), config)
    workflow.run()
    return workflow


def scores(demo: Workflow, editor: str, judge: str = "") -> list[dict]:
    """Return the records of an editor's scores, one of each category."""
    files = sorted(demo.results.glob(f"{editor}/*/scores/{judge}/*.jsonl"))
    found = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(found) == 2
    return found


def states(demo: Workflow) -> dict[str, int]:
    """Return the time of each edited image and each judgement."""
    patterns = ("*/*/images/*.png", "*/*/judgements/**/*.json")
    found = (path for pattern in patterns for path in demo.results.glob(pattern))
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_right_edits_get_the_highest_score_and_no_edits_next_to_none(demo):
    assert min(record["score"] for record in scores(demo, "final")) >= 9
    assert max(record["score"] for record in scores(demo, "identity")) <= 1


def test_each_judge_scores_the_same_edits_and_is_loaded_once(demo, server):
    for judge in ("half", "served"):
        records = [*scores(demo, "final", judge), *scores(demo, "identity", judge)]
        assert {record["status"] for record in records} == {"ok"}
    assert len(LOADED.findall(demo.logs())) == 2
    assert len(server.requests) == 4
    assert demo.logs().count("loaded QwenImageEditPipeline") == 1
    assert len(list(demo.results.glob("*/*/edits/*.jsonl"))) == 4


def test_the_report_shows_scores_by_judge_and_how_they_agree(demo):
    report = demo.report()
    overall = report["judges"][-1]
    assert [row["category"] for row in report["judges"]][-1] == "overall"
    assert list(overall["judges"]) == ["whole", "half", "served"]
    assert overall["shared"] == 4
    ranked = {editor: own["headline"]["mean"] for editor, own in report["editors"].items()}
    first = {editor: own["mean"] for editor, own in overall["judges"]["whole"].items()}
    assert first == pytest.approx(ranked)
    for own in (*(overall["judges"][name] for name in ("whole", "half")), overall["ensemble"]):
        assert {editor: row["place"] for editor, row in own.items()} == {"final": 1, "identity": 2}
    alike, *others = overall["pairs"]
    assert (alike["first"], alike["second"], alike["count"]) == ("whole", "half", 4)
    assert alike["spearman"] > 0.8 and alike["same_order"] == 1
    # a judge that says the same of all agrees with nobody
    assert [pair["spearman"] for pair in others] == [None, None]
    page = (demo.results / "report" / "report.html").read_text(encoding="utf-8")
    shown = overall["disagreements"][0]["id"]
    assert "Where the judges disagree most" in page and shown in page
    assert report["miniature"] == ["final", "the judge whole", "the judge half"]
    text = (demo.results / "report" / "report.md").read_text("utf-8")
    assert text.startswith("> **These scores come from small models of the demo (final, the judge")
    assert "say nothing about real models or photos" in page and "## Several judges" in text
    rows = (demo.results / "judges.csv").read_text("utf-8").splitlines()
    assert len(rows) == 5 and rows[0].count("score_") == 3


def test_removing_a_judge_redoes_nothing(demo, server, tmp_path):
    # other tests read the run as it is
    demo = demo.copy(tmp_path / "work")
    judges, made = demo.config["judges"], states(demo)
    assert len(made) == 4 + 4 * 3
    demo.config["judges"] = judges[:2]
    assert "3 jobs: 1 judges, 1 report, 1 all" in demo.run("-n")
    assert "Nothing to be done" in demo.run("-n", "half")
    # the first one, so that another ranks: its judgements are known wherever it stood
    demo.config["judges"] = [judges[2], judges[1]]
    assert "judges.served: 0 judgements are due, 4 are cached" in demo.run("served")
    assert len(server.requests) == 4
    assert states(demo) == made


def test_a_partial_report_counts_the_scores_of_every_judge(demo, tmp_path, monkeypatch):
    demo = demo.copy(tmp_path / "work")
    demo.command()
    monkeypatch.chdir(demo.folder)
    for kind in ("judgements", "scores"):
        for own in demo.results.glob(f"final/*/{kind}/half"):
            shutil.rmtree(own)
    told = write_partial(load.of_file(Path("config.yaml").absolute()), Path("page"))
    assert [(own.scores, own.further) for own in told] == [
        (2, {"half": 0, "served": 2}),
        (2, {"half": 2, "served": 2}),
    ]
    text = Path("page", "report.md").read_text("utf-8")
    others = "half (so far 2 of 4 scores), served (so far 4 of 4 scores)"
    assert f"the whole report also shows {others}." in text.replace("\\", "")
