"""What a judge is asked of two edits: which is better."""

from typing import TYPE_CHECKING

from lockstep.records import Sample
from lockstep.rubrics.kinds import Scale
from lockstep.rubrics.questions import Criterion
from lockstep.rubrics.rubric import Rubric

if TYPE_CHECKING:
    from lockstep.records.judged import Place

ANSWERS: "dict[int, Place]" = {1: "first", 2: "second", 3: "equal"}
"""What an answer's number says."""

SYSTEM = """\
You are a careful judge of image edits. You see a source image and two edits of it, which were asked
for by the same instruction. You judge only what is visible. The order in which the edits are shown
says nothing of them."""

TEMPLATE = """\
Both edits were asked for by this instruction:
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

{{ criterion.name }}: {{ criterion.question }}
{% for value, meaning in criterion.anchors.items() %}
  {{ value }} = {{ meaning }}
{% endfor %}
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
    "change, and is the better picture?",
    anchors={1: "the first edit", 2: "the second edit", 3: "they are equally good, or equally bad"},
)


class PairRubric(Rubric):
    """The question on two edits; the first one is the last of a sample's further images."""

    def prompt(self, sample: Sample, reasoned: bool = True) -> str:
        """Return the user text for one sample.

        Raises:
            TemplateError: if the template cannot be filled in for this sample.
        """
        count = len(sample.more)
        shown = ["the source image"]
        if count > 1:
            shown = [f"source image {number + 1}" for number in range(count)]
        shown.append("the first edit")
        if sample.reference is not None:
            shown.append("a reference (what a correct edit looks like; it is not judged)")
        order = f"You see, in this order: {', '.join(shown)}, the second edit."
        alone = sample.model_copy(update={"more": [], "reference": None})
        return f"{order}\n\n{super().prompt(alone, reasoned)}"


RUBRIC = PairRubric(
    system=SYSTEM,
    template=TEMPLATE,
    criteria=(BETTER,),
    combine="min",
    reply=Scale(type="integer", minimum=1, maximum=3),
)
