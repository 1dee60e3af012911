"""A judge behind a server with the OpenAI interface: vLLM, SGLang or a commercial one.

The server gets what the judge in this process gets: the system text, both images (as PNG, so that
no pixel changes), the user text. Which weights it holds cannot be seen from here; its `model` and
`revision` in the configuration name them. A reply counts only if the server says that it ended by
itself, or says nothing of its end; what else an answer holds may be of any form.
"""

import base64
import io
import logging
import threading
from collections.abc import Sequence
from typing import Any

from PIL import Image
from pydantic_core import from_json

from lockstep.foreign import network, transport
from lockstep.foreign.transport import Answer, Client, Failed, Limits, Passing
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.openai_api.answers import (
    BROKEN,
    NO_COMPLETION,
    UNKNOWN,
    Completion,
    Refused,
    completion_in,
    ended,
    failure_of,
    fault_of,
    problem_in,
    words_in,
)
from lockstep.judges.protocol import Judgement, Pair, Usage
from lockstep.rubrics.rubric import Rubric

log = logging.getLogger(__name__)

LONGEST_ANSWER = 4 * 2**20
"""Most bytes of an answer; a reply has some kilobytes, a long reasoning some hundred."""


def check_environment(settings: OpenAISettings, reach: bool) -> None:
    """Check what a judge behind a server needs of the environment.

    Args:
        reach: whether the server must be there.

    Raises:
        ConfigError: if the key's variable, a proxy or certificates are none, or if the server is
            not there or does not take the key.
    """
    key = _key(settings)
    transport.check(settings.url, key, "judge.url", "models" if reach else None)


class OpenAIJudge:
    """A client of a server; several threads may use it at a time.

    Raises:
        ConfigError: if the configured variable holds no key, or if the environment names a proxy
            or certificates that cannot be.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        limits = Limits(settings.timeout, settings.attempts, settings.max_wait, LONGEST_ANSWER)
        self._client = Client(settings.url, _key(settings), limits)
        self._counting = threading.Lock()
        self.asked = 0
        """Requests that are over: answered, refused or failed for good."""
        self.failures: list[str] = []
        """Why requests failed for good."""
        self.usage = Usage(0, 0)
        """Tokens that the server has counted so far."""

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def stop(self) -> None:
        """Let what the server works on end, and try nothing again."""
        self._client.stop()

    def close(self) -> None:
        """Drop all connections and log what they were used for."""
        self._client.close()
        log.info(
            "%d requests, %d failed, %d prompt tokens, %d reply tokens%s",
            self.asked,
            len(self.failures),
            *self.usage,
            self._price(),
        )

    def _judge(self, pair: Pair) -> Judgement:
        body = request(self._settings, pair)
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
        if completion.tokens is not None:
            # they are paid for, whatever the reply is worth
            with self._counting:
                self.usage = Usage(*map(sum, zip(self.usage, completion.tokens, strict=True)))
        choice = completion.choices[0]
        if choice.error:
            raise failure_of(problem_in({"error": choice.error}) or {}, answer)
        if BROKEN & words_in(choice.finish_reason):
            raise Passing(ended(choice))
        return completion

    def _count(self, failure: Failed | None) -> None:
        """Count a request that is over; a refusal is an answer."""
        with self._counting:
            self.asked += 1
            if failure is not None and not isinstance(failure, Refused):
                self.failures.append(str(failure))

    def _price(self) -> str:
        """Return what the tokens cost, as the end of a line; nothing if no price is configured."""
        prices = (self._settings.input_price, self._settings.output_price)
        if prices == (None, None):
            return ""
        price = sum(n * (each or 0) for n, each in zip(self.usage, prices, strict=True)) / 1e6
        return f", price {price:.4f}"


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


def _key(settings: OpenAISettings) -> str | None:
    return network.read_key(settings.api_key_variable, "judge.api_key_variable")


def _image(image: Image.Image) -> dict[str, Any]:
    """Return an image as the part of a message."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
