"""Rubrics of several calls: what each shows and tells, how it is kept, what they say together."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lockstep import records
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import RubricError
from lockstep.judges import keys
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.protocol import Judgement, Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.judges.qwen3_vl.slots import Slots
from lockstep.rubrics import combine
from lockstep.rubrics.questions import Question
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT, make_sample
from tests.fake_server import answer
from tests.pretended_gpus import pretended_gpus
from tests.score_job import Job
from tests.unit.test_judges import SPREAD
from tests.unit.test_openai_api import shown

DEVICES = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))

TEN = {"type": "integer", "minimum": 0, "maximum": 10}

CONSISTENCY = {
    "name": "consistency",
    "template": "The edit: {{ instruction }}. {{ images }} {{ reply }}",
    "images": ["source", "edited"],
    "reply": {"type": "list", "entries": ["done", "kept"], "of": TEN},
    "criteria": [{"name": "scores", "aspect": "consistency"}],
}

QUALITY = {
    "name": "quality",
    "template": "One picture. {{ reply }}",
    "images": ["edited"],
    "criteria": [{"name": "natural", "aspect": "quality"}, {"name": "clean", "aspect": "quality"}],
}

WHOLE = {
    "system": "You judge.",
    "reply": TEN,
    "combine": "geometric_mean",
    "combine_aspect": "min",
    "calls": [CONSISTENCY, QUALITY],
}


def rubric_file(folder, **fields):
    path = folder / "rubric.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **fields}), encoding="utf-8")
    return path


def call(base, **fields):
    return {**base, **fields}


REPLIES = {"consistency": '{"scores": [9, 4]}', "quality": '{"natural": 9, "clean": 10}'}


class FakeJudge:
    """Writes down what it is asked and answers by call."""

    def __init__(self, **replies):
        self.pairs = []
        self.replies = {**REPLIES, **replies}

    def fitting(self):
        return 3

    def judge(self, pairs):
        self.pairs += pairs
        given = [self.replies[pair.call] for pair in pairs]
        both = zip(given, pairs, strict=True)
        return [own(pair) if callable(own) else Judgement(own) for own, pair in both]

    @property
    def asked(self):
        return [(pair.id, pair.call) for pair in self.pairs]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that has a judge score three edits by a rubric, as often as called."""
    images = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    job = Job(tmp_path, images)

    def run(judge, settings=None, **fields):
        job.rubric = rubric_file(tmp_path, **fields)
        monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
        monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
        given = Qwen3VLSettings(type="qwen3_vl", model="a/b", **(settings or {}))
        return list(job.run(given, DEVICES).values())

    return run


def test_the_score_combines_criteria_over_all_calls(run):
    judge = FakeJudge()
    found = run(judge)
    assert [record.status for record in found] == ["ok"] * 3
    # the least of 9 and 4, that of 9 and 10
    assert {record.score for record in found} == {6.0}
    assert found[0].criteria == {"done": 9, "kept": 4, "natural": 9, "clean": 10}
    assert (
        found[0].reply == f"consistency: {REPLIES['consistency']}\n\nquality: {REPLIES['quality']}"
    )
    # a batch is of one call
    assert [name for _, name in judge.asked] == ["consistency"] * 3 + ["quality"] * 3


def test_a_call_shows_and_tells_what_it_says_and_nothing_else(run):
    judge = FakeJudge()
    run(judge, calls=[CONSISTENCY, call(QUALITY, edited_size="source")])
    first, *_, last = judge.pairs
    assert first.shown == [first.source, first.edited]
    assert first.prompt == (
        "The edit: Do number 0.. You see, in this order: the source image, the edited image. "
        '{"scores": [<0-10>, <0-10>]}'
    )
    assert last.shown == [last.edited]
    assert first.edited.size == (8, 8)
    assert last.edited.size == last.source.size == (96, 64)
    assert "Do number" not in last.prompt
    assert (first.rubric.system, last.rubric.names) == ("You judge.", ["natural", "clean"])


