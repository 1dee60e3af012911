"""Rubrics: what a judge is asked for a category, and what of its reply counts as a score.

The only place that parses replies. A reply counts if it holds one valid JSON object with exactly
the rubric's criteria; nothing is defaulted, clipped or guessed.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    StrictInt,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)

from lockstep import sandbox
from lockstep.errors import ReplyError, RubricError, TemplateError, suggest
from lockstep.records import Sample, canonical_json, sha256
from lockstep.ties import settled
from lockstep.yaml_files import read_yaml

COLUMNS = (
    "id",
    "category",
    "status",
    "score",
    "expected_score",
    "uncertainty",
    "spread",
    "swapped_score",
    "difficulty",
    "tags",
    "instruction",
    "rationale",
    "source",
    "edited",
    "reasoning",
    "judgements",
    "error",
    "judge",
)
"""Columns of the tables beside the criteria; no criterion can take their names."""

ANCHORS = {0, 3, 5, 8, 10}
"""Values whose meaning every criterion on the scale 0 to 10 must give; on others, all values."""

VARIABLES = (
    *("instruction", "description", "rationale", "expected"),
    *("criteria", "reply", "reasoned"),
)
"""Variables of a rubric's template."""

SCALE = (0.0, 10.0)
"""Lowest and highest score."""

Combine = Literal["weighted_mean", "geometric_mean", "min"]

Number = TypeVar("Number", float, np.ndarray)
"""One score, or those of many combinations of values at a time."""

AT_A_TIME = 2_000_000
"""Combinations of values whose scores are in memory at a time; bounds memory, not what is exact."""

MAX_BROKEN = 100
"""Places of a reply that begin like an object and are none; each costs a look at what follows."""


class Scale(BaseModel):
    """JSON schema of one criterion's value: integers of a range, or some of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Annotated[str, Field(pattern="^integer$")]
    minimum: Annotated[int, Field(ge=0, le=9)]
    maximum: Annotated[int, Field(ge=1, le=10)]
    enum: tuple[int, ...] | None = None
    """The only values, ascending; None takes all from minimum to maximum."""

    @model_validator(mode="after")
    def _ascending(self) -> "Scale":
        values = self.values
        if values != tuple(sorted(set(values))) or len(values) < 2:
            raise ValueError(f"found values {list(values)}, accepted are two or more, ascending")
        if (values[0], values[-1]) != (self.minimum, self.maximum):
            raise ValueError("found an enum that does not go from minimum to maximum")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        return self.enum or tuple(range(self.minimum, self.maximum + 1))

    @property
    def said(self) -> str:
        """How a reply's example shows it."""
        if self.enum is None:
            return f"{self.minimum}-{self.maximum}"
        return " or ".join(map(str, self.enum))

    def asked(self) -> dict[str, Any]:
        """Return it for the score key."""
        return self.model_dump(mode="json", exclude_none=True)


class Criterion(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern="^[a-z][a-z_]*$")]
    """Key in the reply and column in the tables."""
    weight: PositiveFloat = 1
    """Share in the score, relative to the other weights; the minimum knows none."""
    aspect: str | None = None
    """Criteria of one aspect are combined first, by `combine_aspect`."""
    question: str
    """What is judged."""
    anchors: dict[int, str]
    """What values on the scale mean."""


class Cap(BaseModel):
    """A score that is not exceeded where one criterion is too low."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    criterion: str
    below: Annotated[float, Field(gt=0, le=10)]
    """The cap holds where the criterion's value is less."""
    score: Annotated[float, Field(ge=0, lt=10)]
    """Highest score then, on the criteria's scale."""


class Penalty(BaseModel):
    """A factor on the score where one criterion is too low; no score gets below the lowest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    criterion: str
    below: Annotated[float, Field(gt=0, le=10)]
    """It holds where the criterion's value is less."""
    factor: Annotated[float, Field(gt=0, lt=1)]


