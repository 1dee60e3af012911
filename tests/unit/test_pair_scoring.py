"""Comparisons of edits by a judge: what it is shown, what is kept, and what fails alone."""

import io
import json
from contextlib import contextmanager, nullcontext

import pytest
from PIL import Image

from lockstep import layout, plan, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DamagedError
from lockstep.jobs import run
from lockstep.jobs.types import PairJob
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.protocol import Judgement
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.settings import ModelJudgeSettings
from lockstep.records import ChosenPair, EditRecord, PairRecord, Picture, ScoreRecord
from lockstep.rubrics.pairs import RUBRIC
from lockstep.scoring.judgements import Place
from lockstep.scoring.pairs import Round, compare_pairs
from tests.conftest import make_sample

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
ORDER = ["green", "red", "blue"]
"""From best to worst."""


class Scripted:
    def __init__(self, broken=()):
        self.seen, self.broken = [], broken

    def judge(self, pairs):
        return [Judgement(self.reply(pair)) for pair in pairs]

    def reply(self, pair):
        *_, first, second = (self.name(image) for image in pair.shown)
        self.seen.append((pair.id, first, second))
        if (first, second) in self.broken:
            return "neither"
        return json.dumps({"better": 1 if ORDER.index(first) < ORDER.index(second) else 2})

    def name(self, image):
        found = [name for name, colour in COLOURS.items() if image.getpixel((0, 0)) == colour]
        return found[0] if found else "source"


class Settings(ModelJudgeSettings):
    type: str = "scripted"

    def identity(self):
        return {}

    def load(self, torch_device):
        return JUDGE[0]


JUDGE = []


@pytest.fixture
def judge():
    JUDGE[:] = [Scripted()]
    return JUDGE[0]


@pytest.fixture
def round_of(tmp_path):
    """Samples x and y, edited by three editors; all pairs are chosen."""
    results = tmp_path / "results"
    folder = layout.source_images(results)
    folder.mkdir(parents=True)
    samples = [
        make_sample(folder, name).model_copy(update={"image": f"images/{name}-source.png"})
        for name in ("x", "y")
    ]
    records.write_records(layout.manifest(results, samples[0].category), samples)
    edits = {}
    for editor, colour in COLOURS.items():
        folder = layout.folder(results, editor, samples[0].category)
        edits[editor] = [layout.edits(results, editor, samples[0].category, 0, 1)]
        found = []
        for sample in samples:
            image = Image.new("RGB", (8, 8), colour)
            path = layout.edited(folder, sample.id)
            key = f"{editor}-{sample.id}"
            records.save_edit(path, image, {"key": key})
            found.append(
                EditRecord(
                    id=sample.id, category=sample.category, key=key, status="ok",
                    image=layout.below_folder(path), pixels_sha256=records.pixels_sha256(image),
                    width=8, height=8, seed=0, wave=0, shard=0, device="cpu0",
                )
            )  # fmt: skip
        records.write_records(edits[editor][0], found)
    names = [("red", "green"), ("red", "blue"), ("green", "blue")]
    chosen = [ChosenPair(id=s.id, one=a, other=b) for a, b in names for s in samples]
    own = Round(Settings(), results, samples[0].category, 0, edits)
    records.write_records(layout.chosen_pairs(results, own.category, 0), chosen)
    return own


def compared(own, shard=0, shards=1):
    device = Device("cpu", "0", "cpu0")
    compare_pairs(own, Place([[device]] * shards, shard, "pairs", io.StringIO()))
    path = layout.pairs(own.results, own.category, 0, shard, shards)
    return records.read_records(path, PairRecord)


def replies(found):
    return {(r.id, r.one, r.other): (r.status, r.forward, r.backward) for r in found}


def test_both_orders_are_shown_and_the_better_edit_wins(round_of, judge):
    found = replies(compared(round_of))
    assert found["x", "red", "green"] == ("ok", "second", "first")
    assert found["y", "green", "blue"] == ("ok", "first", "second")
    assert sorted(judge.seen) == sorted(
        (sample, *order)
        for sample in "xy"
        for pair in (("red", "green"), ("red", "blue"), ("green", "blue"))
        for order in (pair, pair[::-1])
    )


def test_what_is_kept_is_not_asked_again(round_of, judge):
    before = compared(round_of)
    assert not any(record.cached for record in before)
    judge.seen.clear()
    again = compared(round_of)
    assert judge.seen == []
    assert all(record.cached for record in again)
    assert replies(again) == replies(before)
    # one other edit asks for its own comparisons alone, in both orders
    folder = layout.folder(round_of.results, "blue", round_of.category)
    edit, other = records.read_records(round_of.edits["blue"][0], EditRecord)
    image = Image.new("RGB", (9, 9), COLOURS["blue"])
    records.save_edit(layout.edited(folder, "x"), image, {"key": edit.key})
    edit = edit.model_copy(update={"pixels_sha256": records.pixels_sha256(image)})
    records.write_records(round_of.edits["blue"][0], [edit, other])
    compared(round_of)
    assert len(judge.seen) == 4
    assert all(sample == "x" and "blue" in order for sample, *order in judge.seen)


