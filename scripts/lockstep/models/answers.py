"""Answers of servers with the OpenAI interface: errors, refusals, and what each of them means."""

import re
from typing import Annotated, Any

from pydantic import Field, Strict, ValidationError, WrapValidator

from lockstep.errors import LockstepError, ServerError
from lockstep.foreign.transport import Answer, Failed, Passing
from lockstep.records.alike import REFUSAL

NO_USE = {401, 402, 404}
"""Statuses that every other request would get as well: no valid key, no money, no such model."""

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


class Refused(Failed):
    """The server's content filter refused."""


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
        and not (given.get("choices") or given.get("data"))
        and ("code" in given or given.get("object") == "error")
    ):
        # without an object of its own: SGLang, vLLM before 0.10
        return given
    if not found:
        return None
    if not isinstance(found, dict):
        return {"code": None if " " in str(found) else found, **given}
    # some say that there is none
    none = found.get("code") in (0, "0", 200, "200") and given.keys() & {"choices", "data"}
    return None if none else found


def failure_of(
    problem: dict[str, Any], answer: Answer, option: str = "judge", doing: str = "judge"
) -> LockstepError:
    """Return what an error means: its status is the answer's own, or the one that it names.

    Args:
        option: of the configuration, whose server answered.
        doing: what the server was asked to do: judge or edit.
    """
    # what stands deeper may be the error of another server, which this one asked
    own = words_in({name: value for name, value in problem.items() if not isinstance(value, dict)})
    named = {STATUS[word] for word in own & STATUS.keys()}
    named |= {int(word) for word in own if re.fullmatch("[45][0-9]{2}", word)}
    status = {answer.status} if not answer.good else named
    if words_in(problem) & FILTERED or 451 in status:
        return refused(answer.said, doing)
    if status & NO_USE or 402 in named:
        return ServerError(
            f"{option}: {answer.said}, expected a server that runs at {option}.url (an "
            f"address up to /v1), has {option}.model and takes the key in the variable that "
            f"{option}.api_key_variable names"
        )
    if any(code in (408, 429) or code >= 500 for code in status):
        return Passing(answer.said)
    return Failed(answer.said)


def refused(said: str, doing: str) -> Refused:
    """Return the refusal of a content filter, with what the server said of it."""
    return Refused(f"{REFUSAL} to {doing} ({' '.join(said.split())[:300]})")


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
