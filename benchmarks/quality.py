"""Measure how often the miniature edits right and judges right, on held-out scenes and wordings.

python benchmarks/quality.py                         # checkpoints and judge, on the CPU
python benchmarks/quality.py --device cuda --scenes 400 --options   # what approximations cost
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import measure

from lockstep.demo import world
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.errors import LockstepError
from lockstep.judges.qwen3_vl import Qwen3VLSettings

OPTIONS: dict[str, dict[str, Any]] = {
    "eager": {"optimize": False},
    "fast": {},
    "fast, 4 steps": {"num_inference_steps": 4},
    "fast, 20 steps": {"num_inference_steps": 20},
    "fast, guidance 1": {"true_cfg_scale": 1},
    "fast, guidance 4": {"true_cfg_scale": 4},
    "first_block": {"lossy": {"cache": "first_block"}},
    "taylorseer": {"lossy": {"cache": "taylorseer"}},
    "fp8": {"lossy": {"fp8": True}},
}
"""Settings of the final editor that are compared on a GPU."""


class Job(NamedTuple):
    """One editor's edits."""

    name: str
    settings: dict[str, Any]
    folder: Path
    scenes: int
    device: str


class Found(NamedTuple):
    """What they were worth."""

    name: str
    right: list[bool]
    categories: list[str]
    seconds: float
    """Median of an edit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=measure.MINIATURE)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--judged", type=int, help="scenes that are judged; the same by default")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--options", action="store_true", help="compare options, on a GPU")
    parser.add_argument("--only", choices=("editors", "judge"))
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    jobs = [
        Job(name, {"model": str(given.folder / f"editor-{name}")}, *_rest(given))
        for name in ("final", "middle", "early")
    ]
    if given.options:
        model = str(given.folder / "editor-final")
        jobs += [Job(name, {"model": model, **own}, *_rest(given)) for name, own in OPTIONS.items()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.processes, mp_context=context) as pool:
        if given.only != "judge":
            print(f"{'editor':18} {'all':>6} {_heads()}  s/edit", flush=True)
            for found in pool.map(_edited, jobs):
                print(found if isinstance(found, str) else _line(found), flush=True)
        if given.only != "editors":
            scenes = given.judged or given.scenes
            _say_judged(pool.submit(judge, given.folder, scenes, given.device).result())


def _rest(given: argparse.Namespace) -> tuple[Path, int, str]:
    return given.folder, given.scenes, given.device


def _edited(job: Job) -> Found | str:
    try:
        return edit(job)
    except LockstepError as error:
        return f"{job.name}: {error}"


def edit(job: Job) -> Found:
    """Edit held-out scenes, and compare them with the right edits."""
    from lockstep.editors.diffusers.editor import DiffusersEditor

    dtype = "bfloat16" if job.device == "cuda" else "float32"
    common = {"num_inference_steps": 8, "true_cfg_scale": 2, "dtype": dtype}
    settings = DiffusersSettings(name="miniature", type="diffusers", **{**common, **job.settings})
    editor = DiffusersEditor(settings, job.device)
    with tempfile.TemporaryDirectory() as folder:
        cases = measure.cases(Path(folder), job.scenes)
        edited, seconds = [], []
        edits = measure.edit(editor, cases)
        for _ in cases:
            began = time.perf_counter()
            edited.append(next(edits))
            seconds.append(time.perf_counter() - began)
    right = measure.right_edits(cases, edited)
    categories = [case.task.category for case in cases]
    return Found(job.name, right, categories, sorted(seconds)[len(seconds) // 2])


def judge(folder: Path, scenes: int, device: str) -> list[measure.Judged]:
    """Judge edits of known worth."""
    from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge

    dtype = "bfloat16" if device == "cuda" else "float32"
    settings = Qwen3VLSettings(type="qwen3_vl", model=str(folder / "judge"), dtype=dtype)
    model = Qwen3VLJudge(settings, device)
    with tempfile.TemporaryDirectory() as temporary:
        pairs = measure.known_pairs(measure.cases(Path(temporary), scenes, first=10_000))
        return measure.judge(model, pairs, 64 if device == "cuda" else 4)


def _heads() -> str:
    return " ".join(f"{name[:8]:>8}" for name in world.CATEGORIES)


def _line(found: Found) -> str:
    shares = [_share(found.right)]
    for category in world.CATEGORIES:
        pairs = zip(found.right, found.categories, strict=True)
        shares.append(_share([right for right, own in pairs if own == category]))
    numbers = " ".join(f"{share:8.1%}" for share in shares[1:])
    return f"{found.name:18} {shares[0]:6.1%} {numbers}  {found.seconds:.3f}"


def _share(right: Sequence[bool]) -> float:
    return sum(right) / max(1, len(right))


def _say_judged(judged: Sequence[measure.Judged]) -> None:
    groups = {"all": judged}
    for category in world.CATEGORIES:
        own = [each for each in judged if each.category == category]
        groups |= {category: own} if own else {}
    names = list(measure.figures(judged))
    print(f"\n{'judge':14} " + " ".join(f"{name.removeprefix('auc '):>9}" for name in names))
    for group, own in groups.items():
        found = measure.figures(own)
        print(f"{group:14} " + " ".join(f"{found[name]:9.3f}" for name in names))
    print("AUC of right edits against each outcome; spearman and off by the expected score")
    print("\nexpected score   known  mean of judged")
    for known in sorted({each.known for each in judged}):
        scores = [each.expected for each in judged if each.known == known]
        print(f"{len(scores):14} {known:7.1f} {sum(scores) / len(scores):8.2f}")


if __name__ == "__main__":
    main()
