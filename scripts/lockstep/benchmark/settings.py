"""What a user may say of the benchmark."""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lockstep.benchmark.categories import (
    BY_FORMAT,
    RESERVED,
    Categories,
    categories_of,
    category_key,
)
from lockstep.benchmark.detect import check_columns, check_stated, detect, own_categories
from lockstep.config.section import PathText, PlainPath, Section
from lockstep.errors import BenchmarkError, ConfigError
from lockstep.foreign.images import MAX_PIXELS, WHITE, parse_colour


class BenchmarkSettings(Section):
    """The benchmark, and the part of it that is edited."""

    path: PathText = Field(description="The benchmark's file or folder.")
    format: Literal["auto", "re-edit", "gedit", "imgedit", "kris", "rise", "uniredit", "table"] = (
        Field("auto", description="Format of the benchmark; auto recognises it by the first item.")
    )
    images: PlainPath | None = Field(
        None,
        description="Folder, tar or zip with the images that the benchmark names by path; null is "
        "the benchmark's own folder.",
    )
    categories: tuple[str, ...] = Field(
        None,
        validate_default=True,
        description="Categories to run, by key or Chinese name; null takes all of the format. "
        "Needed with uniredit and table, whose categories are their own.",
    )
    language: Literal["en", "zh"] = Field("en", description="Language of the instructions.")
    language_fallback: bool = Field(
        False,
        description="Use the text in the other language if the configured one is empty (re-edit).",
    )
    intersection: bool = Field(
        False,
        description="Take only the samples that all models of the paper edited (gedit).",
    )
    limit: PositiveInt | None = Field(
        None, description="Take only the first n samples of each category."
    )
    max_pixels: PositiveInt = Field(
        MAX_PIXELS,
        description="Largest source image, in pixels. Samples with larger images are rejected.",
    )
    background: Annotated[str, AfterValidator(parse_colour)] = Field(
        WHITE,
        description="Colour behind transparent images, as `#rrggbb` or a CSS name.",
    )
    strict: bool = Field(False, description="Stop at the first rejected sample.")
    max_rejected_share: float = Field(
        0.5, ge=0, le=1, description="Share of rejected samples above which the run stops."
    )

    @model_validator(mode="before")
    @classmethod
    def _told(cls, data: Any) -> Any:
        """Put the format that the file has in the place of auto."""
        if not isinstance(data, dict):
            return data
        path = os.path.expanduser(str(data.get("path") or ""))
        if (stated := data.get("format", "auto")) != "auto":
            if stated in BY_FORMAT:
                _sentence_of(BenchmarkError, check_stated, Path(path), stated)
            return data
        if not os.path.exists(path):
            # what is missing is told later, and what the workflow makes itself is in this format
            return {**data, "format": "re-edit"}
        return {**data, "format": _sentence_of(BenchmarkError, detect, Path(path))}

    @field_validator("categories", mode="before", json_schema_input_type=tuple[str, ...] | None)
    @classmethod
    def _all(cls, names: Any, info: ValidationInfo) -> Any:
        """Put all of the format in the place of null."""
        if names is not None:
            return names
        if not _is_found(info):
            return ()
        path, form = Path(info.data["path"]), info.data["format"]
        if (known := BY_FORMAT[form]) is None:
            found = _sentence_of(BenchmarkError, own_categories, path, form)
            raise ValueError(
                "expected a list of the benchmark's categories, found nothing; the first items "
                f"have {found[:60]}"
            )
        return tuple(known)

    @field_validator("categories")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not _is_found(info):
            return names
        known = BY_FORMAT[info.data["format"]]
        if known is None:
            keys = tuple(map(_own, names))
            _sentence_of(
                BenchmarkError, check_columns, Path(info.data["path"]), info.data["format"]
            )
        else:
            keys = tuple(_sentence_of(ConfigError, category_key, name, known) for name in names)
        if not keys:
            raise ValueError("expected at least one category, or null, found an empty list")
        if len(set(map(str.casefold, keys))) < len(keys):
            raise ValueError(f"expected each category once, found {list(keys)}")
        return keys

    @model_validator(mode="after")
    def _spoken(self) -> "BenchmarkSettings":
        if self.language == "zh" and self.format in ("imgedit", "kris", "rise", "uniredit"):
            raise ValueError(
                f"language: found 'zh', but the format {self.format} has English instructions only"
            )
        return self

    @property
    def named(self) -> Categories:
        """The categories to run, with all their names."""
        return categories_of(self.format, self.categories)

    @property
    def images_path(self) -> Path:
        """Folder or archive of the images that are named by path."""
        if self.images is not None:
            return Path(self.images)
        path = Path(self.path)
        return path if path.is_dir() else path.parent


def _is_found(info: ValidationInfo) -> bool:
    """Tell whether path and format are good; what is wrong with them is told by themselves."""
    return {"path", "format"} <= info.data.keys()


def _own(name: str) -> str:
    """Return a category of a benchmark that has a list of its own."""
    key = unicodedata.normalize("NFC", name)
    if key in RESERVED or not re.fullmatch(r"\w[\w.-]{0,63}", key):
        expected = "letters, digits, '.', '_' and '-' and none of the workflow's own names"
        raise ValueError(f"expected {expected}, found {key!r}")
    return key


def _sentence_of(kind: type[Exception], function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns; what it refuses becomes a mistake in the configuration."""
    try:
        return function(*arguments)
    except kind as error:
        raise ValueError(str(error)) from None
