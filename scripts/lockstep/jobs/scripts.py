"""The process of a run that has imported what the rules' scripts need, and forks one for each job.

A job's own process hands its script over (`handover.py`), waits, and ends as the script ended. If
this process is killed, the job's own process does the script itself.

It starts no thread and computes nothing, as a process with threads cannot be forked safely.
"""

import ast
import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import layout
from lockstep.config.backends import OURS
from lockstep.config.run import Config
from lockstep.jobs import RUN, SCRIPTS, STARTER, sockets, unix, workers
from lockstep.jobs.handover import set_threads, where
from lockstep.jobs.joblog import starter, written_to

log = logging.getLogger(__name__)

CODE = workers.FINDING + "from lockstep.jobs.scripts import main; main()"

FOLDER = Path(__file__).parents[2] / "rules"
"""Folder of the rules' scripts."""

IMPORTS = (ast.Import, ast.ImportFrom)
"""Statements of a script that are run ahead of it."""


class Asker(NamedTuple):
    """A job's own process, which waits for its script."""

    connection: socket.socket
    handle: int
    """Handle on this process. The script watches it, and ends when the process ends."""


def begin(settings: Config, scripts: Sequence[str]) -> None:
    """Start the process for a run's jobs, which find it in their environment; none for one job.

    Args:
        scripts: paths of the files that the jobs run, one for each job.
    """
    # an earlier run's, where this one was started by one of its jobs
    os.environ.pop(SCRIPTS, None)
    if settings.cluster is not None or not workers.in_run() or len(scripts) < 2:
        return
    path = sockets.scripts(os.environ[STARTER], os.environ[RUN][:8])
    given = {
        "log": str(layout.worker_log(Path(settings.results), "scripts")),
        "scripts": [str(FOLDER / Path(name).name) for name in dict.fromkeys(scripts)],
    }
    with workers.listening(path) as listener:
        workers.launch(CODE, given, listener)
    os.environ[SCRIPTS] = str(path)


def main() -> None:
    given = json.loads(sys.argv[2])
    set_threads()
    # scripts print the same warnings; a log file of its own might not fit on a full disk
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    try:
        with socket.socket(fileno=int(sys.argv[1])) as listener:
            sockets.call_this(unix.SCRIPT)
            # from now on the kernel names this process to those who connect
            listener.listen()
            engine = starter()
            assert engine is not None
            for name in OURS:
                importlib.import_module(name)
            _serve(listener, engine, given["scripts"])
    except Exception:
        with written_to(given["log"]):
            log.exception("failed")


def _serve(listener: socket.socket, engine: int, scripts: list[str]) -> None:
    """Fork what is asked for until the run ends, and import what is expected meanwhile."""
    waiting: dict[int, tuple[int, Asker]] = {}
    while True:
        known = [listener.fileno(), engine, *waiting]
        ready, _, _ = select.select(known, [], [], 0 if scripts else None)
        if engine in ready:
            os._exit(0)
        for handle in waiting.keys() & set(ready):
            _tell(handle, *waiting.pop(handle))
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            if (begun := _begun(connection)) is not None:
                pid, asker = begun
                waiting[os.pidfd_open(pid)] = pid, asker
        elif scripts:
            _import(scripts.pop(0))


def _begun(connection: socket.socket) -> tuple[int, Asker] | None:
    """Fork the script that somebody asks for; None if there is none to be forked."""
    streams: list[int] = []
    handle = -1
    try:
        connection.settimeout(sockets.LISTENING)
        line, streams = unix.hear(connection, 3)
        told = json.loads(line)
        if len(streams) < 3 or told["where"] != where():
            raise ValueError("another Python, or not all of its streams")
        handle = os.pidfd_open(unix.process_of(connection))
        _import(told["argv"][0])
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
    except Exception:
        # a job that gets no answer does its script itself
        connection.close()
        if handle >= 0:
            os.close(handle)
        return None
    else:
        asker = Asker(connection, handle)
        if pid == 0:
            _run(told, streams, asker)
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        return pid, asker
    finally:
        for each in streams:
            os.close(each)


def _tell(handle: int, pid: int, asker: Asker) -> None:
    """Let a job's own process know how its script ended."""
    _, state = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(state)
    with contextlib.suppress(OSError):
        # by signal n as shells say it
        status = code if code >= 0 else 128 - code
        asker.connection.sendall(json.dumps({"status": status}).encode() + b"\n")
    asker.connection.close()
    os.close(asker.handle)
    os.close(handle)


def _import(script: str) -> None:
    """Import what a script imports at its beginning."""
    known = len(sys.modules)
    # the script finds what is wrong, and says so
    with contextlib.suppress(Exception):
        tree = ast.parse(Path(script).read_bytes())
        own: list[ast.stmt] = [node for node in tree.body if isinstance(node, IMPORTS)]
        exec(compile(ast.Module(own, []), script, "exec"), {})
    if len(sys.modules) > known:
        # what is not looked at again is not copied for each script
        gc.freeze()


def _run(told: dict[str, Any], streams: list[int], asker: Asker) -> None:
    """Do a script in this process, which has just been forked and never returns.

    Args:
        streams: what the job's own process has as standard streams.
    """
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # a job that no longer waits does its script itself
        asker.connection.settimeout(None)
        if asker.connection.recv(1):
            _take_over(told, streams, asker.handle)
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
    except SystemExit as ended:
        code = _code(ended)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            # threads that save are waited for, and processes of its own are ended
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _take_over(told: dict[str, Any], streams: list[int], asker: int) -> None:
    """Make this process what the job's own is.

    Args:
        asker: handle on the job's own process.
    """
    for number, each in enumerate(streams):
        os.dup2(each, number)
    for each in map(int, os.listdir("/proc/self/fd")):
        if each > 2 and each != asker:
            with contextlib.suppress(OSError):
                os.close(each)
    # tmp1234567.edit_shard.py
    sockets.call_this(Path(told["argv"][0]).stem.rpartition(".")[2])
    threading.Thread(target=_end_with, args=(asker,), daemon=True).start()
    os.environ.clear()
    os.environ.update(told["environ"])
    # whatever it starts imports for itself
    del os.environ[SCRIPTS]
    os.chdir(told["cwd"])
    sys.argv = told["argv"]


def _code(ended: SystemExit) -> int:
    """Return the status of a process that ends by `sys.exit`."""
    if ended.code is None or isinstance(ended.code, int):
        return (ended.code or 0) & 0xFF
    print(ended.code, file=sys.stderr)
    return 1


def _end_with(asker: int) -> None:
    """End this process as soon as the job's own has gone, as if it had been that one."""
    select.select([asker], [], [])
    os._exit(1)
