"""The configuration that `init` writes, as text with comments."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lockstep.benchmark.categories import BY_FORMAT, CATEGORIES
from lockstep.commands.hardware import GB, Gpu, listed
from lockstep.commands.look import BILINGUAL, Benchmark
from lockstep.config.load import PRESETS
from lockstep.errors import counted

MINIATURE = PRESETS.parents[1] / "resources" / "miniature"

EDITOR_NEEDS = ((65, "none"), (48, "model"), (22, "group"), (0, "sequential"))
"""Least GB of a GPU's memory for each `offload` of Qwen-Image-Edit."""

FIRST = 2
"""Samples of each category that a rehearsal takes."""

WIDTH = 96
"""Characters of a line, from which a list has a line for each entry."""

PLAIN = """
editors:
  # {what}
  # Its weights take {weights} of GPU memory and as much disk. They are downloaded when they are
  # first needed; for a copy on disk add `model:` with its folder. Presets with more steps, and of
  # other models: config/editors/.
  - name: {lightning}
    preset: {preset}
{offload}  # The source image, unchanged: a control, to which a judge must give a low score.
  - name: {control}
    type: identity

judge:
  # Its weights take 18 GB.
  type: qwen3_vl
  model: Qwen/Qwen3-VL-8B-Instruct
{rubrics}
devices:
  # All visible GPUs. Here: {gpus}.
  device_ids: auto
"""

REHEARSAL = """
# This machine shows no GPU, so this is a rehearsal on its processor with two small models that come
# with Lockstep. They know drawn scenes only: their edits and scores of other images mean nothing.
# For a real run, write this file again on a machine with GPUs. Or take these lines in place of
# `editors`, `judge` and `devices`, and take out `limit`:
#
# editors:
#   - name: {lightning}
#     preset: {preset}   # {weights} of GPU memory
# judge:
#   type: qwen3_vl
#   model: Qwen/Qwen3-VL-8B-Instruct   # 18 GB
{commented}
editors:
  - name: {small}
    type: diffusers
    model: {miniature}/editor-final
    dtype: float32
    num_inference_steps: 4
    true_cfg_scale: 2
    size: source
  # The source image, unchanged: a control, to which a judge must give a low score.
  - name: {control}
    type: identity

judge:
  type: qwen3_vl
  model: {miniature}/judge
  dtype: float32
  rubrics: {miniature}/rubrics/physical.yaml

devices:
  # Processes of the processor, in place of GPUs.
  accelerator: cpu
  device_ids: {slots}
"""


def text(benchmark: Benchmark, file: Path, gpus: Sequence[Gpu]) -> str:
    """Return a configuration for a benchmark and this machine.

    Args:
        file: where it will be.
        gpus: those that are there; a rehearsal on CPU slots without any.
    """
    taken = {name for own in benchmark.settings.named.values() for name in own.names}
    rubrics, why = rubrics_of(benchmark)
    values = {
        **_editor(benchmark),
        "weights": "58 GB",
        "rubrics": f"  # {why}\n  rubrics: {rubrics}\n" if rubrics else f"  # {why}\n",
        "commented": f"#   rubrics: {rubrics}\n" if rubrics else "",
        "miniature": scalar(_near(MINIATURE)),
        "offload": _offload(gpus),
        "gpus": listed(gpus),
        "slots": list(range(min(2, os.cpu_count() or 1))),
        **{name: scalar(_free(name, taken)) for name in ("lightning", "control", "small")},
    }
    head = "\n".join(_head(benchmark, file, rehearsal=not gpus))
    rest = (PLAIN if gpus else REHEARSAL).format_map(values)
    return f"{head}\n{rest}{_report(benchmark, file)}"


def _editor(benchmark: Benchmark) -> dict[str, str]:
    """Return the preset that fits a benchmark, and what it is."""
    if not benchmark.found.several:
        return {"preset": "qwen-image-edit-lightning-4", "what": "Qwen-Image-Edit in 4 steps."}
    what = "Qwen-Image-Edit-2511 in 4 steps, which takes several source images."
    return {"preset": "qwen-image-edit-2511-lightning-4", "what": what}


def _head(benchmark: Benchmark, file: Path, rehearsal: bool) -> Iterator[str]:
    own, given, found = benchmark.settings, benchmark.given, benchmark.found
    yield "# Written by `python -m lockstep init`. All keys: config/README.md."
    yield ""
    yield "# Folder of all outputs."
    yield f"results: {scalar(f'results/{file.stem}')}"
    yield ""
    yield "benchmark:"
    yield f"  # Format: {own.format}. {counted(found.samples, 'sample')}."
    yield f"  path: {scalar(given['path'])}"
    if "images" in given:
        yield "  # Folder or archive of the images that the file names."
        yield f"  images: {scalar(given['images'])}"
    if "categories" in given:
        known = BY_FORMAT[own.format] is not None
        yield "  # Those that have samples." if known else "  # Those of the file."
        yield from _list("categories", given["categories"])
    if "language" in given:
        yield "  # Language of the instructions."
        yield f"  language: {given['language']}"
    elif own.format in BILINGUAL:
        yield "  # Chinese instructions, where the file has such:"
        yield "  # language: zh"
    yield "  # Only the first samples of each category; without it, all."
    few = max(found.counts.values()) <= FIRST
    yield f"  {'' if rehearsal and not few else '# '}limit: {FIRST}"


def rubrics_of(benchmark: Benchmark) -> tuple[str | None, str]:
    """Return the rubrics that fit a benchmark, None where they are the default, and why."""
    form, there = benchmark.settings.format, benchmark.settings.categories
    if form == "table" and not set(there) <= CATEGORIES.keys():
        return "config/rubrics/viescore.yaml", "One rubric for all categories."
    if form in ("table", "re-edit"):
        return None, "Rubrics: config/rubrics, one for each category."
    return f"config/rubrics/{form}", "The benchmark's own protocol."


def _offload(gpus: Sequence[Gpu]) -> str:
    least = min((own.total for own in gpus if own.total), default=0)
    needed = next(offload for most, offload in EDITOR_NEEDS if least >= most * GB)
    if not least or needed == "none":
        return ""
    return (
        "    # The weights do not fit a GPU, so they stay in host memory (config/README.md,\n"
        f"    # Small GPUs). That is slower.\n    offload: {needed}\n"
    )


def _report(benchmark: Benchmark, file: Path) -> str:
    return (
        f"\nreport:\n  title: {scalar(file.stem)}\n  # The report in Chinese:\n  # language: zh\n"
    )


def _list(key: str, values: Sequence[str]) -> list[str]:
    entries = [scalar(value) for value in values]
    line = f"  {key}: [{', '.join(entries)}]"
    return [line] if len(line) <= WIDTH else [f"  {key}:", *(f"    - {each}" for each in entries)]


def _free(name: str, taken: Collection[str]) -> str:
    """Return a name for an editor that no category has."""
    return f"{name}-editor" if name in taken else name


def _near(path: Path) -> str:
    """Return a path from the working folder if it is below it."""
    working = Path.cwd()
    return str(path.relative_to(working) if path.is_relative_to(working) else path)


def scalar(value: Any) -> str:
    """Return a text as YAML, in quotes where it needs them."""
    dumped = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6)
    return str(dumped.strip()[1:-1])
