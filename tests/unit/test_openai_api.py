"""The judge behind a server: what it sends, and what it makes of a server that misbehaves."""

import base64
import io
import logging
import re
import threading
import time

import pytest
from PIL import Image
from pydantic_core import from_json, to_json

from lockstep.errors import ConfigError, ServerError
from lockstep.foreign import transport
from lockstep.judges import keys
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.openai_api.judge import OpenAIJudge
from lockstep.judges.protocol import Pair, Rejected
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT, make_sample
from tests.fake_server import CUT, CUT_WITHIN, REPLY, answer, problem

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("JUDGE_KEY", KEY)


@pytest.fixture
def connect():
    judges_made = []

    def make(server, **given):
        judges_made.append(OpenAIJudge(settings(server, **given)))
        return judges_made[-1]

    yield make
    for judge in judges_made:
        judge.close()


def settings(server, **given):
    url = server if isinstance(server, str) else server.url
    given = {"api_key_variable": "JUDGE_KEY", "attempts": 3, "timeout": 5, **given}
    return OpenAISettings(type="openai", model="Qwen/Qwen3-VL-8B-Instruct", url=url, **given)


def pair(folder, **given):
    fields = {
        "id": "a",
        "editor": "e",
        "source": Image.linear_gradient("L").resize((96, 64)).convert("RGB"),
        "edited": Image.radial_gradient("L").resize((64, 48)).convert("RGB"),
        "rubric": RUBRIC,
        "prompt": RUBRIC.prompt(make_sample(folder)),
    }
    return Pair(**{**fields, **given})


def shown(part):
    """Return the pixels of an image in a message."""
    start, data = part["image_url"]["url"].split(",")
    assert start == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return image.mode, image.size, image.tobytes()


def test_the_server_is_asked_what_the_judge_in_this_process_is(serve, connect, tmp_path):
    server = serve(answer())
    given = pair(tmp_path)
    (judgement,) = connect(server).judge([given])
    assert (judgement.reply, judgement.error) == (REPLY, None)
    assert judgement.usage == (100, 20)
    assert judgement.versions == {"served model": "judge-2026-11-01", "system fingerprint": "fp_1"}
    ((_, headers, body),) = server.requests
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["seed"]) == ("Qwen/Qwen3-VL-8B-Instruct", 0, 0)
    assert 256 < body["max_tokens"] < 400
    assert not {"response_format", "n", "stream"} & set(body)
    system, user = body["messages"]
    assert system == {"role": "system", "content": RUBRIC.system}
    source, edited, text = user["content"]
    for part, image in ((source, given.source), (edited, given.edited)):
        assert shown(part) == (image.mode, image.size, image.tobytes())
    assert text == {"type": "text", "text": given.prompt}


def test_several_judgements_of_an_edit_are_sampled(serve, connect, tmp_path):
    server = serve(answer())
    connect(server, temperature=0.5).judge([pair(tmp_path, seed=7)])
    body = server.requests[0][2]
    assert (body["temperature"], body["seed"]) == (0.5, 7)


def test_a_judge_is_asked_once_more_with_its_reply_and_the_error(serve, connect, tmp_path):
    server = serve(answer())
    again = pair(tmp_path, rejected=Rejected("7/10", "That was no JSON object."))
    connect(server).judge([again])
    reply, error = server.requests[0][2]["messages"][2:]
    assert reply == {"role": "assistant", "content": "7/10"}
    assert error == {"role": "user", "content": "That was no JSON object."}


def test_fields_of_the_request_can_be_added_and_left_out(serve, connect, tmp_path):
    server = serve(answer())
    request = {"seed": None, "max_tokens": None, "max_completion_tokens": 99}
    connect(server, request=request).judge([pair(tmp_path)])
    body = server.requests[0][2]
    assert not {"seed", "max_tokens"} & set(body)
    assert body["max_completion_tokens"] == 99


