"""Prompts and formats of replies of a benchmark's authors."""

import json

import pytest
import yaml

from lockstep.errors import ConfigError, ReplyError, RubricError
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import read_rubric

TEN = {"type": "integer", "minimum": 0, "maximum": 10}
YES_NO = {"type": "yes_no"}
TEXT = "Was <edit> done? Say {it}, {{ not }} this."

PYTHON = f'''
import os
raise SystemExit("never run")
PLAIN = {TEXT!r}
JOINED = "Was <edit> " + "done? " """Say {{it}}, {{{{ not }}}} this."""
BY_NAME = {{"add": {TEXT!r}, 3: "x", "computed": os.name}}
SEVERAL = ["a", {TEXT!r}]

def prompt(edit):
    inner = f"Was {{edit}} done?"
    return inner

class Texts:
    one: str = """
{TEXT}
""".strip()
'''

FILES = {
    "t.txt": TEXT,
    "t.json": json.dumps({"a": {"b": TEXT}, "list": [TEXT], "n": 5}),
    "t.yaml": yaml.safe_dump({"a": {"b": TEXT}}),
    "t.py": PYTHON,
}


def read(folder, **call):
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    given = {"name": "one", "criteria": [{"name": "ca"}, {"name": "cb"}], **call}
    whole = {"reply": TEN, "combine": "min", "calls": [given]}
    path = folder / "rubric.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return read_rubric(path)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("t.txt", None),
        ("t.json", "a.b"),
        ("t.json", "list.0"),
        ("t.yaml", "a.b"),
        ("t.py", "PLAIN"),
        ("t.py", "JOINED"),
        ("t.py", "BY_NAME.add"),
        ("t.py", "SEVERAL.1"),
        ("t.py", "Texts.one"),
    ],
)
def test_a_text_is_taken_as_it_stands_with_its_placeholders_filled_in(tmp_path, sample, file, key):
    prompts = {"file": file, "key": key, "placeholders": {"<edit>": "instruction"}}
    told = sample.model_copy(update={"instruction": "Do <edit> {{ x }}"})
    (call,) = read(tmp_path, prompts=prompts).calls
    assert call.prompt(told) == TEXT.replace("<edit>", "Do <edit> {{ x }}")


def test_a_place_of_an_f_string_is_a_placeholder(tmp_path, sample):
    prompts = {"file": "t.py", "key": "prompt.inner", "placeholders": {"{edit}": "instruction"}}
    (call,) = read(tmp_path, prompts=prompts).calls
    assert call.prompt(sample) == f"Was {sample.instruction} done?"


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"file": "no.txt"}, "expected the file .*no.txt, found none"),
        ({"file": "t.json", "key": "a.c"}, "expected one of b, found 'c'"),
        ({"file": "t.json", "key": "list.7"}, "expected one of 0, found '7'"),
        ({"file": "t.json", "key": "n"}, "expected a text, found int"),
        ({"file": "t.json"}, "expected a text, found dict"),
        ({"file": "t.py", "key": "BY_NAME.computed"}, "expected a text, found NoneType"),
        ({"file": "t.txt", "placeholders": {"<task>": "instruction"}}, "expected '<task>'"),
        ({"file": "t.txt", "placeholders": {"<edit>": "task"}}, "placeholders"),
        ({"file": "t.txt", "text": "x"}, "found a text beside it"),
    ],
)
def test_prompts_that_are_not_there_are_one_clear_error(tmp_path, prompts, message):
    with pytest.raises(RubricError, match=message) as error:
        read(tmp_path, prompts=prompts)
    assert "rubric.yaml" in str(error.value)


def test_a_changed_text_is_another_rubric_and_its_place_is_none(tmp_path, monkeypatch):
    first = read(tmp_path, prompts={"file": "t.json", "key": "a.b"})
    again = read(tmp_path, prompts={"file": "t.txt"})
    assert again.sha256 == first.sha256
    monkeypatch.setitem(FILES, "t.txt", TEXT + ".")
    assert read(tmp_path, prompts={"file": "t.txt"}).sha256 != first.sha256


