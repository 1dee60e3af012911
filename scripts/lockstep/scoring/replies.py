"""From a judgement to its record: what a reply is worth, and why one is worth nothing."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.errors import (
    ReplyError,
    one_sentence,
)
from lockstep.judges.protocol import Judgement, Rejected
from lockstep.judges.settings import JudgeSettings
from lockstep.models.fingerprints import versions
from lockstep.records import Sample, ScoreRecord
from lockstep.rubrics import combine
from lockstep.rubrics.calls import Call
from lockstep.rubrics.questions import IMAGES, Image, Question
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import Rubric

log = logging.getLogger(__name__)


class Judging(NamedTuple):
    """What the judgements of one editor and category share."""

    settings: JudgeSettings
    identity: dict[str, Any]
    """Of the judge."""
    rubric: Rubric
    editor: str
    below: str = ""
    """Folder of the judge among others; the first one has none."""
    others: Sequence[str] = ()
    """Folders of other judges of which judgements are there; they may have stood otherwise."""


class Pending(NamedTuple):
    """One judgement to make."""

    job: Judging
    sample: Sample
    edited: Path
    pixels: str
    """SHA-256 of its pixels."""
    prompt: str
    seed: int | None
    key: str
    path: Path
    """Where it is kept."""
    question: Question
    """What is asked: the rubric, or one call of it."""
    which: str = ""
    """Which of an edit's judgements; empty where it has but one."""
    elsewhere: Sequence[Path] = ()
    """Where it is kept if the judge stood in another place of the configuration then."""

    @property
    def call(self) -> Call | None:
        """The call of a rubric that has several."""
        return self.question if isinstance(self.question, Call) else None

    @property
    def images(self) -> Sequence[Image]:
        """Kinds of images that the judge is shown, in their order."""
        return IMAGES if self.call is None else self.call.images


def rejected(judgement: Judgement, question: Question) -> Rejected | None:
    """Return a reply and what is wrong with it; None if nothing is, or there is none to read."""
    unread = judgement.error is not None or judgement.finished is not None
    if unread or judgement.reply is None:
        return None
    try:
        parse_reply(judgement.reply, question)
    except ReplyError as error:
        return Rejected(judgement.reply, question.correction(str(error)))
    return None


def record_of(item: Pending, judgements: Sequence[Judgement], seconds: float) -> ScoreRecord:
    """Return what came of an item that was asked once, or once more."""
    used = [judgement.usage for judgement in judgements if judgement.usage is not None]
    known = len(used) == len(judgements)
    first = rejected(judgements[0], item.question) if len(judgements) > 1 else None
    took = {
        "rejected": first and first.reply,
        "correction": first and first.error,
        "prompt_tokens": sum(usage.prompt_tokens for usage in used) if known else None,
        "reply_tokens": sum(usage.reply_tokens for usage in used) if known else None,
        "judge_seconds": seconds,
    }
    return scored_record(item, judgements[-1]).model_copy(update=took)


def scored_record(item: Pending, judgement: Judgement) -> ScoreRecord:
    """Return what a judgement says by today's rules."""
    settings = item.job.settings
    probabilities, mass = judgement.probabilities, judgement.schema_mass
    record = _unscored(item).model_copy(
        update={
            "key": item.key,
            "reply": judgement.reply,
            "probabilities": probabilities or {},
            "schema_mass": mass,
            "finish_reason": judgement.finish_reason,
            "versions": versions() if judgement.versions is None else judgement.versions,
        }
    )
    if judgement.finished is not None:
        return record.model_copy(update=judgement.finished._asdict())
    least = settings.least_mass
    try:
        if judgement.error is not None or judgement.reply is None:
            # nothing to keep: the next run asks again
            record = record.model_copy(update={"key": None})
            raise ReplyError(judgement.error or "expected a reply of the judge, found none")
        if mass is not None and mass < least:
            raise ReplyError(
                f"expected the judge to put a probability of at least {least} on valid scores "
                f"({settings.option}.min_schema_mass), found {mass}"
            )
        scores = parse_reply(judgement.reply, item.question)
        told = {"criteria": scores.criteria, "reasoning": scores.reasoning}
        # a call has no score of its own
        found = {} if item.call else scored(item, scores.criteria, probabilities or {})
    except ReplyError as error:
        return record.model_copy(update={"status": "judge_failed", "error": str(error)})
    return record.model_copy(update={**told, **found})


def scored(
    item: Pending,
    criteria: Mapping[str, float],
    probabilities: Mapping[str, Sequence[float]],
) -> dict[str, float]:
    """Return the numbers of a score, by the names of a record's fields.

    Args:
        probabilities: of each criterion's answers; empty where the judge does not give them.

    Raises:
        ReplyError: if there is no score.
    """
    rubric, tags = item.job.rubric, item.sample.tags
    found = {"score": combine.score(rubric, criteria, tags)}
    if probabilities:
        counted = {name: own for name, own in probabilities.items() if name in criteria}
        found["expected_score"] = combine.expected_score(rubric, counted, tags)
        found["uncertainty"] = combine.uncertainty(probabilities)
    return found


def _unscored(item: Pending) -> ScoreRecord:
    return ScoreRecord(
        id=item.sample.id,
        category=item.sample.category,
        status="ok",
        seed=item.seed,
        judge=item.job.identity,
        rubric=item.job.rubric.sha256,
        versions=versions(),
    )


def failed_record(item: Pending, error: Exception) -> ScoreRecord:
    failed = {"status": "judge_failed", "error": one_sentence(error)}
    return _unscored(item).model_copy(update=failed)
