"""Editors in the configuration: one section for each kind, and the presets."""

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from lockstep.config_section import Dtype, Name, PathText, Section, is_folder

PRESETS = Path(__file__).parents[2] / "config" / "editors"
"""Folder of the editor presets."""

MERGED = ("call", "scheduler")
"""Keys of an editor of which those given beside a preset replace its own one by one."""

OWN_ARGUMENTS = {
    "image": "is the sample's source",
    "prompt": "is the sample's instruction",
    "generator": "follows from the seed and the sample's id",
    "output_type": "is an array",
    "return_dict": "is true",
    "num_images_per_prompt": "is 1",
    "num_inference_steps": "has a key of its own",
    "true_cfg_scale": "has a key of its own",
    "negative_prompt": "has a key of its own",
}
"""Arguments of a pipeline's call that `call` cannot give, and where they come from."""


class Editor(Section):
    """What all editors share."""

    on_device: ClassVar[bool] = False
    """Whether it has a model, which runs on the job's own device."""
    name: Name = Field(description="Name in paths, targets and tables.")
    preset: str | None = Field(
        None,
        description="File in config/editors/ without .yaml; keys given beside it win, "
        "those of `call` and `scheduler` one by one.",
    )
    size: Literal["native", "source"] = Field(
        "native",
        description="Size of the edited image: what the model returns, or the source's as a "
        "viewer shows it.",
    )
    resize_filter: Literal["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"] = Field(
        "lanczos", description="How an image is brought to the source's size."
    )


class Adapter(Section):
    """A LoRA, fused into the model's weights."""

    path: PathText = Field(description="A `.safetensors` file, a folder with one, or a hub id.")
    weight_name: str | None = Field(
        None, description="File in the folder or hub repository; a hub id needs it."
    )
    revision: str | None = Field(None, description="Commit or branch of a hub id.")
    weight: float = Field(1.0, description="Factor on what it changes.")

    @model_validator(mode="after")
    def _whole(self) -> "Adapter":
        if self.weight == 0:
            raise ValueError("found weight 0, which changes nothing; leave the adapter out")
        if self.file is None and self.weight_name is None:
            raise ValueError(
                f"found no file {self.path!r}, and as a hub id it needs a weight_name; "
                "accepted is a .safetensors file, a folder with one, or owner/name with weight_name"
            )
        name = self.weight_name or str(self.file)
        if not name.endswith(".safetensors"):
            raise ValueError(f"found {name!r}, accepted is a .safetensors file")
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
                f"found {len(found)} .safetensors files in {self.path!r}, "
                "accepted is one, or its weight_name"
            )
        return os.path.join(self.path, found[0])


class Lossy(Section):
    """Approximations that are faster and change the pixels."""

    cache: Literal["first_block", "taylorseer", "mag"] | None = Field(
        None, description="Reuse between steps what changes little; Qwen-Image-Edit pipelines only."
    )
    threshold: PositiveFloat | None = Field(
        None, description="Change below which first_block (0.05) and mag (0.06) reuse."
    )
    interval: PositiveInt | None = Field(
        None, description="Steps of which taylorseer computes one (5)."
    )
    mag_ratios: tuple[PositiveFloat, ...] | None = Field(
        None, description="What mag needs to know of the model: ratios of its residuals by step."
    )
    fp8: bool = Field(
        False,
        description="Round the transformer's large layers to eight bits, which halves their "
        "memory; Qwen-Image-Edit pipelines with `optimize`, GPUs since 8.9 (Ada, Hopper).",
    )

    @model_validator(mode="after")
    def _fitting(self) -> "Lossy":
        takes = {
            None: set(),
            "first_block": {"threshold"},
            "taylorseer": {"interval"},
            "mag": {"threshold", "mag_ratios"},
        }[self.cache]
        given = {
            key for key in ("threshold", "interval", "mag_ratios") if getattr(self, key) is not None
        }
        if given - takes:
            found = f"found {min(given - takes)}"
            if self.cache is None:
                raise ValueError(f"{found} without a cache, which is what it is for")
            accepted = ", ".join(sorted(takes))
            raise ValueError(f"{found} with cache {self.cache}, accepted is {accepted}")
        if self.cache == "mag" and not self.mag_ratios:
            raise ValueError("found cache mag without mag_ratios, which differ between models")
        return self


