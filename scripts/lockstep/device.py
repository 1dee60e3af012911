"""Devices: which there are, which one this process may use, and that nobody else does.

The only place that reads or sets CUDA_VISIBLE_DEVICES. Nothing here imports torch.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Self, TypeVar

import filelock
import pynvml

from lockstep import config, records, stopping
from lockstep.errors import DeviceError
from lockstep.records import Telemetry

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"

SAMPLE_SECONDS = 0.25

LEAVING = 5.0
"""Seconds in which a process that has been ended lets go of a device."""

FREE = 2**30
"""Bytes of a GPU's memory that may be in use while it counts as free; the driver takes some."""

SETTLED = 2.0
"""Seconds without a change after which what is in use of a GPU's memory is taken for others'."""

Model = TypeVar("Model")

THROTTLE_REASONS = {
    pynvml.nvmlClocksThrottleReasonSwPowerCap: "sw_power_cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hw_slowdown",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "sw_thermal_slowdown",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "hw_thermal_slowdown",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "hw_power_brake_slowdown",
}
"""Why a GPU lowers its clocks while it has work; being idle is none."""


class Device(NamedTuple):
    """One GPU, or one CPU slot where there is none."""

    kind: str
    """cuda or cpu."""
    id: str
    """Number or UUID of a GPU, number of a CPU slot."""
    label: str | None = None
    """Name on a cluster, where the GPUs of several hosts have the same numbers."""

    @property
    def name(self) -> str:
        """Name in records, logs and progress."""
        if self.label is not None:
            return self.label
        prefix = "gpu" if self.kind == "cuda" else "cpu"
        # of a UUID the first block is enough to tell devices apart
        return f"{prefix}{self.id}" if self.id.isdigit() else "-".join(self.id.split("-")[:2])


def devices(settings: config.Devices) -> list[Device]:
    """Return the devices to run on, one per shard.

    `auto` takes all GPUs that this process may see; where there is none, up to two CPU slots.

    Raises:
        DeviceError: if a device is asked for that cannot be.
    """
    gpus = [] if settings.accelerator == "cpu" else visible_gpus()
    kind = "cpu" if settings.accelerator == "cpu" else "cuda"
    if settings.accelerator == "auto" and not gpus:
        kind = "cpu"
    if settings.device_ids != "auto":
        ids = [str(i) for i in settings.device_ids]
        _check(kind, ids, gpus)
        return [Device(kind, i) for i in ids]
    if kind == "cuda":
        if not gpus:
            raise DeviceError("devices.accelerator: found no GPU, accepted are auto and cpu here")
        return [Device(kind, i) for i in gpus]
    return [Device(kind, str(i)) for i in range(min(2, os.cpu_count() or 1))]


def _check(kind: str, ids: list[str], gpus: list[str]) -> None:
    """Refuse ids that cannot be, before any job starts."""
    numbers = {i for i in ids if i.isdigit()}
    if kind == "cpu" and (others := [i for i in ids if i not in numbers]):
        raise DeviceError(
            f"devices.device_ids: found {others[0]!r}, accepted are numbers of CPU slots here"
        )
    # UUIDs and numbers name the same GPUs; only numbers can be compared with numbers
    known = {i for i in gpus if i.isdigit()}
    if kind == "cuda" and known and len(gpus) > 1 and (unknown := sorted(numbers - known)):
        raise DeviceError(
            f"devices.device_ids: found {unknown[0]}, accepted are the GPUs that are visible here: "
            f"{', '.join(gpus)}"
        )


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


def keep_compiled(folder: str) -> None:
    """Keep what Triton and torch compile in a folder, where the next process finds it.

    Must run before torch is imported. Variables that the user has set are kept.
    """
    os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(folder, "triton"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(folder, "inductor"))


@contextmanager
def loaded(
    device: Device, settings: config.Devices, load: Callable[[str], Model]
) -> Iterator[Model]:
    """Yield a model on a device that no other process uses meanwhile.

    Args:
        load: loads the model on a device that is named for torch.

    Raises:
        DeviceError: if the device is not to be had.
    """
    torch_device = pin(device)
    keep_compiled(settings.compile_cache)
    with exclusive(device, settings.when_busy):
        wait_until_free(device)
        with loading_turn(settings.load_concurrency):
            model = load(torch_device)
        yield model


