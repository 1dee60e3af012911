"""A judge behind a server with the OpenAI interface: what a user may say of it."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from lockstep.judges.protocol import Judge
from lockstep.judges.settings import JudgeSettings, ModelJudgeSettings
from lockstep.models.served_settings import ServedSettings


class OpenAISettings(ServedSettings, ModelJudgeSettings):
    """A model behind a server with the OpenAI interface, such as vLLM or a commercial one."""

    neutral: ClassVar[frozenset[str]] = JudgeSettings.neutral | ServedSettings.neutral
    type: Literal["openai"]
    response_format: Literal["text", "json_schema"] = Field(
        "text",
        description="json_schema has the server hold replies to the scores' schema; they come "
        "without reasoning.",
    )

    @property
    def option(self) -> str:
        return "judge"

    @property
    def at_a_time(self) -> int:
        return self.concurrency

    def claims(self, jobs: int) -> dict[str, int]:
        return {"requests": self.at_once(jobs)}

    def identity(self) -> dict[str, Any]:
        # not where the server is: the same model at another address is the same judge
        names = {"model", "revision", "mode", "max_reasoning_tokens"}
        return self.model_dump(mode="json", include=names | {"response_format", "request"})

    def load(self, torch_device: str) -> Judge:
        from lockstep.judges.openai_api.judge import OpenAIJudge

        return OpenAIJudge(self)
