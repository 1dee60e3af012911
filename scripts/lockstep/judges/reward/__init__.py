"""Reward models, which give numbers in place of a reply: what a user may say of them."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from lockstep.config.section import Dtype, PathText, Section, is_folder
from lockstep.errors import ConfigError, suggest
from lockstep.foreign.plain_text import spelling
from lockstep.judges.protocol import Judge
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import HubFile, Lacking, broken
from lockstep.models.fingerprints import model_identity
from lockstep.models.weights import check_judge
from lockstep.rubrics.rubric import Rubric

log = logging.getLogger(__name__)


class Output(Section):
    """One of a reward model's numbers."""

    output: NonNegativeInt = Field(description="Which of the model's numbers, from 0.")
    lowest: float = Field(description="Value that becomes the lowest on the criterion's scale.")
    highest: float = Field(description="Value that becomes the highest on the criterion's scale.")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"expected lowest below highest, found {self.lowest}, {self.highest}")
        return self


class RewardSettings(JudgeSettings):
    """A reward model of transformers, which returns numbers in place of a reply."""

    on_device: ClassVar[bool] = True
    imports: ClassVar[str] = "lockstep.judges.reward.judge"
    # nothing of it is written, and nothing of it is drawn
    mode: ClassVar[Literal["reasoned", "score_only"]] = "score_only"
    repeats: ClassVar[int] = 1
    swapped_instruction: ClassVar[bool] = False
    anchors: ClassVar[str | None] = None
    instruction_shown: ClassVar[Literal["original", "rewritten", "both"]] = "original"
    pairs: ClassVar[bool] = False
    type: Literal["reward"]
    model: PathText = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Commit or branch on the hub.")
    dtype: Dtype = Field("bfloat16", description="Number format of the weights.")
    outputs: dict[str, Output] = Field(
        min_length=1,
        description="The model's number for each criterion of the rubrics.",
    )

    def identity(self) -> dict[str, Any]:
        return {
            **model_identity(self.model, self.revision),
            **self.model_dump(mode="json", include={"dtype", "outputs"}),
        }

    def told(self, *texts: str) -> dict[str, Any]:
        return spelling(*texts)

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        if is_folder(self.model):
            yield from broken("model", check_judge, self.model, "config.json", made)

    def on_hub(self) -> Iterator[HubFile]:
        if not is_folder(self.model):
            yield HubFile("model", self.model, self.revision, "config.json")

    def check_scores(self, editors: Sequence[str], rubrics: Mapping[str, Rubric]) -> None:
        for category, rubric in rubrics.items():
            if rubric.calls:
                raise ConfigError(
                    f"{self.rubric_file(category)}: expected a rubric of one call for a reward "
                    f"model, found {len(rubric.calls)} calls"
                )
            for name, _, _, kind in rubric.valued:
                if kind.quoted:
                    raise ConfigError(
                        f"{self.rubric_file(category)}: {name}: reply: expected a kind of number "
                        f"for a reward model, found {kind.said}"
                    )
                if name not in self.outputs:
                    raise ConfigError(
                        f"{self.option}.outputs: expected {name!r}, a criterion of the rubric of "
                        f"{category!r}{suggest(name, list(self.outputs))}, found "
                        f"{', '.join(self.outputs)}"
                    )

    def load(self, torch_device: str) -> Judge:
        began = time.monotonic()
        from lockstep.judges.reward.judge import RewardJudge

        log.info("imports took %.1f s", time.monotonic() - began)
        return RewardJudge(self, torch_device)
