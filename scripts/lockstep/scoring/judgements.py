"""Judgements: each is made once and kept, and one bad sample costs one sample."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, Protocol, cast

from PIL import Image

from lockstep import records
from lockstep.devices import stopping
from lockstep.devices.device import Device
from lockstep.devices.pinning import Loaded, loaded
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import (
    ConfigError,
    DeviceError,
    OutOfMemory,
    ReplyError,
    SampleError,
    ServerError,
    counted,
    one_sentence,
)
from lockstep.foreign import images
from lockstep.judges import keys
from lockstep.judges.protocol import Finished, Judge, Judgement, Pair
from lockstep.judges.settings import JudgeSettings
from lockstep.models import server, staging
from lockstep.models.budget import Budget, Exhausted
from lockstep.records import Picture, Sample, ScoreRecord, alike, progress
from lockstep.rubrics import combine
from lockstep.rubrics.calls import Call
from lockstep.rubrics.questions import Question
from lockstep.scoring import tokens
from lockstep.scoring.replies import (
    Judging,
    Pending,
    failed_record,
    record_of,
    rejected,
    scored_record,
)

log = logging.getLogger(__name__)

READERS = 8
"""Edits whose images are read at a time."""

ASKED = 2
"""Requests that one judgement may need: the second asks once more."""


class Place(NamedTuple):
    """Where judgements are made."""

    devices: Sequence[Sequence[Device]]
    """Devices of all shards."""
    shard: int
    """Number of the own one."""
    title: str
    """What the job is called."""
    terminal: IO[str]
    """Where it says what a user should know."""
    settings: DeviceSettings = DeviceSettings()
    node_local: str | None = None
    """Folder to which the judge is copied; None copies nothing."""
    loaded: Loaded[Judge] = loaded
    """Gives the judge on its device."""
    ledger: Path | None = None
    """Where it is counted what a server's judgements take; None counts nothing."""

    @property
    def own(self) -> Sequence[Device]:
        return self.devices[self.shard]


class _ServedJudge(Judge, server.Server, Protocol):
    def pay_from(self, ledger: Path) -> Budget:
        """Return what pays for its requests from now on."""

    def close(self) -> None:
        """Drop all connections."""


def item(
    job: Judging,
    sample: Sample,
    edited: Path,
    pixels: str,
    path: Path,
    seed: int | None = None,
    question: Question | None = None,
) -> Pending:
    """Return a judgement to make.

    Args:
        pixels: SHA-256 of the edited image's pixels.
        seed: seed of the sampling; None is greedy.
        question: what is asked; None is the whole rubric.
    """
    question = question or job.rubric
    reasoned = job.settings.mode == "reasoned"
    prompt = question.prompt(sample, reasoned)
    sampling = None if seed is None else {"seed": seed, "temperature": job.settings.temperature}
    identity = job.identity
    identity = {**identity, **job.settings.told(question.system or "", prompt)}
    call = question if isinstance(question, Call) else None
    shown, resized = (call.images, call.edited_size == "source") if call else ((), False)
    asked = question.asked(prompt)
    key = records.score_key(sample, pixels, identity, asked, sampling, shown, resized)
    return Pending(job, sample, edited, pixels, prompt, seed, key, path, question)


_made_ahead: set[str] = set()
"""Keys of what this process has judged for jobs to come, to which it is not from the cache."""


