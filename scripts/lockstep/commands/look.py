"""What `init` is pointed at: a table, a folder, or a published benchmark."""

import os
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from lockstep.benchmark import outline, table_rows
from lockstep.benchmark.categories import BY_FORMAT
from lockstep.benchmark.detect import SIGNS, detect, own_categories
from lockstep.benchmark.files import ANNOTATION, table_files
from lockstep.benchmark.outline import Outline
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config import backends
from lockstep.config.sentences import sentences
from lockstep.errors import BenchmarkError, ConfigError, suggest

NEEDED = (("id", "file_name"), ("category",), ("image", "file_name"), ("instruction",))
"""Columns that a table needs; either of two does."""

ARCHIVES = (".zip", ".tar")
"""Files beside a benchmark that may hold its images."""

TRIED = 20
"""Items by which a place of images is tried."""

BILINGUAL = ("re-edit", "gedit", "table")
"""Formats that may hold Chinese instructions in fields or rows of their own."""


class Benchmark(NamedTuple):
    """A benchmark that was looked at."""

    given: Mapping[str, Any]
    """Keys of the section `benchmark` that it needs."""
    settings: BenchmarkSettings
    found: Outline
    columns: Mapping[str, bool]
    """Columns of a table, and whether they are read; none of another format."""


def look(path: Path) -> Benchmark:
    """Return what a benchmark holds, and the keys that name it.

    Raises:
        BenchmarkError: if it is none, or none of its samples can be used.
    """
    form = _format(path)
    given: dict[str, Any] = {"path": str(path)}
    if BY_FORMAT[form] is None:
        given["categories"] = own_categories(path, form)
        if not given["categories"]:
            raise BenchmarkError(f"{path}: expected a category in each row, found none")
    given |= _further(given, form, path)
    settings = _settings(given)
    found = outline.outline(settings)
    if not found.samples:
        outline.check(found, settings)
    there = [category for category, count in found.counts.items() if count]
    if BY_FORMAT[form] is None or len(there) < len(found.counts):
        given["categories"] = there
    return Benchmark(given, _settings(given), found, _columns(path) if form == "table" else {})


def resolve(path: Path) -> Path:
    """Return the benchmark's own path: a file or folder itself, or the one benchmark in a folder.

    Raises:
        BenchmarkError: if there is nothing, or if a folder holds several.
    """
    if not path.exists():
        names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise BenchmarkError(f"found no file or folder {str(path)!r}{suggest(path.name, names)}")
    if not path.is_dir() and not path.is_file():
        # a pipe would be waited for
        raise BenchmarkError(f"{path}: expected a file or a folder, found neither")
    if not path.is_dir() or is_benchmark(path):
        return path
    kinds = (".json", *table_rows.SUFFIXES)
    inside = sorted(each for each in path.iterdir() if each.suffix.lower() in kinds)
    found = [each for each in inside if _is_known(each)]
    if len(found) > 1:
        listed = ", ".join(each.name for each in found[:8])
        raise BenchmarkError(f"{path}: expected the path of one benchmark, found {listed}")
    tables = [each for each in inside if each.suffix.lower() != ".json"]
    if tables and not found:
        # its own sentence says what is missing
        _format(tables[0])
    below = (each for each in sorted(path.iterdir()) if each.is_dir() and is_benchmark(each))
    return next(iter(found or below), path)


def is_benchmark(folder: Path) -> bool:
    """Tell whether a folder as a whole is a benchmark."""
    if next(folder.glob(f"*/{ANNOTATION}"), None):
        return True
    return (folder / table_rows.METADATA).is_file() or bool(table_files(folder))


def _is_known(path: Path) -> bool:
    try:
        detect(path)
    except BenchmarkError:
        return False
    return True


def _format(path: Path) -> str:
    """Return the format of a benchmark; a table that lacks columns is told which.

    Raises:
        BenchmarkError: if it is none that is known.
    """
    is_table = path.is_dir() or path.suffix.lower() in table_rows.SUFFIXES
    if not is_table or next(path.glob(f"*/{ANNOTATION}"), None):
        return detect(path)
    columns = table_rows.fields_of(path)
    known = any(sign <= columns for signs in SIGNS.values() for sign in signs)
    lacking = [names for names in NEEDED if not columns & set(names)]
    if columns and lacking and not known:
        expected = ", ".join(" or ".join(names) for names in lacking)
        raise BenchmarkError(
            f"{path}: expected a column for each of id, category, image and instruction, found no "
            f"{expected} among {', '.join(sorted(map(str, columns))[:12])[:300]}; rename or add "
            "columns"
        )
    return detect(path)


def _columns(path: Path) -> dict[str, bool]:
    return {name: name in table_rows.COLUMNS for name in sorted(table_rows.fields_of(path))}


def _settings(given: Mapping[str, Any]) -> BenchmarkSettings:
    """Return the settings of a benchmark.

    Raises:
        ConfigError: if no configuration can name it so.
    """
    try:
        return BenchmarkSettings.model_validate(given)
    except ValidationError as error:
        items: list[Any] = list(error.errors())
        said = sentences(items, BenchmarkSettings, backends.known())
        raise ConfigError("\n".join(f"{given['path']}: {text}" for text in said)) from None


def _further(given: Mapping[str, Any], form: str, path: Path) -> dict[str, str]:
    """Return the keys that a benchmark needs whose instructions are Chinese or whose images lie
    elsewhere; none where its first samples can be used without.
    """
    languages = [{}, {"language": "zh"}] if form in BILINGUAL else [{}]
    places = [] if path.is_dir() else [{"images": str(own)} for own in _places(path.parent)]
    each = ({**place, **language} for place, language in product([{}, *places], languages))
    return next((keys for keys in each if _tried({**given, **keys})), {})


def _places(folder: Path) -> Iterator[Path]:
    """Yield the folders and archives in a folder."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir() or entry.name.lower().endswith(ARCHIVES):
            yield Path(entry.path)


def _tried(given: Mapping[str, Any]) -> int:
    """Return how many of a benchmark's first samples can be used."""
    try:
        return outline.outline(_settings(given), TRIED).samples
    except BenchmarkError:
        return 0
