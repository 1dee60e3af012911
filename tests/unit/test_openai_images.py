"""The editor behind a server: what it sends, and what it makes of a server that misbehaves."""

import base64
import io
import logging
import re
from contextlib import closing

import pytest
from PIL import Image
from pydantic import ValidationError

import lockstep
from lockstep.editors import keys
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.editors.openai_images.editor import COPY, OTHER_SIZE, SEEDS, OpenAIImagesEditor
from lockstep.errors import ConfigError, EditError, ServerError
from lockstep.foreign import transport
from lockstep.foreign.network import check_named
from tests.conftest import make_sample
from tests.fake_server import (
    CUT,
    CUT_WITHIN,
    answer,
    edited,
    png,
    problem,
)

KEY = "sk-very-secret-0123456789"
MADE = Image.new("RGB", (96, 64), (7, 8, 9))


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("EDIT_KEY", KEY)


def settings(server, **given):
    url = server if isinstance(server, str) else server.url
    given = {"api_key_variable": "EDIT_KEY", "attempts": 3, "timeout": 5, **given}
    return OpenAIImagesSettings(type="openai_images", name="e", model="m/edit", url=url, **given)


@pytest.fixture
def edit(tmp_path):
    """Edit a sample by a server and return what the editor gives, and the editor."""
    made = []

    def make(server, sample=None, seed=2**40 + 5, **given):
        editor = OpenAIImagesEditor(settings(server, **given))
        made.append(editor)
        sample = sample or make_sample(tmp_path)
        return editor, lambda: editor.edit(editor.prepare(sample), sample, seed)

    yield make
    for editor in made:
        editor.close()


def test_the_server_gets_the_image_the_instruction_and_the_seed(serve, edit, tmp_path):
    server = serve(edited(MADE, model="edit-2026", seed=3))
    _, ask = edit(server, request={"num_inference_steps": 4, "strict": True, "lora": {"a": 1}})
    made = ask()
    ((_, headers, form),) = server.requests
    ((field, data),) = form.pop("images")
    assert field == "image"
    assert headers["Authorization"] == f"Bearer {KEY}"
    with Image.open(tmp_path / "a-source.png") as source, Image.open(io.BytesIO(data)) as sent:
        assert (sent.mode, sent.tobytes()) == ("RGB", source.tobytes())
    assert form == {
        "model": "m/edit",
        "prompt": "Let go of the ball.",
        "n": "1",
        "seed": str((2**40 + 5) % SEEDS),
        "num_inference_steps": "4",
        "strict": "true",
        "lora": '{"a": 1}',
    }
    assert made.image.tobytes() == MADE.tobytes()
    served = made.record["served"]
    assert (served.requested_size, served.requested_seed) == (None, (2**40 + 5) % SEEDS)
    assert (served.model, served.used_seed, served.seed) == ("edit-2026", 3, "unknown")
    assert (served.input_tokens, served.output_tokens, served.warnings) == (100, 20, [])
    assert made.record["versions"] == {"served model": "edit-2026"}


def test_what_the_server_does_not_say_is_unknown(serve, edit):
    server = serve(edited(MADE, usage={"input_tokens": "many"}, seed=[1], model=7))
    editor, ask = edit(server)
    served = ask().record["served"]
    said = (served.model, served.used_seed, served.input_tokens, served.output_tokens)
    assert said == (None, None, None, None)
    assert editor.usage == (0, 0)


def test_several_images_go_in_their_order(serve, edit, tmp_path):
    more = {"image": str(tmp_path / "b.png"), "sha256": "1" * 64, "width": 8, "height": 8}
    Image.new("RGB", (8, 8), "red").save(tmp_path / "b.png")
    server = serve(edited(MADE))
    edit(server, make_sample(tmp_path, more=[more]))[1]()
    (first, _), (second, data) = server.requests[0][2]["images"]
    assert (first, second) == ("image[]", "image[]")
    with Image.open(io.BytesIO(data)) as sent:
        assert sent.size == (8, 8)


def test_usual_fields_can_be_left_out_or_given(serve, edit):
    server = serve(edited(MADE))
    _, ask = edit(server, size="source", request={"seed": None, "n": None, "size": "auto"})
    served = ask().record["served"]
    assert not {"seed", "n"} & set(server.requests[0][2])
    assert (served.requested_seed, served.requested_size, served.warnings) == (None, "auto", [])


def test_an_image_of_another_size_and_a_copy_are_said_and_count(serve, edit, tmp_path):
    server = serve(edited(MADE.resize((64, 64))))
    made = edit(server, size="source")[1]()
    assert server.requests[0][2]["size"] == "96x64"
    assert made.image.size == (64, 64)
    assert made.record["served"].warnings == [OTHER_SIZE]
    with Image.open(tmp_path / "a-source.png") as source:
        made = edit(serve(edited(source.copy())))[1]()
    assert made.record["served"].warnings == [COPY]


