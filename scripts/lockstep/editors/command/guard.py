"""Runs a program of the user's until it ends or nobody needs it, and leaves nothing of it behind.

A process of its own between the worker and the program, as a worker may be killed at any moment.
It learns of that from a pipe whose other end closes. It runs as a script, without this library.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

import psutil

PDEATHSIG, SUBREAPER = 1, 36
"""Options of prctl(2): a signal when the parent dies; become the parent of orphans below."""

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

GRACE = 2.0
"""Seconds that a program has to end by itself on SIGTERM."""

TRIES = 5
"""Times that all that is left is killed; a process in a driver's hand may not end for long."""

NOT_STARTED = 127
"""Exit code, as a shell's, of a program that cannot be started."""


def main() -> None:
    lifeline, given = int(sys.argv[1]), json.loads(sys.argv[2])
    libc = ctypes.CDLL(None)
    libc.prctl(SUBREAPER, 1)
    for number in STOPS:
        # a handler, as the program would inherit that a signal is ignored
        signal.signal(number, lambda *_: sys.exit(1))
    code = 1
    try:
        program = subprocess.Popen(
            given["command"],
            cwd=given["folder"],
            env={**os.environ, **given["environment"]},
            preexec_fn=lambda: libc.prctl(PDEATHSIG, signal.SIGKILL),
        )
        handle = os.pidfd_open(program.pid)
        ready, _, _ = select.select([lifeline, handle], [], [])
        if handle in ready:
            code = program.wait()
    except (OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        code = NOT_STARTED
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        _end(psutil.Process().children(recursive=True), signal.SIGTERM, GRACE)
        for _ in range(TRIES):
            if not (left := psutil.Process().children(recursive=True)):
                break
            _end(left, signal.SIGKILL, GRACE)
        shutil.rmtree(given["exchange"], ignore_errors=True)
    # as a shell says that a signal ended it
    sys.exit(code if code >= 0 else 128 - code)


def _end(processes: Iterable[psutil.Process], number: int, seconds: float) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
    psutil.wait_procs(list(processes), timeout=seconds)


if __name__ == "__main__":
    main()