class DiffusersEditor(Editor):
    """A diffusers pipeline that takes an image and a prompt."""

    on_device: ClassVar[bool] = True
    type: Literal["diffusers"]
    model: PathText = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Commit or branch of a hub id.")
    pipeline: str | None = Field(
        None, description="Class in diffusers; null takes what the model names."
    )
    dtype: Dtype = Field("bfloat16", description="Number format of the weights.")
    num_inference_steps: Annotated[int, Field(gt=0, le=1000)] | None = Field(
        50, description="Denoising steps; null where the pipeline takes no such argument."
    )
    true_cfg_scale: Annotated[float, Field(ge=1)] | None = Field(
        4.0, description="Classifier-free guidance; 1 switches it off, null as above."
    )
    negative_prompt: Annotated[str, Field(min_length=1)] | None = Field(
        " ", description="What guidance steers away from; a space is neutral, null as above."
    )
    call: dict[str, JsonValue] = Field({}, description="Further arguments of the pipeline's call.")
    pass_size: bool = Field(
        False, description="Call with the source's width and height; some pipelines ignore it else."
    )
    max_input_pixels: PositiveInt | None = Field(
        None, description="Larger sources are scaled down to so many pixels before the call."
    )
    scheduler: dict[str, JsonValue] = Field(
        {}, description="Keys of the scheduler's configuration to change; `class` names another."
    )
    adapters: tuple[Adapter, ...] = Field((), description="LoRA adapters, one or several.")
    optimize: bool = Field(
        True, description="Run faster code that computes the same, where nothing is offloaded."
    )
    offload: Literal["none", "model", "group", "sequential"] = Field(
        "none",
        description="Keep weights in host memory and move to a small GPU one model (48 GB), "
        "groups of layers (24 GB) or single layers (least, slowest) at a time.",
    )
    lossy: Lossy = Field(Lossy(), description="Approximations.")

    @property
    def optimized(self) -> bool:
        """Whether the faster code runs, which needs all weights on the device."""
        return self.optimize and self.offload == "none"

    @field_validator("call")
    @classmethod
    def _free(cls, call: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(OWN_ARGUMENTS.keys() & call):
            raise ValueError(f"found {name!r}, which {OWN_ARGUMENTS[name]}")
        return call

    @model_validator(mode="after")
    def _guided(self) -> "DiffusersEditor":
        if self.true_cfg_scale is not None and self.true_cfg_scale > 1 and not self.negative_prompt:
            raise ValueError(
                f"found true_cfg_scale {self.true_cfg_scale:g} without a negative_prompt, which "
                "switches guidance off; accepted is any text, a space being neutral"
            )
        if self.lossy.cache == "mag" and self.num_inference_steps is None:
            raise ValueError("found lossy.cache mag without num_inference_steps, which it needs")
        if self.lossy.fp8 and not self.optimized:
            given = "optimize: false" if not self.optimize else f"offload: {self.offload}"
            raise ValueError(
                f"found lossy.fp8 with {given}; accepted is it with optimize: true, offload: none"
            )
        return self


class PrecomputedEditor(Editor):
    """Finished images from a folder, by sample id and any common suffix."""

    type: Literal["precomputed"]
    folder: PathText = Field(description="Folder of the images.")


class IdentityEditor(Editor):
    """The source image itself: the control that a judge must score low."""

    type: Literal["identity"]


AnyEditor = Annotated[
    DiffusersEditor | PrecomputedEditor | IdentityEditor, Field(discriminator="type")
]


KINDS = {
    kind.model_fields["type"].annotation.__args__[0]: kind
    for kind in (DiffusersEditor, PrecomputedEditor, IdentityEditor)
}
"""Kinds of editors by their `type`."""
