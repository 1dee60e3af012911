"""A worker: the process that holds a device's model and does the run's jobs on it (see workers.py).

It ends with the workflow engine that started its first job, when it has been idle for long, when it
is asked to (by SIGTERM, or by a job that wants the device for another model), and after a job that
failed, since nobody knows what a failure leaves on a device.
"""

import contextlib
import importlib
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NoReturn

from pydantic import TypeAdapter

from lockstep.devices import stopping
from lockstep.devices.device import Device, joined
from lockstep.devices.pinning import (
    LEAVING,
    Model,
    keep_compiled,
    loaded,
    loaded_beside,
    pin,
    taken_over,
)
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import LockstepError, Stopped
from lockstep.jobs import ahead, run, sockets, unix
from lockstep.jobs.joblog import Diary, end_with_starter, open_terminal, tell, written_to
from lockstep.jobs.types import EditJob, Job, Request

log = logging.getLogger(__name__)


class Client:
    """What is at the other end of a connection: a job, or who wants the worker to end."""

    def __init__(self, connection: socket.socket) -> None:
        self.request: dict[str, Any] = {}
        self.terminal = -1
        """Descriptor of the job's terminal."""
        self.gone = False
        self._connection = connection
        self._sending = threading.Lock()

    def say(self, message: dict[str, Any], flags: int = 0) -> None:
        """Send a line; it is lost if nobody is there to read it."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n", flags)

    def hear(self) -> None:
        """Read the request; it stays empty if there is none."""
        with contextlib.suppress(OSError):
            line, descriptors = unix.hear(self._connection)
            if descriptors:
                (self.terminal,) = descriptors
            if line:
                self.request = json.loads(line)

    def wait_until_gone(self) -> None:
        with contextlib.suppress(OSError):
            while self._connection.recv(1):
                pass
        self._connection.close()

    def dismiss(self) -> None:
        """Let it know that no more is to come."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if self.terminal >= 0:
            os.close(self.terminal)


class _Turn:
    """A job in hand, and the client that it is done for: none yet, where it is done ahead."""

    def __init__(
        self, job: Job, later: Sequence[Job], client: Client | None, last: bool = False
    ) -> None:
        self.job = job
        self.later = later
        self.client = client
        self.last = last
        """Whether another model's jobs come next on the devices."""
        self.settled = threading.Event()
        """Set once it is known whether a client comes for it."""
        self.diary: Diary | None = None
        """What is logged before that; the engine removes a job's log before the job begins."""

    def is_of(self, request: dict[str, Any]) -> bool:
        """Tell whether a request asks for this job."""
        return request.get("job") == self.job.model_dump(mode="json")

    def begin(self, client: Client, holds: bool) -> None:
        """Do the job for a client."""
        self.client = client
        self.last = client.request["last"]
        assert self.diary is not None
        self.diary.hand_over(self.job.log)
        client.say({"begun": True})
        if holds:
            client.say({"holding": True})
        self.settled.set()

    def say_holding(self) -> None:
        if self.client is not None:
            self.client.say({"holding": True})

    def claimed(self, patience: float) -> None:
        """Wait until a client has come for the job.

        Raises:
            Stopped: if none does.
        """
        if self.client is None:
            self.settled.wait(patience)
        if self.client is None:
            raise Stopped("stopped, nobody has come for the job; what is finished is kept")


