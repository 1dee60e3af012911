"""A file of rewritten instructions, by the ids of samples."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lockstep.benchmark import items, score_files
from lockstep.benchmark.streams import Fields, values
from lockstep.errors import BenchmarkError, ConfigError, SampleError
from lockstep.foreign.ids import same_id

TEXT = ("rewritten", "instruction")
"""Columns of the text, the first that a file has: a run's own file has both."""

Texts = Mapping[str, str | SampleError]
"""By what is equal of ids that may be mixed up: the text, or why there is none."""


def read_texts(path: str) -> Texts:
    """Read a file of rewritten instructions.

    Raises:
        ConfigError: if it cannot be read, or a row does not say which sample it is of.
    """
    columns, rows = _rows(path)
    if not rows:
        raise ConfigError(f"{path}: expected rewritten instructions, found none")
    column = next((name for name in TEXT if name in columns), None)
    if "id" not in columns or column is None:
        raise ConfigError(
            f"{path}: expected the columns id and rewritten (or instruction), found "
            f"{', '.join(columns) or 'none'}"
        )
    found: dict[str, str | SampleError] = {}
    first: dict[str, str] = {}
    for place, row in rows:
        own = score_files.text_in(place, "id", row.get("id"))
        key = same_id(own)
        if key in found:
            found[key] = SampleError(
                f"{place}: expected each id once, found {own!r} a second time, after {first[key]}"
            )
            continue
        first[key] = place.removeprefix(f"{path}: ")
        try:
            found[key] = items.needed(row, column)
        except SampleError as error:
            found[key] = SampleError(f"{place}: sample {own!r}: {error}")
    return found


def _rows(path: str) -> tuple[list[str], list[tuple[str, Mapping[str, Any]]]]:
    """Return the columns of a file, and where each row stands with its values."""
    if Path(path).suffix.lower() != ".json":
        if Path(path).suffix.lower() not in score_files.READERS:
            kinds = ", ".join(score_files.READERS)
            raise ConfigError(f"{path}: expected a file of kind {kinds}, found another")
        return score_files.read_rows(path)
    rows: list[tuple[str, Mapping[str, Any]]] = []
    try:
        for number, (key, value) in enumerate(values(Path(path)), 1):
            place = f"{path}: item {number}"
            row = value if key is None else {"id": key, TEXT[0]: value}
            if not isinstance(row, Mapping):
                raise ConfigError(f"{place}: expected an object, found {row!r:.60}")
            if isinstance(row, Fields) and row.twice is not None:
                raise ConfigError(f"{place}: expected each key once, found {row.twice!r} twice")
            rows.append((place, row))
    except BenchmarkError as error:
        raise ConfigError(str(error)) from None
    except OSError as error:
        raise ConfigError(f"{path}: found no readable .json ({error})") from None
    return _columns(row for _, row in rows), rows


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
