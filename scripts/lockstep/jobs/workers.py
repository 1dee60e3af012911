"""Workers: the processes that hold a device's model from job to job, found, started and stopped.

A worker serves the jobs of one run on one device, one after the other (`worker.py`). It is found by
a socket whose name says its device, a hash of all that its model was made of, its run, and which
process it ends with. Whoever connects is told what the worker holds, sends one job as a line of
JSON with the job's terminal, and hears a beat now and then until the reply. The connection's end
tells the worker that its job has gone, and the job that its worker has.

    python -m lockstep workers          list what is warm on this machine
    python -m lockstep workers --stop   end it, each after the item in its hand
"""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from lockstep import layout
from lockstep.devices.device import Device, joined
from lockstep.devices.pinning import LEAVING
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import SharedError, WorkerError
from lockstep.jobs import RUN, STARTER
from lockstep.jobs.sockets import (
    MAIN,
    Silent,
    Worker,
    end,
    end_each,
    end_forker,
    folder,
    forker,
    forkers,
    greeting,
    is_worker,
    kill,
    known,
    messages,
    one_at_a_time,
)
from lockstep.jobs.unix import bind, process_of, send, try_connect

log = logging.getLogger(__name__)

TRIES = 3
"""Workers that a job asks one after the other, if they end before they begin with it."""


# last, where the workflow's scripts hide no package of the same name
FINDING = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); "

CODE = FINDING + MAIN

FORKER_CODE = FINDING + "from lockstep.jobs.forker import main; main()"

IMPORTING = 300.0
"""Seconds of silence after which a forker counts as hanging that is to fork a worker."""

PATIENCE = 60.0
"""Seconds of silence after which a user's `--stop` uses force."""


class Wanted(NamedTuple):
    """The worker that a job needs."""

    devices: Sequence[Device]
    key: str
    """Of the model that it must hold; workers that hold another on its devices are ended first."""
    name: str
    """What that model is called."""
    settings: DeviceSettings
    results: Path
    """Folder of all outputs, with its log."""
    imports: str = ""
    """Module with what takes its process long to import."""

    @property
    def log(self) -> Path:
        return layout.worker_log(self.results, joined(self.devices))

    @property
    def forked(self) -> bool:
        """Whether the run's forker forks it."""
        return all(device.kind == "cpu" for device in self.devices)


def in_run() -> bool:
    """Tell whether this process belongs to a run, with which its workers can end."""
    return RUN in os.environ and STARTER in os.environ


def run(
    request: str, wanted: Wanted, terminal: IO[str], holding: Callable[[], None] = lambda: None
) -> bool:
    """Have a job done by the worker of a device, which is started where there is none.

    Args:
        request: the job and those that come after it, as JSON in one line.
        holding: called once the worker works with its model.

    Returns:
        Whether the worker holds its model now.

    Raises:
        WorkerError: if the job fails, or the worker dies meanwhile.
        SharedError: if another try would fail as well.
    """
    for _ in range(TRIES):
        connection, pid = _connected(wanted)
        with connection:
            reply = _ask(connection, pid, request, wanted, terminal, holding)
        # one that ended before it had begun, because it was idle for too long or told to, has
        # done no harm
        if reply:
            break
    if "error" in reply:
        raise (SharedError if reply.get("final") else WorkerError)(reply["error"])
    if "done" not in reply:
        found = "dead before the job was done" if reply else "dead at its start"
        raise WorkerError(
            f"{joined(wanted.devices)}: found the process that holds its model {found} (its log is "
            f"{wanted.log}); what is finished is kept, another try starts a new one"
        )
    return reply["done"]


def stand_by(wanted: Wanted, job: str | None = None) -> None:
    """Start the worker for the model that devices need next, if there is none.

    It imports what it will need, and touches the devices only when it has a job, or is to load.

    Args:
        job: whose model is to be loaded at once, as JSON, where the devices have room for it; None
            leaves them alone.
    """
    connection = try_connect(_path(wanted))
    if connection is None:
        connection, _ = _start(wanted, wanted.imports, job)
    elif job is not None:
        connection.sendall(json.dumps({"kind": "load", "job": job}).encode() + b"\n")
    connection.close()