class Worker:
    """Hears whoever connects, and does one job after the other.

    Args:
        listener: where jobs connect.
        given: how the worker is to be, as `workers.py` says it.
    """

    def __init__(self, listener: socket.socket, given: dict[str, Any]) -> None:
        self._listener = listener
        self._given = given
        self._waiting: queue.SimpleQueue[Client | None] = queue.SimpleQueue()
        self._clients: set[Client] = set()
        self._turn: _Turn | None = None
        self._since = time.time()
        """When it began to work, or to be idle."""
        self._guard = threading.Lock()
        self._leaving = ""
        """Why it ends."""
        self._model: Any = None
        self._holds = False
        """Whether it has its devices to itself, or takes them just now."""
        self._beside: list[int] = []
        """Bytes that its model takes of each device, where it was loaded beside another's."""
        self._stack = ExitStack()
        """Never closed: the device stays locked until the kernel has taken it back."""

    def serve(self) -> None:
        """Do jobs until there is a reason to end."""
        for work in (self._listen, self._beat):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()
        if self._given["load"]:
            self._load(self._given["load"])
        elif self._given["imports"]:
            self._import()
        while client := self._next():
            request = Request.model_validate_json(json.dumps(client.request))
            terminal = os.dup(client.terminal)
            turn: _Turn | None = _Turn(request.job, request.later, client, request.last)
            while turn is not None:
                with written_to(self._given["log"] if turn.client is None else turn.job.log):
                    turn = self._do(turn, terminal)
            os.close(terminal)

    def leave(self, reason: str) -> None:
        """End after the item in hand; from any thread or signal handler."""
        self._leaving = self._leaving or reason
        stopping.request(reason)
        self._waiting.put(None)
        if (turn := self._turn) is not None:
            turn.settled.set()

    def _import(self) -> None:
        """Import what a job will need, if one is to come later."""
        pin([Device(*device) for device in self._given["devices"]])
        keep_compiled(self._given["compile_cache"])
        importlib.import_module(self._given["imports"])
        log.info("process %d stands by", os.getpid())

    def _load(self, text: str) -> None:
        """Load the model of a job that is to come, if its devices have room for it."""
        job: Job = TypeAdapter(Job).validate_json(text)
        load = partial(run.load, job)
        with written_to(self._given["log"]):
            try:
                if isinstance(job, EditJob):
                    # it is the first of its run on its devices
                    self._holds = True
                    self._model = self._stack.enter_context(loaded(job.own, job.settings, load))
                elif self._model is None and (room := run.room(job)) is not None:
                    found = loaded_beside(job.own, job.settings, load, room)
                    self._model, self._beside = found or (None, [])
                if self._model is None:
                    log.info("found no room for the model beside another one")
            except Exception as error:
                # the job that needs it says so itself
                tell(error, self._given["log"])
                self.leave("its model cannot be loaded")

    @contextmanager
    def _loaded(
        self, devices: Sequence[Device], settings: DeviceSettings, load: Callable[[str], Model]
    ) -> Iterator[Model]:
        """Yield the model, which is loaded once and kept, alone on its device."""
        self._holds, held = True, self._holds
        if self._model is None:
            self._model = self._stack.enter_context(loaded(devices, settings, load))
        else:
            if not held:
                self._stack.enter_context(taken_over(devices, settings, self._beside))
            log.info("the model is on %s already", joined(devices))
            if self._turn is not None:
                run.take(self._turn.job, self._model)
        if self._turn is not None:
            self._turn.say_holding()
        yield self._model

    def _next(self) -> Client | None:
        """Return the job to do next, None if there is to be none."""
        with written_to(self._given["log"]):
            while True:
                try:
                    client = self._waiting.get(timeout=self._given["idle_timeout"])
                except queue.Empty:
                    self.leave(f"idle for {self._given['idle_timeout']:g} s")
                if self._leaving or client is None:
                    log.info("process %d ends: %s", os.getpid(), self._leaving)
                    return None
                if client.request["kind"] == "load":
                    self._load(client.request["job"])
                elif not client.gone:
                    return client
                client.dismiss()

    def _do(self, turn: "_Turn", terminal: int) -> "_Turn | None":
        """Do a job and return the next one, if it can be done ahead.

        Args:
            terminal: descriptor where it says what a user should know.
        """
        with self._guard:
            stopping.forget()
            if turn.client is None and (self._leaving or not self._waiting.empty()):
                return None
            self._turn, self._since = turn, time.time()
            if turn.client is None:
                turn.diary = Diary(self._given["log"])
                log.info("process %d begins before the job has come", os.getpid())
            elif turn.client.gone:
                stopping.request("its job has gone")
        if turn.client is not None:
            turn.client.say({"begun": True})
        failed = False
        try:
            with open_terminal(terminal) as shown:
                patience = self._given["idle_timeout"]
                claimed = partial(turn.claimed, patience)
                run.run_here(turn.job, shown, self._loaded, turn.later, claimed)
            reply: dict[str, Any] = {"done": self._model is not None}
        except Stopped as error:
            reply = {"error": str(error)}
        except Exception as error:
            # the job logs what it is told; a traceback is known only here
            own = isinstance(error, LockstepError)
            reply = {"error": str(error) if own else tell(error, turn.job.log)}
            if isinstance(error, LockstepError) and error.is_final:
                reply["final"] = True
            failed = True
            with contextlib.suppress(Stopped):
                turn.claimed(self._given["idle_timeout"])
        with self._guard:
            self._turn, self._since = None, time.time()
            turn.settled.set()
        if turn.client is not None:
            turn.client.say(reply)
            turn.client.dismiss()
        if failed:
            self.leave("a job failed")
        elif turn.last and "done" in reply:
            # its memory takes a while to come free
            self.leave("its model is not needed any more")
        if "error" in reply or self._model is None or not turn.later:
            return None
        job, *later = turn.later
        return _Turn(job, later, None) if ahead.is_ready(job) else None

    def _listen(self) -> None:
        # from now on the kernel names this process to those who connect
        self._listener.listen()
        while True:
            connection, _ = self._listener.accept()
            client = Client(connection)
            threading.Thread(target=self._hear, args=(client,), name="hear", daemon=True).start()

    def _hear(self, client: Client) -> None:
        with self._guard:
            state = {"busy": self._turn is not None, "since": self._since}
            state["holds"] = self._holds
        known = {"key": self._given["key"], "name": self._given["name"], "pid": os.getpid()}
        client.say({**known, **state})
        with self._guard:
            # only now, as its first line is this one and no beat
            self._clients.add(client)
        client.hear()
        match client.request.get("kind"):
            case None:
                pass
            case "stop":
                self.leave("its device is wanted")
            case "end" if self._turn is None:
                # nothing is being saved
                os._exit(0)
            case "end":
                _end_soon()
            case _:
                self._take(client)
        client.wait_until_gone()
        with self._guard:
            client.gone = True
            self._clients.remove(client)
            if self._turn is not None and client is self._turn.client:
                stopping.request("its job has gone")

    def _take(self, client: Client) -> None:
        """Let a client's job be done: it may be in hand already, or what is in hand must go."""
        with self._guard:
            turn = self._turn
            if turn is None or turn.client is not None or turn.settled.is_set():
                self._waiting.put(client)
            elif turn.is_of(client.request):
                turn.begin(client, holds=self._holds)
            else:
                self._waiting.put(client)
                stopping.request("another job has come")
                turn.settled.set()

    def _beat(self) -> None:
        while True:
            time.sleep(sockets.BEAT)
            with self._guard:
                clients = list(self._clients)
            for client in clients:
                client.say({}, socket.MSG_DONTWAIT)


def _end_soon() -> None:
    """End this process as Ctrl-C does, so that what is being saved is saved first."""
    log.info("process %d ends with its run", os.getpid())
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)
    time.sleep(LEAVING)
    os._exit(1)


def main() -> None:
    work(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))


def work(listener: socket.socket, given: dict[str, Any]) -> NoReturn:
    """Serve as a worker until this process ends.

    Args:
        listener: where jobs connect.
        given: how the worker is to be, as `workers.py` says it.
    """
    sockets.call_this(sockets.WORKER)
    name = joined([Device(*device) for device in given["devices"]])
    with listener, written_to(given["log"]):
        log.info("process %d is the worker of %s on %s", os.getpid(), given["name"], name)
        worker = Worker(listener, given)
        # its starter may have been started deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: worker.leave("it got SIGTERM"))
        end_with_starter(_end_soon)
        try:
            worker.serve()
        except Exception:
            log.exception("failed")
        finally:
            # threads of libraries may not end
            os._exit(1)
