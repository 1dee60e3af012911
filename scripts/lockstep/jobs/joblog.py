"""Where a job speaks: details to its log file, one line to the terminal."""

import errno
import io
import logging
import os
import select
import signal
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from lockstep import layout, records
from lockstep.errors import ConfigError, LockstepError, one_sentence
from lockstep.foreign import media
from lockstep.jobs import RUN, STARTER, TELLS
from lockstep.jobs.takeover import take_over

log = logging.getLogger(__name__)

FINISHED = "finished in"
"""In the last line of the log of a job that came to its end."""

FINAL = "not tried again in run"
"""Before the run's name, at the end of the log of a job that no other try would help."""

TAIL = 4096
"""Bytes at the end of a log that hold its last line, or enough of it."""


@contextmanager
def job_log(path: str | Path) -> Iterator[IO[str]]:
    """Send everything that a job and its libraries print to a log file.

    Yields the terminal (or what stands in for it). An exception ends the process with its message
    in both places; the traceback of anything but a LockstepError is in the log. Without one the
    process ends with the block.
    """
    _open_standard_streams()
    with open_terminal(os.dup(2), closefd=True) as terminal, ExitStack() as stack:
        if is_final(path):
            # a second try of this run would say the same a second time
            records.write_bytes(Path(path), _given_up(path)[0])
            sys.exit(1)
        try:
            layout.given_up(path).unlink(missing_ok=True)
            stack.enter_context(written_to(path, anew=True))
        except LockstepError as error:
            print(f"Error: {error}", file=terminal)
            sys.exit(1)
        end_with_starter(lambda: os._exit(1))
        # as Ctrl-C does: what is being saved is saved first
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        began = time.monotonic()
        try:
            take_over()
            yield terminal
            log.info("%s %.1f s", FINISHED, time.monotonic() - began)
        except Exception as error:
            told = tell(error, path)
            final = isinstance(error, LockstepError) and error.is_final and RUN in os.environ
            if not final or TELLS not in os.environ:
                print(f"Error: {told}", file=terminal)
            if final:
                log.error("%s %s", FINAL, os.environ[RUN])
                whole = Path(path).read_bytes() + b"\0" + told.encode(errors="replace")
                records.write_bytes(layout.given_up(path), whole)
            sys.exit(1)
        logging.shutdown()
        sys.stdout.flush()
        # All is on disk. A library's thread that ends while the interpreter does may abort the
        # process, and a job that is done would be done again.
        os._exit(0)


