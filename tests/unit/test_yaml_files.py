"""YAML of users: a key twice and what would run away are one clear sentence."""

import json

import pytest

from lockstep.config import load
from lockstep.config.load import load_config
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.errors import ConfigError, LockstepError, RubricError
from lockstep.foreign.yaml_files import check_file, parse_entry, parse_yaml, read_yaml
from lockstep.judges.openai_api import OpenAISettings
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT


def bomb(kind: str) -> str:
    """Return a text of a few lines that stands for 9^9 values."""
    inner = {"list": "[x, y]", "map": "{a: x, b: y}", "merge": "{a: x, b: y}"}[kind]
    lines = [f"k0: &a0 {inner}"]
    for level in range(1, 10):
        several = [f"*a{level - 1}"] * 9
        value = {
            "list": f"[{', '.join(several)}]",
            "map": f"{{{', '.join(f'k{i}: {alias}' for i, alias in enumerate(several))}}}",
            "merge": f"{{<<: [{', '.join(several)}]}}",
        }[kind]
        lines.append(f"k{level}: &a{level} {value}")
    return "\n".join(lines) + "\n"


BROKEN = [
    ("a:\n  b: 1\n    c: 2\n", "line 3: expected an indentation that fits the line above, or one"),
    ("a:\n  - 1\n - 2\n", "line 3: expected an indentation that fits the lines above, found an"),
    ("a: 1\nb: 2\na: 3\n", "line 3: expected each key once, found 'a' twice (first in line 1)"),
    (
        "a:\n  - b: {c: 1, 'c': 2}\n",
        "line 2: expected each key once, found 'c' twice",
    ),
    (
        "editors: []\njudge: {}\neditors: []\n",
        "3: expected each key once, found 'editors' twice",
    ),
    ("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n", "line 4: expected each key once, found '<<' twice"),
    ("? [a]\n: 1\n", "line 1: expected a text as a key"),
    ("a: &a [*a]\n", "line 1: found a value that holds itself"),
    ("a: &a {b: {c: *a}}\n", "line 1: found a value that holds itself"),
    ("a: " + "[" * 60 + "]" * 60, "found more than 50 values inside one another"),
    ("a: " + "{b: " * 9000, "found more than 50 values inside one another"),
    ("a: " + "1" * 5000, "line 1: found a number of 5,000 characters"),
    ("a: " + "1:1" * 5000, "line 1: found a number of"),
    ("a: " + "x" * 300_000, "expected at most 262,144 bytes, found more"),
    (f"a: &a {'x' * 9000}\nb: [{'*a, ' * 200}]", "line 2: found aliases (*name) that stand for"),
    *((bomb(kind), "found aliases (*name) that stand for") for kind in ("list", "map", "merge")),
    ("a: b\n\tc: d\n", "line 2: expected blanks, found a tab"),
    ("a: [1\n", "line 2: "),
    ("a: *b\n", "line 1: found undefined alias"),
]


