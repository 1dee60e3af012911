"""Devices: which there are, which one this process may use, and that nobody else does.

The only place that reads or sets CUDA_VISIBLE_DEVICES. Nothing here imports torch.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import takewhile
from typing import Any, NamedTuple, Self, TypeVar

import filelock
import pynvml

from lockstep import config, records, stopping
from lockstep.errors import DeviceError
from lockstep.records import Telemetry

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"

STEADY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2,STRICT",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""What makes PyTorch, MKL and oneDNN compute alike on x86 processors, wide and narrow.

By themselves they choose their code by the processor, and the sum of a row by its place in the
batch and the number of threads. STRICT settles that for products of matrices.
"""

SAMPLE_SECONDS = 0.25

LEAVING = 5.0
"""Seconds in which a process that has been ended lets go of a device."""

FREE = 2**30
"""Bytes of a GPU's memory that may be in use while it counts as free; the driver takes some."""

SETTLED = 2.0
"""Seconds without a change after which what is in use of a GPU's memory is taken for others'."""

NO_DRIVER = {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
"""What NVML says where there is no GPU."""

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
        if kind == "cpu" and (others := [i for i in ids if not i.isdigit()]):
            raise DeviceError(
                f"devices.device_ids: found {others[0]!r}, accepted are numbers of CPU slots here"
            )
        return [Device(kind, i) for i in ids]
    if kind == "cuda":
        if not gpus:
            raise DeviceError("devices.accelerator: found no GPU, accepted are auto and cpu here")
        return [Device(kind, i) for i in gpus]
    return [Device(kind, str(i)) for i in range(min(2, os.cpu_count() or 1))]


def check_visible(wanted: Sequence[Device]) -> None:
    """Refuse GPUs that cannot be, before any job starts.

    Not for a job: a scheduler shows it no more than its own devices.

    Raises:
        DeviceError: if one is not among those that are visible.
    """
    if wanted[0].kind == "cpu":
        return
    gpus = visible_gpus()
    if not gpus:
        raise DeviceError(
            f"devices.device_ids: found {joined(wanted)}, but this machine shows no GPU, "
            "expected accelerator: auto or cpu here"
        )
    # UUIDs and numbers name the same GPUs; only numbers can be compared with numbers
    known = {i for i in gpus if i.isdigit()}
    numbers = {device.id for device in wanted if device.id.isdigit()}
    if known and len(gpus) > 1 and (unknown := sorted(numbers - known)):
        raise DeviceError(
            f"devices.device_ids: found {unknown[0]}, accepted are the GPUs that are visible here: "
            f"{', '.join(gpus)}"
        )


def joined(devices: Sequence[Device]) -> str:
    """Return the name of devices that work together."""
    return "+".join(device.name for device in devices)


def split(devices: Sequence[Device], together: int) -> list[Sequence[Device]]:
    """Return the devices of each judge, neighbours in the list.

    Args:
        together: devices of one judge.

    Raises:
        DeviceError: if the devices cannot be split so.
    """
    count = len(devices)
    if count % together:
        accepted = [str(i) for i in range(1, count + 1) if count % i == 0]
        raise DeviceError(
            f"judge.gpus_per_judge: found {together} with {count} device{'s' * (count > 1)}, "
            f"accepted is {' or '.join(accepted)}, or another number of devices"
        )
    return [devices[first : first + together] for first in range(0, count, together)]


def pin(devices: Sequence[Device]) -> str:
    """Make devices the only ones that this process sees and return their name for torch.

    Must run before torch is imported. Where a scheduler has given the process as many devices
    already, those are kept, whatever their numbers.

    Raises:
        DeviceError: if a GPU does not exist, or a scheduler has given too few.
    """
    if devices[0].kind == "cpu":
        os.environ[VISIBLE] = ""
        compute_steadily()
        return "cpu"
    given = _given()
    if given is not None and 1 <= len(given) < len(devices):
        raise DeviceError(
            f"judge.gpus_per_judge: found only {', '.join(given)} visible to this job, "
            f"accepted is as many as {len(devices)}"
        )
    if given is None or len(given) != len(devices):
        os.environ[VISIBLE] = ",".join(device.id for device in devices)
    # number GPUs as NVML and nvidia-smi do, not fastest first
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    for device_id in _given():
        _uuid(device_id)
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
    devices: Sequence[Device], settings: config.Devices, load: Callable[[str], Model]
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


Loaded = Callable[
    [Sequence[Device], config.Devices, Callable[[str], Model]], AbstractContextManager[Model]
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
    pinned = zip(map(_uuid, _given()), devices, strict=True)
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


def wait_until_free(devices: Sequence[Device]) -> None:
    """Wait until the memory of the pinned GPUs is free but for what other programs keep.

    The driver takes a while to clear what a process leaves behind, and a model that is loaded
    meanwhile finds no room.
    """
    if devices[0].kind == "cpu":
        return
    for device_id, device in zip(_given(), devices, strict=True):
        _wait_until_free(device_id, device)


def _wait_until_free(device_id: str, device: Device) -> None:
    began = settled = time.monotonic()
    first = used = _used(device_id)
    while used > FREE and time.monotonic() - settled < SETTLED:
        time.sleep(0.05)
        before, used = used, _used(device_id)
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
            uuid = _uuid(_given()[0])
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
    if value is None:
        return None
    # as CUDA reads it: whatever names no GPU, such as -1, ends the list
    ids = (text.strip() for text in value.split(","))
    return list(takewhile(lambda i: i and not i.startswith("-") and i != "NoDevFiles", ids))


def visible_gpus() -> list[str]:
    """Return the ids of the GPUs that this process may use.

    Raises:
        DeviceError: if there is a driver, but it fails.
    """
    given = _given()
    if given is not None:
        return given
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value in NO_DRIVER:
            return []
        raise DeviceError(
            f"devices.accelerator: found a GPU driver that fails ({error}), accepted is one with "
            "which nvidia-smi lists the GPUs, or cpu"
        ) from None
    try:
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _uuid(device_id: str) -> str:
    """Return the UUID of a GPU given by number or UUID."""
    return _ask(device_id, pynvml.nvmlDeviceGetUUID)


def _used(device_id: str) -> int:
    """Return how many bytes of a GPU's memory are in use, by whomever; 0 if that is not told."""

    def used(handle: Any) -> int:
        try:
            return pynvml.nvmlDeviceGetMemoryInfo(handle).used
        except pynvml.NVMLError:
            # it shares the host's memory, or is a slice of a GPU that is not all ours
            return 0

    return _ask(device_id, used)


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
