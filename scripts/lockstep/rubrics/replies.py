"""Replies of judges: what of one counts as a score. The only place that parses replies.

A reply counts if it holds one valid JSON object with exactly the rubric's criteria; nothing is
defaulted, clipped or guessed.
"""

import json
import re
from typing import Any, NamedTuple

from pydantic import ValidationError

from lockstep.errors import ReplyError
from lockstep.rubrics.questions import Question

MAX_BROKEN = 100
"""Places of a reply that begin like an object and are none; each costs a look at what follows."""


class Scores(NamedTuple):
    """What a valid reply says."""

    criteria: dict[str, float]
    """Value of each criterion, on its own scale; of one whose answer does not count, none."""
    reasoning: str
    """The text before the object."""
    answers: dict[str, Any]
    """What the object says, by its keys."""


def parse_reply(reply: str, question: Question) -> Scores:
    """Return what a judge's reply says.

    Prose, code fences and objects that name no criterion are fine around it. Each object that
    names one, at any depth, must have the criteria as its keys and an answer of each one's kind as
    its value, and all of them must say the same.

    Raises:
        ReplyError: if the reply holds no valid score, or several that differ; never returns a
            default.
    """
    keys = {criterion.name for criterion in question.criteria}
    answers = [found for found in _objects(reply) if _keys(found.text) & keys]
    if not answers:
        raise ReplyError(f"found no JSON object with the criteria in the reply ({_start(reply)})")
    values = [_validate(answer, question) for answer in answers]
    if any(value != values[0] for value in values):
        raise ReplyError("found several answers that differ in the reply, accepted is one")
    before = reply[: answers[0].start].rstrip()
    reasoning = re.sub(r"```(json)?$", "", before).strip()
    return Scores(question.values(values[0]), reasoning, values[0])


class _Object(NamedTuple):
    """A JSON object in a text, in no other one."""

    start: int
    text: str
    enclosed: bool
    """Whether a brace before it is open."""


def _objects(reply: str) -> list[_Object]:
    """Return the outermost JSON objects of a text, in a time that grows with its length.

    Raises:
        ReplyError: if more than `MAX_BROKEN` places begin like an object and are none.
    """
    decoder = json.JSONDecoder()
    found = []
    depth = broken = position = 0
    for match in _BRACE.finditer(reply):
        if match.start() < position:
            continue
        if match[0] == "}":
            depth = max(0, depth - 1)
            continue
        if match["begun"] is None:
            depth += 1
            continue
        try:
            _, position = decoder.raw_decode(reply, match.start())
            found.append(_Object(match.start(), reply[match.start() : position], depth > 0))
        except ValueError:
            depth += 1
            broken += 1
        except RecursionError:
            start = _start(reply)
            raise ReplyError(f"found braces nested too deep in the reply ({start})") from None
        if broken > MAX_BROKEN:
            raise ReplyError(
                f"expected at most {MAX_BROKEN} broken JSON objects in the reply, found more "
                f"({_start(reply)})"
            )
    return found


_BRACE = re.compile(r"\}|\{(?P<begun>(?=[ \t\n\r]*[\"}]))?")
"""A brace; `begun` where one that opens may begin a JSON object."""


def _keys(text: str) -> set[str]:
    """Return the keys of a JSON object and of all objects in it."""
    found: set[str] = set()
    json.loads(text, object_pairs_hook=lambda pairs: found.update(key for key, _ in pairs))
    return found


def _validate(answer: _Object, question: Question) -> dict[str, Any]:
    """Return the values of an object that names criteria.

    Raises:
        ReplyError: if it is not valid.
    """
    try:
        if answer.enclosed:
            raise ValueError("an object inside braces that are not closed before it")
        pairs = json.loads(answer.text, object_pairs_hook=_once, parse_constant=_no_constant)
        return question.reply_model.model_validate(pairs).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}, found {first.get('input')!r:.60}"
        raise ReplyError(f"found no valid score in the reply ({reason})") from None
    except ValueError as error:
        raise ReplyError(f"found no valid score in the reply ({error})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"found a key twice in {[key for key, _ in pairs]}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"found {name}, expected a valid answer")


def _start(reply: str) -> str:
    text = " ".join(reply.split())
    return repr(text[:80] + ("…" if len(text) > 80 else ""))
