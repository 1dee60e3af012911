"""Pinning: this process computes on its devices alone, and nobody else on them.

Nothing here imports torch.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import filelock
import psutil

from lockstep import records
from lockstep.devices import stopping
from lockstep.devices.device import Device, given, gpu_uuid, memory, memory_used, see_only
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DeviceError

log = logging.getLogger(__name__)

STEADY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2,STRICT",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""What makes PyTorch, MKL and oneDNN compute alike on x86 processors, wide and narrow.

By themselves they choose their code by the processor, and the sum of a row by its place in the
batch and the number of threads. STRICT settles that for products of matrices.
"""

LEAVING = 5.0
"""Seconds in which a process that has been ended lets go of a device."""

FREE = 2**30
"""Bytes of a GPU's memory that may be in use while it counts as free; the driver takes some."""

SETTLED = 2.0
"""Seconds without a change after which what is in use of a GPU's memory is taken for others'."""

SPARED = 0.2
"""Share of a device's memory that is left to a process beside which a model is loaded."""

Model = TypeVar("Model")


def pin(devices: Sequence[Device]) -> str:
    """Make devices the only ones that this process sees and return their name for torch.

    Must run before torch is imported. Where a scheduler has given the process as many devices
    already, those are kept, whatever their numbers.

    Raises:
        DeviceError: if a GPU does not exist, or a scheduler has given too few.
    """
    if devices[0].kind == "cpu":
        see_only(())
        compute_steadily()
        return "cpu"
    shown = given()
    if shown is not None and 1 <= len(shown) < len(devices):
        raise DeviceError(
            f"devices: expected {len(devices)} visible to this job (gpus_per_editor, "
            f"gpus_per_judge), found only {', '.join(shown)}"
        )
    if shown is None or len(shown) != len(devices):
        see_only(device.id for device in devices)
    # number GPUs as NVML and nvidia-smi do, not fastest first
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    for device_id in given() or ():
        gpu_uuid(device_id)
    return "cuda"


def compute_steadily() -> None:
    """Let CPU slots give the same bits whatever the processor, the batch and the threads.

    Must run before torch is imported. It is as far as the libraries go: MKL keeps no promise on
    processors of other makers than its own. Variables that the user has set are kept.
    """
    # PyTorch takes the name of the instructions on trust, and would crash where there are none
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        known = any(line.startswith("flags") and " avx2 " in line for line in file)
    if known:
        for name, value in STEADY.items():
            os.environ.setdefault(name, value)


def keep_compiled(folder: str) -> None:
    """Keep what Triton and torch compile in a folder, where the next process finds it.

    Must run before torch is imported. Variables that the user has set are kept.
    """
    os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(folder, "triton"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(folder, "inductor"))


@contextmanager
def loaded(
    devices: Sequence[Device], settings: DeviceSettings, load: Callable[[str], Model]
) -> Iterator[Model]:
    """Yield a model on devices that no other process uses meanwhile.

    Args:
        load: loads the model on devices that are named for torch.

    Raises:
        DeviceError: if a device is not to be had.
    """
    torch_device = pin(devices)
    keep_compiled(settings.compile_cache)
    with exclusive(devices, settings.when_busy):
        wait_until_free(devices)
        with loading_turn(settings.load_concurrency):
            model = load(torch_device)
        yield model


def loaded_beside(
    devices: Sequence[Device], settings: DeviceSettings, load: Callable[[str], Model], room: int
) -> tuple[Model, list[int]] | None:
    """Load a model on devices that another process of the same run still uses.

    Args:
        room: bytes that the model takes of each device. As much must be left for the other one to
            grow, and a share of all beside.

    Returns:
        The model and the bytes that it took of each device; None where there is too little room.
    """
    torch_device = pin(devices)
    keep_compiled(settings.compile_cache)
    if torch_device == "cpu":
        host = psutil.virtual_memory()
        return (load("cpu"), []) if host.available >= 2 * room + SPARED * host.total else None
    ids = given() or ()
    before = []
    for used, total in map(memory, ids):
        if total - used < 2 * room + SPARED * total:
            return None
        before.append(used)
    with loading_turn(settings.load_concurrency):
        model = load(torch_device)
    return model, [memory_used(i) - used for i, used in zip(ids, before, strict=True)]


