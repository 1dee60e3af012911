"""RISEBench: a JSON list of items beside their images.

Fields: `index, category, instruction, image` (a path or several), and as references of what a
correct edit shows `reference` or `reference_txt` (texts) and `reference_img` (a path).
`consistency_free` marks edits that keep nothing of the source, which are not judged by it.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark.categories import RISE, category_key
from lockstep.benchmark.files import Files, open_files
from lockstep.benchmark.items import (
    Item,
    Named,
    fields,
    image_of_file,
    items,
    label,
    names,
    needed,
    shown,
    text,
)
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import ConfigError, SampleError

CONSISTENCY_FREE = "consistency_free"
"""Tag of samples whose edits need not keep anything of the source."""


def read(settings: BenchmarkSettings) -> Iterator[Item | SampleError]:
    """Yield each item of a file.

    Raises:
        BenchmarkError: if the file is not valid JSON, or there are no images.
    """
    files = open_files(settings.images_path)
    listed = (value for _, value in values(Path(settings.path)))
    return items(listed, partial(_item, files), _named)


def _item(files: Files, value: Any) -> Item:
    value = fields(value)
    subset = needed(value, "category")
    try:
        category = category_key(subset, RISE)
    except ConfigError as error:
        raise SampleError(f"category: {error}") from None
    reference = text(value, "reference_img")
    free = value.get(CONSISTENCY_FREE) in (True, 1, "True", "true")
    kinds = [text(value, field) for field in ("subtask", "subcategory", "task_type")]
    return Item(
        id=label(value, "index"),
        subset=subset,
        category=category,
        instruction=needed(value, "instruction"),
        images=[image_of_file(files, name, "image") for name in names(value, "image")],
        reference=image_of_file(files, reference, "reference_img") if reference else None,
        expected=text(value, "reference_txt") or text(value, "reference"),
        tags=[*filter(None, kinds), *([CONSISTENCY_FREE] if free else [])],
    )


def _named(value: Any) -> Named:
    subset = shown(value, "category")
    return Named(shown(value, "index"), subset, subset if subset in RISE else None)
