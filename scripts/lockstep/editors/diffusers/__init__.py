"""Any diffusers pipeline that edits an image by a prompt: what a user may say of it."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from lockstep.config.section import Dtype, PathText, Section, is_folder
from lockstep.editors.diffusers import modular
from lockstep.editors.diffusers.adapter import Adapter as Adapter
from lockstep.editors.protocol import Editor
from lockstep.editors.settings import DeviceEditorSettings, Series
from lockstep.errors import counted, suggest
from lockstep.foreign.plain_text import spelling
from lockstep.models import adapter_scale
from lockstep.models.backend import HubFile, Lacking, broken
from lockstep.models.fingerprints import (
    check_unchanged,
    model_identity,
    state_of,
)
from lockstep.models.weights import check_model, read_header
from lockstep.records import EditRecord, Sample

log = logging.getLogger(__name__)

OWN_ARGUMENTS = {
    "image": "is the sample's source",
    "images": "is the sample's source",
    "input_images": "is the sample's source",
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

PIPELINE = re.compile(r'"(\w*Pipeline\w*)"')

APART = frozenset(
    {"name", "preset", "type", "size", "resize_filter", "offload", "optimize", "on_cut"}
    | {"gpus_per_editor", "rewrite", "further_seed"}
    | {"model", "revision", "components", "adapters", "checkpoints", "series"}
)
"""Settings of a diffusers editor that decide no pixels, or that its identity names otherwise."""

ADDED = frozenset({"image_argument", "prompt_form", "result", "size_multiple"})
"""Settings that an identity names only where they are not at their defaults, as in its old keys."""


def pipelines_known() -> list[str]:
    """Return the names of diffusers' pipelines, without importing it, which takes seconds."""
    found = find_spec("diffusers")
    if found is None or found.origin is None:
        return []
    return PIPELINE.findall(Path(found.origin).read_text(encoding="utf-8"))


