"""Comparisons of edits by a judge: what it is shown, what is kept, and what fails alone."""

import io
import json
from contextlib import contextmanager, nullcontext

import pytest
from PIL import Image

from lockstep import layout, plan, records
from lockstep.demo import views, world
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DamagedError, RubricError
from lockstep.jobs import run
from lockstep.jobs.types import PairJob
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.protocol import Judgement, Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.settings import ModelJudgeSettings
from lockstep.records import (
    AskedRecord,
    ChosenPair,
    EditRecord,
    PairRecord,
    Picture,
    RewriteRecord,
    ScoreRecord,
)
from lockstep.rubrics.pairs import OURS, read_pairs
from lockstep.scoring.judgements import Place
from lockstep.scoring.pairs import Round, compare_pairs
from miniature import drawing, rows
from tests.conftest import ROOT, make_sample

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
        return json.dumps(
            {"better": "first" if ORDER.index(first) < ORDER.index(second) else "second"}
        )

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


def test_edits_with_the_same_pixels_are_equal_without_a_question(round_of, judge):
    folder = layout.folder(round_of.results, "blue", round_of.category)
    first, second = records.read_records(round_of.edits["blue"][0], EditRecord)
    image = Image.new("RGB", (8, 8), COLOURS["red"])
    records.save_edit(layout.edited(folder, "x"), image, {"key": first.key})
    same = first.model_copy(update={"pixels_sha256": records.pixels_sha256(image)})
    records.write_records(round_of.edits["blue"][0], [same, second])
    found = replies(compared(round_of))
    assert found["x", "red", "blue"] == ("ok", "equal", "equal")
    assert ("x", "red", "red") not in judge.seen
    assert found["y", "red", "blue"] == ("ok", "first", "second")


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
    told = OURS.calls[0].prompt(sample.model_copy(update={"more": [edit]}))
    assert told.startswith("You see, in this order: the source image, the first edit, the second")
    more = sample.model_copy(update={"more": [edit, edit], "reference": edit})
    both = OURS.calls[0].prompt(more)
    assert both.startswith(
        "You see, in this order: source image 1, source image 2, the first edit, a reference (what "
        "a correct edit looks like; it is not judged), the second edit."
    )
    assert told.count("You see") == 1
    assert sample.instruction in told
    assert '{"better": "first or second or equal"}' in told
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
    record = next(r for r in found if (r.id, r.one, r.other) == ("x", "red", "green"))
    assert record.forward_shares == dict(
        zip(("first", "second", "equal"), judgement.probabilities["better"], strict=True)
    )
    assert record.forward == max(record.forward_shares, key=record.forward_shares.get)


def test_the_instruction_shown_is_that_of_scores(round_of, judge):
    def told(editor, text):
        path = layout.rewritten(layout.folder(round_of.results, editor, round_of.category))
        own = [(text if name == "x" else None) for name in ("x", "y")]
        kept = [
            RewriteRecord(
                id=name, category=round_of.category, status="ok", instruction="i", rewritten=text
            )
            for name, text in zip(("x", "y"), own, strict=True)
        ]
        records.write_records(path, kept)

    def prompts(which):
        compared(round_of._replace(judge=Settings(instruction_shown=which)))
        file = layout.pairs_asked(layout.pairs(round_of.results, round_of.category, 0, 0, 1))
        return {
            (r.id, j.which): j.prompt
            for r in records.read_records(file, AskedRecord)
            for j in r.judgements
        }

    told("red", "Red words.")
    told("green", "Red words.")
    original = prompts("original")
    assert not any("Red words." in prompt for prompt in original.values())
    judge.seen.clear()
    found = prompts("rewritten")
    same = found["x", "red, then green: pairs"]
    assert "Red words." in same and "For the first edit" not in same
    apart = found["x", "blue, then red: pairs"]
    assert apart.index("For the first edit") < apart.index("For the second edit:\nRed words.")
    # what no instruction changes is not asked again
    assert {name for name, *_ in judge.seen} == {"x"}
    assert found["y", "red, then green: pairs"] == original["y", "red, then green: pairs"]
    assert (
        "The editor was told this in its place:\nRed words."
        in prompts("both")["x", "green, then red: pairs"]
    )


