"""One score job: the edits of a shard, judged on its device or devices."""

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from lockstep import layout, plan, records
from lockstep.devices.device import joined
from lockstep.errors import DamagedError, LockstepError, TemplateError, one_sentence
from lockstep.judges import keys
from lockstep.judges.settings import JudgeSettings
from lockstep.records import EditRecord, Sample, ScoreRecord, failures, recovery
from lockstep.records.rows import aside
from lockstep.rubrics.rubric import Rubric
from lockstep.rubrics.ties import settled
from lockstep.scoring import asked, calls, judgements
from lockstep.scoring.calls import Asked, in_order, judge_calls, together
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging, Pending
from lockstep.scoring.shown import as_shown

log = logging.getLogger(__name__)


class _Edit(NamedTuple):
    """One edit and its judgements."""

    record: ScoreRecord
    """As it is before any judgement."""
    items: list[Asked]
    """Judgements that make the score; none of what was not edited."""
    swapped: Asked | None
    """Judgement against another sample's instruction."""


class Shard(NamedTuple):
    """A shard's edits, and what is asked of them."""

    judge: JudgeSettings
    manifest: Path
    """The category's manifest."""
    edits: Sequence[Path]
    """Records of the shard's edits."""
    rubric: Rubric
    folder: Path
    """The category's results: judgements are kept in `judgements/`, the scores go to `scores/`."""
    seed: int
    """Base seed, of which several judgements of an edit have theirs."""
    below: str = ""
    """Folder of the judge among others, below `judgements/` and `scores/`; the first has none."""


