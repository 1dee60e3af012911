"""A secret is taken out of texts that may hold it, however it is spelt there.

A server may give its key back, and need not do so letter by letter. So a text is decoded in steps,
and in each the secret is looked for; what stood for it in the text as it came is replaced.
"""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

SHOWN = "[key]"
"""What stands in the secret's place."""

WITHHELD = "[withheld: too many escapes within each other]"
"""What stands in place of a text that cannot be decoded in `STEPS` steps."""

STEPS = 8
"""Most times that a text is decoded."""

LONG = 8
"""Characters from which on a secret is looked for split and encoded; a shorter one is in many
texts by chance."""

ESCAPE = re.compile(
    r"\\(?:u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))"
    r"|%u([0-9a-fA-F]{4})|%([0-9a-fA-F]{2})"
    r"|\\([0-3][0-7]{2})"
    r"|\\(.)"
    r"|(&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?)",
    re.DOTALL,
)
"""One character, as JSON, programming languages, addresses and HTML spell it."""

BETWEEN = r"(?:\x1b\[[0-9;]*[A-Za-z]|[\s\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2060\ufeff\ufffd])*"
"""What is not seen between two characters: white space, control characters, colours."""


def redact(text: str, secret: str | None) -> str:
    """Replace a secret in a text wherever what stands there can be decoded to it.

    Found are the secret itself, in base64 and in hexadecimal digits; with escapes of JSON, HTML
    and addresses, also within each other; and split by what is not seen. A secret of fewer than
    `LONG` characters is found unsplit and with escapes only.
    """
    if not secret:
        return text
    pattern, spans = _pattern(secret), []
    for level, at in _levels(text):
        if level is None:
            return WITHHELD
        spans += [(at[match.start()], at[match.end()]) for match in pattern.finditer(level)]
    parts, last = [], 0
    for begin, end in sorted(spans):
        if begin >= last:
            parts += [text[last:begin], SHOWN]
        last = max(last, end)
    return "".join([*parts, text[last:]])


@lru_cache
def _pattern(secret: str) -> re.Pattern[str]:
    """Return what finds a secret in a text that is decoded."""
    # what else in a text is decoded, is decoded in the secret as well
    spelt = {level for level, _ in _levels(secret) if level}
    if len(secret) < LONG:
        return re.compile("|".join(map(re.escape, spelt)))
    spelt |= set(_base64(secret.encode()))
    forms = [BETWEEN.join(map(re.escape, form)) for form in sorted(spelt)]
    return re.compile("|".join([*forms, f"(?i:{BETWEEN.join(secret.encode().hex())})"]))


def _base64(secret: bytes) -> Iterator[str]:
    """Yield the characters that hold nothing but the secret, wherever in the data it begins."""
    for before in range(3):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            data = bytes(before) + secret
            first, last = -(-before * 8 // 6), len(data) * 8 // 6
            yield alphabet(data).decode()[first:last]


def _levels(text: str) -> Iterator[tuple[str | None, Sequence[int]]]:
    """Yield a text as it is and decoded ever further; None if that comes to no end.

    With each comes where its characters, and its end, begin in the text as it is.
    """
    at: Sequence[int] = range(len(text) + 1)
    for _ in range(STEPS):
        yield text, at
        parts: list[str] = []
        begins: list[int] = []
        last = 0
        for match in ESCAPE.finditer(text):
            character = _character(match)
            parts += [text[last : match.start()], character]
            begins += at[last : match.start()]
            begins += [at[match.start()]] * len(character)
            last = match.end()
        decoded = "".join([*parts, text[last:]])
        if decoded == text:
            return
        text, at = decoded, [*begins, *at[last:]]
    yield None, at


def _character(match: re.Match[str]) -> str:
    """Return what an escape stands for; itself if it is none."""
    *hexadecimal, octal, plain, entity = match.groups()
    number = next((int(digits, 16) for digits in hexadecimal if digits), None)
    if octal:
        number = int(octal, 8)
    if number is not None:
        return chr(number) if number <= 0x10FFFF else "\ufffd"
    if plain:
        return " " if plain in "nrtbfv0" else plain
    return html.unescape(entity)
