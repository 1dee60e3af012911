"""Rubrics: what a judge is asked for a category, and in which form it must reply."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

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

from lockstep.errors import RubricError, TemplateError, suggest
from lockstep.foreign import sandbox
from lockstep.foreign.yaml_files import read_yaml
from lockstep.records import Sample, canonical_json, sha256
from lockstep.records.columns import COLUMNS

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
            raise ValueError(f"expected two or more values, ascending, found {list(values)}")
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
            raise ValueError(f"expected each criterion once, found {names}")
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
                "expected an aspect of each criterion and combine_aspect, or none of them, found "
                "aspects of some criteria or no combine_aspect"
            )
        used = [("caps", cap.criterion) for cap in self.caps]
        used += [("penalties", penalty.criterion) for penalty in self.penalties]
        used += [("weights_of_tag", name) for own in self.weights_of_tag.values() for name in own]
        used += [("at_most", name) for pair in self.at_most.items() for name in pair]
        for where, name in used:
            if name not in names:
                raise ValueError(f"{where}: expected one of {names}, found {name!r}")
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
    def reply_model(self) -> type[BaseModel]:
        """Type of the object that a reply must hold."""
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
        return self.reply_model.model_json_schema()

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
        raise RubricError(f"{path}: expected a rubric, found no file") from None
    except TemplateError as error:
        raise RubricError(f"{path}: template: {error}") from None
    if rubric.category not in (None, Path(path).stem):
        raise RubricError(f"{path}: category: expected the file's name, found {rubric.category!r}")
    return rubric
