"""Measure how long tables and the report's numbers take, and how much memory.

python benchmarks/report.py --samples 100000 --editors 3
"""

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockstep import records
from lockstep.benchmark.categories import CATEGORIES
from lockstep.config.run import Config
from lockstep.figures import drift, tables
from lockstep.records import EditRecord, Sample, ScoreRecord
from lockstep.report import numbers, texts
from lockstep.report.write import PLOTTED
from lockstep.rubrics.rubric import Rubric, read_rubric

ROOT = Path(__file__).parents[1]
FAILED = 0.01
TAGS = [f"tag-{number}" for number in range(40)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000, help="of all categories together")
    parser.add_argument("--editors", type=int, default=3)
    arguments = parser.parse_args()
    editors = [f"editor-{number}" for number in range(arguments.editors)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for category in CATEGORIES:
            make(folder, category, arguments.samples // len(CATEGORIES), editors)
        seconds, peak = 0.0, 0.0
        for editor in editors:
            for category in CATEGORIES:
                job_seconds, job_peak = measured(tabulate, folder, editor, category)
                seconds, peak = seconds + job_seconds, max(peak, job_peak)
        jobs = len(editors) * len(CATEGORIES)
        print(f"tabulate: {jobs} jobs, {seconds:.1f} s together, at most {peak:.2f} GB")
        print("report's numbers: {:.1f} s, {:.2f} GB".format(*measured(report, folder, editors)))


def measured(function: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Return seconds and peak memory in GB of a function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measure, args=(queue, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return queue.get()


def _measure(queue: Any, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    began = time.monotonic()
    function(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((time.monotonic() - began, peak * 1024 / 1e9))


def rubric_of(category: str) -> Rubric:
    return read_rubric(ROOT / "config" / "rubrics" / f"{category}.yaml")


def make(folder: Path, category: str, count: int, editors: list[str]) -> None:
    """Write the records of a category: scores that differ by editor and hardness of the sample."""
    random.seed(category)
    names = rubric_of(category).names
    samples = [
        Sample(
            id=f"{category}-{index:06}",
            category=category,
            image=f"images/{index}.png",
            image_sha256="0" * 64,
            width=1024,
            height=1024,
            instruction="Let go of the ball, and let the table stay as it is.",
            rationale="A ball that nothing holds falls, and rolls where the table is not level.",
            tags=random.sample(TAGS, 3),
            difficulty=random.choice(["easy", "medium", "hard"]),
            index=index,
        )
        for index in range(count)
    ]
    records.write_records(folder / "manifest" / f"{category}.jsonl", samples)
    records.write_text(folder / "rejected.jsonl", "")
    hardness = [random.gauss(5, 2) for _ in samples]
    for place, editor in enumerate(editors):
        edits, scores = [], []
        for sample, hard in zip(samples, hardness, strict=True):
            common = {"id": sample.id, "category": category}
            edits.append(
                EditRecord(
                    **common,
                    key="0" * 64,
                    status="ok",
                    image=f"images/{sample.id}.png",
                    seed=1,
                    wave=sample.index // 8,
                    shard=sample.index % 8,
                    device=f"gpu{sample.index % 8}",
                    run="run",
                    started=1e9 + 2.1 * (sample.index // 8) + random.random() / 10,
                    edit_seconds=2,
                    versions={"torch": "2.11.0", "diffusers": "0.42.1"},
                )
            )
            if random.random() < FAILED:
                scores.append(ScoreRecord(**common, status="judge_failed", error="found no score"))
                continue
            value = min(10, max(0, round(hard + place / 4 + random.gauss(0, 1))))
            scores.append(
                ScoreRecord(
                    **common,
                    key="0" * 64,
                    status="ok",
                    score=value,
                    criteria=dict.fromkeys(names, value),
                    reasoning="The ball lies on the floor and the table is as it was. " * 6,
                    reply=json.dumps(dict.fromkeys(names, value)),
                    probabilities={name: (1 / 11,) * 11 for name in names},
                    judge={"model": "judge"},
                    versions={"torch": "2.11.0"},
                )
            )
        own = folder / editor / category
        records.write_records(own / "edits.jsonl", edits)
        records.write_records(own / "scores.jsonl", scores)


def tabulate(folder: Path, editor: str, category: str) -> None:
    """Do what scripts/rules/tabulate_scores.py does."""
    own, rubric = folder / editor / category, rubric_of(category)
    edits, scores = [own / "edits.jsonl"], [own / "scores.jsonl"]
    manifest = folder / "manifest" / f"{category}.jsonl"
    frame = tables.table(manifest, edits, scores, rubric, own, {})
    records.write_text(own / "table.csv", tables.to_csv(frame))
    records.write_json(own / "summary.json", tables.summary(frame, edits, scores, rubric, 7))


def report(folder: Path, editors: list[str]) -> None:
    """Do what scripts/rules/write_report.py does, but for the page."""
    settings = Config(
        benchmark={"path": "benchmark.json"},
        editors=[{"name": name, "type": "precomputed", "folder": "edits"} for name in editors],
        judge={"type": "precomputed", "folder": "replies"},
    )
    frames = {
        editor: {c: tables.read_table(folder / editor / c / "table.csv") for c in CATEGORIES}
        for editor in editors
    }
    summaries = {
        editor: {c: folder / editor / c / "summary.json" for c in CATEGORIES} for editor in editors
    }
    steps = {}
    for editor in editors:
        edits = [
            record
            for category in CATEGORIES
            for record in records.read_records(
                folder / editor / category / "edits.jsonl", EditRecord
            )
        ]
        step = drift.measure(edits, margin=0.1)
        steps[editor] = {key: value for key, value in step.items() if key not in PLOTTED}
    found = numbers.of_run(settings, frames, summaries, steps, folder / "rejected.jsonl", {})
    told = found.model_dump(mode="json")
    records.write_json(folder / "report.json", told)
    records.write_text(folder / "report.md", texts.markdown("report.md.j2", told, config=""))
    records.write_text(folder / "scores.csv", texts.csv_table(told))
    records.write_text(folder / "scores.tex", texts.latex_table(told))


if __name__ == "__main__":
    main()
