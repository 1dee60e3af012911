"""Calls: what a rubric asks one after the other, each with texts and images of its own."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lockstep.errors import TemplateError
from lockstep.records import Sample
from lockstep.rubrics.prompts import Prompts
from lockstep.rubrics.questions import IMAGES, VARIABLES, Format, Image, Question, told


def _several(given: Any) -> Any:
    """Return answers as a list of texts and numbers; YAML reads yes and no as something else."""
    answers = given if isinstance(given, list | tuple) else [given]
    words = {True: "yes", False: "no"}
    return [words[own] if isinstance(own, bool) else own for own in answers]


Answers = Annotated[tuple[str | float, ...], BeforeValidator(_several), Field(min_length=1)]


class Call(Question):
    """One call of a rubric that has several."""

    variables: ClassVar[tuple[str, ...]] = (*VARIABLES, "images")

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    prompts: Prompts | None = None
    """The text of a file of others, in place of `template`."""
    authors: Format | None = None
    """How a reply is written, where `reply` names it."""
    images: Annotated[tuple[Image, ...], Field(min_length=1)] = IMAGES
    """What the judge sees, in this order: `source`, `more` (further sources), `reference` and
    `edited`; what is not named it does not see."""
    edited_size: Literal["own", "source"] = "own"
    """Whether the edited image is brought to the size of the source (bicubic)."""
    when: dict[str, Answers] = Field(default_factory=dict)
    """Criteria of earlier calls, `call/criterion`, and the answers to which the call is made; also
    `tag/name` and `sample/field` (one of `FIELDS`): yes or no, whether the sample has it."""

    @model_validator(mode="after")
    def _sane(self) -> "Call":
        if not self.criteria:
            raise ValueError("criteria: expected at least one, found none")
        if bool(self.template) == (self.prompts is not None):
            found = "both" if self.template else "neither"
            raise ValueError(f"expected a template or prompts, found {found}")
        if "edited" not in self.images or len(set(self.images)) < len(self.images):
            raise ValueError(
                f"images: expected edited and each kind once, found {', '.join(self.images)}"
            )
        return self

    @property
    def reads(self) -> Format | None:
        return self.authors

    @property
    def categories(self) -> tuple[str, ...]:
        return () if self.prompts is None else self.prompts.categories

    @property
    def waits(self) -> bool:
        """Whether it hangs on an earlier call."""
        return not all(_of_sample(where) for where in self.when)

    def applies(self, sample: Sample) -> bool:
        """Tell whether the sample is one that the call may be made for."""
        known = {where: _has(sample, where) for where in self.when if _of_sample(where)}
        return all(("yes" if has else "no") in self.when[where] for where, has in known.items())

    def prompt(self, sample: Sample, reasoned: bool = True) -> str:
        named = "images" in self.model_fields_set and "reference" in self.images
        if named and sample.reference is None:
            raise TemplateError(f"call {self.name!r} shows a reference, found none of this sample")
        if self.prompts is not None:
            return self.prompts.rendered(sample).strip()
        return self.rendered(sample, reasoned, images=self.told(sample)).strip()

    def told(self, sample: Sample) -> str:
        """Return what the judge is told of the images."""
        return told(sample, self.images)

    def check_answers(self, criterion: str, answers: Sequence[str | float]) -> None:
        """Refuse answers that no reply to the call can give.

        Raises:
            ValueError: saying which.
        """
        known = {valued.name: valued.kind for valued in self.valued}
        if criterion not in known:
            raise ValueError(f"expected one of {list(known)}, found {criterion!r}")
        kind = known[criterion]
        options = [own.text if kind.quoted else own.value for own in kind.options]
        for answer in answers:
            if answer not in options:
                raise ValueError(f"expected an answer to {criterion!r}, found {answer!r}")

    def holds(self, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        """Tell whether earlier answers are those to which the call is made.

        Args:
            answers: of earlier calls by name, each by criterion; none of a call that was not made.
        """
        earlier = {where: own for where, own in self.when.items() if not _of_sample(where)}
        places = (where.partition("/") for where in earlier)
        given = [answers.get(call, {}).get(criterion) for call, _, criterion in places]
        return all(own in wanted for own, wanted in zip(given, earlier.values(), strict=True))


FIELDS = ("reference", "expected", "rationale", "more")
"""What a sample may have, in `when` of a call."""


def _of_sample(where: str) -> bool:
    return where.partition("/")[0] in ("tag", "sample")


def _has(sample: Sample, where: str) -> bool:
    first, _, name = where.partition("/")
    return name in sample.tags if first == "tag" else bool(getattr(sample, name))


def check(calls: Sequence[Call]) -> None:
    """Check what calls say of each other.

    Raises:
        ValueError: for the first mistake.
    """
    before: dict[str, Call] = {}
    for call in calls:
        if call.name in before:
            raise ValueError(f"calls: expected each name once, found {call.name!r} twice")
        if _of_sample(call.name):
            raise ValueError(f"calls: expected a name other than tag and sample, found {call.name}")
        for where, answers in call.when.items():
            earlier, _, criterion = where.partition("/")
            try:
                if _of_sample(where):
                    _check_fact(where, answers)
                    continue
                if earlier not in before:
                    raise ValueError(f"expected an earlier call, found {earlier!r}")
                before[earlier].check_answers(criterion, answers)
            except ValueError as error:
                raise ValueError(f"{call.name}: when: {where}: {error}") from None
        before[call.name] = call


def _check_fact(where: str, answers: Sequence[str | float]) -> None:
    """Refuse what a sample cannot have, and answers but yes and no."""
    first, _, name = where.partition("/")
    if not name or (first == "sample" and name not in FIELDS):
        wanted = "a tag" if first == "tag" else f"one of {', '.join(FIELDS)}"
        raise ValueError(f"expected {wanted}, found {name!r}")
    for answer in answers:
        if answer not in ("yes", "no"):
            raise ValueError(f"expected yes or no, found {answer!r}")


def with_shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rubric in which each call has the system text and kind of answer of all."""
    shared = {name: given[name] for name in ("system", "reply") if name in given}
    calls = given["calls"]
    if not isinstance(calls, list | tuple):
        return dict(given)
    own = [{**shared, **_split(call)} if isinstance(call, Mapping) else call for call in calls]
    return {**given, "calls": own}


def _split(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call whose `reply` names a format of authors with that format beside its kinds."""
    if not isinstance(call.get("reply"), str):
        return dict(call)
    return {
        **{name: own for name, own in call.items() if name != "reply"},
        "authors": call["reply"],
    }
