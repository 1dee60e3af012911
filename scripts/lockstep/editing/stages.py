"""The stages of an edit: samples are prepared, edited and saved beside each other, wave by wave."""

import logging
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, wait
from functools import partial
from typing import IO, Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from lockstep import layout, records
from lockstep.devices import stopping
from lockstep.devices.settings import Schedule
from lockstep.devices.telemetry import Sampler
from lockstep.editing.background import background
from lockstep.editing.order import Edit, Order
from lockstep.editing.waves import Barrier
from lockstep.editors import keys
from lockstep.editors.protocol import Editor
from lockstep.editors.settings import EditorSettings
from lockstep.errors import DeviceError, SkipError, one_sentence
from lockstep.foreign import images
from lockstep.models.fingerprints import versions
from lockstep.records import EditRecord, Sample, alike, file_state

log = logging.getLogger(__name__)

SAVING = 10.0
"""Seconds that a job which is ended gives the image that is being saved."""

MARKS: dict[Schedule, str] = {"lockstep": "[SYNC]", "free": "[NO-SYNC]", "queue": "[QUEUE]"}
"""What marks each schedule in progress and logs."""


class Editing(NamedTuple):
    """What the edits of one job share."""

    editor: EditorSettings
    model: Editor
    barrier: Barrier
    sampler: Sampler
    category: str
    shard: int
    device: str
    """Name of the shard's device."""
    run: str
    """Name of the invocation."""
    load_seconds: float
    schedule: Schedule


class _Prepared(NamedTuple):
    """A sample, ready for the device."""

    given: Any
    """What the editor prepared."""
    size: tuple[int, int] | None
    """Width and height to bring the edited image to; None leaves it as it is."""


class _Edited(NamedTuple):
    """What became of a sample."""

    record: EditRecord
    image: Image.Image | None = None
    """To be saved; None where the edit failed or was there already."""
    size: tuple[int, int] | None = None
    """As prepared."""


def edit_waves(job: Editing, order: Order, terminal: IO[str]) -> Generator[EditRecord, None, None]:
    """Go through items and yield the record of each, as they are taken, once its image is saved.

    While the device edits a sample, one thread prepares the next and one saves the last. A wave is
    finished when its edit is, so that no peer waits for a disk; an image that then cannot be saved
    ends the job, and the next one finds it missing.

    Raises:
        SharedError: if the first few edits fail alike.
        DeviceError: if the device fails.
    """
    watch = alike.Watch(any(item.known is not None for item in order.mine))
    edits: deque[Future[EditRecord]] = deque()
    saving = None
    failed = 0
    seconds = 0.0
    first = wave = job.barrier.first_wave
    waves = first + len(order.mine)
    with (
        background("prepare", patience=0) as prepare,
        background("save", patience=SAVING) as save,
        _progress(job, len(order.mine), terminal) as progress,
    ):

        def begun(item: Edit) -> tuple[str, Future[_Prepared]]:
            return item.sample.id, prepare(partial(_prepare, job, item.sample))

        ahead = begun(item) if (item := order.ahead()) else None
        job.barrier.ready()
        free = time.monotonic()
        while True:
            stopping.check()
            if (taken := order.take()) is None:
                if saving is not None:
                    # who waits for others holds nothing that they wait for
                    saving.result()
                if not order.wait():
                    break
                continue
            wave, item = taken
            waited = job.barrier.wait(wave)
            if wave > first:
                _log_wave(job, wave - 1, waves, seconds)
            while edits and edits[0].done():
                # a full disk is noticed before another edit is made in vain
                yield edits.popleft().result()
            began = time.monotonic()
            if item.known is None:
                sample, preparation = ahead or begun(item)
                if sample != item.sample.id:
                    # another device has taken what was to be next
                    _, preparation = begun(item)
                ahead = begun(following) if (following := order.ahead()) else None
                edited = _edit(job, item, preparation, wave, waited, idle=free + waited)
            else:
                edited = _Edited(item.known)
            free = time.monotonic()
            seconds = free - began
            job.barrier.finish(wave, seconds)
            _log_edit(edited.record)
            if edited.image is None:
                order.settle(item, edited.record)
            if edited.record.status == "edit_failed":
                failed += 1
                progress.set_postfix_str(f"{failed} failed")
                watch.failed(item.sample.id, str(edited.record.error))
            elif edited.record.status == "ok":
                watch.passed()
            progress.total = max(waves, wave + 1) - first
            progress.update()
            if edited.image is None:
                edits.append(_known(edited.record))
                continue
            if saving is not None:
                # no more than one image is on its way to the disk
                saving.result()
            saving = save(partial(_saved, job, order, item, edited))
            edits.append(saving)
        _log_wave(job, wave, waves, seconds)
        for edit in edits:
            yield edit.result()


def _progress(job: Editing, count: int, terminal: IO[str]) -> tqdm:
    return tqdm(
        total=count,
        desc=f"{MARKS[job.schedule]} {job.category} {job.device} wave",
        file=terminal,
        disable=not terminal.isatty(),
        position=job.shard,
        leave=False,
        bar_format="{desc} {n}/{total} {bar:20} {elapsed} left {remaining}{postfix}",
    )


