"""One edit job: a shard of a category on its device or devices, in waves with its peers."""

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from pydantic import ValidationError

from lockstep import layout, plan, records
from lockstep.devices.device import Device, joined, split
from lockstep.devices.pinning import Loaded, loaded
from lockstep.devices.settings import DeviceSettings, Schedule
from lockstep.devices.telemetry import Sampler
from lockstep.editing import served, told
from lockstep.editing.order import READERS, Edit, InTurn, Order, Queue
from lockstep.editing.stages import Editing, edit_all, pixels_again
from lockstep.editing.waves import Barrier
from lockstep.editors import keys
from lockstep.editors.protocol import Editor
from lockstep.editors.settings import EditorSettings, ServedEditorSettings
from lockstep.errors import counted
from lockstep.models import staging
from lockstep.records import SERVER, EditRecord, Sample, failures, file_state, progress, recovery
from lockstep.records.rows import aside

log = logging.getLogger(__name__)


class Shard(NamedTuple):
    """Which part of a category a job edits, and with whom."""

    number: int
    devices: Sequence[Device]
    """Devices of all shards, in their order."""
    slots: int
    """Shards that can run at a time."""
    run: str
    """Name of the invocation."""
    first: int = 0
    """Place of the category's first sample among those of all categories."""
    together: int = 1
    """Devices of each shard."""

    @property
    def groups(self) -> list[Sequence[Device]]:
        """The devices of each shard."""
        return split(self.devices, self.together)

    @property
    def own(self) -> Sequence[Device]:
        return self.groups[self.number]

    @property
    def alone(self) -> bool:
        """Whether all shards are on this host: those of a cluster have names of their own."""
        return all(device.label is None for device in self.devices)


