"""One score job: the edits of a shard, judged on one device."""

import logging
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from lockstep import config, images, judges, plan, records
from lockstep.device import Device, exclusive, loading_turn, pin
from lockstep.errors import DeviceError, OutOfMemory, ReplyError, one_sentence
from lockstep.judges import Judgement, Pair
from lockstep.models import versions
from lockstep.records import EditRecord, Sample, ScoreRecord
from lockstep.rubric import Rubric, parse_reply, read_rubric

log = logging.getLogger(__name__)


class _Item(NamedTuple):
    sample: Sample
    edited: Path
    key: str


def score_shard(
    settings: config.Config,
    manifest: Path,
    edits: Path,
    rubric_file: Path,
    folder: Path,
    devices: Sequence[Device],
    shard: int,
    terminal: IO[str],
) -> None:
    """Judge a shard's edits and write their records.

    Each reply is written to `judgements/{id}.json` as soon as it is there; one that fits its key
    is not asked for again, and if all do, no model is loaded. What was not edited is passed on
    unscored.

    Args:
        edits: records of the shard's edits; the scores go to `scores/` under the same name.
        folder: the category's results.
        devices: devices of all shards; the shard's own is `devices[shard]`.
        terminal: where progress is shown.

    Raises:
        DeviceError: if the device fails or is not to be had.
    """
    device = devices[shard]
    samples = {sample.id: sample for sample in records.read_manifest(manifest)}
    rubric = read_rubric(rubric_file)
    identity = judges.identity(settings.judge)
    category = Path(manifest).stem
    done: dict[str, ScoreRecord] = {}
    pending: list[_Item] = []
    edit_records = records.read_records(edits, EditRecord)
    for edit in edit_records:
        item, record = _look(edit, samples[edit.id], identity, rubric, folder, settings.judge)
        done[edit.id] = record
        if item is not None:
            pending.append(item)
    cached = sum(record.cached for record in done.values())
    log.info("%d of %d judgements are in the cache", cached, len(edit_records))

    began = time.monotonic()
    if pending:
        torch_device = pin(device)
        with exclusive(device, settings.devices.when_busy):
            with loading_turn(settings.devices.load_concurrency):
                judge = judges.load_judge(settings.judge, rubric, torch_device)
            with tqdm(
                total=len(pending),
                desc=f"score {category} {device.name}",
                file=terminal,
                disable=not terminal.isatty(),
                position=shard,
                leave=False,
                bar_format="{desc} {n}/{total} {bar:20} {elapsed} left {remaining}",
            ) as progress:
                for record in _judge_all(judge, pending, rubric, settings.judge):
                    done[record.id] = record
                    if record.reply is not None:
                        records.write_records(_judgement(folder, record.id), [record])
                    log.info("%s %s %s", record.id, record.status, record.score)
                    if record.error:
                        log.warning("%s: %s", record.id, record.error)
                    progress.update()
    else:
        log.info("nothing to judge, no model is loaded")
    records.write_records(Path(folder, "scores", Path(edits).name), done.values())
    failed = sum(record.status == "judge_failed" for record in done.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log.info("peak host memory %.1f GiB", peak / 2**20)
    log.info(
        "%d to judge, %d cached, %d failed in %.1f s",
        len(pending),
        cached,
        failed,
        time.monotonic() - began,
    )
    if failed:
        print(f"{category} {device.name}: {failed} of {len(done)} judgements failed", file=terminal)


def _look(
    edit: EditRecord,
    sample: Sample,
    identity: dict,
    rubric: Rubric,
    folder: Path,
    settings: config.Judge,
) -> tuple[_Item | None, ScoreRecord]:
    """Return what is known of an edit's score, and what to judge if it is not known yet."""
    record = ScoreRecord(id=edit.id, category=edit.category, status=edit.status, error=edit.error)
    if edit.status != "ok":
        return None, record
    edited = folder / edit.image
    provenance = records.read_provenance(edited)
    if provenance is None or provenance.get("key") != edit.key:
        found = "another edit" if provenance else "no complete edit"
        reason = f"{edited}: found {found}, run the edit again (--forcerun edit)"
        return None, record.model_copy(update={"status": "missing", "error": reason})
    key = plan.score_key(sample, edit.pixels_sha256, identity, rubric.sha256)
    item = _Item(sample, edited, key)
    try:
        (kept,) = records.read_records(_judgement(folder, edit.id), ScoreRecord)
    except (FileNotFoundError, ValueError):
        return item, record
    if kept.key != key:
        return item, record
    # the reply is what took the judge; its score follows from today's rules
    judgement = Judgement(kept.reply, kept.schema_mass)
    scored = _score(item, judgement, rubric, settings.min_schema_mass, kept.judge_seconds)
    return None, scored.model_copy(update={"cached": True, "versions": kept.versions})


def _judgement(folder: Path, sample_id: str) -> Path:
    return folder / "judgements" / f"{sample_id}.json"


def _judge_all(
    judge: judges.Judge, items: Sequence[_Item], rubric: Rubric, settings: config.Judge
) -> Iterator[ScoreRecord]:
    """Yield a record for each item, in order.

    A batch that does not fit the device is halved, for good; one that fails otherwise is judged
    one by one, so that one bad sample costs one sample.
    """
    size = settings.batch_size if settings.use_batch_inference else 1
    position = 0
    while position < len(items):
        batch = items[position : position + size]
        try:
            yield from _judge_batch(judge, batch, rubric, settings.min_schema_mass)
        except DeviceError:
            raise
        except Exception as error:
            if len(batch) == 1:
                yield _failed(batch[0], error)
            elif isinstance(error, OutOfMemory):
                size = len(batch) // 2
                log.warning("a batch of %d does not fit, going on with %d", len(batch), size)
                continue
            else:
                log.warning("a batch failed (%s), judging it one by one", one_sentence(error))
                for item in batch:
                    yield from _judge_all(judge, [item], rubric, settings)
        position += len(batch)


def _judge_batch(
    judge: judges.Judge, batch: Sequence[_Item], rubric: Rubric, min_schema_mass: float
) -> list[ScoreRecord]:
    began = time.monotonic()
    pairs = [
        Pair(
            source=images.open_rgb(item.sample.image),
            edited=images.open_rgb(item.edited),
            prompt=rubric.prompt(item.sample),
        )
        for item in batch
    ]
    judgements = judge.judge(pairs)
    seconds = (time.monotonic() - began) / len(batch)
    return [
        _score(item, judgement, rubric, min_schema_mass, seconds)
        for item, judgement in zip(batch, judgements, strict=True)
    ]


def _score(
    item: _Item, judgement: Judgement, rubric: Rubric, min_schema_mass: float, seconds: float
) -> ScoreRecord:
    record = ScoreRecord(
        id=item.sample.id,
        category=item.sample.category,
        key=item.key,
        status="ok",
        reply=judgement.reply,
        schema_mass=judgement.schema_mass,
        versions=versions(),
        judge_seconds=round(seconds, 4),
    )
    try:
        if judgement.schema_mass is not None and judgement.schema_mass < min_schema_mass:
            raise ReplyError(
                f"the judge put a probability of {judgement.schema_mass} on valid scores, "
                f"accepted is at least {min_schema_mass} (judge.min_schema_mass)"
            )
        scores = parse_reply(judgement.reply, rubric)
    except ReplyError as error:
        return record.model_copy(update={"status": "judge_failed", "error": str(error)})
    return record.model_copy(
        update={
            "score": rubric.score(scores.criteria),
            "criteria": scores.criteria,
            "reasoning": scores.reasoning,
        }
    )


def _failed(item: _Item, error: Exception) -> ScoreRecord:
    return ScoreRecord(
        id=item.sample.id,
        category=item.sample.category,
        key=item.key,
        status="judge_failed",
        error=one_sentence(error),
    )
