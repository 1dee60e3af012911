"""What reads texts of others, beside benchmarks: a good file of each kind, and its reader.

Each reader takes a file, and reads it or raises a LockstepError.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import ValidationError
from pydantic_core import from_json
from safetensors.numpy import save

from lockstep import records
from lockstep.benchmark import score_files
from lockstep.config.load import load_config
from lockstep.editors.openai_images.answers import bytes_of, edited_in
from lockstep.editors.rewriting.table import read_texts
from lockstep.errors import ConfigError, LockstepError, ReplyError
from lockstep.figures import human_files, people, tables
from lockstep.foreign import yaml_files
from lockstep.foreign.sandbox import Template
from lockstep.models import completions
from lockstep.models.answers import failure_of, problem_in
from lockstep.models.weights import read_header
from lockstep.records import EditRecord, Rejected, RewriteRecord, Sample, ScoreRecord, notes
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.questions import VARIABLES
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring.anchors import Anchor
from tests.conftest import ROOT
from tests.fake_server import REPLY, answer, edited

RUBRIC = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")

SAMPLE = {
    **{"id": "a", "category": "physical", "image": "images/a.png", "image_sha256": "0" * 64},
    **{"width": 8, "height": 8, "instruction": "Do.", "tags": ["x"], "index": 0},
}
EDIT = {
    **{"id": "a", "category": "physical", "key": "k", "status": "ok", "image": "images/a.png"},
    **{"seed": 1, "wave": 0, "shard": 0, "device": "cpu0", "edit_seconds": 1.5},
}
REWRITTEN = {
    **{"id": "a", "category": "physical", "key": "k", "status": "ok", "instruction": "Do."},
    **{"rewritten": "Do it.", "prompt_tokens": 5, "versions": {"served model": "m"}},
}
SCORE = {
    **{"id": "a", "category": "physical", "key": "k", "status": "ok", "score": 5.0},
    **{"criteria": {"physics": 5}, "reply": REPLY, "judge": {"model": "m"}, "scores": [5.0]},
}
ANCHOR = {**SAMPLE, "editor": "e", "edited": "edits/a.png", "pixels_sha256": "0" * 64}

TABLE = pd.DataFrame(
    {
        **{"id": ["a", "b"], "category": "c", "status": "ok", "score": [1.0, -2.5], "tags": "[]"},
        **{"instruction": ["=1", "x"], "reasoning": ["\x1b", "'"]},
    }
)

TEMPLATE = """{% for criterion in criteria %}{{ criterion.name }}: {{ criterion.question }}
{% for value, meaning in criterion.anchors.items() %}{{ value }} = {{ meaning | upper }}
{% endfor %}{% endfor %}{% if rationale %}{{ rationale ~ '!' ~ 2 * 3 }}{% endif %}
{{ instruction[:5] }}
{% set x = instruction.split() | join(',') %}{{ loop.index if loop is defined else x }}"""


class Reader(NamedTuple):
    suffix: str
    good: str | bytes
    read: Callable[[Path], object]


def text_of(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")


def lines(kind: type[records.Record]) -> Callable[[Path], object]:
    return lambda path: records.read_records(path, kind)


def line_of(value: dict) -> str:
    return f"{json.dumps(value)}\n" * 2


def read_answer(path: Path) -> None:
    """Read what a server sends, as the judge does."""
    text = path.read_bytes().decode(errors="replace")
    given = SimpleNamespace(good=True, status=200, said=text[:300], text=text)
    try:
        value = from_json(text)
    except ValueError:
        return
    if (problem := problem_in(value)) is not None:
        raise failure_of(problem, given)
    for choice in completions.completion_in(value, given).choices:
        completions.fault_of(choice, "judge", "length", "request")


def read_edited(path: Path) -> None:
    """Read what a server sends, as the editor does."""
    text = path.read_bytes().decode(errors="replace")
    given = SimpleNamespace(good=True, status=200, said=text[:300], text=text)
    try:
        value = from_json(text)
    except ValueError:
        return
    if (problem := problem_in(value)) is not None:
        raise failure_of(problem, given)
    found = edited_in(value, given)
    found.told("key"), found.versions("key"), found.tokens
    bytes_of(found.first.b64_json or "")


def read_template(path: Path) -> None:
    values = {name: "some words" for name in VARIABLES}
    Template(text_of(path), VARIABLES).render(**{**values, "criteria": RUBRIC.criteria})


def read_people(path: Path) -> None:
    people.among(human_files.read_people([path], ["e", "f"], {}, ["score", "size"]))


def read_scores(path: Path) -> None:
    file = score_files.read_score_file(path)
    columns = score_files.needed_columns(file, RUBRIC.names)
    for row in file.rows:
        score_files.numbers(row, columns, (0.0, 10.0))
        score_files.tags(row)


def read_report(path: Path) -> None:
    """List the tables of a run of others."""
    listed = path.parent / "run" / "report" / "report.json"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_bytes(path.read_bytes())
    score_files.source_files(str(listed.parents[1]))


def read_configuration(path: Path) -> None:
    data = yaml_files.read_yaml(path, ConfigError)
    if isinstance(data, dict):
        load_config(data, str(path))


def rubric_text(*parts: str) -> str:
    return ROOT.joinpath("config", *parts).read_text(encoding="utf-8")


CSV = 'category,id,editor,score,tags\nphysical,a,e,5,"x,y"\nphysical,b,e,7.5,\n'

READERS = {
    "weights": Reader(".safetensors", save({"a": np.zeros((2, 3), np.float32)}), read_header),
    "reply": Reader(".txt", REPLY, lambda path: parse_reply(text_of(path), RUBRIC)),
    "answer": Reader(".json", answer()[2], read_answer),
    "edited": Reader(".json", edited(Image.new("RGB", (1, 1)))[2], read_edited),
    "rubric": Reader(".yaml", rubric_text("rubrics", "physical.yaml"), read_rubric),
    "template": Reader(".j2", TEMPLATE, read_template),
    "protocol": Reader(".yaml", rubric_text("rubrics", "kris", "protocol.yaml"), read_protocol),
    "configuration": Reader(".yaml", rubric_text("demo.yaml"), read_configuration),
    "manifest": Reader(".jsonl", line_of(SAMPLE), lambda path: list(records.read_manifest(path))),
    "rejected": Reader(
        ".jsonl",
        line_of({"position": 0, "id": "a", "subset": None, "reason": "x"}),
        lines(Rejected),
    ),
    "edits": Reader(".jsonl", line_of(EDIT), lines(EditRecord)),
    "scores": Reader(".jsonl", line_of(SCORE), lines(ScoreRecord)),
    "sample": Reader(".jsonl", line_of(SAMPLE), lines(Sample)),
    "anchors": Reader(".jsonl", line_of(ANCHOR), lines(Anchor)),
    "note": Reader(
        ".json",
        json.dumps({"made_of": {"seed": "x"}, "files": {"a": "b"}}),
        lambda path: notes.read_note(path),
    ),
    "table": Reader(".csv", tables.to_csv(TABLE), tables.read_table),
    "score file": Reader(".csv", CSV, read_scores),
    "score lines": Reader(
        ".jsonl", '{"category": "physical", "id": "a", "score": 5}\n', read_scores
    ),
    "rewritten": Reader(".jsonl", line_of(REWRITTEN), lines(RewriteRecord)),
    "texts": Reader(".jsonl", line_of(REWRITTEN), lambda path: read_texts(str(path))),
    "texts by id": Reader(
        ".json", '{"a": "Do it.", "b": "Do that."}', lambda path: read_texts(str(path))
    ),
    "human scores": Reader(
        ".csv", "id,editor,rater,score,size\na,e,Ann,5,1\nb,e,Ann,3.5,\n", read_people
    ),
    "human votes": Reader(
        ".csv", "id,first,second,rater,human_vote\na,e,f,Ann,tievote\n", read_people
    ),
    "report": Reader(
        ".json", json.dumps({"editors": {"e": {"categories": {"physical": {}}}}}), read_report
    ),
}


def read(name: str, path: Path) -> None:
    """Read a file; a sentence is fine, any other exception is not."""
    try:
        READERS[name].read(path)
    except LockstepError as error:
        assert str(error).strip(), name
        assert isinstance(error, ReplyError) or "Traceback" not in str(error)
    except ValidationError as error:
        raise AssertionError(f"{name}: {error}") from error
