"""The forker: the process of a run that imports what workers need once, and forks each worker.

Only workers of CPU slots come from it. torch, transformers and diffusers take longer to import than
a small model takes to edit a category. On GPUs each worker imports for itself, while weights are
read to its devices.

A process with threads cannot be forked safely. So the forker starts none, and computes nothing.
Workers live on without it: if it is killed, the next one who wants a worker starts another forker.
"""

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from lockstep.devices.device import Device
from lockstep.devices.pinning import keep_compiled, pin
from lockstep.jobs import sockets, unix, worker
from lockstep.jobs.joblog import starter, written_to

log = logging.getLogger(__name__)


def main() -> None:
    given = json.loads(sys.argv[2])
    with socket.socket(fileno=int(sys.argv[1])) as listener, written_to(given["log"]):
        sockets.call_this(sockets.FORKER)
        # from now on the kernel names this process to those who connect
        listener.listen()
        log.info("process %d is the forker of the workers on CPU slots", os.getpid())
        pin([Device("cpu", "0")])
        keep_compiled(given["compile_cache"])
        engine = starter()
        assert engine is not None
        # nobody waits for what it forks
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([listener.fileno(), engine], [], [])
            if engine in ready:
                log.info("process %d ends with its run", os.getpid())
                os._exit(0)
            connection, _ = listener.accept()
            with connection:
                request, descriptor = _heard(connection)
            if descriptor >= 0:
                _import(request["imports"], engine)
                _fork(request["worker"], descriptor, [listener.fileno(), engine])
                os.close(descriptor)


def _heard(connection: socket.socket) -> tuple[dict[str, Any], int]:
    """Return what is wanted and where the worker is to listen; -1 if nothing is."""
    connection.settimeout(sockets.LISTENING)
    try:
        line, descriptors = unix.hear(connection)
    except OSError:
        return {}, -1
    return json.loads(line or "{}"), descriptors[0] if descriptors else -1


def _import(module: str, engine: int) -> None:
    """Import what a worker will need.

    Args:
        engine: handle on the process with which this one ends, meanwhile too.
    """
    if not module or module in sys.modules:
        return

    def look(*_: Any) -> None:
        if select.select([engine], [], [], 0)[0]:
            os._exit(1)

    # a thread that looks would be in the way of the fork
    signal.signal(signal.SIGALRM, look)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, sockets.BEAT, sockets.BEAT)
    began = time.monotonic()
    try:
        importlib.import_module(module)
    except Exception as error:
        # the worker finds the same, and its job says so
        log.info("%s cannot be imported: %s", module, error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    log.info("imports took %.1f s", time.monotonic() - began)
    # what is not looked at again is not copied for each worker
    gc.freeze()


def _fork(given: dict[str, Any], descriptor: int, own: list[int]) -> None:
    """Fork a worker, which never returns.

    Args:
        given: how the worker is to be, as `workers.py` says it.
        descriptor: of the socket on which it listens.
        own: descriptors of this process alone.
    """
    try:
        if os.fork():
            return
    except OSError as error:
        # the socket is closed, so that the job sees that there is no worker
        log.error("found no room for another process: %s", error)
        return
    try:
        for each in own:
            os.close(each)
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        worker.work(socket.socket(fileno=descriptor), given)
    except Exception:
        log.exception("failed")
    finally:
        os._exit(1)
