"""The stages of an edit: samples are prepared, edited and saved beside each other, wave by wave."""

import logging
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, NamedTuple, cast

from PIL import Image

from lockstep import layout, records
from lockstep.devices import stopping
from lockstep.devices.settings import Schedule
from lockstep.devices.telemetry import Sampler
from lockstep.editing.background import background
from lockstep.editing.order import Edit, Order
from lockstep.editing.progress import MARKS, Tally
from lockstep.editing.waves import Barrier
from lockstep.editors import keys
from lockstep.editors.protocol import Editor, Told
from lockstep.editors.settings import EditorSettings, ServedEditorSettings
from lockstep.errors import DeviceError, ServerError, SharedError, SkipError, one_sentence
from lockstep.foreign import images
from lockstep.models import server
from lockstep.models.fingerprints import versions
from lockstep.records import EditRecord, Sample, alike, file_state, progress

log = logging.getLogger(__name__)

SAVING = 10.0
"""Seconds that a job which is ended gives the image that is being saved."""


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
    requests: int = 0
    """Requests that a server gets at a time; 0 of an editor on the device."""


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


def edit_all(job: Editing, order: Order) -> Generator[EditRecord, None, None]:
    """Go through items and yield the record of each, once its image is saved.

    Raises:
        SharedError: if the first few edits fail alike.
        DeviceError: if the device fails.
        ServerError: if the editor's server is of no use; what is edited is kept.
    """
    edit, watch = _edit_beside, None
    if not job.requests:
        known = (item.known for item in order.mine if item.known is not None)
        edit, watch = _edit_waves, alike.Watch(any(record.cached for record in known))
    progress.working()
    yield from edit(job, order, Tally(watch))


def _edit_waves(job: Editing, order: Order, tally: Tally) -> Iterator[EditRecord]:
    """Go through items and yield the record of each, as they are taken, once its image is saved.

    While the device edits a sample, one thread prepares the next and one saves the last. A wave is
    finished when its edit is, so that no peer waits for a disk; an image that then cannot be saved
    ends the job, and the next one finds it missing.
    """
    edits: deque[Future[EditRecord]] = deque()
    saving = None
    seconds = 0.0
    first = wave = job.barrier.first_wave
    waves = first + len(order.mine)
    with (
        background("prepare", patience=0) as prepare,
        background("save", patience=SAVING) as save,
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
            if edited.image is None:
                order.settle(item, edited.record)
            tally.note(edited.record)
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


def _edit_beside(job: Editing, order: Order, tally: Tally) -> Iterator[EditRecord]:
    """Edit through a server, several samples at a time, and yield records as they come.

    Each sample is prepared, edited and saved by one thread, so that an image is on the disk before
    the next one is asked for.
    """
    assert isinstance(job.editor, ServedEditorSettings)
    missing = []
    while (taken := order.take()) is not None:
        _, item = taken
        if item.known is None:
            missing.append(taken)
        else:
            tally.note(item.known)
            yield item.known
    edits = server.side_by_side(
        cast(server.Server, job.model),
        missing,
        partial(_edit_whole, job, order),
        job.requests,
        job.editor.max_failed_share,
        known=len(order.mine) - len(missing),
    )
    for record in edits:
        tally.note(record)
        yield record


def _edit_whole(job: Editing, order: Order, taken: tuple[int, Edit]) -> EditRecord:
    """Prepare, edit and save one sample, beside others."""
    wave, item = taken
    preparation: Future[_Prepared] = Future()
    try:
        preparation.set_result(_prepare(job, item.sample))
    except Exception as error:
        preparation.set_exception(error)
    edited = _edit(job, item, preparation, wave, waited=0.0, idle=time.monotonic())
    return edited.record if edited.image is None else _saved(job, order, item, edited)


def pixels_again(job: Editing, item: Edit) -> str:
    """Edit a sample once more, keep nothing of it, and return the SHA-256 of its pixels.

    Raises:
        EditError: as the editor does.
    """
    given, size = _prepare(job, item.sample)
    made = job.model.edit(given, item.sample, item.seed)
    image = made.image if isinstance(made, Told) else made
    return records.pixels_sha256(_sized(job, image, size))


def _sized(job: Editing, image: Image.Image, final: tuple[int, int] | None) -> Image.Image:
    return image if final is None else images.resize(image, final, job.editor.resize_filter)


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
    progress.take(sample.id)
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
        versions={} if job.editor.elsewhere else versions(),
    )
    try:
        given, size = preparation.result()
        made = job.model.edit(given, sample, item.seed)
    except (DeviceError, ServerError, SharedError):
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
    image, told = made if isinstance(made, Told) else (made, {})
    found = {"telemetry": job.sampler.take(), **told}
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
    image = _sized(job, native, final)
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
