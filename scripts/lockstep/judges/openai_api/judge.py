"""A judge behind a server with the OpenAI interface: vLLM, SGLang or a commercial one.

The server gets what the judge in this process gets: the system text, both images, the user text.
Which weights it holds cannot be seen from here; its `model` and `revision` in the configuration
name them.
"""

from collections.abc import Sequence
from typing import Any

from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.protocol import Judgement, Pair
from lockstep.models.chat import ChatModel, image_part
from lockstep.models.completions import UNKNOWN
from lockstep.rubrics.questions import Question


class OpenAIJudge(ChatModel):
    """A client of a server, as `ServedModel` is."""

    done = "judged"
    doing = "judge"
    length = "max_reasoning_tokens"

    def __init__(self, settings: OpenAISettings) -> None:
        super().__init__(settings)
        self._asks = settings

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: Pair) -> Judgement:
        completion, fault = self._complete(request(self._asks, pair))
        error = None if fault is None else str(fault)
        if completion is None:
            return Judgement(None, error=error, versions={})
        choice = completion.choices[0]
        return Judgement(
            choice.message.content or None,
            error=error,
            usage=completion.tokens,
            versions=completion.versions,
            finish_reason=(choice.finish_reason or UNKNOWN)[:100],
        )


def request(settings: OpenAISettings, pair: Pair) -> dict[str, Any]:
    """Return the body of the request that asks for one judgement."""
    shown = [*map(image_part, pair.shown), {"type": "text", "text": pair.prompt}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": shown}]
    if pair.rubric.system is not None:
        messages.insert(0, {"role": "system", "content": pair.rubric.system})
    if pair.rejected is not None:
        messages += [
            {"role": "assistant", "content": pair.rejected.reply},
            {"role": "user", "content": pair.rejected.error},
        ]
    body = {
        "model": settings.model,
        "messages": messages,
        "max_tokens": settings.longest_reply(pair.rubric),
        "temperature": 0 if pair.seed is None else settings.temperature,
        "seed": pair.seed or 0,
        "response_format": _response_format(settings, pair.rubric),
        **settings.request,
    }
    return {name: value for name, value in body.items() if value is not None}


def _response_format(settings: OpenAISettings, question: Question) -> dict[str, Any] | None:
    if settings.response_format == "text" or question.reads not in (None, "json_object"):
        return None
    schema = {"name": "scores", "strict": True, "schema": question.reply_schema}
    return {"type": "json_schema", "json_schema": schema}
