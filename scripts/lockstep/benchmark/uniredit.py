"""UniREditBench: a JSON list of items beside their images.

Fields: `name` (the category), `idx`, `instruction`, `rules` (of a game), `original_image_path`,
`reference_image_path` and `reference_effect` (what a correct edit shows). The rules are part of
what an editor is told, as in the benchmark's own code.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
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
    listed = (value for _, value in values(Path(settings.path)))
    return items.checked(listed, partial(_item, files), partial(items.named, "idx", "name", None))


def _item(files: Files, value: Any) -> items.Item:
    value = items.fields(value)
    category = items.own_category(value, "name")
    path = items.needed(value, "original_image_path", "the path of an image")
    reference = items.text(value, "reference_image_path")
    field = "reference_image_path"
    rules = items.text(value, "rules")
    return items.Item(
        id=f"{category}_{items.label(value, 'idx')}",
        subset=category,
        category=category,
        instruction=" ".join(filter(None, [rules, items.needed(value, "instruction")])),
        images=[items.FileImage(files, path, "original_image_path")],
        reference=items.FileImage(files, reference, field) if reference else None,
        expected=items.text(value, "reference_effect"),
    )
