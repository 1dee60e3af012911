"""Rows of a table: CSV, JSON lines, Parquet, Arrow, or a folder of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.benchmark.streams import csv_rows, json_lines
from lockstep.errors import BenchmarkError, SampleError

METADATA = "metadata.csv"

COLUMNS = (
    *("id", "category", "image", "file_name", "instruction", "language", "description"),
    *("rationale", "expected", "difficulty", "tags", "seed", "reference"),
)

SUFFIXES = (".csv", ".jsonl", ".parquet", ".arrow")
"""Of files that are a table."""


def rows(path: Path, columns: Sequence[str] = COLUMNS) -> Iterator[Any]:
    """Yield a table's rows; in place of one that cannot be read stands a SampleError.

    Args:
        columns: those that are needed; others may be left out.

    Raises:
        BenchmarkError: if the file is no table.
    """
    path = _table(path)
    match path.suffix.lower():
        case ".csv":
            return map(_filled, csv_rows(path))
        case ".jsonl":
            return (row for _, row in json_lines(path))
        case _:
            # only what needs it waits for it
            from lockstep.benchmark import columns as of_columns

            return of_columns.rows(path, columns)


def fields_of(path: Path) -> set[str]:
    """Return the columns of a table, or of its first row where each has its own.

    Raises:
        BenchmarkError: if the file is no table.
    """
    if _table(path).suffix.lower() in (".csv", ".jsonl"):
        return set(next((row for row in rows(path) if isinstance(row, Mapping)), {}))
    from lockstep.benchmark import columns

    return set(columns.kinds(path))


def _table(path: Path) -> Path:
    if (path / METADATA).is_file():
        return path / METADATA
    if not path.is_dir() and path.suffix.lower() not in SUFFIXES:
        raise BenchmarkError(
            f"{path}: expected a table ({', '.join(SUFFIXES)}, or a folder with a {METADATA} or "
            f"with such files), found a file of kind {path.suffix!r}"
        )
    return path


def _filled(
    numbered: tuple[int, dict[str, str] | SampleError],
) -> dict[str, str | None] | SampleError:
    """Return a row with None for its empty cells, which say nothing."""
    _, row = numbered
    if isinstance(row, SampleError):
        return row
    return {name: cell if cell.strip() else None for name, cell in row.items()}
