"""YAML that users write: configuration, presets, rubrics and protocols, all read here.

Keys are texts, as in JSON. A key twice in a mapping is an error, and so is a file that is large,
deep, or whose aliases make it so.
"""

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from lockstep.errors import LockstepError

MAX_BYTES = 2**18
"""Bytes of a file."""

MAX_CHARACTERS = 2**20
"""Characters of a file's values once each alias is replaced by what it stands for."""

MAX_DEPTH = 50
"""Values inside one another."""

MAX_DIGITS = 100
"""Characters of a number or a date; Python needs a time that grows with their square."""

TEXT = "tag:yaml.org,2002:str"


def read_yaml(path: Path, kind: type[LockstepError]) -> Any:
    """Return the value of a file.

    Args:
        kind: class of errors.

    Raises:
        LockstepError: of that kind, if it is no such YAML.
        OSError: if it cannot be read.
    """
    return parse_yaml(_text(Path(path), kind), str(path), kind)


def parse_yaml(text: str, where: str, kind: type[LockstepError], none: bool = False) -> Any:
    """Return the value of a text.

    Args:
        where: what to call it in messages.
        kind: class of errors.
        none: whether a plain `None` is null.

    Raises:
        LockstepError: of that kind, if it is no such YAML.
    """
    try:
        loader = (_PythonLoader if none else _Loader)(text)
        node = _composed(loader)
        return None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise kind(f"{where}: {_reason(error)}") from None


def check_file(path: Path, kind: type[LockstepError]) -> None:
    """Refuse a file of keys and values that another program will read, as `read_yaml` would.

    Raises:
        LockstepError: of that kind.
        OSError: if it cannot be read.
    """
    text = _text(Path(path), kind)
    if _is_json(text):
        # YAML takes no tabs between values; in JSON none can be inside them
        text = text.replace("\t", " ")
    try:
        node = _composed(_Loader(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise kind(f"{path}: {_reason(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        found = "an empty file" if node is None else "none at its top"
        raise kind(f"{path}: expected keys and values, such as 'results: out', found {found}")


def parse_entry(entry: str, kind: type[LockstepError]) -> dict[str, Any]:
    """Return what one `key=value` of the command line gives, the value read as in a file.

    A value that is no YAML is a text. `None` is null, as Snakemake's profiles write it.

    Raises:
        LockstepError: of that kind, for a key twice and the like.
    """
    key, sign, text = entry.partition("=")
    if not sign or not KEY.fullmatch(key):
        outer, dot, inner = key.partition(".")
        nested = f"; {outer}='{{{inner}: {text}}}' gives a nested value" if sign and dot else ""
        file = ", and a file stands after --configfile" if "/" in entry and not sign else ""
        raise kind(f"--config: expected KEY=VALUE{file}, found {entry[:80]!r}{nested}")
    # quotes around all of it are the shell's
    inner = text.strip("'\"")
    text = inner if inner.startswith(("{", "[")) else text
    try:
        yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return {key: inner}
    return {key: parse_yaml(text, f"--config {key}", kind, none=True)}


KEY = re.compile(r"[a-zA-Z_][\w-]*\w")
"""A key of the command line, as Snakemake takes it."""


class _Broken(ValueError):
    """What is wrong with a text."""


class _Loader(yaml.SafeLoader):
    """A loader that leaves keys the texts that they are."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep) for key, value in node.value}


class _PythonLoader(_Loader):
    """A loader that takes Python's null too."""


_PythonLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^None$"), ["N"])


def _text(path: Path, kind: type[LockstepError]) -> str:
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise kind(f"{path}: expected at most {MAX_BYTES:,} bytes, found more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise kind(f"{path}: expected UTF-8, found another encoding") from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _composed(loader: yaml.SafeLoader) -> yaml.Node | None:
    node = loader.get_single_node()
    if node is not None:
        _check(node, 1, {})
    return node


def _check(node: yaml.Node, depth: int, sizes: dict[int, int | None]) -> int:
    """Return the characters of a node with all that its aliases stand for.

    Args:
        sizes: of the nodes so far, by their `id`; None of those that this one is in.

    Raises:
        _Broken: for a key twice, and beyond the limits.
    """
    if depth > MAX_DEPTH:
        raise _Broken(f"{_line(node)}: found more than {MAX_DEPTH} values inside one another")
    if id(node) in sizes:
        if (known := sizes[id(node)]) is None:
            raise _Broken(f"{_line(node)}: found a value that holds itself")
        return known
    sizes[id(node)] = None
    size = 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag != TEXT and len(node.value) > MAX_DIGITS:
            raise _Broken(f"{_line(node)}: found a number of {len(node.value):,} characters")
        if half := re.search("[\ud800-\udfff]", node.value):
            raise _Broken(
                f"{_line(node)}: expected a text, found U+{ord(half[0]):04X}, half of a character"
            )
        size += len(node.value)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            size += _check(part, depth + 1, sizes)
    if size > MAX_CHARACTERS:
        raise _Broken(
            f"{_line(node)}: found aliases (*name) that stand for more than "
            f"{MAX_CHARACTERS:,} characters"
        )
    sizes[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, str] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Broken(f"{_line(key)}: expected a text as a key, found a list or mapping")
        if key.value in lines:
            raise _Broken(
                f"{_line(key)}: expected each key once, found {key.value!r:.60} twice (first in "
                f"{lines[key.value]})"
            )
        lines[key.value] = _line(key)


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


PLAIN = {
    "'\\t' that cannot start": "expected blanks, found a tab",
    "mapping values are not allowed": "expected an indentation that fits the line above, or one "
    "colon in a line, found another",
    "expected <block end>": "expected an indentation that fits the lines above, found another",
}
"""Sentences for what happens to people who write YAML, by the words of the library."""


def _reason(error: Exception) -> str:
    """Return in one sentence what is wrong with a text."""
    if isinstance(error, RecursionError):
        return f"found more than {MAX_DEPTH} values inside one another"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = next((own for how, own in PLAIN.items() if how in str(error.problem)), None)
        return f"line {error.problem_mark.line + 1}: {problem or error.problem}"
    return " ".join(str(error).split())
