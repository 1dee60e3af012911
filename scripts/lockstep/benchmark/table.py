"""Any table: CSV, JSON lines, Parquet, a folder of them, or images with a metadata.csv.

Columns: `id, category, image, instruction`, and where there are such `language` (en or zh),
`description, rationale, expected, difficulty, tags, seed` and `reference`. `image` is a path,
base64 or (in Parquet) bytes; several source images are a list. `file_name` may stand for `image`,
and the stem of its path for `id`.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark.files import Files, open_files, safe_path
from lockstep.benchmark.items import (
    LANGUAGES,
    MAX_IMAGES,
    Image,
    Item,
    Named,
    fields,
    given,
    image_of_base64,
    image_of_bytes,
    image_of_file,
    items,
    label,
    listed,
    needed,
    number,
    own_category,
    shown,
    text,
)
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import plain_number
from lockstep.benchmark.table_rows import rows
from lockstep.errors import SampleError

MAX_PATH = 1_000
"""Characters of a path; a longer text is base64."""


def read(settings: BenchmarkSettings) -> Iterator[Item | SampleError]:
    """Yield each row of the configured language.

    Raises:
        BenchmarkError: if the file is no such table, or there are no images.
    """
    files = open_files(settings.images_path)
    return items(rows(Path(settings.path)), partial(_item, settings, files), _named)


def _item(settings: BenchmarkSettings, files: Files, row: Any) -> Item | None:
    if isinstance(row, SampleError):
        raise row
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
    if given(row, "id") is None and given(row, "file_name") is not None:
        return safe_path(needed(row, "file_name")).stem
    return label(row, "id")


def _images(row: Mapping[str, Any], field: str, files: Files) -> list[Image]:
    found = given(row, field)
    several = found if isinstance(found, list) else [] if found in (None, "") else [found]
    if len(several) > MAX_IMAGES:
        raise SampleError(f"{field}: found {len(several)} images, accepted are up to {MAX_IMAGES}")
    return [_image(each, field, files) for each in several]


def _image(found: Any, field: str, files: Files) -> Image:
    """Return how to read an image, by what is given of it."""
    if isinstance(found, Mapping) and not found.get("bytes"):
        found = found.get("path")
    if isinstance(found, bytes | Mapping):
        return image_of_bytes(found, field)
    if not isinstance(found, str):
        raise SampleError(f"{field}: expected a path, base64 or bytes, found {found!r:.60}")
    if found.startswith("data:") or len(found) > MAX_PATH:
        return image_of_base64(found, field)
    return image_of_file(files, needed({field: found}, field), field)


def _tags(row: Mapping[str, Any]) -> list[str]:
    found = row.get("tags")
    if isinstance(found, list):
        return [needed({"tags": tag}, "tags") for tag in listed(found)]
    return [tag.strip() for tag in text(row, "tags").split(",") if tag.strip()]


def _seed(row: Mapping[str, Any]) -> int | None:
    found = row.get("seed")
    if isinstance(found, str):
        try:
            found = plain_number(found)
        except ValueError as error:
            raise SampleError(f"seed: {error}") from None
    return number({"seed": found}, "seed")


def _named(row: Any) -> Named:
    subset = shown(row, "category")
    return Named(shown(row, "id") or shown(row, "file_name"), subset, subset)
