"""Anchors: made of a run, judged again by another."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lockstep import records
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.judges import keys
from lockstep.judges.protocol import Judgement
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import Picture, ScoreRecord
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import anchors
from lockstep.scoring.judgements import Place
from tests.conftest import ROOT
from tests.score_job import Job

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
DEVICES = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))
SETTINGS = Qwen3VLSettings(
    type="qwen3_vl", model="a/b", repeats=3, rubrics=str(ROOT / "config" / "rubrics")
)


class FakeJudge:
    """Gives the i-th sample i, and some more."""

    def __init__(self, more=0, name="old"):
        self.more, self.name = more, name
        self.pairs = []

    def fitting(self):
        return 4

    def judge(self, pairs):
        self.pairs += pairs
        return [Judgement(self.reply(pair)) for pair in pairs]

    def reply(self, pair):
        number = int(pair.id.removeprefix("e.").removeprefix("s"))
        return json.dumps(dict.fromkeys(RUBRIC.names, min(10, number + self.more)))


@pytest.fixture
def use(monkeypatch):
    def use(judge):
        monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
        monkeypatch.setattr(keys, "identity", lambda _: {"model": judge.name})
        return judge

    return use


@pytest.fixture
def made(tmp_path, use):
    """Return the folder of an anchor set of 4 of 6 edits, whose run is gone."""
    use(FakeJudge())
    (tmp_path / "run").mkdir()
    job = Job(tmp_path / "run", [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(6)])
    shown = []
    for name, side in (("more", 9), ("reference", 10)):
        path = tmp_path / "run" / f"{name}.png"
        Image.new("RGB", (side, side)).save(path)
        shown.append(Picture(image=str(path), sha256=name, width=side, height=side))
    also = {"more": shown[:1], "reference": shown[1]}
    samples = [sample.model_copy(update=also) for sample in records.read_manifest(job.manifest)]
    records.write_records(job.manifest, samples)
    job.run(SETTINGS.model_copy(update={"repeats": 1}), DEVICES)
    folder = tmp_path / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchors, "PER_CATEGORY", 4)
        anchors.collect([job.manifest], ["e"], tmp_path / "run", folder)
    shutil.rmtree(tmp_path / "run")
    return folder


def judge_again(folder, tmp_path, terminal):
    judge = SETTINGS.model_copy(update={"anchors": str(folder)})
    rubrics = {"physical": read_rubric(Path(judge.rubric_file("physical")))}
    results = tmp_path / "anchors"
    anchors.score_anchors(judge, rubrics, results, Place([DEVICES], 0, "anchors", terminal))
    return records.read_json(results / "drift.json")


def test_a_set_spreads_over_the_scores_and_stands_alone(made):
    found = records.read_records(made / "anchors.jsonl", anchors.Anchor)
    assert [anchor.id for anchor in found] == ["e.s0", "e.s2", "e.s3", "e.s5"]
    for anchor in found:
        with Image.open(made / anchor.edited) as image:
            assert records.pixels_sha256(image) == anchor.pixels_sha256
        assert (made / anchor.image).exists()
    recorded = records.read_records(made / "recorded.jsonl", ScoreRecord)
    assert [record.id for record in recorded] == [anchor.id for anchor in found]


def test_the_same_judge_does_not_drift(made, tmp_path, use, capsys):
    import sys

    judge = use(FakeJudge())
    rows = judge_again(made, tmp_path, sys.stdout)
    assert [row["category"] for row in rows] == ["physical", "overall"]
    expected = {"anchors": 4, "count": 4, "difference": 0, "distance": 0, "largest": 0}
    assert all(row.items() >= {**expected, "same_judge": True}.items() for row in rows)
    assert [pair.seed for pair in judge.pairs] == [None] * 4
    sizes = [[image.width for image in pair.shown] for pair in judge.pairs]
    assert sizes == [[96, 9, 10, 8]] * 4
    # judged once, and known from then on
    judge_again(made, tmp_path, sys.stdout)
    assert len(judge.pairs) == 4


def test_another_judge_drifts(made, tmp_path, use):
    import sys

    use(FakeJudge(more=1, name="new"))
    (row, _) = judge_again(made, tmp_path, sys.stdout)
    recorded = records.read_records(made / "recorded.jsonl", ScoreRecord)
    numbers = [int(record.id[-1]) for record in recorded]

    def score(value):
        return combine.score(RUBRIC, dict.fromkeys(RUBRIC.names, value))

    differences = [score(n + 1) - score(n) for n in numbers]
    assert row["difference"] == pytest.approx(sum(differences) / 4)
    assert row["largest"] == pytest.approx(max(differences))
    assert not row["same_judge"]


def test_drift_by_hand():
    def record(name, score, **fields):
        status = "judge_failed" if score is None else "ok"
        return ScoreRecord(id=name, category="physical", status=status, score=score, **fields)

    before = [record("a", 5), record("b", 6), record("c", 7), record("d", 8), record("e", None)]
    now = [record("a", 4), record("b", 8), record("c", None), record("new", 1), record("e", 5)]
    (row, _) = anchors.drift(before, now)
    assert (row["anchors"], row["count"]) == (5, 2)
    assert (row["difference"], row["distance"], row["largest"]) == (0.5, 1.5, 2)
    (none, _) = anchors.drift([], now)
    assert (none["count"], none["difference"], none["largest"]) == (0, None, None)