class Scores(NamedTuple):
    """What a valid reply says."""

    criteria: dict[str, int]
    """Value of each criterion, on the rubric's scale."""
    reasoning: str
    """The text before the object."""


class Rubric(BaseModel):
    """Questions, anchors, weights and reply schema of one category, or of all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str | None = None
    """None fits every category."""
    system: str
    """System text."""
    template: str
    """User text, Jinja2 over `instruction`, `description`, `rationale`, `expected` (what a correct
    edit shows, in words), `criteria`, `reply` and `reasoned` (whether reasoning is asked for)."""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=8)]
    combine: Combine
    """How criteria, or aspects where they have some, make the score."""
    combine_aspect: Combine | None = None
    caps: tuple[Cap, ...] = ()
    """The lowest that holds counts."""
    penalties: tuple[Penalty, ...] = ()
    weights_of_tag: dict[str, dict[str, PositiveFloat]] = {}
    """Weights for samples with a tag; criteria without one do not count for them."""
    at_most: dict[str, str] = {}
    """Criterion → the criterion whose value is the most that counts of it."""
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
            full = (self.reply.minimum, self.reply.maximum) == SCALE
            if missing := (ANCHORS if full else {*self.reply.values}) - set(criterion.anchors):
                raise ValueError(f"{criterion.name}: found no anchor for {sorted(missing)}")
        with_aspect = [criterion for criterion in self.criteria if criterion.aspect is not None]
        expected = [] if self.combine_aspect is None else list(self.criteria)
        if with_aspect != expected:
            raise ValueError(
                "found aspects of some criteria or no combine_aspect, accepted is an aspect of "
                "each criterion and combine_aspect, or none of them"
            )
        used = [("caps", cap.criterion) for cap in self.caps]
        used += [("penalties", penalty.criterion) for penalty in self.penalties]
        used += [("weights_of_tag", name) for own in self.weights_of_tag.values() for name in own]
        used += [("at_most", name) for pair in self.at_most.items() for name in pair]
        for where, name in used:
            if name not in names:
                raise ValueError(f"{where}: found {name!r}, accepted is one of {names}")
        return self

    @cached_property
    def sha256(self) -> str:
        """Hash over the whole rubric; its version."""
        said = self.model_dump(mode="json")
        # what a rubric does not use is none of its version
        optional = ("penalties", "weights_of_tag", "at_most")
        unused = {name for name in optional if not said[name]}
        said = {name: value for name, value in said.items() if name not in unused}
        return sha256(canonical_json({**said, "reply": self.reply.asked()}).encode())

    @property
    def names(self) -> list[str]:
        """Names of the criteria, in order."""
        return [criterion.name for criterion in self.criteria]

    @cached_property
    def _model(self) -> type[BaseModel]:
        value: Any = Annotated[StrictInt, Field(ge=self.reply.minimum, le=self.reply.maximum)]
        if self.reply.enum is not None:
            schema = WithJsonSchema({"type": "integer", "enum": list(self.reply.enum)})
            value = Annotated[value, AfterValidator(self._one_of), schema]
        fields: dict[str, Any] = dict.fromkeys(self.names, (value, ...))
        return create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields)

    def _one_of(self, value: int) -> int:
        if value not in self.reply.values:
            raise ValueError(f"found {value}, accepted is {self.reply.said}")
        return value

    @property
    def reply_schema(self) -> dict[str, Any]:
        """JSON schema of the object that a reply must hold."""
        return self._model.model_json_schema()

    @property
    def example(self) -> str:
        """The object that a reply must hold, with the scale in place of its values."""
        return "{" + ", ".join(f'"{name}": <{self.reply.said}>' for name in self.names) + "}"

    def prompt(self, sample: Sample, reasoned: bool = True) -> str:
        """Return the user text for one sample.

        Args:
            reasoned: whether the judge is to reason before it scores.

        Raises:
            TemplateError: if the template cannot be filled in for this sample.
        """
        told = sandbox.template(self.template, VARIABLES).render(
            instruction=sample.instruction,
            description=sample.description,
            rationale=sample.rationale,
            expected=sample.expected,
            criteria=self.criteria,
            reply=self.example,
            reasoned=reasoned,
        )
        return (_images(sample) + told).strip()

    def asked(self, prompt: str) -> dict[str, Any]:
        """Return what of the rubric decides a reply to a prompt, for the score key.

        How criteria are combined is not part of it: new weights need no new reply.
        """
        return {
            "system": self.system,
            "prompt": prompt,
            "criteria": self.names,
            "reply": self.reply.asked(),
        }

    def correction(self, error: str) -> str:
        """Return what is said to a judge whose reply held no valid score."""
        return (
            f"Your reply could not be used: {error}. Reply once more, and end with exactly one "
            f"JSON object with an integer {self._span} for each criterion: {self.example}"
        )

    @property
    def _span(self) -> str:
        if self.reply.enum is not None:
            return f"({self.reply.said})"
        return f"from {self.reply.minimum} to {self.reply.maximum}"

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest value of a criterion."""
        return float(self.reply.minimum), float(self.reply.maximum)

    def score(self, criteria: Mapping[str, float], tags: Sequence[str] = ()) -> float:
        """Combine criteria into a score, from whatever scale to 0 to 10, on the grid of `ties`.

        Args:
            tags: of the sample.
        """
        return float(settled(self._score(self.counting(criteria), tags)))

    def counting(self, criteria: Mapping[str, Number]) -> dict[str, Number]:
        """Return the values that count: no more than those that `at_most` names."""
        given = dict(criteria)
        bounds = {name: given[other] for name, other in self.at_most.items()}
        return given | {name: np.minimum(given[name], most) for name, most in bounds.items()}

    def counted(self, tags: Sequence[str]) -> list[str]:
        """Return the criteria that count for a sample with these tags."""
        weights = self._weights(tags)
        return self.names if weights is None else [name for name in self.names if name in weights]

    def aspects(self, criteria: Mapping[str, float]) -> dict[str, float]:
        """Combine the criteria of each aspect; none without aspects. On the rubric's scale."""
        parts = self._aspects(self.counting(criteria))
        return {name: float(value) for name, (value, _) in parts.items()}

    def _weights(self, tags: Sequence[str]) -> Mapping[str, float] | None:
        return next((self.weights_of_tag[tag] for tag in tags if tag in self.weights_of_tag), None)

    def _score(self, criteria: Mapping[str, Number], tags: Sequence[str]) -> Number:
        """Combine values that count into scores from 0 to 10."""
        low, high = self.scale
        value = self._combined(criteria, tags)
        for penalty in self.penalties:
            holds = settled(criteria[penalty.criterion]) < penalty.below
            value = np.where(holds, np.maximum(low, value * penalty.factor), value)
        return value if self.scale == SCALE else (value - low) / (high - low) * SCALE[1]

    def _aspects(self, criteria: Mapping[str, Number]) -> dict[str, tuple[Number, float]]:
        """Return the value and weight of each aspect."""
        parts = {}
        for aspect in dict.fromkeys(c.aspect for c in self.criteria if c.aspect is not None):
            own = [c for c in self.criteria if c.aspect == aspect]
            values = [(criteria[c.name], c.weight) for c in own]
            parts[aspect] = (_combine(self.combine_aspect, values), sum(c.weight for c in own))
        return parts

    def _combined(self, criteria: Mapping[str, Number], tags: Sequence[str]) -> Number:
        """Combine values that count, on their own scale."""
        weights = self._weights(tags)
        if weights is not None:
            parts = [(criteria[name], weight) for name, weight in weights.items()]
        elif self.combine_aspect is None:
            parts = [(criteria[c.name], c.weight) for c in self.criteria]
        else:
            parts = list(self._aspects(criteria).values())
        value = _combine(self.combine, parts)
        for cap in self.caps:
            holds = settled(criteria[cap.criterion]) < cap.below
            value = np.where(holds, np.minimum(value, cap.score), value)
        return value

    def expected_score(
        self, probabilities: Mapping[str, Sequence[float]], tags: Sequence[str] = ()
    ) -> float:
        """Return the score's expectation under the probabilities of the criteria's values, 0 to 10.

        The criteria are taken for independent, given the reply that their probabilities were read
        in. The expectation is exact: the score of each combination of values, caps and penalties
        included, by its probability. It has two decimals: those beyond depend on what was judged in
        the same batch.

        Args:
            probabilities: of each criterion's values, ascending.
            tags: of the sample.
        """
        shares = {
            name: {v: share / sum(own) for v, share in zip(self.reply.values, own, strict=True)}
            for name, own in probabilities.items()
        }
        return round(self.expectation(shares, tags), 2)

    def expectation(
        self, shares: Mapping[str, Mapping[float, float]], tags: Sequence[str] = ()
    ) -> float:
        """Return the expected score of independent criteria.

        Args:
            shares: of each criterion the probability of each value.
            tags: of the sample.
        """
        own = {name: {v: p for v, p in by.items() if p > 0} for name, by in shares.items()}
        if math.prod(map(len, own.values())) > AT_A_TIME:
            widest = max(own, key=lambda name: len(own[name]))
            return math.fsum(
                share * self.expectation({**own, widest: {value: 1.0}}, tags)
                for value, share in own[widest].items()
            )
        # an axis for each criterion
        mesh = np.ix_(*(np.array([*by], dtype=float) for by in own.values()))
        values = self.counting(dict(zip(own, mesh, strict=True)))
        scores = np.broadcast_to(self._score(values, tags), tuple(map(len, own.values())))
        for by in reversed(own.values()):
            scores = scores @ np.array([*by.values()])
        return float(scores)


