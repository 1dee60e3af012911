"""A model behind a server with the OpenAI interface: what a user may say of it."""

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt

from lockstep.config.section import Seconds
from lockstep.judges.protocol import Judge
from lockstep.judges.settings import JudgeSettings, ModelJudgeSettings
from lockstep.plan import requests_at_a_time


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        # it may hold a secret, so it is not shown
        raise ValueError(
            "found more than an address, accepted is one without user, password and query "
            "(judge.api_key_variable names the key)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"found {url!r}, accepted is an address such as http://localhost:8000/v1")
    return url.rstrip("/")


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of an address, if it names one, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


class OpenAISettings(ModelJudgeSettings):
    """A model behind a server with the OpenAI interface, such as vLLM or a commercial one."""

    served: ClassVar[bool] = True
    neutral: ClassVar[frozenset[str]] = JudgeSettings.neutral | {
        "url",
        "api_key_variable",
        "concurrency",
        "timeout",
        "attempts",
        "max_wait",
        "max_failed_share",
        "input_price",
        "output_price",
    }
    type: Literal["openai"]
    model: str = Field(min_length=1, description="Name of the model on the server.")
    revision: str | None = Field(
        None, description="Version of the weights on the server; a change of it judges anew."
    )
    url: Annotated[str, AfterValidator(_plain_url)] = Field(
        description="Address of the server up to /v1; the same model elsewhere is the same judge."
    )
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = Field(
        None, description="Environment variable that holds the server's key."
    )
    response_format: Literal["text", "json_schema"] = Field(
        "text",
        description="json_schema has the server hold replies to the scores' schema; they come "
        "without reasoning.",
    )
    request: dict[str, Any] = Field(
        {}, description="Further fields of the requests; null leaves a usual one out."
    )
    concurrency: PositiveInt = Field(
        16, le=10_000, description="Requests at a time, all jobs together."
    )
    timeout: Seconds = Field(
        300.0, description="Seconds within which a try must be over, to the answer's last byte."
    )
    attempts: PositiveInt = Field(8, le=100, description="Most tries of one request.")
    max_wait: Seconds = Field(
        120.0, description="Longest pause between two tries; a server that wants more has failed."
    )
    max_failed_share: float = Field(
        0.2, ge=0, le=1, description="Share of failed requests above which a job stops."
    )
    input_price: NonNegativeFloat | None = Field(
        None, description="Price of a million prompt tokens, in any currency."
    )
    output_price: NonNegativeFloat | None = Field(
        None, description="Price of a million generated tokens, in the same currency."
    )

    @property
    def at_a_time(self) -> int:
        return self.concurrency

    def claims(self, jobs: int) -> dict[str, int]:
        return {"requests": requests_at_a_time(self.concurrency, jobs)}

    def check_environment(self, reach: bool) -> None:
        from lockstep.judges.openai_api.judge import check_environment

        check_environment(self, reach)

    def identity(self) -> dict[str, Any]:
        # not where the server is: the same model at another address is the same judge
        names = {"model", "revision", "mode", "max_reasoning_tokens"}
        return self.model_dump(mode="json", include=names | {"response_format", "request"})

    def load(self, torch_device: str) -> Judge:
        from lockstep.judges.openai_api.judge import OpenAIJudge

        return OpenAIJudge(self)
