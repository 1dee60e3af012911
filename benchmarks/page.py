"""Measure how long a large report takes and what memory it needs, on made-up results.

python benchmarks/page.py                        1,000 samples × 3 editors, images of 1024²
python benchmarks/page.py --samples 100000 --side 64
python benchmarks/page.py --keep /tmp/large      keep the results, report and all
python benchmarks/page.py --open                 and open the page in Chromium (make test-browser
                                                 installs what drives it)
"""

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from lockstep import records
from lockstep.benchmark.categories import CATEGORIES, category_key
from lockstep.config.run import Config
from lockstep.demo import scenes
from lockstep.figures import tables
from lockstep.records import (
    Asked,
    AskedRecord,
    EditRecord,
    PreservationRecord,
    Sample,
    ScoreRecord,
)
from lockstep.records.columns import SIMILARITIES
from lockstep.report import write
from lockstep.rubrics import combine, rubric

EDITORS = {"qwen-image-edit": 6.4, "flux-kontext": 6.1, "instruct-pix2pix": 3.9}
"""Made-up skill: the mean that scores scatter around."""

HARDNESS = {"easy": 0.8, "medium": 0.0, "hard": -1.1}
DEVICES = 4
FAILURES = (
    ("edit_failed", "the safety checker blacked out the image"),
    ("judge_failed", "found no JSON object with the criteria in the reply ('I cannot help with')"),
)
ONE_IMAGE = ("instruct-pix2pix",)
"""Editors that skip samples of several source images."""
JUDGE = {"type": "qwen3_vl", "model": "Qwen/Qwen3-VL-8B-Instruct", "mode": "reasoned"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the images' sides")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="folder for the results")
    parser.add_argument("--open", action="store_true", help="time the page in Chromium too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        with measured(f"make results of {arguments.samples:,} samples × {len(EDITORS)} editors"):
            given = make_results(folder, arguments.samples, arguments.side)
        for what in ("report from nothing", "report again"):
            # a process of its own, so that its memory is the report's alone
            process = multiprocessing.get_context("spawn").Process(
                target=build, args=(what, given, arguments.threads)
            )
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)
        own = folder / "report"
        sizes = {
            part: sum(file.stat().st_size for file in own.glob(part))
            for part in ("report.html", "data/index.js", "data/*.js", "thumbs/**/*.jpg")
        }
        print(", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in sizes.items()))
        if arguments.open:
            open_page(own / "report.html")


class measured:
    """Print how long a block takes."""

    def __init__(self, what: str):
        self.what = what

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        print(f"{self.what}: {time.perf_counter() - self.began:.1f} s", flush=True)


def build(what: str, given: tuple[Any, ...], threads: int) -> None:
    with measured(what):
        write.write_report(*given, threads=threads)
    used = resource.getrusage(resource.RUSAGE_SELF)
    busy = used.ru_utime + used.ru_stime
    # on a busy machine the time of the processors tells more than that of the clock
    memory = used.ru_maxrss / 1e6
    print(f"  {busy:.1f} s of one CPU, {threads} threads, peak memory {memory:.2f} GB")


FILTER = """async () => {
    const form = document.getElementById('filters');
    const times = [];
    const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const asked = [['text', 'winter'], ['text', ''], ['category', 'social'],
        ['status', 'failed'], ['status', ''], ['category', ''], ['from', '7'],
        ['sort', 'disagreement'], ['sort', 'uncertainty'], ['from', '']];
    for (const [name, value] of asked) {
        await painted();
        const began = performance.now();
        form.elements[name].value = value;
        form.elements[name].dispatchEvent(new Event('input', { bubbles: true }));
        document.body.offsetHeight;
        await painted();
        times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b);
}"""
"""Changes each filter of the samples and returns how long each change takes, in milliseconds."""


def open_page(path: Path) -> None:
    """Print how long the page takes to load and to filter in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    # as root it cannot make its sandbox
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri() + "#samples")
        page.wait_for_function("document.querySelector('#cards .instruction')?.textContent.trim()")
        loaded = page.evaluate("performance.now()")
        times = page.evaluate(FILTER)
        browser.close()
    middle = times[len(times) // 2]
    print(f"page loads in {loaded:.0f} ms, filters in {middle:.0f} ms, at most {times[-1]:.0f} ms")


def make_results(
    folder: Path,
    samples: int,
    side: int = 64,
    change: Callable[[int], dict[str, Any]] = lambda number: {},
    **settings: Any,
) -> tuple[Any, ...]:
    """Write what a run leaves, and return the arguments of `write_report` that it gets then.

    The images are few, each under many names.

    Args:
        change: gives a sample's fields by its number, in place of the made-up ones.
        settings: sections of the configuration beside those that are made up.
    """
    chosen = random.Random(0)
    pool = _draw_pool(folder / "pool", side)
    members: dict[str, list[Sample]] = {key: [] for key in CATEGORIES}
    for number in range(samples):
        scene = number % len(scenes.SCENES)
        sample = _sample(number, scene, chosen, change(number))
        path = folder / "manifest" / "images" / f"{number:05}.png"
        _link(pool[scene][0], path)
        sample = sample.model_copy(update={"image": f"images/{path.name}"})
        members[sample.category].append(
            sample.model_copy(update={"index": len(members[sample.category])})
        )
    plain = {
        "results": str(folder),
        "benchmark": {"path": "benchmark.json"},
        "editors": [{"name": name, "type": "precomputed", "folder": "edits"} for name in EDITORS],
        "judge": {key: JUDGE[key] for key in ("type", "model")},
        "report": {"title": f"{samples:,} made-up samples"},
    }
    made = Config.model_validate({**plain, **settings})
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for category, own in members.items():
        manifest = folder / "manifest" / f"{category}.jsonl"
        records.write_records(manifest, own)
        for number, editor in enumerate(EDITORS):
            place = folder / editor / category
            written = _results(place, own, number, pool, made, manifest)
            for kind, value in written.items():
                parts.setdefault(kind, {}).setdefault(editor, {})[category] = value
    rejected = folder / "manifest" / "rejected.jsonl"
    records.write_records(rejected, [])
    further = {"anchors": [], "agreement": []}
    return (
        *(made, parts["tables"], parts["summaries"], parts["edits"]),
        *(rejected, further, folder / "report"),
    )


def _draw_pool(folder: Path, side: int) -> list[list[Path]]:
    """Draw each scene's source and an edit by each editor, with the noise of a photograph."""
    noise = np.random.default_rng(0)
    pool = []
    for number, scene in enumerate(scenes.SCENES):
        drawn = [scenes.render(scene, (side, side), repetition) for repetition in range(4)]
        drawn[3] = drawn[3].filter(ImageFilter.GaussianBlur(side / 100))
        paths = []
        for kind, image in enumerate(drawn):
            pixels = np.asarray(image) + noise.normal(0, 2, (side, side, 3))
            path = folder / f"{number}-{kind}.png"
            records.save_edit(path, Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), {})
            paths.append(path)
        pool.append(paths)
    return pool


def _link(existing: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.link(existing, path)


def _sample(number: int, scene: int, chosen: random.Random, changed: dict[str, Any]) -> Sample:
    drawn = scenes.SCENES[scene]
    language = chosen.random()
    fields = {
        "id": f"{number:05}_{drawn.subset}",
        "category": category_key(drawn.subset),
        "image": "",
        "image_sha256": "0" * 64,
        "width": 1,
        "height": 1,
        "instruction": drawn.instruction if language < 0.7 else drawn.instruction_zh,
        "description": drawn.description,
        "rationale": drawn.rationale,
        "tags": chosen.sample(["indoor", "outdoor", "people", "light", "text", "多物体"], 2),
        "difficulty": chosen.choice(list(HARDNESS)),
        "index": 0,
    }
    return Sample(**{**fields, **changed})


def _results(
    place: Path,
    samples: list[Sample],
    number: int,
    pool: list[list[Path]],
    settings: Config,
    manifest: Path,
) -> dict[str, Any]:
    """Write the records, the table and the summary of one editor and category."""
    (editor, skill) = list(EDITORS.items())[number]
    category = place.name
    asked = rubric.read_rubric(Path(settings.judge.rubric_file(category)))
    chosen = random.Random(f"{editor}/{category}")
    edits, scores = [], []
    for sample in samples:
        scene = int(sample.image.removeprefix("images/").removesuffix(".png")) % len(pool)
        failed = next((f for f in FAILURES if chosen.random() < 0.015), None)
        if sample.more and editor in ONE_IMAGE:
            failed = "skipped", f"expected one source image, found {len(sample.more) + 1}"
        edit_failed = failed is not None and failed[0] != "judge_failed"
        if not edit_failed:
            _link(pool[scene][number + 1], place / "images" / f"{sample.id}.png")
        edits.append(_edit(sample, failed if edit_failed else None, chosen))
        mean = skill + HARDNESS.get(sample.difficulty or "", 0.0)
        scores.append(_score(sample, failed, mean, asked, chosen))
    shards = [place / "edits" / "shard-0-of-1.jsonl"]
    judged = [place / "scores" / "shard-0-of-1.jsonl"]
    records.write_records(shards[0], edits)
    records.write_records(judged[0], scores)
    told = (_asked(*pair, asked) for pair in zip(samples, scores, strict=True) if pair[1].judge)
    records.write_records(place / "asked" / "shard-0-of-1.jsonl", told)
    kept = _preserved(edits, random.Random(place.name))
    similar = {} if number else _similar(kept, random.Random(place.name))
    frame = tables.table(manifest, shards, judged, asked, place, kept, similar)
    records.write_text(place / "table.csv", tables.to_csv(frame))
    summary = tables.summary(
        frame, shards, judged, asked, settings.report.threshold_on(rubric.SCALE)
    )
    records.write_json(place / "summary.json", summary)
    return {
        "tables": place / "table.csv",
        "summaries": place / "summary.json",
        "edits": shards,
    }


def _similar(ids: Iterable[str], chosen: random.Random) -> dict[str, dict[str, Any]]:
    """Make up what models told of edits; of few the instruction is cut."""
    found: dict[str, dict[str, Any]] = {}
    for name in ids:
        found[name] = {column: round(chosen.random(), 5) for column in SIMILARITIES}
        if chosen.random() < 0.1:
            found[name]["clip_text_cut"] = "cut after 77 of 90 tokens"
    return found


def _preserved(edits: list[EditRecord], chosen: random.Random) -> dict[str, PreservationRecord]:
    """Make up what the edits kept of their sources; few are copies, or shifted and zoomed."""
    found = {}
    for edit in edits:
        if edit.status != "ok":
            continue
        copy = "near" if chosen.random() < 0.02 else "no"
        known = chosen.random() < 0.95
        moved = {
            "shift_x": chosen.gauss(0, 0.7),
            "shift_y": chosen.gauss(0, 0.7),
            "zoom_percent": chosen.gauss(0, 0.3),
            "matched_share": chosen.uniform(0.4, 1),
        }
        found[edit.id] = PreservationRecord(
            id=edit.id,
            key="0" * 64,
            **dict.fromkeys(("source_width", "source_height", "edited_height"), 1024),
            edited_width=1024 if chosen.random() < 0.9 else 1008,
            size_ratio=1,
            psnr=chosen.gauss(22, 4),
            ssim=chosen.uniform(0.5, 0.98),
            changed_share=chosen.uniform(0.02, 0.6),
            **{name: round(value, 3) if known else None for name, value in moved.items()},
            **{name: chosen.gauss(0, 1) for name in ("colour_l", "colour_a", "colour_b")},
            colour_cast=chosen.uniform(0, 5),
            copy_of_source=copy,
        )
    return found


def _edit(sample: Sample, failed: tuple[str, str] | None, chosen: random.Random) -> EditRecord:
    wave, shard = divmod(sample.index, DEVICES)
    start = 1.7e9 + 600 * list(CATEGORIES).index(sample.category)
    return EditRecord(
        id=sample.id,
        category=sample.category,
        key="0" * 64,
        status=failed[0] if failed else "ok",
        error=failed[1] if failed else None,
        image=None if failed else f"images/{sample.id}.png",
        seed=0,
        wave=wave,
        shard=shard,
        device=f"gpu{shard}",
        run="run",
        started=start + 2.3 * wave,
        edit_seconds=chosen.uniform(2.0, 2.2),
    )


def _score(
    sample: Sample,
    failed: tuple[str, str] | None,
    mean: float,
    asked: rubric.Rubric,
    chosen: random.Random,
) -> ScoreRecord:
    common = {"id": sample.id, "category": sample.category, "rubric": asked.sha256}
    if failed:
        return ScoreRecord(**common, status=failed[0], error=failed[1])
    level = chosen.gauss(mean, 1.8)
    low, high = asked.scale
    criteria = {
        name: min(high, max(low, float(round(chosen.gauss(level, 1.2))))) for name in asked.names
    }
    return ScoreRecord(
        **common,
        status="ok",
        score=round(combine.score(asked, criteria), 2),
        expected_score=round(
            min(10, max(0, combine.score(asked, criteria) + chosen.gauss(0, 0.3))), 2
        ),
        criteria=criteria,
        uncertainty=round(chosen.betavariate(2, 5), 3),
        reasoning=f"The picture shows what was asked for: {sample.rationale} " * 3,
        judge=JUDGE,
        versions={"transformers": "5.17.0"},
    )


def _asked(sample: Sample, score: ScoreRecord, asked: rubric.Rubric) -> AskedRecord:
    reply = f"{score.reasoning}\n{records.canonical_json(score.criteria)}"
    told = {"system": asked.system, "prompt": asked.prompt(sample), "shown": ["source", "edited"]}
    return AskedRecord(
        id=sample.id, category=sample.category, judgements=[Asked(reply=reply, **told)]
    )


if __name__ == "__main__":
    main()