Loaded = Callable[[Device, config.Devices, Callable[[str], Model]], AbstractContextManager[Model]]
"""What `loaded` is, or what stands in for it where a model stays from job to job."""


@contextmanager
def exclusive(device: Device, when_busy: str = "stop") -> Iterator[None]:
    """Hold a pinned GPU's lock against every other invocation on this host.

    CPU slots are shared by nature and are not locked.

    Args:
        when_busy: stop or wait where another process holds it.

    Raises:
        DeviceError: if another process holds it and `when_busy` is stop; the message names that
            process and since when.
    """
    if device.kind == "cpu":
        yield
        return
    path = records.host_folder() / f"device-{_uuid(os.environ[VISIBLE])}.lock"
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


def wait_until_free(device: Device) -> None:
    """Wait until the memory of a pinned GPU is free but for what other programs keep.

    The driver takes a while to clear what a process leaves behind, and a model that is loaded
    meanwhile finds no room.
    """
    if device.kind == "cpu":
        return
    began = settled = time.monotonic()
    first = used = _used(os.environ[VISIBLE])
    while used > FREE and time.monotonic() - settled < SETTLED:
        time.sleep(0.05)
        before, used = used, _used(os.environ[VISIBLE])
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


class Sampler:
    """Samples what a pinned GPU does, in a thread of its own; silent on CPU slots.

    What NVML does not tell of a device (a MIG slice's utilisation, for one) ends the sampling.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._samples: list[tuple[float, int, int, float, int]] = []
        self._leaving = threading.Event()

    def __enter__(self) -> Self:
        if self._device.kind == "cuda":
            uuid = _uuid(os.environ[VISIBLE])
            threading.Thread(target=self._sample, args=(uuid,), name="sampler", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()

    def take(self) -> Telemetry | None:
        """Return a summary since the last call; None if nothing was sampled."""
        samples, self._samples = self._samples, []
        if not samples:
            return None
        utilisation, memory, temperature, power, reasons = zip(*samples, strict=True)
        return Telemetry(
            utilisation=round(sum(utilisation) / len(samples), 1),
            memory=max(memory),
            temperature=max(temperature),
            power=round(sum(power) / len(samples), 1),
            throttled=sorted({name for mask in reasons for name in _throttle_reasons(mask)}),
        )

    def _sample(self, uuid: str) -> None:
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            while not self._leaving.wait(SAMPLE_SECONDS):
                self._samples.append(
                    (
                        pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
                        pynvml.nvmlDeviceGetMemoryInfo(handle).used,
                        pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
                        pynvml.nvmlDeviceGetPowerUsage(handle) / 1000,
                        pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
                    )
                )
        except pynvml.NVMLError as error:
            log.warning("no telemetry of %s (%s)", self._device.name, error)


def _throttle_reasons(mask: int) -> list[str]:
    return [name for bit, name in THROTTLE_REASONS.items() if mask & bit]


def _try(lock: filelock.FileLock, timeout: float = 0) -> bool:
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return False
    return True


def _given() -> list[str] | None:
    value = os.environ.get(VISIBLE)
    return None if value is None else [i for i in value.split(",") if i]


def visible_gpus() -> list[str]:
    """Return the ids of the GPUs that this process may use."""
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
    return _ask(device_id, pynvml.nvmlDeviceGetUUID)


def _used(device_id: str) -> int:
    """Return how many bytes of a GPU's memory are in use, by whomever."""
    return _ask(device_id, pynvml.nvmlDeviceGetMemoryInfo).used


def _ask(device_id: str, question: Callable[[Any], Any]) -> Any:
    """Return what NVML says of a GPU given by number or UUID."""
    try:
        pynvml.nvmlInit()
        try:
            if device_id.isdigit():
                handle = pynvml.nvmlDeviceGetHandleByIndex(int(device_id))
            else:
                handle = pynvml.nvmlDeviceGetHandleByUUID(device_id)
            return question(handle)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise DeviceError(
            f"devices.device_ids: found {device_id!r}, accepted is the number or UUID of a GPU "
            f"of this host ({error})"
        ) from None
