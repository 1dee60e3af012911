"""A LoRA of an editor: what a user may say of it."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from lockstep.config.section import PathText, Section, is_folder
from lockstep.models import adapter_scale
from lockstep.models.fingerprints import adapter_sha256


class Adapter(Section):
    """A LoRA, fused into the model's weights."""

    path: PathText = Field(description="A `.safetensors` file, a folder with one, or a hub id.")
    weight_name: str | None = Field(
        None, description="File in the folder or hub repository. Needed with a hub id."
    )
    revision: str | None = Field(None, description="Commit or branch on the hub.")
    weight: float = Field(1.0, description="Factor for the adapter's change.")

    @model_validator(mode="after")
    def _whole(self) -> "Adapter":
        if self.weight == 0:
            raise ValueError("found weight 0, which changes nothing; leave the adapter out")
        if self.file is None and self.weight_name is None:
            raise ValueError(
                "expected a .safetensors file, a folder with one, or owner/name with weight_name, "
                f"found no file {self.path!r}, and no weight_name for a hub id"
            )
        name = self.weight_name or str(self.file)
        if not name.endswith(".safetensors"):
            raise ValueError(f"expected a .safetensors file, found {name!r}")
        return self

    @property
    def file(self) -> str | None:
        """Path of its file; None of a hub id.

        Raises:
            ValueError: if a folder holds none or several and `weight_name` says not which.
        """
        if Path(self.path).suffix == ".safetensors" and self.weight_name is None:
            return self.path
        if not is_folder(self.path):
            return None
        if self.weight_name is not None:
            return os.path.join(self.path, self.weight_name)
        if not Path(self.path).is_dir():
            return self.path
        found = sorted(path.name for path in Path(self.path).glob("*.safetensors"))
        if len(found) != 1:
            raise ValueError(
                f"expected one .safetensors file in {self.path!r}, or the weight_name of one, "
                f"found {len(found)}"
            )
        return os.path.join(self.path, found[0])

    def identity(self) -> dict[str, Any]:
        """Return what names it in a key: its file's contents, or a hub id and all with it."""
        if self.file is None:
            return self.model_dump()
        own = {"sha256": adapter_sha256(self.file), "weight": self.weight}
        return {**own, **adapter_scale.identity(self.file)}
