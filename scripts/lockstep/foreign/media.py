r"""Texts of others, made safe for what shows them; one place for each medium.

A benchmark, a reply, a server or a results folder of others decides texts that end in reports,
tables, terminals and logs. Here they become texts: no markup, no formula, no order to a terminal.

Characters that nobody sees, or that move what is seen around them, are written as `\u001b`:
control characters but for tab and newline, line separators, and bidirectional embeddings,
overrides and isolates. Marks of direction and joiners, which texts in many scripts need, stay.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    import pandas as pd

UNSEEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Characters that are written as escapes, for a regular expression."""

_UNSEEN = re.compile(f"[{UNSEEN}]")

_HALVES = re.compile("[\ud800-\udfff]")

_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")

_FORMULA = re.compile("'*[=+@\t\n\uff0b\uff0d\uff1d\uff20-]")
"""A text that a spreadsheet computes, also in full-width characters; or one that looks marked."""

_MARKED = re.compile(f"'{_FORMULA.pattern}")

_MOVES = re.compile("\n*(\x1b\\[A)*")
"""How a progress bar goes to its line and back."""

_BAR = re.compile(r"\A(\r?)(.*?)(\r?)\Z", re.DOTALL)

_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;"})

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
)


def visible(text: str) -> str:
    """Return a text for a terminal, log or page: what nobody sees in it is written as escapes."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def json(text: str) -> str:
    """Return a JSON text that says the same, with what nobody sees as escapes.

    Halves of surrogate pairs, which no text may hold, become U+FFFD.
    """
    # neither stands outside of a string
    return visible(_HALVES.sub("\ufffd", text))


def line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(visible(text).split())


def entry(text: str) -> str:
    """Return a text for a terminal or log, in which no line of it begins like one of ours."""
    return re.sub(r"\n(?=\S)", "\n  ", visible(text))


def terminal(text: str) -> str:
    """Return what one write gives a terminal: as `entry`, and a progress bar may move in it."""
    if _MOVES.fullmatch(text):
        return text
    return _BAR.sub(lambda found: f"{found[1]}{entry(found[2])}{found[3]}", text)


def markdown(text: str) -> Markup:
    """Return a text as one line of Markdown or one cell of a table, without markup.

    What is marked as Markdown stays.
    """
    if isinstance(text, Markup):
        return text
    flat = line(text).translate(_HTML)
    return Markup(_MARKDOWN.sub(r"\\\g<0>", flat))


def fenced(text: str, language: str) -> Markup:
    """Return a text as a block of code in Markdown, which nothing in the text ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{visible(text).rstrip()}\n{fence}")


def latex(text: str) -> str:
    """Return a text as one line of LaTeX, without commands."""
    return line(text).translate(_LATEX)


def html(value: Any) -> Any:
    """Return a value for an HTML template, which escapes texts by itself."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def script(value: Any) -> Any:
    """Return a value of JSON for a page that shows its texts as texts."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {key: script(inner) for key, inner in value.items()}
    return list(map(script, value)) if isinstance(value, list | tuple) else value


def cell(value: Any) -> Any:
    r"""Return a value for a CSV: a text that no spreadsheet takes for a formula, or a number.

    A text that begins with one of `= + - @`, tab or newline gets a `'` before it, and what nobody
    sees is written as escapes. `from_cell` returns the text as it was, but for halves of surrogate
    pairs, which become U+FFFD.
    """
    if not isinstance(value, str):
        return value
    # what looks like an escape of ours was none
    text = _ESCAPED.sub(lambda found: rf"\u005cu{found[1]}", _HALVES.sub("\ufffd", value))
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text that `cell` was given."""
    text = text[1:] if _MARKED.match(text) else text
    return _ESCAPED.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    hidden = _UNSEEN.match(character) and not _HALVES.match(character)
    return character if character == "\\" or hidden else found[0]


def cells(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose texts, and names of columns, are safe in a CSV; see `cell`."""
    texts = frame.select_dtypes(exclude="number").columns
    safe = frame.assign(**{name: frame[name].map(cell) for name in texts})
    return safe.rename(columns=cell)
