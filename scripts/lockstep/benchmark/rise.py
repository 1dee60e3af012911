"""RISEBench: a JSON list of items beside their images.

Fields: `index, category, instruction, image` (a path or several), and as references of what a
correct edit shows `reference` or `reference_txt` (texts) and `reference_img` (a path).
`consistency_free` marks edits that keep nothing of the source, which are not judged by it, and any
`reasoning_img` edits whose reasoning is judged beside the source.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
from lockstep.benchmark.categories import RISE
from lockstep.benchmark.files import Files, open_files
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import SampleError

CONSISTENCY_FREE = "consistency_free"
"""Tag of samples whose edits need not keep anything of the source."""

REASONING_IMG = "reasoning_img"
"""Tag of samples whose reasoning is judged beside the source."""


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each item of a file.

    Raises:
        BenchmarkError: if the file is not valid JSON, or there are no images.
    """
    files = open_files(settings.images_path)
    listed = (value for _, value in values(Path(settings.path)))
    return items.checked(
        listed, partial(_item, files), partial(items.named, "index", "category", RISE)
    )


def _item(files: Files, value: Any) -> items.Item:
    value = items.fields(value)
    subset = items.needed(value, "category")
    category = items.known_category(subset, "category", RISE)
    reference = items.text(value, "reference_img")
    free = value.get(CONSISTENCY_FREE) in (True, 1, "True", "true")
    marks = [CONSISTENCY_FREE] * free + [REASONING_IMG] * _marked(value, REASONING_IMG)
    kinds = [items.text(value, field) for field in ("subtask", "subcategory", "task_type")]
    return items.Item(
        id=items.label(value, "index"),
        subset=subset,
        category=category,
        instruction=items.needed(value, "instruction"),
        images=[items.FileImage(files, name, "image") for name in items.names(value, "image")],
        reference=items.FileImage(files, reference, "reference_img") if reference else None,
        expected=items.text(value, "reference_txt") or items.text(value, "reference"),
        tags=[*filter(None, kinds), *marks],
    )


def _marked(value: Mapping[str, Any], field: str) -> bool:
    """Tell whether a field holds anything: to its authors false does, and NaN does not."""
    given = value.get(field)
    return given is not None and given == given
