"""Any table: CSV, JSON lines, Parquet, a folder of them, or images with a metadata.csv.

Columns: `id, category, image, instruction`, and where there are such `language` (en or zh),
`description, rationale, expected, difficulty, tags, seed` and `reference`. `image` is a path,
base64 or (in Parquet) bytes; several source images are a list. `file_name` may stand for `image`,
and the stem of its path for `id`.
"""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lockstep import config
from lockstep.benchmark.files import Files, open_files, safe_path
from lockstep.benchmark.items import (
    LANGUAGES,
    MAX_IMAGES,
    Image,
    Item,
    Named,
    fields,
    image_of_base64,
    image_of_bytes,
    image_of_file,
    items,
    label,
    needed,
    number,
    own_category,
    shown,
    text,
)
from lockstep.benchmark.streams import MAX_VALUE, lines, loads
from lockstep.errors import BenchmarkError, SampleError

METADATA = "metadata.csv"

MAX_PATH = 1_000
"""Characters of a path; a longer text is base64."""


def read(settings: config.Benchmark) -> Iterator[Item | SampleError]:
    """Yield each row of the configured language.

    Raises:
        BenchmarkError: if the file is no such table, or there are no images.
    """
    files = open_files(settings.images_path)
    return items(rows(Path(settings.path)), partial(_item, settings, files), _named)


def rows(path: Path) -> Iterator[Any]:
    """Yield a table's rows; a line that is none as a SampleError in place of one.

    Raises:
        BenchmarkError: if the file is no table.
    """
    if (path / METADATA).is_file():
        path = path / METADATA
    match path.suffix.lower():
        case ".csv":
            return _csv(path)
        case ".jsonl":
            return _jsonl(path)
        case _:
            # only what needs it waits for it
            from lockstep.benchmark import columns

            return columns.rows(path)


def _csv(path: Path) -> Iterator[Any]:
    csv.field_size_limit(MAX_VALUE)
    count = 0
    try:
        reader = csv.reader(lines(path), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise BenchmarkError(f"{path}: found a column twice in {header}, accepted is each once")
        for cells in reader:
            count += 1
            if not cells:
                continue
            if len(cells) != len(header):
                yield f"found {len(cells)} cells, accepted are {len(header)}"
                continue
            # an empty cell says nothing
            yield {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}
    except csv.Error as error:
        raise BenchmarkError(f"{path}: found a broken row {count + 1} ({error})") from None


def _jsonl(path: Path) -> Iterator[Any]:
    for line in lines(path):
        if line.strip():
            try:
                yield loads(line)
            except ValueError as error:
                yield f"found a broken line ({error})"


def _item(settings: config.Benchmark, files: Files, row: Any) -> Item | None:
    if isinstance(row, str):
        raise SampleError(row)
    row = fields(row)
    language = text(row, "language")
    if language and language not in LANGUAGES:
        raise SampleError(f"language: found {language!r:.60}, accepted is en or zh")
    if language and LANGUAGES[language] != settings.language:
        return None
    images = _images(row, "image", files) or _images(row, "file_name", files)
    if not images:
        raise SampleError("image: found nothing, accepted is a path, base64 or bytes")
    references = _images(row, "reference", files)
    category = own_category(row, "category")
    return Item(
        id=_id(row),
        subset=category,
        category=category,
        instruction=needed(row, "instruction"),
        images=images,
        reference=references[0] if references else None,
        description=text(row, "description"),
        rationale=text(row, "rationale"),
        expected=text(row, "expected"),
        tags=_tags(row),
        difficulty=text(row, "difficulty") or None,
        source_seed=_seed(row),
    )


def _id(row: Mapping[str, Any]) -> str:
    if row.get("id") is None and row.get("file_name") is not None:
        return safe_path(needed(row, "file_name")).stem
    return label(row, "id")


def _images(row: Mapping[str, Any], field: str, files: Files) -> list[Image]:
    given = row.get(field)
    several = given if isinstance(given, list) else [] if given in (None, "") else [given]
    if len(several) > MAX_IMAGES:
        raise SampleError(f"{field}: found {len(several)} images, accepted are up to {MAX_IMAGES}")
    return [_image(each, field, files) for each in several]


def _image(given: Any, field: str, files: Files) -> Image:
    """Return how to read an image, by what is given of it."""
    if isinstance(given, Mapping) and not given.get("bytes"):
        given = given.get("path")
    if isinstance(given, bytes | Mapping):
        return image_of_bytes(given, field)
    if not isinstance(given, str):
        raise SampleError(f"{field}: found {given!r:.60}, accepted is a path, base64 or bytes")
    if given.startswith("data:") or len(given) > MAX_PATH:
        return image_of_base64(given, field)
    return image_of_file(files, needed({field: given}, field), field)


def _tags(row: Mapping[str, Any]) -> list[str]:
    given = row.get("tags")
    if isinstance(given, list):
        return [needed({"tags": tag}, "tags") for tag in given]
    return [tag.strip() for tag in text(row, "tags").split(",") if tag.strip()]


def _seed(row: Mapping[str, Any]) -> int | None:
    given = row.get("seed")
    if isinstance(given, str) and given.strip().removeprefix("-").isdecimal():
        given = int(given) if len(given) < 30 else float(given)
    return number({"seed": given}, "seed")


def _named(row: Any) -> Named:
    subset = shown(row, "category")
    return Named(shown(row, "id") or shown(row, "file_name"), subset, subset)
