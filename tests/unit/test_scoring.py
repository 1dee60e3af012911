"""The score loop: one bad sample costs one sample."""

import pytest

from lockstep import config, scoring
from lockstep.errors import DeviceError, OutOfMemory
from lockstep.judges import Judgement
from lockstep.rubric import read_rubric
from tests.conftest import ROOT, make_sample

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
REPLY = '{"instruction_following": 10, "physics": 10, "preservation": 10, "quality": 10}'


class FakeJudge:
    """Writes down the batches and fails as told."""

    def __init__(self, largest=99, poison=None, reply=REPLY, mass=1.0, error=ValueError):
        self.batches = []
        self.largest, self.poison, self.reply, self.mass = largest, poison, reply, mass
        self.error = error

    def judge(self, pairs):
        self.batches.append(len(pairs))
        if len(pairs) > self.largest:
            raise OutOfMemory("too large")
        if any(self.poison and self.poison in pair.prompt for pair in pairs):
            raise self.error("poisoned")
        return [Judgement(self.reply, self.mass) for _ in pairs]


def judge_all(judge, folder, count, **settings):
    items = []
    for i in range(count):
        sample = make_sample(folder, f"s{i}", instruction=f"Do number {i}.")
        items.append(scoring._Item(sample, sample.image, f"key{i}"))
    given = config.Judge(type="qwen3_vl", model="a/b", **settings)
    return list(scoring._judge_all(judge, items, RUBRIC, given))


def test_batches_are_as_large_as_configured(tmp_path):
    judge = FakeJudge()
    found = judge_all(judge, tmp_path, 10, batch_size=4)
    assert judge.batches == [4, 4, 2]
    assert [record.id for record in found] == [f"s{i}" for i in range(10)]
    assert {record.score for record in found} == {10.0}


def test_without_batch_inference_each_is_judged_alone(tmp_path):
    judge = FakeJudge()
    judge_all(judge, tmp_path, 3, batch_size=4, use_batch_inference=False)
    assert judge.batches == [1, 1, 1]


def test_out_of_memory_halves_the_batch_for_good(tmp_path):
    judge = FakeJudge(largest=2)
    found = judge_all(judge, tmp_path, 10, batch_size=8)
    assert judge.batches == [8, 4, 2, 2, 2, 2, 2]
    assert all(record.status == "ok" for record in found)


def test_what_does_not_even_fit_alone_fails_alone(tmp_path):
    found = judge_all(FakeJudge(largest=0), tmp_path, 2, batch_size=2)
    assert [record.status for record in found] == ["judge_failed"] * 2
    assert {record.score for record in found} == {None}


def test_one_bad_sample_costs_one_sample(tmp_path):
    judge = FakeJudge(poison="number 5")
    found = judge_all(judge, tmp_path, 8, batch_size=4)
    assert [record.id for record in found] == [f"s{i}" for i in range(8)]
    assert [record.id for record in found if record.status != "ok"] == ["s5"]
    assert found[5].error == "ValueError: poisoned"
    assert found[5].score is None


def test_a_broken_device_ends_the_job(tmp_path):
    with pytest.raises(DeviceError):
        judge_all(FakeJudge(poison="number 1", error=DeviceError), tmp_path, 2)


def test_a_reply_without_a_score_is_kept_and_not_scored(tmp_path):
    (record,) = judge_all(FakeJudge(reply="I give it 7/10."), tmp_path, 1)
    assert (record.status, record.score, record.criteria) == ("judge_failed", None, {})
    assert record.reply == "I give it 7/10."
    assert "no JSON object" in record.error


def test_a_judge_that_had_to_be_forced_is_not_believed(tmp_path):
    (record,) = judge_all(FakeJudge(mass=0.2), tmp_path, 1, min_schema_mass=0.5)
    assert (record.status, record.score, record.schema_mass) == ("judge_failed", None, 0.2)
    assert "judge.min_schema_mass" in record.error
