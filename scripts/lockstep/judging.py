"""Judgements: each is made once and kept, and one bad sample costs one sample."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from lockstep import alike, config, images, judges, plan, records, serving, staging, stopping
from lockstep.device import Device, Loaded, loaded
from lockstep.errors import (
    ConfigError,
    DeviceError,
    OutOfMemory,
    ReplyError,
    SampleError,
    ServerError,
    one_sentence,
)
from lockstep.judges import Judgement, Pair, Rejected
from lockstep.models import versions
from lockstep.plain_text import spelling
from lockstep.records import Picture, Sample, ScoreRecord
from lockstep.rubric import Rubric, parse_reply, uncertainty

log = logging.getLogger(__name__)

READERS = 4
"""Edits whose images are read at a time."""


class Job(NamedTuple):
    """What the judgements of one editor and category share."""

    settings: config.AnyJudge
    identity: dict[str, Any]
    """Of the judge."""
    rubric: Rubric
    editor: str


class Item(NamedTuple):
    """One judgement to make."""

    job: Job
    sample: Sample
    edited: Path
    pixels: str
    """SHA-256 of its pixels."""
    prompt: str
    seed: int | None
    key: str
    path: Path
    """Where it is kept."""


class Place(NamedTuple):
    """Where judgements are made."""

    devices: Sequence[Sequence[Device]]
    """Devices of all shards."""
    shard: int
    """Number of the own one."""
    title: str
    """What the progress is called."""
    terminal: IO[str]
    """Where it is shown."""
    loaded: Loaded = loaded
    """Gives the judge on its device."""

    @property
    def own(self) -> Sequence[Device]:
        return self.devices[self.shard]


def item(
    job: Job,
    sample: Sample,
    edited: Path,
    pixels: str,
    path: Path,
    seed: int | None = None,
) -> Item:
    """Return a judgement to make.

    Args:
        pixels: SHA-256 of the edited image's pixels.
        seed: seed of the sampling; None is greedy.
    """
    reasoned = job.settings.mode == "reasoned"
    prompt = job.rubric.prompt(sample, reasoned)
    sampling = None if seed is None else {"seed": seed, "temperature": job.settings.temperature}
    identity = job.identity
    if isinstance(job.settings, config.Qwen3VLJudge):
        identity = {**identity, **spelling(job.rubric.system, prompt)}
    key = plan.score_key(sample, pixels, identity, job.rubric.asked(prompt), sampling)
    return Item(job, sample, edited, pixels, prompt, seed, key, path)


def judge_missing(
    settings: config.Config, items: Sequence[Item], place: Place
) -> dict[Path, ScoreRecord]:
    """Return the record of each item, by the path where it is kept.

    Each reply is written as soon as it is there; one that fits its key is not asked for again,
    and if all do, no model is loaded.

    Raises:
        DeviceError: if the device fails or is not to be had.
        ServerError: if the judge's server is of no use; what is judged is kept.
        SharedError: if the first few judgements fail alike.
    """
    kept = {item.path: _kept(item) for item in items}
    done = {path: record for path, record in kept.items() if record is not None}
    pending = [item for item in items if item.path not in done]
    log.info("%d of %d judgements are in the cache", len(done), len(items))
    if not pending:
        log.info("nothing to judge, no model is loaded")
        return done
    watch = alike.Watch(bool(done))
    with (
        _judge_on(settings, place) as judge,
        tqdm(
            total=len(pending),
            desc=place.title,
            file=place.terminal,
            disable=not place.terminal.isatty(),
            position=place.shard,
            leave=False,
            bar_format="{desc} {n}/{total} {bar:20} {elapsed} left {remaining}",
        ) as progress,
    ):
        if judges.identity(settings.judge) != pending[0].job.identity:
            raise ConfigError(
                "judge: expected the scores that were there at first, found others; run again"
            )
        for item, record in _judge_pending(
            judge, pending, settings.judge, len(place.devices), watch
        ):
            done[item.path] = record
            if record.key is not None:
                records.write_records(item.path, [record])
            log.info("%s %s %s", record.id, record.status, record.score)
            if record.error:
                log.warning("%s: %s", record.id, record.error)
            progress.update()
    return done


@contextmanager
def _judge_on(settings: config.Config, place: Place) -> Iterator[judges.Judge]:
    """Yield the judge, alone on its devices where it runs on any."""
    if isinstance(settings.judge, config.OpenAIJudge):
        with closing(judges.load_judge(settings.judge, "cpu")) as judge:
            yield judge
        return
    if not settings.judge.on_device:
        yield judges.load_judge(settings.judge, "cpu")
        return
    load = partial(_load, settings)
    with place.loaded(place.own, settings.devices, load) as judge:
        yield judge


def _load(settings: config.Config, torch_device: str) -> judges.Judge:
    near = staging.nearby(settings.judge, settings.cluster)
    return judges.load_judge(near, torch_device)


def _kept(item: Item) -> ScoreRecord | None:
    """Return the record of a judgement that is there already and fits its key."""
    try:
        (kept,) = records.read_records(item.path, ScoreRecord)
    except (FileNotFoundError, ValueError):
        return None
    if kept.key != item.key or kept.reply is None:
        return None
    # the reply is what took the judge; its score follows from today's rules
    judgement = Judgement(
        kept.reply,
        probabilities=kept.probabilities or None,
        schema_mass=kept.schema_mass,
        finish_reason=kept.finish_reason,
    )
    same = ("rejected", "prompt_tokens", "reply_tokens", "judge_seconds", "versions")
    known = {name: getattr(kept, name) for name in same}
    record = _score(item, judgement).model_copy(update={**known, "cached": True})
    served = isinstance(item.job.settings, config.OpenAIJudge)
    if served and record.status != "ok" and kept.finish_reason is None:
        # earlier versions kept replies that a server had broken off or never given, and did not say
        # how they ended
        return None
    return record


def _judge_pending(
    judge: judges.Judge,
    items: Sequence[Item],
    settings: config.AnyJudge,
    shards: int,
    watch: alike.Watch,
) -> Iterator[tuple[Item, ScoreRecord]]:
    """Yield a record for each item: in order, or as replies come in from a server."""
    if not isinstance(settings, config.OpenAIJudge):
        return _judge_all(judge, items, _together(judge, settings), watch)
    return serving.side_by_side(
        judge,
        items,
        lambda item: next(_judge_all(judge, [item], 1, watch)),
        workers=plan.requests_at_a_time(settings.concurrency, shards),
        max_failed_share=settings.max_failed_share,
    )


def _together(judge: judges.Judge, settings: config.AnyJudge) -> int:
    """Return how many edits are judged in one call."""
    if not isinstance(settings, config.Qwen3VLJudge) or not settings.use_batch_inference:
        return 1
    return judge.fitting() if settings.batch_size == "auto" else settings.batch_size


def _judge_all(
    judge: judges.Judge, items: Sequence[Item], size: int, watch: alike.Watch
) -> Iterator[tuple[Item, ScoreRecord]]:
    """Yield a record for each item, in order.

    A batch that does not fit the device is halved, for good; one that fails otherwise is judged
    one by one, so that one bad sample costs one sample.

    Args:
        size: of a batch.
    """
    position = 0
    with ThreadPoolExecutor(READERS) as pool:
        pairs: dict[int, Future[Pair]] = {}
        while position < len(items):
            stopping.check()
            numbers = range(position, min(position + size, len(items)))
            # the next batch is read while this one is judged
            for number in range(position, min(position + 2 * size, len(items))):
                if number not in pairs:
                    pairs[number] = pool.submit(_pair, items[number])
            batch = [items[number] for number in numbers]
            try:
                read = [pairs[number].result() for number in numbers]
                judged = _judge_batch(judge, batch, read)
            except (DeviceError, ServerError):
                raise
            except Exception as error:
                if len(batch) == 1:
                    failed = _failed(batch[0], error)
                    watch.failed(failed.id, failed.error)
                    yield batch[0], failed
                elif isinstance(error, OutOfMemory):
                    size = len(batch) // 2
                    log.warning("a batch of %d does not fit, going on with %d", len(batch), size)
                    continue
                else:
                    log.warning("a batch failed (%s), judging it one by one", one_sentence(error))
                    for item in batch:
                        yield from _judge_all(judge, [item], 1, watch)
            else:
                _note(watch, judged, batch[0].job.settings)
                yield from zip(batch, judged, strict=True)
            for number in numbers:
                del pairs[number]
            position += len(batch)


def _note(watch: alike.Watch, judged: Sequence[ScoreRecord], settings: config.AnyJudge) -> None:
    """Take note of whether a judge could answer; what it said is another matter."""
    if any(record.key is not None for record in judged):
        watch.passed()
    # a server may fail a share of its requests, and files may lack some samples
    elif isinstance(settings, config.Qwen3VLJudge):
        for record in judged:
            watch.failed(record.id, record.error)


def _judge_batch(
    judge: judges.Judge, batch: Sequence[Item], pairs: Sequence[Pair]
) -> list[ScoreRecord]:
    """Judge a batch; what does not parse is asked for once more, with the error."""
    began = time.monotonic()
    first = judge.judge(pairs)
    again = {}
    for number, (pair, judgement) in enumerate(zip(pairs, first, strict=True)):
        if error := _reply_error(judgement, pair.rubric):
            rejected = Rejected(judgement.reply, pair.rubric.correction(error))
            again[number] = pair._replace(rejected=rejected)
    second = dict(zip(again, judge.judge(list(again.values())), strict=True)) if again else {}
    seconds = round((time.monotonic() - began) / len(batch), 4)
    return [
        _record(item, [judgement, *([second[number]] if number in second else [])], seconds)
        for number, (item, judgement) in enumerate(zip(batch, first, strict=True))
    ]


def _pair(item: Item) -> Pair:
    sample = item.sample

    def seen(picture: Picture) -> Image.Image:
        return images.open_rgb(picture.image, sample.background)

    edited = images.open_rgb(item.edited)
    if records.pixels_sha256(edited) != item.pixels:
        raise SampleError(
            f"{item.edited}: expected the pixels of the edit, found others; delete the file and "
            "run again to have it edited anew"
        )
    return Pair(
        id=sample.id,
        editor=item.job.editor,
        source=images.open_rgb(sample.image, sample.background),
        edited=edited,
        rubric=item.job.rubric,
        prompt=item.prompt,
        seed=item.seed,
        category=sample.category,
        tags=sample.tags,
        more=[seen(picture) for picture in sample.more],
        reference=None if sample.reference is None else seen(sample.reference),
    )


def _reply_error(judgement: Judgement, rubric: Rubric) -> str | None:
    """Return what is wrong with a reply; None if nothing is, or if there is none to read."""
    if judgement.error is not None or judgement.finished is not None:
        return None
    try:
        parse_reply(judgement.reply, rubric)
    except ReplyError as error:
        return str(error)
    return None


def _record(item: Item, judgements: Sequence[Judgement], seconds: float) -> ScoreRecord:
    """Return what came of an item that was asked once, or once more."""
    used = [judgement.usage for judgement in judgements if judgement.usage is not None]
    known = len(used) == len(judgements)
    took = {
        "rejected": judgements[0].reply if len(judgements) > 1 else None,
        "prompt_tokens": sum(usage.prompt_tokens for usage in used) if known else None,
        "reply_tokens": sum(usage.reply_tokens for usage in used) if known else None,
        "judge_seconds": seconds,
    }
    return _score(item, judgements[-1]).model_copy(update=took)


def _score(item: Item, judgement: Judgement) -> ScoreRecord:
    """Return what a judgement says by today's rules."""
    settings, rubric = item.job.settings, item.job.rubric
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
    least = settings.min_schema_mass if isinstance(settings, config.Qwen3VLJudge) else 0.0
    try:
        if judgement.error is not None:
            # nothing to keep: the next run asks again
            record = record.model_copy(update={"key": None})
            raise ReplyError(judgement.error)
        if mass is not None and mass < least:
            raise ReplyError(
                f"the judge put a probability of {mass} on valid scores, "
                f"accepted is at least {least} (judge.min_schema_mass)"
            )
        scores = parse_reply(judgement.reply, rubric)
    except ReplyError as error:
        return record.model_copy(update={"status": "judge_failed", "error": str(error)})
    found = {
        "score": rubric.score(scores.criteria, item.sample.tags),
        "criteria": scores.criteria,
        "reasoning": scores.reasoning,
    }
    if probabilities:
        found["expected_score"] = rubric.expected_score(probabilities, item.sample.tags)
        found["uncertainty"] = uncertainty(probabilities)
    return record.model_copy(update=found)


def _unscored(item: Item) -> ScoreRecord:
    return ScoreRecord(
        id=item.sample.id,
        category=item.sample.category,
        status="ok",
        seed=item.seed,
        judge=item.job.identity,
        rubric=item.job.rubric.sha256,
        versions=versions(),
    )


def _failed(item: Item, error: Exception) -> ScoreRecord:
    failed = {"status": "judge_failed", "error": one_sentence(error)}
    return _unscored(item).model_copy(update=failed)
