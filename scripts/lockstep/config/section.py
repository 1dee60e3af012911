"""What all sections of the configuration share."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class Section(BaseModel):
    # not strict: a number in quotes is a number
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def is_folder(model: str) -> bool:
    """Tell whether a model is a folder on disk rather than a hub id (`owner/name`)."""
    return model.startswith((".", "/")) or model.count("/") != 1 or Path(model).is_dir()