def _ask(
    connection: socket.socket,
    pid: int,
    request: str,
    wanted: Wanted,
    terminal: IO[str],
    holding: Callable[[], None],
) -> dict[str, Any]:
    """Return the last thing that a worker says of a job: that it is done, why not, or none."""
    patience = wanted.settings.heartbeat_timeout
    reply: dict[str, Any] = {}
    try:
        send(connection, request.encode() + b"\n", [terminal.fileno()])
        for message in messages(connection, patience):
            reply = message
            if "holding" in message:
                holding()
    except Silent:
        kill(pid)
        raise WorkerError(
            f"{joined(wanted.devices)}: found no sign of life of process {pid}, which holds its "
            f"model, for {patience:g} s and ended it; what is finished is kept, another try starts "
            "a new one"
        ) from None
    except ConnectionError:
        # it went before it had read all of it
        pass
    return reply


def _connected(wanted: Wanted) -> tuple[socket.socket, int]:
    """Return a connection to the worker of a model, a new one if need be, and its process."""
    path = _path(wanted)
    patience = wanted.settings.heartbeat_timeout
    found, holding = None, []
    for worker in _sharing(wanted.devices):
        connection = _begun(worker.path) if wanted.forked else try_connect(worker.path)
        if connection is None:
            continue
        held = greeting(connection, patience)
        if held is None:
            log.warning("%s: the process that holds its model does not answer", worker.device)
            end(connection, "stop", patience=0)
        elif worker.path == path and held["key"] == wanted.key:
            found = connection, held["pid"]
        elif held["holds"]:
            holding.append(connection)
        else:
            connection.close()
    end_each(holding, "stop", patience)
    if found is not None:
        return found
    connection, pid = _start(wanted)
    if wanted.forked and (begun := _begun(path)) is not None:
        connection.close()
        connection, pid = begun, process_of(begun)
    greeting(connection, patience)
    return connection, pid


def _begun(path: Path) -> socket.socket | None:
    """Return a connection to a worker once its forker has forked it; None if there is none.

    Until then nobody gives signs of life, as the forker imports. If the forker dies, the kernel
    closes the socket that it was to hand on.
    """
    connection = try_connect(path)
    if connection is None or is_worker(process_of(connection)):
        return connection
    began = time.monotonic()
    with connection:
        greeting(connection, IMPORTING)
    if time.monotonic() - began >= IMPORTING:
        log.warning("found no sign of life of the run's forker for %g s and ended it", IMPORTING)
        end_forker(_forker())
    return try_connect(path)


def _path(wanted: Wanted) -> Path:
    """Return the socket of the worker that holds a model on devices in this run."""
    run, starter = _run(), os.environ[STARTER]
    return folder() / f"{starter}-{run}-{joined(wanted.devices)}-{wanted.key[:8]}.sock"


def _forker() -> Path:
    return forker(os.environ[STARTER], _run())


def _run() -> str:
    return os.environ[RUN][:8]


def _sharing(devices: Sequence[Device]) -> list[Worker]:
    """Return the workers of this run that serve one of the devices, whether or not with others."""
    run, starter = _run(), int(os.environ[STARTER])
    names = {device.name for device in devices}
    return [
        worker
        for worker in known()
        if (worker.starter, worker.run) == (starter, run) and names & set(worker.device.split("+"))
    ]


def _start(wanted: Wanted, module: str = "", job: str | None = None) -> tuple[socket.socket, int]:
    """Start a worker and return a connection to it, and its process; 0 if it is yet to be forked.

    Args:
        module: what it imports at once.
    """
    given = {
        "key": wanted.key,
        "name": wanted.name,
        "devices": wanted.devices,
        "compile_cache": wanted.settings.compile_cache,
        "imports": module,
        "load": job,
        "idle_timeout": wanted.settings.idle_timeout,
        "log": str(wanted.log),
    }
    with listening(_path(wanted)) as listener:
        pid = _fork(wanted, given, listener) if wanted.forked else launch(CODE, given, listener)
        connection = try_connect(_path(wanted))
        if connection is None:
            raise WorkerError(
                f"{joined(wanted.devices)}: expected the socket {str(_path(wanted))!r} of the "
                "process that is to hold its model, found none; run again"
            )
        return connection, pid


