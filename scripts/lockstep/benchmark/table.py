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

from lockstep.benchmark import items
from lockstep.benchmark.files import Files, open_files, safe_path
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import plain_number
from lockstep.benchmark.table_rows import rows
from lockstep.errors import LeftOut, SampleError

MAX_PATH = 1_000
"""Characters of a path; a longer text is base64."""


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each row of the configured language.

    Raises:
        BenchmarkError: if the file is no such table, or there are no images.
    """
    files = open_files(settings.images_path)
    return items.checked(rows(Path(settings.path)), partial(_item, settings, files), _named)


def _item(settings: BenchmarkSettings, files: Files, row: Any) -> items.Item:
    if isinstance(row, SampleError):
        raise row
    row = items.fields(row)
    language = items.text(row, "language")
    if language and language not in items.LANGUAGES:
        raise SampleError(f"language: expected en or zh, found {language!r:.60}")
    if language and items.LANGUAGES[language] != settings.language:
        raise LeftOut(f"rows in {language}")
    images = _images(row, "image", files) or _images(row, "file_name", files)
    if not images:
        raise SampleError("image: expected a path, base64 or bytes, found nothing")
    references = _images(row, "reference", files)
    category = items.own_category(row, "category")
    return items.Item(
        id=_id(row),
        subset=category,
        category=category,
        instruction=items.needed(row, "instruction"),
        images=images,
        reference=references[0] if references else None,
        description=items.text(row, "description"),
        rationale=items.text(row, "rationale"),
        expected=items.text(row, "expected"),
        tags=items.tags(row),
        difficulty=items.text(row, "difficulty") or None,
        source_seed=_seed(row),
    )


def _id(row: Mapping[str, Any]) -> str:
    if items.given(row, "id") is None and items.given(row, "file_name") is not None:
        return safe_path(items.needed(row, "file_name")).stem
    return items.label(row, "id")


def _images(row: Mapping[str, Any], field: str, files: Files) -> list[items.Image]:
    found = items.given(row, field)
    several = found if isinstance(found, list) else [] if found in (None, "") else [found]
    if len(several) > items.MAX_IMAGES:
        raise SampleError(
            f"{field}: expected up to {items.MAX_IMAGES} images, found {len(several)}"
        )
    return [_image(each, field, files) for each in several]


def _image(found: Any, field: str, files: Files) -> items.Image:
    """Return how to read an image, by what is given of it."""
    if isinstance(found, Mapping) and not found.get("bytes"):
        found = found.get("path")
    if isinstance(found, bytes | Mapping):
        return items.image_of_bytes(found, field)
    if not isinstance(found, str):
        raise SampleError(f"{field}: expected a path, base64 or bytes, found {found!r:.60}")
    if found.startswith("data:") or len(found) > MAX_PATH:
        return items.image_of_base64({field: found}, field)
    return items.FileImage(files, items.needed({field: found}, field), field)


def _seed(row: Mapping[str, Any]) -> int | None:
    found = row.get("seed")
    if isinstance(found, str):
        try:
            found = plain_number(found)
        except ValueError as error:
            raise SampleError(f"seed: {error}") from None
    return items.number({"seed": found}, "seed")


def _named(row: Any) -> items.Named:
    found = items.named("id", "category", None, row)
    return found._replace(id=found.id or items.shown(row, "file_name"))
