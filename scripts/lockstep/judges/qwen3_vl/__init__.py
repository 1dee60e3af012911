"""Models of transformers in the jobs themselves, on their devices: what a user may say of them."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from lockstep.config.section import Dtype, PathText, is_folder
from lockstep.errors import ConfigError
from lockstep.foreign.plain_text import spelling
from lockstep.judges.protocol import DeviceJudge, Judge
from lockstep.judges.settings import JudgeSettings, ModelJudgeSettings
from lockstep.models.backend import HubFile, Lacking, broken
from lockstep.models.fingerprints import model_identity
from lockstep.models.weights import check_judge
from lockstep.rubrics.rubric import Rubric

log = logging.getLogger(__name__)


class LocalSettings(ModelJudgeSettings):
    """What all judges share that run in the jobs themselves and write text."""

    on_device: ClassVar[bool] = True
    imports: ClassVar[str] = "lockstep.judges.qwen3_vl.paths"
    semantics: ClassVar[int] = 5
    neutral: ClassVar[frozenset[str]] = JudgeSettings.neutral | {
        "use_batch_inference",
        "batch_size",
        "gpus_per_judge",
        "device_map",
    }
    model: PathText = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Commit or branch on the hub.")
    dtype: Dtype = Field("bfloat16", description="Number format of the weights.")
    use_batch_inference: bool = Field(True, description="Judge several samples at the same time.")
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Edits that are judged at the same time; auto takes as many as fit into the "
        "device's memory.",
    )
    gpus_per_judge: PositiveInt = Field(
        1, description="Number of GPUs for one judge that is too large for a single GPU."
    )
    device_map: Literal["auto"] | dict[str, NonNegativeInt] = Field(
        "auto",
        description="Which of the judge's GPUs, counted from 0, holds which module; auto gives "
        "each about the same amount.",
    )
    min_schema_mass: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least total probability that the judge must give to valid scores.",
    )

    @model_validator(mode="after")
    def _mapped(self) -> Self:
        if self.device_map == "auto":
            return self
        found, there = sorted(set(self.device_map.values())), list(range(self.gpus_per_judge))
        if found != there:
            raise ValueError(
                f"expected a device_map to all of {there} (gpus_per_judge: {self.gpus_per_judge}), "
                f"found one to {found}"
            )
        return self

    @property
    def together(self) -> int:
        return self.gpus_per_judge

    @property
    def least_mass(self) -> float:
        return self.min_schema_mass

    def check_scores(self, editors: Sequence[str], rubrics: Mapping[str, Rubric]) -> None:
        for category, rubric in rubrics.items():
            for call in rubric.calls:
                if call.reads not in (None, "json_object") and not call.is_word:
                    raise ConfigError(
                        f"{self.rubric_file(category)}: calls: {call.name}: reply: expected kinds "
                        f"of answer, json_object, or yes_no with one criterion for a judge on the "
                        f"device, found {call.reads}; "
                        "a judge behind a server can reply so"
                    )

    def identity(self) -> dict[str, Any]:
        names = {"dtype", "mode", "max_reasoning_tokens"}
        return {
            **model_identity(self.model, self.revision),
            **self.model_dump(mode="json", include=names),
        }

    def told(self, *texts: str) -> dict[str, Any]:
        return spelling(*texts)

    def batch(self, judge: Judge) -> int:
        if not self.use_batch_inference:
            return 1
        if self.batch_size != "auto":
            return self.batch_size
        return cast(DeviceJudge, judge).fitting()

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        if is_folder(self.model):
            yield from broken("model", check_judge, self.model, "config.json", made)

    def on_hub(self) -> Iterator[HubFile]:
        if not is_folder(self.model):
            yield HubFile("model", self.model, self.revision, "config.json")

    def load(self, torch_device: str) -> Judge:
        began = time.monotonic()
        from lockstep.judges.qwen3_vl import paths

        log.info("imports took %.1f s", time.monotonic() - began)
        return paths.load(self, torch_device)


class Qwen3VLSettings(LocalSettings):
    """Qwen3-VL, run by the jobs themselves on their devices."""

    type: Literal["qwen3_vl"]


class TransformersSettings(LocalSettings):
    """A model of transformers that reads images and writes text, run by the jobs themselves."""

    type: Literal["transformers"]
