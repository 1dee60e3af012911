"""Other people's scores: CSV, JSON lines or Parquet with a row for each sample.

Columns are `category`, `id`, optionally `editor` and `tags` (a list, or a text with commas), and
`score` or one for each criterion; others are passed over. Only the file's own numbers count: an
empty value is no score.
"""

import csv
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import records
from lockstep.benchmark.streams import Fields, loads
from lockstep.categories import category_key
from lockstep.errors import ConfigError

TABLE = "table.csv"
"""Name of an editor's and category's table in a folder of results."""


class ScoreFile(NamedTuple):
    """What a file of scores holds."""

    path: str
    columns: list[str]
    rows: list["Row"]


class Row(NamedTuple):
    """Scores of one sample."""

    place: str
    """Where it stands, for messages."""
    editor: str | None
    """None where the file names none."""
    category: str
    """Its key if it is one of the workflow's own, else as the file names it."""
    id: str
    """As the file names it."""
    values: Mapping[str, Any]
    """All columns."""

    @property
    def categories(self) -> set[str]:
        """The keys that its category may have: some benchmarks have 物理 for a key itself."""
        return {self.category, unicodedata.normalize("NFC", str(self.values["category"]))}


def source_files(path: str) -> list[str]:
    """Return the files of a source: itself, or the tables that a folder of results reports.

    Tables of what is no longer part of that run are not among them.

    Raises:
        ConfigError: if there are none.
    """
    source = Path(path)
    if source.is_file():
        return [path]
    if not source.exists():
        raise ConfigError(f"compare.sources: found no file {path!r}")
    listed = source / "report" / "report.json"
    try:
        editors = records.read_json(listed)["editors"]
        names = [(name, key) for name, own in editors.items() for key in own["categories"]]
    except FileNotFoundError:
        raise ConfigError(
            f"compare.sources: expected a file of scores, or the folder of a finished run with "
            f"report/report.json, found {path!r} without it"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ConfigError(
            f"{listed}: expected the report of a run, found a file that is none; run that workflow "
            "again to have it made anew"
        ) from None
    found = []
    for name, key in names:
        table = source / name / key / TABLE
        # a report may come from others
        if not (os.path.isfile(table) and table.parents[2].resolve() == source.resolve()):
            raise ConfigError(
                f"{listed}: found {name!r} with {key!r} and no {TABLE} of them; run that workflow "
                "again to have it made anew"
            )
        found.append(table)
    return list(map(str, found))


def read_score_file(path: str | Path) -> ScoreFile:
    """Read a file of scores.

    Raises:
        ConfigError: if it cannot be read, names no sample in a row, or one twice.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        accepted = ", ".join(READERS)
        raise ConfigError(f"{path}: found a file of kind {path.suffix!r}, accepted are {accepted}")
    try:
        numbered = list(read(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: found no file, accepted is one with scores") from None
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: found no readable {path.suffix} ({error})") from None
    columns = list(dict.fromkeys(column for _, values in numbered for column in values))
    for needed in ("category", "id"):
        if needed not in columns:
            raise ConfigError(
                f"{path}: found no column {needed!r}, accepted are category, id, a column for each "
                "criterion or score, and optionally editor"
            )
    rows = [_row(f"{path}: {place}", values, "editor" in columns) for place, values in numbered]
    seen: dict[tuple[str | None, str, str], str] = {}
    for row in rows:
        key = row.editor, row.category, row.id
        if key in seen:
            raise ConfigError(
                f"{row.place}: found id {row.id!r} of {row.category!r} a second time"
                f"{'' if row.editor is None else f' by {row.editor!r}'}, accepted is each once"
            )
        seen[key] = row.place
    return ScoreFile(str(path), columns, rows)


def numbers(
    row: Row, columns: Sequence[str], scale: tuple[float, float]
) -> dict[str, float | None]:
    """Return a row's numbers in some columns; None where the file has none.

    Raises:
        ConfigError: if a value is no number, or not on the scale.
    """
    return {column: _number(row, column, scale) for column in columns}


def needed_columns(file: ScoreFile, criteria: Sequence[str]) -> list[str]:
    """Return the columns that make a file's scores: all criteria if it has them, else `score`.

    Raises:
        ConfigError: if it has neither.
    """
    if criteria and set(criteria) <= set(file.columns):
        return list(criteria)
    if "score" in file.columns:
        return ["score"]
    of_criteria = f" or all of {', '.join(criteria)}" if criteria else ""
    raise ConfigError(
        f"{file.path}: found columns {', '.join(file.columns)}, accepted are score{of_criteria}"
    )


def tags(row: Row) -> list[str]:
    """Return a row's tags.

    Raises:
        ConfigError: if they are no texts.
    """
    given = row.values.get("tags")
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return []
    several = given.split(",") if isinstance(given, str) else given
    if not isinstance(several, list) or not all(isinstance(tag, str) for tag in several):
        raise ConfigError(
            f"{row.place}: tags: expected a list of texts, or a text with commas, found "
            f"{given!r:.60}"
        )
    return list(dict.fromkeys(filter(None, map(str.strip, several))))


def _row(place: str, values: Mapping[str, Any], has_editor: bool) -> Row:
    names = ["category", "id"] + (["editor"] if has_editor else [])
    given = {name: values.get(name) for name in names}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            raise ConfigError(f"{place}: {name}: found {value!r}, accepted is a text")
    texts = {name: str(value) for name, value in given.items()}
    return Row(place, texts.get("editor"), known_key(texts["category"]), texts["id"], values)


def known_key(category: str) -> str:
    """Return the key of one of the workflow's own categories, or else the name itself."""
    try:
        return category_key(category)
    except ConfigError:
        return category


def _number(row: Row, column: str, scale: tuple[float, float]) -> float | None:
    value = row.values.get(column)
    try:
        if value is None or value == "":
            return None
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{row.place}: {column}: found {value!r}, accepted is a number, or nothing"
        ) from None
    if math.isnan(number):
        # what pandas writes for nothing
        return None
    low, high = scale
    if not low <= number <= high:
        raise ConfigError(
            f"{row.place}: {column}: found {number:g}, accepted is a number from {low:g} to "
            f"{high:g}"
        )
    return number


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # spreadsheets begin their files with a byte order mark
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        # spreadsheets end lines with columns of no name
        columns = list(filter(None, reader.fieldnames or []))
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise ValueError(f"column {twice[0]!r} is there twice")
        for values in reader:
            if None in values or None in values.values():
                raise ValueError(
                    f"line {reader.line_num} has not as many values as there are columns"
                )
            yield f"line {reader.line_num}", values


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            values = loads(line)
            if not isinstance(values, Fields):
                raise ValueError(f"line {number} is no JSON object")
            if values.twice is not None:
                raise ValueError(f"line {number} has the key {values.twice!r:.60} twice")
            yield f"line {number}", values


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from pyarrow import parquet

    for number, values in enumerate(parquet.read_table(path).to_pylist(), 1):
        yield f"row {number}", values


READERS: dict[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
"""Readers by suffix: path → where each row stands, and its values."""