def listening(path: Path) -> socket.socket:
    """Return a socket that listens at a path, in place of what was there."""
    listener = socket.socket(socket.AF_UNIX)
    bind(listener, path)
    listener.listen()
    return listener


def launch(code: str, given: Mapping[str, Any], listener: socket.socket) -> int:
    """Start a process of ours that listens to a socket, and return it."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(listener.fileno()), json.dumps(given)],
        stdin=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        # Ctrl-C is for the workflow engine, with which it ends
        start_new_session=True,
    )
    # it outlives this process, which must not be warned of
    process.returncode = 0
    return process.pid


def _fork(wanted: Wanted, given: Mapping[str, Any], listener: socket.socket) -> int:
    """Let the run's forker, which is started if there is none, fork a worker; return no process.

    Nothing waits for the forker here, which may import for a while.
    """
    # jobs of several devices may come at once
    with one_at_a_time():
        connection = try_connect(_forker())
        if connection is None:
            with listening(_forker()) as own:
                log_file = layout.worker_log(wanted.results, "forker")
                told = {"log": str(log_file), "compile_cache": wanted.settings.compile_cache}
                launch(FORKER_CODE, told, own)
                connection = try_connect(_forker())
    line = json.dumps({"imports": wanted.imports, "worker": given}).encode() + b"\n"
    # who waits for the worker sees when the forker has died
    if connection is not None:
        with connection, suppress(ConnectionError):
            send(connection, line, [listener.fileno()])
    return 0


def sweep() -> None:
    """Remove what runs that are over have left: workers that cannot end, sockets of dead ones."""
    for left in forkers():
        if not psutil.pid_exists(left.starter):
            end_forker(left.path)
    for worker in known():
        if psutil.pid_exists(worker.starter):
            continue
        connection = try_connect(worker.path)
        if connection is not None:
            # one that answers ends by itself, or with a run in a container, where processes have
            # other numbers than here
            with connection:
                pid = process_of(connection)
                if greeting(connection, LEAVING) is not None or not is_worker(pid):
                    continue
                kill(pid)
        worker.path.unlink(missing_ok=True)


def end_run() -> None:
    """End the workers of this run, which is over."""
    # workers that it has not forked yet have nothing to save
    for own in forkers():
        if own.run == _run():
            end_forker(own.path)
    paths = [worker.path for worker in known() if worker.run == _run()]
    _end_all(paths, "end", LEAVING)
    for path in paths:
        path.unlink(missing_ok=True)


def stop() -> int:
    """End all workers of this machine, each after the item in its hand, and return how many.

    Their sockets stay: a run that goes on may have bound others in the same places meanwhile.
    """
    return _end_all([worker.path for worker in known()], "stop", PATIENCE)


def _end_all(paths: list[Path], how: str, patience: float) -> int:
    living = [connection for path in paths if (connection := try_connect(path))]
    end_each(living, how, patience)
    return len(living)


def listed() -> list[str]:
    """Return a line for each worker of this machine."""
    lines = []
    for worker in known():
        connection = try_connect(worker.path)
        if connection is None:
            continue
        with connection:
            held = greeting(connection, patience=1)
            pid = process_of(connection)
        which, what = f"process {pid}, ", "does not answer"
        if held is None and not is_worker(pid):
            which, what = "", "begins"
        elif held is not None:
            state = "works" if held["busy"] else "is idle" if held["holds"] else "stands by"
            since = time.strftime("%H:%M:%S", time.localtime(held["since"]))
            what = f"{held['name']}, {state} since {since}"
        lines.append(f"{worker.device}: {what} ({which}of the run of process {worker.starter})")
    return lines
