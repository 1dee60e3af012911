"""GEdit-Bench: Parquet files, or a folder that `datasets` saved.

Columns: `task_type, key, instruction, instruction_language (en or cn), input_image {bytes}`,
`Intersection_exist`. `input_image_raw` is the same image before it was scaled and is not read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
from lockstep.benchmark.categories import GEDIT
from lockstep.benchmark.columns import rows
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import SampleError

COLUMNS = (
    "task_type",
    "key",
    "instruction",
    "instruction_language",
    "input_image",
    "Intersection_exist",
)


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each sample of the configured language.

    Raises:
        BenchmarkError: if the files are no such table.
    """
    name = partial(items.named, "key", "task_type", GEDIT)
    return items.checked(rows(Path(settings.path), COLUMNS), partial(_item, settings), name)


def _item(settings: BenchmarkSettings, row: Any) -> items.Item | None:
    language = items.needed(row, "instruction_language", "en or cn")
    if language not in items.LANGUAGES:
        raise SampleError(f"instruction_language: expected en or cn, found {language!r:.60}")
    if items.LANGUAGES[language] != settings.language:
        return None
    if settings.intersection and row.get("Intersection_exist") is not True:
        return None
    subset = items.needed(row, "task_type")
    category = items.known_category(subset, "task_type", GEDIT)
    return items.Item(
        id=items.label(row, "key"),
        subset=subset,
        category=category,
        instruction=items.needed(row, "instruction"),
        images=[items.image_of_bytes(row.get("input_image"), "input_image")],
    )