@pytest.mark.parametrize(("text", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_refused_is_one_clear_sentence_whoever_reads_it(tmp_path, text, sentence):
    path = tmp_path / "physical.yaml"
    path.write_text(text, encoding="utf-8")
    reads = {
        ConfigError: [lambda: check_file(path, ConfigError), lambda: read_yaml(path, ConfigError)],
        RubricError: [lambda: read_rubric(path), lambda: read_protocol(path)],
    }
    for kind, several in reads.items():
        for read in several:
            with pytest.raises(kind) as error:
                read()
            assert str(error.value).startswith(f"{path}: ")
            assert sentence in str(error.value)
            assert "\n" not in str(error.value)


def test_a_preset_is_read_in_the_same_way(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "PRESETS", tmp_path)
    (tmp_path / "own.yaml").write_text("type: identity\ntype: identity\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"own\.yaml: line 2: expected each key once, found 'type'"
    ):
        load_config({"editors": [{"name": "a", "preset": "own"}]}, "c.yaml")


def test_a_configuration_in_json_is_looked_at_too(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{\n\t"seed": 0,\n\t"report": {"title": "a:\\tb \\/"}\n}', encoding="utf-8")
    check_file(path, ConfigError)
    path.write_text('{\n\t"seed": 0,\n\t"seed": 1\n}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json: line 3: expected each key once, found"):
        check_file(path, ConfigError)


def test_aliases_and_merged_keys_within_reason_are_fine():
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: [*x, *x]\n"
    assert parse_yaml(text, "c", ConfigError) == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 3},
        "z": [{"a": 1, "b": 2}] * 2,
    }


def test_keys_are_texts_as_in_json():
    text = "{1: a, yes: b, null: c, 2020-01-01: d, 1.5: e}"
    given = parse_yaml(text, "c", ConfigError)
    assert list(given) == ["1", "yes", "null", "2020-01-01", "1.5"]


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=str)
def test_what_is_shipped_is_within_the_limits(path):
    check_file(path, LockstepError)
    assert read_yaml(path, LockstepError)


FREE = {
    "request: {max_tokens: null, temperature: 0.2}": {"max_tokens": None, "temperature": 0.2},
    "request: {a: {enable_thinking: false}}": {"a": {"enable_thinking": False}},
    "request: {stop: ['null', \"1\"], n: 1}": {"stop": ["null", "1"], "n": 1},
}


@pytest.mark.parametrize("text", FREE)
def test_nested_values_of_the_command_line_are_what_a_file_gives(text):
    given = parse_entry(f"judge={{{text}}}", ConfigError)
    assert given == {"judge": {"request": FREE[text]}}
    assert given["judge"] == parse_yaml(text, "c", ConfigError)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("seed=5", 5),
        ("results=a", "a"),
        ("results='a'", "a"),
        ('results="5"', "5"),
        ("results=@a", "@a"),
        ("results=a: b: c", "a: b: c"),
        ("results=a=b", "a=b"),
        ("cluster=null", None),
        ("cluster=", None),
        ("judge='{a: 1}'", {"a": 1}),
        ("judge={'a': \"1\"}", {"a": "1"}),
        # as Snakemake hands on what a profile nests
        (
            f"judge={ {'a': None, 'b': [True, 'None'], 'c': 0.5} }",
            {"a": None, "b": [True, "None"], "c": 0.5},
        ),
        ("editors=[{name: a}]", [{"name": "a"}]),
        ("editors=[{name: a", "[{name: a"),
    ],
)
def test_a_value_of_the_command_line(entry, value):
    assert list(parse_entry(entry, ConfigError).values()) == [value]


def test_a_mistake_on_the_command_line_is_not_blamed_on_a_file():
    with pytest.raises(
        ConfigError, match=r"^--config benchmark: line 1: expected each key once, found 'limit' twi"
    ):
        parse_entry("benchmark={limit: 1, limit: 2}", ConfigError)
    with pytest.raises(ConfigError, match=r"^--config xs: line [0-9]: found aliases"):
        parse_entry("xs=" + bomb("list"), ConfigError)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("config/demo.yaml", "expected KEY=VALUE, and a file stands after --configfile, found"),
        ("seed", "expected KEY=VALUE, found 'seed'"),
        ("=5", "expected KEY=VALUE, found '=5'"),
        ("benchmark.limit=2", "; benchmark='{limit: 2}' gives a nested value"),
    ],
)
def test_what_is_no_key_with_a_value_is_told_as_such(entry, sentence):
    with pytest.raises(ConfigError, match=r"^--config: ") as caught:
        parse_entry(entry, ConfigError)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("text", "found"), [("", "an empty file"), ("- a\n", "none at its top")])
def test_a_file_without_keys_is_told_as_such(tmp_path, text, found):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"c.yaml: expected keys and values, .* found {found}"):
        check_file(path, ConfigError)


def test_free_keys_keep_the_kinds_of_their_values():
    """Through all of the configuration, as a server is asked."""
    free = {"max_tokens": None, "temperature": 0.2, "a": {"enable_thinking": False, "stop": "1"}}
    entry = parse_entry(f"judge={{type: openai, request: {json.dumps(free)}}}", ConfigError)
    judge = {"model": "m", "url": "http://localhost:8000/v1", **entry["judge"]}
    assert OpenAISettings.model_validate_json(json.dumps(judge)).request == free
    editor = {"name": "a", "type": "diffusers", "model": "a/b", "call": free, "scheduler": free}
    loaded = DiffusersSettings.model_validate_json(json.dumps(editor))
    assert loaded.call == loaded.scheduler == free
