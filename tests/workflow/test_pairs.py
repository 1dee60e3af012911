"""Edits compared in pairs, through the whole workflow, with a scripted judge."""

import json

import numpy as np
import pytest
from PIL import Image

from lockstep.demo import tiny
from tests.conftest import ROOT
from tests.workflow.conftest import Workflow, misfits

JUDGE = '''
import json
from pathlib import Path
from typing import Any, Literal

from PIL import ImageStat

from lockstep.judges.protocol import Judgement
from lockstep.judges.settings import ModelJudgeSettings


class Bright:
    """The brighter edit is better; within 10 levels it is the first."""

    def judge(self, pairs):
        return [Judgement(self.reply(pair)) for pair in pairs]

    def reply(self, pair):
        with open("asked.txt", "a") as file:
            print(pair.id, file=file)
        mean = lambda image: ImageStat.Stat(image.convert("L")).mean[0]
        if pair.rubric.names != ["better"]:
            return json.dumps(dict.fromkeys(pair.rubric.names, round(mean(pair.edited) / 25.5)))
        assert pair.prompt.startswith("You see, in this order: the source image, the first edit,")
        first, second = map(mean, pair.shown[1:])
        return json.dumps({"better": "first" if first > second - 10 else "second"})


class BrightSettings(ModelJudgeSettings):
    type: Literal["bright"]
    level: int = 0

    def identity(self) -> dict[str, Any]:
        return {"level": self.level}

    def load(self, torch_device):
        return Bright()
'''
LEVELS = {"dark": 40, "grey": 120, "light": 125, "white": 200, "black": 10}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "work"
    folder.mkdir()
    tiny.make_benchmark(folder / "benchmark.json", per_category=4)
    items = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))
    for name, level in LEVELS.items():
        (folder / name).mkdir()
        for number, item in enumerate(items):
            sample = item["original_image_path"].rpartition("/")[2].rpartition(".")[0]
            # one edit is not there
            if (name, number) != ("dark", 0):
                pixels = np.full((32, 32, 3), level + number, np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{sample}.png")
    (folder / "bright.py").write_text(JUDGE, encoding="utf-8")
    workflow = Workflow(
        folder,
        {
            "results": "results",
            "plugins": [str(folder / "bright.py")],
            "benchmark": {"path": "benchmark.json", "categories": ["physical"]},
            "editors": [
                {"name": name, "type": "precomputed", "folder": name, "size": "native"}
                for name in LEVELS
            ],
            "judge": {
                "type": "bright",
                "pairs": True,
                "rubrics": str(ROOT / "config" / "rubrics"),
            },
            "devices": {"accelerator": "cpu", "device_ids": [0]},
        },
    )
    workflow.output = workflow.run()
    return workflow


def asked(workflow):
    return len((workflow.folder / "asked.txt").read_text(encoding="utf-8").splitlines())


def test_pairs_rank_the_editors(run):
    rows = run.report()["arena"]
    assert [row["category"] for row in rows] == ["physical"]
    assert json.loads((run.results / "arena.json").read_text(encoding="utf-8")) == rows
    (overall,) = rows
    assert overall["reason"] is None
    order = [*overall["editors"]]
    assert (order[0], set(order[1:3]), order[3:]) == (
        "white", {"grey", "light"}, ["dark", "black"],
    )  # fmt: skip
    # what is within 10 levels is decided by the order
    assert overall["position"]["disagree"] == overall["position"]["first"] > 0
    assert overall["bias"]["rating"] > 0
    own = [row for row in overall["matrix"] if (row["editor"], row["against"]) == ("grey", "light")]
    assert own[0]["ties"] == own[0]["disagreeing"] > 0
    assert overall["scores"]["oppose"] == 0


def test_an_edit_that_is_not_there_is_in_no_pair(run):
    chosen = sorted((run.results / "pairs").rglob("chosen.jsonl"))
    assert len(chosen) == 4
    pairs = [json.loads(line) for path in chosen for line in path.read_text().splitlines()]
    assert len(pairs) == 4 * 6
    missing = run.records("edits", editor="dark")[0]
    assert missing["status"] == "edit_failed"
    assert not [p for p in pairs if p["id"] == missing["id"] and "dark" in (p["one"], p["other"])]


def test_the_report_shows_them(run):
    page = (run.results / "report" / "report.html").read_text(encoding="utf-8")
    text = (run.results / "report" / "report.md").read_text(encoding="utf-8")
    assert "Edits compared in pairs" in page
    assert "## Pairs: physical" in text
    asked = "".join(path.read_text() for path in (run.results / "report").rglob("asked-*.js"))
    assert "grey, then light: pairs" in asked or "light, then grey: pairs" in asked


def test_nothing_is_asked_twice(run, tmp_path, monkeypatch):
    again = run.copy(tmp_path / "again")
    count = asked(again)
    assert not misfits(again, monkeypatch)
    # all that was made of judgements is made anew, of what is kept
    for path in (again.results / "pairs").rglob("*.jsonl"):
        path.unlink()
    again.run()
    assert asked(again) == count
    assert again.report()["arena"] == run.report()["arena"]
    found = [
        json.loads(line)
        for path in (again.results / "pairs").glob("*/round-*/shard-*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(found) == 24
    assert all(record["cached"] and record["status"] == "ok" for record in found)
    again.config["judge"]["level"] = 1
    assert "made-with-another-judge" in misfits(again, monkeypatch).values()


def test_the_plan_shows_every_round(run, tmp_path):
    bare = run.copy(tmp_path / "bare")
    bare.config |= {"results": "others", "judge": {**bare.config["judge"], "pairs": False}}
    planned = bare.run("-n", "arena")
    for number in range(4):
        assert f"comparing pairs of physical, round {number}, shard 0" in planned
    assert "comparing pairs" not in bare.run("-n")
