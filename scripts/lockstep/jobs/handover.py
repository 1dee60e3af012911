"""Hands the script of a job over to the process of the run that has imported what scripts need.

Imports take most of the time of a short job. Each script calls `hand_over` before it imports
anything else, so this module imports little.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lockstep.jobs import SCRIPTS, unix

PATIENCE = 60.0
"""Seconds within which that process must answer. After that, it counts as hanging."""

FORWARDED = (signal.SIGINT, signal.SIGTERM)
"""Signals to this process that are for the one that does its work."""


def hand_over() -> None:
    """Have the script that runs in this process done, and end as it ended.

    Returns if it has to be done here: where no process of the run does it, or not the same Python,
    or where that process dies meanwhile; then what it had begun has been ended.
    """
    set_threads()
    connection = _connected()
    if connection is None:
        return
    with connection, connection.makefile("rb") as replies:
        connection.settimeout(PATIENCE)
        handle = _begun(connection, replies)
        if handle is None:
            return
        # a shell may have started the run in the background, where it ignores Ctrl-C
        heard = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
        before = [signal.signal(number, _forward(handle)) for number in heard]
        with suppress(OSError, ValueError), _ending_who_hangs(connection):
            connection.sendall(b"!")
            select.select([connection.fileno(), handle], [], [])
            if ended := replies.readline():
                os._exit(json.loads(ended)["status"])
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [])
        os.close(handle)
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


def _connected() -> socket.socket | None:
    """Return a connection to the process that does scripts; None where this one has to."""
    path = os.environ.get(SCRIPTS)
    with suppress(OSError):
        # this process may have been started without standard streams
        for number in range(3):
            os.fstat(number)
        return unix.try_connect(Path(path)) if path else None
    return None


def _begun(connection: socket.socket, replies: BinaryIO) -> int | None:
    """Ask for the script, and return a handle on the process that will do it; None if none will."""
    with suppress(OSError, ValueError), _ending_who_hangs(connection):
        told = {"argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ), "where": where()}
        unix.send(connection, json.dumps(told).encode() + b"\n", (0, 1, 2))
        if line := replies.readline():
            return os.pidfd_open(json.loads(line)["pid"])
    return None


@contextmanager
def _ending_who_hangs(connection: socket.socket) -> Iterator[None]:
    """End the process at the other end if it does not answer, so that no other job waits for it."""
    try:
        yield
    except TimeoutError:
        pid = unix.process_of(connection)
        if Path(f"/proc/{pid}/comm").read_text().strip() == unix.SCRIPT:
            os.kill(pid, signal.SIGKILL)
        raise


def set_threads() -> None:
    """Have matrices computed by one thread: they are small, and threads would only wait."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def where() -> list[str]:
    """Return what two processes must share so that a script does the same in both."""
    spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid")]
    return [sys.executable, sys.prefix, *spaces]


def _forward(handle: int) -> Any:
    def forward(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)

    return forward