@contextmanager
def written_to(path: str | Path, anew: bool = False) -> Iterator[None]:
    """Send everything that this process and its libraries print to a log file.

    Args:
        anew: begin an empty file if the job that last wrote it came to its end; what else was
            there is kept, as several processes write to it.

    Raises:
        ConfigError: if there is a link, or anything but a file.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(_opened(path), "a", buffering=1, encoding="utf-8", errors="replace") as file:
        if anew and _finished(path):
            os.ftruncate(file.fileno(), 0)
        sys.stdout.flush()
        sys.stderr.flush()
        # libraries write to the descriptors, not only to Python's streams
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        handler = logging.StreamHandler(file)
        handler.setFormatter(_Entries("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        logging.captureWarnings(True)
        warnings.simplefilter("once")
        # said while the interpreter ends, one would import a module, for which it may wait for ever
        warnings.simplefilter("ignore", ResourceWarning)
        yield


class Diary:
    """Part of a log that belongs to a job which has no log of its own yet.

    Args:
        path: the log, which this process writes to at the moment.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._begin = os.path.getsize(path)

    def hand_over(self, path: str | Path) -> None:
        """Copy it to the job's log, and go on there; from any thread.

        Raises:
            ConfigError: as `written_to`.
        """
        file = open(_opened(path), "a", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        with handler.lock or nullcontext():
            with open(self._path, "rb") as diary:
                diary.seek(self._begin)
                file.write(diary.read().decode(errors="replace"))
            file.flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            handler.setStream(file)


def _opened(path: str | Path) -> int:
    """Return a descriptor that appends to a file, and to nothing that a link leads to."""
    # without waiting, where it is a pipe
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
    raise ConfigError(f"{path}: expected a log file, found a link or no file; remove it")


class _Entries(logging.Formatter):
    """Writes what a text of others says, and nothing that looks like another entry."""

    def format(self, record: logging.LogRecord) -> str:
        return media.entry(super().format(record))


def _open_standard_streams() -> None:
    """Let what was started without standard streams have some that lead nowhere.

    A file that is opened later would take the number of one that is closed.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest number that is free
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))


class _Terminal(io.FileIO):
    """Loses what is written once nobody is there to read it, as after a logout."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


class _Safe(io.TextIOWrapper):
    """Shows texts of others, and does not obey them."""

    def write(self, text: str) -> int:
        super().write(media.terminal(text))
        return len(text)


def open_terminal(descriptor: int, closefd: bool = False) -> IO[str]:
    """Return a job's terminal.

    Args:
        closefd: whether its descriptor is closed with it.
    """
    raw = io.BufferedWriter(_Terminal(descriptor, "w", closefd=closefd))
    return _Safe(raw, encoding="utf-8", line_buffering=True)


def tell(error: Exception, path: str | Path) -> str:
    """Log why a job failed and return it as a sentence for the terminal.

    Args:
        path: the log, where the traceback of anything but a LockstepError is.
    """
    if isinstance(error, LockstepError):
        log.error("%s", error)
        return str(error)
    log.error("failed", exc_info=error)
    return _sentence(error, path)


def is_final(path: str | Path) -> bool:
    """Tell whether a job has failed in this run of what another try would fail of, too.

    Args:
        path: its log, which the workflow engine removes before the other try.
    """
    with suppress(OSError, KeyError):
        wanted = f"{FINAL} {os.environ[RUN]}".encode()
        return _given_up(path)[0].rstrip().endswith(wanted)
    return False


def reason(path: str | Path) -> str | None:
    """Return why a job has failed in this run, if another try would fail as well; None if not.

    Args:
        path: its log.
    """
    return _given_up(path)[1] if is_final(path) else None


def _given_up(path: str | Path) -> tuple[bytes, str]:
    """Return the log of a job that no other try would help, and why it failed."""
    log, _, told = layout.given_up(path).read_bytes().rpartition(b"\0")
    return log, told.decode(errors="replace")


def _finished(path: str | Path) -> bool:
    """Tell whether the job that last wrote a log came to its end."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL))
            # a kill or a full disk may have cut it off within a character
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return True
    return bool(lines) and FINISHED in lines[-1]


STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk that is full or cannot be written."""


def _sentence(error: Exception, path: str | Path) -> str:
    if isinstance(error, OSError) and error.errno in STORAGE:
        where = f" ({place})" if (place := error.filename or _full(Path(path))) else ""
        return f"{error.strerror}{where}; what is finished is kept, make room and run again"
    return f"{one_sentence(error)} (traceback in {path})"


LITTLE = 2**20
"""Bytes of a disk that count as full."""


def _full(log: Path) -> str:
    """Return the folders that a job writes to whose disks are full, where the error names none."""
    try:
        places = [str(log.parent), tempfile.gettempdir()]
    except FileNotFoundError:
        # there is room in none
        return "all folders for temporary files; TMPDIR names one"
    room = {place: os.statvfs(place) for place in places}
    full = [place for place, disk in room.items() if disk.f_bavail * disk.f_frsize < LITTLE]
    return ", ".join(full)


SHELLS = {"bash", "dash", "sh", "zsh"}


def end_with_starter(end: Callable[[], None]) -> None:
    """Call `end`, in a thread, as soon as the process that started this one has gone.

    A workflow engine that is killed, by whatever signal, cannot stop its jobs; they would go on to
    hold devices and locks. All writes are atomic, so an end at any moment costs at most the item in
    hand and the one that is being saved.
    """
    handle = starter()
    if handle is None:
        return

    def watch() -> None:
        select.select([handle], [], [])
        log.error("the process that started this one has gone")
        end()

    threading.Thread(target=watch, name="end-with-starter", daemon=True).start()


def starter() -> int | None:
    """Return a handle on the process that started this one, None if a person did."""
    if given := os.environ.get(STARTER):
        try:
            return os.pidfd_open(int(given))
        except ProcessLookupError:
            # it went while this one was still importing
            log.error("process %s, which started this one, has gone", given)
            os._exit(1)
    parents = (process for process in psutil.Process().parents() if process.pid != 1)
    found = next((process for process in parents if process.name() not in SHELLS), None)
    return None if found is None else os.pidfd_open(found.pid)
