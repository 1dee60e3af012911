"""A judge behind a server with the OpenAI interface: what a user may say of it."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from lockstep.judges.protocol import Judge
from lockstep.judges.settings import JudgeSettings, ModelJudgeSettings
from lockstep.models.served_settings import ServedSettings
from lockstep.rubrics.questions import Question

LIMITS = ("max_tokens", "max_completion_tokens")
"""Fields of a request that limit a reply."""


class OpenAISettings(ServedSettings, ModelJudgeSettings):
    """A model behind a server with the OpenAI interface, such as vLLM or a commercial one."""

    neutral: ClassVar[frozenset[str]] = JudgeSettings.neutral | ServedSettings.neutral | {"budget"}
    type: Literal["openai"]
    response_format: Literal["text", "json_schema"] = Field(
        "text",
        description="json_schema lets the server enforce the schema of the scores. Replies then "
        "come without reasoning.",
    )
    budget: PositiveFloat | None = Field(
        None,
        allow_inf_nan=False,
        description="Most that judgements may cost over all runs into one results folder, in the "
        "currency of the prices. Then the jobs stop.",
    )

    @model_validator(mode="after")
    def _can_be_held(self) -> Self:
        if self.budget is None:
            return self
        for name in ("input_price", "output_price"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"expected {name} beside budget (0 where it is free), found no {name}"
                )
        limits = [self.request.get(name, 1) for name in LIMITS]
        if None in limits and not any(type(limit) is int and limit > 1 for limit in limits):
            raise ValueError(
                f"expected a limit of replies beside budget, found none (request: "
                f"{' or '.join(LIMITS)})"
            )
        return self

    @property
    def at_a_time(self) -> int:
        return self.concurrency

    def claims(self, jobs: int) -> dict[str, int]:
        return {"requests": self.at_once(jobs)}

    def identity(self) -> dict[str, Any]:
        # not where the server is: the same model at another address is the same judge
        names = {"model", "revision", "mode", "max_reasoning_tokens"}
        return self.model_dump(mode="json", include=names | {"response_format", "request"})

    def longest_reply(self, question: Question) -> int:
        given = [n for name in LIMITS if type(n := self.request.get(name)) is int]
        return max(given, default=super().longest_reply(question))

    def load(self, torch_device: str) -> Judge:
        from lockstep.judges.openai_api.judge import OpenAIJudge

        return OpenAIJudge(self)
