"""Sixty seconds of kill -9 and SIGSTOP on eight shards, in lockstep and from a queue.

`make chaos` runs it.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from lockstep import plan, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings, Schedule
from lockstep.editing import shard as editing_shard
from lockstep.editors.identity import IdentitySettings
from lockstep.records import EditRecord, Sample
from tests.conftest import make_sample

SHARDS = 8
WAVES = 120
SECONDS = 60
PROCESSES = multiprocessing.get_context("fork")


class Editor:
    """Takes a fifth of a second and writes down what it finished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, sample: Sample) -> None:
        return None

    def edit(self, prepared: None, sample: Sample, seed: int) -> Image.Image:
        time.sleep(random.uniform(0.15, 0.25))
        with open(self._folder / f"edited-{sample.id}", "ab") as file:
            file.write(b".")
        return Image.new("RGB", (16, 16), (sample.index % 256, sample.index // 256, 0))


def edit(folder: Path, shard: int, schedule: Schedule) -> None:
    devices = [Device("cpu", str(k)) for k in range(SHARDS)]
    with (
        mock.patch.object(IdentitySettings, "load", lambda *_: Editor(folder)),
        open("/dev/null", "w") as nowhere,
    ):
        editing_shard.edit_shard(
            IdentitySettings(name="chaos", type="identity"),
            folder / "physical.jsonl",
            folder / "physical",
            editing_shard.Shard(shard, devices, slots=SHARDS, run="run", first=3),
            nowhere,
            seed=0,
            settings=DeviceSettings(accelerator="cpu", schedule=schedule),
        )


@pytest.mark.parametrize("schedule", ["lockstep", "queue"])
def test_every_item_is_there_exactly_once_whatever_dies_or_stops(tmp_path, schedule):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    source = make_sample(tmp_path)
    samples = [
        source.model_copy(update={"id": f"{i:04d}", "image": Path(source.image).name, "index": i})
        for i in range(SHARDS * WAVES)
    ]
    records.write_records(tmp_path / "physical.jsonl", samples)

    def begin(shard):
        process = PROCESSES.Process(target=edit, args=(tmp_path, shard, schedule))
        process.start()
        return process

    processes = {shard: begin(shard) for shard in range(SHARDS)}
    stopped: dict[int, float] = {}
    kills = stops = 0
    began = time.monotonic()
    while processes:
        now = time.monotonic()
        assert now - began < 4 * SECONDS, f"no end after {now - began:.0f} s, seed {seed}"
        for shard, process in list(processes.items()):
            if not process.is_alive():
                process.join()
                if process.exitcode == 0:
                    del processes[shard]
                else:
                    assert process.exitcode == -signal.SIGKILL
                    processes[shard] = begin(shard)
                stopped.pop(shard, None)
        for shard, until in list(stopped.items()):
            if now >= until or now - began >= SECONDS:
                os.kill(processes[shard].pid, signal.SIGCONT)
                del stopped[shard]
        if processes and now - began < SECONDS and rng.random() < 0.1:
            shard = rng.choice(list(processes))
            if shard not in stopped and processes[shard].is_alive():
                if rng.random() < 0.5:
                    os.kill(processes[shard].pid, signal.SIGKILL)
                    kills += 1
                else:
                    os.kill(processes[shard].pid, signal.SIGSTOP)
                    stopped[shard] = now + rng.uniform(0.1, 2)
                    stops += 1
        time.sleep(0.05)

    found = [
        record
        for shard in range(SHARDS)
        for record in records.read_records(
            tmp_path / "physical" / "edits" / plan.shard_file(shard, SHARDS), EditRecord
        )
    ]
    assert sorted(record.id for record in found) == [sample.id for sample in samples]
    assert {record.status for record in found} == {"ok"}
    for record in found:
        kept = records.read_provenance(tmp_path / "physical" / record.image)
        assert (kept["id"], kept["key"]) == (record.id, record.key)
    times = [(tmp_path / f"edited-{sample.id}").stat().st_size for sample in samples]
    print(f"{kills} kills, {stops} stops, {sum(times) - len(times)} edits done again")
    # a kill costs at most the item in hand
    assert sum(times) - len(times) <= kills
    assert min(kills, stops) > 5