def test_without_a_variable_no_key_is_sent(serve, connect, tmp_path):
    server = serve(answer())
    connect(server, api_key_variable=None).judge([pair(tmp_path)])
    assert server.requests[0][1]["Authorization"] is None


def test_the_server_is_asked_to_hold_to_the_schema_only_if_configured(serve, connect, tmp_path):
    server = serve(answer())
    connect(server, response_format="json_schema").judge([pair(tmp_path)])
    form = server.requests[0][2]["response_format"]
    assert form["type"] == "json_schema"
    schema = form["json_schema"]["schema"]
    names = [criterion.name for criterion in RUBRIC.criteria]
    assert (list(schema["properties"]), schema["required"]) == (names, names)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    "failure",
    [
        problem(429),
        problem(429, after=0),
        problem(408),
        problem(500),
        problem(503, after="soon"),
        answer(status=502, body="<html>Bad gateway</html>"),
        CUT,
        CUT_WITHIN,
        answer(body='{"choices": [{"message": {"con'),
        answer(body=""),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(serve, connect, tmp_path, failure):
    server = serve(failure, failure, answer())
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert (judgement.reply, judgement.error) == (REPLY, None)
    assert (len(server.requests), judge.asked, judge.failures) == (3, 1, [])


@pytest.mark.parametrize(
    ("failure", "tries", "message"),
    [
        (problem(500, message="out of order"), 3, "the server answered 500 (.*out of order.*)"),
        (CUT, 3, "found no answer at http://127.0.0.1:.*RemoteProtocolError"),
        (answer(body="{"), 3, "expected a chat completion, found no JSON: EOF"),
        (problem(400, message="too many images"), 1, "answered 400 (.*too many images.*)"),
        (problem(403, message="flagged"), 1, "answered 403 (.*flagged.*)"),
        (problem(422), 1, "answered 422"),
        (answer(status=307, body=""), 1, "answered 307"),
        (answer(body="[]"), 1, "expected a chat completion, found no object (.*)"),
        (answer(body='{"choices": []}'), 1, "chat completion, found choices: .*"),
        (answer(body='{"choices": [{"text": "7"}]}'), 1, "choices.0.message: Field required"),
        (answer(body='{"error": {"message": "overloaded"}}'), 1, "answered 200 (.*overloaded.*)"),
        (problem(429, after=999), 1, "asks for a pause of 999 s, expected at most 120 s"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_a_failed_judgement(
    serve, connect, tmp_path, failure, tries, message
):
    server = serve(failure)
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert judgement.reply is None
    assert re.search(message.replace("(", r"\(").replace(")", r"\)"), judgement.error)
    assert (len(server.requests), judge.asked, len(judge.failures)) == (tries, 1, 1)


def test_a_slow_server_is_tried_again_and_then_given_up(serve, connect, tmp_path):
    server = serve(answer())
    server.delay = 0.5
    (judgement,) = connect(server, timeout=0.1, attempts=2).judge([pair(tmp_path)])
    assert "found no whole answer at http://127.0.0.1" in judgement.error
    assert len(server.requests) == 2


def test_a_server_that_is_not_there_is_a_failed_judgement(connect, tmp_path):
    (judgement,) = connect("http://127.0.0.1:9/v1").judge([pair(tmp_path)])
    assert "found no answer at http://127.0.0.1:9/v1 (ConnectError" in judgement.error


@pytest.mark.parametrize(
    "refusal",
    [
        answer(reply=None, refusal="I can't help with that."),
        answer(reply="", reason="content_filter"),
        problem(400, code="content_filter"),
        problem(400, code="content_policy_violation"),
    ],
    ids=str,
)
def test_a_refusal_is_recorded_as_one_and_is_no_failed_request(serve, connect, tmp_path, refusal):
    server = serve(refusal)
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert not judgement.reply
    assert judgement.error.startswith("the server's content filter refused to judge (")
    assert (len(server.requests), judge.asked, judge.failures) == (1, 1, [])


def completion(**changes):
    """Return an answer of which some fields differ."""
    given = from_json(answer()[2])
    choice = given["choices"][0]
    for name, value in changes.items():
        place = next(part for part in (choice["message"], choice, given) if name in part)
        place[name] = value
    return answer(body=to_json(given))


@pytest.mark.parametrize("field", ["usage", "model", "system_fingerprint", "finish_reason"])
@pytest.mark.parametrize("odd", [None, [], [1], {}, {"a": []}, 1.5, 7, True, "", -1, 10**30])
def test_a_valid_reply_counts_whatever_stands_beside_it(serve, connect, tmp_path, field, odd):
    judge = connect(serve(completion(**{field: odd})))
    (judgement,) = judge.judge([pair(tmp_path)])
    assert (judgement.reply, judgement.error) == (REPLY, None)
    assert judgement.usage == (None if field == "usage" else (100, 20))
    assert set(judgement.versions) == {"served model", "system fingerprint"} - {
        {"model": "served model"}.get(field, field.replace("_", " "))
    }
    assert judgement.finish_reason == ("unknown" if field == "finish_reason" else "stop")
    assert (judge.failures, judge.usage) == ([], judgement.usage or (0, 0))


@pytest.mark.parametrize("odd", [None, [], 1.5, 100.0, "100", True, -1, 10**30, {"a": 1}])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_tokens_that_are_no_count_are_unknown(serve, connect, tmp_path, field, odd):
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None, field: odd}
    (judgement,) = connect(serve(completion(usage=usage))).judge([pair(tmp_path)])
    assert (judgement.reply, judgement.error, judgement.usage) == (REPLY, None, None)


def test_further_choices_and_fields_are_not_read(serve, connect, tmp_path):
    given = from_json(completion(refusal=False, index="first")[2])
    given |= {"error": None, "code": 0, "choices": [*given["choices"], None], "usage": {"a": 1}}
    (judgement,) = connect(serve(answer(body=to_json(given)))).judge([pair(tmp_path)])
    assert (judgement.reply, judgement.error) == (REPLY, None)


@pytest.mark.parametrize("word", ["stop", "STOP", "eos_token", "end_turn", "FINISH_REASON_STOP"])
def test_a_normal_end_has_several_names(serve, connect, tmp_path, word):
    (judgement,) = connect(serve(answer(reason=word))).judge([pair(tmp_path)])
    assert (judgement.reply, judgement.error, judgement.finish_reason) == (REPLY, None, word)


@pytest.mark.parametrize(
    ("reason", "tries", "message"),
    [
        ("abort", 3, "expected a reply that ended by itself, found the end 'abort'"),
        ("error", 3, "found the end 'error'"),
        ("network_error", 3, "found the end 'network_error'"),
        ("tool_calls", 1, "found the end 'tool_calls'"),
        ("OTHER", 1, "found the end 'OTHER'"),
        ("length", 1, "the reply was cut off"),
        ("MAX_TOKENS", 1, "the reply was cut off"),
        ("model_context_window_exceeded", 1, "the reply was cut off"),
    ],
)
def test_a_reply_that_did_not_end_by_itself_is_a_failure(
    serve, connect, tmp_path, reason, tries, message
):
    server = serve(answer(reason=reason))
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert message in judgement.error
    assert (len(server.requests), len(judge.failures)) == (tries, 1)
    assert judge.usage == (100 * tries, 20 * tries)


def test_a_reply_that_was_cut_off_is_kept_and_does_not_count(serve, connect, tmp_path):
    (judgement,) = connect(serve(answer(reason="length"))).judge([pair(tmp_path)])
    assert judgement.reply == REPLY
    assert "judge.max_reasoning_tokens" in judgement.error


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("reply", [None, "", " \n"])
def test_reasoning_without_a_reply_is_a_failure(serve, connect, tmp_path, reply, field):
    given = from_json(answer(reply=reply)[2])
    given["choices"][0]["message"][field] = "I think that"
    judge = connect(serve(answer(body=to_json(given))))
    (judgement,) = judge.judge([pair(tmp_path)])
    assert "expected a reply, found none beside 12 characters of reasoning" in judgement.error
    assert len(judge.failures) == 1


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 503, "message": "busy"}},
        {"error": {"code": "429"}},
        {"error": {"code": None, "type": "server_error"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
        [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}],
        {"object": "error", "message": "busy", "code": 500},
        {"code": "Throttling.RateQuota", "message": "busy"},
        {"error": "we are busy", "error_type": "overloaded"},
        {"error": 503},
        {"choices": [], "code": "service_unavailable"},
        {"choices": [{"message": {"content": REPLY}, "error": {"code": 502}}]},
        {"error": {"code": 500}, "choices": [{"message": {"content": REPLY}}]},
    ],
    ids=str,
)
def test_an_error_within_an_answer_is_tried_again_as_its_status(serve, connect, tmp_path, error):
    server = serve(answer(body=to_json(error)), answer())
    (judgement,) = connect(server).judge([pair(tmp_path)])
    assert (judgement.reply, len(server.requests)) == (REPLY, 2)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 401}},
        {"error": {"code": "invalid_api_key"}},
        {"error": {"code": "insufficient_quota", "type": "rate_limit_error"}},
        {"object": "error", "type": "NotFoundError", "code": 404},
        {"choices": [{"message": {"content": None}, "error": {"code": 402}}]},
    ],
    ids=str,
)
def test_an_error_within_an_answer_ends_the_job_as_its_status(serve, connect, tmp_path, error):
    with pytest.raises(ServerError, match=r"judge: the server answered 200 .* expected a server"):
        connect(serve(answer(body=to_json(error)))).judge([pair(tmp_path)])


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 400, "message": "no"}},
        {"error": {"code": "strange"}},
        {"error": "no"},
        {"error": "headers are case sensitive, no timeout"},
        {"error": [1]},
        {"error": True},
        {"code": 418, "message": "no"},
        {"error": {"code": 403, "metadata": {"code": 401}}},
        {"choices": [{"message": {"content": REPLY}, "error": "no"}]},
    ],
    ids=str,
)
def test_another_error_within_an_answer_is_a_failed_request(serve, connect, tmp_path, error):
    server = serve(answer(body=to_json(error)))
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert judgement.error.startswith("the server answered 200 (")
    assert (judgement.reply, len(server.requests), len(judge.failures)) == (None, 1, 1)


