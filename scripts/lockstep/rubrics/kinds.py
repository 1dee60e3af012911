"""Kinds of answer: what a judge may say of a criterion, and the number that each answer counts."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    StrictInt,
    Tag,
    WithJsonSchema,
    model_validator,
)

from lockstep.config.section import Written

MOST = 201
"""Answers that a kind may have; a judge in this process is asked for the probability of each."""


def _by_type(*others: str) -> Discriminator:
    """Return what tells kinds apart, so that a mistake is told of the kind that was meant."""

    def tag(given: Any) -> Any:
        return given.get("type") if isinstance(given, Mapping) else getattr(given, "type", None)

    known = ", ".join(("integer", *others[:-1])) + f" or {others[-1]}"
    return Discriminator(
        tag, custom_error_type="kind", custom_error_message=f"expected a type {known}"
    )


class Option(NamedTuple):
    """One answer that a kind allows."""

    text: str
    """As it stands in a reply, without quotes."""
    value: float | None
    """What it counts; None of one that does not count."""


class Kind(Written):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def options(self) -> tuple[Option, ...]:
        """All answers, numbers ascending."""
        raise NotImplementedError

    @property
    def quoted(self) -> bool:
        """Whether an answer is a text of JSON."""
        return False

    @property
    def said(self) -> str:
        """How a reply's example shows it."""
        raise NotImplementedError

    @property
    def annotation(self) -> Any:
        """Type of a valid answer in a JSON object."""
        raise NotImplementedError

    def asked(self) -> dict[str, Any]:
        """Return it for the score key."""
        return self.model_dump(mode="json", exclude_none=True)

    def value(self, answer: Any) -> float | None:
        """Return what a valid answer counts; None of one that does not count."""
        return answer

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest value; None where no answer counts."""
        values = [option.value for option in self.options if option.value is not None]
        return (float(min(values)), float(max(values))) if values else None


class Scale(Kind):
    """JSON schema of one criterion's value: integers of a range, or some of them."""

    type: Annotated[str, Field(pattern="^integer$")]
    minimum: Annotated[int, Field(ge=0, le=99)]
    maximum: Annotated[int, Field(ge=1, le=100)]
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
    def options(self) -> tuple[Option, ...]:
        return tuple(Option(str(value), value) for value in self.values)

    @property
    def said(self) -> str:
        if self.enum is None:
            return f"{self.minimum}-{self.maximum}"
        return " or ".join(map(str, self.enum))

    @property
    def annotation(self) -> Any:
        value: Any = Annotated[StrictInt, Field(ge=self.minimum, le=self.maximum)]
        if self.enum is None:
            return value
        schema = WithJsonSchema({"type": "integer", "enum": list(self.enum)})
        return Annotated[value, AfterValidator(self._one_of), schema]

    def _one_of(self, value: int) -> int:
        if value not in self.values:
            raise ValueError(f"expected {self.said}, found {value}")
        return value


class Decimals(Kind):
    """Decimals of a range, in steps."""

    model_config = ConfigDict(allow_inf_nan=False)

    type: Literal["number"]
    minimum: Annotated[Decimal, Field(ge=0, le=100)]
    maximum: Annotated[Decimal, Field(gt=0, le=100)]
    step: Annotated[Decimal, Field(gt=0, le=100)] = Decimal("0.1")

    @model_validator(mode="after")
    def _divided(self) -> "Decimals":
        if not self.minimum < self.maximum:
            raise ValueError(
                f"expected the minimum below the maximum, found {self.minimum} and {self.maximum}"
            )
        steps = (self.maximum - self.minimum) / self.step
        if steps != int(steps) or steps >= MOST:
            raise ValueError(
                f"step: expected a whole number of steps from minimum to maximum, at most "
                f"{MOST - 1}, found {float(steps):g}"
            )
        return self

    @cached_property
    def options(self) -> tuple[Option, ...]:
        decimals = max(_decimals(self.step), _decimals(self.minimum))
        steps = int((self.maximum - self.minimum) / self.step)
        values = [self.minimum + number * self.step for number in range(steps + 1)]
        return tuple(Option(f"{value:.{decimals}f}", float(value)) for value in values)

    @property
    def said(self) -> str:
        return f"{self.options[0].text}-{self.options[-1].text}"

    @property
    def annotation(self) -> Any:
        low, high = float(self.minimum), float(self.maximum)
        schema = WithJsonSchema({"type": "number", "minimum": low, "maximum": high})
        return Annotated[FiniteFloat, BeforeValidator(self._on_grid), schema]

    def _on_grid(self, given: Any) -> float:
        if type(given) not in (int, float):
            raise ValueError("expected a number")
        values = [option.value for option in self.options if option.value is not None]
        nearest = min(values, key=lambda value: abs(value - given))
        # 0.1 has no exact binary form, and a sum of steps may differ from it in the last bit
        if abs(nearest - given) > 1e-9:
            raise ValueError(f"expected {self.said} in steps of {self.step}")
        return nearest

    def asked(self) -> dict[str, Any]:
        """Return it for the score key; 0.5 and 0.50 are the same."""
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "step": self.step}
        return {"type": self.type, **{name: float(bound) for name, bound in bounds.items()}}


