"""The RE-Edit style: a JSON list of items, images inside as base64.

Fields: `subset`, `original_description`, `edit_instruction`, `rationale_short` (each with an
English twin ending in `_en`), `src_img_b64`, `tags`, `difficulty`, `original_image_path` (whose
stem is the id) and `seed`.
"""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import ijson

from lockstep.categories import category_key
from lockstep.errors import BenchmarkError, ConfigError, SampleError


class Item(NamedTuple):
    """One benchmark item as its file has it, checked but for the image."""

    id: str
    subset: str
    category: str
    instruction: str
    description: str
    rationale: str
    tags: list[str]
    difficulty: str | None
    source_seed: int | None
    base64: Any
    """The image as base64 text."""

    def image(self) -> bytes:
        """Return the image's bytes.

        Raises:
            SampleError: if they are not there or not base64.
        """
        if not isinstance(self.base64, str) or not self.base64.strip():
            raise SampleError("src_img_b64: found nothing, accepted is base64 of an image")
        text = self.base64
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SampleError(f"src_img_b64: found bad base64 ({error})") from None


def read(path: Path, language: str, fallback: bool) -> Iterator[Item | SampleError]:
    """Yield each item of a file, or the reason why it cannot be used, in file order.

    Raises:
        BenchmarkError: if the file is not valid JSON.
    """
    count = 0
    with open(path, "rb") as file:
        try:
            for value in ijson.items(file, "item"):
                try:
                    yield _item(value, language, fallback)
                except SampleError as error:
                    # for the list of rejects
                    error.id = _text(value, "original_image_path") or None
                    error.subset = _text(value, "subset") or None
                    error.category = _category(error.subset)
                    yield error
                count += 1
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise BenchmarkError(
                f"{path}: found broken JSON after {count} items ({' '.join(str(error).split())})"
            ) from None


def _item(value: Any, language: str, fallback: bool) -> Item:
    if not isinstance(value, dict):
        raise SampleError(f"found {type(value).__name__}, accepted is an object")
    subset = _text(value, "subset")
    try:
        category = category_key(subset)
    except ConfigError as error:
        raise SampleError(f"subset: {error}") from None
    seed = value.get("seed")
    tags = value.get("tags")
    return Item(
        id=_id(_text(value, "original_image_path")),
        subset=subset,
        category=category,
        instruction=_instruction(value, language, fallback),
        description=_translated(value, "original_description", language, fallback),
        rationale=_translated(value, "rationale_short", language, fallback),
        tags=[str(tag) for tag in tags] if isinstance(tags, list) else [],
        difficulty=_text(value, "difficulty") or None,
        source_seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        base64=value.get("src_img_b64"),
    )


def _category(subset: str | None) -> str | None:
    try:
        return category_key(subset or "")
    except ConfigError:
        return None


def _id(path: str) -> str:
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or (pure.parts[:1] and ":" in pure.parts[0]):
        raise SampleError(
            f"original_image_path: found {path!r}, accepted is a relative path without '..'"
        )
    if not pure.stem:
        raise SampleError(
            f"original_image_path: found {path!r}, accepted is a path whose stem is the id"
        )
    return pure.stem


def _instruction(value: dict[str, Any], language: str, fallback: bool) -> str:
    text = _translated(value, "edit_instruction", language, fallback)
    if text:
        return text
    field, other = _fields("edit_instruction", language)
    hint = ""
    if not fallback and _text(value, other):
        hint = f" (benchmark.language_fallback: true would take {other})"
    raise SampleError(f"{field}: found an empty instruction, accepted is a text{hint}")


def _translated(value: dict[str, Any], field: str, language: str, fallback: bool) -> str:
    own, other = _fields(field, language)
    return _text(value, own) or (_text(value, other) if fallback else "")


def _fields(field: str, language: str) -> tuple[str, str]:
    return (f"{field}_en", field) if language == "en" else (field, f"{field}_en")


def _text(value: Any, field: str) -> str:
    text = value.get(field) if isinstance(value, dict) else None
    return text.strip() if isinstance(text, str) else ""
