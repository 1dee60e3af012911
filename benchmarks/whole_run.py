"""Time a whole run by the real command, from its start to its report, and say where the time goes.

python benchmarks/whole_run.py --models /dev/shm/models --only-models  make models and a benchmark
python benchmarks/whole_run.py --models /dev/shm/models --gpus 4       and run; uses what is there
python benchmarks/whole_run.py --models … --gpus 4 --no-sync           devices do not keep step
python benchmarks/whole_run.py --models … --gpus 4 --steps 50 --category causal     with guidance
python benchmarks/whole_run.py --random-weights tiny --models M --samples 10    on CPU slots
python benchmarks/whole_run.py --summary                               compare and draw the runs

Models have random weights and the shapes and files of the published ones: Qwen-Image-Edit with a
LoRA in the layout of the Lightning adapters, 4 steps without guidance (or 50 with, and no LoRA),
and Qwen3-VL-8B. The summary tells whether runs gave the same pixels and scores.
"""

import argparse
import base64
import io
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from lockstep import records
from lockstep.benchmark.categories import CATEGORIES
from lockstep.demo import tiny
from lockstep.records import EditRecord, ScoreRecord

ROOT = Path(__file__).parents[1]
EDITOR = "benchmark"
SHARES = {"physical": 50, "environmental": 50, "social": 70, "causal": 50, "referential": 50}
SIZES = [(1024, 1024), (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (1344, 768)]
"""Width and height of the sources, in turn."""

PRESETS = {4: "qwen-image-edit-lightning-4", 50: "qwen-image-edit"}
"""Editor preset by number of steps."""

PROMPT = "Show the table as it looks after the ball has melted in the sun, with the right shadows."

JOB = re.compile(
    r"(?:\r\S*\[K)?\d\d:\d\d:\d\d (?P<what>.+?) in (?:(?P<minutes>\d+) min )?(?P<seconds>[\d.]+) s "
    r"\[\d+ done"
)
SHARD = re.compile(
    rf"(?P<stage>editing|scoring) (?P<category>\w+) (?:with|of) {EDITOR}, shard (?P<shard>\d+)"
)
PARTS = {
    "start": "Snakemake's start, reading the benchmark",
    "jobs": "starting jobs: Snakemake, Python, cache, keys",
    "imports": "imports",
    "load": "loading",
    "edits": "edits",
    "waits": "waiting for other devices",
    "stalls": "waiting for samples and disks",
    "judge": "judging",
    "end": "tables, report, Snakemake's end",
}
COLOURS = {
    **{"start": "#d1d5db", "jobs": "#ef4444", "imports": "#6b7280", "load": "#8b8f98"},
    **{"edits": "#3b82f6", "waits": "#f59e0b", "stalls": "#fbbf24", "judge": "#10b981"},
    "end": "#d1d5db",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder of models and sources, kept")
    parser.add_argument("--out", type=Path, default=Path("whole_run"), help="folder of the runs")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--samples", type=int, default=sum(SHARES.values()))
    parser.add_argument("--random-weights", choices=["full", "tiny"], default="full")
    parser.add_argument("--reasoning-tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, choices=PRESETS, default=4)
    parser.add_argument("--category", choices=SHARES, help="this category alone")
    parser.add_argument("--no-sync", action="store_true", help="devices do not keep step")
    parser.add_argument("--not-resident", action="store_true", help="load models in each job")
    parser.add_argument("--only-models", action="store_true")
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    if arguments.summary:
        summarise(arguments.out)
        return
    if arguments.models is None:
        parser.error("--models is needed")
    full = arguments.random_weights == "full"
    make_models(arguments.models, full)
    benchmark = make_benchmark(arguments.models, arguments.samples, full)
    if arguments.only_models:
        return
    name = f"{arguments.gpus}-gpus"
    name += f"-{arguments.steps}-steps" if arguments.steps != 4 else ""
    name += f"-{arguments.category}" if arguments.category else ""
    name += "-no-sync" if arguments.no_sync else ""
    name += "-not-resident" if arguments.not_resident else ""
    folder = arguments.out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    settings = configuration(arguments, benchmark, full)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    result = {"name": name, "gpus": arguments.gpus, **run(folder)}
    records.write_json(folder / "run.json", result)
    describe(result)


def make_models(folder: Path, full: bool) -> None:
    began = time.monotonic()
    if (folder / "made").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if full:
        # a process of its own, so that nothing stays on the GPU
        code = (
            "import sys; sys.path.insert(0, sys.argv[2]); import pathlib, full_models, torch; "
            "folder = pathlib.Path(sys.argv[1]); pipeline = full_models.build_editor(); "
            "full_models.save(pipeline, folder / 'editor'); "
            "full_models.save_adapter(pipeline.transformer, folder / 'adapter.safetensors'); "
            "del pipeline; torch.cuda.empty_cache(); full_models.save_judge(folder / 'judge')"
        )
        command = [sys.executable, "-c", code, str(folder), str(Path(__file__).parent)]
        subprocess.run(command, check=True)
    else:
        tiny.make_editor(folder / "editor")
        tiny.make_judge(folder / "judge")
    (folder / "made").touch()
    print(f"models made in {time.monotonic() - began:.0f} s", flush=True)


def make_benchmark(folder: Path, samples: int, full: bool) -> Path:
    """Write a benchmark in the RE-Edit style with so many samples in all."""
    path = folder / f"benchmark-{samples}.json"
    if path.exists():
        return path
    total = sum(SHARES.values())
    wanted = [key for key, n in SHARES.items() for _ in range(max(1, round(samples * n / total)))]
    with ProcessPoolExecutor() as pool:
        images = pool.map(draw, range(len(wanted)), itertools.repeat(1 if full else 8))
        items = [_item(*given) for given in zip(itertools.count(), wanted, images, strict=False)]
    records.write_text(path, json.dumps(items, ensure_ascii=False))
    print(f"{path}: {len(items)} samples, {path.stat().st_size / 1e6:.0f} MB", flush=True)
    return path


def _item(number: int, category: str, image: str) -> dict[str, Any]:
    chinese = CATEGORIES[category].chinese
    return {
        "subset": chinese,
        "original_description": "桌上有一个球。",
        "original_description_en": "A ball lies on a table.",
        "edit_instruction": "让球融化。",
        # every instruction has another number of tokens
        "edit_instruction_en": PROMPT + " Again." * (number % 7),
        "src_img_b64": image,
        "rationale_short": "热使它融化。",
        "rationale_short_en": "Heat melts it.",
        "tags": ["synthetic"],
        "difficulty": ["easy", "medium", "hard"][number % 3],
        "original_image_path": f"generated_images_2/{number:05}_{chinese}.png",
        "seed": 42,
    }


def draw(number: int, smaller: int) -> str:
    """Return a smooth image with noise, about as hard to store as a photograph, as base64 PNG."""
    width, height = (side // smaller for side in SIZES[number % len(SIZES)])
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth + rng.normal(0, 4, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def configuration(arguments: argparse.Namespace, benchmark: Path, full: bool) -> dict[str, Any]:
    models = arguments.models.resolve()
    editor: dict[str, Any] = {"name": EDITOR, "preset": PRESETS[arguments.steps]}
    editor |= {"model": str(models / "editor"), "adapters": []}
    judge: dict[str, Any] = {"type": "qwen3_vl", "model": str(models / "judge")}
    judge |= {"rubrics": str(ROOT / "config" / "rubrics"), "min_schema_mass": 0}
    judge["max_reasoning_tokens"] = arguments.reasoning_tokens
    if not full:
        editor["dtype"] = judge["dtype"] = "float32"
    elif arguments.steps == 4:
        editor["adapters"] = [{"path": str(models / "adapter.safetensors")}]
    read: dict[str, Any] = {"path": str(benchmark.resolve())}
    if arguments.category:
        read["categories"] = [arguments.category]
    return {
        "benchmark": read,
        "editors": [editor],
        "judge": judge,
        "devices": {
            "accelerator": "cuda" if full else "cpu",
            "device_ids": list(range(arguments.gpus)),
            "enable_batch_sync": not arguments.no_sync,
            "resident": not arguments.not_resident,
        },
    }


def run(folder: Path) -> dict[str, Any]:
    """Run the workflow in a folder by its real command and return where the time went."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    given = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSTEP_")}
    began = time.time()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**given, "HF_HUB_OFFLINE": "1"},
    )
    jobs = []
    for line in process.stdout:
        print(f"{time.time() - began:7.1f} {line}", end="", flush=True)
        if match := JOB.match(line):
            seconds = 60 * int(match["minutes"] or 0) + float(match["seconds"])
            jobs.append((match["what"], time.time() - seconds - began, time.time() - began))
    if process.wait():
        sys.exit(f"the run failed, see {folder}/results/logs")
    return analyse(folder / "results", jobs, began, time.time() - began)


def analyse(
    results: Path, jobs: list[tuple[str, float, float]], began: float, wall: float
) -> dict[str, Any]:
    """Return where the time of a run went, by device; times are seconds since its start.

    Args:
        jobs: what each did, its start and its end.
    """
    edits = _records(results, "edits", EditRecord)
    scores = _records(results, "scores", ScoreRecord)
    names = {record.shard: record.device for found in edits.values() for record in found}
    devices: dict[str, list[tuple[str, str, float, float]]] = {
        names[shard]: [] for shard in sorted(names)
    }
    for what, start, end in sorted(jobs, key=lambda job: job[1]):
        if match := SHARD.fullmatch(what):
            key = match["category"], int(match["shard"])
            spans = devices[names[key[1]]]
            if match["stage"] == "editing":
                spans += _edit_spans(results, *key, edits[key], began, start, end)
            else:
                spans += _score_spans(results, *key, scores[key], start, end)
    for spans in devices.values():
        _fill(spans, wall)
    parts = {name: _sums(spans) for name, spans in devices.items()}
    every = [record.edit_seconds for found in edits.values() for record in found]
    judged = sum(record.judge_seconds for found in scores.values() for record in found)
    usual = statistics.median(every)
    return {
        "wall": wall,
        "samples": len(every),
        "parts": parts,
        "edit": {"median": usual, "mean": statistics.mean(every), "largest": max(every)},
        "judge_seconds": judged / len(every),
        # what the devices have to do, spread evenly, at the usual pace
        "floor": (usual * len(every) + judged) / len(devices),
        "edit_stage": _stage(edits.values()),
        "moments": _moments(results, edits, scores, jobs, began),
        "gaps": _gaps(devices),
        "spans": {name: [list(span) for span in spans] for name, spans in devices.items()},
    }


def _records(results: Path, kind: str, record: type) -> dict[tuple[str, int], list]:
    paths = results.glob(f"{EDITOR}/*/{kind}/shard-*.jsonl")
    return {
        (path.parts[-3], int(path.stem.split("-")[1])): records.read_records(path, record)
        for path in paths
    }


def _edit_spans(
    results: Path,
    category: str,
    shard: int,
    found: list[EditRecord],
    began: float,
    start: float,
    end: float,
) -> Iterable[tuple[str, str, float, float]]:
    log = _log(results, "edit", category, shard)
    first = found[0].started - began - found[0].stall_seconds - found[0].wait_seconds
    imports = _seconds(r"imports took ([\d.]+) s", log)
    load = max(0.0, found[0].load_seconds - imports)
    at = min(first, max(start, first - load - imports))
    mid = min(first, at + imports)
    spans = [("jobs", min(start, at), at), ("imports", at, mid), ("load", mid, first)]
    at = first
    for record in found:
        edit = record.started - began
        spans += [("waits", at, at + record.wait_seconds)]
        spans += [("stalls", at + record.wait_seconds, edit)]
        at = edit + record.edit_seconds
        spans += [("edits", edit, at)]
    spans += [("stalls", at, end)]
    return [(part, category, start, end) for part, start, end in spans]


def _score_spans(
    results: Path, category: str, shard: int, found: list[ScoreRecord], start: float, end: float
) -> Iterable[tuple[str, str, float, float]]:
    log = _log(results, "score", category, shard)
    judge = sum(record.judge_seconds for record in found)
    imports = _seconds(r"imports took ([\d.]+) s", log)
    load = _seconds(r"loaded .* in ([\d.]+) s", log)
    at = max(start, end - judge - load - imports)
    spans = [("jobs", start, at), ("imports", at, at + imports)]
    spans += [("load", at + imports, end - judge), ("judge", end - judge, end)]
    return [(part, category, start, end) for part, start, end in spans]


def _log(results: Path, stage: str, category: str, shard: int) -> str:
    (path,) = (results / "logs" / stage / EDITOR / category).glob(f"shard-{shard}-of-*.log")
    return path.read_text(encoding="utf-8")


def _seconds(pattern: str, text: str) -> float:
    return sum(map(float, re.findall(pattern, text)))


def _fill(spans: list[tuple[str, str, float, float]], wall: float) -> None:
    """Add what lies before, between and after the jobs of a device."""
    between = [
        ("jobs", after[1], before[3], after[2])
        for before, after in itertools.pairwise(spans)
        if after[2] > before[3]
    ]
    spans[:0] = [("start", "", 0.0, spans[0][2])]
    spans += between
    spans.sort(key=lambda span: span[2])
    spans.append(("end", "", spans[-1][3], wall))


def _sums(spans: Iterable[tuple[str, str, float, float]]) -> dict[str, float]:
    sums = dict.fromkeys(PARTS, 0.0)
    for part, _, start, end in spans:
        sums[part] += end - start
    return sums


def _stage(edits: Iterable[list[EditRecord]]) -> dict[str, float]:
    """Return how long the edits took together, and the rate at which devices edited."""
    every = [record for found in edits for record in found]
    first = min(record.started for record in every)
    last = max(record.started + record.edit_seconds for record in every)
    return {"seconds": last - first, "work": sum(record.edit_seconds for record in every)}


def _moments(
    results: Path,
    edits: dict[tuple[str, int], list[EditRecord]],
    scores: dict[tuple[str, int], list[ScoreRecord]],
    jobs: list[tuple[str, float, float]],
    began: float,
) -> dict[str, float]:
    """Return when the stages began and ended, in seconds since the start of the run."""
    edited = [record for found in edits.values() for record in found]
    judged: dict[float, list[float]] = {}
    for (category, _), found in scores.items():
        for record in found:
            path = results / EDITOR / category / "judgements" / f"{record.id}.json"
            # those of one batch have one time, and are written once all are there
            judged.setdefault(record.judge_seconds, []).append(path.stat().st_mtime)
    batches = [min(times) - seconds * len(times) for seconds, times in judged.items()]
    return {
        "first edit": min(record.started for record in edited) - began,
        "last edit": max(record.started + record.edit_seconds for record in edited) - began,
        "first judgement": min(batches) - began,
        "last judgement": max(max(times) for times in judged.values()) - began,
        "report": next(end - start for what, start, end in jobs if what == "writing the report"),
    }


def _gaps(devices: dict[str, list[tuple[str, str, float, float]]]) -> dict[str, list[float]]:
    """Return what each category but a stage's first costs a device beyond its edits and judging."""
    gaps: dict[str, list[float]] = {"edits": [], "judge": []}
    for spans, part in itertools.product(devices.values(), gaps):
        own = [span for span in spans if span[0] == part]
        for before, after in itertools.pairwise(own):
            if before[1] != after[1]:
                waits = [s for s in spans if s[0] == "waits" and before[3] <= s[2] < after[2]]
                waited = sum(end - start for *_, start, end in waits)
                gaps[part].append(after[2] - before[3] - waited)
    return gaps


def describe(result: dict[str, Any]) -> None:
    """Print where the time of a run went."""
    wall, floor, edit = result["wall"], result["floor"], result["edit"]
    print(f"\n{result['name']}: {result['samples']} samples in {wall:.1f} s")
    names = list(result["parts"])
    print(f"{'':<48}" + "".join(f"{name:>9}" for name in names))
    for part, title in PARTS.items():
        row = [result["parts"][name][part] for name in names]
        print(f"{title:<48}" + "".join(f"{seconds:>9.1f}" for seconds in row))
    print(
        f"edit: median {edit['median']:.3f} s, mean {edit['mean']:.3f}, most {edit['largest']:.2f}"
    )
    moments = result["moments"]
    rate = 1 / result["judge_seconds"]
    stage = moments["last judgement"] - moments["first judgement"]
    whole = result["samples"] / len(names) / stage
    print(f"judging: {rate:.2f} samples/s of a GPU, {whole:.2f} with what lies between")
    gap = moments["first judgement"] - moments["last edit"]
    print(
        f"first edit at {moments['first edit']:.1f} s, from the last edit to the first judgement "
        f"{gap:.1f} s, report {moments['report']:.1f} s"
    )
    for part, gaps in result["gaps"].items():
        if gaps:
            print(
                f"between categories, {part}: mean {statistics.mean(gaps):.2f} s, "
                f"most {max(gaps):.2f} s (without waiting for other devices)"
            )
    print(f"floor {floor:.1f} s (all edits at the median, all judging, spread evenly)")
    print(f"the run took {wall / floor:.2f} times as long; GPU-seconds {wall * len(names):.0f}")


def summarise(out: Path) -> None:
    """Print how runs in a folder compare, and draw where their time went."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*/run.json"))]
    for result in found:
        describe(result)
    one = next((result for result in found if result["name"] == "1-gpus"), None)
    for result in found if one else []:
        count = result["gpus"]
        alone, stage = one["edit_stage"], result["edit_stage"]
        rate = result["samples"] / stage["seconds"] / (one["samples"] / alone["seconds"]) / count
        busy = stage["work"] / stage["seconds"] / count
        print(
            f"{result['name']}: edits {rate:.3f} of linear, "
            f"devices at work {busy:.1%} of the edit stage"
        )
    for first, other in itertools.combinations(found, 2):
        _compare(*(out / result["name"] / "results" for result in (first, other)))
    _draw(found, out / "whole_run.png")
    print(out / "whole_run.png")


def _compare(first: Path, other: Path) -> None:
    """Print how many edits and judgements of the same samples and settings differ."""
    told = []
    for kind, record, same in (
        ("edits", EditRecord, lambda r: r.pixels_sha256),
        ("scores", ScoreRecord, lambda r: (r.status, r.criteria)),
    ):
        one, two = (
            {r.key: same(r) for found in _records(results, kind, record).values() for r in found}
            for results in (first, other)
        )
        shared = one.keys() & two.keys()
        if shared:
            told.append(f"{sum(one[key] != two[key] for key in shared)} of {len(shared)} {kind}")
    if told:
        print(f"{first.parent.name}, {other.parent.name}: {' and '.join(told)} differ")


def _draw(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = [(r["name"], name, spans) for r in found for name, spans in r["spans"].items()]
    figure = Figure(figsize=(11, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for number, (_, _, spans) in enumerate(rows):
        for part, colour in COLOURS.items():
            bars = [(start, end - start) for kind, _, start, end in spans if kind == part]
            axes.broken_barh(bars, (number - 0.4, 0.8), color=colour, linewidth=0)
    axes.set_yticks(range(len(rows)), [f"{name}: {device}" for name, device, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the start of the command")
    axes.spines[["top", "right"]].set_visible(False)
    shown = {part: title for part, title in PARTS.items() if part != "end"}
    patches = [Patch(color=COLOURS[part], label=title) for part, title in shown.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
