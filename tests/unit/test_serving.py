"""Score jobs that ask a server: several requests at a time, nothing lost, an end to failures."""

import base64
import json
import logging
import subprocess
import sys
import threading
import time
import types
from urllib.parse import quote

import pytest
from PIL import Image

from lockstep import records
from lockstep.devices.device import Device
from lockstep.errors import ServerError
from lockstep.foreign import transport
from lockstep.foreign.redaction import redact
from lockstep.judges.openai_api import OpenAISettings
from lockstep.models.server import side_by_side
from tests.fake_server import CUT, REPLY, answer, problem
from tests.score_job import Job

KEY = "sk-very/secret-0123456789"
REFUSAL = answer(reply=None, refusal="I can't help with that.")


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("JUDGE_KEY", KEY)


class ServedJob(Job):
    """A score job that asks a server."""

    def __init__(self, folder, count, server, **judge):
        super().__init__(folder, [Image.new("RGB", (32, 32), (i, 0, 0)) for i in range(count)])
        given = {"attempts": 2, "api_key_variable": "JUDGE_KEY", **judge}
        self.judge = OpenAISettings(type="openai", model="m", url=server.url, **given)

    def run(self, devices=1):
        # GPUs that are not there: none is pinned or locked
        return super().run(self.judge, [Device("cuda", str(i)) for i in range(devices)])


def by_sample(answers, usual=None):
    """Answer by the number of the sample that a request asks about."""

    def give(body):
        text = body["messages"][1]["content"][2]["text"]
        number = int(text.split("Do number ")[1].split(".")[0])
        return answers.get(number, usual or answer())

    return give