def _decimals(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


class _Words(Kind):
    """One of several texts."""

    @property
    def quoted(self) -> bool:
        return True

    @property
    def said(self) -> str:
        return '"' + " or ".join(option.text for option in self.options) + '"'

    @property
    def annotation(self) -> Any:
        return Literal[tuple(option.text for option in self.options)]

    def value(self, answer: Any) -> float | None:
        return dict(self.options)[answer]


class YesNo(_Words):
    """Yes or no, which count 1 and 0."""

    type: Literal["yes_no"]

    @property
    def options(self) -> tuple[Option, ...]:
        return (Option("no", 0.0), Option("yes", 1.0))


Text = Annotated[str, Field(pattern=r'^[^"\\\x00-\x1f]+$', max_length=100)]
"""What stands in a reply as it is written, without a sign that JSON writes otherwise."""


class Choice(_Words):
    """One of several texts, each with what it counts, or nothing where it does not count."""

    model_config = ConfigDict(allow_inf_nan=False)

    type: Literal["choice"]
    values: Annotated[dict[Text, float | None], Field(min_length=2, max_length=26)]

    @model_validator(mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("values"), Mapping):
            for key in given["values"]:
                if not isinstance(key, str):
                    raise ValueError(f"values: expected texts, found {key!r}; put it in quotes")
        return given

    @model_validator(mode="after")
    def _apart(self) -> "Choice":
        counted = {value for value in self.values.values() if value is not None}
        if len(counted) == 1:
            raise ValueError(f"values: expected two that differ, or none, found {[*counted]}")
        return self

    @property
    def options(self) -> tuple[Option, ...]:
        return tuple(Option(text, value) for text, value in self.values.items())

    def asked(self) -> dict[str, Any]:
        """Return it for the score key: what an answer counts is no matter of the reply."""
        return {"type": self.type, "values": list(self.values)}


class Numbers(Kind):
    """A list of numbers, each of which is a criterion of its own in the tables and the score."""

    type: Literal["list"]
    entries: Annotated[
        tuple[Annotated[str, Field(pattern="^[a-z][a-z_]*$")], ...],
        Field(min_length=1, max_length=8),
    ]
    """Names of the numbers, in the order of the list."""
    of: Annotated[
        Annotated[Scale, Tag("integer")] | Annotated[Decimals, Tag("number")], _by_type("number")
    ]
    """Kind of each number."""

    @property
    def options(self) -> tuple[Option, ...]:
        return self.of.options

    @property
    def said(self) -> str:
        return "[" + ", ".join(f"<{self.of.said}>" for _ in self.entries) + "]"

    @property
    def annotation(self) -> Any:
        count = len(self.entries)
        several: Any = list.__class_getitem__(self.of.annotation)
        return Annotated[several, Field(min_length=count, max_length=count)]

    def asked(self) -> dict[str, Any]:
        """Return it for the score key: only the judge's reply is its matter, no name of ours."""
        return {"type": self.type, "count": len(self.entries), "of": self.of.asked()}


AnyKind = Annotated[
    Annotated[Scale, Tag("integer")]
    | Annotated[Decimals, Tag("number")]
    | Annotated[YesNo, Tag("yes_no")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[Numbers, Tag("list")],
    _by_type("number", "yes_no", "choice", "list"),
]
