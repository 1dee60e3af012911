"""What a judge is asked of two edits: which is better."""

from pathlib import Path
from typing import TYPE_CHECKING

from lockstep.errors import RubricError
from lockstep.records import Sample
from lockstep.rubrics.calls import Call
from lockstep.rubrics.kinds import Choice, Option
from lockstep.rubrics.questions import Criterion
from lockstep.rubrics.rubric import Rubric, read_rubric

if TYPE_CHECKING:
    from lockstep.records.judged import Place

PAIRS = "pairs.yaml"
"""Name of the file in a folder of rubrics that asks of two edits."""

PLACES: "dict[float | None, Place]" = {1: "first", 0: "second", 0.5: "equal"}
"""What an answer says by what it counts: the share of the comparison that the first edit gets."""

SYSTEM = """\
You are a careful judge of image edits. You see a source image and two edits of it. You judge only
what is visible. The order in which the edits are shown says nothing of them."""

TEMPLATE = """\
{{ images }}

The instruction:
{{ instruction }}
{% if description %}

The source image shows: {{ description }}
{% endif %}
{% if rationale %}

What makes the edit hard: {{ rationale }}
{% endif %}
{% if expected %}

A correct edit shows: {{ expected }}
{% endif %}
{% for criterion in criteria %}

{{ criterion.question }}
{% endfor %}

{% if reasoned %}
First reason briefly, in a few sentences and without braces, about how the edits differ. Then end
with one JSON object and nothing after it:
{% else %}
Do not explain. Reply with one JSON object and nothing else:
{% endif %}
{{ reply }}"""

BETTER = Criterion(
    name="better",
    question="Which edit does better what the instruction asks for, keeps what it does not ask to "
    "change, and is the better picture: the first, the second, or are they equal (equally good, or "
    "equally bad)?",
)


class PairCall(Call):
    """The question on two edits; the first one is the last of a sample's further images."""

    def told(self, sample: Sample) -> str:
        """Return what the judge is told of the images."""
        count = len(sample.more)
        shown = ["the source image"]
        if count > 1:
            shown = [f"source image {number + 1}" for number in range(count)]
        shown.append("the first edit")
        if sample.reference is not None:
            shown.append("a reference (what a correct edit looks like; it is not judged)")
        return f"You see, in this order: {', '.join(shown)}, the second edit."


OURS = Rubric(
    combine="min",
    calls=(
        PairCall(
            name="pairs",
            system=SYSTEM,
            template=TEMPLATE,
            criteria=(BETTER,),
            reply=Choice(type="choice", values={"first": 1, "second": 0, "equal": 0.5}),
        ),
    ),
)


def options(call: Call) -> tuple[Option, ...]:
    """Return the answers to a question on two edits."""
    return call.kind(call.criteria[0]).options


def read_pairs(path: str | None) -> Rubric:
    """Return the question on two edits, as a rubric of one call.

    Args:
        path: of its file; None is our own.

    Raises:
        RubricError: if it asks for anything but the better edit.
    """
    if path is None:
        return OURS
    rubric = read_rubric(Path(path))
    if [len(call.criteria) for call in rubric.calls] != [1]:
        raise RubricError(f"{path}: expected one call with one criterion")
    (call,) = rubric.calls
    values = {option.value for option in options(call)}
    if not call.kind(call.criteria[0]).quoted or not {0, 1} <= values <= {*PLACES}:
        raise RubricError(
            f"{path}: {call.name}: expected a choice whose answers count 1 (the first edit is "
            f"better), 0 (the second) or 0.5 (equal), found {[*options(call)]}"
        )
    if own := call.model_fields_set & {"images", "edited_size", "when"}:
        raise RubricError(
            f"{path}: {call.name}: expected all images at their own size, found {sorted(own)}"
        )
    given = {name: getattr(call, name) for name in call.model_fields_set}
    return rubric.model_copy(update={"calls": (PairCall(**given),)})
