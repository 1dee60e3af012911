"""A judge behind a server with the OpenAI interface: vLLM, SGLang or a commercial one.

The server gets what the judge in this process gets: the system text, both images (as PNG, so that
no pixel changes), the user text. Which weights it holds cannot be seen from here; its `model` and
`revision` in the configuration name them. A reply counts only if the server says that it ended by
itself, or says nothing of its end; what else an answer holds may be of any form.
"""

import base64
import io
import logging
import re
import threading
from collections.abc import Sequence
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, BeforeValidator, Field, Strict, ValidationError, WrapValidator
from pydantic_core import from_json

from lockstep import config, transport
from lockstep.errors import LockstepError, ServerError
from lockstep.judges import Judgement, Pair, Usage
from lockstep.rubric import Rubric
from lockstep.transport import Answer, Client, Failed, Limits, Passing

log = logging.getLogger(__name__)

LONGEST_ANSWER = 4 * 2**20
"""Most bytes of an answer; a reply has some kilobytes, a long reasoning some hundred."""

NO_COMPLETION = "expected a chat completion, found"

NO_USE = {401, 402, 404}
"""Statuses that every other request would get as well: no valid key, no money, no such model."""

UNKNOWN = "unknown"
"""End of a reply of which the server says nothing that can be read."""

NORMAL = {UNKNOWN, "stop", "eos", "eostoken", "endturn", "stopsequence", "complete", "completed"}
"""Words by which servers say that a reply ended by itself, as `_plain` writes them."""

CUT = {"length", "maxtokens", "maxoutputtokens", "modellength", "modelcontextwindowexceeded"}
"""Words by which they say that it became too long."""

BROKEN = {"abort", "aborted", "cancelled", "error", "networkerror", "insufficientsystemresource"}
"""Words by which they say that they failed, and may not the next time."""

FILTERED = {
    # OpenAI, Azure, Moonshot
    *("contentfilter", "contentpolicyviolation", "moderationblocked"),
    *("responsibleaipolicyviolation", "imagecontentpolicyviolation"),
    # Anthropic, Google
    *("refusal", "safety", "imagesafety", "prohibitedcontent", "blocklist", "recitation", "spii"),
    # Alibaba, Zhipu, StepFun
    *("datainspectionfailed", "1301", "sensitive", "censorshipblocked", "451"),
    # Volcano Engine
    *("sensitivecontentdetected", "inputtextsensitivecontentdetected"),
    *("inputimagesensitivecontentdetected", "outputtextsensitivecontentdetected"),
    # Amazon, OpenRouter, gateways
    *("guardrailintervened", "contentfiltered", "flaggedinput"),
    *("sensitivewordsdetected", "promptblocked"),
}
"""Words by which servers say that a content filter refused: codes and ends of replies."""

STATUS = {
    **dict.fromkeys(("badrequest", "badrequesterror", "invalidrequesterror"), 400),
    **dict.fromkeys(
        ("invalidapikey", "authenticationerror", "unauthorized", "unauthenticated"), 401
    ),
    **dict.fromkeys(("insufficientquota", "insufficientbalance", "arrearage"), 402),
    **dict.fromkeys(("permissiondenied", "permissionerror", "forbidden"), 403),
    **dict.fromkeys(("modelnotfound", "notfounderror", "notfound"), 404),
    **dict.fromkeys(("requesttimeout", "timeout"), 408),
    **dict.fromkeys(("ratelimitexceeded", "ratelimiterror", "toomanyrequests"), 429),
    **dict.fromkeys(("resourceexhausted", "throttling"), 429),
    **dict.fromkeys(("servererror", "internalerror", "internalservererror", "apierror"), 500),
    **dict.fromkeys(("overloaded", "overloadederror", "serviceunavailable", "unavailable"), 503),
    "deadlineexceeded": 504,
}
"""Statuses by the words that stand for them in errors."""


def _or_none(value: Any, validate: Any) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


Odd = WrapValidator(_or_none)
"""Of a field that decides nothing: whatever it is not meant to be is unknown."""

Text = Annotated[str | None, Strict(), Odd]
Name = Annotated[Annotated[str, Strict(), Field(max_length=200)] | None, Odd]
Tokens = Annotated[Annotated[int, Strict(), Field(ge=0, lt=2**53)] | None, Odd]


class _Message(BaseModel):
    content: str | None = None
    refusal: Text = None
    reasoning: Text = None
    reasoning_content: Text = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Text = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: Tokens = None
    completion_tokens: Tokens = None


class _Completion(BaseModel):
    """A server's answer, as far as it is read."""

    choices: Annotated[
        list[_Choice],
        Field(min_length=1),
        BeforeValidator(lambda given: given[:1] if isinstance(given, list) else given),
    ]
    usage: Annotated[_Usage | None, Odd] = None
    model: Name = None
    system_fingerprint: Name = None

    @property
    def tokens(self) -> Usage | None:
        """What the judgement took; None if the server does not tell all of it."""
        usage = self.usage or _Usage()
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return Usage(usage.prompt_tokens, usage.completion_tokens)

    @property
    def versions(self) -> dict[str, str]:
        """What the server says of the model that judged: an alias may hide a new one."""
        said = {"served model": self.model, "system fingerprint": self.system_fingerprint}
        return {name: value for name, value in said.items() if value}


class _Refused(Failed):
    """The server's content filter refused."""


