"""Replies of judges: what of one counts as a score. The only place that parses replies.

A reply counts if it holds one valid JSON object with exactly the rubric's criteria; nothing is
defaulted, clipped or guessed.
"""

import json
import re
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from lockstep.errors import ReplyError, counted
from lockstep.rubrics.kinds import Kind
from lockstep.rubrics.questions import Question

MAX_BROKEN = 100
"""Places of a reply that begin like an object and are none; each costs a look at what follows."""


Vote = Literal["A better", "B better", "both good", "both bad", "equal"]
"""A vote on two edits, A and B."""

VOTES: dict[str, Vote] = {
    "[[A>B]]": "A better",
    "[[A>>B]]": "A better",
    "[[B>A]]": "B better",
    "[[B>>A]]": "B better",
    "[[A=B=Good]]": "both good",
    "[[A=B=Bad]]": "both bad",
    "[[A=B]]": "equal",
}
"""By what stands for them in a reply, as GenAI-Bench has it."""


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
    if question.reads not in (None, "json_object"):
        given, reasoning = written(reply, question)
        return Scores(question.values(given), reasoning, given)
    keys = {criterion.said for criterion in question.criteria}
    answers = [found for found in _objects(reply) if _keys(found.text) & keys]
    if not answers:
        raise ReplyError(f"found no JSON object with the criteria in the reply ({_start(reply)})")
    values = [_validate(answer, question) for answer in answers]
    if any(value != values[0] for value in values):
        raise ReplyError("expected one answer in the reply, found several that differ")
    before = reply[: answers[0].start].rstrip()
    reasoning = re.sub(r"```(json)?$", "", before).strip()
    return Scores(question.values(values[0]), reasoning, values[0])


def vote_in(reply: Any) -> Vote | None:
    """Return the vote that a reply holds; None if it holds none that is valid.

    It is the text from the first [[ to the last ]] of a line (Jiang et al. 2024, `parse_response`
    of GenAI-Bench).
    """
    found = re.search(r"\[\[.*\]\]", reply) if isinstance(reply, str) else None
    return VOTES.get(found[0]) if found else None


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
        if question.reads == "json_object":
            # authors ask for a reason within it
            keys = {criterion.said for criterion in question.criteria}
            pairs = {key: _word(value) for key, value in pairs.items() if key in keys}
        return question.reply_model.model_validate(pairs).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}, found {first.get('input')!r:.60}"
        raise ReplyError(f"found no valid score in the reply ({reason})") from None
    except ValueError as error:
        raise ReplyError(f"found no valid score in the reply ({error})") from None


def _word(value: Any) -> Any:
    """Return a yes or no in small letters, as authors read it, and all else as it is."""
    word = value.strip().lower() if isinstance(value, str) else None
    return word if word in ("yes", "no") else value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"found a key twice in {[key for key, _ in pairs]}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"expected a valid answer, found {name}")


def written(reply: str, question: Question) -> tuple[dict[str, Any], str]:
    """Return the answers of a reply in a format of authors, by criterion, and what is before it.

    Raises:
        ReplyError: if they are not there exactly once, or are no answers of their kinds.
    """
    names = [criterion.said for criterion in question.criteria]
    try:
        match question.reads:
            case "json_list":
                before, given = _list(reply, len(names))
            case "last_number_line":
                before, given = _number_line(reply, len(names))
            case "yes_no":
                before, words = _words(reply, len(names))
                kinds = map(question.kind, question.criteria)
                given = [_spelled(*own) for own in zip(words, kinds, strict=True)]
            case _:
                before, given = "", [_tagged(reply, name) for name in names]
        if len(given) != len(names):
            raise ValueError(f"expected {len(names)} answers, found {len(given)}")
        quoted = (question.kind(criterion).quoted for criterion in question.criteria)
        given = [
            str(own) if is_quoted and isinstance(own, int) else own
            for own, is_quoted in zip(given, quoted, strict=True)
        ]
        answers = question.reply_model.model_validate(dict(zip(names, given, strict=True)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}, found {first.get('input')!r:.60}"
        raise ReplyError(f"found no valid score in the reply ({reason})") from None
    except (ValueError, RecursionError) as error:
        raise ReplyError(f"found no valid score in the reply ({error})") from None
    return answers.model_dump(), before.strip()


def _list(reply: str, count: int) -> tuple[str, list[Any]]:
    """Return the only list of so many values that a reply holds, and what is before it."""
    found = []
    for match in re.finditer(r"\[[^\[\]{}]*\]", reply):
        try:
            value = json.loads(match[0], parse_constant=_no_constant)
        except ValueError:
            continue
        if len(value) == count:
            found.append((reply[: match.start()], value))
    if not found or any(value != found[0][1] for _, value in found):
        raise ValueError(f"expected one list of {count}, found {len(found)}")
    return found[0]


def _lines(reply: str, count: int) -> tuple[str, list[str]]:
    """Return the last lines that hold something, and what is before them."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if len(lines) < count:
        raise ValueError(f"expected {counted(count, 'line')}, found {len(lines)}")
    return "\n".join(lines[:-count]), lines[-count:]


def _number_line(reply: str, count: int) -> tuple[str, list[Any]]:
    """Return the numbers of the last line, or those of as many lines with a number each.

    A line holds nothing else but words before a colon, and asterisks that make it bold.
    """
    before, (line,) = _lines(reply, 1)
    if len(numbers := _numbers(line)) == 1 < count:
        before, lines = _lines(reply, count)
        numbers = [number for own in map(_numbers, lines) for number in own]
    return before, numbers


def _numbers(line: str) -> list[Any]:
    bare = line.replace("*", " ").rpartition(":")[2]
    texts = bare.strip().strip("[]()").replace(",", " ").split()
    if not texts or not all(_NUMBER.fullmatch(text) for text in texts):
        raise ValueError(f"expected numbers in the last line, found {line[:60]!r}")
    return [json.loads(text) for text in texts]


def _words(reply: str, count: int) -> tuple[str, list[str]]:
    """Return the words of the last lines, in small letters, without signs around them."""
    before, lines = _lines(reply, count)
    return before, [line.rpartition(":")[2].strip(" .!*\"'`").lower() for line in lines]


def _spelled(word: str, kind: Kind) -> str:
    """Return a word as the kind of answer has it, which may be in capitals."""
    return next((own.text for own in kind.options if own.text.lower() == word), word)


def _tagged(reply: str, name: str) -> Any:
    """Return what stands between a criterion's tags."""
    tag = re.escape(name)
    found = set(re.findall(rf"<{tag}>\s*([^<>]*?)\s*</{tag}>", reply))
    if len(found) != 1 or reply.count(f"<{name}>") != reply.count(f"</{name}>"):
        raise ValueError(f"expected one answer in <{name}>, found {len(found)}")
    (text,) = found
    return json.loads(text) if _NUMBER.fullmatch(text) else text


_NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?")
"""A number of JSON that no kind of answer is too long for."""


def _start(reply: str) -> str:
    text = " ".join(reply.split())
    return repr(text[:80] + ("…" if len(text) > 80 else ""))