def uncertainty(probabilities: Mapping[str, Sequence[float]]) -> float:
    """Return how unsure a judge was: 0 is sure, 1 has all values alike.

    It is the mean over the criteria of the entropy of their values, over the entropy of values
    that are all alike (Shannon 1948).
    """
    entropies = [
        -sum(share * math.log(share) for share in shares if share > 0) / math.log(len(shares))
        for shares in probabilities.values()
    ]
    return round(sum(entropies) / len(entropies), 3)


def combine(how: Combine, parts: Sequence[tuple[float, float]]) -> float:
    """Combine values, 0 to 10, by their weights, on the grid of `ties`.

    Args:
        parts: each value with its weight.
    """
    return float(settled(_combine(how, parts)))


def _combine(how: Combine, parts: Sequence[tuple[Number, float]]) -> Number:
    total = sum(weight for _, weight in parts)
    least = reduce(np.minimum, (value for value, _ in parts))
    most = reduce(np.maximum, (value for value, _ in parts))
    match how:
        case "weighted_mean":
            mean = sum(value * weight for value, weight in parts) / total
        case "geometric_mean":
            mean = math.prod(value ** (weight / total) for value, weight in parts)
        case "min":
            mean = least
    # no rounding may make more or less than 10 of 10s
    return np.clip(mean, least, most)


