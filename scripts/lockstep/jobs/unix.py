"""Unix sockets between processes of a run: lines with descriptors, and who is at the other end.

This module imports little, because each script of a rule imports it before all else.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

SCRIPT = "lockstep-script"
"""Name that `ps` shows for the process that forks the scripts of a run."""


def send(connection: socket.socket, line: bytes, descriptors: Sequence[int]) -> None:
    """Send a line together with descriptors."""
    sent = socket.send_fds(connection, [line], descriptors)
    connection.sendall(line[sent:])


def hear(connection: socket.socket, most: int = 1) -> tuple[bytes, list[int]]:
    """Return a line and the descriptors that came with it; empty if no line comes.

    Args:
        most: descriptors that are taken.
    """
    line, descriptors = b"", list[int]()
    try:
        while not line.endswith(b"\n"):
            data, given, *_ = socket.recv_fds(connection, 2**16, most)
            line += data
            descriptors += given
            if not data:
                raise EOFError
    except (OSError, EOFError) as error:
        for each in descriptors:
            os.close(each)
        if isinstance(error, OSError):
            raise
        return b"", []
    return line, descriptors


def try_connect(path: Path) -> socket.socket | None:
    """Return a connection to a socket; None if nobody listens to it."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def bind(listener: socket.socket, path: Path) -> None:
    """Make a socket that replaces what is at its path."""
    bound = path.with_name(f"{os.getpid()}.new")
    bound.unlink(missing_ok=True)
    with _short(path.parent) as folder:
        listener.bind(f"{folder}/{bound.name}")
    bound.replace(path)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of a file that is short enough for a socket's, of 107 bytes at most."""
    handle = os.open(path, os.O_PATH)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def process_of(connection: socket.socket) -> int:
    """Return who listens at the other end, by what the kernel knows."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return struct.unpack("3i", credentials)[0]
