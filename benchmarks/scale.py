"""Measure what each step takes of time and memory as a benchmark grows.

`python benchmarks/scale.py --samples 1000 10000 100000` draws benchmarks of that many samples,
runs the workflow on each with the identity editor and finished replies as judge, one step after
the other, and prints for each step its time, its peak memory, and how they grow, and how long a
browser takes to open the report. Every step is a real run of Snakemake; its peak is that of the
largest of its jobs, or Snakemake's own where it runs none.
Where others use the machine too, the time of the processors tells more than that of the clock.
"""

import argparse
import base64
import io
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml
from PIL import Image

from lockstep.benchmark.categories import CATEGORIES
from lockstep.plan import shard_file
from lockstep.rubrics.rubric import read_rubric

ROOT = Path(__file__).parents[1]
SHARDS = 2

PAGE = ("report.html", "data/index.js", "data/texts-*.js", "data/details-*.js")
"""Files of the page: the first three are read when it opens, of the last what is looked at."""


class Cost(NamedTuple):
    seconds: float
    busy: float
    """Seconds of processors, of user and system, over all processes."""
    peak: int
    """Bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--folder", type=Path, help="keep the runs here and go on with them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        found = {count: measure(folder / str(count), count) for count in arguments.samples}
    print_table(found)


def measure(folder: Path, count: int) -> dict[str, Cost]:
    """Return what each step costs with so many samples."""
    make(folder, count)
    everywhere = [f"results/identity/{category}" for category in CATEGORIES]
    shards = [shard_file(k, SHARDS) for k in range(SHARDS)]
    steps = {
        "prepare": [f"results/manifest/{category}.jsonl" for category in CATEGORIES],
        "dry run": ["--dry-run", "all"],
        "edit": [f"{place}/edits/{shard}" for place in everywhere for shard in shards],
        "score": [f"{place}/scores/{shard}" for place in everywhere for shard in shards],
        "tabulate": [f"{place}/table.csv" for place in everywhere],
        "report": ["all"],
        "dry run, all done": ["--dry-run", "all"],
        "again, all done": ["all"],
    }
    found = {}
    for step, targets in steps.items():
        found[step] = run(folder, targets)
        seconds, busy, peak = found[step]
        times = f"{seconds:9.1f} s {busy:9.1f} s of processors"
        print(f"{count:>9,} {step:<18} {times} {peak / 1e6:8.0f} MB", flush=True)
    page = folder / "results" / "report"
    numbers = json.loads((page / "report.json").read_bytes())["editors"]["identity"]["overall"]
    if numbers["micro"]["count"] != count:
        raise RuntimeError(f"{folder}: found {numbers['micro']['count']} scores, not {count}")
    sizes = {part: sum(path.stat().st_size for path in page.glob(part)) for part in PAGE}
    listed = ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in sizes.items())
    print(f"{count:>9,} {listed}; {opening(page / 'report.html')}", flush=True)
    return found


def opening(page: Path) -> str:
    """Return how long a browser takes until the page shows samples with their texts."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        return "how the page opens needs Chromium and `make .venv/.browser`"
    # as root it cannot make its sandbox
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        opened = browser.new_page()
        began = time.monotonic()
        opened.goto(f"{page.absolute().as_uri()}#samples")
        opened.wait_for_function(
            "document.querySelector('#cards .card .instruction')?.textContent.trim()"
        )
        seconds = time.monotonic() - began
        browser.close()
    return f"the page opens in {seconds:.1f} s"


def run(folder: Path, targets: list[str]) -> Cost:
    """Run Snakemake and return its times and the peak memory of its jobs, or its own."""
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    environment = {name: value for name, value in os.environ.items() if "LOCKSTEP" not in name}
    began, busy = time.monotonic(), _busy()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        own, jobs = 0, 0
        while process.poll() is None:
            own = max(own, _peak(process.pid))
            jobs = max([jobs, *map(_peak, _scripts(process.pid))])
            time.sleep(0.05)
        if process.returncode != 0:
            out.seek(0)
            raise RuntimeError(f"{' '.join(command)}\n{out.read()}")
    return Cost(time.monotonic() - began, _busy() - busy, jobs or own)


