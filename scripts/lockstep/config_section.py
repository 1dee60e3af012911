"""What all sections of the configuration share."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
PathText = Annotated[str, AfterValidator(os.path.expanduser), Field(min_length=1)]
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
