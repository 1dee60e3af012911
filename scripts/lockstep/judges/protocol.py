"""What a judge is given, what it says, and what it does.

A judge answers for several pairs at a time with raw replies; `replies.parse_reply` makes scores of
them, and `scoring` asks once more where one cannot.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from PIL import Image

from lockstep.models.backend import Usage as Usage
from lockstep.rubrics.questions import IMAGES, Question


class Rejected(NamedTuple):
    """A reply that held no valid score."""

    reply: str
    """As the judge gave it."""
    error: str
    """What was wrong with it."""


class Pair(NamedTuple):
    """One edit to judge."""

    id: str
    """Id of the sample."""
    editor: str
    """Name of the editor that made the edit."""
    source: Image.Image
    """8-bit RGB."""
    edited: Image.Image
    """8-bit RGB."""
    rubric: Question
    """Holds the system text and the reply's schema: the rubric, or the call of it that is made."""
    prompt: str
    """User text of the rubric for this sample."""
    seed: int | None = None
    """Seed to sample the reply with; None is greedy."""
    rejected: Rejected | None = None
    """What the judge replied first, where it is asked once more."""
    category: str = ""
    """Key of the sample's category."""
    tags: Sequence[str] = ()
    """Of the sample."""
    more: Sequence[Image.Image] = ()
    """Further source images, 8-bit RGB."""
    reference: Image.Image | None = None
    """What a correct edit looks like, 8-bit RGB."""
    call: str = ""
    """Name of the rubric's call; a rubric of one has none."""
    images: Sequence[str] = IMAGES
    """Kinds of images that the judge sees, in their order."""

    @property
    def shown(self) -> list[Image.Image]:
        """All images that the judge sees, and no other, in the order in which it sees them."""
        known = {
            "source": [self.source],
            "more": self.more,
            "reference": [] if self.reference is None else [self.reference],
            "edited": [self.edited],
        }
        return [image for kind in self.images for image in known[kind]]


class Finished(NamedTuple):
    """Scores that were there before, without a reply to read them from."""

    criteria: dict[str, float]
    """Each criterion's value, 0 to 10; empty where only the score is known."""
    score: float
    """0 to 10."""


class Judgement(NamedTuple):
    """What a judge said of one pair."""

    reply: str | None
    """As the judge gave it; None where there is none."""
    error: str | None = None
    """Why the reply is none to read (refused, cut off, not there), in one sentence. It is neither
    parsed nor asked for once more, and the next run asks again."""
    probabilities: dict[str, tuple[float, ...]] | None = None
    """Of each criterion's values 0 to 10, by the judge's own logits before each value."""
    schema_mass: float | None = None
    """Probability that the judge itself put on allowed values, least over the criteria."""
    usage: Usage | None = None
    versions: dict[str, str] | None = None
    """Of what judged; None is the software of this process."""
    finished: Finished | None = None
    """Scores in place of a reply."""
    finish_reason: str | None = None
    """What ended the reply, in the server's word; None where no server was asked."""


class Judge(Protocol):
    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return a judgement for each pair, in order.

        Raises:
            OutOfMemory: if fewer pairs at a time may still work.
            DeviceError: if the device cannot go on at all.
        """


class DeviceJudge(Judge, Protocol):
    def fitting(self) -> int:
        """Return how many pairs find place on the device."""
