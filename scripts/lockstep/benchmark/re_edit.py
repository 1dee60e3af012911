"""The RE-Edit style: a JSON list of items, images inside as base64.

Fields: `subset`, `original_description`, `edit_instruction`, `rationale_short` (each with an
English twin ending in `_en`), `src_img_b64`, `tags`, `difficulty`, `original_image_path` (whose
stem is the id) and `seed`.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
from lockstep.benchmark.categories import CATEGORIES
from lockstep.benchmark.files import safe_path
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import SampleError


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each item of a file, or the reason why it cannot be used, in file order.

    Raises:
        BenchmarkError: if the file is not valid JSON.
    """
    listed = (value for _, value in values(Path(settings.path)))
    name = partial(items.named, "original_image_path", "subset", CATEGORIES)
    return items.checked(listed, partial(_item, settings), name)


def _item(settings: BenchmarkSettings, value: Any) -> items.Item:
    value = items.fields(value)
    subset = items.needed(value, "subset", "the name of a category")
    category = items.known_category(subset, "subset", CATEGORIES)
    return items.Item(
        id=_id(items.needed(value, "original_image_path", "a path whose stem is the id")),
        subset=subset,
        category=category,
        instruction=_instruction(value, settings),
        images=[items.image_of_base64(value, "src_img_b64")],
        description=_translated(value, "original_description", settings),
        rationale=_translated(value, "rationale_short", settings),
        tags=items.tags(value),
        difficulty=items.text(value, "difficulty") or None,
        source_seed=items.number(value, "seed"),
    )


def _id(path: str) -> str:
    try:
        stem = safe_path(path).stem
    except SampleError:
        stem = ""
    if not stem:
        raise SampleError(
            "original_image_path: expected a relative path without '..', whose stem is the id, "
            f"found {path[:100]!r}"
        )
    return stem


def _instruction(value: Mapping[str, Any], settings: BenchmarkSettings) -> str:
    found = _translated(value, "edit_instruction", settings)
    if found:
        return found
    field, other = _fields("edit_instruction", settings.language)
    hint = ""
    if not settings.language_fallback and items.text(value, other):
        hint = f" (benchmark.language_fallback: true would take {other})"
    raise SampleError(
        f"{field}: expected an instruction, found {items.nothing(value, field)}{hint}"
    )


def _translated(value: Mapping[str, Any], field: str, settings: BenchmarkSettings) -> str:
    own, other = _fields(field, settings.language)
    return items.text(value, own) or (
        items.text(value, other) if settings.language_fallback else ""
    )


def _fields(field: str, language: str) -> tuple[str, str]:
    return (f"{field}_en", field) if language == "en" else (field, f"{field}_en")