def judge_missing(
    settings: JudgeSettings, items: Sequence[Pending], place: Place, later: Iterable[Pending] = ()
) -> dict[Path, ScoreRecord]:
    """Return the record of each item, by the path where it is kept.

    Each reply is written as soon as it is there; one that fits its key is not asked for again,
    and if all do, no model is loaded.

    Args:
        later: judged too, as far as a batch is not full; looked at in no other case.

    Raises:
        DeviceError: if the device fails or is not to be had.
        ServerError: if the judge's server is of no use; what is judged is kept.
        SharedError: if the first few judgements fail alike.
    """
    kept = {item.path: look_up(item) for item in items}
    done = {path: record for path, record in kept.items() if record is not None}
    pending = [item for item in items if item.path not in done]
    log.info("%d of %d judgements are in the cache", len(done), len(items))
    progress.expect(len(items), len(done))
    if not pending:
        log.info("nothing to judge, no model is loaded")
        return done
    watch = alike.Watch(bool(done))
    with _judge_on(settings, place) as judge:
        progress.working()
        if keys.identity(settings) != pending[0].job.identity:
            raise ConfigError(
                f"{settings.option}: expected the scores that were there at first, found others; "
                "run again"
            )
        spare = -len(pending) % settings.batch(judge) if settings.on_device else 0
        ahead = (
            list(islice((item for item in later if look_up(item) is None), spare)) if spare else []
        )
        if ahead:
            log.info("judging %d edits of categories to come in the same batch", len(ahead))
            _made_ahead.update(item.key for item in ahead)
        own, both = {item.path for item in pending}, [*pending, *ahead]
        try:
            for item, record in _judge_pending(judge, both, settings, place, watch):
                done[item.path] = record
                if record.key is not None:
                    records.write_records(item.path, [record])
                log.info("%s %s %s", record.id, record.status, record.score)
                if record.error:
                    log.warning("%s: %s", record.id, record.error)
                failed = int(record.status == "judge_failed")
                progress.note(failed=failed, own=int(item.path in own))
        except Exhausted as error:
            left = len(items) - len(done)
            raise ServerError(
                f"{error}; {left} of {counted(len(items), 'judgement')} of this job "
                f"{'is' if left == 1 else 'are'} left, what is judged is kept; raise it and run "
                "again"
            ) from None
    return done


@contextmanager
def _judge_on(settings: JudgeSettings, place: Place) -> Iterator[Judge]:
    """Yield the judge, alone on its devices where it runs on any."""
    if settings.served:
        with closing(cast(_ServedJudge, settings.load("cpu"))) as judge:
            yield judge
        return
    if not settings.on_device:
        yield settings.load("cpu")
        return
    load = partial(_load, settings, place.node_local)
    with place.loaded(place.own, place.settings, load) as judge:
        yield judge


def _load(settings: JudgeSettings, node_local: str | None, torch_device: str) -> Judge:
    with progress.loading():
        near = staging.nearby(settings, node_local)
        return near.load(torch_device)


def look_up(item: Pending) -> ScoreRecord | None:
    """Return the record of a judgement that is there already and fits its key."""
    found = (_kept_at(path, item) for path in (item.path, *item.elsewhere))
    return next((record for record in found if record is not None), None)


def _kept_at(path: Path, item: Pending) -> ScoreRecord | None:
    try:
        (kept,) = records.read_records(path, ScoreRecord)
    except (FileNotFoundError, ValueError):
        return None
    if kept.key != item.key or (kept.reply is None and not kept.criteria):
        return None
    try:
        finished = _finished(item, kept.criteria) if kept.reply is None else None
    except ReplyError:
        # by today's rules they make no score, which the judge says anew
        return None
    # the reply is what took the judge; its score follows from today's rules
    judgement = Judgement(
        kept.reply,
        probabilities=kept.probabilities or None,
        schema_mass=kept.schema_mass,
        finish_reason=kept.finish_reason,
        finished=finished,
    )
    same = ("rejected", "correction", "prompt_tokens", "reply_tokens", "judge_seconds", "versions")
    known = {name: getattr(kept, name) for name in same}
    record = scored_record(item, judgement).model_copy(
        update={**known, "cached": item.key not in _made_ahead}
    )
    served = item.job.settings.served
    if served and record.status != "ok" and kept.finish_reason is None:
        # earlier versions kept replies that a server had broken off or never given, and did not say
        # how they ended
        return None
    return record


