"""Records of what a judge was asked word for word, and of edits that it compared."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from lockstep.records.types import Id, Record, Status


class Asked(Record):
    """One judgement word for word: what the judge was shown and told, and what it replied."""

    which: str = ""
    """Empty where an edit has but one judgement; `repeat-0` and so on, and `swapped`, or two
    editors in the order in which their edits are shown; then the call of a rubric that has
    several."""
    key: str | None = None
    """Score key of the reply, which covers all that the judge was told; None without a reply."""
    judge: str | None = None
    """Fingerprint of the judge."""
    seed: int | None = None
    """Seed that the reply was sampled with; None if it is greedy."""
    shown: Sequence[str] = ()
    """The images, in their order; they stand between both texts."""
    system: str | None = None
    """System text; None where no model was asked."""
    prompt: str | None = None
    """User text; None where no model was asked."""
    rejected: str | None = None
    """The first reply, where it held no valid score."""
    correction: str | None = None
    """What the judge was told then; None where that was not recorded."""
    reply: str | None = None
    """The last reply, as it came; None where there is none."""
    error: str | None = None
    """Why it gives no score."""
    score: float | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None


class AskedRecord(Record):
    """All judgements of one edit, or of two, a line of `asked/shard-….jsonl`."""

    id: Id
    category: str
    judgements: list[Asked]
    editors: Sequence[str] = ()
    """Whose edits were compared; empty where one edit was scored."""


class ChosenPair(Record):
    """Two editors whose edits of a sample are compared, a line of `chosen.jsonl`."""

    id: Id
    """Of the sample."""
    one: Id
    """Name of an editor."""
    other: Id


Place = Literal["first", "second", "equal"]
"""The edit that a judge names, by the place in which it is shown."""


class PairRecord(ChosenPair):
    """What the judge said of two edits of a sample, shown in both orders."""

    category: str
    status: Status
    error: str | None = None
    forward: Place | None = None
    """Reply with the edit of `one` shown first; None unless status is ok."""
    backward: Place | None = None
    """Reply with the edit of `other` shown first; None unless status is ok."""
    forward_shares: dict[Place, float] = Field(default_factory=dict)
    """Probability of each reply with the edit of `one` shown first, where the judge gives it."""
    backward_shares: dict[Place, float] = Field(default_factory=dict)
    """With the edit of `other` shown first."""
    judge: str | None = None
    """Fingerprint of the judge."""
    judge_seconds: float | None = None
    """Of both replies."""
    cached: bool = False
    """Whether both replies were there already."""
