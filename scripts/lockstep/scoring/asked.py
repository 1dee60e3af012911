"""What the judge was asked word for word, beside the scores.

A kept reply is found by a key that covers both texts, so the texts of today are those that it
answered, also where an earlier version did not write them down.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lockstep.judges.settings import ModelJudgeSettings
from lockstep.records import Asked, AskedRecord, ScoreRecord
from lockstep.scoring.replies import Pending

SAME = (
    *("key", "seed", "rejected", "correction", "reply", "error", "score"),
    *("prompt_tokens", "reply_tokens"),
)
"""Fields that are those of the score."""


def record(items: Iterable[Pending], done: Mapping[Path, ScoreRecord]) -> AskedRecord | None:
    """Return all judgements of one edit; None where it has none."""
    # a call may have been skipped
    found = [(item, done[item.path]) for item in items if item.path in done]
    if not found:
        return None
    sample = found[0][0].sample
    judgements = [_asked(item, score) for item, score in found]
    return AskedRecord(id=sample.id, category=sample.category, judgements=judgements)


def _asked(item: Pending, score: ScoreRecord) -> Asked:
    # what failed before the judge was asked has neither
    was_asked = score.key is not None or score.judge_seconds is not None
    texts = {}
    if was_asked and isinstance(item.job.settings, ModelJudgeSettings):
        texts = {"system": item.question.system or "", "prompt": item.prompt, "shown": _shown(item)}
    return Asked(
        which=f"{item.which} {item.call.name if item.call else ''}".strip(),
        judge=score.fingerprint,
        **{name: getattr(score, name) for name in SAME},
        **texts,
    )


def _shown(item: Pending) -> list[str]:
    """Return what the images are, in the order of `Pair.shown`."""
    known = {
        "more": [f"source {number + 2}" for number in range(len(item.sample.more))],
        "reference": [] if item.sample.reference is None else ["reference"],
    }
    return [name for kind in item.images for name in known.get(kind, [kind])]
