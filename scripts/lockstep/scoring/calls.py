"""All calls of a judgement: which are due, and what they say together."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep import layout
from lockstep.errors import ReplyError, TemplateError
from lockstep.judges.settings import JudgeSettings
from lockstep.records import Sample, ScoreRecord, canonical_json, sha256
from lockstep.rubrics.replies import parse_reply
from lockstep.scoring import judgements
from lockstep.scoring.judgements import Place, item, judge_missing
from lockstep.scoring.replies import Judging, Pending, scored

TOGETHER = 64
"""Edits whose first calls are made before their second ones: a judge in this process is given
batches of one call, and has not forgotten the source by the next."""

Asked = tuple[Pending, ...]
"""Calls of one judgement, in their order."""


def asked(
    job: Judging, sample: Sample, edited: Path, pixels: str, path: Path, seed: int | None = None
) -> Asked:
    """Return what is asked of one edit.

    Args:
        pixels: SHA-256 of the edited image's pixels.
        path: where the judgement is kept; its calls are kept beside it.
        seed: seed of the sampling; None is greedy.

    Raises:
        TemplateError: if a template cannot be filled in for this sample, or no call is for it.
    """
    if job.settings.finished or not job.rubric.calls:
        return (item(job, sample, edited, pixels, path, seed),)
    calls = [call for call in job.rubric.calls if call.applies(sample)]
    if not calls:
        raise TemplateError("expected a call that is made for this sample, found none (when)")
    return tuple(
        item(job, sample, edited, pixels, layout.of_call(path, call.name), seed, call)
        for call in calls
    )


def in_order(judgements: Sequence[Asked]) -> Iterator[Pending]:
    """Yield the calls of many judgements that depend on no other, as they are best made."""
    for begin in range(0, len(judgements), TOGETHER):
        block = judgements[begin : begin + TOGETHER]
        yield from _by_call([pending for own in block for pending in own if not _waits(pending)])


def _by_call(pending: Sequence[Pending]) -> list[Pending]:
    names = list(dict.fromkeys(own.call and own.call.name for own in pending))
    return sorted(pending, key=lambda own: names.index(own.call and own.call.name))


def _waits(pending: Pending) -> bool:
    return pending.call is not None and pending.call.waits


def judge_calls(
    settings: JudgeSettings,
    judgements: Sequence[Asked],
    place: Place,
    later: Iterable[Pending] = (),
) -> dict[Path, ScoreRecord]:
    """Return the record of each call that is made, by the path where it is kept.

    Args:
        later: judged too, as far as a batch is not full, where no call waits for another.

    Raises:
        DeviceError, ServerError, SharedError: as `judge_missing`.
    """
    waiting = [own for own in judgements if any(map(_waits, own))]
    first = list(in_order(judgements))
    done = judge_missing(settings, first, place, () if waiting else later)
    while due := [pending for own in waiting for pending in own if _due(pending, own, done)]:
        done |= judge_missing(settings, _by_call(due), place)
    return done


def kept(own: Asked) -> dict[Path, ScoreRecord] | None:
    """Return the calls of a judgement that were made; None while one is still to be made."""
    known = ((pending.path, judgements.look_up(pending)) for pending in own)
    done = {path: record for path, record in known if record is not None}
    for pending in own:
        if pending.path not in done and (not _waits(pending) or _due(pending, own, done)):
            return None
    return done


def _due(pending: Pending, own: Asked, done: Mapping[Path, ScoreRecord]) -> bool:
    """Tell whether a call is to be made by what earlier ones of the same judgement said."""
    if pending.path in done or pending.call is None:
        return False
    said = {other.call.name: _answers(other, done.get(other.path)) for other in own if other.call}
    return pending.call.holds(said)


def _answers(pending: Pending, record: ScoreRecord | None) -> dict[str, Any]:
    """Return what a call said, by criterion; nothing of one that was not made or failed."""
    if record is None or record.status != "ok" or record.reply is None:
        return {}
    scores = parse_reply(record.reply, pending.question)
    words = {name: own for name, own in scores.answers.items() if isinstance(own, str)}
    return {**scores.criteria, **words}


def together(own: Asked, done: Mapping[Path, ScoreRecord]) -> ScoreRecord:
    """Return the record of a judgement from those of its calls.

    A call that was skipped says nothing: its criteria have no value. If one failed, there is no
    score.
    """
    if own[0].call is None:
        return done[own[0].path]
    made = {
        pending.call.name: done[pending.path]
        for pending in own
        if pending.call is not None and pending.path in done
    }
    records = list(made.values())
    first = records[0].model_copy(update=_sums(made))
    for name, record in made.items():
        if record.status != "ok":
            failed = {"status": record.status, "error": f"call {name}: {record.error}"}
            return first.model_copy(update=failed)
    probabilities = {name: own for record in records for name, own in record.probabilities.items()}
    known = all(record.probabilities for record in records)
    criteria = {name: value for record in records for name, value in record.criteria.items()}
    try:
        found = scored(own[0], criteria, probabilities if known else {})
    except ReplyError as error:
        return first.model_copy(update={"status": "judge_failed", "error": str(error)})
    return first.model_copy(update={**found, "criteria": criteria, "probabilities": probabilities})


def _sums(made: Mapping[str, ScoreRecord]) -> dict[str, Any]:
    """Return what the calls of a judgement took and said, each under its name."""
    records = list(made.values())

    def over(function: Callable[[list[Any]], float], field: str) -> float | None:
        given = [getattr(record, field) for record in records]
        return None if None in given else function(given)

    def texts(field: str) -> str | None:
        given = {name: getattr(record, field) for name, record in made.items()}
        told = [f"{name}: {text}" for name, text in given.items() if text]
        return "\n\n".join(told) or None

    keys = {name: record.key for name, record in made.items()}
    return {
        "key": None if None in keys.values() else sha256(canonical_json(keys).encode()),
        "criteria": {},
        "probabilities": {},
        **{field: texts(field) for field in ("reasoning", "reply", "rejected")},
        "schema_mass": over(min, "schema_mass"),
        **{name: over(sum, name) for name in ("prompt_tokens", "reply_tokens", "judge_seconds")},
        "cached": all(record.cached for record in records),
    }
