"""Rubrics: what a judge is asked for a category, and in which form it must reply."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from lockstep.config.section import Written
from lockstep.errors import RubricError, TemplateError, suggest
from lockstep.foreign import sandbox
from lockstep.foreign.yaml_files import read_yaml
from lockstep.records import Picture, Sample, canonical_json, sha256
from lockstep.rubrics.calls import Call, check, with_shared
from lockstep.rubrics.kinds import Scale
from lockstep.rubrics.prompts import filled_in
from lockstep.rubrics.questions import ANCHORS as ANCHORS
from lockstep.rubrics.questions import SCALE as SCALE
from lockstep.rubrics.questions import Criterion, Question, Valued, told

Combine = Literal["weighted_mean", "geometric_mean", "min"]


class Cap(Written):
    """A score that is not exceeded where one criterion is too low."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    criterion: str
    below: Annotated[float, Field(gt=0, le=100)]
    """The cap holds where the criterion's value is less."""
    score: Annotated[float, Field(ge=0, lt=100)]
    """Highest score then, on the criteria's scale."""


class Penalty(Written):
    """A factor on the score where one criterion is too low; no score gets below the lowest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    criterion: str
    below: Annotated[float, Field(gt=0, le=100)]
    """It holds where the criterion's value is less."""
    factor: Annotated[float, Field(gt=0, lt=1)]


class Rubric(Question):
    """Questions, anchors, weights and reply schema of one category, or of all."""

    category: str | None = None
    """None fits every category."""
    combine: Combine
    """How criteria, or aspects where they have some, make the score."""
    combine_aspect: Combine | None = None
    caps: tuple[Cap, ...] = ()
    """The lowest that holds counts."""
    penalties: tuple[Penalty, ...] = ()
    weights_of_tag: dict[str, dict[str, PositiveFloat]] = Field(default_factory=dict)
    """Weights for samples with a tag; criteria without one do not count for them."""
    at_most: dict[str, str] = Field(default_factory=dict)
    """Criterion → the criterion whose value is the most that counts of it."""
    calls: tuple[Call, ...] = ()
    """What is asked in several calls; a rubric without them is one itself."""

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            if given.get("calls"):
                for name in ("template", "criteria"):
                    if given.get(name):
                        raise ValueError(
                            f"{name}: expected one in each call, found one beside them"
                        )
                return with_shared(given)
            needed = ("system", "template", "criteria", "reply")
            if lacking := [name for name in needed if name not in given]:
                raise ValueError(f"{lacking[0]}: expected one, found none")
        return given

    @model_validator(mode="after")
    def _complete(self) -> "Rubric":
        if not self.criteria and not self.calls:
            raise ValueError("criteria: expected at least one, found none")
        check(self.calls)
        for criterion in self.criteria:
            self._check_anchors(criterion)
        with_aspect = [valued for valued in self.valued if valued.aspect is not None]
        expected = [] if self.combine_aspect is None else list(self.valued)
        if with_aspect != expected:
            raise ValueError(
                "expected an aspect of each criterion and combine_aspect, or none of them, found "
                "aspects of some criteria or no combine_aspect"
            )
        used = [("caps", cap.criterion) for cap in self.caps]
        used += [("penalties", penalty.criterion) for penalty in self.penalties]
        used += [("weights_of_tag", name) for own in self.weights_of_tag.values() for name in own]
        used += [("at_most", name) for pair in self.at_most.items() for name in pair]
        for where, name in used:
            if name not in self.names:
                raise ValueError(f"{where}: expected one of {self.names}, found {name!r}")
        if not any(valued.weight for valued in self.valued):
            raise ValueError("expected a criterion with a weight above 0, found none")
        if all(valued.kind.scale is None for valued in self.valued):
            raise ValueError("expected a criterion whose answers count, found none")
        return self

    @property
    def asks(self) -> tuple[Question, ...]:
        """What is asked, in order: its calls, or the rubric itself."""
        return self.calls or (self,)

    @property
    def valued(self) -> tuple[Valued, ...]:
        if not self.calls:
            return super().valued
        return tuple(valued for call in self.calls for valued in call.valued)

    def _check_anchors(self, criterion: Criterion) -> None:
        if not criterion.question:
            raise ValueError(f"{criterion.name}: question: expected one, found none")
        kind = self.kind(criterion)
        if not isinstance(kind, Scale):
            return
        full = (kind.minimum, kind.maximum) == SCALE
        needed = ANCHORS if full else {*kind.values}
        if len(needed) > len(ANCHORS) * 2 + 1:
            needed = {kind.minimum, kind.maximum}
        if missing := needed - set(criterion.anchors):
            raise ValueError(f"{criterion.name}: found no anchor for {sorted(missing)}")

    @cached_property
    def sha256(self) -> str:
        """Hash over the whole rubric; its version."""
        said = self.model_dump(mode="json")
        # what a rubric does not use is none of its version
        optional = ("penalties", "weights_of_tag", "at_most", "calls")
        unused = {name for name in optional if not said[name]}
        said = {name: value for name, value in said.items() if name not in unused}
        for criterion in said["criteria"]:
            if criterion["reply"] is None:
                del criterion["reply"]
        for criterion in (c for own in (said, *said.get("calls", ())) for c in own["criteria"]):
            if criterion["key"] is None:
                del criterion["key"]
        for call in said.get("calls", ()):
            # where a text lies is none of it
            if call["prompts"] is not None:
                call["prompts"] = {n: call["prompts"][n] for n in ("text", "placeholders")}
        reply = (
            None if self.reply is None else self.reply.model_dump(mode="json", exclude_none=True)
        )
        return sha256(canonical_json({**said, "reply": reply}).encode())

    def prompt(self, sample: Sample, reasoned: bool = True) -> str:
        # one source and the edited image need no words
        several = sample.more or sample.reference is not None
        before = f"{told(sample)}\n\n" if several else ""
        return (before + self.rendered(sample, reasoned)).strip()

    @property
    def scale(self) -> tuple[float, float]:
        """Lowest and highest value of all criteria, as they are combined.

        Where their kinds have several, each is brought to that of scores first.
        """
        scales = {valued.kind.scale for valued in self.valued} - {None}
        (own, *others) = scales
        return SCALE if others or own is None else own


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
    reference=Picture(image="", sha256="", width=1, height=1),
    index=0,
)
"""What every template must be able to render."""


