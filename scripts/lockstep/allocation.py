"""The devices of the shards, where a scheduler gives them and where it does not."""

import os
import time

import filelock

from lockstep import config, device, records
from lockstep.device import Device
from lockstep.errors import DeviceError


def planned(settings: config.Config) -> list[Device]:
    """Return a device for each shard; on a cluster they stand for what jobs will be given.

    Raises:
        DeviceError: as `devices`.
    """
    if settings.cluster is None:
        return device.devices(settings.devices)
    kind = "cpu" if settings.devices.accelerator == "cpu" else "cuda"
    return [Device(kind, str(k), f"shard {k}") for k in range(settings.cluster.shards)]


def of_job(settings: config.Config, shard: int, needed: bool = True) -> list[Device]:
    """Return the devices of all shards as the job of one of them knows them.

    On a cluster the scheduler has given this job its device, or those of several jobs to all of
    them; then this process takes one that is free and holds it for as long as it lives.

    Args:
        needed: whether the job runs on its device; to others the scheduler gives none.

    Raises:
        DeviceError: as `devices`, or if the scheduler gave no GPU.
    """
    found = planned(settings)
    if settings.cluster is not None:
        node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]
        if found[shard].kind == "cpu" or not needed:
            found[shard] = Device("cpu", str(shard), f"{node}:cpu{shard}")
        else:
            found[shard] = _take(given(), node, shard)
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


def _take(gpus: list[Device], node: str, shard: int) -> Device:
    """Return a GPU that no other job of the same allocation has taken."""
    if not gpus:
        raise DeviceError(
            "devices.accelerator: found no GPU given to this job, accepted is cpu on such nodes"
        )
    first = shard % len(gpus)
    while True:
        for gpu in (*gpus[first:], *gpus[:first]):
            lock = filelock.FileLock(records.host_folder() / f"{node}-{gpu.label}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                continue
            _taken.append(lock)
            return gpu._replace(label=f"{node}:{gpu.label}")
        # the job that had one before is still ending
        time.sleep(0.1)
