"""The devices of the shards, where a scheduler gives them and where it does not."""

import json
import os
import time
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import filelock

from lockstep import records
from lockstep.config.run import Config
from lockstep.devices import device
from lockstep.devices.device import Device
from lockstep.errors import DeviceError

BEGUN_WITH = "LOCKSTEP_DEVICES"
"""Environment variable with the devices that a run on this machine has begun with, as JSON."""


def planned(settings: Config) -> list[Device]:
    """Return a device for each shard; on a cluster they stand for what jobs will be given.

    Raises:
        DeviceError: as `devices`.
    """
    if settings.cluster is None:
        return device.devices(settings.devices)
    kind = "cpu" if settings.devices.accelerator == "cpu" else "cuda"
    return [Device(kind, str(k), f"shard {k}") for k in range(settings.cluster.shards)]


def check_limits(limits: Mapping[str, Any], most: tuple[int, str]) -> None:
    """Refuse limits of resources (`--resources`) that would not hold.

    Args:
        limits: by name; one that is no number is passed over.
        most: most devices that one job takes, and the setting that says so.

    Raises:
        DeviceError: for the first mistake.
    """
    for name, limit in limits.items():
        if name.rstrip("0123456789").endswith("requests"):
            of_editors = name.removeprefix("requests").isdigit()
            option = "concurrency of the editors" if of_editors else "judge.concurrency"
            raise DeviceError(
                f"--resources {name}={limit}: expected {option}, which sets this limit"
            )
        if name != "gpu" and get_close_matches(name.lower(), ["gpu"], cutoff=0.75):
            raise DeviceError(
                f"--resources {name}={limit}: expected gpu=N (how many jobs have a device at a "
                "time), found a resource that no job uses"
            )
        # a job that claims more than the limit would be started all the same
        together, key = most
        if name == "gpu" and isinstance(limit, int) and limit < together:
            least = "1" if together == 1 else f"{together} ({key})"
            raise DeviceError(f"--resources gpu={limit}: expected at least {least}, found {limit}")


def most_together(settings: Config) -> tuple[int, str]:
    """Return the most devices that one job takes, and the setting that says so."""
    keys = {f"editors: {own.name}: gpus_per_editor": own.together for own in settings.editors}
    keys |= {f"{own.option}.gpus_per_judge": own.together for own in settings.each_judge.values()}
    most = max(keys, key=lambda key: keys[key])
    return keys[most], most


def of_job(settings: Config, first: int, count: int, needed: bool = True) -> list[Device]:
    """Return the devices of all shards as the job of one of them knows them.

    On one machine they are those that the run has begun with, even if this process finds others:
    a driver that is updated meanwhile shows no GPU to new processes. On a cluster the scheduler has
    given this job its devices, or those of several jobs to all of them; then this process takes
    free ones and holds them for as long as it lives.

    Args:
        first: place of the job's first device.
        count: number of its devices.
        needed: whether the job runs on its devices; to others the scheduler gives none.

    Raises:
        DeviceError: as `devices`, or if the scheduler gave no GPU, or too few.
    """
    if settings.cluster is None and BEGUN_WITH in os.environ:
        return [Device(*device) for device in json.loads(os.environ[BEGUN_WITH])]
    found = planned(settings)
    if settings.cluster is not None:
        node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]
        own = range(first, first + count)
        if found[0].kind == "cpu" or not needed:
            taken = [Device("cpu", str(k), f"{node}:cpu{k}") for k in own]
        else:
            taken = _take(given(), node, own)
        found[own.start : own.stop] = taken
    return found


def given() -> list[Device]:
    """Return the GPUs that this process may use, labelled by their numbers on their host.

    Where a scheduler hides the other GPUs, those that it gave are numbered from 0; it tells their
    numbers among all.
    """
    ids = device.visible_gpus()
    known = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS") or ""
    numbers = [number for number in known.split(",") if number]
    labels = numbers if len(numbers) == len(ids) else ids
    return [Device("cuda", i, f"gpu{label}") for i, label in zip(ids, labels, strict=True)]


_taken: list[filelock.FileLock] = []
"""Locks that are held until this process ends."""


def _take(gpus: list[Device], node: str, shards: range) -> list[Device]:
    """Return GPUs that no other job of the same allocation has taken, one for each shard."""
    if not gpus:
        raise DeviceError(
            "devices.accelerator: expected cpu on a node without GPUs, found no GPU given to "
            "this job"
        )
    if len(gpus) < len(shards):
        raise DeviceError(
            f"devices: expected {len(shards)} given to this job (gpus_per_editor, gpus_per_judge), "
            f"found only {len(gpus)}"
        )
    first = shards.start % len(gpus)
    order = (*gpus[first:], *gpus[:first])
    taken: list[Device] = []
    while len(taken) < len(shards):
        if (gpu := next((gpu for gpu in order if _try_take(gpu, node)), None)) is not None:
            taken.append(gpu._replace(label=f"{node}:{gpu.label}"))
        else:
            # the job that had one before is still ending
            time.sleep(0.1)
    return taken


def _try_take(gpu: Device, node: str) -> bool:
    """Take a GPU, and tell whether it was free."""
    lock = filelock.FileLock(records.host_folder() / f"{node}-{gpu.label}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    _taken.append(lock)
    return True