def _images(sample: Sample) -> str:
    """Return what the judge is told of images other than one source and the edited one."""
    if not sample.more and sample.reference is None:
        return ""
    count = 1 + len(sample.more)
    names = ["the source image"] if count == 1 else [f"source image {n + 1}" for n in range(count)]
    if sample.reference is not None:
        names.append("a reference (what a correct edit looks like; it is not judged)")
    return f"You see, in this order: {', '.join(names)}, the edited image.\n\n"


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


def _check_variables(path: Path, template: str) -> None:
    """Refuse unknown variables, also where the example's text does not reach them."""
    for name in sandbox.template(template, VARIABLES).unknown:
        raise RubricError(
            f"{path}: template: found the variable {name!r}{suggest(name, VARIABLES)}, "
            f"expected one of {', '.join(VARIABLES)}"
        )


def read_rubric(path: Path) -> Rubric:
    """Read a rubric file.

    Raises:
        RubricError: with a clause for each mistake.
    """
    try:
        value = read_yaml(Path(path), RubricError)
        rubric = Rubric.model_validate(value)
        _check_variables(path, rubric.template)
        for reasoned in (True, False):
            rubric.prompt(_EXAMPLE, reasoned)
    except ValidationError as error:
        mistakes = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RubricError(f"{path}: {'; '.join(mistakes)}") from None
    except FileNotFoundError:
        raise RubricError(f"{path}: found no file, accepted is a rubric") from None
    except TemplateError as error:
        raise RubricError(f"{path}: template: {error}") from None
    if rubric.category not in (None, Path(path).stem):
        raise RubricError(
            f"{path}: category: found {rubric.category!r}, accepted is the file's name"
        )
    return rubric


