"""Counts and sums that several processes keep in one file, and that outlive each of them."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lockstep.errors import DamagedError

WIDTH = 20
"""Characters of a number, so that new sums take the place of the old ones."""


def count(path: Path, most: int | None) -> bool:
    """Add one to a count, unless it has come to its most; tell whether it was added.

    The file holds as many bytes as were counted.
    """
    with _opened(path, os.O_WRONLY | os.O_APPEND) as file:
        if most is not None and os.fstat(file).st_size >= most:
            return False
        os.write(file, b".")
        return True


def counted(path: Path) -> int:
    """Return a count; 0 where nothing was counted."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def claim(path: Path, amounts: Sequence[int], fits: Callable[[Sequence[int]], bool]) -> bool:
    """Add amounts to sums, unless `fits` refuses what they would be; tell whether they were added.

    What was claimed and not used is given back by negative amounts.

    Raises:
        DamagedError: if the file holds something else.
    """
    with _opened(path, os.O_RDWR) as file:
        sums = [a + b for a, b in zip(_sums(path, file, len(amounts)), amounts, strict=True)]
        if not fits(sums):
            return False
        os.pwrite(file, "".join(f"{n:{WIDTH}}\n" for n in sums).encode(), 0)
        return True


def claimed(path: Path, number: int) -> list[int]:
    """Return sums; each is 0 where nothing was claimed.

    Raises:
        DamagedError: if the file holds something else.
    """
    try:
        with open(path, "rb") as file:
            return _sums(path, file.fileno(), number)
    except FileNotFoundError:
        return [0] * number


@contextmanager
def shared(path: Path, alone: bool = False) -> Iterator[None]:
    """Hold a file together with others, or wait until nobody else holds it.

    The kernel lets go of it when a process dies.
    """
    with _opened(path, os.O_RDONLY, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        yield


@contextmanager
def _opened(path: Path, flags: int, lock: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Yield a file that is locked meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(file, lock)
        yield file
    finally:
        os.close(file)


def _sums(path: Path, file: int, number: int) -> list[int]:
    lines = os.pread(file, number * (WIDTH + 1) + 1, 0).split(b"\n")
    if lines == [b""]:
        return [0] * number
    try:
        *sums, rest = lines
        if rest or len(sums) != number:
            raise ValueError
        return list(map(int, sums))
    except ValueError:
        raise DamagedError(
            f"{path}: expected {number} numbers, each in a line, found something else; delete the "
            "file to count from 0"
        ) from None
