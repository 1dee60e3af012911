"""`python -m lockstep init`: write a configuration for a benchmark, and say what was found."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from lockstep import records
from lockstep.benchmark import outline
from lockstep.benchmark.intake import not_configured
from lockstep.benchmark.table_rows import METADATA
from lockstep.commands import hardware, images, written
from lockstep.commands.look import Benchmark, is_benchmark, look, resolve
from lockstep.config import load
from lockstep.config.run import Config
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import BenchmarkError, ConfigError, counted
from lockstep.foreign.yaml_files import parse_yaml

SHOWN = 3
"""Reasons of rejected samples that are told."""


def init(path: Path, output: Path | None) -> Iterator[str]:
    """Write a configuration for a benchmark, or a table for a folder that has images alone.

    Args:
        output: of the configuration; by default in the working folder, named after the benchmark.

    Yields:
        lines for the terminal.

    Raises:
        LockstepError: if the benchmark is none, or if the file is there already.
    """
    try:
        yield from _begun(path, output)
    except OSError as error:
        raise BenchmarkError(
            f"{error.filename or path}: expected a path that this user can read and write, found "
            f"none ({error.strerror})"
        ) from None


def _begun(path: Path, output: Path | None) -> Iterator[str]:
    own = resolve(path)
    file = output or Path(f"{_name(own)}.yaml")
    if os.path.lexists(file):
        raise ConfigError(
            f"{file}: expected no such file, found one, which stays as it is; --output names "
            "another file"
        )
    if own.is_dir() and not is_benchmark(own):
        table, count = images.write_table(own)
        yield from _row(
            "found", f"{own}: {counted(count, 'image')}, and no table that says what to do"
        )
        yield from _row("written", f"{table}, a row for each image")
        yield from _next(
            "write an instruction into each row, and change the categories as you like",
            f"python -m lockstep init {shlex.quote(str(path))}",
        )
        return
    benchmark = look(own)
    gpus = hardware.gpus(device.devices(DeviceSettings()))
    text = written.text(benchmark, file, gpus)
    settings = _checked(text, file)
    records.write_text(file, text)
    yield from _found(benchmark, settings)
    yield from _row("devices", hardware.listed(gpus) or "no GPU: a rehearsal on the processor")
    yield from _row("written", str(file))
    name = shlex.quote(str(file))
    yield from _next(
        f"python -m lockstep doctor --configfile {name}",
        f"snakemake -n {_workflow()}--configfile {name}",
    )


def _workflow() -> str:
    """Return the argument that names the workflow, where it is not in the working folder."""
    file = load.PRESETS.parents[1] / "Snakefile"
    return "" if Path(file.name).exists() else f"--snakefile {shlex.quote(str(file))} "


def _name(path: Path) -> str:
    """Return a name for what belongs to a benchmark: its own, or that of its folder."""
    path = path.resolve()
    own = path.parent if path.name == METADATA else path
    return images.category(own.name if own.is_dir() else own.stem)


def _checked(text: str, file: Path) -> Config:
    """Return the configuration of a text, as a run will read it.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    data = parse_yaml(text, str(file), ConfigError)
    return load.load_config(load.with_rubrics(data, [load.PRESETS.parents[1]]), str(file))


def _found(benchmark: Benchmark, settings: Config) -> Iterator[str]:
    found, own = benchmark.found, benchmark.settings
    yield from _row("benchmark", f"{own.path}: {own.format}, {counted(found.samples, 'sample')}")
    read = [name for name, is_read in benchmark.columns.items() if is_read]
    others = [name for name, is_read in benchmark.columns.items() if not is_read]
    yield from _row("columns", ", ".join(read))
    yield from _row("not read", ", ".join(others))
    yield from _row("images", benchmark.given.get("images", ""))
    yield from _row("left out", not_configured(found.intake.left_out).rpartition(": ")[2])
    if found.rejected:
        whole = found.samples + found.rejected
        yield from _row(
            "rejected", f"{found.rejected} of {counted(whole, 'sample')} cannot be used:"
        )
        for reason, count in found.reasons[:SHOWN]:
            yield from _row("", f"{count} for a reason such as: {reason}")
        lost = [c for c in found.counts if c in found.intake.reasons and c not in own.categories]
        yield from _row("left out", ", ".join(lost))
        try:
            # a run reads the categories that are written
            outline.check(outline.outline(own), own)
        except BenchmarkError as error:
            yield from _row("warning", f"a run would stop: {error}")
    yield from _categories(found.counts, settings)


def _categories(counts: Mapping[str, int], settings: Config) -> Iterator[str]:
    own = settings.benchmark.categories
    rubrics = {category: settings.judge.rubric_file(category) for category in own}
    several = len(set(rubrics.values())) > 1
    if not several:
        yield from _row("rubric", f"{rubrics[own[0]]}, for all categories")
    width = max(map(cell_len, ("category", *own)))
    yield ""
    yield f"  samples  {set_cell_size('category', width)}  {'rubric' if several else ''}".rstrip()
    for category in own:
        rubric = rubrics[category] if several else ""
        yield f"  {counts[category]:7}  {set_cell_size(category, width)}  {rubric}".rstrip()
    yield ""


def _row(name: str, text: str) -> Iterator[str]:
    if text:
        yield f"{name:9}  {text}"


def _next(*steps: str) -> Iterator[str]:
    yield "next"
    yield from (f"  {step}" for step in steps)
