"""GEdit-Bench: Parquet files, or a folder that `datasets` saved.

Columns: `task_type, key, instruction, instruction_language (en or cn), input_image {bytes}`,
`Intersection_exist`. `input_image_raw` is the same image before it was scaled and is not read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark.categories import GEDIT, category_key
from lockstep.benchmark.columns import rows
from lockstep.benchmark.items import (
    LANGUAGES,
    Item,
    Named,
    image_of_bytes,
    items,
    label,
    needed,
    shown,
)
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import ConfigError, SampleError

COLUMNS = (
    "task_type",
    "key",
    "instruction",
    "instruction_language",
    "input_image",
    "Intersection_exist",
)


def read(settings: BenchmarkSettings) -> Iterator[Item | SampleError]:
    """Yield each sample of the configured language.

    Raises:
        BenchmarkError: if the files are no such table.
    """
    return items(rows(Path(settings.path), COLUMNS), partial(_item, settings), _named)


def _item(settings: BenchmarkSettings, row: Any) -> Item | None:
    language = needed(row, "instruction_language", "en or cn")
    if language not in LANGUAGES:
        raise SampleError(f"instruction_language: found {language!r:.60}, accepted is en or cn")
    if LANGUAGES[language] != settings.language:
        return None
    if settings.intersection and row.get("Intersection_exist") is not True:
        return None
    subset = needed(row, "task_type")
    try:
        category = category_key(subset, GEDIT)
    except ConfigError as error:
        raise SampleError(f"task_type: {error}") from None
    return Item(
        id=label(row, "key"),
        subset=subset,
        category=category,
        instruction=needed(row, "instruction"),
        images=[image_of_bytes(row.get("input_image"), "input_image")],
    )


def _named(row: Any) -> Named:
    subset = shown(row, "task_type")
    return Named(shown(row, "key"), subset, subset if subset in GEDIT else None)
