"""Which format a benchmark has, told by its first item."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lockstep.benchmark import streams, table_rows
from lockstep.benchmark.files import ANNOTATION, table_files
from lockstep.errors import BenchmarkError, suggest

SIGNS: Mapping[str, Iterable[set[str]]] = {
    "re-edit": [{"src_img_b64"}, {"original_image_path", "edit_instruction"}],
    "uniredit": [{"original_image_path", "reference_image_path", "name", "idx"}],
    "rise": [{"index", "category", "instruction", "image"}],
    "imgedit": [{"id", "prompt", "edit_type"}],
    "gedit": [{"task_type", "key", "instruction_language", "input_image"}],
}
"""Fields that only items of a format have together."""

PEEKED = 10_000
"""Items that are looked at for their categories."""


def detect(path: Path) -> str:
    """Return the name of a benchmark's format.

    Raises:
        BenchmarkError: if it is none that is known, or cannot be read.
    """
    path = Path(path)
    if path.is_dir() and next(path.glob(f"*/{ANNOTATION}"), None):
        return "kris"
    fields = _first_fields(path)
    for name, signs in SIGNS.items():
        if any(sign <= fields for sign in signs):
            return name
    if not _is_json(path) and {"category", "instruction"} <= fields:
        return "table"
    listed = ", ".join(sorted(map(str, fields))[:12]) or "no fields"
    raise BenchmarkError(
        f"{path}: found no known format (its first item has {listed[:300]}); expected one of "
        f"{', '.join([*SIGNS, 'kris', 'table'])}; benchmark.format names one"
    )


def own_categories(path: Path, form: str) -> list[str]:
    """Return the categories that the first items of a file have, in order of appearance.

    Args:
        form: a format without a list of its own.

    Raises:
        BenchmarkError: if the file cannot be read.
    """
    field = "name" if form == "uniredit" else "category"
    found = dict.fromkeys(
        value[field]
        for value in islice(_of_field(path, field), PEEKED)
        if isinstance(value, Mapping) and isinstance(value.get(field), str)
    )
    return list(found)


def lacking_category(path: Path, form: str, wanted: Sequence[str]) -> str | None:
    """Return in a sentence which category a file has no item of; None where it may have all.

    Files with many items are not read to their end.

    Args:
        form: a format without a list of categories of its own.
        wanted: keys of the categories.

    Raises:
        BenchmarkError: if the file cannot be read.
    """
    field, found = "name" if form == "uniredit" else "category", dict[str, None]()
    for number, value in enumerate(_of_field(path, field)):
        if number == PEEKED:
            return None
        if isinstance(value, Mapping) and isinstance(own := value.get(field), str):
            found[unicodedata.normalize("NFC", own)] = None
    lost = next((key for key in wanted if key not in found), None)
    if lost is None or not found:
        return None
    hint = suggest(lost, found)
    return f"found no sample of {lost!r}{hint}; {str(path)!r} has {', '.join(found)[:300]}"


def check_stated(path: Path, form: str) -> None:
    """Check that a file's first item does not have the fields of another format; a table may.

    Raises:
        BenchmarkError: if it has.
    """
    if form == "table" or not path.exists():
        return
    try:
        found = detect(path)
    except BenchmarkError:
        # what is wrong with it is told by who reads it
        return
    if found not in (form, "table"):
        raise BenchmarkError(
            f"format: expected {found!r}, whose fields {str(path)!r} has, found {form!r}"
        )


def check_columns(path: Path, form: str) -> None:
    """Check that a table, if it is there, has a column of categories; JSON lines have no columns.

    Raises:
        BenchmarkError: if it has none.
    """
    if form != "table" or not path.exists() or path.suffix.lower() == ".jsonl":
        return
    try:
        fields = table_rows.fields_of(path)
    except BenchmarkError:
        # what is wrong with it is told by who reads it
        return
    if fields and "category" not in fields:
        raise BenchmarkError(
            f"{path}: expected a column 'category', found {', '.join(sorted(fields))[:300]}"
        )


def deciding_files(path: Path, form: str) -> list[Path]:
    """Return the files that hold a benchmark, but for the images that they name."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    if form == "kris":
        return sorted(path.glob(f"*/{ANNOTATION}"))
    metadata = path / table_rows.METADATA
    return [metadata] if metadata.is_file() else table_files(path)


def _first_fields(path: Path) -> set[str]:
    if not _is_json(path):
        return table_rows.fields_of(path)
    if not path.stat().st_size:
        raise BenchmarkError(f"{path}: expected at least one item, found an empty file")
    try:
        key, first = next(iter(streams.values(path)), (None, None))
        if first is None:
            raise BenchmarkError(f"{path}: expected at least one item, found none")
        if key is not None and isinstance(first, list):
            raise BenchmarkError(
                f"{path}: expected a list of items, found one under the key {key!r}"
            )
        return set(next((value for value in _json(path) if isinstance(value, Mapping)), {}))
    except BenchmarkError:
        if path.suffix.lower() == ".json":
            raise
        kinds = ", ".join((".json", *table_rows.SUFFIXES))
        raise BenchmarkError(
            f"{path}: expected JSON or a file of kind {kinds}, found no JSON and the kind "
            f"{path.suffix!r}"
        ) from None


def _of_field(path: Path, field: str) -> Iterable[Any]:
    return _json(path) if _is_json(path) else table_rows.rows(path, [field])


def _is_json(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() not in table_rows.SUFFIXES


def _json(path: Path) -> Iterable[Any]:
    return (value for _, value in streams.values(path))