def _busy() -> float:
    """Return the seconds of processors of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _scripts(pid: int) -> list[int]:
    """Return the processes that run a rule's script for a Snakemake."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in children if "/.snakemake/scripts/" in str(child.cmdline())]
    except psutil.Error:
        return []


def _peak(pid: int) -> int:
    """Return the most memory that a process has held so far, in bytes; 0 if it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def make(folder: Path, count: int) -> None:
    """Draw a benchmark of so many samples, with finished replies and a configuration."""
    if (folder / "config.yaml").exists():
        return
    replies = folder / "replies" / "identity"
    replies.mkdir(parents=True)
    names = {
        key: read_rubric(ROOT / "config" / "rubrics" / f"{key}.yaml").names for key in CATEGORIES
    }
    with open(folder / "benchmark.json", "w", encoding="utf-8") as file:
        for number, (category, item) in enumerate(_items(count)):
            file.write("[\n" if number == 0 else ",\n")
            json.dump(item, file, ensure_ascii=False)
            scores = {name: (number + place) % 11 for place, name in enumerate(names[category])}
            reply = f"It is as asked.\n{json.dumps(scores)}"
            (replies / f"{number:07d}.txt").write_text(reply, encoding="utf-8")
        file.write("\n]\n")
    config = {
        "benchmark": {"path": "benchmark.json"},
        "editors": [{"name": "identity", "type": "identity"}],
        "judge": {
            "type": "precomputed",
            "folder": "replies",
            "rubrics": str(ROOT / "config" / "rubrics"),
        },
        "devices": {"accelerator": "cpu", "device_ids": list(range(SHARDS))},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def _items(count: int) -> Iterator[tuple[str, dict]]:
    """Yield category and item of so many samples; each has an image of its own."""
    keys = list(CATEGORIES)
    for number in range(count):
        key = keys[number % len(keys)]
        buffer = io.BytesIO()
        colour = (number % 256, number // 256 % 256, number // 65536)
        Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
        yield (
            key,
            {
                "subset": CATEGORIES[key].chinese,
                "original_description_en": f"A plain surface, number {number}.",
                "edit_instruction_en": f"Let the surface number {number} reflect the evening sun.",
                "src_img_b64": base64.b64encode(buffer.getvalue()).decode(),
                "rationale_short_en": "Light changes the colour of all that it falls on.",
                "tags": ["light"],
                "difficulty": "easy",
                "original_image_path": f"images/{number:07d}.png",
                "seed": 42,
            },
        )


def print_table(found: dict[int, dict[str, Cost]]) -> None:
    """Print a Markdown table: what steps cost, and the powers of n that they grow with."""
    counts = sorted(found)
    units = ("s", "s of processors", "MB")
    head = [f"{count:,}: {unit}" for count in counts for unit in units]
    print("| step |", " | ".join(head), "| processors' time grows as | memory |")
    print("|---|" + "---:|" * (len(head) + 2))
    for step in found[counts[0]]:
        costs = [found[count][step] for count in counts]
        cells = [
            cell
            for cost in costs
            for cell in (f"{cost.seconds:.1f}", f"{cost.busy:.1f}", f"{cost.peak / 1e6:.0f}")
        ]
        grows = [_power(counts, [cost[i] for cost in costs]) for i in (1, 2)]
        print(f"| {step} |", " | ".join(cells), f"| {grows[0]} | {grows[1]} |")


def _power(counts: list[int], values: list[float]) -> str:
    """Return the power of n between the two largest counts, as n^p."""
    if len(counts) < 2:
        return "–"
    (few, many), (less, more) = counts[-2:], values[-2:]
    return f"n^{math.log(more / less) / math.log(many / few):.2f}"


if __name__ == "__main__":
    main()
