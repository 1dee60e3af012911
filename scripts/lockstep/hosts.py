"""Hosts: the processes that hold a device's model from job to job, found, started and stopped.

A host serves the jobs of one run on one device, one after the other (`host.py`). It is found by a
Unix socket in a folder of this user alone, whose name says which run and device it serves, and
which process it ends with. Who connects is told what the host holds, sends one request as a line of
JSON with the job's terminal, and hears a beat now and then until the reply; the connection's end
tells the host that its job has gone, and the job that its host has.

    python -m lockstep.hosts          list what is warm on this machine
    python -m lockstep.hosts --stop   end it, each after the item in its hand
"""

import argparse
import contextlib
import json
import logging
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from lockstep import config, media, records
from lockstep.device import LEAVING, Device, joined
from lockstep.errors import HostError
from lockstep.joblog import STARTER

log = logging.getLogger(__name__)

RUN = "LOCKSTEP_RUN"
"""Environment variable with the name of the invocation."""

TRIES = 3
"""Hosts that a job asks one after the other, if they end before they begin with it."""

MAIN = "from lockstep.host import main; main()"
"""What a host runs, whichever copy of this library it is of."""

# last, where the workflow's scripts hide no package of the same name
CODE = f"import sys; sys.path.append({str(Path(__file__).parents[1])!r}); {MAIN}"

BEAT = 0.5
"""Seconds between a host's signs of life."""

PATIENCE = 60.0
"""Seconds of silence after which a user's `--stop` uses force."""

NAME = re.compile(r"(?P<starter>\d+)-(?P<run>\w+)-(?P<device>.+)-(?P<key>\w+)\.sock")


class Host(NamedTuple):
    """A host's socket, whether or not somebody still listens to it."""

    path: Path
    starter: int
    """Process of the workflow engine that it ends with."""
    run: str
    """First letters of the invocation's name."""
    device: str
    """Its name, or those of several, joined."""
    key: str
    """First letters of what its model is known by."""


class Silent(Exception):
    """A host has given no sign of life for too long."""


def in_run() -> bool:
    """Tell whether this process belongs to a run, with which its hosts can end."""
    return RUN in os.environ and STARTER in os.environ


def run(
    request: dict[str, Any],
    devices: Sequence[Device],
    key: str,
    name: str,
    settings: config.Config,
    terminal: IO[str],
) -> bool:
    """Have a job done by the host of a device, which is started where there is none.

    Args:
        request: what the host is to do.
        key: of the model that it must hold; hosts that hold another on its devices are ended first.
        name: what that model is called.

    Returns:
        Whether the host holds its model now.

    Raises:
        HostError: if the job fails, or the host dies meanwhile.
    """
    for _ in range(TRIES):
        connection, pid = _connected(devices, key, name, settings)
        with connection:
            reply = _ask(connection, pid, request, devices, settings, terminal)
        # one that ended before it had begun, because it was idle for too long or told to, has
        # done no harm
        if reply:
            break
    if "error" in reply:
        raise HostError(reply["error"])
    if "done" not in reply:
        found = "dead before the job was done" if reply else "dead at its start"
        raise HostError(
            f"{joined(devices)}: found the process that holds its model {found} (its log is "
            f"{_log(devices, settings)}); what is finished is kept, another try starts a new one"
        )
    return reply["done"]


def stand_by(
    devices: Sequence[Device], key: str, name: str, settings: config.Config, module: str
) -> None:
    """Start the host for the model that devices need next, if there is none.

    It imports what it will need, and touches the devices only when it has a job.

    Args:
        module: what to import.
    """
    path = _path(devices, key)
    connection = _try_connect(path)
    if connection is None:
        connection, _ = _start(path, devices, key, name, settings, module)
    connection.close()


def _ask(
    connection: socket.socket,
    pid: int,
    request: dict[str, Any],
    devices: Sequence[Device],
    settings: config.Config,
    terminal: IO[str],
) -> dict[str, Any]:
    """Return the last thing that a host says of a job: that it is done, why not, or none."""
    patience = settings.devices.heartbeat_timeout
    reply: dict[str, Any] = {}
    try:
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [line], [terminal.fileno()])
        connection.sendall(line[sent:])
        for message in _messages(connection, patience):
            reply = message
    except Silent:
        _kill(pid)
        raise HostError(
            f"{joined(devices)}: found no sign of life of process {pid}, which holds its model, "
            f"for {patience:g} s and ended it; what is finished is kept, another try starts a "
            "new one"
        ) from None
    except ConnectionError:
        # it went before it had read all of it
        pass
    return reply


def _connected(
    devices: Sequence[Device], key: str, name: str, settings: config.Config
) -> tuple[socket.socket, int]:
    """Return a connection to the host that holds a model, if need be a new one, and its process."""
    path = _path(devices, key)
    patience = settings.devices.heartbeat_timeout
    found, holding = None, []
    for host in _sharing(devices):
        connection = _try_connect(host.path)
        if connection is None:
            continue
        held = _greeting(connection, patience)
        if held is None:
            log.warning("%s: the process that holds its model does not answer", host.device)
            _end(connection, "stop", patience=0)
        elif host.path == path and held["key"] == key:
            found = connection, held["pid"]
        elif held["holds"]:
            holding.append(connection)
        else:
            connection.close()
    _end_each(holding, "stop", patience)
    if found is not None:
        return found
    connection, pid = _start(path, devices, key, name, settings)
    _greeting(connection, patience)
    return connection, pid


def _path(devices: Sequence[Device], key: str) -> Path:
    """Return the socket of the host that holds a model on devices in this run."""
    run, starter = os.environ[RUN][:8], os.environ[STARTER]
    return _folder() / f"{starter}-{run}-{joined(devices)}-{key[:8]}.sock"