def parse_reply(reply: str, rubric: Rubric) -> Scores:
    """Return what a judge's reply says.

    Prose, code fences and objects that name no criterion are fine around it. Each object that
    names one, at any depth, must have the rubric's criteria as its keys and integers of the scale
    as its values, and all of them must say the same.

    Raises:
        ReplyError: if the reply holds no valid score, or several that differ; never returns a
            default.
    """
    answers = [found for found in _objects(reply) if _keys(found.text) & set(rubric.names)]
    if not answers:
        raise ReplyError(f"found no JSON object with the criteria in the reply ({_start(reply)})")
    values = [_validate(answer, rubric) for answer in answers]
    if any(value != values[0] for value in values):
        raise ReplyError("found several answers that differ in the reply, accepted is one")
    before = reply[: answers[0].start].rstrip()
    reasoning = re.sub(r"```(json)?$", "", before).strip()
    return Scores(values[0], reasoning)


class _Object(NamedTuple):
    """A JSON object in a text, in no other one."""

    start: int
    text: str
    enclosed: bool
    """Whether a brace before it is open."""


def _objects(reply: str) -> list[_Object]:
    """Return the outermost JSON objects of a text, in a time that grows with its length.

    Raises:
        ReplyError: if more than `MAX_BROKEN` places begin like an object and are none.
    """
    decoder = json.JSONDecoder()
    found = []
    depth = broken = position = 0
    for match in _BRACE.finditer(reply):
        if match.start() < position:
            continue
        if match[0] == "}":
            depth = max(0, depth - 1)
            continue
        if match["begun"] is None:
            depth += 1
            continue
        try:
            _, position = decoder.raw_decode(reply, match.start())
            found.append(_Object(match.start(), reply[match.start() : position], depth > 0))
        except ValueError:
            depth += 1
            broken += 1
        except RecursionError:
            start = _start(reply)
            raise ReplyError(f"found braces nested too deep in the reply ({start})") from None
        if broken > MAX_BROKEN:
            raise ReplyError(
                f"expected at most {MAX_BROKEN} broken JSON objects in the reply, found more "
                f"({_start(reply)})"
            )
    return found


_BRACE = re.compile(r"\}|\{(?P<begun>(?=[ \t\n\r]*[\"}]))?")
"""A brace; `begun` where one that opens may begin a JSON object."""


def _keys(text: str) -> set[str]:
    """Return the keys of a JSON object and of all objects in it."""
    found: set[str] = set()
    json.loads(text, object_pairs_hook=lambda pairs: found.update(key for key, _ in pairs))
    return found


def _validate(answer: _Object, rubric: Rubric) -> dict[str, int]:
    """Return the values of an object that names criteria.

    Raises:
        ReplyError: if it is not valid.
    """
    try:
        if answer.enclosed:
            raise ValueError("an object inside braces that are not closed before it")
        pairs = json.loads(answer.text, object_pairs_hook=_once, parse_constant=_no_constant)
        return rubric._model.model_validate(pairs).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}, found {first.get('input')!r:.60}"
        raise ReplyError(f"found no valid score in the reply ({reason})") from None
    except ValueError as error:
        raise ReplyError(f"found no valid score in the reply ({error})") from None


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
