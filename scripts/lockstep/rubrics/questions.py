"""What a judge is asked in one call: texts, criteria, and the form of its reply."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    create_model,
    model_validator,
)

from lockstep.config.section import Written
from lockstep.foreign import sandbox
from lockstep.records import Sample
from lockstep.records.columns import COLUMNS
from lockstep.rubrics.kinds import AnyKind, Decimals, Kind, Numbers, Scale

ANCHORS = {0, 3, 5, 8, 10}
"""Values whose meaning every criterion on the scale 0 to 10 must give; on others, all values."""

VARIABLES = (
    *("instruction", "description", "rationale", "expected"),
    *("criteria", "reply", "reasoned"),
)
"""Variables of a rubric's template."""

Image = Literal["source", "more", "reference", "edited"]

IMAGES: tuple[Image, ...] = ("source", "more", "reference", "edited")
"""Kinds of images, in the order in which a judge sees them that is told no other."""

SCALE = (0.0, 10.0)
"""Lowest and highest score."""


Format = Literal["json_list", "json_object", "last_number_line", "yes_no", "tagged"]
"""How authors have a judge write its reply."""


class Criterion(Written):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern="^[a-z][a-z_]*$")]
    """Column in the tables, and key in the reply."""
    key: Annotated[str, Field(pattern="^[a-z][a-z_]*$")] | None = None
    """Key in the reply, where it is another than the name."""
    weight: Annotated[FiniteFloat, Field(ge=0)] = 1
    """Share in the score, relative to the other weights; the minimum knows none. One of 0 is in the
    tables and moves no score."""
    aspect: str | None = None
    """Criteria of one aspect are combined first, by `combine_aspect`."""
    question: str = ""
    """What is judged."""
    anchors: dict[int, str] = Field({})
    """What values on the scale mean."""
    reply: AnyKind | None = None
    """Kind of its answer, where it is another than that of the rubric."""

    @property
    def said(self) -> str:
        """Its key in the reply."""
        return self.key or self.name


class Valued(NamedTuple):
    """A number that counts: of a criterion, or an entry of one that is a list."""

    name: str
    """Column in the tables."""
    weight: float
    aspect: str | None
    kind: Kind


class Blank(NamedTuple):
    """A place of a reply's object that the judge fills in."""

    name: str
    """Of the number that it gives."""
    before: str
    """The object's fixed text before it, from the blank before."""
    options: tuple[str, ...]
    """What may stand there, in the order of the kind's options."""
    end: str
    """What may follow it: a `number` of an object, one in a `list`, the quote of a `text`, or the
    end of a `line`."""