def test_every_reply_is_kept_word_for_word(round_of, judge):
    judge.broken = [("green", "red")]
    compared(round_of)
    file = layout.pairs_asked(layout.pairs(round_of.results, round_of.category, 0, 0, 1))
    found = {j.which: j for r in records.read_records(file, AskedRecord) for j in r.judgements}
    assert len(found) == 6
    bad = found["green, then red: pairs"]
    assert (bad.reply, bad.rejected) == ("neither", "neither") and bad.error and bad.correction
    assert bad.shown == ["source", "source 2", "edited"]
    assert found["red, then green: pairs"].reply == '{"better": "second"}'


def test_a_folder_of_rubrics_may_ask_in_its_own_words(round_of, judge, tmp_path, monkeypatch):
    (tmp_path / "pairs.yaml").write_text(
        "combine: min\n"
        "calls:\n"
        "  - name: duel\n"
        "    template: 'Better: A or B? {{ images }}'\n"
        "    reply: yes_no\n"
        "    criteria: [{name: better, reply: {type: choice, values: {A: 1, B: 0, Same: 0.5}}}]\n",
        encoding="utf-8",
    )
    names = {"first": "A.", "second": "b"}

    def reply(pair):
        assert pair.prompt.startswith("Better: A or B? You see, in this order: the source image,")
        return names[json.loads(Scripted.reply(judge, pair))["better"]]

    monkeypatch.setattr(judge, "reply", reply)
    found = replies(compared(round_of._replace(judge=Settings(rubrics=str(tmp_path)))))
    assert found["x", "red", "green"] == ("ok", "second", "first")


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("{name: duel, template: x, criteria: [{name: better, reply: {type: yes_no}}]}", None),
        (
            "{name: duel, template: x, reply: {type: integer, minimum: 0, maximum: 1}, "
            "criteria: [{name: better}]}",
            "expected a choice",
        ),
        (
            "{name: duel, template: x, criteria: [{name: better, reply: {type: choice, "
            "values: {A: 1, B: 2}}}]}",
            "expected a choice whose answers count",
        ),
        (
            "{name: duel, template: x, images: [source, edited], criteria: [{name: better, reply: "
            "{type: yes_no}}]}",
            "expected all images at their own size",
        ),
        (
            "{name: duel, template: x, criteria: [{name: a, reply: {type: yes_no}}, {name: b, "
            "reply: {type: yes_no}}]}",
            "expected one call with one criterion",
        ),
    ],
)
def test_a_question_that_is_not_on_two_edits_is_refused(tmp_path, call, found):
    path = tmp_path / "pairs.yaml"
    path.write_text(f"combine: min\ncalls: [{call}]\n", encoding="utf-8")
    if found is None:
        assert read_pairs(str(path)).calls[0].name == "duel"
        return
    with pytest.raises(RubricError, match=f"pairs.yaml: .*{found}"):
        read_pairs(str(path))


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


@pytest.mark.parametrize("mode", ["reasoned", "score_only"])
def test_the_miniature_answers_with_a_word(round_of, mode):
    miniature = ROOT / "resources" / "miniature"
    settings = Qwen3VLSettings(
        type="qwen3_vl", model=str(miniature / "judge"), dtype="float32", mode=mode,
        rubrics=str(miniature / "rubrics"),
    )  # fmt: skip
    call = read_pairs(settings.pairs_file).calls[0]
    task, told, rng = next(rows.tasks(3, held_out=True))
    right, untouched = (world.outcome(task, name, rng).scene for name in ("right", "untouched"))
    scenes = [views.shapes(scene) for scene in (task.scene, right, untouched)]
    source, better, worse = drawing.pictures(scenes)
    judge = settings.load("cpu")
    text = f"The instruction: {told}\nWhich edit is better, A or B?"
    found = judge.judge(
        [
            Pair("x", "e", source, second, call, text, more=[first])
            for first, second in ((better, worse), (worse, better))
        ]
    )
    assert [each.reply for each in found] == ["A", "B"]
    assert all(each.schema_mass > 0.99 for each in found)
    assert found[0].probabilities["better"][0] > 0.99 < found[1].probabilities["better"][1]