def _finished(item: Pending, criteria: dict[str, float]) -> Finished:
    return Finished(criteria, combine.score(item.job.rubric, criteria, item.sample.tags))


def _judge_pending(
    judge: Judge,
    items: Sequence[Pending],
    settings: JudgeSettings,
    place: Place,
    watch: alike.Watch,
) -> Iterator[tuple[Pending, ScoreRecord]]:
    """Yield a record for each item: in order, or as replies come in from a server."""
    if not settings.served:
        return _judge_all(judge, items, settings.batch(judge), watch)
    served = cast(_ServedJudge, judge)
    budget = None if place.ledger is None else served.pay_from(place.ledger)

    def ask(item: Pending) -> tuple[Pending, ScoreRecord]:
        with budget.item(tokens.dearest(item), ASKED) if budget else nullcontext():
            return next(_judge_all(judge, [item], 1, watch))

    return server.side_by_side(
        served,
        items,
        ask,
        workers=settings.claims(len(place.devices))["requests"],
        max_failed_share=settings.max_failed_share,
    )


def _judge_all(
    judge: Judge, items: Sequence[Pending], size: int, watch: alike.Watch
) -> Iterator[tuple[Pending, ScoreRecord]]:
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
            progress.take(batch[0].sample.id)
            try:
                read = [pairs[number].result() for number in numbers]
                judged = _judge_batch(judge, batch, read)
            except (DeviceError, ServerError):
                raise
            except Exception as error:
                if len(batch) == 1:
                    failed = failed_record(batch[0], error)
                    watch.failed(failed.id, str(failed.error))
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


def _note(watch: alike.Watch, judged: Sequence[ScoreRecord], settings: JudgeSettings) -> None:
    """Take note of whether a judge could answer; what it said is another matter."""
    if any(record.key is not None for record in judged):
        watch.passed()
    # a server may fail a share of its requests, and files may lack some samples
    elif settings.on_device:
        for record in judged:
            watch.failed(record.id, str(record.error))


def _judge_batch(
    judge: Judge, batch: Sequence[Pending], pairs: Sequence[Pair]
) -> list[ScoreRecord]:
    """Judge a batch; what does not parse is asked for once more, with the error."""
    began = time.monotonic()
    first = judge.judge(pairs)
    again = {}
    for number, (pair, judgement) in enumerate(zip(pairs, first, strict=True)):
        if (found := rejected(judgement, pair.rubric)) is not None:
            again[number] = pair._replace(rejected=found)
    second = dict(zip(again, judge.judge(list(again.values())), strict=True)) if again else {}
    seconds = round((time.monotonic() - began) / len(batch), 4)
    return [
        record_of(item, [judgement, *([second[number]] if number in second else [])], seconds)
        for number, (item, judgement) in enumerate(zip(batch, first, strict=True))
    ]


def _pair(item: Pending) -> Pair:
    sample = item.sample

    def seen(picture: Picture) -> Image.Image:
        return images.open_rgb(picture.image, sample.background)

    edited = images.open_rgb(item.edited)
    if records.pixels_sha256(edited) != item.pixels:
        raise SampleError(
            f"{item.edited}: expected the pixels of the edit, found others; delete the file and "
            "run again to have it edited anew"
        )
    source = images.open_rgb(sample.image, sample.background)
    pair = Pair(
        id=sample.id,
        editor=item.job.editor,
        source=source,
        edited=edited,
        rubric=item.question,
        prompt=item.prompt,
        seed=item.seed,
        category=sample.category,
        tags=sample.tags,
        more=[seen(picture) for picture in sample.more],
        reference=None if sample.reference is None else seen(sample.reference),
    )
    if item.call is None:
        return pair
    if item.call.edited_size == "source":
        pair = pair._replace(edited=images.resize(edited, source.size, "bicubic"))
    return pair._replace(call=item.call.name, images=item.call.images)
