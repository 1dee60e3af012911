"""A judge behind a server with the OpenAI interface: vLLM, SGLang or a commercial one.

The server gets what the judge in this process gets: the system text, both images (as PNG, so that
no pixel changes), the user text. Which weights it holds cannot be seen from here; its `model` and
`revision` in the configuration name them. The key is read from the environment and sent, and
nothing else: whatever a server says is rid of it before anybody sees it.
"""

import base64
import datetime
import email.utils
import io
import logging
import os
import random
import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

import httpx
import tenacity
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from lockstep import config
from lockstep.errors import ConfigError, LockstepError, ServerError, one_sentence
from lockstep.judges import Judgement, Pair, Usage
from lockstep.rubric import Rubric

log = logging.getLogger(__name__)

# one line per request would fill the log
logging.getLogger("httpx").setLevel(logging.WARNING)

FIRST_PAUSE = 1.0
"""Longest pause after the first failed try, in seconds; it doubles with every further one."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to be made."""

NO_USE = {401, 402, 404}
"""Statuses that every other request would get as well: no valid key, no money, no such model."""

FILTERED = {"content_filter", "content_policy_violation", "moderation_blocked"}
"""Codes of errors by which servers say that a content filter refused."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    """A server's answer, as far as it is read."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None
    model: str | None = None
    system_fingerprint: str | None = None

    @property
    def versions(self) -> dict[str, str]:
        """What the server says of the model that judged: an alias may hide a new one."""
        said = {"served model": self.model, "system fingerprint": self.system_fingerprint}
        return {name: value for name, value in said.items() if value}


class _Problem(BaseModel):
    code: str | int | None = None


class _Error(BaseModel):
    """A server's error, as far as it is read."""

    error: _Problem


class _Failed(LockstepError):
    """One try of a request failed."""


class _Passing(_Failed):
    """One try of a request failed, another may not."""


class _Refused(LockstepError):
    """The server's content filter refused."""


