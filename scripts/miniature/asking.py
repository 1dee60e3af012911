"""What the miniature's judge is asked, and what it has to reply."""

from typing import NamedTuple

from lockstep.demo import wordings

SYSTEM = "You judge edits of drawn pictures. First the source, then the edit."

SCORE = """\
The instruction: {instruction}
What was asked for, what is seen? Then score: {reply}"""
"""The rubrics' question; `resources/miniature/rubrics` holds it as their template."""

DONE = "The instruction: {instruction}\nWas it done? Say yes or no."
LOOK = 'How clean is this picture? Score: {{"quality": <0-10>}}'
BETTER = "The instruction: {instruction}\nWhich edit is better, A or B?"

CRITERIA = ("instruction_following", "", "preservation", "quality")

KEPT = {10: "all is kept", 8: "most is kept", 5: "another thing changed", 4: "much is lost"}
KEPT |= {3: "something else changed too", 0: "nothing is kept"}
CLEAN = {10: "clean", 5: "worn", 1: "damaged", 0: "broken"}


class Question(NamedTuple):
    """What a judge is asked, the pictures aside."""

    text: str
    reply: str


def names(category: str) -> tuple[str, ...]:
    """Return the criteria of a category's rubric."""
    return tuple(name or wordings.OWN[category] for name in CRITERIA)


def example(category: str) -> str:
    """Return the object that a rubric asks for."""
    return "{" + ", ".join(f'"{name}": <0-10>' for name in names(category)) + "}"


def scored(
    category: str, instruction: str, asked: str, seen: str, criteria: tuple[int, ...]
) -> Question:
    """Return the question for a category's criteria, and the right reply.

    Args:
        asked: what a right edit shows.
        seen: what this one shows.
    """
    reason = (
        f"Asked: {asked}. Seen: {seen}. Beside it {KEPT[criteria[2]]}. "
        f"The picture is {CLEAN[criteria[3]]}."
    )
    values = zip(names(category), criteria, strict=True)
    members = ", ".join(f'"{name}": {value}' for name, value in values)
    text = SCORE.format(instruction=instruction, reply=example(category))
    return Question(text, f"{reason}\n{{{members}}}")


def done(instruction: str, yes: bool) -> Question:
    """Return the question whether an edit was done."""
    return Question(DONE.format(instruction=instruction), "yes" if yes else "no")


def look(quality: int) -> Question:
    """Return the question for the quality of the edited picture alone."""
    return Question(LOOK.format(), f'{{"quality": {quality}}}')


def better(instruction: str, first: bool) -> Question:
    """Return the question which of two edits is better."""
    return Question(BETTER.format(instruction=instruction), "A" if first else "B")


def texts() -> list[str]:
    """Return texts that the tokenizer should know."""
    found = [SYSTEM, "system\n", "user\n", "assistant\n", "yes", "no", "A", "B"]
    for category in wordings.OWN:
        for kept, clean in ((10, 10), (8, 5), (5, 1), (4, 1), (3, 1)):
            found += scored(category, "", "nothing", "half of it,", (0, 5, kept, clean))
    found += [*done("", True), *look(1), *better("", True)]
    return found
