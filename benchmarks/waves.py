"""Measure the barrier with real processes, and compare a real run with the simulator.

python benchmarks/waves.py --processes 8     release latency and cost of waiting
python benchmarks/waves.py --run             six shards with a sleeping editor
python benchmarks/simulate.py                lockstep against other policies, simulated
"""

import argparse
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import simulate
from PIL import Image

from lockstep import plan, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editing import shard as editing_shard
from lockstep.editing.waves import Barrier
from lockstep.editors.identity import IdentitySettings
from lockstep.records import EditRecord, Sample

PROCESSES = multiprocessing.get_context("fork")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, help="measure the barrier between n processes")
    parser.add_argument("--waves", type=int, default=100, help="waves to measure")
    parser.add_argument("--run", action="store_true", help="run six shards with a sleeping editor")
    arguments = parser.parse_args()
    if arguments.processes:
        measure_barrier(arguments.processes, arguments.waves)
    elif arguments.run:
        for sync in (True, False):
            measure_run(sync)
    else:
        parser.print_help()
        sys.exit(2)


def measure_barrier(shards: int, waves: int) -> None:
    """Print how soon a release reaches the waiting processes, and what waiting costs."""
    with tempfile.TemporaryDirectory() as folder:
        logs = _in_processes(_pass_waves, [(folder, k, shards, waves) for k in range(shards)])
        latencies = []
        for wave in range(waves - 1):
            last = max(log["finished"][wave] for log in logs)
            released = sorted(log["started"][wave + 1] for log in logs)
            # the last to finish waits for nobody
            latencies += [1000 * (start - last) for start in released[1:]]
        latencies.sort()
        median = statistics.median(latencies)
        p99 = latencies[int(0.99 * len(latencies))]
        print(f"release latency of {shards} processes over {waves} waves:")
        print(f"  median {median:.2f} ms, p99 {p99:.2f} ms, most {latencies[-1]:.2f} ms")
        costs = _in_processes(_wait_long, [(folder + "/long", k, shards) for k in range(shards)])
        cost = max(share for share in costs if share is not None)
        print(f"  processor time of a process that waits 5 s: {cost:.2%} of a core")


def _pass_waves(folder: str, shard: int, shards: int, waves: int) -> dict[str, list[float]]:
    rng = random.Random(shard)
    log: dict[str, list[float]] = {"started": [], "finished": []}
    with Barrier(Path(folder), shard, shards, "run", range(shards), shards) as barrier:
        barrier.ready()
        for wave in range(waves):
            barrier.wait(wave)
            log["started"].append(time.monotonic())
            time.sleep(rng.uniform(0.02, 0.06))
            log["finished"].append(time.monotonic())
            barrier.finish(wave)
    return log


def _wait_long(folder: str, shard: int, shards: int) -> float | None:
    """Wait 5 s for shard 0 and return the share of a core that it cost."""
    with Barrier(Path(folder), shard, shards, "run", range(shards), shards) as barrier:
        barrier.ready()
        barrier.wait(0)
        if shard == 0:
            time.sleep(5)
        barrier.finish(0)
        before = time.process_time()
        waited = barrier.wait(1)
        return None if shard == 0 else (time.process_time() - before) / waited


class SleepingEditor:
    """Takes 0.2 s for an edit: devices differ by ± 5%, and so do the edits of one device."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def prepare(self, sample: Sample) -> None:
        return None

    def edit(self, prepared: None, sample: Sample, seed: int) -> Image.Image:
        time.sleep(duration(sample.index, self._shards))
        return Image.new("RGB", (32, 32))


def duration(index: int, shards: int) -> float:
    device = 0.95 + 0.1 * (index % shards) / (shards - 1)
    return 0.2 * device * random.Random(index).uniform(0.95, 1.05)


def measure_run(sync: bool, shards: int = 6, count: int = 60) -> tuple[float, float, int]:
    """Edit with real jobs and print makespan over the sum of the slowest, prediction and drift.

    Returns:
        measured makespan over the sum of each wave's slowest, the simulator's prediction over the
        measured makespan, and the largest drift in images.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = _manifest(folder, count)
        _in_processes(_edit, [(manifest, folder, k, shards, sync) for k in range(shards)])
        found = [
            record
            for k in range(shards)
            for record in records.read_records(
                folder / "physical" / "edits" / plan.shard_file(k, shards), EditRecord
            )
        ]
        measured = max(r.started + r.edit_seconds for r in found) - min(r.started for r in found)
        waves = range(plan.wave_count(count, shards))
        slowest = sum(
            max(duration(i, shards) for i in range(w * shards, min((w + 1) * shards, count)))
            for w in waves
        )
        policy = 0 if sync else "free"
        predicted = simulate.predict(folder / "physical" / "edits", policy)
        drift = _drift(found)
    ratio = measured / slowest
    print(f"{'lockstep' if sync else 'no sync'}: {count} edits of 0.2 s ± 5% by {shards} processes")
    print(f"  makespan {measured:.3f} s, over the sum of each wave's slowest {ratio:.4f}")
    print(f"  predicted by the simulator {predicted:.3f} s, off by {predicted / measured - 1:+.2%}")
    print(f"  largest drift {drift} images")
    return ratio, predicted / measured, drift


def _manifest(folder: Path, count: int) -> Path:
    source = folder / "source.png"
    Image.new("RGB", (32, 32)).save(source)
    manifest = folder / "physical.jsonl"
    samples = [
        Sample(
            id=f"{i:04d}",
            category="physical",
            image="source.png",
            image_sha256=records.sha256(source.read_bytes()),
            width=32,
            height=32,
            instruction="Sleep.",
            index=i,
        )
        for i in range(count)
    ]
    records.write_records(manifest, samples)
    return manifest


def _edit(manifest: Path, folder: Path, shard: int, shards: int, sync: bool) -> None:
    settings = DeviceSettings(accelerator="cpu", enable_batch_sync=sync)
    devices = [Device("cpu", str(k)) for k in range(shards)]
    editor = IdentitySettings(name="sleeping", type="identity")
    with (
        mock.patch.object(IdentitySettings, "load", lambda *_: SleepingEditor(shards)),
        open("/dev/null", "w") as nowhere,
    ):
        job = editing_shard.Shard(shard, devices, slots=shards, run="run")
        given = (editor, manifest, folder / "physical", job, nowhere)
        editing_shard.edit_shard(*given, seed=0, settings=settings)


def _drift(found: list[EditRecord]) -> int:
    """Return how many images the fastest shard was ever ahead of the slowest."""
    done = dict.fromkeys({record.shard for record in found}, 0)
    largest = 0
    for record in sorted(found, key=lambda r: r.started + r.edit_seconds):
        done[record.shard] += 1
        largest = max(largest, max(done.values()) - min(done.values()))
    return largest


def _in_processes(work, arguments: list[tuple]) -> list:
    """Run a function in a process for each tuple of arguments and return what they return."""
    with tempfile.TemporaryDirectory() as folder:

        def run(number: int) -> None:
            result = work(*arguments[number])
            Path(folder, str(number)).write_text(json.dumps(result))

        processes = [PROCESSES.Process(target=run, args=(k,)) for k in range(len(arguments))]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [json.loads(Path(folder, str(k)).read_text()) for k in range(len(arguments))]


if __name__ == "__main__":
    main()
