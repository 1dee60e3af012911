"""Comparisons of one shard of a round: each pair of edits is judged in both orders and kept."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import layout, plan, records
from lockstep.errors import DamagedError, TemplateError
from lockstep.judges import keys
from lockstep.judges.settings import JudgeSettings
from lockstep.records import ChosenPair, EditRecord, PairRecord, Picture, Sample, ScoreRecord
from lockstep.rubrics.pairs import ANSWERS, BETTER, RUBRIC
from lockstep.scoring import judgements
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging, Pending

log = logging.getLogger(__name__)


class Round(NamedTuple):
    """One round of a category's comparisons."""

    judge: JudgeSettings
    results: Path
    category: str
    number: int
    edits: Mapping[str, Sequence[Path]]
    """Records of all edits of the category by editor."""


class _Edit(NamedTuple):
    record: EditRecord
    path: Path


class _Wanted(NamedTuple):
    """A pair, as it is before any judgement, and its judgements."""

    record: PairRecord
    items: tuple[Pending, ...]
    """In both orders; none where an edit is not there."""


def compare_pairs(own: Round, place: Place) -> None:
    """Judge a shard's pairs and write their records.

    Raises:
        DamagedError: if a chosen pair is none of this run's.
        DeviceError: if the device fails or is not to be had.
        ServerError: if the judge's server is of no use; what is judged is kept.
    """
    samples = records.read_manifest(layout.manifest(own.results, own.category))
    places = {sample.id: number for number, sample in enumerate(samples)}
    edits = {editor: _edits(own, editor) for editor in own.edits}
    chosen = layout.chosen_pairs(own.results, own.category, own.number)
    pairs = records.read_records(chosen, ChosenPair)
    for pair in pairs:
        if pair.id not in places or not {pair.one, pair.other} <= edits.keys():
            raise DamagedError(
                f"{chosen}: expected pairs of this run's samples and editors, found {pair.id!r} of "
                f"{pair.one!r} and {pair.other!r}; delete the file and run again"
            )
    shards = len(place.devices)
    numbers = plan.pairs_of_shard([places[pair.id] for pair in pairs], place.shard, shards)
    identity = keys.identity(own.judge)
    wanted = [
        _wanted(own, samples[places[p.id]], p, edits, identity)
        for p in map(pairs.__getitem__, numbers)
    ]
    items = [item for each in wanted for item in each.items]
    done = judgements.judge_missing(own.judge, items, place)
    compared = [_gather(each, done) for each in wanted]
    path = layout.pairs(own.results, own.category, own.number, place.shard, shards)
    records.write_records(path, compared)
    counts = Counter(record.status for record in compared)
    log.info("%d of %d pairs compared", counts["ok"], len(compared))
    if failed := counts["judge_failed"]:
        print(f"{place.title}: {failed} of {len(compared)} comparisons failed", file=place.terminal)


def _edits(own: Round, editor: str) -> dict[str, _Edit]:
    """Return the edits that are there, by sample."""
    folder = layout.folder(own.results, editor, own.category)
    found = records.each_record(own.edits[editor], EditRecord)
    return {
        edit.id: _Edit(edit, records.below(folder, edit.image))
        for edit in found
        if edit.status == "ok"
    }


def _wanted(
    own: Round,
    sample: Sample,
    pair: ChosenPair,
    edits: Mapping[str, Mapping[str, _Edit]],
    identity: dict[str, Any],
) -> _Wanted:
    """Return the judgements that a pair needs."""
    record = PairRecord(**pair.model_dump(), category=own.category, status="ok")

    def failed(status: str, error: str) -> _Wanted:
        return _Wanted(record.model_copy(update={"status": status, "error": error}), ())

    for editor in (pair.one, pair.other):
        edit = edits[editor].get(pair.id)
        if edit is None:
            return failed("missing", f"found no edit of {editor}")
        kept = records.read_provenance(edit.path)
        if kept is None or kept.get("key") != edit.record.key:
            found = "another edit" if kept else "no complete edit"
            return failed("missing", f"{edit.path}: found {found}, run the edit again")
    try:
        orders = ((pair.one, pair.other), (pair.other, pair.one))
        return _Wanted(
            record, tuple(_item(own, sample, order, edits, identity) for order in orders)
        )
    except TemplateError as error:
        return failed("judge_failed", f"the question's template: {error}")


def _item(
    own: Round,
    sample: Sample,
    order: tuple[str, str],
    edits: Mapping[str, Mapping[str, _Edit]],
    identity: dict[str, Any],
) -> Pending:
    """Return the judgement of two edits in one order: the first is shown as a further image."""
    first, second = (edits[editor][sample.id] for editor in order)
    shown = Picture(
        image=str(first.path),
        sha256=f"pixels {first.record.pixels_sha256}",
        width=first.record.width or 0,
        height=first.record.height or 0,
    )
    both = sample.model_copy(update={"more": [*sample.more, shown]})
    path = layout.pair_judgement(own.results, own.category, *order, sample.id)
    job = Judging(own.judge, identity, RUBRIC, order[1])
    return judgements.item(job, both, second.path, second.record.pixels_sha256 or "", path)


def _gather(wanted: _Wanted, done: Mapping[Path, ScoreRecord]) -> PairRecord:
    """Return the record of a pair from its judgements; both must be valid."""
    if not wanted.items:
        return wanted.record
    found = [done[item.path] for item in wanted.items]
    seconds = [each.judge_seconds for each in found if each.judge_seconds is not None]
    about = {
        "judge": found[0].fingerprint,
        "judge_seconds": sum(seconds) if len(seconds) == len(found) else None,
        "cached": all(each.cached for each in found),
    }
    bad = next((each for each in found if each.status != "ok"), None)
    if bad is not None:
        about |= {"status": bad.status, "error": bad.error}
    else:
        forward, backward = (ANSWERS[int(each.criteria[BETTER.name])] for each in found)
        about |= {"forward": forward, "backward": backward}
    return wanted.record.model_copy(update=about)