def test_shards_share_pairs_by_their_sample(round_of, judge):
    found = [replies(compared(round_of, shard, 2)) for shard in range(2)]
    assert [{sample for sample, *_ in own} for own in found] == [{"x"}, {"y"}]
    assert found[0] | found[1] == replies(compared(round_of))
    assert plan.pairs_of_shard([4, 0, 3, 0, 2], 0, 2) == [1, 3, 4, 0]


def test_one_failed_order_is_no_comparison_and_no_tie(round_of, judge):
    judge.broken = [("green", "red")]
    found = {(r.id, r.one, r.other): r for r in compared(round_of)}
    bad = found["x", "red", "green"]
    assert (bad.status, bad.forward, bad.backward) == ("judge_failed", None, None)
    assert "found no JSON object" in bad.error
    assert found["x", "red", "blue"].status == "ok"


@pytest.mark.parametrize("what", ["gone", "another", "failed"])
def test_an_edit_that_is_not_there_fails_alone(round_of, judge, what):
    folder = layout.folder(round_of.results, "red", round_of.category)
    path = layout.edited(folder, "x")
    if what == "gone":
        path.unlink()
    elif what == "another":
        records.save_edit(path, Image.new("RGB", (8, 8)), {"key": "other"})
    else:
        (file,) = round_of.edits["red"]
        first, second = records.read_records(file, EditRecord)
        failed = first.model_copy(update={"status": "edit_failed", "image": None})
        records.write_records(file, [failed, second])
    found = compared(round_of)
    assert {r.id for r in found if r.status == "missing"} == {"x"}
    assert sum(r.status == "missing" for r in found) == 2
    assert sum(r.status == "ok" for r in found) == 4


def test_pairs_of_another_run_are_refused(round_of, judge):
    chosen = layout.chosen_pairs(round_of.results, round_of.category, 0)
    records.write_records(chosen, [ChosenPair(id="z", one="red", other="green")])
    with pytest.raises(DamagedError, match="expected pairs of this run's samples and editors"):
        compared(round_of)
    records.write_records(chosen, [ChosenPair(id="x", one="red", other="pink")])
    with pytest.raises(DamagedError, match="found 'x' of 'red' and 'pink'"):
        compared(round_of)


def test_the_question_names_the_images_in_their_order(sample):
    edit = Picture(image="e.png", sha256="0", width=1, height=1)
    told = RUBRIC.prompt(sample.model_copy(update={"more": [edit]}))
    assert told.startswith("You see, in this order: the source image, the first edit, the second")
    more = sample.model_copy(update={"more": [edit, edit], "reference": edit})
    assert RUBRIC.prompt(more).startswith(
        "You see, in this order: source image 1, source image 2, the first edit, a reference (what "
        "a correct edit looks like; it is not judged), the second edit."
    )
    assert told.count("You see") == 1
    assert sample.instruction in told
    assert '{"better": <1-3>}' in told
    assert "{{" not in told


def test_a_judge_in_this_process_answers_under_constraint(round_of, models):
    settings = Qwen3VLSettings(
        type="qwen3_vl", model=str(models / "judge"), dtype="float32", mode="score_only",
        min_schema_mass=0,
    )  # fmt: skip

    @contextmanager
    def loaded(devices, device_settings, load):
        yield load("cpu")

    place = Place([[Device("cpu", "0", "cpu0")]], 0, "pairs", io.StringIO(), loaded=loaded)
    compare_pairs(round_of._replace(judge=settings), place)
    path = layout.pairs(round_of.results, round_of.category, 0, 0, 1)
    found = records.read_records(path, PairRecord)
    assert [record.status for record in found] == ["ok"] * 6
    assert {record.forward for record in found} <= {"first", "second", "equal"}
    kept = layout.pair_judgement(round_of.results, round_of.category, "red", "green", "x")
    (judgement,) = records.read_records(kept, ScoreRecord)
    assert sum(judgement.probabilities["better"]) == pytest.approx(1)
    assert len(judgement.probabilities["better"]) == 3


def test_comparisons_count_against_the_budget_of_all_judgements(round_of, monkeypatch):
    own = round_of
    job = PairJob(
        judge=OpenAISettings(type="openai", model="some", url="http://127.0.0.1:1/v1"),
        results=str(own.results), category=own.category, round=0,
        edits={name: tuple(map(str, paths)) for name, paths in own.edits.items()},
        devices=(Device("cpu", "0", "cpu0"),), shard=0, log="",
        settings=DeviceSettings(), resident=True,
    )  # fmt: skip
    places = []
    monkeypatch.setattr(run.notes, "noted", lambda output: nullcontext())
    monkeypatch.setattr(
        "lockstep.scoring.pairs.compare_pairs", lambda own, place: places.append(place)
    )
    run.run_here(job, io.StringIO(), None)
    assert [place.ledger for place in places] == [layout.judge_spent(own.results)]
