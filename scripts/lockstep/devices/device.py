"""Devices: which there are, and which of them this process sees.

The only place that reads or sets CUDA_VISIBLE_DEVICES. Nothing here imports torch.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import pynvml

from lockstep.devices.settings import DeviceSettings
from lockstep.errors import DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"

NO_DRIVER = {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
"""What NVML says where there is no GPU."""


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


def devices(settings: DeviceSettings) -> list[Device]:
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
                f"devices.device_ids: expected numbers of CPU slots here, found {others[0]!r}"
            )
        return [Device(kind, i) for i in ids]
    if kind == "cuda":
        if not gpus:
            raise DeviceError("devices.accelerator: expected auto or cpu here, found no GPU")
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
            "devices.device_ids: expected accelerator: auto or cpu on a machine that shows no GPU, "
            f"found {joined(wanted)}"
        )
    # UUIDs and numbers name the same GPUs; only numbers can be compared with numbers
    known = {i for i in gpus if i.isdigit()}
    numbers = {device.id for device in wanted if device.id.isdigit()}
    if known and len(gpus) > 1 and (unknown := sorted(numbers - known)):
        raise DeviceError(
            f"devices.device_ids: expected GPUs that are visible here ({', '.join(gpus)}), "
            f"found {unknown[0]}"
        )


def without_gpu(devices: Sequence[Device], settings: DeviceSettings) -> str | None:
    """Return a sentence on CPU slots that are taken for want of a GPU; None of other devices."""
    if settings.accelerator != "auto" or devices[0].kind != "cpu":
        return None
    names = ", ".join(device.name for device in devices)
    return f"found no GPU here, runs on CPU slots: {names} (devices.accelerator: auto)"


def joined(devices: Sequence[Device]) -> str:
    """Return the name of devices that work together."""
    return "+".join(device.name for device in devices)


def split(
    devices: Sequence[Device], together: int, key: str = "judge.gpus_per_judge"
) -> list[Sequence[Device]]:
    """Return the devices of each job of a kind, neighbours in the list.

    Args:
        together: devices of one job.
        key: the setting that says how many.

    Raises:
        DeviceError: if the devices cannot be split so.
    """
    count = len(devices)
    if count % together:
        fitting = [str(i) for i in range(1, count + 1) if count % i == 0]
        raise DeviceError(
            f"{key}: expected {' or '.join(fitting)}, or another number of devices, "
            f"found {together} with {count} device{'s' * (count > 1)}"
        )
    return [devices[first : first + together] for first in range(0, count, together)]


def given() -> list[str] | None:
    """Return the ids of the GPUs that the environment shows this process; None without a list."""
    value = os.environ.get(VISIBLE)
    if value is None:
        return None
    # as CUDA reads it: whatever names no GPU, such as -1, ends the list
    ids = (text.strip() for text in value.split(","))
    return list(takewhile(lambda i: i and not i.startswith("-") and i != "NoDevFiles", ids))


def see_only(ids: Iterable[str]) -> None:
    """Let this process see some GPUs alone; must run before torch is imported."""
    os.environ[VISIBLE] = ",".join(ids)


def visible_gpus() -> list[str]:
    """Return the ids of the GPUs that this process may use.

    Raises:
        DeviceError: if there is a driver, but it fails.
    """
    shown = given()
    if shown is not None:
        return shown
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value in NO_DRIVER:
            return []
        raise DeviceError(
            "devices.accelerator: expected a driver with which nvidia-smi lists the GPUs, or cpu, "
            f"found a GPU driver that fails ({error})"
        ) from None
    try:
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def gpu_uuid(device_id: str) -> str:
    """Return the UUID of a GPU given by number or UUID."""
    return _ask(device_id, pynvml.nvmlDeviceGetUUID)


def memory_used(device_id: str) -> int:
    """Return how many bytes of a GPU's memory are in use, by whomever; 0 if that is not told."""
    return memory(device_id)[0]


def memory(device_id: str) -> tuple[int, int]:
    """Return how many bytes of a GPU's memory are in use, and how many it has; 0 if not told."""

    def asked(handle: Any) -> tuple[int, int]:
        try:
            found = pynvml.nvmlDeviceGetMemoryInfo(handle)
            return found.used, found.total
        except pynvml.NVMLError:
            # it shares the host's memory, or is a slice of a GPU that is not all ours
            return 0, 0

    return _ask(device_id, asked)


def model(device_id: str) -> str:
    """Return what a GPU's maker calls it."""
    name = _ask(device_id, pynvml.nvmlDeviceGetName)
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


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
            "devices.device_ids: expected the number or UUID of a GPU of this host, "
            f"found {device_id!r} ({error})"
        ) from None
