"""Other people's scores: CSV, JSON, JSON lines or Parquet with a row for each sample.

Columns are `category`, `id`, optionally `editor` and `tags` (a list, or a text with commas), and
`score` or one for each criterion; others are passed over. Only the file's own numbers count: an
empty value is no score.
"""

import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import layout, records
from lockstep.benchmark import streams
from lockstep.benchmark.categories import known_key
from lockstep.benchmark.streams import Fields, csv_rows, json_lines, plain_number
from lockstep.errors import BenchmarkError, ConfigError, SampleError
from lockstep.foreign import media
from lockstep.foreign.ids import same_id

OF_ID = "value of an id"
"""Column of the values of a JSON object that has one for each id."""

BATCH = 1000
"""Rows of a Parquet file that are read at a time."""


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
    listed = layout.numbers(source)
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
        table = layout.table(source, name, key)
        # a report may come from others
        if not (
            os.path.isfile(table) and layout.of_table(table).results.resolve() == source.resolve()
        ):
            raise ConfigError(
                f"{listed}: found {name!r} with {key!r} and no {table.name} of them; run that "
                "workflow again to have it made anew"
            )
        found.append(table)
    return list(map(str, found))


def read_score_file(path: str | Path) -> ScoreFile:
    """Read a file of scores.

    Raises:
        ConfigError: if it cannot be read, names no sample in a row, or one twice.
    """
    columns, numbered = read_rows(path)
    for needed in ("category", "id"):
        if needed not in columns:
            raise ConfigError(
                f"{path}: expected the columns category, id, one for each criterion or score, and "
                f"optionally editor, found no column {needed!r}"
            )
    rows = [_row(place, values, "editor" in columns) for place, values in numbered]
    seen: dict[tuple[str | None, str, str], Row] = {}
    for row in rows:
        other = seen.setdefault((row.editor, row.category, same_id(row.id)), row)
        if other is not row:
            how = "" if other.id == row.id else f", which can be mixed up with {other.id!r}"
            raise ConfigError(
                f"{row.place}: expected each id once, found {row.id!r} of {row.category!r} a "
                f"second time{'' if row.editor is None else f' by {row.editor!r}'}{how}"
            )
    return ScoreFile(str(path), columns, rows)


def read_rows(path: str | Path) -> tuple[list[str], list[tuple[str, Mapping[str, Any]]]]:
    """Return the columns of a file, and where each row stands with its values.

    Raises:
        ConfigError: if it cannot be read.
    """
    path = Path(path)
    read = READERS.get(path.suffix.lower())
    if read is None:
        kinds = ", ".join(READERS)
        raise ConfigError(f"{path}: expected a file of kind {kinds}, found {path.suffix!r}")
    numbered = []
    try:
        for place, row in read(path):
            place = f"{path}: {place}"
            if isinstance(row, SampleError):
                raise row
            if not isinstance(row, Mapping):
                raise ConfigError(f"{place}: expected an object, found {row!r:.60}")
            if isinstance(row, Fields) and row.twice is not None:
                raise ConfigError(f"{place}: expected each key once, found {row.twice!r} twice")
            numbered.append((place, row))
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a file, found none") from None
    except OSError as error:
        raise ConfigError(f"{path}: found no readable {path.suffix} ({error})") from None
    except (BenchmarkError, SampleError) as error:
        raise ConfigError(str(error)) from None
    return list(dict.fromkeys(name for _, values in numbered for name in values)), numbered


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
        f"{file.path}: expected a column score{of_criteria}, found {', '.join(file.columns)}"
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
    texts = {name: text_in(place, name, values.get(name)) for name in names}
    return Row(place, texts.get("editor"), known_key(texts["category"]), texts["id"], values)


def _number(row: Row, column: str, scale: tuple[float, float]) -> float | None:
    number = number_in(row.place, column, row.values.get(column))
    if number is None:
        return None
    low, high = scale
    if not low <= number <= high:
        raise ConfigError(
            f"{row.place}: {column}: expected a number from {low:g} to {high:g}, found {number:g}"
        )
    return number


def text_in(place: str, column: str, value: Any) -> str:
    """Return the text, or the whole number as text, that a value is.

    Raises:
        ConfigError: if it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ConfigError(f"{place}: {column}: expected a text, found {value!r:.60}")
    return str(value)


def number_in(place: str, column: str, value: Any) -> float | None:
    """Return the number that a value is; None where it says nothing, which NaN does too.

    Raises:
        ConfigError: if it is anything else.
    """
    try:
        if isinstance(value, str):
            return float(plain_number(value)) if value.strip() else None
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal | None):
            raise ValueError
        return None if value is None or math.isnan(value) else float(value)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{place}: {column}: expected a number in plain digits, or nothing, found {value!r:.60}"
        ) from None


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    for number, row in csv_rows(path):
        # ids that were copied from one of our tables
        if not isinstance(row, SampleError):
            row = {name: media.from_cell(text) for name, text in row.items()}
        yield f"line {number}", row


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    # only what needs it waits for it
    from lockstep.benchmark import columns

    kinds = columns.kinds(path)
    # tags are a list, or a text
    plain = [name for name, kind in kinds.items() if name == "tags" or columns.is_plain(kind)]
    # what is neither a text nor a number is not decoded, and is told if it is needed
    others = {name: f"a column of {kind}" for name, kind in kinds.items() if name not in plain}
    for number, values in enumerate(columns.rows(path, plain, BATCH), 1):
        yield f"row {number}", {**others, **values}


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a list, or of an object that has a value for each id."""
    for number, (key, value) in enumerate(streams.values(path), 1):
        is_text = key is not None and not isinstance(value, Mapping)
        yield f"item {number}", {"id": key, OF_ID: value} if is_text else value


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": lambda path: ((f"line {n}", value) for n, value in json_lines(path)),
    ".parquet": _parquet,
}
"""Readers by suffix: path → where each row stands, and its values or a SampleError."""