VALID = {
    "json_list": ["[9, 4]", "They differ.\n[9, 4]", "```json\n[9, 4]\n```", "[1] says so: [9,4]"],
    "json_object": [
        '{"ca": 9, "cb": 4, "reasoning": "so"}',
        'First.\n```json\n{"reasoning": "so", "ca": 9, "cb": 4}\n```',
    ],
    "last_number_line": [
        "Fine.\n9 4",
        "Scores: 9, 4\n",
        "why\n[9, 4]\n\n",
        "Why.\nFit: 9\nLook: 4",
    ],
    "tagged": ["<ca>9</ca><cb> 4 </cb>", "So. <cb>4</cb> and <ca>\n9\n</ca>"],
}

BROKEN = {
    "json_list": [
        "9, 4",
        "[9]",
        "[9, 4, 1]",
        "[9, 4] or [9, 5]",
        "[9, 11]",
        '["9", 4]',
        "[9.0, 4]",
    ],
    "json_object": ['{"ca": 9}', '{"ca": 9, "cb": 11, "r": ""}', '{"ca": 9, "cb": "4"}', "9 4"],
    "last_number_line": [
        "9 4\nDone.",
        "9",
        "9 4 1",
        "9/10 4/10",
        "nine 4",
        "-9 4",
        "9 11",
        "",
        "9\nLook: so\n4",
    ],
    "tagged": ["<ca>9</ca>", "<ca>9</ca><cb>4", "<ca>9</ca><ca>8</ca><cb>4</cb>", "9 4"],
}


@pytest.mark.parametrize(("form", "reply"), [(f, r) for f, own in VALID.items() for r in own])
def test_a_reply_in_the_authors_format_is_read(tmp_path, form, reply):
    (call,) = read(tmp_path, template="x", reply=form).calls
    assert parse_reply(reply, call).criteria == {"ca": 9, "cb": 4}


@pytest.mark.parametrize(("form", "reply"), [(f, r) for f, own in BROKEN.items() for r in own])
def test_a_reply_in_another_format_is_a_failure_and_never_a_number(tmp_path, form, reply):
    (call,) = read(tmp_path, template="x", reply=form).calls
    with pytest.raises(ReplyError):
        parse_reply(reply, call)


def test_yes_and_no_are_read_from_the_last_lines(tmp_path):
    criteria = [{"name": "ca", "reply": YES_NO}, {"name": "cb", "reply": YES_NO}]
    (call,) = read(tmp_path, template="x", reply="yes_no", criteria=criteria).calls
    for reply in ("Yes\nno", "I see.\n1: Yes.\n2: **No**"):
        assert parse_reply(reply, call).criteria == {"ca": 1, "cb": 0}
    for reply in ("yes", "yes\nmaybe", "yes\nno, but", "yes no", "yes\nno\nI am sure"):
        with pytest.raises(ReplyError):
            parse_reply(reply, call)


def test_a_list_in_an_object_of_authors_gives_its_entries(tmp_path):
    kind = {"type": "list", "entries": ["done", "kept"], "of": TEN}
    criteria = [{"name": "score", "reply": kind}]
    (call,) = read(tmp_path, template="x", reply="json_object", criteria=criteria).calls
    reply = '{"score": [9, 4], "reasoning": "It was done."}'
    assert parse_reply(reply, call).criteria == {"done": 9, "kept": 4}


def test_a_judge_on_the_device_is_not_asked_for_what_it_cannot_be_held_to(tmp_path):
    settings = Qwen3VLSettings(type="qwen3_vl", model="a/b", rubrics=str(tmp_path / "rubric.yaml"))
    settings.check_scores([], {"physical": read(tmp_path, template="x", reply="json_object")})
    with pytest.raises(ConfigError, match=r"rubric.yaml: calls: one: reply: .* found json_list"):
        settings.check_scores([], {"physical": read(tmp_path, template="x", reply="json_list")})


def test_texts_are_joined_and_replaced_as_authors_do(tmp_path, sample):
    prompts = {"file": "t.json", "key": ["a.b", "list.0"], "replace": {"Was": "Is"}}
    (call,) = read(tmp_path, prompts=prompts).calls
    assert call.prompt(sample) == f"{TEXT}\n{TEXT}".replace("Was", "Is")
    with pytest.raises(RubricError, match="expected '10' in the text"):
        read(tmp_path, prompts={"file": "t.txt", "replace": {"10": "25"}})
