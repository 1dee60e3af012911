"""Measure the barrier with real processes, and compare a real run with the simulator.

python benchmarks/waves.py --processes 8     release latency and cost of waiting
python benchmarks/waves.py --run             six shards with a sleeping editor, under each schedule
python benchmarks/waves.py --run --speeds 1 1 0.6 0.3    the same on devices of these speeds
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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import simulate
from PIL import Image

from lockstep import records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings, Schedule
from lockstep.editing import shard as editing_shard
from lockstep.editing.waves import Barrier
from lockstep.editors.identity import IdentitySettings
from lockstep.records import EditRecord, Sample

PROCESSES = multiprocessing.get_context("fork")

SPEEDS = [1 / (0.95 + 0.02 * device) for device in range(6)]
"""Six devices of speeds within ± 5%."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, help="measure the barrier between n processes")
    parser.add_argument("--waves", type=int, default=100, help="waves to measure")
    parser.add_argument("--run", action="store_true", help="run shards with a sleeping editor")
    parser.add_argument("--speeds", type=float, nargs="+", help="of the shards' devices")
    parser.add_argument("--samples", type=int, default=60, help="to edit in all")
    arguments = parser.parse_args()
    if arguments.processes:
        measure_barrier(arguments.processes, arguments.waves)
    elif arguments.run:
        measure_runs(arguments.speeds or SPEEDS, arguments.samples)
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
    """Takes 0.2 s ± 5% for an edit on a device of speed 1."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def prepare(self, sample: Sample) -> None:
        return None

    def edit(self, prepared: None, sample: Sample, seed: int) -> Image.Image:
        time.sleep(0.2 * random.Random(sample.index).uniform(0.95, 1.05) / self._speed)
        return Image.new("RGB", (32, 32))


def measure_runs(speeds: Sequence[float], count: int) -> None:
    """Edit with real jobs under each schedule; print makespans, predictions and drifts.

    Predicted is from the items' times in the run without waiting, which is measured first.
    """
    print(f"{count} edits of 0.2 s ± 5% by {len(speeds)} processes of speeds", *map(_short, speeds))
    for schedule, policy in (("free", "free"), ("lockstep", 0), ("queue", "queue")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            manifest = _manifest(folder, count)
            shards = [(manifest, folder, k, speeds, schedule) for k in range(len(speeds))]
            _in_processes(_edit, shards)
            edits = folder / "physical" / "edits"
            found = [r for p in edits.iterdir() for r in records.read_records(p, EditRecord)]
            if schedule == "free":
                run = simulate.read_run(edits)
        measured = max(r.started + r.edit_seconds for r in found) - min(r.started for r in found)
        predicted = simulate.simulate(run.items, run.slowness, policy).makespan
        ideal = run.items.sum() / (1 / run.slowness).sum()
        by_device = Counter(record.device for record in found)
        print(
            f"{schedule:<8} makespan {measured:6.3f} s, {measured / ideal:.3f} of ideal; "
            f"predicted {predicted:6.3f} s, off by {predicted / measured - 1:+.2%}; "
            f"largest drift {_drift(found)} images; edits",
            *(by_device[device] for device in sorted(by_device)),
        )


def _short(speed: float) -> str:
    return f"{speed:.3g}"


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


def _edit(
    manifest: Path, folder: Path, shard: int, speeds: Sequence[float], schedule: Schedule
) -> None:
    settings = DeviceSettings(accelerator="cpu", schedule=schedule)
    shards = len(speeds)
    devices = [Device("cpu", str(k)) for k in range(shards)]
    editor = IdentitySettings(name="sleeping", type="identity")
    with (
        mock.patch.object(IdentitySettings, "load", lambda *_: SleepingEditor(speeds[shard])),
        open("/dev/null", "w") as nowhere,
    ):
        job = editing_shard.Shard(shard, devices, slots=shards, run="run")
        given = (editor, manifest, folder / "physical", job, nowhere)
        editing_shard.edit_shard(*given, seed=0, settings=settings)


def _drift(found: list[EditRecord]) -> int:
    """Return how many images a device was ever ahead of another that still had work."""
    left = Counter(record.device for record in found)
    done = dict.fromkeys(left, 0)
    largest = 0
    for record in sorted(found, key=lambda r: r.started + r.edit_seconds):
        done[record.device] += 1
        working = [done[device] for device in done if done[device] < left[device]]
        largest = max(largest, max(working, default=0) - min(working, default=0))
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