@contextmanager
def taken_over(
    devices: Sequence[Device], settings: DeviceSettings, own: Sequence[int]
) -> Iterator[None]:
    """Hold devices alone, on which a model was loaded beside that of a process that has ended now.

    Args:
        own: bytes that the model takes of each.

    Raises:
        DeviceError: if a device is not to be had.
    """
    with exclusive(devices, settings.when_busy):
        wait_until_free(devices, own)
        yield


Loaded = Callable[
    [Sequence[Device], DeviceSettings, Callable[[str], Model]], AbstractContextManager[Model]
]
"""What `loaded` is, or what stands in for it where a model stays from job to job."""


@contextmanager
def exclusive(devices: Sequence[Device], when_busy: str = "stop") -> Iterator[None]:
    """Hold the pinned GPUs' locks against every other invocation on this host.

    CPU slots are shared by nature and are not locked.

    Args:
        when_busy: stop or wait where another process holds one.

    Raises:
        DeviceError: if another process holds one and `when_busy` is stop; the message names that
            process and since when.
    """
    if devices[0].kind == "cpu":
        yield
        return
    pinned = zip(map(gpu_uuid, given() or ()), devices, strict=True)
    with ExitStack() as held:
        # in one order everywhere, so that no two wait for each other
        for uuid, device in sorted(pinned):
            held.enter_context(_locked(uuid, device, when_busy))
        yield


@contextmanager
def _locked(uuid: str, device: Device, when_busy: str) -> Iterator[None]:
    path = records.host_folder() / f"device-{uuid}.lock"
    lock = filelock.FileLock(path)
    holder = path.with_suffix(".holder")
    try:
        # a run that has just ended may still be letting go of it
        lock.acquire(timeout=LEAVING)
    except filelock.Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        busy = f"{device.name}: found it in use by {who}"
        if when_busy == "stop":
            raise DeviceError(
                f"{busy}, wait for its end, take other devices.device_ids, "
                "or set devices.when_busy: wait"
            ) from None
        log.warning("%s, waiting for its end", busy)
        while not _try(lock, timeout=1):
            stopping.check()
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        records.write_text(holder, f"process {os.getpid()} since {since}")
        yield
    finally:
        lock.release()


def wait_until_free(devices: Sequence[Device], own: Sequence[int] = ()) -> None:
    """Wait until the memory of the pinned GPUs is free but for what other programs keep.

    The driver takes a while to clear what a process leaves behind, and a model that is loaded
    meanwhile finds no room.

    Args:
        own: bytes that this process has of each; nothing by default.
    """
    if devices[0].kind == "cpu":
        return
    for device_id, device, mine in zip(
        given() or (), devices, own or [0] * len(devices), strict=True
    ):
        _wait_until_free(device_id, device, mine)


def _wait_until_free(device_id: str, device: Device, own: int) -> None:
    began = settled = time.monotonic()
    first = used = memory_used(device_id) - own
    while used > FREE and time.monotonic() - settled < SETTLED:
        time.sleep(0.05)
        before, used = used, memory_used(device_id) - own
        if used != before:
            settled = time.monotonic()
    if used > FREE:
        log.warning("%s: others use %.1f GiB of its memory", device.name, used / 2**30)
    if used < first:
        seconds = time.monotonic() - began
        log.info("%s: %.1f GiB came free in %.2f s", device.name, (first - used) / 2**30, seconds)


@contextmanager
def loading_turn(concurrency: int | None) -> Iterator[None]:
    """Hold one of a host's turns to load a model, and log how it was come by.

    Args:
        concurrency: models loaded at a time on one host; None sets no limit.
    """
    if concurrency is None:
        log.info("loading side by side with other devices")
        yield
        return
    began = time.monotonic()
    locks = [
        filelock.FileLock(records.host_folder() / f"load-{turn}.lock")
        for turn in range(concurrency)
    ]
    while (lock := next(filter(_try, locks), None)) is None:
        stopping.check()
        time.sleep(0.1)
    waited = time.monotonic() - began
    log.info("loading at most %d at a time, waited %.1f s for the turn", concurrency, waited)
    try:
        yield
    finally:
        lock.release()


def _try(lock: filelock.FileLock, timeout: float = 0) -> bool:
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return False
    return True