def edit_shard(
    editor: EditorSettings,
    manifest: Path,
    folder: Path,
    shard: Shard,
    terminal: IO[str],
    *,
    seed: int,
    settings: DeviceSettings,
    node_local: str | None = None,
    loaded: Loaded[Editor] = loaded,
    claimed: Callable[[], None] = lambda: None,
) -> None:
    """Edit a shard's samples and write their records.

    Images that are there already and fit their key are kept; if all are, no model is loaded. One
    sample's failure is recorded and does not stop the others.

    Args:
        manifest: the category's manifest.
        folder: the category's results; images go to `images/`, records to `edits/`.
        terminal: where it says what a user should know.
        seed: base seed.
        node_local: folder to which models are copied; None copies nothing.
        loaded: gives the model on its device.
        claimed: called before the records are written.

    Raises:
        DeviceError: if the device fails or is not to be had.
        ServerError: if the editor's server is of no use; what is edited is kept.
    """
    samples = records.read_manifest(manifest)
    category = Path(manifest).stem
    count = len(shard.groups)
    parts = [plan.shard_indices(len(samples), k, count, shard.first) for k in range(count)]

    place = SERVER if editor.served else joined(shard.own)
    asked = told.read(editor, folder)

    def item(index: int) -> Edit:
        return _item(asked.sample(samples[index]), seed, editor, folder)

    def looked_up(item: Edit) -> Edit:
        if (error := asked.failures.get(item.sample.id)) is not None:
            return item._replace(known=_not_told(item, error, shard, place))
        return _looked_up(editor, item)

    recovery.forget_other_counts(folder, "edits", count)
    expected = [
        number
        for number, part in enumerate(parts)
        if number != shard.number
        # one without a sample may well wait for its device
        and part
        and not _is_done(layout.shard(folder, "edits", number, count), map(item, part))
    ]
    barrier = Barrier(
        layout.waves(folder),
        shard.number,
        count,
        run=shard.run,
        expected=expected,
        slots=max(1, shard.slots // shard.together),
        first=shard.first,
        device=joined(shard.own),
        lead=settings.max_wave_lead,
        sync=settings.schedule == "lockstep" and not editor.served,
        join_timeout=settings.join_timeout,
        heartbeat_timeout=settings.heartbeat_timeout,
    )
    began = time.monotonic()
    log.info("%s", "\n  ".join(_plan(settings, len(samples), category, shard, editor)))
    # all that can fail is done inside, so that peers hear of a failure and do not wait
    with barrier:
        with ThreadPoolExecutor(READERS) as pool:
            mine = aside(pool.map(looked_up, map(item, parts[shard.number])))
        missing = sum(item.known is None for item in mine)
        kept = sum(item.known is not None and item.known.cached for item in mine)
        log.info("%d of %d samples are in the cache", kept, len(mine))
        progress.expect(len(mine), kept)
        if missing or served.is_open(editor, folder):
            with ExitStack() as stack:
                job = _job(settings, node_local, editor, shard, barrier, category, loaded, stack)
                order: Order = InTurn(mine, barrier.first_wave)
                if settings.schedule == "queue" and not editor.served:
                    silent = expected if shard.alone else ()
                    queue = Queue(barrier, mine, parts, item, silent, looked_up)
                    order = stack.enter_context(closing(queue))
                edits = stack.enter_context(closing(edit_all(job, order)))
                done = aside(order.records(edits))
                if isinstance(editor, ServedEditorSettings):
                    by_id = {item.sample.id: item for item in mine}
                    served.find_out(editor, folder, done, lambda i: pixels_again(job, by_id[i]))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            log.info("peak host memory %.1f GiB", peak / 2**20)
        else:
            log.info("nothing to edit, no model is loaded")
            done = aside(item.known for item in mine if item.known is not None)
        if isinstance(editor, ServedEditorSettings):
            done = aside(served.with_verdict(done, served.known(editor, folder) or "unknown"))
        claimed()
        if editor.rewrite is not None:
            done = aside(map(asked.record, done))
        records.write_records(layout.shard(folder, "edits", shard.number, count), done)
    counts = Counter(record.status for record in done)
    failed, skipped = counts["edit_failed"], counts["skipped"]
    log.info(
        "%d edited, %d cached, %d failed, %d skipped in %.1f s",
        sum(record.status == "ok" and not record.cached for record in done),
        kept,
        failed,
        skipped,
        time.monotonic() - began,
    )
    if failed:
        errors = ((record.id, record.error) for record in done if record.status == "edit_failed")
        told_of = failures.sentence(errors, len(mine), "edit")
        print(f"{category} {place}: {told_of}", file=terminal)
    if skipped:
        print(
            f"{category} {place}: {skipped} of {counted(len(mine), 'sample')} skipped, "
            f"{editor.name} takes one source image",
            file=terminal,
        )


def kept(
    editor: EditorSettings, manifest: Path, folder: Path, seed: int
) -> Iterator[tuple[Sample, EditRecord | None]]:
    """Yield each sample of a category with the record of its edit, if one is there and fits.

    It is looked for in the records of finished jobs, and then among the images. Nothing is written,
    so a run may go on meanwhile.

    Args:
        folder: the category's results.
        seed: base seed.
    """
    asked = told.Told()
    if editor.rewrite is not None and layout.rewritten(folder).exists():
        asked = told.read(editor, folder)
    known = {record.key: record for record in _recorded(folder)}
    for sample in records.read_manifest(manifest):
        item = _item(asked.sample(sample), seed, editor, folder)
        if editor.rewrite is not None and sample.id not in {**asked.texts, **asked.failures}:
            yield sample, None
            continue
        record = known.get(item.key)
        if record is None or (record.status == "ok" and not item.path.exists()):
            record = _looked_up(editor, item).known
        yield sample, record


def _recorded(folder: Path) -> Iterator[EditRecord]:
    for path in layout.known_shards(folder, "edits"):
        # a run that goes on may replace it
        with suppress(FileNotFoundError):
            yield from records.each_record([path], EditRecord)


def _job(
    settings: DeviceSettings,
    node_local: str | None,
    editor: EditorSettings,
    shard: Shard,
    barrier: Barrier,
    category: str,
    loaded: Loaded[Editor],
    stack: ExitStack,
) -> Editing:
    """Return a job with its model, which stays on its device until `stack` ends."""
    seconds = 0.0

    def load(torch_device: str) -> Editor:
        nonlocal seconds
        began = time.monotonic()
        with progress.loading():
            near = staging.nearby(editor, node_local)
            model = near.load(torch_device)
            # keys were made of the files before, and the model of what was there now
            editor.check_unchanged()
        seconds = time.monotonic() - began
        return model

    # devices that work together have one pace
    sampler = Sampler(shard.own[0])
    requests = 0
    if isinstance(editor, ServedEditorSettings):
        requests = editor.at_once(len(shard.groups))
        model = stack.enter_context(closing(cast(Any, load("cpu"))))
        counted = layout.requests(layout.place(barrier.folder.parent).results, editor.name)
        model.spend = partial(served.spend, editor, counted)
    elif editor.on_device:
        model = stack.enter_context(loaded(shard.own, settings, load))
        stack.enter_context(sampler)
    else:
        model = load("cpu")
    return Editing(
        editor=editor,
        model=model,
        barrier=barrier,
        sampler=sampler,
        category=category,
        shard=shard.number,
        device=SERVER if editor.served else joined(shard.own),
        run=shard.run,
        load_seconds=seconds,
        schedule="free" if editor.served else settings.schedule,
        requests=requests,
    )


def _item(sample: Sample, base: int, editor: EditorSettings, folder: Path) -> Edit:
    seed = plan.sample_seed(base, sample.id, sample.source_seed, editor.seed_number)
    key = records.edit_key(sample, keys.identity(editor, sample), seed)
    return Edit(sample, seed, key, layout.edited(folder, sample.id))


def _not_told(item: Edit, error: str, shard: Shard, device: str) -> EditRecord:
    """Return the record of a sample whose instruction was not rewritten; it is not edited."""
    sample = item.sample
    own = {"id": sample.id, "category": sample.category, "key": item.key, "seed": item.seed}
    where = {"wave": 0, "shard": shard.number, "device": device, "run": shard.run}
    failure = {"status": "edit_failed", "error": error, "edit_seconds": 0.0}
    return EditRecord.model_validate({**own, **where, **failure})


def _looked_up(editor: EditorSettings, item: Edit) -> Edit:
    known = _cached(item)
    if known is not None and (refusal := editor.refuses(known)) is not None:
        gone = dict.fromkeys(("image", "image_bytes", "image_time", "pixels_sha256"))
        failure = {"status": "edit_failed", "error": refusal}
        known = known.model_copy(update={**gone, **failure})
    return item._replace(known=known)


def _cached(item: Edit) -> EditRecord | None:
    """Return the record of an edit whose key fits, whoever made it."""
    provenance = records.read_provenance(item.path)
    if provenance is None or provenance.get("key") != item.key:
        return None
    known = {key: value for key, value in provenance.items() if key in EditRecord.model_fields}
    size, when = file_state(item.path.stat())
    found = {"cached": True, "image_bytes": size, "image_time": when}
    try:
        return EditRecord.model_validate({**known, **found})
    except ValidationError:
        # somebody wrote into it, or an early version made it
        return None


def _is_done(path: Path, items: Iterable[Edit]) -> bool:
    """Tell whether a shard's records are all there, up to date and without a failure."""
    try:
        found = records.each_record([path], EditRecord)
        keys = (record.key for record in found if record.status in ("ok", "skipped"))
        return all(key == item.key for key, item in zip(keys, items, strict=True))
    except (FileNotFoundError, ValueError):
        return False


def _plan(
    devices: DeviceSettings, samples: int, category: str, shard: Shard, editor: EditorSettings
) -> list[str]:
    """Return lines that say which device edits what, and whether they keep step."""
    if isinstance(editor, ServedEditorSettings):
        requests = editor.at_once(len(shard.groups))
        jobs = f"{requests} at a time in each of {counted(len(shard.groups), 'job')}"
        return [f"{category}: samples: {samples}, through a server, {jobs}"]
    names = list(map(joined, shard.groups))
    waves = plan.wave_count(samples, len(names), shard.first)
    schedules: dict[Schedule, str] = {
        "lockstep": f"in lockstep, waves: {waves}",
        "free": "free, no device waits for another",
        "queue": "from a queue, the next sample goes to whichever device is free",
    }
    lines = [
        f"{category}: samples: {samples}, devices: {len(names)}, {schedules[devices.schedule]}"
    ]
    lines += plan.assignment(samples, names, shard.first).splitlines()
    if devices.schedule == "lockstep" and shard.slots < len(names):
        lines.append(f"only {shard.slots} of {len(names)} shards run at a time and keep step")
    return lines
