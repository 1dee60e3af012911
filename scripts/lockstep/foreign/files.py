"""Files of others: found whatever system wrote their names, and read without waiting.

A name that is not there as it is given is looked for by the rule of `ids.same_id`: in another
Unicode form (as macOS writes it), in another case, or in GBK (as Chinese systems write it).
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from lockstep.errors import SampleError
from lockstep.foreign.ids import same_id

MAX_FILE = 96 * 2**20
"""Bytes of one image file."""

RECENT = 2.0
"""Seconds in which a folder's time may stay as it is although a file is added."""


def read_file(path: Path, name: str, most: int = MAX_FILE) -> bytes:
    """Return the contents of a file.

    Args:
        name: what messages call it.

    Raises:
        SampleError: if it is none, such as a pipe that nobody writes to, or too large.
        OSError: if it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise SampleError(f"found {name[:100]!r}, which is no file")
        if status.st_size > most:
            raise SampleError(
                f"expected up to {most:,} bytes in {name[:100]!r}, found {status.st_size:,}"
            )
        return file.read(most)


def find_file(folder: Path, sample_id: str, suffixes: Sequence[str]) -> Path | None:
    """Return the file of a sample: its id and one of some suffixes, in lower or upper case.

    Raises:
        SampleError: if there are several.
    """
    listing = _listing(folder, tuple(suffixes))
    found = listing.exact.get(sample_id) or listing.alike.get(same_id(sample_id), [])
    if len(found) > 1:
        raise SampleError(
            f"expected one file of sample {sample_id!r} in {folder}, found {' and '.join(found)}"
        )
    return folder / found[0] if found else None


def spelled(name: bytes) -> str:
    """Return a file's name as text: in UTF-8, else in GBK, else what can be read of it."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name.decode(errors="replace")


def same_path(path: str | PurePosixPath) -> tuple[str, ...]:
    """Return what is equal of paths whose names may be mixed up."""
    return tuple(map(same_id, PurePosixPath(path).parts))


class _Listing:
    """Names of a folder's files with some suffixes, by what is before the suffix."""

    def __init__(self, names: Iterable[str], suffixes: Sequence[str]) -> None:
        self.exact: dict[str, list[str]] = {}
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes:
                self.exact.setdefault(stem, []).append(name)

    @cached_property
    def alike(self) -> Mapping[str, list[str]]:
        """By the form in which names that may be mixed up are the same."""
        found: dict[str, list[str]] = {}
        for stem, names in self.exact.items():
            found.setdefault(same_id(spelled(os.fsencode(stem))), []).extend(names)
        return found


_known: dict[tuple[Path, tuple[str, ...]], tuple[int, float, _Listing]] = {}
"""By folder and suffixes: the folder's time, when it was listed, and what was found."""


def _listing(folder: Path, suffixes: tuple[str, ...]) -> _Listing:
    """Return a folder's listing, made anew when a file may have come since the last one."""
    try:
        changed = os.stat(folder).st_mtime_ns
        known = _known.get((folder, suffixes))
        if known is None or changed != known[0] or known[1] - changed / 1e9 < RECENT:
            now = time.time()
            known = changed, now, _Listing(os.listdir(folder), suffixes)
            _known[folder, suffixes] = known
        return known[2]
    except OSError:
        return _Listing([], suffixes)
