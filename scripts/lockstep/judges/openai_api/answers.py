"""Answers of servers: what ended a reply, what failed, and what was refused."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, Strict, ValidationError, WrapValidator

from lockstep.errors import LockstepError, ServerError
from lockstep.foreign.transport import Answer, Failed, Passing
from lockstep.judges.protocol import Usage

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


class Choice(BaseModel):
    message: _Message
    finish_reason: Text = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: Tokens = None
    completion_tokens: Tokens = None


class Completion(BaseModel):
    """A server's answer, as far as it is read."""

    choices: Annotated[
        list[Choice],
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


class Refused(Failed):
    """The server's content filter refused."""


def completion_in(given: Any, answer: Answer) -> Completion:
    try:
        return Completion.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].partition(" or instance of")[0]
        found = f"{where}: {message}" if where else "no object"
        raise Failed(f"{NO_COMPLETION} {found} ({answer.said})") from None


def problem_in(given: Any) -> dict[str, Any] | None:
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


def failure_of(problem: dict[str, Any], answer: Answer) -> LockstepError:
    """Return what an error means: its status is the answer's own, or the one that it names."""
    # what stands deeper may be the error of another server, which this one asked
    own = words_in({name: value for name, value in problem.items() if not isinstance(value, dict)})
    named = {STATUS[word] for word in own & STATUS.keys()}
    named |= {int(word) for word in own if re.fullmatch("[45][0-9]{2}", word)}
    status = {answer.status} if not answer.good else named
    if words_in(problem) & FILTERED or 451 in status:
        return Refused(_refusal(answer.said))
    if status & NO_USE or 402 in named:
        return ServerError(
            f"judge: {answer.said}, expected a server that runs at judge.url, has judge.model and "
            "takes the key in the variable that judge.api_key_variable names"
        )
    if any(code in (408, 429) or code >= 500 for code in status):
        return Passing(answer.said)
    return Failed(answer.said)


def words_in(said: Any) -> set[str]:
    """Return the words, small and without signs, by which an error or an end names its kind."""
    if isinstance(said, dict):
        names = {str(name) for name, value in said.items() if value}
        kinds = (said.get(name) for name in ("code", "type", "status", "reason", "error_type"))
        nested = (value for value in said.values() if isinstance(value, dict))
        return set().union(map(_plain, names), *map(words_in, (*kinds, *nested)))
    if isinstance(said, bool) or not isinstance(said, str | int):
        return set()
    parts = re.split(r"[.:/]", str(said)[:200])
    return {_plain(str(said)[:200]), *map(_plain, parts)}


def _plain(word: str) -> str:
    small = re.sub(r"[^a-z0-9]", "", word.lower())
    return small.removeprefix("finishreason")


def fault_of(choice: Choice) -> Failed | None:
    """Return why a choice holds no reply to read; None if it holds one."""
    message, words = choice.message, words_in(choice.finish_reason or UNKNOWN)
    if message.refusal or words & FILTERED:
        return Refused(_refusal(message.refusal or message.content or ended(choice)))
    if words & CUT:
        return Failed("the reply was cut off, expected a shorter one (judge.max_reasoning_tokens)")
    if not words & NORMAL:
        return Failed(ended(choice))
    if not (message.content or "").strip():
        reasoning = message.reasoning_content or message.reasoning
        aside = f" beside {len(reasoning)} characters of reasoning" if reasoning else ""
        return Failed(
            f"expected a reply, found none{aside}; leave more room (judge.max_reasoning_tokens) "
            "or have the server not reason by itself (judge.request)"
        )
    return None


def ended(choice: Choice) -> str:
    """Return the sentence on a reply that did not end by itself."""
    end = choice.finish_reason or UNKNOWN
    return f"expected a reply that ended by itself, found the end {end[:100]!r}"


def _refusal(said: str) -> str:
    return f"the server's content filter refused to judge ({' '.join(said.split())[:300]})"
