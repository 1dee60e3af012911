"""The GPUs of this machine, asked without using them."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from lockstep.devices import device
from lockstep.devices.device import Device

GB = 10**9


class Gpu(NamedTuple):
    """A GPU, as its driver describes it."""

    name: str
    """In records, logs and progress."""
    model: str
    used: int
    """Bytes of its memory in use, by whomever."""
    total: int
    """Bytes of its memory; 0 where that is not told."""


def gpus(devices: Iterable[Device]) -> list[Gpu]:
    """Return what the driver says of each GPU among some devices.

    Raises:
        DeviceError: if one cannot be asked.
    """
    return [
        Gpu(own.name, device.model(own.id), *device.memory(own.id))
        for own in devices
        if own.kind == "cuda"
    ]


def listed(found: Iterable[Gpu]) -> str:
    """Return GPUs in words, equal ones together."""
    counts = Counter(f"{own.model}, {size(own.total)}" for own in found)
    return " and ".join(f"{count} × {name}" for name, count in counts.items())


def size(count: float) -> str:
    """Return a number of bytes in words, with two digits or more."""
    for unit, bytes_ in (("TB", 10**12), ("GB", GB), ("MB", 10**6)):
        if count >= bytes_:
            number = count / bytes_
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{count / 1000:.0f} kB"
