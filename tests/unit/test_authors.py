"""Prompts and formats of replies of a benchmark's authors."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lockstep.errors import ConfigError, ReplyError, RubricError, TemplateError
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.rubrics import combine
from lockstep.rubrics.protocol import PROTOCOL, read_protocol
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring.calls import asked
from lockstep.scoring.replies import Judging
from tests.conftest import ROOT

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
        "**Fit:** **9**\n**Look**: 4",
        "**Scores:** **9, 4**",
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
        "**1-9** 4",
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


def test_each_category_has_its_own_text(tmp_path, sample):
    key = {"physical": "a.b", "social": ["list.0", "a.b"]}
    prompts = {"file": "t.json", "key": key, "placeholders": {"<edit>": "instruction"}}
    (call,) = read(tmp_path, prompts=prompts).calls
    one = TEXT.replace("<edit>", sample.instruction)
    assert call.prompt(sample) == one
    assert call.prompt(sample.model_copy(update={"category": "social"})) == f"{one}\n{one}"
    message = "expected a key for the category 'causal', found those of physical, social"
    with pytest.raises(TemplateError, match=message):
        call.prompt(sample.model_copy(update={"category": "causal"}))
    with pytest.raises(RubricError, match=f"rubric.yaml: .*{message}"):
        read_rubric(tmp_path / "rubric.yaml", "causal")
    read_rubric(tmp_path / "rubric.yaml", "social")
    with pytest.raises(RubricError, match="expected one of b, found 'c'"):
        read(tmp_path, prompts={**prompts, "key": {**key, "causal": "a.c"}})
    with pytest.raises(RubricError, match="expected a text, found int"):
        read(tmp_path, prompts={**prompts, "key": {**key, "causal": "n"}})


def test_another_text_for_a_category_is_another_rubric(tmp_path):
    prompts = {"file": "t.json", "key": {"physical": "a.b"}}
    first = read(tmp_path, prompts=prompts)
    other = read(tmp_path, prompts={**prompts, "key": {"physical": ["a.b", "list.0"]}})
    assert other.sha256 != first.sha256


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"tag/": "yes"}, "when: tag/: expected a tag, found ''"),
        ({"sample/size": "yes"}, "expected one of reference, .*, found 'size'"),
        ({"sample/tags": "no"}, "expected one of reference, .*, found 'tags'"),
        ({"tag/old": "maybe"}, "when: tag/old: expected yes or no, found 'maybe'"),
        ({"sample/reference": 1}, "expected yes or no, found 1"),
    ],
)
def test_a_condition_that_no_sample_can_meet_is_one_clear_error(tmp_path, when, message):
    with pytest.raises(RubricError, match=message):
        read(tmp_path, template="x", when=when)


@pytest.mark.parametrize("name", ["tag", "sample"])
def test_no_call_is_named_as_what_a_sample_has(tmp_path, name):
    with pytest.raises(RubricError, match=f"other than tag and sample, found {name}"):
        read(tmp_path, template="x", name=name)


def test_a_call_is_made_for_the_samples_that_it_names(tmp_path, sample):
    when = {"tag/old": "yes", "sample/expected": "no"}
    rubric = read(tmp_path, template="x", when=when)
    old = sample.model_copy(update={"tags": ["old"]})
    known = old.model_copy(update={"expected": "A ball."})
    assert [rubric.calls[0].applies(own) for own in (sample, old, known)] == [False, True, False]
    settings = Qwen3VLSettings(type="qwen3_vl", model="a/b", rubrics="x")
    job = Judging(settings, {}, rubric, "e")
    assert len(asked(job, old, Path("a.png"), "0", tmp_path / "a.json")) == 1
    with pytest.raises(TemplateError, match="expected a call that is made for this sample"):
        asked(job, sample, Path("a.png"), "0", tmp_path / "a.json")


def test_a_criterion_is_found_by_its_key_and_kept_by_its_name(tmp_path):
    criteria = [{"name": "ca", "key": "score", "reply": YES_NO}, {"name": "cb"}]
    (call,) = read(tmp_path, template="x", reply="json_object", criteria=criteria).calls
    for word in ("yes", "Yes", "YES "):
        reply = json.dumps({"score": word, "cb": 4, "why": "so"})
        assert parse_reply(reply, call).criteria == {"ca": 1, "cb": 4}
    for word in ("y", "yes, but", True):
        with pytest.raises(ReplyError):
            parse_reply(json.dumps({"score": word, "cb": 4}), call)
    assert call.example.startswith('{"score": ')
    (own,) = read(tmp_path, template="x", criteria=criteria).calls
    with pytest.raises(ReplyError):
        parse_reply('{"score": "Yes", "cb": 4}', own)
    criteria[1]["key"] = "score"
    with pytest.raises(RubricError, match="expected each key of the reply once"):
        read(tmp_path, template="x", criteria=criteria)


@pytest.mark.parametrize("how", ["weighted_mean", "geometric_mean", "min"])
def test_a_criterion_of_weight_0_moves_no_score(tmp_path, how):
    criteria = [{"name": "ca"}, {"name": "cb", "weight": 0}]
    rubric = read(tmp_path, template="x", criteria=criteria)
    rubric = rubric.model_copy(update={"combine": how})
    for other in (0, 4, 10):
        assert combine.score(rubric, {"ca": 9, "cb": other}) == 9
    assert combine.counted(rubric, []) == ["ca", "cb"]
    with pytest.raises(ReplyError, match="answers that do not count"):
        combine.score(rubric, {"cb": 4})
    criteria[0]["weight"] = 0
    with pytest.raises(RubricError, match="expected a criterion with a weight above 0"):
        read(tmp_path, template="x", criteria=criteria)


def test_an_aspect_of_weight_0_has_a_value_and_moves_no_score(tmp_path):
    criteria = [
        {"name": "ca", "aspect": "a"},
        {"name": "cb", "aspect": "b", "weight": 0},
        {"name": "cc", "aspect": "b", "weight": 0},
    ]
    rubric = read(tmp_path, template="x", criteria=[{**c, "aspect": None} for c in criteria])
    assert rubric.combine_aspect is None
    path = tmp_path / "rubric.yaml"
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    for how, value in (("min", 2), ("weighted_mean", 3)):
        whole |= {"combine_aspect": how}
        whole["calls"][0]["criteria"] = criteria
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        rubric = read_rubric(path)
        values = {"ca": 9, "cb": 2, "cc": 4}
        assert combine.score(rubric, values) == 9
        assert combine.aspects(rubric, values) == {"a": 9, "b": value}


def test_a_choice_of_numbers_is_read_from_a_line(tmp_path):
    kind = {"type": "choice", "values": {"0": 1, "1": 5}}
    criteria = [{"name": "ca", "reply": kind}]
    (call,) = read(tmp_path, template="x", reply="last_number_line", criteria=criteria).calls
    assert parse_reply("**Final Score**: **1**", call).criteria == {"ca": 5}
    for reply in ("Final Score: 2", "Final Score: 1.0", "Final Score: 01"):
        with pytest.raises(ReplyError):
            parse_reply(reply, call)


def test_a_protocol_is_like_another_but_for_what_it_says(tmp_path):
    base = ROOT / "config" / "rubrics" / "kris" / PROTOCOL
    path = tmp_path / PROTOCOL
    path.write_text(f"like: {base}\nfailed_as: 0\nrubric: own.yaml\n", encoding="utf-8")
    own, other = read_protocol(path), read_protocol(base)
    assert (own.groups, own.name, own.scale) == (other.groups, other.name, other.scale)
    assert (own.failed_as, own.rubrics) == (0, {})
    assert own.rubric_file("physics") == str(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("like: gone.yaml\nrubric: x", "like: expected the file .*gone.yaml, found none"),
        ("like: 3\nrubric: x", "like: expected a protocol's file, found 3"),
        ("like: protocol.yaml\nrubric: x", "like"),
        (f"like: {ROOT}/config/rubrics/kris/protocol.yaml", "rubric: Field required"),
        (f"like: {ROOT}/config/rubrics/kris/rubric.yaml\nrubric: x", "kris/rubric.yaml"),
    ],
)
def test_a_protocol_like_none_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / PROTOCOL
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RubricError, match=message):
        read_protocol(path)


def test_the_documented_rubric_is_one(tmp_path, sample):
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    block = re.search(r"A rubric of your own can use.*?```yaml\n(.*?)```", text, re.DOTALL)[1]
    path = tmp_path / "rubric.yaml"
    path.write_text(block, encoding="utf-8")
    told = "".join(
        f"{name}_PROMPT = 'Did it {name}: <instruction>'\n" for name in ("ADD", "REMOVE")
    )
    (tmp_path / "prompts.py").write_text(told, encoding="utf-8")
    (call,) = read_rubric(path).calls
    removed = sample.model_copy(update={"category": "remove"})
    assert call.prompt(removed) == f"Did it REMOVE: {sample.instruction}"
    assert parse_reply('{"score": 7, "reason": "so"}', call).criteria == {"followed": 7}
    assert not call.applies(removed)