class OpenAIJudge:
    """A client of a server; several threads may use it at a time.

    Raises:
        ConfigError: if the configured variable holds no key.
    """

    def __init__(self, settings: config.OpenAIJudge) -> None:
        self._settings = settings
        self._key = _key(settings.api_key_variable)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx.Timeout(settings.timeout, connect=min(CONNECT_TIMEOUT, settings.timeout))
        # how many requests there are at a time is for those who call
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=limits)
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self._resume = 0.0
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            stop=tenacity.stop_after_attempt(settings.attempts)
            | tenacity.stop_when_event_set(self._stopping),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._stopping),
            before_sleep=_log_retry,
            reraise=True,
        )
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
        self._stopping.set()

    def close(self) -> None:
        """Drop all connections and log what they were used for."""
        self.stop()
        self._client.close()
        log.info(
            "%d requests, %d failed, %d prompt tokens, %d reply tokens%s",
            self.asked,
            len(self.failures),
            *self.usage,
            self._price(),
        )

    def _judge(self, pair: Pair) -> Judgement:
        try:
            completion = self._retrying(self._send, request(self._settings, pair))
        except _Refused as error:
            self._count(None)
            return Judgement(None, error=str(error), versions={})
        except _Failed as error:
            self._count(None, failure=str(error))
            return Judgement(None, error=str(error), versions={})
        choice = completion.choices[0]
        fault = _fault(choice)
        return Judgement(
            choice.message.content or (None if fault else ""),
            error=fault,
            usage=self._count(completion.usage),
            versions=completion.versions,
        )

    def _send(self, body: dict[str, Any]) -> _Completion:
        """Try a request once."""
        # a server that asked to be left alone means all requests
        pause = self._resume - time.monotonic()
        if self._stopping.wait(pause + _jitter(FIRST_PAUSE) if pause > 0 else 0):
            raise _Failed("the job has stopped")
        try:
            response = self._client.post(f"{self._settings.url}/chat/completions", json=body)
        except httpx.RequestError as error:
            raise _Passing(
                f"found no answer at {self._settings.url} ({one_sentence(error)})"
            ) from None
        text = self._without_key(response.text)
        if response.is_success:
            return _completion(text)
        said = f"the server answered {response.status_code} ({' '.join(text.split())[:300]})"
        code = _code(text)
        if code in FILTERED:
            raise _Refused(_refusal(said))
        if response.status_code in NO_USE or code == "insufficient_quota":
            raise ServerError(
                f"judge: {said}, accepted are judge.url and judge.model of a running server "
                f"and a key in the variable named by judge.api_key_variable"
            )
        if response.status_code in (408, 429) or response.status_code >= 500:
            self._keep_to(retry_after(response.headers), said)
            raise _Passing(said)
        raise _Failed(said)

    def _without_key(self, text: str) -> str:
        # in JSON a slash may be escaped
        for form in (self._key, self._key.replace("/", "\\/")) if self._key else ():
            text = text.replace(form, "[key]")
        return text

    def _keep_to(self, after: float | None, said: str) -> None:
        """Have all requests wait for the seconds that a server asks for."""
        if after is None:
            return
        if after > self._settings.max_wait:
            raise _Failed(
                f"{said} and asks for a pause of {after:.0f} s, "
                f"accepted are up to {self._settings.max_wait:.0f} s (judge.max_wait)"
            )
        self._resume = max(self._resume, time.monotonic() + after)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return the seconds until the next try: each time up to twice as long."""
        return _jitter(min(FIRST_PAUSE * 2 ** (state.attempt_number - 1), self._settings.max_wait))

    def _count(self, usage: _Usage | None, failure: str | None = None) -> Usage | None:
        with self._counting:
            self.asked += 1
            if failure is not None:
                self.failures.append(failure)
            if usage is None:
                return None
            self.usage = Usage(
                self.usage.prompt_tokens + usage.prompt_tokens,
                self.usage.reply_tokens + usage.completion_tokens,
            )
        return Usage(usage.prompt_tokens, usage.completion_tokens)

    def _price(self) -> str:
        """Return what the tokens cost, as the end of a line; nothing if no price is configured."""
        prices = (self._settings.input_price, self._settings.output_price)
        if prices == (None, None):
            return ""
        price = sum(n * (each or 0) for n, each in zip(self.usage, prices, strict=True)) / 1e6
        return f", price {price:.4f}"


def request(settings: config.OpenAIJudge, pair: Pair) -> dict[str, Any]:
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


def _response_format(settings: config.OpenAIJudge, rubric: Rubric) -> dict[str, Any] | None:
    if settings.response_format == "text":
        return None
    schema = {"name": "scores", "strict": True, "schema": rubric.reply_schema}
    return {"type": "json_schema", "json_schema": schema}


def _max_tokens(settings: config.OpenAIJudge, rubric: Rubric) -> int:
    """Return the longest reply: the reasoning, and each character of the object as a token."""
    reasoning = 0 if settings.mode == "score_only" else settings.max_reasoning_tokens
    return reasoning + len(rubric.example)


def retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that a server asks to wait before the next request, None if it does not.

    Retry-After holds seconds or a date (RFC 9110, 10.2.3); the server's own clock counts.
    """
    given = headers.get("Retry-After", "").strip()
    if given.isdigit():
        return float(given)
    until, now = _date(given), _date(headers.get("Date", ""))
    if until is None:
        return None
    now = now or datetime.datetime.now(datetime.UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=datetime.UTC)


def _completion(text: str) -> _Completion:
    try:
        return _Completion.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}{': ' if where else ''}{first['msg']}"
        # an error may come as an answer: what the server says of it is all that tells why
        said = f"the server's answer is none ({said}; it said: {' '.join(text.split())[:300]})"
        if first["type"] == "json_invalid":
            # it was cut off on its way
            raise _Passing(said) from None
        raise _Failed(said) from None


def _code(text: str) -> str | int | None:
    """Return the code of a server's error."""
    try:
        return _Error.model_validate_json(text).error.code
    except ValidationError:
        return None


def _fault(choice: _Choice) -> str | None:
    """Return why a reply is none to read; None if it is one."""
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return _refusal(choice.message.refusal or choice.message.content or "no more was said")
    if choice.finish_reason == "length":
        return "the reply was cut off, accepted is a shorter one (judge.max_reasoning_tokens)"
    return None


def _refusal(said: str) -> str:
    return f"the server's content filter refused to judge ({' '.join(said.split())[:300]})"


def _image(image: Image.Image) -> dict[str, Any]:
    """Return an image as the part of a message."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _key(variable: str | None) -> str | None:
    """Return the server's key from the environment; None where none is configured.

    Raises:
        ConfigError: if there is none, or if it cannot be one. It is not shown.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"judge.api_key_variable: found no key in {variable}, "
            "accepted is a variable of the environment that holds one"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"judge.api_key_variable: found a key in {variable} with characters that no key has, "
            "accepted are letters, digits and signs"
        )
    return key


def _jitter(longest: float) -> float:
    """Return a pause, by chance: all who were turned away together must not come back together."""
    return random.uniform(longest / 2, longest)


def _log_retry(state: tenacity.RetryCallState) -> None:
    log.warning("%s, trying again (try %d)", state.outcome.exception(), state.attempt_number + 1)
