"""One sentence for each mistake in a configuration."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from lockstep.config.backends import Backends
from lockstep.config.section import Section
from lockstep.editors import rewriting
from lockstep.errors import suggest

PLAIN = {
    "a valid string": "a text (in quotes)",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    **dict.fromkeys(("a valid list", "a valid array", "a valid tuple"), "a list"),
    **dict.fromkeys(("a valid dictionary", "an object"), "keys and values"),
}
"""Names of kinds of values for those who do not program, by pydantic's."""

OWN = ("call", "request", "arguments")
"""Keys of a section under which a model's own arguments stand."""


def sentences(errors: list[dict[str, Any]], root: type[Section], kinds: Backends) -> list[str]:
    """Return one sentence per place; a union's arms report theirs separately.

    Args:
        errors: as pydantic lists them.
        root: the section that was validated.
    """
    places: dict[str, list[dict[str, Any]]] = {}
    for error in errors:
        places.setdefault(_place(error["loc"], kinds), []).append(error)
    said = []
    for where, found in places.items():
        deepest = max(len(error["loc"]) for error in found)
        found = [error for error in found if len(error["loc"]) == deepest]
        said.append(_sentence(where, found, root, kinds))
    return said


def _place(location: Sequence[Any], kinds: Backends) -> str:
    where = ""
    for number, step in enumerate(location):
        if step in _known(location[:number], kinds):
            continue
        # the arms of a union are pydantic's names, not the user's keys
        if isinstance(step, str) and not step.isidentifier():
            break
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else step
    return where


def _known(location: Sequence[Any], kinds: Backends) -> Mapping[str, type[Section]]:
    """Return the kinds of an editor, of a rewriter or of a judge, by where it stands."""
    match list(location):
        case [*_, "judge"] | ["judges", int()]:
            return kinds.judges
        case [*_, "rewrite"]:
            return rewriting.KINDS
        case [*_, int()]:
            return kinds.editors
    return {}


def _sentence(
    where: str, errors: list[dict[str, Any]], root: type[Section], kinds: Backends
) -> str:
    error = errors[0]
    found = json.dumps(error.get("input"), ensure_ascii=False, default=str)
    found = found if len(found) <= 80 else found[:77] + "…"
    known = list(_known(error["loc"], kinds))
    listed = ", ".join(known)
    match error["type"]:
        case "extra_forbidden":
            fields = _fields_at(error["loc"][:-1], root, kinds)
            close = suggest(str(error["loc"][-1]), fields)
            own = "".join(f"; arguments of the model go under {k}" for k in OWN if k in fields)
            key = str(error["loc"][-1])
            # as in `{limit:2}`
            glued = f" {key!r}, which has no blank after its colon" if ":" in key else ""
            found = f"found an unknown key{glued}{close}"
            return f"{where}: {found}; expected one of {', '.join(fields)}{own}"
        case "missing":
            return f"{where}: expected a value, found nothing"
        case "union_tag_not_found":
            return f"{where}.type: found nothing; expected one of {listed}"
        case "union_tag_invalid":
            tag = error["ctx"]["tag"]
            close = suggest(tag, known)
            return f"{where}.type: found {tag!r}{close}; expected one of {listed}"
        case "string_pattern_mismatch" if where == "results":
            return f"{where}: expected a path without braces, found {found}"
        case "string_pattern_mismatch" if where.endswith(".api_key_variable"):
            # it may be the key itself, so it is not shown
            return f"{where}: expected a variable's name, in capitals, found something else"
        case "string_pattern_mismatch":
            expected = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
            return f"{where}: expected {expected}, found {found}"
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{where}: {text}" if where else text
        case _:
            messages = (re.split(", (?:got|unable) ", e["msg"])[0] for e in errors)
            words = r"^\w+ should (be|have) | after validation.*"
            several = dict.fromkeys(re.sub(words, "", text) for text in messages)
            several = dict.fromkeys(PLAIN.get(text, text) for text in several)
            return f"{where}: expected {' or '.join(several)}, found {found}"


def _fields_at(location: Sequence[Any], root: type[Section], kinds: Backends) -> list[str]:
    """Return the keys that the section at an error's location accepts."""
    section: Any = root
    for number, step in enumerate(location):
        known = _known(location[:number], kinds)
        if step in known:
            section = known[step]
        elif step in section.model_fields:
            section = section_in(section.model_fields[step].annotation)
    return list(section.model_fields)


def section_in(annotation: Any) -> Any:
    """Return the first section that a field's annotation names; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = map(section_in, get_args(annotation))
    return next((section for section in found if section is not None), None)