def test_images_are_shown_in_the_order_that_is_said():
    sources = [Image.new("RGB", (1, 1), (i, 0, 0)) for i in range(4)]
    given = Pair("a", "e", sources[0], sources[3], Question(), "", more=[sources[1]])
    given = given._replace(reference=sources[2])
    assert given.shown == sources
    orders = {
        ("edited", "source"): [3, 0],
        ("edited",): [3],
        ("reference", "edited"): [2, 3],
        ("more", "edited", "source"): [1, 3, 0],
    }
    for order, numbers in orders.items():
        assert given._replace(images=order).shown == [sources[number] for number in numbers]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"combine": "min"}, set()),
        ({"calls": [CONSISTENCY, call(QUALITY, template="A picture. {{ reply }}")]}, {"quality"}),
        ({"calls": [call(CONSISTENCY, system="Look."), QUALITY]}, {"consistency"}),
        ({"calls": [CONSISTENCY, call(QUALITY, edited_size="source")]}, {"quality"}),
        ({"calls": [call(CONSISTENCY, images=["edited", "source"]), QUALITY]}, {"consistency"}),
        ({"system": "Judge."}, {"consistency", "quality"}),
        ({"calls": [QUALITY, CONSISTENCY]}, set()),
        ({"calls": [CONSISTENCY]}, set()),
    ],
)
def test_a_change_asks_again_for_the_calls_that_it_changes(run, changed, again):
    run(FakeJudge())
    judge = FakeJudge(quality='{"natural": 9, "clean": 10}' if again else "not asked")
    if again:
        # what an order of images says is in the text, too
        assert {record.status for record in run(judge, **changed)} == {"ok"}
    else:
        run(judge, **changed)
    assert {name for _, name in judge.asked} == again
    assert len(judge.asked) == 3 * len(again)


def test_a_call_that_does_not_see_the_source_is_not_made_again_for_another(tmp_path):
    sample = make_sample(tmp_path)
    other = sample.model_copy(update={"image_sha256": "1" * 64, "instruction": "Else."})

    def key(own, *shown, resized=False):
        return records.score_key(own, "2" * 64, {}, {}, None, shown, resized)

    assert key(sample, "edited") == key(other, "edited")
    assert key(sample, "edited", resized=True) != key(other, "edited", resized=True)
    assert key(sample, "source", "edited") != key(other, "source", "edited")
    assert key(sample, "source", "edited") != key(sample, "edited", "source")


def test_a_sample_whose_call_fails_names_the_call_and_keeps_the_other_ones(run):
    def refuse(pair):
        broken = pair.id == "s1"
        return Judgement(None, error="refused") if broken else Judgement(REPLIES["quality"])

    found = run(FakeJudge(quality=refuse))
    assert [record.status for record in found] == ["ok", "judge_failed", "ok"]
    assert found[1].error == "call quality: refused"
    assert (found[1].score, found[1].criteria) == (None, {})
    again = FakeJudge()
    assert [record.score for record in run(again)] == [6.0] * 3
    assert again.asked == [("s1", "quality")]


FIRST = {
    "name": "first",
    "template": "Was it done? {{ instruction }} {{ reply }}",
    "criteria": [{"name": "followed", "reply": {"type": "yes_no"}}],
}
SECOND = {**QUALITY, "criteria": [{"name": "natural"}, {"name": "clean"}]}
THIRD = {**SECOND, "name": "third", "criteria": [{"name": "cosy"}]}
CONDITIONAL = {
    "combine": "weighted_mean",
    "combine_aspect": None,
    "calls": [FIRST, {**SECOND, "when": {"first/followed": True}}],
}


def followed(*ids):
    def reply(pair):
        return Judgement(json.dumps({"followed": "yes" if pair.id in ids else "no"}))

    return reply


def test_a_call_that_its_condition_skips_is_not_made_and_does_not_count(run):
    judge = FakeJudge(first=followed("s0", "s2"))
    found = run(judge, **CONDITIONAL)
    assert judge.asked[3:] == [("s0", "quality"), ("s2", "quality")]
    assert [record.score for record in found] == [
        pytest.approx((10 + 9 + 10) / 3, abs=1e-9),
        0,
        pytest.approx((10 + 9 + 10) / 3, abs=1e-9),
    ]
    assert found[1].criteria == {"followed": 0}
    again = FakeJudge(first=followed("s0", "s2"))
    run(again, **CONDITIONAL)
    assert again.asked == []


def test_a_condition_may_name_several_answers_and_a_skipped_call_skips_what_waits_for_it(run):
    calls = [
        FIRST,
        {**SECOND, "when": {"first/followed": ["yes"]}},
        {**THIRD, "when": {"quality/natural": [9, 10]}},
    ]
    judge = FakeJudge(first=followed("s0"), third='{"cosy": 3}')
    found = run(judge, **{**CONDITIONAL, "calls": calls})
    assert judge.asked[3:] == [("s0", "quality"), ("s0", "third")]
    assert [set(record.criteria) for record in found] == [
        {"followed", "natural", "clean", "cosy"},
        {"followed"},
        {"followed"},
    ]