def check_environment(settings: config.OpenAIJudge, reach: bool) -> None:
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

    def __init__(self, settings: config.OpenAIJudge) -> None:
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
        fault = _fault(choice)
        self._count(fault)
        return Judgement(
            choice.message.content or None,
            error=None if fault is None else str(fault),
            usage=completion.tokens,
            versions=completion.versions,
            finish_reason=(choice.finish_reason or UNKNOWN)[:100],
        )

    def _read(self, answer: Answer) -> _Completion:
        """Return the completion that an answer holds.

        Raises:
            Failed: if it holds none; `Passing`, if another try may bring one.
            ServerError: if no request can bring one.
        """
        try:
            given = from_json(answer.text)
        except ValueError as error:
            if not answer.good:
                raise _failure({}, answer) from None
            # it was cut off on its way
            raise Passing(f"{NO_COMPLETION} no JSON: {error} ({answer.said})") from None
        problem = _problem(given)
        if problem is not None or not answer.good:
            raise _failure(problem or {}, answer)
        completion = _completion(given, answer)
        if completion.tokens is not None:
            # they are paid for, whatever the reply is worth
            with self._counting:
                self.usage = Usage(*map(sum, zip(self.usage, completion.tokens, strict=True)))
        choice = completion.choices[0]
        if choice.error:
            raise _failure(_problem({"error": choice.error}) or {}, answer)
        if BROKEN & _words(choice.finish_reason):
            raise Passing(_ended(choice))
        return completion

    def _count(self, failure: Failed | None) -> None:
        """Count a request that is over; a refusal is an answer."""
        with self._counting:
            self.asked += 1
            if failure is not None and not isinstance(failure, _Refused):
                self.failures.append(str(failure))

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


def _key(settings: config.OpenAIJudge) -> str | None:
    return transport.read_key(settings.api_key_variable, "judge.api_key_variable")


def _completion(given: Any, answer: Answer) -> _Completion:
    try:
        return _Completion.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].partition(" or instance of")[0]
        found = f"{where}: {message}" if where else "no object"
        raise Failed(f"{NO_COMPLETION} {found} ({answer.said})") from None


def _problem(given: Any) -> dict[str, Any] | None:
    """Return the error that an answer holds in one of the forms that servers give it, or None."""
    if isinstance(given, list):
        # Google's come in a list
        given = next(iter(given), None)
    if not isinstance(given, dict):
        return None
    found = given.get("error")
    if (
        not found
        and not given.get("choices")
        and ("code" in given or given.get("object") == "error")
    ):
        # without an object of its own: SGLang, vLLM before 0.10
        return given
    if not found:
        return None
    if not isinstance(found, dict):
        return {"code": None if " " in str(found) else found, **given}
    # some say that there is none
    return None if found.get("code") in (0, "0", 200, "200") and "choices" in given else found


def _failure(problem: dict[str, Any], answer: Answer) -> LockstepError:
    """Return what an error means: its status is the answer's own, or the one that it names."""
    # what stands deeper may be the error of another server, which this one asked
    own = _words({name: value for name, value in problem.items() if not isinstance(value, dict)})
    named = {STATUS[word] for word in own & STATUS.keys()}
    named |= {int(word) for word in own if re.fullmatch("[45][0-9]{2}", word)}
    status = {answer.status} if not answer.good else named
    if _words(problem) & FILTERED or 451 in status:
        return _Refused(_refusal(answer.said))
    if status & NO_USE or 402 in named:
        return ServerError(
            f"judge: {answer.said}, expected a server that runs at judge.url, has judge.model and "
            "takes the key in the variable that judge.api_key_variable names"
        )
    if any(code in (408, 429) or code >= 500 for code in status):
        return Passing(answer.said)
    return Failed(answer.said)


def _words(said: Any) -> set[str]:
    """Return the words, small and without signs, by which an error or an end names its kind."""
    if isinstance(said, dict):
        names = {str(name) for name, value in said.items() if value}
        kinds = (said.get(name) for name in ("code", "type", "status", "reason", "error_type"))
        nested = (value for value in said.values() if isinstance(value, dict))
        return set().union(map(_plain, names), *map(_words, (*kinds, *nested)))
    if isinstance(said, bool) or not isinstance(said, str | int):
        return set()
    parts = re.split(r"[.:/]", str(said)[:200])
    return {_plain(str(said)[:200]), *map(_plain, parts)}


def _plain(word: str) -> str:
    small = re.sub(r"[^a-z0-9]", "", word.lower())
    return small.removeprefix("finishreason")


def _fault(choice: _Choice) -> Failed | None:
    """Return why a choice holds no reply to read; None if it holds one."""
    message, words = choice.message, _words(choice.finish_reason or UNKNOWN)
    if message.refusal or words & FILTERED:
        return _Refused(_refusal(message.refusal or message.content or _ended(choice)))
    if words & CUT:
        return Failed("the reply was cut off, expected a shorter one (judge.max_reasoning_tokens)")
    if not words & NORMAL:
        return Failed(_ended(choice))
    if not (message.content or "").strip():
        reasoning = message.reasoning_content or message.reasoning
        aside = f" beside {len(reasoning)} characters of reasoning" if reasoning else ""
        return Failed(
            f"expected a reply, found none{aside}; leave more room (judge.max_reasoning_tokens) "
            "or have the server not reason by itself (judge.request)"
        )
    return None


def _ended(choice: _Choice) -> str:
    """Return the sentence on a reply that did not end by itself."""
    return f"expected a reply that ended by itself, found the end {choice.finish_reason[:100]!r}"


def _refusal(said: str) -> str:
    return f"the server's content filter refused to judge ({' '.join(said.split())[:300]})"


def _image(image: Image.Image) -> dict[str, Any]:
    """Return an image as the part of a message."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