def test_every_edit_is_judged_and_its_tokens_are_counted(serve, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    job = ServedJob(tmp_path, 5, serve(answer()), input_price=2, output_price=10)
    found = job.run()
    assert list(found) == [f"s{i}" for i in range(5)]
    for record in found.values():
        assert (record.status, record.reply, record.reasoning) == ("ok", REPLY, "It fell.")
        assert record.criteria["preservation"] == 10
        assert (record.prompt_tokens, record.reply_tokens) == (100, 20)
        assert (record.judge["model"], record.rubric is not None) == ("m", True)
        assert record.versions["served model"] == "judge-2026-11-01"
        assert "torch" not in record.versions
    # 500 tokens at 2 and 100 at 10 for a million
    counted = "5 requests, 0 failed, 500 prompt tokens, 100 reply tokens, price 0.0020"
    assert counted in caplog.text


def test_as_many_requests_as_configured_are_under_way_at_a_time(serve, tmp_path):
    server = serve(answer())
    server.delay = 0.05
    ServedJob(tmp_path, 12, server, concurrency=6).run(devices=2)
    assert server.most == 3, "each of two jobs may have half of them"
    assert len(server.requests) == 12


def test_what_is_judged_is_not_asked_for_again(serve, tmp_path):
    server = serve(answer())
    job = ServedJob(tmp_path, 3, server)
    job.run()
    assert all(record.cached for record in job.run().values())
    assert len(server.requests) == 3


def test_a_reply_that_does_not_parse_is_asked_for_once_more(serve, tmp_path):
    server = serve(answer(reply="I give it 7/10."), answer())
    (record,) = ServedJob(tmp_path, 1, server).run().values()
    assert (record.status, record.reply, record.rejected) == ("ok", REPLY, "I give it 7/10.")
    assert (record.prompt_tokens, record.reply_tokens) == (200, 40)
    first, again = (body["messages"] for _, _, body in server.requests)
    assert again[:2] == first
    assert again[2]["content"] == "I give it 7/10."
    assert "found no JSON object" in again[3]["content"]


def test_a_reply_of_another_schema_twice_is_a_failed_judgement(serve, tmp_path):
    server = serve(answer(reply='{"physics": 7}'))
    (record,) = ServedJob(tmp_path, 1, server).run().values()
    assert (record.status, record.score) == ("judge_failed", None)
    assert record.reply == record.rejected == '{"physics": 7}'
    assert len(server.requests) == 2


def test_a_refusal_costs_its_own_sample_and_the_next_run_asks_again(serve, tmp_path):
    server = serve(by_sample({1: REFUSAL}))
    job = ServedJob(tmp_path, 3, server, max_failed_share=0)
    found = job.run()
    assert [record.status for record in found.values()] == ["ok", "judge_failed", "ok"]
    assert found["s1"].error == (
        "the server's content filter refused to judge (I can't help with that.)"
    )
    assert (found["s1"].score, found["s1"].reply) == (None, None)
    assert job.judged() == ["s0", "s2"]
    server.answers = [answer()]
    assert job.run()["s1"].status == "ok"
    assert len(server.requests) == 4


def test_what_did_not_end_normally_is_not_kept_and_the_next_run_asks_again(serve, tmp_path):
    odd = {
        0: answer(reason="abort"),
        1: answer(reason="MAX_TOKENS"),
        2: answer(reply=None),
        3: answer(reply=" "),
        4: answer(body=b'{"error": {"code": 400}}'),
    }
    server = serve(by_sample(odd))
    job = ServedJob(tmp_path, 7, server, max_failed_share=1)
    found = job.run()
    assert [record.status for record in found.values()] == ["judge_failed"] * 5 + ["ok"] * 2
    assert {found[f"s{number}"].score for number in odd} == {None}
    assert (found["s0"].finish_reason, found["s6"].finish_reason) == (None, "stop")
    assert job.judged() == ["s5", "s6"]
    server.answers = [answer()]
    assert {record.status for record in job.run().values()} == {"ok"}


@pytest.mark.parametrize("reason", ["abort", "length", "tool_calls"])
def test_a_server_that_ends_no_reply_normally_ends_the_job(serve, tmp_path, reason):
    job = ServedJob(tmp_path, 30, serve(answer(reason=reason)), concurrency=1, attempts=1)
    with pytest.raises(ServerError, match=r"judge: expected .* found 5 of 5"):
        job.run()


def test_failures_that_earlier_versions_kept_are_asked_for_again(serve, tmp_path):
    server = serve(answer(reply="I give it 7/10."))
    job = ServedJob(tmp_path, 3, server)
    assert {record.status for record in job.run().values()} == {"judge_failed"}
    assert job.judged() == ["s0", "s1", "s2"]
    # they did not say how a reply had ended, and took none for an empty one
    for name, reply in (("s0", ""), ("s1", "It fell. {")):
        path = job.category / "judgements" / f"{name}.json"
        (kept,) = records.read_records(path, records.ScoreRecord)
        records.write_records(
            path, [kept.model_copy(update={"reply": reply, "finish_reason": None})]
        )
    server.answers = [answer()]
    found = job.run()
    assert [found[name].status for name in ("s0", "s1", "s2")] == ["ok", "ok", "judge_failed"]
    assert [record.cached for record in found.values()] == [False, False, True]


def test_tokens_of_which_a_server_tells_a_part_are_unknown(serve, tmp_path):
    partly = answer(body=answer()[2].replace('"prompt_tokens": 100', '"prompt_tokens": null'))
    server = serve(answer(reply="I give it 7/10."), partly)
    (record,) = ServedJob(tmp_path, 1, server).run().values()
    assert (record.status, record.prompt_tokens, record.reply_tokens) == ("ok", None, None)


def test_few_failures_are_failed_judgements(serve, tmp_path):
    server = serve(by_sample({0: problem(500), 3: CUT}))
    found = ServedJob(tmp_path, 10, server, max_failed_share=0.2).run()
    failed = [record.id for record in found.values() if record.status != "ok"]
    assert failed == ["s0", "s3"]
    assert "answered 500" in found["s0"].error


def test_too_many_failures_end_the_job_and_lose_nothing(serve, tmp_path):
    server = serve(by_sample({number: problem(500) for number in range(7, 30)}))
    job = ServedJob(tmp_path, 30, server, max_failed_share=0.2, concurrency=1)
    with pytest.raises(ServerError) as error:
        job.run()
    assert str(error.value) == (
        "judge: expected at most a share of 0.2 of failed requests (judge.max_failed_share), "
        "found 5 of 12; what is judged is kept, run again; the last failure: "
        'the server answered 500 ({"error": {"message": "no", "code": null}})'
    )
    assert job.judged() == [f"s{i}" for i in range(7)]
    assert not (job.category / "scores").exists()
    asked = len(server.requests)
    # two tries each; one or two more may have been under way
    assert 7 + 2 * 5 <= asked <= 7 + 2 * 7
    server.answers = [answer()]
    assert {record.status for record in job.run().values()} == {"ok"}
    assert len(server.requests) == asked + 23


def test_of_a_small_shard_no_less_than_the_share_may_fail(serve, tmp_path):
    server = serve(problem(500))
    with pytest.raises(ServerError, match=r"judge: expected .* found 1 of 1"):
        ServedJob(tmp_path, 2, server, concurrency=1).run()


def test_replies_under_way_are_kept_when_a_job_ends(serve, tmp_path, monkeypatch):
    """They are paid for; pauses are not waited for."""
    monkeypatch.setattr(transport, "FIRST_PAUSE", 60)
    together = threading.Barrier(4)

    def give(body):
        together.wait(10)
        time.sleep(0.2)
        given = by_sample({0: problem(401), 1: problem(500)})(body)
        time.sleep(0.5 if given == answer() else 0)
        return given

    server = serve(give)
    job = ServedJob(tmp_path, 40, server, concurrency=4)
    began = time.monotonic()
    with pytest.raises(ServerError, match="the server answered 401"):
        job.run()
    assert time.monotonic() - began < 120
    assert job.judged() == ["s2", "s3"]
    assert len(server.requests) == 4


def test_an_interrupted_job_ends_at_once():
    code = (
        "import time, types; from lockstep.models.server import side_by_side\n"
        "server = types.SimpleNamespace(asked=0, failures=[], stop=print)\n"
        "next(side_by_side(server, [0, 60], time.sleep, 2, 0.2))\n"
        "raise KeyboardInterrupt"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "KeyboardInterrupt" in done.stderr


def test_nothing_is_begun_after_an_error():
    server = types.SimpleNamespace(asked=0, failures=[], stop=lambda: None)
    begun = []

    def judge(number):
        begun.append(number)
        if number == 1:
            raise ServerError("no")
        time.sleep(0.1)
        return number

    with pytest.raises(ServerError):
        list(side_by_side(server, range(9), judge, 3, 0.2))
    assert set(begun) == {0, 1, 2}


def test_a_bug_shows_itself():
    server = types.SimpleNamespace(asked=0, failures=[], stop=lambda: None)
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(server, [1, 0], lambda number: 1 / number, 1, 0.2))


def test_the_key_is_in_no_file_and_in_no_log(serve, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    leaking = {
        0: problem(500, message=f"your key {KEY} is fine, we are not"),
        1: answer(reply=f"Your key is {KEY}."),
        2: answer(reply=None, refusal=f"Not with {KEY}."),
        3: problem(400, message=KEY),
        4: answer(body=f'{{"choices": "{KEY}"}}'),
        5: answer(body=KEY),
        6: CUT,
        7: answer(body=answer(reply=KEY)[2].replace("/", "\\/")),
        8: answer(body=answer(reply=KEY)[2].replace("-", "\\u002D")),
        9: answer(reply=" ".join(KEY)),
        10: problem(400, message="\0".join(KEY)),
        11: answer(reply=base64.b64encode(KEY.encode()).decode()),
        12: problem(400, message=quote(KEY, safe="")),
        13: answer(reply=None, reason=KEY),
    }
    server = serve(by_sample(leaking))
    job = ServedJob(tmp_path, 14, server, max_failed_share=1)
    found = job.run()
    assert [record.status for record in found.values()].count("judge_failed") == 14
    server.answers = [problem(401, message=f"wrong key: {KEY}")]
    with pytest.raises(ServerError) as error:
        job.run()
    assert all(headers["Authorization"].endswith(KEY) for _, headers, _ in server.requests)
    said = job.written() + caplog.text.encode() + str(error.value).encode()
    said += (
        "".join(capfd.readouterr()).encode()
        + json.dumps(job.judge.model_dump(mode="json")).encode()
    )
    assert b"[key]" in said
    assert KEY.encode() not in said
    for spelt in (" ".join(KEY), "\0".join(KEY), quote(KEY, safe=""), KEY.replace("-", "\\u002D")):
        assert spelt.encode() not in said
    assert base64.b64encode(KEY.encode()) not in said
    text = said.decode("utf-8", "ignore")
    assert redact(text, KEY) == text
