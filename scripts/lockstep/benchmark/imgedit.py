"""ImgEdit's basic test: a JSON object of items beside a folder or an archive of images.

Each member is `key: {id (path of the image), prompt, edit_type}`.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
from lockstep.benchmark.categories import IMGEDIT
from lockstep.benchmark.files import Files, open_files
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import SampleError


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each item of a file.

    Raises:
        BenchmarkError: if the file is not valid JSON, or there are no images.
    """
    files = open_files(settings.images_path)
    return items.checked(values(Path(settings.path)), partial(_item, files), _named)


def _item(files: Files, member: tuple[str | None, Any]) -> items.Item:
    key, value = member
    value = items.fields(value)
    subset = items.needed(value, "edit_type")
    category = items.known_category(subset, "edit_type", IMGEDIT)
    return items.Item(
        id=items.needed({"key": key}, "key"),
        subset=subset,
        category=category,
        instruction=items.needed(value, "prompt"),
        images=[items.FileImage(files, items.needed(value, "id", "the path of an image"), "id")],
    )


def _named(member: tuple[str | None, Any]) -> items.Named:
    key, value = member
    return items.named("key", "edit_type", IMGEDIT, value)._replace(
        id=items.shown({"key": key}, "key")
    )