@pytest.mark.parametrize("address", ["{url}/files/a.png", "files/a.png", "/v1/files/a.png"])
def test_an_image_at_an_address_of_the_server_is_fetched_with_the_key(serve, edit, address):
    server = serve()
    server.answers = [edited({"url": address.format(url=server.url)})]
    server.files["/v1/files/a.png"] = answer(body=png(MADE))
    assert edit(server)[1]().image.tobytes() == MADE.tobytes()
    ((_, headers),) = server.asked_for
    assert headers["Authorization"] == f"Bearer {KEY}"


def test_another_server_of_the_same_host_gets_no_key(serve, edit):
    server, store = serve(), serve(answer())
    server.answers = [edited({"url": store.url + "/a.png?signature=1"})]
    store.files["/v1/a.png?signature=1"] = answer(body=png(MADE))
    assert edit(server)[1]().image.tobytes() == MADE.tobytes()
    ((_, headers),) = store.asked_for
    assert headers["Authorization"] is None


def test_an_address_that_fails_for_a_while_costs_no_second_edit(serve, edit):
    server = serve()
    server.answers = [edited({"url": "files/a.png"})]
    found = [problem(503), problem(503), answer(body=png(MADE))]
    server.files["/v1/files/a.png"] = lambda: found.pop(0)
    assert edit(server)[1]().image.tobytes() == MADE.tobytes()
    assert (len(server.requests), len(server.asked_for)) == (1, 3)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://example.org/a.png", "another host without https"),
        ("https://169.254.169.254/latest", "not public"),
        ("https://10.0.0.1/a.png", "not public"),
        ("https://[::1]/a.png", "not public"),
        ("https://localhost/a.png", "not public"),
        ("file:///etc/passwd", "no address of http"),
        ("https://me:word@example.org/a.png", "an address with a user"),
        ("https://[", "cannot be one"),
        ("https://example.org:0/a", "no address of http"),
        ("https://example.org:99999/a", "cannot be one"),
        ("https://xn--a/a", "cannot be one"),
        ("https://example.org/a\0b", "cannot be one"),
        ("https://127。0。0。1/a", "cannot be one"),
        # what systems take for addresses although it is none
        ("https://127.1/a", "not public"),
        ("https://2130706433/a", "not public"),
        ("https://0X7f.1./a", "not public"),
        ("https://[::ffff:10.0.0.1]/a", "not public"),
    ],
)
def test_addresses_that_lead_into_a_network_are_not_asked(address, fault):
    assert fault in check_named(address, "https://api.example.com/v1")


def test_public_addresses_and_the_servers_own_host_are_asked():
    named = (
        "https://example.org/a.png",
        "https://例え.jp/a",
        "https://x.a1/a",
        "https://8.8.8.8/a",
    )
    for address in (*named, "http://10.1.1.1:9000/b"):
        assert check_named(address, "http://10.1.1.1:8000/v1") is None
    assert check_named("http://localhost:9/a", "http://127.0.0.1:8/v1") is None


