"""ImgEdit's basic test: a JSON object of items beside a folder or an archive of images.

Each member is `key: {id (path of the image), prompt, edit_type}`.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark.categories import IMGEDIT, category_key
from lockstep.benchmark.files import Files, open_files
from lockstep.benchmark.items import Item, Named, fields, image_of_file, items, needed, shown
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import ConfigError, SampleError


def read(settings: BenchmarkSettings) -> Iterator[Item | SampleError]:
    """Yield each item of a file.

    Raises:
        BenchmarkError: if the file is not valid JSON, or there are no images.
    """
    files = open_files(settings.images_path)
    return items(values(Path(settings.path)), partial(_item, files), _named)


def _item(files: Files, member: tuple[str | None, Any]) -> Item:
    key, value = member
    value = fields(value)
    subset = needed(value, "edit_type")
    return Item(
        id=needed({"key": key}, "key"),
        subset=subset,
        category=_category(subset),
        instruction=needed(value, "prompt"),
        images=[image_of_file(files, needed(value, "id", "the path of an image"), "id")],
    )


def _category(subset: str) -> str:
    try:
        return category_key(subset, IMGEDIT)
    except ConfigError as error:
        raise SampleError(f"edit_type: {error}") from None


def _named(member: tuple[str | None, Any]) -> Named:
    key, value = member
    subset = shown(value, "edit_type")
    try:
        category = _category(subset or "")
    except SampleError:
        category = None
    return Named(shown({"key": key}, "key"), subset, category)