class Lossy(Section):
    """Approximations that are faster and change the pixels."""

    cache: Literal["first_block", "taylorseer", "mag"] | None = Field(
        None,
        description="Reuse values that change little from step to step. Only for Qwen-Image-Edit "
        "pipelines.",
    )
    threshold: PositiveFloat | None = Field(
        None,
        description="Change below which first_block (default 0.05) and mag (default 0.06) reuse "
        "values.",
    )
    interval: PositiveInt | None = Field(
        None, description="taylorseer computes one step of this many (default 5)."
    )
    mag_ratios: tuple[PositiveFloat, ...] | None = Field(
        None, description="For mag: the ratios of the model's residuals from step to step."
    )
    fp8: bool = Field(
        False,
        description="Round the transformer's large layers to eight bits, which halves their "
        "memory. Only for Qwen-Image-Edit pipelines with `optimize`, on GPUs of compute "
        "capability 8.9 (Ada, Hopper) or later.",
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
            found = min(given - takes)
            if self.cache is None:
                raise ValueError(f"expected a cache beside {found}, found none")
            expected = " and ".join(sorted(takes))
            raise ValueError(f"expected {expected} with cache {self.cache}, found {found}")
        if self.cache == "mag" and not self.mag_ratios:
            raise ValueError("found cache mag without mag_ratios, which differ between models")
        return self


class DiffusersSettings(DeviceEditorSettings):
    """A diffusers pipeline that takes an image and a prompt."""

    imports: ClassVar[str] = "lockstep.editors.diffusers.editor"
    neutral: ClassVar[frozenset[str]] = DeviceEditorSettings.neutral | {"checkpoints", "series"}
    places: ClassVar[frozenset[str]] = frozenset({"adapters", "components"})
    type: Literal["diffusers"]
    model: PathText = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Commit or branch on the hub.")
    pipeline: str | None = Field(
        None, description="Pipeline class of diffusers; null takes the one that the model names."
    )
    components: dict[str, PathText | None] = Field(
        {},
        description="Folders of a modular pipeline's parts that do not lie in `model`, by their "
        "names; null leaves a part out, and the steps that need it.",
    )
    dtype: Dtype = Field("bfloat16", description="Number format of the weights.")
    num_inference_steps: Annotated[int, Field(gt=0, le=1000)] | None = Field(
        50, description="Denoising steps; null if the pipeline has no such argument."
    )
    true_cfg_scale: Annotated[float, Field(ge=1)] | None = Field(
        4.0,
        description="Classifier-free guidance. 1 switches it off; null if the pipeline has no such "
        "argument.",
    )
    negative_prompt: Annotated[str, Field(min_length=1)] | None = Field(
        " ",
        description="Text that guidance steers away from. A space is neutral; null if the pipeline "
        "has no such argument.",
    )
    call: dict[str, JsonValue] = Field({}, description="Further arguments of the pipeline's call.")
    pass_size: bool = Field(
        False,
        description="Call the pipeline with the source's width and height. Some pipelines ignore "
        "the source's size otherwise.",
    )
    size_multiple: PositiveInt = Field(
        1, description="Round the width and height of `pass_size` down to multiples of this number."
    )
    max_input_pixels: PositiveInt | None = Field(
        None, description="Sources with more pixels are scaled down to this number before the call."
    )
    image_argument: Literal["image", "images", "input_images"] = Field(
        "image", description="Argument of the pipeline's call that takes the source image."
    )
    prompt_form: Literal["plain", "json", "tagged"] = Field(
        "plain",
        description="Form of the prompt. plain: the instruction alone. json: a JSON object with "
        "the instruction as `edit_instruction`; an instruction that is such an object already "
        "stays as it is. tagged: a tag `<img><|image_1|></img>` for each source, then the "
        "instruction.",
    )
    result: Literal["images", "image", "first_frame", "last_frame"] = Field(
        "images",
        description="Field of the pipeline's output that holds the edited image; of a video, the "
        "first or last frame.",
    )
    on_cut: Literal["warn", "fail"] = Field(
        "warn",
        description="If a text encoder reads only the beginning of a prompt: warn says so in "
        "record and report, fail makes the edit fail.",
    )
    scheduler: dict[str, JsonValue] = Field(
        {},
        description="Keys of the scheduler's configuration to change; `class` names another "
        "scheduler.",
    )
    adapters: tuple[Adapter, ...] = Field((), description="One or several LoRA adapters.")
    checkpoints: PathText | None = Field(
        None,
        description="Pattern for the checkpoints of a training run, such as "
        "ckpts/step-*.safetensors. Checkpoints are LoRA files or folders, or folders of "
        "whole models (docs/checkpoints.md).",
    )
    series: Series | None = Field(
        None,
        description="The training run that the editor is a checkpoint of. Set by `checkpoints`, "
        "not by hand.",
    )
    optimize: bool = Field(
        True, description="Run faster code with the same results. It is not used with `offload`."
    )
    offload: Literal["none", "model", "group", "sequential"] = Field(
        "none",
        description="For small GPUs: keep weights in host memory and move to the GPU one model "
        "(model, 48 GB), a group of layers (group, 24 GB) or a single layer "
        "(sequential, least memory, slowest) at a time.",
    )
    lossy: Lossy = Field(Lossy(), description="Approximations.")

    @property
    def optimized(self) -> bool:
        """Whether the faster code runs, which needs all weights on one device."""
        return self.optimize and self.offload == "none" and self.gpus_per_editor == 1

    @field_validator("call")
    @classmethod
    def _free(cls, call: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(OWN_ARGUMENTS.keys() & call):
            raise ValueError(f"found {name!r}, which {OWN_ARGUMENTS[name]}")
        return call

    @model_validator(mode="after")
    def _guided(self) -> "DiffusersSettings":
        guided = self.true_cfg_scale is not None and self.true_cfg_scale > 1
        # a modular pipeline has an empty one of its own
        if guided and not self.negative_prompt and not modular.is_modular(self):
            raise ValueError(
                "expected a negative_prompt (a space is neutral) beside true_cfg_scale "
                f"{self.true_cfg_scale:g}, found none, which switches guidance off"
            )
        if self.size_multiple > 1 and not self.pass_size:
            raise ValueError("found size_multiple without pass_size, whose sizes it rounds")
        for name in ("sigmas", "timesteps"):
            own = self.call.get(name)
            if isinstance(own, list) and self.num_inference_steps not in (None, len(own)):
                raise ValueError(
                    f"found num_inference_steps {self.num_inference_steps} beside call.{name} of "
                    f"{counted(len(own), 'step')}, which decide; expected null or {len(own)}"
                )
        if self.lossy.cache == "mag" and self.num_inference_steps is None:
            raise ValueError("found lossy.cache mag without num_inference_steps, which it needs")
        if self.gpus_per_editor > 1 and self.offload != "none":
            raise ValueError(
                f"expected gpus_per_editor 1 with offload: {self.offload}, found "
                f"{self.gpus_per_editor}"
            )
        if self.lossy.fp8 and not self.optimized:
            given = "optimize: false" if not self.optimize else f"offload: {self.offload}"
            raise ValueError(
                f"expected optimize: true and offload: none beside lossy.fp8, found {given}"
            )
        return self

    def identity(self, sample: Sample) -> dict[str, Any]:
        added = {
            name for name in ADDED if getattr(self, name) == type(self).model_fields[name].default
        }
        return {
            **model_identity(self.model, self.revision),
            **modular.identity(self.components),
            **self.model_dump(mode="json", exclude=set(APART | added)),
            "adapters": [adapter.identity() for adapter in self.adapters],
            "optimized": self.optimized,
            **spelling(sample.instruction),
        }

    def moved(self, move: Callable[[str], str]) -> Self:
        parts = {name: folder and move(folder) for name, folder in self.components.items()}
        return super().moved(move).model_copy(update={"components": parts})

    def refuses(self, record: EditRecord) -> str | None:
        if self.on_cut == "fail" and record.prompt_cut is not None:
            return f"the prompt was {record.prompt_cut}"
        return None

    @property
    def held(self) -> Self:
        own = super().held
        if self.series is None or not self.adapters or not self._can_change:
            return own
        base = {"name": self.series.name, "adapters": (), "series": None}
        return own.model_copy(update=base)

    @property
    def _can_change(self) -> bool:
        """Whether its weights are where they can be replaced, as they were loaded."""
        return self.offload == "none" and not self.lossy.fp8

    def take(self, model: Any) -> None:
        model.take(self)

    def files(self) -> dict[str, Path]:
        found = super().files() | modular.files(self.components)
        for place, adapter in enumerate(self.adapters):
            if adapter.file is not None:
                found[f"adapters/{place}"] = Path(adapter.file)
                if (beside := adapter_scale.beside(adapter.file)) is not None:
                    found[f"adapters/{place}/config"] = Path(beside)
        return found

    def state(self) -> list[Any]:
        # a touched adapter is the same one
        own = super().files() | modular.files(self.components)
        model = [[name, *state_of(path)] for name, path in own.items()]
        left_out = sorted(name for name, folder in self.components.items() if folder is None)
        adapters = [adapter.identity() for adapter in self.adapters]
        return [*model, *adapters, *([left_out] if left_out else [])]

    def check_unchanged(self) -> None:
        super().check_unchanged()
        for folder in filter(None, self.components.values()):
            check_unchanged(folder)

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        known = [] if self.pipeline is None else pipelines_known()
        # a machine that only starts jobs may lack diffusers
        if known and self.pipeline not in known:
            hint = suggest(str(self.pipeline), known)
            found = f"found {self.pipeline!r}{hint}, expected a pipeline of diffusers"
            yield Lacking("pipeline", found)
        if modular.is_modular(self):
            yield from modular.lacking(self, made)
        elif self.components:
            found = f"found {min(self.components)!r}, but the pipeline is not modular"
            yield Lacking("components", f"{found}; expected no such key")
        elif is_folder(self.model):
            yield from broken("model", check_model, self.model, "model_index.json", made)
        for place, adapter in enumerate(self.adapters):
            if adapter.file is not None:
                field = f"adapters[{place}].path"
                yield from broken(field, read_header, adapter.file, "", made)

    def on_hub(self) -> Iterator[HubFile]:
        if not is_folder(self.model) and not modular.is_modular(self):
            yield HubFile("model", self.model, self.revision, "model_index.json")
        for place, adapter in enumerate(self.adapters):
            if adapter.file is None:
                field, file = f"adapters[{place}].path", str(adapter.weight_name)
                yield HubFile(field, adapter.path, adapter.revision, file)

    def load(self, torch_device: str) -> Editor:
        began = time.monotonic()
        if self.series is not None and self.adapters and not self._can_change:
            log.info(
                "loading the base model again: lossy.fp8 and offload keep no weights to change"
            )
        import torch

        from lockstep.editors.diffusers import reading

        # over several GPUs it is known only later which of them takes what
        alone = self.offload == "none" and self.together == 1
        device = torch_device if alone else "cpu"
        with reading.ahead(self.model, getattr(torch, self.dtype), device):
            from lockstep.editors.diffusers.editor import DiffusersEditor

            log.info("imports took %.1f s", time.monotonic() - began)
            return DiffusersEditor(self, torch_device)
