"""The score job: one bad sample costs one sample, and what was judged is not judged again."""

import json

import pytest
from PIL import Image

from lockstep import plan, records
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import ConfigError, DamagedError, DeviceError, OutOfMemory
from lockstep.judges import keys
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.protocol import Judgement, Usage
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import EditRecord, Picture
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import shard as scoring_shard
from tests.conftest import ROOT, make_sample
from tests.score_job import Job

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
DEVICES = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))


def reply(value):
    return json.dumps(dict.fromkeys(RUBRIC.names, value))


def sure(value):
    return dict.fromkeys(RUBRIC.names, tuple(float(v == value) for v in range(11)))


class FakeJudge:
    """Writes down what it is asked and answers as told.

    Args:
        answer: a judgement, or a function of the pair that gives one or raises.
        largest: batches of more pairs do not fit.
    """

    def __init__(self, answer=None, largest=99):
        self.batches = []
        self.pairs = []
        self.answer = answer if callable(answer) else lambda _: answer or Judgement(reply(10))
        self.largest = largest

    def fitting(self):
        return 3

    def judge(self, pairs):
        self.batches.append(len(pairs))
        if len(pairs) > self.largest:
            raise OutOfMemory("too large")
        self.pairs += pairs
        return [self.answer(pair) for pair in pairs]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that has a judge score a job of so many edits, as often as it is called."""
    jobs = {}

    def run(judge, count=1, **settings):
        if not jobs:
            images = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(count)]
            jobs["only"] = Job(tmp_path, images)
        monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
        monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
        given = Qwen3VLSettings(type="qwen3_vl", model="a/b", **settings)
        return list(jobs["only"].run(given, DEVICES).values())

    return run


def test_batches_are_as_large_as_configured(run):
    judge = FakeJudge()
    found = run(judge, 10, batch_size=4)
    assert judge.batches == [4, 4, 2]
    assert [record.id for record in found] == [f"s{i}" for i in range(10)]
    assert {record.score for record in found} == {10.0}


def test_a_batch_is_what_the_judge_has_room_for_unless_configured(run):
    judge = FakeJudge()
    run(judge, 7)
    assert judge.batches == [3, 3, 1]


def test_without_batch_inference_each_is_judged_alone(run):
    judge = FakeJudge()
    run(judge, 3, batch_size=4, use_batch_inference=False)
    assert judge.batches == [1, 1, 1]


def test_out_of_memory_halves_the_batch_for_good(run):
    judge = FakeJudge(largest=2)
    found = run(judge, 10, batch_size=8)
    assert judge.batches == [8, 4, 2, 2, 2, 2, 2]
    assert all(record.status == "ok" for record in found)


def test_what_does_not_even_fit_alone_fails_alone(run):
    found = run(FakeJudge(largest=0), 2, batch_size=2)
    assert [record.status for record in found] == ["judge_failed"] * 2
    assert {record.score for record in found} == {None}


def failing(error, sample):
    def answer(pair):
        if pair.id == sample:
            raise error
        return Judgement(reply(10))

    return answer


def test_one_bad_sample_costs_one_sample(run):
    found = run(FakeJudge(failing(ValueError("poisoned"), "s5")), 8, batch_size=4)
    assert [record.id for record in found] == [f"s{i}" for i in range(8)]
    assert [record.id for record in found if record.status != "ok"] == ["s5"]
    assert found[5].error == "ValueError: poisoned"
    assert found[5].score is None


def test_a_judgement_without_reply_and_reason_fails_and_is_asked_for_again(run):
    judge = FakeJudge(Judgement(None))
    for count in (1, 2):
        (record,) = run(judge)
        assert (record.status, record.score, record.reply) == ("judge_failed", None, None)
        assert record.error == "expected a reply of the judge, found none"
        assert len(judge.pairs) == count


def test_a_broken_device_ends_the_job(run):
    with pytest.raises(DeviceError):
        run(FakeJudge(failing(DeviceError("gone"), "s1")), 2)


def test_a_judge_that_had_to_be_forced_is_not_believed_and_not_asked_again(run):
    judge = FakeJudge(Judgement(reply(10), schema_mass=0.2))
    (record,) = run(judge, min_schema_mass=0.5)
    assert (record.status, record.score, record.schema_mass) == ("judge_failed", None, 0.2)
    assert "judge.min_schema_mass" in record.error
    assert len(judge.pairs) == 1
    # the floor is a rule of today: what was judged by another one is not judged anew
    (record,) = run(judge, min_schema_mass=0.1)
    assert (record.status, record.score, record.cached) == ("ok", 10, True)
    assert len(judge.pairs) == 1


def test_what_does_not_parse_is_asked_once_more_with_the_error(run):
    def answer(pair):
        if pair.id == "s1" and pair.rejected is None:
            return Judgement("I give it 7/10.", usage=Usage(100, 5))
        return Judgement(reply(7), usage=Usage(100, 20))

    judge = FakeJudge(answer)
    found = run(judge, 3, batch_size=3)
    assert judge.batches == [3, 1]
    rejected = judge.pairs[3].rejected
    assert rejected.reply == "I give it 7/10."
    assert "found no JSON object with the criteria" in rejected.error
    assert rejected.error.endswith(RUBRIC.example)
    assert [record.score for record in found] == [7, 7, 7]
    assert [record.rejected for record in found] == [None, "I give it 7/10.", None]
    assert [record.prompt_tokens for record in found] == [100, 200, 100]
    assert [record.reply_tokens for record in found] == [20, 25, 20]


def test_what_does_not_parse_twice_is_kept_and_not_scored(run):
    judge = FakeJudge(Judgement("I give it 7/10."))
    (record,) = run(judge)
    assert len(judge.pairs) == 2
    assert (record.status, record.score, record.criteria) == ("judge_failed", None, {})
    assert (record.expected_score, record.reply) == (None, "I give it 7/10.")
    assert "no JSON object" in record.error
    (again,) = run(judge)
    assert (again.status, again.cached, len(judge.pairs)) == ("judge_failed", True, 2)


def test_what_there_is_no_reply_to_is_asked_by_the_next_run_again(run):
    judge = FakeJudge(Judgement("I can", error="the content filter refused"))
    (record,) = run(judge)
    assert len(judge.pairs) == 1, "nothing to mend, so not at once"
    assert (record.status, record.score, record.reply) == ("judge_failed", None, "I can")
    assert record.error == "the content filter refused"
    (record,) = run(FakeJudge())
    assert (record.status, record.score, record.cached) == ("ok", 10, False)


def test_a_run_judges_only_what_is_missing(run):
    with pytest.raises(DeviceError):
        run(FakeJudge(failing(DeviceError("gone"), "s3")), 5, batch_size=2)
    judge = FakeJudge()
    found = run(judge, batch_size=2)
    assert [pair.id for pair in judge.pairs] == ["s2", "s3", "s4"]
    assert [record.cached for record in found] == [True, True, False, False, False]


def test_probabilities_give_an_expected_score_and_how_unsure_it_is(run):
    (record,) = run(FakeJudge(Judgement(reply(10), probabilities=sure(7))))
    assert (record.score, record.expected_score, record.uncertainty) == (10, 7, 0)
    (again,) = run(None)
    assert again.model_copy(update={"cached": False}) == record


def test_several_judgements_have_a_mean_and_a_spread(run):
    seeds = []

    def answer(pair):
        seeds.append(pair.seed)
        value = 4 if len(seeds) % 2 else 8
        return Judgement(reply(value), probabilities=sure(value), usage=Usage(9, 1))

    (record,) = run(FakeJudge(answer), repeats=2)
    assert None not in seeds and len(set(seeds)) == 2
    scores = [combine.score(RUBRIC, dict.fromkeys(RUBRIC.names, value)) for value in (4, 8)]
    assert record.scores == scores
    assert record.score == pytest.approx(sum(scores) / 2)
    assert record.spread == pytest.approx((scores[1] - scores[0]) / 2)
    assert record.criteria == dict.fromkeys(RUBRIC.names, 6)
    assert record.expected_score == pytest.approx(sum(scores) / 2)
    assert record.prompt_tokens == 18
    # one judgement more is all that is judged, and a single greedy one is another one
    judge = FakeJudge()
    run(judge, repeats=3)
    assert len(judge.pairs) == 1 and judge.pairs[0].seed not in (None, *seeds)
    run(judge)
    assert len(judge.pairs) == 2 and judge.pairs[1].seed is None
    run(judge, repeats=3, temperature=1.0)
    assert len(judge.pairs) == 5


def test_a_mean_of_fewer_judgements_than_asked_for_is_none(run):
    asked = []

    def answer(pair):
        asked.append(pair)
        return Judgement("no" if asked[0].seed == pair.seed else reply(9))

    (record,) = run(FakeJudge(answer), repeats=3)
    assert (record.status, record.score, record.scores) == ("judge_failed", None, [])
    assert record.reply == "no"


def test_an_edit_is_judged_against_another_samples_instruction_where_asked_for(run):
    def answer(pair):
        own = f"Do number {pair.id[1:]}." in pair.prompt
        return Judgement(reply(9 if own else 0))

    judge = FakeJudge(answer)
    found = run(judge, 3, swapped_instruction=True)
    assert [record.score for record in found] == [9, 9, 9]
    assert [record.swapped_score for record in found] == [0, 0, 0]
    told = [pair.prompt.split("instruction:\n")[1].splitlines()[0] for pair in judge.pairs]
    assert told[1::2] == ["Do number 1.", "Do number 2.", "Do number 0."]
    assert [record.swapped_score for record in run(judge, swapped_instruction=True)] == [0, 0, 0]
    assert [record.swapped_score for record in run(judge)] == [None, None, None]
    assert len(judge.pairs) == 6


def test_with_another_samples_instruction_goes_its_reference(tmp_path, monkeypatch):
    judge = FakeJudge()
    monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
    monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
    job = Job(tmp_path, [Image.new("RGB", (8, 8))] * 2)
    samples = []
    for width, sample in enumerate(records.read_manifest(job.manifest), 1):
        path = tmp_path / f"reference-{width}.png"
        Image.new("RGB", (width, 1)).save(path)
        reference = Picture(image=str(path), sha256=path.name, width=width, height=1)
        samples.append(sample.model_copy(update={"reference": reference}))
    records.write_records(job.manifest, samples)
    settings = {"type": "qwen3_vl", "model": "a/b", "swapped_instruction": True}
    job.run(Qwen3VLSettings(**settings), DEVICES)
    found = [(pair.id, pair.reference.width) for pair in judge.pairs]
    assert found == [("s0", 1), ("s0", 2), ("s1", 2), ("s1", 1)]


def test_what_no_other_sample_asks_for_is_not_judged_against_it(run):
    judge = FakeJudge()
    (record,) = run(judge, swapped_instruction=True)
    assert (record.score, record.swapped_score, len(judge.pairs)) == (10, None, 1)


def test_the_judge_and_the_rubric_stand_beside_every_score(run):
    (record,) = run(FakeJudge())
    assert record.judge == {"model": "fake"}
    assert record.rubric == RUBRIC.sha256
    assert record.versions["transformers"]


def test_other_weights_score_anew_and_judge_nothing_anew(tmp_path, monkeypatch):
    text = (ROOT / "config/rubrics/physical.yaml").read_text(encoding="utf-8")
    rubric = tmp_path / "physical.yaml"
    given = Qwen3VLSettings(type="qwen3_vl", model="a/b")
    values = dict(zip(RUBRIC.names, (10, 0, 10, 10), strict=True))
    judge = FakeJudge(Judgement(json.dumps(values)))
    monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
    monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
    job = Job(tmp_path, [Image.new("RGB", (8, 8))], rubric)
    found = []
    for weights in ("weight: 4", "weight: 14"):
        rubric.write_text(text.replace("weight: 4", weights), encoding="utf-8")
        found += job.run(given, DEVICES).values()
    assert [record.score for record in found] == [6, 3]
    assert [record.cached for record in found] == [False, True]
    assert len({record.rubric for record in found}) == 2
    assert len(judge.pairs) == 1


def test_scores_of_another_number_of_judges_are_forgotten(tmp_path, monkeypatch):
    judge = FakeJudge()
    monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
    monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
    job = Job(tmp_path, [Image.new("RGB", (8, 8))])
    for count in (2, 1):
        job.run(Qwen3VLSettings(type="qwen3_vl", model="a/b"), DEVICES * count)
        (left,) = (job.category / "scores").iterdir()
        assert left.name == f"shard-0-of-{count}.jsonl"
    assert len(judge.pairs) == 1


@pytest.mark.parametrize("mode", ["reasoned", "score_only"])
def test_the_prompt_asks_for_reasoning_where_it_is_wanted(run, mode):
    judge = FakeJudge()
    run(judge, mode=mode)
    assert ("reason briefly" in judge.pairs[0].prompt) == (mode == "reasoned")


@pytest.mark.parametrize("first", range(3))
def test_an_edit_is_judged_by_its_own_sample_wherever_its_category_begins(tmp_path, first):
    samples = [make_sample(tmp_path, f"s{number}", index=number) for number in range(8)]
    common = {"category": "physical", "key": "k", "status": "ok", "seed": 1}
    for shard in range(3):
        path = tmp_path / plan.shard_file(shard, 3)
        places = plan.shard_indices(8, shard, 3, first)
        edits = [
            EditRecord(id=f"s{place}", wave=0, shard=shard, device="cpu0", **common)
            for place in places
        ]
        records.write_records(path, edits)
        assert list(scoring_shard._placed(path, samples)) == list(zip(places, edits, strict=True))
        for lost in range(len(edits) - 1):
            records.write_records(path, edits[:lost] + edits[lost + 1 :])
            with pytest.raises(
                DamagedError, match=f"expected the next sample .*found 's{places[lost + 1]}'"
            ):
                list(scoring_shard._placed(path, samples))


def test_a_template_that_one_sample_breaks_costs_that_sample(tmp_path, monkeypatch):
    text = (ROOT / "config/rubrics/physical.yaml").read_text(encoding="utf-8")
    path = tmp_path / "physical.yaml"
    broken = "{{ 1 / 0 if 'number 1' in instruction else '' }}"
    path.write_text(
        text.replace("{{ instruction }}", "{{ instruction }}" + broken), encoding="utf-8"
    )
    judge = FakeJudge()
    monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: judge)
    monkeypatch.setattr(keys, "identity", lambda _: {"model": "fake"})
    job = Job(tmp_path, [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)], path)
    settings = Qwen3VLSettings(type="qwen3_vl", model="a/b", mode="score_only")
    found = job.run(settings, DEVICES)
    assert [record.status for record in found.values()] == ["ok", "judge_failed", "ok"]
    assert found["s1"].error == "the rubric's template: ZeroDivisionError: division by zero"
    assert len(judge.pairs) == 2


def test_replies_and_scores_that_change_while_a_job_reads_them_are_not_taken(tmp_path):
    job = Job(tmp_path, [Image.new("RGB", (8, 8))])
    reply = tmp_path / "replies" / "e" / "s0.txt"
    reply.parent.mkdir(parents=True)
    names = read_rubric(job.rubric).names
    reply.write_text(json.dumps(dict.fromkeys(names, 7)))
    settings = PrecomputedJudgeSettings(type="precomputed", folder=str(tmp_path / "replies"))
    assert keys.identity(settings)
    before = reply.read_text()
    reply.write_text(before.replace("7", "9"))
    (found,) = job.run(settings, DEVICES[:1]).values()
    assert (found.status, found.score) == ("judge_failed", None)
    assert "expected the reply that was there at first" in found.error
    reply.write_text(before)
    (found,) = job.run(settings, DEVICES[:1]).values()
    assert found.score == 7


def test_a_file_of_scores_that_changes_before_it_is_read_ends_the_job(tmp_path, monkeypatch):
    job = Job(tmp_path, [Image.new("RGB", (8, 8))])
    scores = tmp_path / "scores.csv"
    scores.write_text("category,id,score\nphysical,s0,7\n")
    settings = PrecomputedJudgeSettings(type="precomputed", scores=str(scores))
    load = PrecomputedJudgeSettings.load

    def change(*arguments):
        scores.write_text("category,id,score\nphysical,s0,9\n")
        return load(*arguments)

    monkeypatch.setattr(PrecomputedJudgeSettings, "load", change)
    with pytest.raises(ConfigError, match="found others; run again"):
        job.run(settings, DEVICES[:1])
    (found,) = job.run(settings, DEVICES[:1]).values()
    assert found.score == 9


def test_scores_of_a_file_count_as_judged_for_the_edit_and_file_they_are_of(tmp_path):
    job = Job(tmp_path, [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red")])
    scores = tmp_path / "scores.csv"

    def kept():
        settings = PrecomputedJudgeSettings(type="precomputed", scores=str(scores))
        edits = [job.category / "edits" / "shard-0-of-1.jsonl"]
        rubric = read_rubric(job.rubric)
        shard = scoring_shard.Shard(settings, job.manifest, edits, rubric, job.category, seed=0)
        return [own and (own.status, own.score) for own in scoring_shard.kept(shard)]

    scores.write_text("category,id,score\nphysical,s0,7\n")
    assert kept() == [None, None]
    job.run(PrecomputedJudgeSettings(type="precomputed", scores=str(scores)), DEVICES[:1])
    assert kept() == [("ok", 7), ("judge_failed", None)]
    scores.write_text("category,id,score\nphysical,s0,9\n")
    assert kept()[0] is None
