"""Replies of servers in chats: what ended one, and whether it is one to read."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from lockstep.errors import counted
from lockstep.foreign.transport import Answer, Failed
from lockstep.models.answers import FILTERED, Name, Odd, Text, Tokens, refused, words_in
from lockstep.models.backend import Usage

NO_COMPLETION = "expected a chat completion, found"

UNKNOWN = "unknown"
"""End of a reply of which the server says nothing that can be read."""

NORMAL = {UNKNOWN, "stop", "eos", "eostoken", "endturn", "stopsequence", "complete", "completed"}
"""Words by which servers say that a reply ended by itself, as `words_in` gives them."""

CUT = {"length", "maxtokens", "maxoutputtokens", "modellength", "modelcontextwindowexceeded"}
"""Words by which they say that it became too long."""

BROKEN = {"abort", "aborted", "cancelled", "error", "networkerror", "insufficientsystemresource"}
"""Words by which they say that they failed, and may not the next time."""


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
        """What the reply took; None if the server does not tell all of it."""
        usage = self.usage or _Usage()
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return Usage(usage.prompt_tokens, usage.completion_tokens)

    @property
    def versions(self) -> dict[str, str]:
        """What the server says of the model that replied: an alias may hide a new one."""
        said = {"served model": self.model, "system fingerprint": self.system_fingerprint}
        return {name: value for name, value in said.items() if value}


def completion_in(given: Any, answer: Answer) -> Completion:
    try:
        return Completion.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].partition(" or instance of")[0]
        found = f"{where}: {message}" if where else "no object"
        raise Failed(f"{NO_COMPLETION} {found} ({answer.said})") from None


def fault_of(choice: Choice, doing: str, length: str, request: str) -> Failed | None:
    """Return why a choice holds no reply to read; None if it holds one.

    Args:
        doing: what the server was asked to do: judge or rewrite.
        length: of the configuration, which limits a reply.
        request: of the configuration, which holds further fields of a request.
    """
    message, words = choice.message, words_in(choice.finish_reason or UNKNOWN)
    if message.refusal or words & FILTERED:
        return refused(message.refusal or message.content or ended(choice), doing)
    if words & CUT:
        return Failed(f"the reply was cut off, expected a shorter one ({length})")
    if not words & NORMAL:
        return Failed(ended(choice))
    if not (message.content or "").strip():
        reasoning = message.reasoning_content or message.reasoning
        aside = f" beside {counted(len(reasoning), 'character')} of reasoning" if reasoning else ""
        return Failed(
            f"expected a reply, found none{aside}; leave more room ({length}) "
            f"or have the server not reason by itself ({request})"
        )
    return None


def ended(choice: Choice) -> str:
    """Return the sentence on a reply that did not end by itself."""
    end = choice.finish_reason or UNKNOWN
    return f"expected a reply that ended by itself, found the end {end[:100]!r}"
