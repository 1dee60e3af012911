"""UniREditBench: a JSON list of items beside their images.

Fields: `name` (the category), `idx`, `instruction`, `rules` (of a game), `original_image_path`,
`reference_image_path` and `reference_effect` (what a correct edit shows). The rules are part of
what an editor is told, as in the benchmark's own code.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark.files import Files, open_files
from lockstep.benchmark.items import (
    Item,
    Named,
    fields,
    image_of_file,
    items,
    label,
    needed,
    own_category,
    shown,
    text,
)
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import SampleError


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
    category = own_category(value, "name")
    path = needed(value, "original_image_path", "the path of an image")
    reference = text(value, "reference_image_path")
    field = "reference_image_path"
    rules = text(value, "rules")
    return Item(
        id=f"{category}_{label(value, 'idx')}",
        subset=category,
        category=category,
        instruction=" ".join(filter(None, [rules, needed(value, "instruction")])),
        images=[image_of_file(files, path, "original_image_path")],
        reference=image_of_file(files, reference, field) if reference else None,
        expected=text(value, "reference_effect"),
    )


def _named(value: Any) -> Named:
    subset = shown(value, "name")
    return Named(shown(value, "idx"), subset, subset)
