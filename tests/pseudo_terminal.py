"""A pseudo-terminal with a screen, in which a program runs as in a person's window."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyte

QUIET = 0.03
"""Seconds without output after which a picture is whole."""


class Picture(NamedTuple):
    """What the screen shows at a moment."""

    lines: list[str]
    """A character a column: behind one of double width stands a NUL."""
    cursor: tuple[int, int]
    """Line and column."""
    hidden: bool
    """Whether the cursor is."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines).replace("\0", "")


class Terminal:
    """A program in a terminal of its own; its pictures come from `pictures`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int = 80):
        self.screen = pyte.HistoryScreen(columns, 30, history=100_000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.status: int | None = None
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            # the child: a window has its size before anything runs in it
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
            os.execvpe(command[0], list(command), dict(environment))

    def resize(self, columns: int) -> None:
        if self.status is not None:
            return
        size = struct.pack("HHHH", 30, columns, 0, 0)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, size)
        self.screen.resize(30, columns)

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def pictures(self, seconds: float) -> Iterator[Picture]:
        """Yield a picture whenever it is whole, and the last one when the program has ended."""
        until, changed = time.monotonic() + seconds, False
        while True:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"still running after {seconds} s:\n{self._picture().text}")
            if not select.select([self._descriptor], [], [], QUIET)[0]:
                if changed:
                    changed = False
                    yield self._picture()
                continue
            try:
                data = os.read(self._descriptor, 2**16)
            except OSError:
                data = b""
            if not data:
                break
            changed = True
            self.raw += data
            self._stream.feed(data)
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        os.close(self._descriptor)
        yield self._picture()

    def _picture(self) -> Picture:
        rows = range(self.screen.lines)
        columns = range(self.screen.columns)
        cells = ([self.screen.buffer[y][x].data or "\0" for x in columns] for y in rows)
        cursor = self.screen.cursor
        return Picture(
            ["".join(row).rstrip() for row in cells], (cursor.y, cursor.x), cursor.hidden
        )
