"""Devices: which there are, which one this process may use, and that nobody else does.

The only place that reads or sets CUDA_VISIBLE_DEVICES. Nothing here imports torch.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import filelock
import pynvml

from lockstep import config
from lockstep.errors import DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Device(NamedTuple):
    """One GPU, or one CPU slot where there is none."""

    kind: str
    """cuda or cpu."""
    id: str
    """Number or UUID of a GPU, number of a CPU slot."""

    @property
    def name(self) -> str:
        """Name in records, logs and progress."""
        prefix = "gpu" if self.kind == "cuda" else "cpu"
        return f"{prefix}{self.id}" if self.id.isdigit() else self.id


def devices(settings: config.Devices) -> list[Device]:
    """Return the devices to run on, one per shard.

    `auto` takes all GPUs that this process may see; where there is none, up to two CPU slots.
    """
    gpus = [] if settings.accelerator == "cpu" else _visible_gpus()
    kind = "cpu" if settings.accelerator == "cpu" else "cuda"
    if settings.accelerator == "auto" and not gpus:
        kind = "cpu"
    if settings.device_ids != "auto":
        return [Device(kind, str(i)) for i in settings.device_ids]
    if kind == "cuda":
        if not gpus:
            raise DeviceError("devices.accelerator: found no GPU, accepted are auto and cpu here")
        return [Device(kind, i) for i in gpus]
    return [Device(kind, str(i)) for i in range(min(2, os.cpu_count() or 1))]


def pin(device: Device) -> str:
    """Make a device the only one that this process sees and return its name for torch.

    Must run before torch is imported. Where a scheduler has given the process one device already,
    that one is kept, whatever its number.

    Raises:
        DeviceError: if the GPU does not exist.
    """
    if device.kind == "cpu":
        os.environ[VISIBLE] = ""
        return "cpu"
    given = _given()
    if given is None or len(given) != 1:
        os.environ[VISIBLE] = device.id
    # number GPUs as NVML and nvidia-smi do, not fastest first
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    _uuid(os.environ[VISIBLE])
    return "cuda"


@contextmanager
def exclusive(device: Device) -> Iterator[None]:
    """Hold a pinned GPU's lock against every other invocation on this host.

    CPU slots are shared by nature and are not locked.

    Raises:
        DeviceError: if another process holds it; the message names that process.
    """
    if device.kind == "cpu":
        yield
        return
    path = _host_folder() / f"device-{_uuid(os.environ[VISIBLE])}.lock"
    lock = filelock.FileLock(path)
    holder = path.with_suffix(".holder")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise DeviceError(
            f"{device.name}: found it in use by {who}, wait for its end or take other device_ids"
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        lock.release()


@contextmanager
def loading_turn(concurrency: int | None) -> Iterator[float]:
    """Hold one of a host's turns to load a model; yield the seconds waited for it.

    Args:
        concurrency: models loaded at a time on one host; None sets no limit.
    """
    began = time.monotonic()
    if concurrency is None:
        yield 0.0
        return
    locks = [filelock.FileLock(_host_folder() / f"load-{turn}.lock") for turn in range(concurrency)]
    while (lock := next(filter(_try, locks), None)) is None:
        time.sleep(0.1)
    try:
        yield time.monotonic() - began
    finally:
        lock.release()


def _try(lock: filelock.FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    return True


def _host_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _given() -> list[str] | None:
    value = os.environ.get(VISIBLE)
    return None if value is None else [i for i in value.split(",") if i]


def _visible_gpus() -> list[str]:
    given = _given()
    if given is not None:
        return given
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _uuid(device_id: str) -> str:
    """Return the UUID of a GPU given by number or UUID."""
    try:
        pynvml.nvmlInit()
        try:
            if device_id.isdigit():
                handle = pynvml.nvmlDeviceGetHandleByIndex(int(device_id))
            else:
                handle = pynvml.nvmlDeviceGetHandleByUUID(device_id)
            return pynvml.nvmlDeviceGetUUID(handle)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise DeviceError(
            f"devices.device_ids: found {device_id!r}, accepted is the number or UUID of a GPU "
            f"of this host ({error})"
        ) from None
