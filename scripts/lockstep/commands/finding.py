"""The result of a check, and its lines on the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from lockstep.foreign import media


class Finding(NamedTuple):
    """The outcome of one check, or of one part of it."""

    state: Literal["ok", "warning", "error"]
    name: str
    """Of the check."""
    text: str


def errors(name: str, error: Exception) -> Iterator[Finding]:
    """Yield a finding for each sentence of an error."""
    yield from (Finding("error", name, line) for line in str(error).splitlines())


def line(found: Finding, columns: int | None) -> str:
    """Return a finding for the terminal.

    Args:
        columns: of the terminal; None keeps one line, for files and other programs.
    """
    head = f"{found.state:7}  {found.name:13}  "
    text = media.line(found.text)
    if columns is None:
        return head + text
    width = max(40, columns - 1)
    return textwrap.fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(found: Sequence[Finding]) -> str:
    """Return how many checks went well and how many did not."""
    counts = {state: sum(own.state == state for own in found) for state in ("warning", "error")}
    bad = (f"{n or 'no'} {state}{'s' * (n > 1)}" for state, n in counts.items())
    return f"{sum(own.state == 'ok' for own in found)} ok, {', '.join(bad)}"