def _log_edit(record: EditRecord) -> None:
    took = " from the cache" if record.cached else f" in {record.edit_seconds:.2f} s"
    waits = f"waited {record.wait_seconds:.2f} s, stalled {record.stall_seconds:.2f} s"
    log.info("%s %s%s (%s)", record.id, record.status, took, waits)
    if record.error:
        log.warning("%s: %s", record.id, record.error)


def _log_wave(job: Editing, wave: int, waves: int, seconds: float) -> None:
    if job.schedule == "queue":
        # no two devices do the same number of samples
        return
    name, lag = job.barrier.slowest(wave, seconds)
    log.info(
        "%s wave %d/%d done in %.2f s, slowest %s (+%.2f s)",
        MARKS[job.schedule],
        wave + 1,
        waves,
        seconds,
        name,
        lag,
    )


def _prepare(job: Editing, sample: Sample) -> _Prepared:
    """Do what an edit needs and its device need not wait for."""
    given = job.model.prepare(sample)
    size = images.shown_size(sample.image) if job.editor.size == "source" else None
    return _Prepared(given, size)


def _edit(
    job: Editing,
    item: Edit,
    preparation: Future[_Prepared],
    wave: int,
    waited: float,
    idle: float,
) -> _Edited:
    """Edit one sample and return what happened.

    Args:
        idle: since when, as a monotonic time, the device has had nothing to do.
    """
    sample = item.sample
    wait([preparation])
    began = time.monotonic()
    job.sampler.take()
    record = EditRecord(
        id=sample.id,
        category=sample.category,
        key=item.key,
        status="ok",
        size=job.editor.size,
        resize_filter=None if job.editor.size == "native" else job.editor.resize_filter,
        background=sample.background if sample.transparent else None,
        seed=item.seed,
        wave=wave,
        shard=job.shard,
        device=job.device,
        run=job.run,
        load_seconds=round(job.load_seconds, 3),
        started=round(time.time(), 3),
        wait_seconds=round(waited, 4),
        stall_seconds=round(began - idle, 4),
        versions=versions(),
    )
    try:
        given, size = preparation.result()
        image = job.model.edit(given, sample, item.seed)
    except DeviceError:
        raise
    except Exception as error:
        log.debug("traceback", exc_info=True)
        # an image of other settings must not pass for this sample's edit
        if not item.path.is_dir():
            item.path.unlink(missing_ok=True)
        status = "skipped" if isinstance(error, SkipError) else "edit_failed"
        failure = {"status": status, "error": one_sentence(error)}
        seconds = {"edit_seconds": round(time.monotonic() - began, 4)}
        return _Edited(record.model_copy(update={**failure, **seconds}))
    seconds = {"edit_seconds": round(time.monotonic() - began, 4)}
    found = {"telemetry": job.sampler.take(), **getattr(given, "remarks", {})}
    return _Edited(record.model_copy(update={**seconds, **found}), image, size)


def _saved(job: Editing, order: Order, item: Edit, edited: _Edited) -> EditRecord:
    """Write an edited image and let the others know."""
    assert edited.image is not None
    record = _save(job, item, edited.record, edited.image, edited.size)
    order.settle(item, record)
    return record


def _save(
    job: Editing,
    item: Edit,
    record: EditRecord,
    native: Image.Image,
    final: tuple[int, int] | None,
) -> EditRecord:
    """Write an edited image in its final size with all that decided it, and return its record.

    A disk that does not take it is no failure of the sample; it ends the job.

    Args:
        record: as it is before the image is saved.
        native: as the editor returned it.
        final: width and height to bring it to; None leaves it as it is.
    """
    began = time.monotonic()
    identity = keys.identity(job.editor, item.sample)
    if records.edit_key(item.sample, identity, item.seed) != item.key:
        error = "expected the finished image that was there at first, found another; run again"
        return record.model_copy(update={"status": "edit_failed", "error": error})
    image = native
    if final is not None:
        image = images.resize(native, final, job.editor.resize_filter)
    record = record.model_copy(
        update={
            "image": layout.below_folder(item.path),
            "pixels_sha256": records.pixels_sha256(image),
            "width": image.width,
            "height": image.height,
            "native_width": native.width,
            "native_height": native.height,
        }
    )
    decides = {
        "instruction": item.sample.instruction,
        "source_sha256": item.sample.image_sha256,
        "editor": identity,
    }
    provenance = {
        **record.model_dump(mode="json", exclude={"image_bytes", "image_time"}),
        **decides,
    }
    records.save_edit(item.path, image, provenance)
    log.info("%s saved in %.2f s", item.sample.id, time.monotonic() - began)
    size, when = file_state(item.path.stat())
    return record.model_copy(update={"image_bytes": size, "image_time": when})


def _known(record: EditRecord) -> Future[EditRecord]:
    edit: Future[EditRecord] = Future()
    edit.set_result(record)
    return edit
