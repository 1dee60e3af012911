"""What all sections of the configuration share."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import PydanticKnownError, core_schema

MAX_PATH, MAX_NAME = 4095, 255
"""Bytes of a path, and of each name in it, on Linux."""

MAX_LENGTH = 64
"""Characters of a name."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_LENGTH)]


def _possible(path: str) -> str:
    """Refuse what no file system can name, which would fail wherever it is looked for."""
    if "\0" in path:
        raise ValueError("expected a path that a file can have, found one with a NUL character")
    longest = max(path.split("/"), key=lambda name: len(os.fsencode(name)))
    if len(os.fsencode(longest)) > MAX_NAME or len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(
            f"expected a path of at most {MAX_PATH} bytes, and {MAX_NAME} for each name in it, "
            f"found {path[:40]!r}… of {len(os.fsencode(path))}"
        )
    return path


PathText = Annotated[
    str, AfterValidator(os.path.expanduser), AfterValidator(_possible), Field(min_length=1)
]
# Snakemake warns of each path that begins with ./ or holds //
PlainPath = Annotated[PathText, AfterValidator(lambda path: str(Path(path)))]
# no wait of Python's takes more than some 300 years
Seconds = Annotated[float, Field(gt=0, le=1e9)]
Dtype = Literal["bfloat16", "float16", "float32"]


NUMBERS: Mapping[str, Literal["int_type", "float_type"]] = {
    "int": "int_type",
    "float": "float_type",
    "decimal": "float_type",
}
"""What pydantic calls a value that is no number, by the type of the schema."""

PLAIN = ("default", "metadata", "config", "serialization", "expected")
"""Parts of a schema that hold values, and no schema."""


def _no_boolean(error: Literal["int_type", "float_type"], value: Any) -> Any:
    # to Python true is the number 1
    if isinstance(value, bool):
        raise PydanticKnownError(error)
    return value


def _without_booleans(schema: Any) -> Any:
    """Return a schema of pydantic's in which no number can be given as true or false."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_without_booleans, schema))
    if not isinstance(schema, dict) or _is_done(schema):
        return schema
    found = {key: own if key in PLAIN else _without_booleans(own) for key, own in schema.items()}
    # the fields of a model are by name, and one may be called so
    if isinstance(kind := schema.get("type"), str) and kind in NUMBERS:
        check = partial(_no_boolean, NUMBERS[kind])
        return core_schema.no_info_before_validator_function(check, found)
    return found


def _is_done(schema: dict[str, Any]) -> bool:
    function = schema["function"]["function"] if schema.get("type") == "function-before" else None
    return isinstance(function, partial) and function.func is _no_boolean


class Written(BaseModel):
    """What people write by hand: true and false are no numbers."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        found: core_schema.CoreSchema = _without_booleans(handler(source))
        return found


class Section(Written):
    # not strict: a number in quotes is a number
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def check_once(key: str, names: Sequence[str]) -> None:
    """Check that names differ, also where a disk takes small and capital letters for the same.

    Args:
        key: what they are names of, for messages.

    Raises:
        ValueError: if two do not.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"{key}: expected names that differ in more than capital letters, found {other!r} "
                f"and {name!r}"
            )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key}: expected each name once, found {name!r} twice")


def is_folder(model: str) -> bool:
    """Tell whether a model is a folder on disk rather than a hub id (`owner/name`)."""
    return model.startswith((".", "/")) or model.count("/") != 1 or Path(model).is_dir()
