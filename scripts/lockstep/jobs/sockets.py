"""Sockets of workers: who listens where, what is said on them, and how a worker is ended."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from lockstep import records
from lockstep.devices.pinning import LEAVING
from lockstep.jobs.unix import SCRIPT, process_of, try_connect

BEAT = 0.5
"""Seconds between a worker's signs of life."""

LISTENING = 5.0
"""Seconds that a forker waits for the request of a process that has connected."""


WORKER = "lockstep-worker"
"""What the kernel calls a worker; it keeps 15 letters."""

FORKER = "lockstep-forker"
"""What the kernel calls a run's forker."""

NAME = re.compile(r"(?P<starter>\d+)-(?P<run>\w+)-(?P<device>.+)-(?P<key>\w+)\.sock")


class Worker(NamedTuple):
    """A worker's socket, whether or not somebody still listens to it."""

    path: Path
    starter: int
    """Process of the workflow engine that it ends with."""
    run: str
    """First letters of the invocation's name."""
    device: str
    """Its name, or those of several, joined."""
    key: str
    """First letters of what its model is known by."""


class Forker(NamedTuple):
    """The socket of a run's forker, whether or not somebody still listens to it."""

    path: Path
    starter: int
    run: str


class Silent(Exception):
    """A worker has given no sign of life for too long."""


def messages(connection: socket.socket, patience: float) -> Iterator[dict[str, Any]]:
    """Yield what a worker says until it closes the connection, but for its beats.

    Raises:
        Silent: if it says nothing for so many seconds.
    """
    connection.settimeout(patience)
    try:
        with connection.makefile("rb") as lines:
            for line in lines:
                if message := json.loads(line):
                    yield message
    except TimeoutError:
        raise Silent from None
    except (ConnectionError, ValueError):
        # it died, perhaps within a line
        return


def greeting(connection: socket.socket, patience: float) -> dict[str, Any] | None:
    """Return what a worker says of itself; None if it says nothing."""
    line = b""
    connection.settimeout(patience)
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and (byte := connection.recv(1)):
            line += byte
    return json.loads(line) if line.endswith(b"\n") else None


def end(connection: socket.socket, how: str, patience: float) -> None:
    """End a worker, by force if it is silent for `patience` seconds.

    Args:
        how: stop, after the item in its hand, or end, as Ctrl-C does.
    """
    pid = process_of(connection)
    with connection, contextlib.suppress(OSError, Silent):
        connection.sendall(json.dumps({"kind": how}).encode() + b"\n")
        if patience:
            for _ in messages(connection, patience):
                pass
            if is_worker(pid):
                _wait(pid)
    kill(pid)


def kill(pid: int) -> None:
    """Kill a worker, if it is still there, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        if is_worker(pid):
            os.killpg(pid, signal.SIGKILL)
            _wait(pid)


def is_worker(pid: int) -> bool:
    """Tell whether a process is a worker, of whatever copy of this library."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # one that has just been started has no name of its own yet
        return process.name() == WORKER or any(t.endswith(MAIN) for t in process.cmdline())
    return False


def call_this(name: str) -> None:
    """Give this process the name by which `ps` shows it, and others know what it is."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


def _wait(pid: int) -> None:
    """Wait until a process has let go of all it had, for a while."""
    handle = os.pidfd_open(pid)
    select.select([handle], [], [], LEAVING)
    os.close(handle)


def folder() -> Path:
    return records.own_folder(records.host_folder() / "workers")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other process of this user do the same meanwhile."""
    handle = os.open(folder(), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def forker(starter: str, run: str) -> Path:
    """Return the socket of a run's forker."""
    return folder() / f"{starter}-{run}.forker"


def scripts(starter: str, run: str) -> Path:
    """Return the socket of a run's process that forks scripts."""
    return folder() / f"{starter}-{run}.scripts"


def forkers() -> list[Forker]:
    """Return what forks workers or scripts."""
    found = []
    for path in sorted([*folder().glob("*.forker"), *folder().glob("*.scripts")]):
        starter, _, run = path.stem.partition("-")
        found.append(Forker(path, int(starter), run))
    return found


def end_forker(path: Path) -> None:
    """End a forker of a run by force: it has nothing in its hand, and what it forked lives on."""
    connection = try_connect(path)
    path.unlink(missing_ok=True)
    if connection is not None:
        pid = process_of(connection)
        # one that has not begun to listen ends with its run
        with connection, contextlib.suppress(ProcessLookupError, psutil.Error):
            if psutil.Process(pid).name() in (FORKER, SCRIPT):
                os.kill(pid, signal.SIGKILL)
                # until then it has the sockets of workers that it has not forked yet
                _wait(pid)


def known() -> list[Worker]:
    found = []
    for path in sorted(folder().glob("*.sock")):
        if match := NAME.fullmatch(path.name):
            starter, run, device, key = match.groups()
            found.append(Worker(path, int(starter), run, device, key))
    return found


def end_each(connections: list[socket.socket], how: str, patience: float) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(end, how=how, patience=patience), connections))


PR_SET_NAME = 15
"""Of prctl(2)."""

MAIN = "from lockstep.jobs.worker import main; main()"
"""What a worker runs, whichever copy of this library it is of."""