@pytest.mark.parametrize(
    "refusal",
    [
        problem(400, code="data_inspection_failed"),
        problem(400, code="1301"),
        problem(400, code=1301),
        problem(500, code="SensitiveContentDetected.Violence"),
        problem(451),
        answer(status=400, body=to_json({"code": "DataInspectionFailed", "message": "no"})),
        answer(status=403, body=to_json({"error": {"metadata": {"flagged_input": "the text"}}})),
        answer(
            status=400,
            body=to_json({"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        ),
        answer(body=to_json({"error": {"code": "1301", "message": "no"}})),
        answer(body=to_json({"choices": [{"message": {}, "error": {"code": "SAFETY"}}]})),
        answer(reason="SAFETY"),
        answer(reply=None, reason="sensitive"),
        answer(reply="", reason="content_filter: PROHIBITED_CONTENT"),
        answer(reply=None, reason="guardrail_intervened"),
    ],
    ids=str,
)
def test_refusals_of_other_vendors_are_refusals(serve, connect, tmp_path, refusal):
    server = serve(refusal)
    judge = connect(server)
    (judgement,) = judge.judge([pair(tmp_path)])
    assert judgement.error.startswith("the server's content filter refused to judge (")
    assert (len(server.requests), judge.failures) == (1, [])


@pytest.mark.parametrize(
    "failure",
    [
        problem(401, message=f"no such key: {KEY}"),
        problem(402),
        problem(404),
        problem(429, code="insufficient_quota"),
    ],
    ids=str,
)
def test_a_server_of_no_use_ends_the_job_at_once(serve, connect, tmp_path, failure):
    server = serve(failure)
    with pytest.raises(ServerError, match=r"judge: the server answered 4\d\d .* expected a server"):
        connect(server).judge([pair(tmp_path)])
    assert len(server.requests) == 1


def test_a_pause_that_the_server_asks_for_is_kept_by_all(serve, connect, tmp_path):
    server = serve(problem(429, after=1), answer())
    judge = connect(server)
    first = threading.Thread(target=judge.judge, args=([pair(tmp_path)],))
    first.start()
    while not judge._client._resume:
        time.sleep(0.005)
    judge.judge([pair(tmp_path)])
    first.join()
    turned_away, *later = (when for when, _, _ in server.requests)
    assert len(later) == 2
    assert all(1 <= when - turned_away < 3 for when in later)


def test_pauses_grow_and_differ(serve, connect, tmp_path, monkeypatch):
    server = serve(problem(500))
    judge = connect(server, attempts=9, max_wait=0.1)
    slept = []
    monkeypatch.setattr(judge._client._stopping, "wait", lambda timeout: slept.append(timeout))
    judge.judge([pair(tmp_path)])
    pauses = [timeout for timeout in slept if timeout]
    assert len(pauses) == 8
    for longest, pause in zip([0.02, 0.04, 0.08] + [0.1] * 5, pauses, strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 8


def test_stopping_ends_the_pauses(serve, connect, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 60)
    server = serve(problem(500))
    judge = connect(server)
    found = []
    thread = threading.Thread(target=lambda: found.extend(judge.judge([pair(tmp_path)])))
    thread.start()
    while not server.requests:
        time.sleep(0.005)
    time.sleep(0.1)
    judge.stop()
    thread.join(5)
    assert found[0].error
    assert len(server.requests) == 1


@pytest.mark.parametrize("key", [None, "", "  ", "a\nb", "a b", "schlüssel"])
def test_what_is_no_key_is_one_clear_error_that_does_not_show_it(monkeypatch, key):
    monkeypatch.delenv("JUDGE_KEY")
    if key is not None:
        monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(
        ConfigError, match=r"judge\.api_key_variable: expected .* found .* JUDGE_KEY"
    ) as error:
        OpenAIJudge(settings("http://127.0.0.1:9/v1"))
    assert not key or not key.strip() or key not in str(error.value)


def test_the_identity_names_the_model_and_not_the_server():
    own = keys.identity(settings("http://127.0.0.1:9/v1"))
    for same in (
        {"api_key_variable": None},
        {"concurrency": 1, "timeout": 1, "attempts": 1, "max_wait": 1},
        {"max_failed_share": 1, "input_price": 1, "output_price": 2},
    ):
        assert keys.identity(settings("https://example.org/v1", **same)) == own
    for other in (
        {"revision": "v2"},
        {"max_reasoning_tokens": 9},
        {"response_format": "json_schema"},
        {"request": {"top_p": 0.5}},
    ):
        assert keys.identity(settings("http://127.0.0.1:9/v1", **other)) != own
    assert KEY not in str(own)


def test_the_key_is_shown_by_no_error_and_no_log(serve, connect, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    leaking = [
        problem(500, message=f"your key {KEY} is fine, we are not"),
        answer(reply=f"Your key is {KEY}."),
        problem(400, message=KEY),
        problem(400, code="content_filter", message=KEY),
        answer(body=f'{{"choices": "{KEY}"}}'),
        problem(401, message=KEY),
    ]
    judge = connect(serve(*leaking))
    said = [judge.judge([pair(tmp_path)]) for _ in range(4)]
    with pytest.raises(ServerError) as error:
        judge.judge([pair(tmp_path)])
    assert "[key]" in str(said)
    assert KEY not in str(said) + str(error.value) + caplog.text
    assert "trying again" in caplog.text
