"""Prompts of a benchmark's authors, taken from their own files; nothing of a file is executed."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from lockstep.config.section import Written
from lockstep.errors import NO_UTF8, RubricError, SampleError, TemplateError
from lockstep.foreign.files import read_file
from lockstep.foreign.yaml_files import MAX_BYTES, parse_yaml
from lockstep.records import Sample

Told = Literal["instruction", "description", "rationale", "expected"]
Sign = Annotated[str, Field(min_length=1)]


class Prompts(Written):
    """Where the text of a call is, and what of the sample is put into it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """JSON, YAML, Python or any other text; relative to the rubric's folder."""
    key: str | tuple[str, ...] | dict[str, str | tuple[str, ...]] | None = None
    """Way to the text in a file that has several, with dots; several texts are joined by a new
    line; by category where each has its own; None takes the whole file."""
    replace: dict[Sign, str] = Field(default_factory=dict)
    """What stands in the text → the text in its place, as authors replace it."""
    placeholders: dict[Sign, Told] = Field(default_factory=dict)
    """What stands in the text → what of the sample takes its place."""
    text: str | dict[str, str] = ""
    """The text, as it was read from the file; by category where each has its own."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that have texts of their own."""
        return () if isinstance(self.text, str) else tuple(self.text)

    def rendered(self, sample: Sample) -> str:
        """Return the text for one sample; what is put in is not looked through again.

        Raises:
            TemplateError: if there is none for its category.
        """
        text = self.text if isinstance(self.text, str) else self.text.get(sample.category)
        if text is None:
            raise TemplateError(
                f"prompts: expected a key for the category {sample.category!r}, found those of "
                f"{', '.join(self.categories)}"
            )
        if not self.placeholders:
            return text
        signs = sorted(self.placeholders, key=len, reverse=True)
        return re.sub(
            "|".join(map(re.escape, signs)),
            lambda found: str(getattr(sample, self.placeholders[found[0]])),
            text,
        )


def filled_in(call: Mapping[str, Any], rubric: Path) -> dict[str, Any]:
    """Return a call of a rubric's file with the text of its prompts.

    Raises:
        RubricError: if there is none, or a placeholder is not in it.
    """
    prompts = call.get("prompts")
    if not isinstance(prompts, Mapping) or not isinstance(prompts.get("file"), str):
        return dict(call)
    where = f"{rubric}: prompts"
    if "text" in prompts:
        raise RubricError(f"{where}: expected a file, found a text beside it")
    path = rubric.parent / prompts["file"]
    key, values = prompts.get("key"), _values(path, where)

    def text(way: Any) -> str:
        ways = way if isinstance(way, list) else [way]
        found = "\n".join(_found(values, own, f"{where}: {path}") for own in ways)
        for sign, other in {**dict.fromkeys(placeholders), **replaced}.items():
            if sign not in found:
                raise RubricError(f"{where}: expected {sign!r} in the text of {path}, found none")
            found = found if other is None else found.replace(sign, str(other))
        return found

    replaced, placeholders = (prompts.get(name) or {} for name in ("replace", "placeholders"))
    ways = key.items() if isinstance(key, Mapping) else ()
    texts = {name: text(own) for name, own in ways} or text(key)
    return {**call, "prompts": {**prompts, "text": texts}}


def _values(path: Path, where: str) -> Any:
    """Return what a file holds: texts, or texts by name."""
    try:
        text = read_file(path, path.name, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise RubricError(f"{where}: expected the file {path}, found none") from None
    except (OSError, SampleError, UnicodeDecodeError) as error:
        why = NO_UTF8 if isinstance(error, UnicodeDecodeError) else error
        raise RubricError(f"{where}: expected a text in {path} ({why})") from None
    match path.suffix:
        case ".json" | ".yaml" | ".yml":
            return parse_yaml(text, str(path), RubricError)
        case ".py":
            try:
                return _constants(ast.parse(text).body)
            except (SyntaxError, ValueError, RecursionError) as error:
                raise RubricError(f"{where}: expected Python in {path} ({error})") from None
        case _:
            return text


def _found(values: Any, key: Any, where: str) -> str:
    """Return the text to which a key leads."""
    for name in str(key).split(".") if key is not None else ():
        several = isinstance(values, list)
        known = {str(n): own for n, own in enumerate(values)} if several else values
        if not isinstance(known, Mapping) or name not in known:
            names = ", ".join(map(str, known)) if isinstance(known, Mapping) else "no names"
            raise RubricError(f"{where}: key: expected one of {names:.200}, found {name!r}")
        values = known[name]
    if not isinstance(values, str) or not values.strip():
        raise RubricError(f"{where}: key: expected a text, found {type(values).__name__}")
    return values


def _constants(body: list[ast.stmt]) -> dict[str, Any]:
    """Return the constants of a Python text by name; those of a function or class below its own."""
    found: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = _constants(statement.body)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found |= dict.fromkeys(names, _constant(statement.value))
    return found


def _constant(node: ast.expr) -> Any:
    """Return a text, or texts by name or number; None of what is computed.

    A place of an f-string is written as it stands there, in braces.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [_constant(left), _constant(right)]
            return "".join(parts) if all(isinstance(part, str) for part in parts) else None
        case ast.JoinedStr(values=values):
            return "".join(str(_constant(value)) for value in values)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.Call(func=ast.Attribute(value=text, attr="strip"), args=[]):
            stripped = _constant(text)
            return stripped.strip() if isinstance(stripped, str) else None
        case ast.Dict(keys=keys, values=values):
            both = zip(keys, values, strict=True)
            return {k.value: _constant(v) for k, v in both if isinstance(k, ast.Constant)}
        case ast.List(elts=values) | ast.Tuple(elts=values):
            return [_constant(value) for value in values]
    return None
