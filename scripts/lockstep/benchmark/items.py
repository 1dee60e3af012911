"""What all readers give: items, checked but for their images, or why one cannot be used.

Nothing in a benchmark is trusted: a text is a text of a sane length, a path a path below a folder.
"""

import base64
import binascii
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from lockstep.benchmark.categories import Categories, category_key, find_key
from lockstep.benchmark.files import Files
from lockstep.benchmark.streams import Fields
from lockstep.errors import ConfigError, LeftOut, SampleError

MAX_TEXT = 20_000
"""Characters of an instruction, an explanation or a name."""

MAX_IMAGES = 16
"""Source images of one sample."""

UNSHOWN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs."""

LANGUAGES = {"en": "en", "cn": "zh", "zh": "zh"}
"""How benchmarks write each of our languages."""

Image = Callable[[], bytes]
"""Reads an image; raises SampleError if it is not there."""


class Item(NamedTuple):
    """One benchmark item as its file has it, checked but for the images."""

    id: str
    subset: str
    """Name of its category, as the file has it."""
    category: str
    instruction: str
    images: Sequence[Image]
    """Source images, the first one first."""
    reference: Image | None = None
    """Image of a correct edit."""
    description: str = ""
    rationale: str = ""
    expected: str = ""
    """What a correct edit shows, in words."""
    tags: Sequence[str] = ()
    difficulty: str | None = None
    source_seed: int | None = None


class Named(NamedTuple):
    """How the list of rejects names an item."""

    id: str | None
    subset: str | None
    category: str | None


def checked(
    values: Iterable[Any], make: Callable[[Any], Item | None], name: Callable[[Any], Named]
) -> Iterator[Item | SampleError]:
    """Yield the item of each value, or why it cannot be used; None is left out.

    Args:
        make: raises SampleError.
        name: says what an item is called that cannot be used; raises nothing.
    """
    for value in values:
        try:
            # an item, or a key and an item
            given = value[1] if isinstance(value, tuple) else value
            if isinstance(given, Fields) and given.twice is not None:
                raise SampleError(f"expected each field once, found {given.twice!r:.60} twice")
            item = make(value)
        except LeftOut as error:
            # it is counted like samples of a category that is not configured
            error.category = str(error)
            yield error
            continue
        except SampleError as error:
            error.id, error.subset, error.category = name(value)
            yield error
            continue
        if item is not None:
            yield item


def called(position: int, name: str | None) -> str:
    """Return what messages call an item: its number, which people count from 1, and its id.

    Args:
        position: in the benchmark, from 0.
    """
    return f"item {position + 1} ({'without an id' if name is None else f'{name!r:.60}'})"


def known_category(name: str, field: str, known: Categories) -> str:
    """Return the key of a category that a field names.

    Raises:
        SampleError: if the format has no such category.
    """
    try:
        return category_key(name, known)
    except ConfigError as error:
        raise SampleError(f"{field}: {error}") from None


def named(name: str, field: str, known: Categories | None, value: Any) -> Named:
    """Return what an item is called by two of its fields.

    Args:
        name: field of its id.
        field: field of its category.
        known: categories of its format; None where they are the benchmark's own.
    """
    subset = shown(value, field)
    category = subset if known is None else find_key(subset or "", known)
    return Named(shown(value, name), subset, category)


def fields(value: Any) -> Mapping[str, Any]:
    """Return a value that is an object.

    Raises:
        SampleError: for anything else.
    """
    if not isinstance(value, Mapping):
        raise SampleError(f"expected an object, found {type(value).__name__}")
    return value


def given(value: Any, field: str) -> Any:
    """Return what a field holds; None where it says nothing, which NaN does too."""
    found = value.get(field) if isinstance(value, Mapping) else None
    return None if isinstance(found, float) and math.isnan(found) else found


def text(value: Any, field: str) -> str:
    """Return a field's text without white space around it; "" where there is none.

    Raises:
        SampleError: for anything else, and for a text that nothing could show or write.
    """
    found = given(value, field)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise SampleError(f"{field}: expected a text, found {found!r:.60}")
    if len(found) > MAX_TEXT:
        raise SampleError(
            f"{field}: expected a text of up to {MAX_TEXT:,} characters, found {len(found):,}"
        )
    if odd := UNSHOWN.search(found):
        raise SampleError(
            f"{field}: expected characters that can be shown, found U+{ord(odd[0]):04X}"
        )
    return found.strip()


def needed(value: Any, field: str, expected: str = "a text") -> str:
    """Return a field's text.

    Raises:
        SampleError: if it is empty, too.
    """
    found = text(value, field)
    if not found:
        raise SampleError(f"{field}: expected {expected}, found {nothing(value, field)}")
    return found


def nothing(value: Any, field: str) -> str:
    """Return in words that a field says nothing: it may be empty, null, or not there at all."""
    if given(value, field) is not None:
        return "an empty text"
    return "nothing" if isinstance(value, Mapping) and field in value else "no such field"


def label(value: Any, field: str) -> str:
    """Return a field that names something, a text or a whole number, as text."""
    found = given(value, field)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return needed(value, field, "a text or a whole number")


def number(value: Mapping[str, Any], field: str) -> int | None:
    """Return a field's whole number, None where there is none.

    Raises:
        SampleError: for anything else.
    """
    found = given(value, field)
    if found is None:
        return None
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) >= 2**64:
        raise SampleError(f"{field}: expected a whole number below 2^64, found {found!r:.60}")
    return found


def names(value: Mapping[str, Any], field: str) -> list[str]:
    """Return a field that holds one path or a list of them.

    Raises:
        SampleError: if there is none, or too many.
    """
    found = given(value, field)
    several = found if isinstance(found, list) else [found]
    if not 0 < len(several) <= MAX_IMAGES:
        raise SampleError(f"{field}: expected 1 to {MAX_IMAGES} images, found {len(several)}")
    return [needed({field: name}, field, "the path of an image") for name in several]


def listed(values: Sequence[Any]) -> list[Any]:
    """Return the elements of a list that say something."""
    return [value for value in values if given({"": value}, "") is not None]


def tags(value: Mapping[str, Any]) -> list[str]:
    """Return the field `tags`: a list, or one text with commas between them.

    Raises:
        SampleError: for anything else.
    """
    found = given(value, "tags")
    if isinstance(found, list):
        return [needed({"tags": tag}, "tags") for tag in listed(found)]
    return [tag.strip() for tag in text(value, "tags").split(",") if tag.strip()]


def own_category(value: Mapping[str, Any], field: str) -> str:
    """Return a category that is the benchmark's own, in Unicode's composed form."""
    return unicodedata.normalize("NFC", needed(value, field))


def shown(value: Any, field: str) -> str | None:
    """Return a field for the list of rejects: whatever can be shown of it, or None."""
    found = given(value, field)
    if not isinstance(found, str | int) or found == "":
        return None
    return str(found)[:200].encode(errors="replace").decode()


class FileImage:
    """Reads an image that is named by its path."""

    def __init__(self, files: Files, path: str, field: str) -> None:
        self._files, self._path, self._field = files, path, field
        self.state: list[Any] | None = None
        """As `Files.state` returns it, of what was read."""

    def __call__(self) -> bytes:
        try:
            self.state = self._files.state(self._path)
            return self._files.read(self._path)
        except SampleError as error:
            raise SampleError(f"{self._field}: {error}") from None

    def size(self) -> int:
        """Return the bytes of the file; one in a folder is not read.

        Raises:
            SampleError: if there is none.
        """
        try:
            state = self._files.state(self._path)
        except SampleError as error:
            raise SampleError(f"{self._field}: {error}") from None
        # whoever reads a file that is not there says why
        return len(self()) if state is None or len(state) == 1 else int(state[1])


def image_of_base64(value: Mapping[str, Any], field: str) -> Image:
    """Return how to read a field's image, written as base64 with or without a data address."""

    def read() -> bytes:
        found = given(value, field)
        if found is None or found == "" or (isinstance(found, str) and found.isspace()):
            raise SampleError(
                f"{field}: expected base64 of an image, found {nothing(value, field)}"
            )
        if not isinstance(found, str):
            raise SampleError(f"{field}: expected base64 of an image, found {found!r:.60}")
        text = found.partition(",")[2] if found.startswith("data:") else found
        with suppress(binascii.Error, ValueError):
            # most is written without line breaks
            return base64.b64decode(text, validate=True)
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SampleError(
                f"{field}: found bad base64 ({error}); it begins with {text[:20]!r}"
            ) from None

    return read


def image_of_bytes(given: Any, field: str) -> Image:
    """Return how to read an image that a table holds: its bytes, or a struct of them."""

    def read() -> bytes:
        data = given.get("bytes") if isinstance(given, Mapping) else given
        if not isinstance(data, bytes) or not data:
            raise SampleError(f"{field}: expected the bytes of an image, found none")
        return data

    return read
