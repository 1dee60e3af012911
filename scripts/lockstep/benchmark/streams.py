"""JSON, CSV and lines of text as streams: one value in memory at a time, whatever the file holds.

A file comes from the internet. UTF-8 and UTF-16 with or without a byte-order mark are read; what
is cut off, nested too deep or too large for one sample is an error with a sentence. A key that an
object has twice is noted in its `Fields`, so that the sample can be rejected alone.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lockstep.errors import BenchmarkError, SampleError, counted

MAX_VALUE = 128 * 2**20
"""Characters of one sample in a text file: 96 MB of an image as base64."""

CHUNK = 64 * 2**10
"""Bytes read at a time, at least."""

MARGIN = 16
"""Characters that a token other than a text may lack at the end of what was read so far."""

MAX_DIGITS = 40
"""A number of more digits is none that means anything here."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A number as programs write it; Python would also take `1_0`, `nan` and digits of any script."""


class Fields(dict[str, Any]):
    """A JSON object."""

    twice: str | None = None
    """A key that it, or an object in it, has more than once."""


def values(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Yield the elements of a JSON list, or the members of a JSON object, in order.

    Yields:
        the member's key (None in a list) and its value; objects are `Fields`.

    Raises:
        BenchmarkError: at the first place that is no valid JSON.
    """
    count = 0
    with open(path, "rb") as file:
        text = _Text(file)
        try:
            kind = text.sign("[{")
            end = "]" if kind == "[" else "}"
            while (sign := text.sign(f"{end}," if count else f"{end}any")) != end:
                if sign == ",":
                    text.begin()
                key = None
                if kind == "{":
                    key = text.value()
                    if not isinstance(key, str):
                        raise _Broken(f"expected a key in quotes, found {key!r:.60}")
                    text.sign(":")
                yield key, text.value()
                count += 1
            text.end()
        except UnicodeError:
            raise _no_text(path) from None
        except (_Broken, json.JSONDecodeError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
            raise BenchmarkError(
                f"{path}: found broken JSON after {counted(count, 'item')} ({reason})"
            ) from None


def lines(path: Path) -> Iterator[str]:
    """Yield a text file's lines with their ends.

    Raises:
        BenchmarkError: if a line is too long for one sample, or is not text.
    """
    number = 0
    with open(path, "rb") as binary:
        file = io.TextIOWrapper(binary, _encoding(binary), newline="")
        try:
            while line := file.readline(MAX_VALUE + 1):
                if len(line) > MAX_VALUE:
                    raise _Broken(_too_large())
                yield line if number else line.removeprefix("\ufeff")
                number += 1
        except UnicodeError:
            raise _no_text(path) from None
        except _Broken as error:
            raise BenchmarkError(f"{path}: found a broken line {number + 1} ({error})") from None


def loads(text: str) -> Any:
    """Return the value of a whole JSON text.

    Raises:
        ValueError: if it is none.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number of each line that is not empty, and its value.

    In place of a value that is none stands a SampleError that says so.

    Raises:
        BenchmarkError: as `lines`.
    """
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            yield number, loads(line)
        except ValueError as error:
            yield number, SampleError(f"{path}: line {number}: found a broken line ({error})")


SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""Signs that some spreadsheets write between cells in place of commas, and their names."""


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str] | SampleError]]:
    """Yield the number of the line at which each row ends, and its cells by their column.

    In place of a row that has more or fewer cells than there are columns stands a SampleError.
    Columns without a name, with which spreadsheets end their lines, are passed over.

    Raises:
        BenchmarkError: as `lines`, if a column is there twice, if cells are separated by anything
            but commas, and if quotes do not end.
    """
    csv.field_size_limit(MAX_VALUE)
    reader = csv.reader(lines(path), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        named = list(filter(None, header))
        for sign, name in SEPARATORS.items():
            if len(named) == 1 and sign in named[0]:
                raise BenchmarkError(f"{path}: expected commas between the cells, found {name}")
        if twice := next((name for name in named if named.count(name) > 1), None):
            raise BenchmarkError(f"{path}: expected each column once, found {twice!r} twice")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                found = f"expected {counted(len(header), 'cell')}, found {len(cells)}"
                if len(cells) > len(header):
                    found += " (a text with a comma stands in double quotes)"
                yield reader.line_num, SampleError(f"{path}: line {reader.line_num}: {found}")
                continue
            row = {name: cell for name, cell in zip(header, cells, strict=True) if name}
            yield reader.line_num, row
    except csv.Error as error:
        raise BenchmarkError(f"{path}: found a broken line {reader.line_num} ({error})") from None


def plain_number(text: str) -> int | float:
    """Return the number that a text is, in ASCII digits; blanks around it are passed over.

    Raises:
        ValueError: if it is none.
    """
    digits = text.strip(" \t")
    if not NUMBER.fullmatch(digits):
        raise ValueError(f"expected a number, found {text!r:.60}")
    return _integer(digits) if digits.lstrip("+-").isdigit() else float(digits)


SOLID = re.compile(r"[^ \t\n\r]")
"""What is no white space in JSON."""


class _Broken(ValueError):
    """What is wrong with a file."""


def _no_text(path: Path) -> BenchmarkError:
    hint = " (in Excel, save it as CSV UTF-8)" if path.suffix.lower() == ".csv" else ""
    return BenchmarkError(f"{path}: expected text in UTF-8 or UTF-16, found another encoding{hint}")


def _too_large() -> str:
    return f"a sample larger than {MAX_VALUE:,} characters"


def _pairs(pairs: list[tuple[str, Any]]) -> Fields:
    fields = Fields(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                fields.twice = key
                break
            seen.add(key)
    for value in fields.values():
        for inner in value if isinstance(value, list) else (value,):
            if isinstance(inner, Fields):
                fields.twice = fields.twice or inner.twice
    return fields


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer)


class _Text:
    """What has been read of a file and not yet been used."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(_encoding(file))()
        self._text = ""
        self._place = 0
        self._begun = False
        self._done = False
        self._used = 0
        """Length of the last value: the next one is read in one go."""

    def _more(self) -> None:
        """Read on; what was used is let go."""
        rest = self._text[self._place :]
        if len(rest) > MAX_VALUE:
            raise _Broken(_too_large())
        # what is cut off is searched anew, and the next value may be somewhat longer than the last
        data = self._file.read(max(CHUNK, len(rest), self._used * 5 // 4 - len(rest)))
        self._done = not data
        text = self._decoder.decode(data, final=self._done)
        if text and not self._begun:
            text, self._begun = text.removeprefix("\ufeff"), True
        self._text, self._place = rest + text, 0

    def begin(self) -> None:
        """Go to the next character that is no white space."""
        while True:
            found = SOLID.search(self._text, self._place)
            self._place = len(self._text) if found is None else found.start()
            if found is not None or self._done:
                return
            self._more()

    def sign(self, expected: str) -> str:
        """Take one of the expected signs; "any" at the end accepts, and leaves, any other."""
        self.begin()
        free = expected.endswith("any")
        found = self._text[self._place : self._place + 1]
        if found and found in expected.removesuffix("any"):
            self._place += 1
            return found
        if free and found:
            return found
        what = repr(found) if found else "the end of the file"
        shown = " or ".join(repr(sign) for sign in expected.removesuffix("any"))
        raise _Broken(f"expected {shown}, found {what}")

    def value(self) -> Any:
        """Take one value."""
        self.begin()
        if len(self._text) - self._place < self._used and not self._done:
            self._more()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
                if end < len(self._text) or self._done:
                    self._used = end - self._place
                    self._place = end
                    return value
            except json.JSONDecodeError as error:
                cut_off = error.pos >= len(self._text) - MARGIN or "Unterminated" in error.msg
                if self._done or not cut_off:
                    raise _Broken(error.msg) from None
            self._more()

    def end(self) -> None:
        """Check that nothing follows."""
        self.begin()
        if self._place < len(self._text):
            raise _Broken(f"found {self._text[self._place : self._place + 20]!r} behind its end")


def _encoding(file: IO[bytes]) -> str:
    """Return a file's encoding by its first bytes, as RFC 4627 tells it."""
    start = file.read(4)
    file.seek(0)
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if start[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if start[:1] == b"\0" else "utf-8"
