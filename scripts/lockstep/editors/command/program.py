"""A program of the user's: started with its guard, asked one thing after the other, and heard."""

import contextlib
import json
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, cast

from lockstep import records
from lockstep.editors.command import guard
from lockstep.foreign import media

log = logging.getLogger(__name__)

MAX_LINE = 2**20
"""Bytes of a line that are looked at; of a longer one the last."""

SHOWN = 500
"""Characters of a line that the log shows."""

MAX_LINES = 200
"""Lines of an edit that the log shows."""

LAST = 3
"""Lines before its end that tell why a program did not start."""

BRACES = 20
"""Places of a line where an answer is looked for, behind a text that has no end of line."""

ENDING = 15.0
"""Seconds in which a program's guard ends all that the program has started."""

READY = 'a line {"ready": true}'
"""What a program says first."""

TOLD = ("ready", "id", "error")
"""Keys of which an answer has one; other JSON is a text like any other."""


class Lost(Exception):
    """The program has ended, or gives no answer; the message is a sentence."""


class _Diary:
    """What the program says beside its answers, for the log."""

    def __init__(self, name: str) -> None:
        self.last: deque[str] = deque(maxlen=LAST)
        self._name = name
        self._left = MAX_LINES

    def turn(self) -> None:
        """Begin with another edit."""
        self._left = MAX_LINES

    def add(self, text: str) -> None:
        text = media.line(text[: 2 * SHOWN])[:SHOWN]
        if not text:
            return
        self.last.append(text)
        self._left -= 1
        if self._left >= 0:
            log.info("%s says: %s", self._name, text)
        elif self._left == -1:
            log.info("%s says more than %d lines, the rest is left out", self._name, MAX_LINES)


class Program:
    """A running program, with all that it starts.

    Args:
        name: what the log calls it.
        command: it and its arguments.
        environment: variables beside those of this process.
        folder: where it runs.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], folder: str
    ) -> None:
        self.exchange = Path(tempfile.mkdtemp(prefix="exchange-", dir=records.host_folder()))
        """Folder of the files that are exchanged with it, which goes with it."""
        given = {
            "command": list(command),
            "environment": dict(environment),
            "folder": folder,
            "exchange": str(self.exchange),
        }
        reading, lifeline = os.pipe()
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, str(reading), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[reading],
            # Ctrl-C is for who asks it
            start_new_session=True,
        )
        os.close(reading)
        self._requests = cast(IO[bytes], process.stdin)
        os.set_blocking(self._requests.fileno(), False)
        self._asked: str | None = None
        """What it was asked last; None while it starts."""
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._diary = diary = _Diary(name)
        answers = self._answers

        def take(text: str) -> None:
            if (message := _message(text)) is None:
                diary.add(text)
            else:
                answers.put(message)

        def hear() -> None:
            _hear(said, take)
            answers.put(None)

        said, errors = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
        self._ears = [
            (threading.Thread(target=hear, name="answers", daemon=True), said),
            (threading.Thread(target=_hear, args=(errors, diary.add), daemon=True), errors),
        ]
        for ear, _ in self._ears:
            ear.start()
        self._let_go = weakref.finalize(self, _let_go, self._requests, lifeline)

    def ready(self, seconds: float) -> dict[str, Any]:
        """Return its first message, which says that it can be asked.

        Raises:
            Lost: if it says so not in time, or ends.
        """
        message = self._answer(time.monotonic() + seconds, seconds, READY)
        if message.get("ready") is not True:
            raise Lost(f"expected {READY}, found {_told(message)}")
        return message

    def ask(self, request: dict[str, Any], seconds: float) -> None:
        """Have it do something.

        Args:
            request: has an `id`, which its answer repeats.

        Raises:
            ValueError: if it says that it cannot, or answers something else.
            Lost: if it does not answer in time, or ends.
        """
        self._diary.turn()
        self._asked = str(request["id"])
        ends = time.monotonic() + seconds
        self._send(json.dumps(request).encode() + b"\n", ends)
        while True:
            answer = self._answer(ends, seconds, "an answer")
            # a terminal between the two repeats what is sent through it
            if answer.get("id") == request["id"] and answer != request:
                break
            self._diary.add(f"{json.dumps(answer)} (no answer to what was asked, passed over)")
        if answer.get("ok") is not True or "error" in answer:
            error = "" if _has_reason(answer) else 'expected "ok": true or an "error", found '
            raise ValueError(error + _told(answer))

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> int:
        """End it with all that it started, and return its guard's exit code."""
        self._let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING)
        for ear, stream in self._ears:
            ear.join(1)
            if not ear.is_alive():
                stream.close()
        # its guard has done so, unless somebody killed that
        shutil.rmtree(self.exchange, ignore_errors=True)
        return self._process.poll() or 0

    def _send(self, line: bytes, ends: float) -> None:
        handle = self._requests.fileno()
        # one that has ended, or does not read, is noticed when its answer is
        with contextlib.suppress(BrokenPipeError):
            while line and select.select([], [handle], [], max(0, ends - time.monotonic()))[1]:
                with contextlib.suppress(BlockingIOError):
                    line = line[os.write(handle, line) :]

    def _answer(self, ends: float, seconds: float, what: str) -> dict[str, Any]:
        while (left := ends - time.monotonic()) > 0:
            message = None
            try:
                message = self._answers.get(timeout=min(left, 1))
            except Empty:
                if not self.has_ended():
                    continue
            if message is None:
                raise Lost(f"expected {what}, found the program ended {self._how()}")
            return message
        raise Lost(f"expected {what} within {seconds:g} s, found none{self._said()}")

    def _how(self) -> str:
        code = self.end()
        named = {128 + number: number.name for number in signal.Signals}
        return f"with code {code}{f' ({named[code]})' if code in named else ''}{self._said()}"

    def _said(self) -> str:
        """Return the last that it said; once it edits, so that one fault reads alike each time."""
        if not self._diary.last:
            return ", and it said nothing"
        if self._asked is None:
            text = " / ".join(self._diary.last)
        else:
            name = rf"(?<!\w){re.escape(self._asked)}(?!\w)"
            text = re.sub(name, "(id)", self._diary.last[-1])
        text = text.replace(f"{self.exchange}{os.sep}", "")
        return f"; it said last: {text[-300:]}"


def _hear(stream: IO[bytes], take: Callable[[str], None]) -> None:
    """Pass each line of a stream on as a terminal shows it: of a progress bar how it ended."""
    rest = b""
    while data := os.read(stream.fileno(), 2**16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            take(_shown(line))
        rest = rest[-MAX_LINE:]
    take(_shown(rest))


def _shown(line: bytes) -> str:
    return line[-MAX_LINE:].rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def _message(text: str) -> dict[str, Any] | None:
    """Return the message that ends a line; None of any other text."""
    begin = text.find("{")
    for _ in range(BRACES):
        if begin < 0:
            break
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text[begin:])
            return found if any(key in found for key in TOLD) else None
        begin = text.find("{", begin + 1)
    return None


def _has_reason(message: Mapping[str, Any]) -> bool:
    return isinstance(error := message.get("error"), str) and bool(error.strip())


def _told(message: Mapping[str, Any]) -> str:
    """Return what a message says is wrong, or else the message itself."""
    if _has_reason(message):
        return media.line(message["error"])[:SHOWN]
    return media.line(json.dumps(message, ensure_ascii=False))[:100]


def _let_go(requests: IO[bytes], lifeline: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        requests.close()
    os.close(lifeline)
