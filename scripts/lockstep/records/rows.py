"""Sequences that lie on disk, so that a job's memory does not grow with the number of samples."""

import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import IO, Generic, TypeVar, overload

T = TypeVar("T")


class Rows(Sequence[T], Generic[T]):
    """What lies in a file one after the other; each is read anew whenever it is asked for.

    In memory each takes 8 bytes. Several threads may ask at a time.

    Args:
        file: may be closed; what it holds stays there as long as this does.
        ends: where each ends in the file; the first begins at 0.
        read: returns what the bytes of the n-th, from 0, hold.
    """

    def __init__(
        self, file: IO[bytes], ends: Iterable[int], read: Callable[[int, bytes], T]
    ) -> None:
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self._ends = array("Q", ends)
        self._read = read

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[each] for each in range(len(self))[place]]
        place = range(len(self))[place]
        start = self._ends[place - 1] if place else 0
        return self._read(place, os.pread(self._descriptor, self._ends[place] - start, start))


def lines(path: str | os.PathLike[str], read: Callable[[int, bytes], T]) -> Rows[T]:
    """Return what the lines of a file hold, each read when it is asked for."""
    with open(path, "rb") as file:
        return Rows(file, accumulate(map(len, file)), read)


def aside(values: Iterable[T]) -> Rows[T]:
    """Return values that are kept in a temporary file, which nobody else sees."""
    with tempfile.TemporaryFile() as file:
        # nobody reads before the last is written
        ends = accumulate(file.write(pickle.dumps(value)) for value in values)
        kept = Rows(file, ends, lambda _, data: pickle.loads(data))
        file.flush()
        return kept