@pytest.mark.parametrize(
    "failure",
    [
        problem(429, after=0),
        problem(500),
        answer(status=502, body="<html>Bad gateway</html>"),
        answer(body="<html>Welcome</html>"),
        CUT,
        CUT_WITHIN,
        answer(body=edited(MADE)[2][:90]),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(serve, edit, failure):
    server = serve(failure, failure, edited(MADE))
    editor, ask = edit(server)
    assert ask().image.tobytes() == MADE.tobytes()
    assert (len(server.requests), editor.asked, editor.failures) == (3, 1, [])


@pytest.mark.parametrize(
    ("failure", "tries", "message"),
    [
        (problem(500, message="out of order"), 3, "the server answered 500 (.*out of order.*)"),
        (answer(body="<html>"), 3, "expected an edited image, found no JSON.*<html>"),
        (
            answer(body='{"a": "好"}'.encode("gbk")),
            3,
            "expected text in UTF-8, found another",
        ),
        (problem(400, message="no such field"), 1, "answered 400 (.*no such field.*)"),
        (answer(status=422, body='{"detail": "no size"}'), 1, "answered 422 (.*no size.*)"),
        (answer(body="[]"), 1, "expected an edited image, found no object"),
        (answer(body='{"data": []}'), 1, "expected an edited image, found data: "),
        (edited({}), 1, "expected an edited image, found none"),
        (edited({"b64_json": "?"}), 1, "found no base64"),
        (edited({"b64_json": base64.b64encode(b"<html>").decode()}), 1, "found something else: "),
        (edited({"b64_json": base64.b64encode(png(MADE)[:-60]).decode()}), 1, "something else: "),
        (edited({"url": "http://example.org/a.png"}), 1, "found another host without https"),
        (edited({"url": "http://[::1"}), 1, "found an address that cannot be one"),
        (edited({"url": "a\0b.png"}), 1, "found an address that cannot be one"),
        (edited({"url": "files/none.png"}), 1, "found something else: "),
        (edited(Image.new("RGB", (4000, 2))), 1, "found something else: .*side"),
        (problem(429, after=999), 1, "asks for a pause of 999 s, expected at most 120 s"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_a_failed_edit(serve, edit, failure, tries, message):
    server = serve(failure)
    editor, ask = edit(server)
    with pytest.raises(EditError) as error:
        ask()
    assert re.search(message.replace("(", r"\(").replace(")", r"\)"), str(error.value))
    assert (len(server.requests), editor.asked, len(editor.failures)) == (tries, 1, 1)


@pytest.mark.parametrize(
    "refusal",
    [
        problem(400, code="content_policy_violation"),
        problem(400, code="moderation_blocked"),
        problem(451),
        edited({"finish_reason": "content_filter"}),
        edited({"error": {"code": "DataInspectionFailed"}}),
        edited(MADE, error={"code": "content_filter"}),
    ],
    ids=str,
)
def test_a_refusal_is_said_as_one_and_not_tried_again(serve, edit, refusal):
    server = serve(refusal)
    editor, ask = edit(server)
    with pytest.raises(EditError, match=r"^the server's content filter refused to edit \("):
        ask()
    assert (len(server.requests), editor.asked, editor.failures) == (1, 1, [])


@pytest.mark.parametrize("failure", [problem(401), problem(402), problem(404)], ids=str)
def test_a_server_of_no_use_ends_the_job(serve, edit, failure):
    server = serve(failure)
    said = r"editors.e: the server answered 4\d\d .* at editors.e.url .*, has editors.e.model"
    with pytest.raises(ServerError, match=said):
        edit(server)[1]()
    assert len(server.requests) == 1


def test_a_notebook_gets_the_image_alone(serve, sample):
    (image,) = lockstep.edit_image(settings(serve(edited(MADE.resize((8, 8))))), [sample])
    assert image.size == (8, 8)


def test_tokens_images_and_their_price_are_logged(serve, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    prices = {"input_price": 1000, "output_price": 5000, "image_price": 0.5}
    sample = make_sample(tmp_path)
    with closing(OpenAIImagesEditor(settings(serve(edited(MADE)), **prices))) as editor:
        editor.edit(editor.prepare(sample), sample, 0)
    assert "1 requests, 0 failed, 100 prompt tokens, 20 reply tokens, price 0.7000" in caplog.text


def test_the_key_is_shown_nowhere(serve, edit, caplog):
    caplog.set_level(logging.DEBUG)
    said = {"b64_json": base64.b64encode(png(MADE)).decode(), "revised_prompt": f"With {KEY}."}
    made = edit(serve(edited(said, model=KEY)))[1]()
    assert KEY not in str(made.record)
    for failure in (problem(400, message=KEY), answer(body=KEY), problem(451, message=KEY)):
        with pytest.raises(EditError) as error:
            edit(serve(failure))[1]()
        assert KEY not in str(error.value) and "[key]" in str(error.value)
    assert KEY not in caplog.text


def test_the_model_and_the_request_are_in_the_key_and_the_rest_is_not(sample):
    url = "http://127.0.0.1:1/v1"
    own = keys.identity(settings(url), sample)
    same = {"concurrency": 9, "timeout": 1, "max_requests": 2, "image_price": 1, "attempts": 1}
    assert keys.identity(settings("http://127.0.0.1:2/v1", **same), sample) == own
    for other in ({"revision": "2"}, {"request": {"steps": 4}}, {"size": "source"}):
        assert keys.identity(settings(url, **other), sample) != own


def test_what_the_editor_needs_is_checked(monkeypatch):
    with pytest.raises(ConfigError, match=r"^editors\.e\.url: expected a server that is running"):
        settings("http://127.0.0.1:9/v1").check_environment(reach=True)
    settings("http://127.0.0.1:9/v1").check_environment(reach=False)
    monkeypatch.delenv("EDIT_KEY")
    with pytest.raises(ConfigError, match=r"^editors\.e\.api_key_variable: expected a variable"):
        settings("http://127.0.0.1:9/v1").check_environment(reach=False)
    with pytest.raises(ValidationError, match="max_requests"):
        settings("http://127.0.0.1:9/v1", max_requests=0)
