"""Comparisons of one shard of a round: each pair of edits is judged in both orders and kept."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import layout, plan, records
from lockstep.errors import DamagedError, TemplateError
from lockstep.judges import keys
from lockstep.judges.settings import JudgeSettings
from lockstep.records import (
    AskedRecord,
    ChosenPair,
    EditRecord,
    PairRecord,
    Picture,
    Sample,
    ScoreRecord,
    failures,
)
from lockstep.rubrics.pairs import PLACES, options, read_pairs
from lockstep.rubrics.rubric import Rubric
from lockstep.scoring import asked, judgements
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging, Pending
from lockstep.scoring.shown import as_shown, of_two

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
    sample: Sample
    """With the instruction that the judge sees."""


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
    edits = {editor: _edits(own, editor, places) for editor in own.edits}
    rubric = read_pairs(own.judge.pairs_file)
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
    wanted = [_wanted(own, p, edits, identity, rubric) for p in map(pairs.__getitem__, numbers)]
    items = [item for each in wanted for item in each.items]
    done = judgements.judge_missing(own.judge, items, place)
    compared = [_gather(each, done) for each in wanted]
    path = layout.pairs(own.results, own.category, own.number, place.shard, shards)
    told = (_asked(each, done) for each in wanted)
    records.write_records(layout.pairs_asked(path), filter(None, told))
    records.write_records(path, compared)
    counts = Counter(record.status for record in compared)
    log.info("%d of %d pairs compared", counts["ok"], len(compared))
    failed = ((each.id, each.error) for each in compared if each.status == "judge_failed")
    if told_of := failures.sentence(failed, len(compared), "comparison"):
        print(f"{place.title}: {told_of}", file=place.terminal)


def _edits(own: Round, editor: str, places: Mapping[str, int]) -> dict[str, _Edit]:
    """Return the edits that are there, by sample.

    Args:
        places: of samples in the manifest.
    """
    folder = layout.folder(own.results, editor, own.category)
    manifest = layout.manifest(own.results, own.category)
    samples = as_shown(manifest, folder, own.judge.instruction_shown)
    found = records.each_record(own.edits[editor], EditRecord)
    return {
        edit.id: _Edit(edit, records.below(folder, edit.image), samples[places[edit.id]])
        for edit in found
        if edit.status == "ok" and edit.id in places
    }


def _wanted(
    own: Round,
    pair: ChosenPair,
    edits: Mapping[str, Mapping[str, _Edit]],
    identity: dict[str, Any],
    rubric: Rubric,
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
    both = [edits[editor][pair.id] for editor in (pair.one, pair.other)]
    if len({(e.record.pixels_sha256, e.sample.instruction) for e in both}) == 1:
        # nothing tells them apart, and a judge that named one would be wrong
        same = {"forward": "equal", "backward": "equal"}
        return _Wanted(record.model_copy(update=same), ())
    try:
        orders = ((pair.one, pair.other), (pair.other, pair.one))
        items = (_item(own, pair.id, order, edits, identity, rubric) for order in orders)
        return _Wanted(record, tuple(items))
    except TemplateError as error:
        return failed("judge_failed", f"the question's template: {error}")


def _item(
    own: Round,
    sample: str,
    order: tuple[str, str],
    edits: Mapping[str, Mapping[str, _Edit]],
    identity: dict[str, Any],
    rubric: Rubric,
) -> Pending:
    """Return the judgement of two edits in one order: the first is shown as a further image."""
    first, second = (edits[editor][sample] for editor in order)
    shown = Picture(
        image=str(first.path),
        sha256=f"pixels {first.record.pixels_sha256}",
        width=first.record.width or 0,
        height=first.record.height or 0,
    )
    told = of_two(first.sample, second.sample)
    both = told.model_copy(update={"more": [*told.more, shown]})
    path = layout.pair_judgement(own.results, own.category, *order, sample)
    job = Judging(own.judge, identity, rubric, order[1])
    pixels = second.record.pixels_sha256 or ""
    item = judgements.item(job, both, second.path, pixels, path, question=rubric.calls[0])
    return item._replace(which=f"{order[0]}, then {order[1]}:")


def _asked(wanted: _Wanted, done: Mapping[Path, ScoreRecord]) -> AskedRecord | None:
    found = asked.record(wanted.items, done)
    editors = (wanted.record.one, wanted.record.other)
    return found and found.model_copy(update={"editors": editors})


def _gather(wanted: _Wanted, done: Mapping[Path, ScoreRecord]) -> PairRecord:
    """Return the record of a pair from its judgements; both must be valid."""
    if not wanted.items:
        return wanted.record
    found = [done[item.path] for item in wanted.items]
    seconds = [each.judge_seconds for each in found if each.judge_seconds is not None]
    about: dict[str, Any] = {
        "judge": found[0].fingerprint,
        "judge_seconds": sum(seconds) if len(seconds) == len(found) else None,
        "cached": all(each.cached for each in found),
    }
    bad = next((each for each in found if each.status != "ok"), None)
    if bad is not None:
        about |= {"status": bad.status, "error": bad.error}
    else:
        for name, item, each in zip(("forward", "backward"), wanted.items, found, strict=True):
            about |= {name: _place(each), f"{name}_shares": _shares(item, each)}
    return wanted.record.model_copy(update=about)


def _place(found: ScoreRecord) -> str:
    (value,) = found.criteria.values()
    return PLACES[value]


def _shares(item: Pending, found: ScoreRecord) -> dict[str, float]:
    """Return the probability of each reply, where the judge gives it."""
    shares: dict[str, float] = defaultdict(float)
    for own in found.probabilities.values():
        for option, share in zip(options(item.job.rubric.calls[0]), own, strict=True):
            shares[PLACES[option.value]] += share
    return dict(shares)