def score_shard(
    shard: Shard,
    place: Place,
    later: Iterable[Shard] = (),
    claimed: Callable[[], None] = lambda: None,
) -> None:
    """Judge a shard's edits and write their records.

    What was not edited is passed on unscored.

    Args:
        later: shards that are judged here next; their edits fill up a batch that is not full.
        claimed: called before the records are written.

    Raises:
        DeviceError: if the device fails or is not to be had.
        ServerError: if the judge's server is of no use; what is judged is kept.
    """
    began = time.monotonic()
    category, folder = shard.manifest.stem, shard.folder
    for kind in ("scores", "asked"):
        recovery.forget_other_counts(folder, kind, len(place.devices), shard.below)
    wanted = _edits(shard)
    name = joined(place.own)
    done = judge_calls(shard.judge, _items(wanted), place, _ahead(later))
    scored = aside(_gather(edit, done) for edit in wanted)
    claimed()
    told = (asked.record(chain.from_iterable(_items([edit])), done) for edit in wanted)
    own = (place.shard, len(place.devices), shard.below)
    records.write_records(layout.shard(folder, "asked", *own), filter(None, told))
    records.write_records(layout.shard(folder, "scores", *own), scored)
    counts = Counter(record.status for record in scored)
    failed = counts["judge_failed"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log.info("peak host memory %.1f GiB", peak / 2**20)
    log.info(
        "%d of %d edits scored, %d failed in %.1f s",
        counts["ok"],
        len(scored),
        failed,
        time.monotonic() - began,
    )
    if failed:
        by = f" by {shard.below}" if shard.below else ""
        errors = ((record.id, record.error) for record in scored if record.status == "judge_failed")
        told_of = failures.sentence(errors, len(scored), "judgement")
        print(f"{category} {name}{by}: {told_of}", file=place.terminal)


def kept(shard: Shard) -> Iterator[ScoreRecord | None]:
    """Yield the record of each edit that is judged; None where its judgement is still to be made.

    Nothing is written and no model is loaded, so a run may go on meanwhile.
    """
    written = {record.id: record for record in _written(shard)}
    for edit in _edits(shard):
        made = [calls.kept(item) for item in _items([edit])]
        done = {path: record for own in made if own for path, record in own.items()}
        if None not in made:
            yield _gather(edit, done)
            continue
        record = written.get(edit.record.id)
        known = {pending.key for pending in chain.from_iterable(edit.items)}
        # a score is that of this edit by this judge
        is_other = record is not None and record.status == "ok" and record.key not in known
        yield None if is_other else record


def _written(shard: Shard) -> Iterator[ScoreRecord]:
    """Yield what finished jobs wrote and no judgement keeps: failures, and scores of a file."""
    statuses = ("judge_failed", "ok") if shard.judge.finished else ("judge_failed",)
    for path in layout.known_shards(shard.folder, "scores", shard.below):
        # a run that goes on may replace it
        with suppress(FileNotFoundError):
            found = records.each_record([path], ScoreRecord)
            yield from (record for record in found if record.status in statuses)


def _edits(shard: Shard) -> list[_Edit]:
    job = judging(shard.judge, keys.identity(shard.judge), shard.rubric, shard.folder, shard.below)
    samples = as_shown(shard.manifest, shard.folder, shard.judge.instruction_shown)

    def wanted(placed: tuple[int, EditRecord]) -> _Edit:
        return _wanted(placed[1], samples, placed[0], job, shard.folder, shard.seed)

    found = (placed for path in shard.edits for placed in _placed(path, samples))
    # each image is read and hashed
    with ThreadPoolExecutor(judgements.READERS) as pool:
        return list(pool.map(wanted, found))


def _items(edits: Iterable[_Edit]) -> list[Asked]:
    return [item for edit in edits for item in (*edit.items, edit.swapped) if item is not None]


def _ahead(shards: Iterable[Shard]) -> Iterator[Pending]:
    """Yield the judgements of shards to come, up to the first one whose job will fail."""
    try:
        for shard in shards:
            yield from in_order(_items(_edits(shard)))
    except (LockstepError, OSError, ValueError) as error:
        log.info("judging no further ahead (%s)", one_sentence(error))


def _placed(path: Path, samples: Sequence[Sample]) -> Iterator[tuple[int, EditRecord]]:
    """Yield the records of a shard's edits, each with the place of its sample in the category.

    Raises:
        DamagedError: if they are not those of every n-th sample, of n shards.
    """
    shards = plan.shards_of(path.name)
    for number, edit in enumerate(records.each_record([path], EditRecord)):
        if number == 0:
            firsts = range(min(shards, len(samples)))
            begin = next((place for place in firsts if samples[place].id == edit.id), 0)
        position = begin + number * shards
        if position >= len(samples) or samples[position].id != edit.id:
            raise DamagedError(
                f"{path}: expected the next sample of its shard in line {number + 1}, found "
                f"{edit.id!r}; delete the file and run again to have it made again"
            )
        yield position, edit


def _wanted(
    edit: EditRecord,
    samples: Sequence[Sample],
    position: int,
    job: Judging,
    folder: Path,
    base: int,
) -> _Edit:
    """Return the judgements that an edit needs."""
    record = ScoreRecord(id=edit.id, category=edit.category, status=edit.status, error=edit.error)
    if edit.status != "ok":
        return _Edit(record, [], None)
    edited = records.below(folder, edit.image)
    provenance = records.read_provenance(edited)
    if provenance is None or provenance.get("key") != edit.key:
        found = "another edit" if provenance else "no complete edit"
        reason = f"{edited}: found {found}, run the edit again (--forcerun edit)"
        return _Edit(record.model_copy(update={"status": "missing", "error": reason}), [], None)
    try:
        items, swapped = to_ask(samples, position, edited, edit.pixels_sha256, job, folder, base)
        return _Edit(record, items, swapped)
    except TemplateError as error:
        failed = {"status": "judge_failed", "error": f"the rubric's template: {error}"}
        return _Edit(record.model_copy(update=failed), [], None)


def judging(
    judge: JudgeSettings, identity: dict[str, Any], rubric: Rubric, folder: Path, below: str
) -> Judging:
    """Return what the judgements of an editor and category share.

    Args:
        folder: the category's results of the editor.
        below: folder of the judge among others.
    """
    others = [name for name in ("", *layout.known_judges(folder)) if name != below]
    return Judging(judge, identity, rubric, layout.place(folder).editor, below, others)


def to_ask(
    samples: Sequence[Sample],
    position: int,
    edited: Path,
    pixels: str | None,
    job: Judging,
    folder: Path,
    base: int,
) -> tuple[list[Asked], Asked | None]:
    """Return the judgements that make the score of an edit, and the one of the swapped control.

    Raises:
        TemplateError: if the rubric's template cannot be filled in for its sample.
    """
    own = samples[position]

    def item(place: str, sample: Sample, seed: int | None = None) -> Asked:
        path = layout.judgement(folder, place, own.id, job.below)
        made = calls.asked(job, sample, edited, pixels or "", path, seed=seed)
        kept = [layout.of_other_judges(folder, p.path, job.below, job.others) for p in made]
        return tuple(
            pending._replace(which=place, elsewhere=paths)
            for pending, paths in zip(made, kept, strict=True)
        )

    told = _other(samples, position) if job.settings.swapped_instruction else None
    if (count := job.settings.repeats) == 1:
        items = [item("", own)]
    else:
        seeds = [plan.sample_seed(base, f"{own.id}/judge/{number}") for number in range(count)]
        items = [item(f"repeat-{number}", own, seed) for number, seed in enumerate(seeds)]
    return items, None if told is None else item("swapped", told)


def _other(samples: Sequence[Sample], position: int) -> Sample | None:
    """Return a sample with what the next one that differs asks for; None if all ask the same."""
    own = samples[position]
    for step in range(1, len(samples)):
        other = samples[(position + step) % len(samples)]
        if other.instruction != own.instruction:
            told = ("instruction", "rationale", "expected", "reference")
            return own.model_copy(update={name: getattr(other, name) for name in told})
    return None


def _gather(edit: _Edit, done: Mapping[Path, ScoreRecord]) -> ScoreRecord:
    """Return the record of an edit from its judgements."""
    if not edit.items:
        return edit.record
    record = _mean([together(item, done) for item in edit.items])
    swapped = together(edit.swapped, done).score if edit.swapped else None
    return record.model_copy(update={"swapped_score": swapped})


def _mean(found: Sequence[ScoreRecord]) -> ScoreRecord:
    """Return several judgements of one edit as one; it has a score only if each of them has."""
    first = next((record for record in found if record.status != "ok"), found[0])
    if len(found) == 1 or first.status != "ok":
        return first

    def over(function: Callable[[list[Any]], float], name: str) -> float | None:
        """Return a function of a field of all; None if one has none."""
        given = [getattr(record, name) for record in found]
        return None if None in given else function(given)

    scores = [record.score for record in found if record.score is not None]
    return first.model_copy(
        update={
            "score": float(settled(fmean(scores))),
            "scores": scores,
            "judgements": [record.criteria for record in found],
            "spread": over(pstdev, "score"),
            "criteria": _criteria(found),
            "expected_score": over(fmean, "expected_score"),
            "uncertainty": over(fmean, "uncertainty"),
            "schema_mass": over(min, "schema_mass"),
            "prompt_tokens": over(sum, "prompt_tokens"),
            "reply_tokens": over(sum, "reply_tokens"),
            "judge_seconds": over(sum, "judge_seconds"),
            "cached": all(record.cached for record in found),
        }
    )


def _criteria(found: Sequence[ScoreRecord]) -> dict[str, float]:
    """Return the mean of each criterion, over the judgements in which it has a value."""
    names = dict.fromkeys(name for record in found for name in record.criteria)
    return {name: fmean(r.criteria[name] for r in found if name in r.criteria) for name in names}