def _check_variables(path: Path, question: Question) -> None:
    """Refuse unknown variables, also where the example's text does not reach them."""
    known = question.variables
    for name in sandbox.template(question.template, known).unknown:
        raise RubricError(
            f"{path}: template: found the variable {name!r}{suggest(name, known)}, "
            f"expected one of {', '.join(known)}"
        )


def _check_prompts(question: Question, category: str | None) -> None:
    """Refuse texts that cannot be filled in, or a category without one."""
    every = question.categories or (_EXAMPLE.category,)
    for name in every if category is None else (category,):
        example = _EXAMPLE.model_copy(update={"category": name})
        for reasoned in (True, False):
            question.prompt(example, reasoned)


def _mistake(place: Sequence[str], error: Mapping[str, Any]) -> str:
    """Return a clause on a mistake, with its place if it is not the whole rubric."""
    said = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("model_type", "model_attributes_type"):
        found = "nothing" if error["input"] is None else repr(error["input"])
        said = f"expected keys and values, found {found:.60}"
    return ": ".join([*filter(None, [".".join(place)]), said])


def read_rubric(path: Path, category: str | None = None) -> Rubric:
    """Read a rubric file.

    Args:
        category: that it must have texts for, where they differ by category.

    Raises:
        RubricError: with a clause for each mistake.
    """
    try:
        value = read_yaml(Path(path), RubricError)
        if isinstance(value, dict) and isinstance(value.get("calls"), list):
            calls = value["calls"]
            own = [
                filled_in(call, Path(path)) if isinstance(call, dict) else call for call in calls
            ]
            value = {**value, "calls": own}
        rubric = Rubric.model_validate(value)
        for question in rubric.asks:
            _check_variables(path, question)
            _check_prompts(question, category)
    except ValidationError as error:
        mistakes = [_mistake([*map(str, e["loc"])], e) for e in error.errors()]
        raise RubricError(f"{path}: {'; '.join(mistakes)}") from None
    except FileNotFoundError:
        raise RubricError(f"{path}: expected a rubric, found no file") from None
    except TemplateError as error:
        raise RubricError(f"{path}: template: {error}") from None
    if rubric.category not in (None, Path(path).stem):
        raise RubricError(f"{path}: category: expected the file's name, found {rubric.category!r}")
    return rubric