def _sharing(devices: Sequence[Device]) -> list[Host]:
    """Return the hosts of this run that serve one of the devices, whether or not with others."""
    run, starter = os.environ[RUN][:8], int(os.environ[STARTER])
    names = {device.name for device in devices}
    return [
        host
        for host in _hosts()
        if (host.starter, host.run) == (starter, run) and names & set(host.device.split("+"))
    ]


def _start(
    path: Path,
    devices: Sequence[Device],
    key: str,
    name: str,
    settings: config.Config,
    module: str = "",
) -> tuple[socket.socket, int]:
    """Start a host and return a connection to it, and its process."""
    given = {
        "key": key,
        "name": name,
        "devices": devices,
        "compile_cache": settings.devices.compile_cache,
        "imports": module,
        "idle_timeout": settings.devices.idle_timeout,
        "log": str(_log(devices, settings)),
    }
    with socket.socket(socket.AF_UNIX) as listener:
        bind(listener, path)
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", CODE, str(listener.fileno()), json.dumps(given)],
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            # Ctrl-C is for the workflow engine, with which it ends
            start_new_session=True,
        )
        # it outlives this process, which must not be warned of
        process.returncode = 0
        return _try_connect(path), process.pid


def _log(devices: Sequence[Device], settings: config.Config) -> Path:
    return Path(settings.results) / "logs" / "hosts" / f"{joined(devices)}.log"


def _messages(connection: socket.socket, patience: float) -> Iterator[dict[str, Any]]:
    """Yield what a host says until it closes the connection, but for its beats.

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


def _greeting(connection: socket.socket, patience: float) -> dict[str, Any] | None:
    """Return what a host says of itself; None if it says nothing."""
    line = b""
    connection.settimeout(patience)
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and (byte := connection.recv(1)):
            line += byte
    return json.loads(line) if line.endswith(b"\n") else None


def _end(connection: socket.socket, how: str, patience: float) -> None:
    """End a host, by force if it is silent for `patience` seconds.

    Args:
        how: stop, after the item in its hand, or end, as Ctrl-C does.
    """
    pid = _pid(connection)
    with connection, contextlib.suppress(OSError, Silent):
        connection.sendall(json.dumps({"kind": how}).encode() + b"\n")
        if patience:
            for _ in _messages(connection, patience):
                pass
            _wait(pid)
    _kill(pid)


def _kill(pid: int) -> None:
    """Kill a host, if it is still there, with all that it started."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if any(text.endswith(MAIN) for text in psutil.Process(pid).cmdline()):
            os.killpg(pid, signal.SIGKILL)
            _wait(pid)


def _wait(pid: int) -> None:
    """Wait until a process has let go of all it had, for a while."""
    handle = os.pidfd_open(pid)
    select.select([handle], [], [], LEAVING)
    os.close(handle)


def _try_connect(path: Path) -> socket.socket | None:
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


def _pid(connection: socket.socket) -> int:
    """Return who listens at the other end, by what the kernel knows."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return struct.unpack("3i", credentials)[0]


def _folder() -> Path:
    return records.own_folder(records.host_folder() / "hosts")


def _hosts() -> list[Host]:
    found = []
    for path in sorted(_folder().glob("*.sock")):
        if match := NAME.fullmatch(path.name):
            starter, run, device, key = match.groups()
            found.append(Host(path, int(starter), run, device, key))
    return found


def sweep() -> None:
    """Remove what runs that are over have left: hosts that cannot end, sockets of dead ones."""
    for host in _hosts():
        if psutil.pid_exists(host.starter):
            continue
        connection = _try_connect(host.path)
        if connection is not None:
            # one that answers ends by itself, or with a run in a container, where processes have
            # other numbers than here
            with connection:
                if _greeting(connection, LEAVING) is not None:
                    continue
                _kill(_pid(connection))
        host.path.unlink(missing_ok=True)


def end_run() -> None:
    """End the hosts of this run, which is over."""
    run = os.environ[RUN][:8]
    paths = [host.path for host in _hosts() if host.run == run]
    _end_all(paths, "end", LEAVING)
    for path in paths:
        path.unlink(missing_ok=True)


def stop() -> int:
    """End all hosts of this machine, each after the item in its hand, and return how many.

    Their sockets stay: a run that goes on may have bound others in the same places meanwhile.
    """
    return _end_all([host.path for host in _hosts()], "stop", PATIENCE)


def _end_all(paths: list[Path], how: str, patience: float) -> int:
    living = [connection for path in paths if (connection := _try_connect(path))]
    _end_each(living, how, patience)
    return len(living)


def _end_each(connections: list[socket.socket], how: str, patience: float) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_end, how=how, patience=patience), connections))


def listed() -> list[str]:
    """Return a line for each host of this machine."""
    lines = []
    for host in _hosts():
        connection = _try_connect(host.path)
        if connection is None:
            continue
        with connection:
            held = _greeting(connection, patience=1)
            pid = _pid(connection)
        what = "does not answer"
        if held is not None:
            state = "works" if held["busy"] else "is idle" if held["holds"] else "stands by"
            since = time.strftime("%H:%M:%S", time.localtime(held["since"]))
            what = f"{held['name']}, {state} since {since}"
        lines.append(f"{host.device}: {what} (process {pid}, of the run of process {host.starter})")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lockstep.hosts",
        description="List the models that are kept on devices of this machine.",
    )
    parser.add_argument(
        "--stop", action="store_true", help="end them, each after the item in its hand"
    )
    sweep()
    if parser.parse_args().stop:
        print(f"{stop()} stopped")
        return
    sys.stdout.reconfigure(errors="backslashreplace")
    print("\n".join(map(media.line, listed())) or "nothing is warm")


if __name__ == "__main__":
    main()
