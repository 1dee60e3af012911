"""What the judge was asked stands beside the scores, word for word."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lockstep import layout, records
from lockstep.devices.device import Device
from lockstep.foreign import transport
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.records import AskedRecord
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT
from tests.fake_server import REPLY, answer, problem
from tests.score_job import Job
from tests.unit.test_serving import KEY, REFUSAL, ServedJob

RUBRIC = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("JUDGE_KEY", KEY)


def asked(job):
    (path,) = layout.known_asked(job.folder, "e", "physical")
    return {record.id: record for record in records.read_records(path, AskedRecord)}


def texts(body):
    """Return what a request says: of the system and of the user."""
    system, user, *further = body["messages"]
    return [system["content"], user["content"][-1]["text"], *(each["content"] for each in further)]


def test_it_is_what_the_request_said(serve, tmp_path):
    server = serve(answer())
    job = ServedJob(tmp_path, 3, server)
    scores = job.run()
    sent = sorted(texts(body) for _, _, body in server.requests)
    found = asked(job)
    assert list(found) == ["s0", "s1", "s2"]
    assert sorted([one.system, one.prompt] for r in found.values() for one in r.judgements) == sent
    for name, record in found.items():
        (one,) = record.judgements
        assert "Do number " + name[1:] in one.prompt
        assert (one.which, one.shown) == ("", ["source", "edited"])
        assert (one.reply, one.rejected, one.correction, one.error) == (REPLY, None, None, None)
        assert (one.key, one.judge) == (scores[name].key, scores[name].fingerprint)
        assert (one.score, one.prompt_tokens, one.reply_tokens) == (scores[name].score, 100, 20)


def test_a_reply_that_was_asked_for_once_more_has_both(serve, tmp_path):
    server = serve(answer(reply="I give it 7/10."), answer())
    job = ServedJob(tmp_path, 1, server)
    job.run()
    for cached in (False, True):
        (one,) = asked(job)["s0"].judgements
        assert [one.system, one.prompt, one.rejected, one.correction] == texts(
            server.requests[1][2]
        ), f"cached: {cached}"
        assert one.reply == REPLY
        job.run()
    assert len(server.requests) == 2


def test_of_what_an_earlier_version_kept_the_correction_alone_is_unknown(serve, tmp_path):
    server = serve(answer(reply="I give it 7/10."), answer())
    job = ServedJob(tmp_path, 1, server)
    job.run()
    (path,) = job.category.glob("judgements/*.json")
    kept = json.loads(path.read_text())
    del kept["correction"]
    path.write_text(json.dumps(kept))
    job.run()
    (one,) = asked(job)["s0"].judgements
    assert [one.system, one.prompt] == texts(server.requests[0][2])
    assert (one.rejected, one.correction, one.reply) == ("I give it 7/10.", None, REPLY)


@pytest.mark.parametrize(
    ("given", "error"),
    [(REFUSAL, "content filter refused"), (problem(400, message="too long"), "too long")],
)
def test_what_has_no_reply_was_asked_all_the_same(serve, tmp_path, given, error):
    job = ServedJob(tmp_path, 1, serve(given), max_failed_share=1)
    job.run()
    (one,) = asked(job)["s0"].judgements
    assert (one.key, one.reply) == (None, None)
    assert error in one.error and "Do number 0" in one.prompt


def test_what_failed_before_it_was_asked_has_no_texts(serve, tmp_path):
    server = serve(answer())
    job = ServedJob(tmp_path, 2, server)
    records.write_text(Path(records.read_manifest(job.manifest)[1].image), "no image")
    job.run()
    (one,) = asked(job)["s1"].judgements
    assert (one.system, one.prompt, one.shown, one.reply) == (None, None, [], None)
    assert one.error and len(server.requests) == 1


def test_every_judgement_of_an_edit_is_there(serve, tmp_path):
    server = serve(answer())
    job = ServedJob(tmp_path, 2, server, repeats=2, swapped_instruction=True)
    job.run()
    first, second, swapped = asked(job)["s0"].judgements
    assert [one.which for one in (first, second, swapped)] == ["repeat-0", "repeat-1", "swapped"]
    assert first.prompt == second.prompt and first.seed != second.seed
    assert "Do number 0" in first.prompt and "Do number 1" in swapped.prompt


def test_a_key_that_a_server_gives_back_is_not_in_it(serve, tmp_path):
    reply = f"{KEY} {REPLY}"
    job = ServedJob(tmp_path, 1, serve(answer(reply=f"my key is {KEY}"), answer(reply=reply)))
    job.run()
    (one,) = asked(job)["s0"].judgements
    assert "[key]" in one.rejected and "[key]" in one.reply
    assert KEY.encode() not in job.written()


def test_a_judge_that_is_not_asked_has_replies_alone(tmp_path):
    job = Job(tmp_path, [Image.new("RGB", (8, 8))])
    records.write_text(tmp_path / "replies" / "e" / "s0.txt", REPLY)
    judge = PrecomputedJudgeSettings(type="precomputed", folder=str(tmp_path / "replies"))
    job.run(judge, [Device("cpu", "0")])
    (one,) = asked(job)["s0"].judgements
    assert (one.reply, one.system, one.prompt, one.shown) == (REPLY, None, None, [])


def test_files_of_another_number_of_shards_go(serve, tmp_path):
    job = ServedJob(tmp_path, 2, serve(answer()))
    job.run(devices=2)
    job.run(devices=1)
    (path,) = layout.known_asked(job.folder, "e", "physical")
    assert path.name == "shard-0-of-1.jsonl"