class Question(Written):
    """What is asked in one call, and in which form the judge must reply."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    variables: ClassVar[tuple[str, ...]] = VARIABLES

    system: str | None = None
    """System text; None sends none."""
    template: str = ""
    """User text, Jinja2 over `instruction`, `description`, `rationale`, `expected` (what a correct
    edit shows, in words), `criteria`, `reply` and `reasoned` (whether reasoning is asked for)."""
    criteria: Annotated[tuple[Criterion, ...], Field(max_length=8)] = ()
    reply: AnyKind | None = None
    """Kind of each criterion's answer that says no other."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that it has texts of their own for; none where one is for all."""
        return ()

    @property
    def reads(self) -> Format | None:
        """How authors have a reply written; None is one object with exactly the criteria."""
        return None

    @model_validator(mode="after")
    def _valid(self) -> "Question":
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError(f"expected each criterion once, found {names}")
        keys = [criterion.said for criterion in self.criteria]
        if len(set(keys)) < len(keys):
            raise ValueError(f"expected each key of the reply once, found {keys}")
        for name in names:
            if name in COLUMNS:
                raise ValueError(f"found criterion {name!r}, a column of the tables")
        return self

    def kind(self, criterion: Criterion) -> Kind:
        """Return the kind of a criterion's answer."""
        kind = criterion.reply or self.reply
        if kind is None:
            raise ValueError(f"{criterion.name}: reply: expected a kind of answer, found none")
        return kind

    @property
    def valued(self) -> tuple[Valued, ...]:
        """All numbers that its reply gives, in order."""
        return tuple(
            Valued(name, criterion.weight, criterion.aspect, kind)
            for criterion in self.criteria
            for kind in (self.kind(criterion),)
            for name in (kind.entries if isinstance(kind, Numbers) else (criterion.name,))
        )

    @property
    def names(self) -> list[str]:
        """Names of all numbers, in order; of the criteria, where none is a list."""
        return [valued.name for valued in self.valued]

    @cached_property
    def reply_model(self) -> type[BaseModel]:
        """Type of the object that a reply must hold."""
        fields: dict[str, Any] = {c.said: (self.kind(c).annotation, ...) for c in self.criteria}
        return create_model("Reply", __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def reply_schema(self) -> dict[str, Any]:
        """JSON schema of the object that a reply must hold."""
        return self.reply_model.model_json_schema()

    @property
    def example(self) -> str:
        """The object that a reply must hold, with what is allowed in place of its values."""
        members = (f'"{c.said}": {_shown(self.kind(c))}' for c in self.criteria)
        return "{" + ", ".join(members) + "}"

    @property
    def is_word(self) -> bool:
        """Whether a reply is one word and nothing else, where the judge is held to its form."""
        one = len(self.criteria) == 1 and self.kind(self.criteria[0]).quoted
        return one and self.reads == "yes_no"

    @property
    def form(self) -> tuple[Blank, ...]:
        """The blanks of the object that a reply must hold, or the one of a word alone."""
        if self.is_word:
            (criterion,) = self.criteria
            options = tuple(option.text for option in self.kind(criterion).options)
            return (Blank(criterion.name, "", options, "line"),)
        found, text = [], "{"
        for criterion in self.criteria:
            kind = self.kind(criterion)
            several = isinstance(kind, Numbers)
            quote = '"' if kind.quoted else ""
            end = "list" if several else "text" if kind.quoted else "number"
            options = tuple(option.text for option in kind.options)
            text += f'"{criterion.said}": ' + ("[" if several else quote)
            for name in kind.entries if isinstance(kind, Numbers) else (criterion.name,):
                found.append(Blank(name, text, options, end))
                text = ", "
            text = ("]" if several else quote) + ", "
        return tuple(found)

    def values(self, answers: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers of a valid object; answers that do not count give none."""
        return {name: value for name, value in self._values(answers) if value is not None}

    def _values(self, answers: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
        for criterion in self.criteria:
            kind, answer = self.kind(criterion), answers[criterion.said]
            if isinstance(kind, Numbers):
                yield from zip(kind.entries, answer, strict=True)
            else:
                yield criterion.name, kind.value(answer)

    def rendered(self, sample: Sample, reasoned: bool, **more: str) -> str:
        """Return the user text for one sample.

        Raises:
            TemplateError: if the template cannot be filled in for this sample.
        """
        return sandbox.template(self.template, self.variables).render(
            instruction=sample.instruction,
            description=sample.description,
            rationale=sample.rationale,
            expected=sample.expected,
            criteria=self.criteria,
            reply=self.example,
            reasoned=reasoned,
            **more,
        )

    def prompt(self, sample: Sample, reasoned: bool = True) -> str:
        """Return the user text for one sample.

        Args:
            reasoned: whether the judge is to reason before it scores.

        Raises:
            TemplateError: if the template cannot be filled in for this sample.
        """
        raise NotImplementedError

    def asked(self, prompt: str) -> dict[str, Any]:
        """Return what of the question decides a reply to a prompt, for the score key.

        How criteria are combined is not part of it: new weights need no new reply.
        """
        own = [self.kind(criterion) for criterion in self.criteria]
        alike = own and self.reply is not None and all(kind is self.reply for kind in own)
        return {
            "system": self.system,
            "prompt": prompt,
            "criteria": [criterion.said for criterion in self.criteria],
            "reply": own[0].asked() if alike else [kind.asked() for kind in own],
            **({} if self.reads is None else {"written": self.reads}),
        }

    def correction(self, error: str) -> str:
        """Return what is said to a judge whose reply held no valid score."""
        if self.reads is not None:
            return (
                f"Your reply could not be used: {error}. Reply once more, exactly in the form that "
                "was asked for."
            )
        return (
            f"Your reply could not be used: {error}. Reply once more, and end with exactly one "
            f"JSON object with {self._allowed} for each criterion: {self.example}"
        )

    @property
    def _allowed(self) -> str:
        kind = self.reply
        if not isinstance(kind, Scale) or any(c.reply is not None for c in self.criteria):
            return "one of the values allowed"
        if kind.enum is not None:
            return f"an integer ({kind.said})"
        return f"an integer from {kind.minimum} to {kind.maximum}"


def filled(form: Sequence[Blank], texts: Sequence[str]) -> str:
    """Return the object of a reply, from what stands in its blanks."""
    said = "".join(blank.before + text for blank, text in zip(form, texts, strict=True))
    return said + {"number": "}", "text": '"}', "list": "]}", "line": ""}[form[-1].end]


def _shown(kind: Kind) -> str:
    return f"<{kind.said}>" if isinstance(kind, Scale | Decimals) else kind.said


def told(sample: Sample, images: Sequence[str] = IMAGES) -> str:
    """Return what the judge is told of the images that it sees, in their order.

    Args:
        images: kinds of images; each is there as often as the sample has it.
    """
    count = 1 + len(sample.more)
    names = {
        "source": ["the source image" if count == 1 else "source image 1"],
        "more": [f"source image {number + 1}" for number in range(1, count)],
        "edited": ["the edited image"],
        "reference": ["a reference (what a correct edit looks like; it is not judged)"],
    }
    shown = [name for kind in images for name in names[kind]]
    if sample.reference is None:
        shown = [name for name in shown if name not in names["reference"]]
    return f"You see, in this order: {', '.join(shown)}."
