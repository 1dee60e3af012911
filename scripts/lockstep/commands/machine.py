"""Checks of this machine: devices, memory, disk and fonts. Nothing is used but asked."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from lockstep.commands.finding import Finding, errors
from lockstep.commands.hardware import GB, Gpu, gpus, listed, size
from lockstep.commands.weights import Weights
from lockstep.config.run import Config
from lockstep.devices import device
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import LockstepError

TIGHT = 0.9
"""Share of a memory that weights may fill before there is little room for the rest."""

TEMPORARY = GB
"""Bytes that should be free where temporary files go."""


def devices(
    planned: Sequence[Device], settings: DeviceSettings, is_cluster: bool = False
) -> Iterator[Finding]:
    """Yield the devices of a run.

    Args:
        planned: one for each shard.
    """
    names = ", ".join(own.name for own in planned)
    if is_cluster:
        yield Finding("ok", "devices", f"{len(planned)} of a cluster, which gives them to jobs")
        return
    try:
        device.check_visible(planned)
        found = gpus(planned)
    except LockstepError as error:
        yield from errors("devices", error)
        return
    if (sentence := device.without_gpu(planned, settings)) is not None:
        yield Finding("warning", "devices", sentence)
        return
    count = f"{len(planned)} CPU slots" if planned[0].kind == "cpu" else listed(found)
    yield Finding("ok", "devices", f"{count} ({names})")


def without_configuration() -> Iterator[Finding]:
    """Yield the devices that are there, where no configuration names some."""
    try:
        found = listed(gpus(device.devices(DeviceSettings())))
        yield Finding("ok", "devices", found or "this machine shows no GPU")
    except LockstepError as error:
        yield from errors("devices", error)
    yield from memory([], [])


def memory(needed: Sequence[Weights], planned: Sequence[Device]) -> Iterator[Finding]:
    """Yield whether the weights of each model fit the devices and the host.

    Args:
        needed: of each model; those of which nothing is known are left out.
        planned: devices of the run; none where it is a cluster's.
    """
    own = psutil.virtual_memory()
    on_host = 0
    try:
        found = gpus(planned)
    except LockstepError:
        # the check of devices says so
        return
    for weights in needed:
        if found and not weights.offloaded:
            yield from _on_gpu(weights, found)
        elif planned:
            on_host = max(on_host, weights.bytes * (len(planned) // weights.together))
    text = f"{size(own.available)} of {size(own.total)} are free on this machine"
    text += f"; weights take {size(on_host)}" if on_host else ""
    if on_host > own.total:
        advice = "expected a smaller model, or fewer devices"
        yield Finding("error", "memory", f"{text}; {advice}")
    elif on_host > own.available:
        advice = "end other programs, or take fewer devices"
        yield Finding("warning", "memory", f"{text}; {advice}")
    else:
        yield Finding("ok", "memory", text)


def _on_gpu(weights: Weights, found: Sequence[Gpu]) -> Iterator[Finding]:
    share = weights.bytes / weights.together
    for gpu in found:
        if not gpu.total:
            continue
        has = f"{gpu.name} has {size(gpu.total)}"
        need = f"{weights.owner} needs {size(share)} for its weights, {has}"
        if share > gpu.total:
            advice = "expected offload, several GPUs together, or a smaller model"
            yield Finding("error", "memory", f"{need}; {advice} (config/README.md)")
        elif share > gpu.total - gpu.used:
            in_use = f"of which {size(gpu.used)} are in use"
            where = "`python -m lockstep workers` and `nvidia-smi` say by whom"
            yield Finding("warning", "memory", f"{need}, {in_use}; {where}")
        elif share > TIGHT * gpu.total:
            yield Finding("warning", "memory", f"{need}, which leaves little for the edit itself")


def disk(results: Path, needed: int | None) -> Iterator[Finding]:
    """Yield whether there is room for the results and for temporary files.

    Args:
        needed: bytes that the results may grow by; None where that is not known.
    """
    existing = next(path for path in (results, *results.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    text = f"{results}: {size(free)} are free"
    if needed is not None:
        text += f", the run adds about {size(needed)} at most"
    if needed is not None and needed > free:
        yield Finding("error", "disk", f"{text}; make room, or set `results` to another disk")
    else:
        yield Finding("ok", "disk", text)
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < TEMPORARY:
        text = f"{folder}: {size(free)} free for temporary files; make room, or set TMPDIR"
        yield Finding("warning", "disk", text)


def fonts(settings: Config, instructions: Sequence[str]) -> Iterator[Finding]:
    """Yield whether this machine can show Chinese, where the report holds some.

    The page's charts hold texts, which the browser draws with its own fonts.
    """
    from lockstep.report import fonts as of_report

    shown = [*settings.benchmark.categories, *instructions]
    if settings.report.language != "zh" and not any(map(of_report.is_chinese, shown)):
        yield Finding("ok", "fonts", "the report needs none; the browser has its own")
    elif of_report.has_chinese():
        yield Finding("ok", "fonts", "this machine has one for Chinese")
    else:
        yield Finding(
            "warning",
            "fonts",
            "found no font for Chinese on this machine; a browser elsewhere shows the report well, "
            "one here needs a font such as Noto Sans CJK (Debian: fonts-noto-cjk)",
        )
