"""A judge behind a server with the OpenAI interface: vLLM, SGLang or a commercial one.

The server gets what the judge in this process gets: the system text, both images (as PNG, so that
no pixel changes), the user text. Which weights it holds cannot be seen from here; its `model` and
`revision` in the configuration name them. A reply counts only if the server says that it ended by
itself, or says nothing of its end; what else an answer holds may be of any form.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image
from pydantic_core import from_json

from lockstep.foreign.transport import Answer, Failed, Passing
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.openai_api.answers import (
    BROKEN,
    NO_COMPLETION,
    UNKNOWN,
    Completion,
    completion_in,
    ended,
    fault_of,
)
from lockstep.judges.protocol import Judgement, Pair
from lockstep.models.answers import failure_of, problem_in, words_in
from lockstep.models.client import ServedModel
from lockstep.rubrics.rubric import Rubric

LONGEST_ANSWER = 4 * 2**20
"""Most bytes of an answer; a reply has some kilobytes, a long reasoning some hundred."""


class OpenAIJudge(ServedModel):
    """A client of a server, as `ServedModel` is."""

    done = "judged"

    def __init__(self, settings: OpenAISettings) -> None:
        super().__init__(settings, LONGEST_ANSWER)
        self._asks = settings

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: Pair) -> Judgement:
        body = request(self._asks, pair)
        try:
            completion = self._client.post("chat/completions", body, self._read)
        except Failed as error:
            self._count(error)
            return Judgement(None, error=str(error), versions={})
        choice = completion.choices[0]
        fault = fault_of(choice)
        self._count(fault)
        return Judgement(
            choice.message.content or None,
            error=None if fault is None else str(fault),
            usage=completion.tokens,
            versions=completion.versions,
            finish_reason=(choice.finish_reason or UNKNOWN)[:100],
        )

    def _read(self, answer: Answer) -> Completion:
        """Return the completion that an answer holds.

        Raises:
            Failed: if it holds none; `Passing`, if another try may bring one.
            ServerError: if no request can bring one.
        """
        try:
            given = from_json(answer.text)
        except ValueError as error:
            if not answer.good:
                raise failure_of({}, answer) from None
            # it was cut off on its way
            raise Passing(f"{NO_COMPLETION} no JSON: {error} ({answer.said})") from None
        problem = problem_in(given)
        if problem is not None or not answer.good:
            raise failure_of(problem or {}, answer)
        completion = completion_in(given, answer)
        self._use(completion.tokens)
        choice = completion.choices[0]
        if choice.error:
            raise failure_of(problem_in({"error": choice.error}) or {}, answer)
        if BROKEN & words_in(choice.finish_reason):
            raise Passing(ended(choice))
        return completion


def request(settings: OpenAISettings, pair: Pair) -> dict[str, Any]:
    """Return the body of the request that asks for one judgement."""
    shown = [*map(_image, pair.shown), {"type": "text", "text": pair.prompt}]
    messages = [
        {"role": "system", "content": pair.rubric.system},
        {"role": "user", "content": shown},
    ]
    if pair.rejected is not None:
        messages += [
            {"role": "assistant", "content": pair.rejected.reply},
            {"role": "user", "content": pair.rejected.error},
        ]
    body = {
        "model": settings.model,
        "messages": messages,
        "max_tokens": _max_tokens(settings, pair.rubric),
        "temperature": 0 if pair.seed is None else settings.temperature,
        "seed": pair.seed or 0,
        "response_format": _response_format(settings, pair.rubric),
        **settings.request,
    }
    return {name: value for name, value in body.items() if value is not None}


def _response_format(settings: OpenAISettings, rubric: Rubric) -> dict[str, Any] | None:
    if settings.response_format == "text":
        return None
    schema = {"name": "scores", "strict": True, "schema": rubric.reply_schema}
    return {"type": "json_schema", "json_schema": schema}


def _max_tokens(settings: OpenAISettings, rubric: Rubric) -> int:
    """Return the longest reply: the reasoning, and each character of the object as a token."""
    reasoning = 0 if settings.mode == "score_only" else settings.max_reasoning_tokens
    return reasoning + len(rubric.example)


def _image(image: Image.Image) -> dict[str, Any]:
    """Return an image as the part of a message."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