def test_repeats_and_the_swapped_instruction_make_all_calls(run):
    judge = FakeJudge()
    found = run(judge, settings={"repeats": 2, "swapped_instruction": True})
    assert len(judge.pairs) == 3 * 2 * 3
    assert {(record.score, record.swapped_score) for record in found} == {(6.0, 6.0)}


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([CONSISTENCY, call(CONSISTENCY)], "expected each name once|expected each criterion once"),
        ([call(QUALITY, images=["source"])], "images: expected edited and each kind once"),
        ([call(QUALITY, images=["edited", "edited"])], "images: expected edited and each kind"),
        ([call(QUALITY, images=["mask"])], "images"),
        ([call(SECOND, template="{{ instrution }}")], "found the variable 'instrution'"),
        ([call(QUALITY, criteria=[])], "criteria: expected at least one"),
        ([call(QUALITY, when={"first/followed": "yes"}), FIRST], "expected an earlier call"),
        ([FIRST, call(SECOND, when={"first/natural": 1})], r"expected one of \['followed'\]"),
        ([FIRST, call(SECOND, when={"first/followed": "maybe"})], "found 'maybe'"),
        ([FIRST, call(SECOND, when={"followed": "yes"})], "expected an earlier call"),
    ],
)
def test_a_broken_call_is_one_clear_error(tmp_path, calls, message):
    path = rubric_file(tmp_path, calls=calls, combine_aspect=None)
    with pytest.raises(RubricError, match=message) as error:
        read_rubric(path)
    assert "rubric.yaml" in str(error.value)


def test_the_shipped_rubric_of_two_calls_hides_the_source_from_the_second(sample):
    calls = read_rubric(ROOT / "config/rubrics/viescore_calls.yaml")
    whole = read_rubric(ROOT / "config/rubrics/viescore.yaml")
    first, second = calls.calls
    assert (first.images, second.images) == (("source", "edited"), ("edited",))
    assert sample.instruction in first.prompt(sample)
    assert sample.instruction not in second.prompt(sample)
    assert calls.names == whole.names
    values = dict(zip(whole.names, (2, 9, 8, 10), strict=True))
    assert combine.score(calls, values) == combine.score(whole, values) == 4


def test_a_template_beside_calls_is_refused(tmp_path):
    with pytest.raises(RubricError, match="template: expected one in each call"):
        read_rubric(rubric_file(tmp_path, template="x"))


def test_a_sample_without_the_reference_that_a_call_shows_fails_alone(run):
    calls = [CONSISTENCY, call(QUALITY, images=["reference", "edited"])]
    found = run(FakeJudge(), calls=calls)
    assert {record.error for record in found} == {
        "the rubric's template: call 'quality' shows a reference, found none of this sample"
    }


def test_a_server_gets_the_texts_and_images_of_every_call_in_their_order(serve, tmp_path):
    images = [Image.new("RGB", (8, 8), (i, 9, 0)) for i in range(2)]
    job = Job(tmp_path, images)
    job.rubric = rubric_file(tmp_path, calls=[CONSISTENCY, call(QUALITY, system=None)])
    # one request at a time: all first calls, then all second ones
    server = serve(*[answer(REPLIES[name]) for name in ("consistency",) * 2 + ("quality",) * 2])
    settings = OpenAISettings(
        type="openai", model="m", url=server.url, concurrency=1, api_key_variable=None
    )
    found = job.run(settings, DEVICES)
    assert {record.score for record in found.values()} == {6.0}
    asked = [body["messages"] for _, _, body in server.requests]
    assert [len(messages) for messages in asked] == [2, 2, 1, 1]
    samples = records.read_manifest(job.manifest)
    for number, sample in enumerate(samples):
        source = Image.open(sample.image).convert("RGB")
        edited = images[number]
        told = read_rubric(job.rubric).calls
        system, user = asked[number]
        assert system == {"role": "system", "content": "You judge."}
        *pictures, text = user["content"]
        assert text == {"type": "text", "text": told[0].prompt(sample)}
        assert [shown(part) for part in pictures] == [
            (image.mode, image.size, image.tobytes()) for image in (source, edited)
        ]
        (user,) = asked[2 + number]
        picture, text = user["content"]
        assert text == {"type": "text", "text": told[1].prompt(sample)}
        assert shown(picture) == (edited.mode, edited.size, edited.tobytes())


