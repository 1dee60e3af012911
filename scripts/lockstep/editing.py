"""One edit job: a shard of a category on one device, in waves with its peers."""

import logging
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from lockstep import config, editors, plan, records
from lockstep.device import Device, Sampler, exclusive, loading_turn, pin
from lockstep.errors import DeviceError, one_sentence
from lockstep.models import versions
from lockstep.records import EditRecord, Sample
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

    @property
    def device(self) -> Device:
        return self.devices[self.number]


class _Item(NamedTuple):
    sample: Sample
    seed: int
    key: str
    path: Path
    """Edited image."""


class _Job(NamedTuple):
    """What the edits of one job share."""

    editor: config.AnyEditor
    model: editors.Editor
    barrier: Barrier
    sampler: Sampler
    shard: Shard
    category: str
    load_seconds: float


def edit_shard(
    settings: config.Config,
    editor: config.AnyEditor,
    manifest: Path,
    folder: Path,
    shard: Shard,
    terminal: IO[str],
) -> None:
    """Edit a shard's samples and write their records.

    Images that are there already and fit their key are kept; if all are, no model is loaded. One
    sample's failure is recorded and does not stop the others.

    Args:
        manifest: the category's manifest.
        folder: the category's results; images go to `images/`, records to `edits/`.
        terminal: where progress is shown.

    Raises:
        DeviceError: if the device fails or is not to be had.
    """
    samples = records.read_manifest(manifest)
    category = Path(manifest).stem
    count = len(shard.devices)
    items = [_item(s, settings.seed, editor, folder) for s in samples]
    mine = [items[i] for i in plan.shard_indices(len(items), shard.number, count)]
    _forget_other_counts(folder, count)
    barrier = Barrier(
        folder / "waves",
        shard.number,
        count,
        run=shard.run,
        expected=_expected(items, folder, count),
        slots=shard.slots,
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
            torch_device = pin(shard.device)
            with exclusive(shard.device, settings.devices.when_busy):
                with loading_turn(settings.devices.load_concurrency):
                    began_loading = time.monotonic()
                    model = editors.load_editor(editor, torch_device)
                loaded = time.monotonic() - began_loading
                with Sampler(shard.device) as sampler:
                    job = _Job(editor, model, barrier, sampler, shard, category, loaded)
                    done = _waves(job, mine, cached, settings.devices, terminal)
        else:
            log.info("nothing to edit, no model is loaded")
            done = list(cached.values())
        records.write_records(folder / "edits" / plan.shard_file(shard.number, count), done)
    failed = sum(record.status != "ok" for record in done)
    log.info(
        "%d edited, %d cached, %d failed in %.1f s",
        missing - failed,
        len(mine) - missing,
        failed,
        time.monotonic() - began,
    )
    if failed:
        print(
            f"{category} {shard.device.name}: {failed} of {len(mine)} edits failed",
            file=terminal,
        )


def _forget_other_counts(folder: Path, count: int) -> None:
    """Delete records that were written for another number of shards.

    They may speak of images that this run replaces. What they knew is in the images themselves.
    """
    for path in folder.glob("*/shard-*-of-*.jsonl"):
        if not path.stem.endswith(f"-of-{count}"):
            path.unlink(missing_ok=True)


def _item(sample: Sample, base: int, editor: config.AnyEditor, folder: Path) -> _Item:
    seed = plan.sample_seed(base, sample.id, sample.source_seed)
    key = plan.edit_key(sample, editors.identity(editor, sample), seed)
    return _Item(sample, seed, key, folder / "images" / f"{sample.id}.png")


def _cached(item: _Item) -> EditRecord | None:
    """Return the record of an edit whose key fits, whoever made it."""
    provenance = records.read_provenance(item.path)
    if provenance is None or provenance.get("key") != item.key:
        return None
    known = {key: value for key, value in provenance.items() if key in EditRecord.model_fields}
    return EditRecord.model_validate({**known, "cached": True})


def _expected(items: Sequence[_Item], folder: Path, count: int) -> set[int]:
    """Return the shards whose records are not all there, up to date and without a failure."""
    expected = set()
    for number in range(count):
        indices = plan.shard_indices(len(items), number, count)
        try:
            found = records.read_records(
                folder / "edits" / plan.shard_file(number, count), EditRecord
            )
        except (FileNotFoundError, ValueError):
            found = None
        wanted = [(items[i].key, "ok") for i in indices]
        if found is None or [(r.key, r.status) for r in found] != wanted:
            expected.add(number)
    return expected


def _waves(
    job: _Job,
    mine: Sequence[_Item],
    cached: dict[str, EditRecord | None],
    devices: config.Devices,
    terminal: IO[str],
) -> list[EditRecord]:
    done = []
    seconds = 0.0
    mark = "[SYNC]" if devices.enable_batch_sync else "[NO-SYNC]"
    shard = job.shard
    job.barrier.ready()
    with tqdm(
        mine,
        desc=f"{mark} {job.category} {shard.device.name} wave",
        file=terminal,
        disable=not terminal.isatty(),
        position=shard.number,
        leave=False,
        bar_format="{desc} {n}/{total} {bar:20} {elapsed} left {remaining}{postfix}",
    ) as progress:
        for wave, item in enumerate(progress):
            waited = job.barrier.wait(wave)
            if wave:
                _log_wave(job, mark, wave - 1, len(mine), seconds)
            began = time.monotonic()
            record = cached[item.sample.id] or _edit(job, item, wave, waited)
            seconds = time.monotonic() - began
            job.barrier.finish(wave, seconds)
            done.append(record)
            took = " from the cache" if record.cached else f" in {record.edit_seconds:.2f} s"
            log.info("%s %s%s (waited %.2f s)", item.sample.id, record.status, took, waited)
            if record.error:
                log.warning("%s: %s", item.sample.id, record.error)
            if failed := sum(r.status != "ok" for r in done):
                progress.set_postfix_str(f"{failed} failed")
        if done:
            _log_wave(job, mark, len(mine) - 1, len(mine), seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log.info("peak host memory %.1f GiB", peak / 2**20)
    return done


def _log_wave(job: _Job, mark: str, wave: int, waves: int, seconds: float) -> None:
    name, lag = job.barrier.slowest(wave, seconds)
    log.info(
        "%s wave %d/%d done in %.2f s, slowest %s (+%.2f s)",
        mark,
        wave + 1,
        waves,
        seconds,
        name,
        lag,
    )


def _edit(job: _Job, item: _Item, wave: int, waited: float) -> EditRecord:
    """Edit one sample, write its image, and return what happened."""
    began = time.monotonic()
    job.sampler.take()
    record = EditRecord(
        id=item.sample.id,
        category=item.sample.category,
        key=item.key,
        status="ok",
        seed=item.seed,
        wave=wave,
        shard=job.shard.number,
        device=job.shard.device.name,
        run=job.shard.run,
        load_seconds=round(job.load_seconds, 3),
        started=round(time.time(), 3),
        wait_seconds=round(waited, 4),
        versions=versions(),
    )
    try:
        image = job.model.edit(item.sample, item.seed)
    except DeviceError:
        raise
    except Exception as error:
        log.debug("traceback", exc_info=True)
        # an image of other settings must not pass for this sample's edit
        item.path.unlink(missing_ok=True)
        return record.model_copy(
            update={
                "status": "edit_failed",
                "error": one_sentence(error),
                "edit_seconds": round(time.monotonic() - began, 4),
            }
        )
    record = record.model_copy(
        update={
            "image": os.path.join("images", item.path.name),
            "pixels_sha256": records.pixels_sha256(image),
            "width": image.width,
            "height": image.height,
            "edit_seconds": round(time.monotonic() - began, 4),
            "telemetry": job.sampler.take(),
        }
    )
    decides = {
        "instruction": item.sample.instruction,
        "source_sha256": item.sample.image_sha256,
        "editor": editors.identity(job.editor, item.sample),
    }
    # a disk that does not take it is no failure of the sample; it ends the job
    records.save_edit(item.path, image, {**record.model_dump(mode="json"), **decides})
    return record


def _plan(devices: config.Devices, samples: int, category: str, shard: Shard) -> list[str]:
    """Return lines that say which device edits what, and whether they keep step."""
    names = [device.name for device in shard.devices]
    waves = plan.wave_count(samples, len(names))
    sync = f"in lockstep, waves: {waves}" if devices.enable_batch_sync else "not in lockstep"
    lines = [f"{category}: samples: {samples}, devices: {len(names)}, {sync}"]
    lines += plan.assignment(samples, names).splitlines()
    if devices.enable_batch_sync and shard.slots < len(names):
        lines.append(f"only {shard.slots} of {len(names)} shards run at a time and keep step")
    return lines
