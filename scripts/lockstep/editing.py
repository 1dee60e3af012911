"""One edit job: a shard of a category on one device, in waves with its peers."""

import logging
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from lockstep import config, editors, plan, records, recovery, staging
from lockstep.device import Device, Loaded, Sampler, loaded
from lockstep.records import EditRecord, Sample
from lockstep.stages import Item, Job, edit_waves
from lockstep.waves import Barrier

log = logging.getLogger(__name__)


class Shard(NamedTuple):
    """Which part of a category a job edits, and with whom."""

    number: int
    devices: Sequence[Device]
    """Devices of all shards; the shard's own is `devices[number]`."""
    slots: int
    """Shards that can run at a time."""
    run: str
    """Name of the invocation."""
    first: int = 0
    """Place of the category's first sample among those of all categories."""

    @property
    def device(self) -> Device:
        return self.devices[self.number]


def edit_shard(
    settings: config.Config,
    editor: config.AnyEditor,
    manifest: Path,
    folder: Path,
    shard: Shard,
    terminal: IO[str],
    loaded: Loaded = loaded,
) -> None:
    """Edit a shard's samples and write their records.

    Images that are there already and fit their key are kept; if all are, no model is loaded. One
    sample's failure is recorded and does not stop the others.

    Args:
        manifest: the category's manifest.
        folder: the category's results; images go to `images/`, records to `edits/`.
        terminal: where progress is shown.
        loaded: gives the model on its device.

    Raises:
        DeviceError: if the device fails or is not to be had.
    """
    samples = records.read_manifest(manifest)
    category = Path(manifest).stem
    count = len(shard.devices)
    items = [_item(s, settings.seed, editor, folder) for s in samples]
    mine = [items[i] for i in plan.shard_indices(len(items), shard.number, count, shard.first)]
    recovery.forget_other_counts(folder / "edits", count)
    barrier = Barrier(
        folder / "waves",
        shard.number,
        count,
        run=shard.run,
        expected=_expected(items, folder, count, shard.first),
        slots=shard.slots,
        first=shard.first,
        device=shard.device.name,
        lead=settings.devices.max_wave_lead,
        sync=settings.devices.enable_batch_sync,
        join_timeout=settings.devices.join_timeout,
        heartbeat_timeout=settings.devices.heartbeat_timeout,
    )
    began = time.monotonic()
    plan_lines = _plan(settings.devices, len(samples), category, shard)
    log.info("%s", "\n  ".join(plan_lines))
    # all that can fail is done inside, so that peers hear of a failure and do not wait
    with barrier:
        cached = {item.sample.id: _cached(item) for item in mine}
        missing = sum(record is None for record in cached.values())
        log.info("%d of %d samples are in the cache", len(mine) - missing, len(mine))
        if missing:
            if shard.number == 0:
                print("\n  ".join(plan_lines), file=terminal)
            with ExitStack() as stack:
                job = _job(settings, editor, shard, barrier, category, loaded, stack)
                done = edit_waves(job, mine, cached, terminal)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            log.info("peak host memory %.1f GiB", peak / 2**20)
        else:
            log.info("nothing to edit, no model is loaded")
            done = list(cached.values())
        records.write_records(folder / "edits" / plan.shard_file(shard.number, count), done)
    failed = sum(record.status == "edit_failed" for record in done)
    skipped = sum(record.status == "skipped" for record in done)
    log.info(
        "%d edited, %d cached, %d failed, %d skipped in %.1f s",
        missing - failed - skipped,
        len(mine) - missing,
        failed,
        skipped,
        time.monotonic() - began,
    )
    if failed:
        print(
            f"{category} {shard.device.name}: {failed} of {len(mine)} edits failed",
            file=terminal,
        )
    if skipped:
        print(
            f"{category} {shard.device.name}: {skipped} of {len(mine)} samples skipped, "
            f"{editor.name} takes one source image",
            file=terminal,
        )


def _job(
    settings: config.Config,
    editor: config.AnyEditor,
    shard: Shard,
    barrier: Barrier,
    category: str,
    loaded: Loaded,
    stack: ExitStack,
) -> Job:
    """Return a job with its model, which stays on its device until `stack` ends."""
    seconds = 0.0

    def load(torch_device: str) -> editors.Editor:
        nonlocal seconds
        began = time.monotonic()
        near = staging.nearby(editor, settings.cluster)
        model = editors.load_editor(near, torch_device)
        seconds = time.monotonic() - began
        return model

    sampler = Sampler(shard.device)
    if editor.on_device:
        model = stack.enter_context(loaded([shard.device], settings.devices, load))
        stack.enter_context(sampler)
    else:
        model = load("cpu")
    return Job(
        editor=editor,
        model=model,
        barrier=barrier,
        sampler=sampler,
        category=category,
        shard=shard.number,
        device=shard.device.name,
        run=shard.run,
        load_seconds=seconds,
        sync=settings.devices.enable_batch_sync,
    )


def _item(sample: Sample, base: int, editor: config.AnyEditor, folder: Path) -> Item:
    seed = plan.sample_seed(base, sample.id, sample.source_seed)
    key = plan.edit_key(sample, editors.identity(editor, sample), seed)
    return Item(sample, seed, key, folder / "images" / f"{sample.id}.png")


def _cached(item: Item) -> EditRecord | None:
    """Return the record of an edit whose key fits, whoever made it."""
    provenance = records.read_provenance(item.path)
    if provenance is None or provenance.get("key") != item.key:
        return None
    known = {key: value for key, value in provenance.items() if key in EditRecord.model_fields}
    return EditRecord.model_validate({**known, "cached": True})


def _expected(items: Sequence[Item], folder: Path, count: int, first: int) -> set[int]:
    """Return the shards whose records are not all there, up to date and without a failure."""
    expected = set()
    for number in range(count):
        indices = plan.shard_indices(len(items), number, count, first)
        try:
            found = records.read_records(
                folder / "edits" / plan.shard_file(number, count), EditRecord
            )
        except (FileNotFoundError, ValueError):
            found = None
        wanted = [items[i].key for i in indices]
        done = ("ok", "skipped")
        if found is None or [r.key for r in found if r.status in done] != wanted:
            expected.add(number)
    return expected


def _plan(devices: config.Devices, samples: int, category: str, shard: Shard) -> list[str]:
    """Return lines that say which device edits what, and whether they keep step."""
    names = [device.name for device in shard.devices]
    waves = plan.wave_count(samples, len(names), shard.first)
    sync = f"in lockstep, waves: {waves}" if devices.enable_batch_sync else "not in lockstep"
    lines = [f"{category}: samples: {samples}, devices: {len(names)}, {sync}"]
    lines += plan.assignment(samples, names, shard.first).splitlines()
    if devices.enable_batch_sync and shard.slots < len(names):
        lines.append(f"only {shard.slots} of {len(names)} shards run at a time and keep step")
    return lines