def test_finished_replies_are_found_by_call(tmp_path):
    job = Job(tmp_path, [Image.new("RGB", (8, 8))])
    job.rubric = rubric_file(tmp_path)
    for name, reply in REPLIES.items():
        folder = tmp_path / "replies" / "e" / name
        folder.mkdir(parents=True)
        Path(folder, "s0.txt").write_text(reply, encoding="utf-8")
    settings = PrecomputedJudgeSettings(type="precomputed", folder=str(tmp_path / "replies"))
    assert job.run(settings, DEVICES)["s0"].score == 6


@pytest.fixture(scope="module")
def judge(models):
    given = {"dtype": "float32", "max_reasoning_tokens": 6, "min_schema_mass": 0.0}
    return Qwen3VLJudge(
        Qwen3VLSettings(type="qwen3_vl", model=str(models / "judge"), **given), "cpu"
    )


def test_no_judgement_of_two_calls_depends_on_batch_or_order(judge, tmp_path):
    told = read_rubric(rubric_file(tmp_path)).calls
    given = [
        Pair(
            id=f"p{number}",
            editor="e",
            source=Image.new("RGB", (64 + 30 * number, 80), (number * 30, 9, 9)),
            edited=Image.new("RGB", (128, 64 + 10 * number), (0, number * 20, 255)),
            rubric=own,
            prompt="Let go! " * (number + 1),
            call=own.name,
            images=own.images,
        )
        for own in told
        for number in range(3)
    ]
    judge._prefixes.clear()
    alone = [judge.judge([pair])[0] for pair in given]
    assert len({judgement.reply for judgement in alone}) > 1
    for found in (judge.judge(given), judge.judge(given[::-1])[::-1]):
        assert [(j.reply, j.usage) for j in found] == [(j.reply, j.usage) for j in alone]
        for one, other in zip(found, alone, strict=True):
            for name, shares in other.probabilities.items():
                assert one.probabilities[name] == pytest.approx(shares, abs=1e-5)
    # another source is not seen by a call that shows the edit alone
    changed = [pair._replace(source=Image.new("RGB", (80, 64), "white")) for pair in given]
    same = [a.reply == b.reply for a, b in zip(judge.judge(changed), alone, strict=True)]
    assert all(same[3:])
    assert judge.judge(changed)[0].probabilities != alone[0].probabilities


def test_calls_of_one_beginning_share_what_was_read_of_it(judge, tmp_path):
    first = call(FIRST, images=["source", "edited"])
    told = read_rubric(
        rubric_file(
            tmp_path, calls=[CONSISTENCY, call(first, criteria=[{"name": "a", "aspect": "b"}])]
        )
    ).calls
    images = [Image.new("RGB", (96, 80), colour) for colour in ("red", "blue")]
    given = [Pair("a", "e", *images, own, "Go.", call=own.name, images=own.images) for own in told]
    judge._prefixes.clear()
    judge.judge(given)
    assert len(judge._prefixes._kept) == 1


def test_on_a_gpu_calls_of_other_widths_are_computed_apart(models, tmp_path, monkeypatch):
    """By the width of a step a GPU chooses in which order to add."""
    long = {"name": "l" * 60, "aspect": "quality"}
    told = read_rubric(
        rubric_file(tmp_path, calls=[CONSISTENCY, call(QUALITY, criteria=[long])])
    ).calls
    images = [Image.new("RGB", (96, 80), colour) for colour in ("red", "blue")]
    given = [Pair("a", "e", *images, own, "Go.", call=own.name, images=own.images) for own in told]
    shapes = []

    def compute(slots, tokens, wanted):
        shapes.append(tuple(tokens.shape))
        return read(slots, tokens, wanted)

    read = Slots.compute
    settings = {"dtype": "float32", "max_reasoning_tokens": 1, "min_schema_mass": 0.0}
    with pretended_gpus(2):
        monkeypatch.setattr(Slots, "compute", compute)
        made = Qwen3VLSettings(
            type="qwen3_vl",
            model=str(models / "judge"),
            gpus_per_judge=2,
            device_map=SPREAD,
            batch_size=3,
            **settings,
        )
        own = Qwen3VLJudge(made, "cuda")
        # what is pretended has no way to read on from a beginning that was kept
        own._prefixes.most = 0
        shapes.clear()
        alone = [own.judge([pair])[0] for pair in given]
        apart, shapes[:] = sorted(shapes), []
        assert [j.reply for j in own.judge(given[::-1])[::-1]] == [j.reply for j in alone]
    assert sorted(shapes) == apart
    assert len({width for _, width in apart if width > 1}) == 2
