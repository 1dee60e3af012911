"""Rubrics: what a judge is asked for a category, and what of its reply counts as a score.

The only place that parses replies. A reply counts if it ends in one valid JSON object with exactly
the rubric's criteria; nothing is defaulted, clipped or guessed.
"""

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jinja2
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    StrictInt,
    ValidationError,
    create_model,
    model_validator,
)

from lockstep.errors import ReplyError, RubricError
from lockstep.records import Sample, canonical_json, sha256

COLUMNS = (
    "id",
    "category",
    "status",
    "score",
    "expected_score",
    "instruction",
    "source",
    "edited",
    "reasoning",
    "error",
)
"""Columns of the tables beside the criteria; no criterion can take their names."""


class Scale(BaseModel):
    """JSON schema of one criterion's value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Annotated[str, Field(pattern="^integer$")]
    minimum: Annotated[int, Field(ge=0, le=0)]
    maximum: Annotated[int, Field(ge=10, le=10)]


class Criterion(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern="^[a-z][a-z_]*$")]
    """Key in the reply and column in the tables."""
    weight: PositiveFloat
    """Share in the score, relative to the other weights."""
    question: str
    """What is judged."""
    anchors: dict[int, str]
    """What values on the scale mean; 0, 5 and 10 at least."""


class Scores(NamedTuple):
    """What a valid reply says."""

    criteria: dict[str, int]
    """Value of each criterion, 0 to 10."""
    reasoning: str
    """The text before the object."""


class Rubric(BaseModel):
    """One category's questions, anchors, weights and reply schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    system: str
    """System text."""
    template: str
    """User text, Jinja2 over `instruction`, `description`, `rationale`, `criteria`, `reply`."""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=3, max_length=5)]
    reply: Scale
    """Schema of each criterion's value."""

    @model_validator(mode="after")
    def _complete(self) -> "Rubric":
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) < len(names):
            raise ValueError(f"found a criterion twice in {names}, accepted is each once")
        for criterion in self.criteria:
            if criterion.name in COLUMNS:
                raise ValueError(f"found criterion {criterion.name!r}, a column of the tables")
            if missing := {0, 5, 10} - set(criterion.anchors):
                raise ValueError(f"{criterion.name}: found no anchor for {sorted(missing)}")
        return self

    @cached_property
    def sha256(self) -> str:
        """Hash over the whole rubric; its version."""
        return sha256(canonical_json(self.model_dump(mode="json")).encode())

    @cached_property
    def _model(self) -> type[BaseModel]:
        value = Annotated[StrictInt, Field(ge=self.reply.minimum, le=self.reply.maximum)]
        fields: dict[str, Any] = {criterion.name: (value, ...) for criterion in self.criteria}
        return create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields)

    def prompt(self, sample: Sample) -> str:
        """Return the user text for one sample."""
        example = ", ".join(f'"{criterion.name}": <0-10>' for criterion in self.criteria)
        template = jinja2.Environment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        ).from_string(self.template)
        return template.render(
            instruction=sample.instruction,
            description=sample.description,
            rationale=sample.rationale,
            criteria=self.criteria,
            reply="{" + example + "}",
        ).strip()

    def score(self, criteria: dict[str, int]) -> float:
        """Combine criteria into a score, 0 to 10, by their weighted mean."""
        total = sum(criterion.weight for criterion in self.criteria)
        weighted = (criterion.weight * criteria[criterion.name] for criterion in self.criteria)
        return sum(weighted) / total


_EXAMPLE = Sample(
    id="example",
    category="example",
    image="",
    image_sha256="",
    width=1,
    height=1,
    instruction="example",
    description="example",
    rationale="example",
    index=0,
)
"""What every template must be able to render."""


def read_rubric(path: Path) -> Rubric:
    """Read a rubric file.

    Raises:
        RubricError: with a clause for each mistake.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        rubric = Rubric.model_validate(value)
        rubric.prompt(_EXAMPLE)
    except ValidationError as error:
        mistakes = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RubricError(f"{path}: {'; '.join(mistakes)}") from None
    except (yaml.YAMLError, jinja2.TemplateError) as error:
        raise RubricError(f"{path}: {' '.join(str(error).split())}") from None
    if rubric.category != Path(path).stem:
        raise RubricError(
            f"{path}: category: found {rubric.category!r}, accepted is the file's name"
        )
    return rubric


def parse_reply(reply: str, rubric: Rubric) -> Scores:
    """Return what a judge's reply says.

    Prose and a code fence around the object are fine. The last object counts; its keys must be the
    rubric's criteria exactly, its values integers of the scale.

    Raises:
        ReplyError: if the reply holds no valid score, or several that differ; never returns a
            default.
    """
    found = _objects(reply)
    if not found:
        raise ReplyError(f"found no JSON object in the reply ({_start(reply)})")
    start, last = found[-1]
    try:
        pairs = json.loads(last, object_pairs_hook=_once, parse_constant=_no_constant)
        criteria = rubric._model.model_validate(pairs).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}, found {first.get('input')!r:.60}"
        raise ReplyError(f"found no valid score in the reply ({reason})") from None
    except ValueError as error:
        raise ReplyError(f"found no valid score in the reply ({error})") from None
    for _, text in found[:-1]:
        other = json.loads(text)
        if other.keys() & criteria.keys() and other != criteria:
            raise ReplyError("found several answers that differ in the reply, accepted is one")
    reasoning = re.sub(r"```(json)?\s*$", "", reply[:start].rstrip()).strip()
    return Scores(criteria, reasoning)


def _objects(reply: str) -> list[tuple[int, str]]:
    """Return the start and text of each outermost JSON object in a text."""
    decoder = json.JSONDecoder()
    found = []
    position = reply.find("{")
    while position != -1:
        try:
            _, end = decoder.raw_decode(reply, position)
            found.append((position, reply[position:end]))
        except (ValueError, RecursionError):
            end = position + 1
        position = reply.find("{", end)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"found a key twice in {[key for key, _ in pairs]}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"found {name}, accepted is an integer")


def _start(reply: str) -> str:
    text = " ".join(reply.split())
    return repr(text[:80] + ("…" if len(text) > 80 else ""))
