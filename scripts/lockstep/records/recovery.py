"""A folder of results: who writes to it, and what an earlier run has left in it."""

import contextlib
import fcntl
import getpass
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from lockstep import layout, records
from lockstep.errors import ConfigError

LOCK = ".lock"
HOLDER = ".lock.holder"

PATIENCE = 5.0
"""Seconds in which another job of the same run may sign that it holds the results."""


def check_writable(folder: Path) -> None:
    """Raise ConfigError unless the results' folder, or the one to make it in, can be written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"results: expected a folder that this user can write, found {str(folder)!r} not "
            "writable (its owner, its mode, or a file system that is mounted read-only)"
        )


def check_tree(folder: Path) -> None:
    """Raise ConfigError if a folder of results, which may come from others, leads out of itself.

    In it are files and folders. A link that stays inside is one of them; one that leads out would
    have something else read or written, and a device is no file. A pipe makes wait who reads it,
    and does nothing else.
    """
    inside = folder.resolve()
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_symlink():
                target = Path(entry.path).resolve()
                if not target.is_relative_to(inside):
                    raise ConfigError(
                        f"{entry.path}: expected files and folders in a folder of results, found a "
                        f"link that leads out of it, to {target}; put what it leads to in its place"
                    )
            elif entry.is_dir():
                waiting.append(Path(entry.path))
            elif not (entry.is_file() or stat.S_ISFIFO(entry.stat().st_mode)):
                raise ConfigError(
                    f"{entry.path}: expected files and folders in a folder of results, found "
                    "neither; remove it"
                )


def forget_other_counts(folder: Path, kind: str, count: int, judge: str = "") -> None:
    """Delete records that were written for another number of shards.

    They may speak of images that this run replaces. What they knew is in images and judgements.
    """
    for path in layout.known_shards(folder, kind, judge):
        if not path.stem.endswith(f"-of-{count}"):
            path.unlink(missing_ok=True)
            layout.note(layout.place(folder).results, path).unlink(missing_ok=True)


def hold(folder: Path) -> filelock.BaseFileLock:
    """Hold a folder of results against every other run, until the lock returned is let go.

    The kernel lets go of it when this process ends, however that comes.

    Raises:
        ConfigError: if another run holds it, naming that run and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ConfigError(held_by(folder)) from None
    except (OSError, NotImplementedError) as error:
        raise ConfigError(_no_locks(folder, error)) from None
    _sign(folder, f"process {os.getpid()}", shlex.join(sys.argv))
    return lock


def share(folder: Path, run: str, sweep: Callable[[], None]) -> None:
    """Hold a folder of results along with the other jobs of a run, until this process ends.

    Args:
        run: name of the run.
        sweep: called if no other process holds it, before another can.

    Raises:
        ConfigError: if another run holds it, naming that run and since when.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise ConfigError(_no_locks(folder, error)) from None
    name = f"run {run[:8]}"
    patience = time.monotonic() + PATIENCE
    while not _shared(folder, handle, name, sweep):
        if time.monotonic() > patience and not _is_of(folder, name):
            os.close(handle)
            raise ConfigError(held_by(folder))
        time.sleep(0.1)


def _shared(folder: Path, handle: int, name: str, sweep: Callable[[], None]) -> bool:
    """Try to hold a folder with others of the same name, and tell whether that succeeded."""
    if _locked(folder, handle, fcntl.LOCK_EX):
        _sign(folder, name, shlex.join(sys.argv[-1:]))
        sweep()
    if not _locked(folder, handle, fcntl.LOCK_SH):
        return False
    if not _is_of(folder, name):
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False
    return True


def _locked(folder: Path, handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigError(_no_locks(folder, error)) from None
    return True


def _is_of(folder: Path, name: str) -> bool:
    return _holder(folder).startswith(f"{name} ")


def _sign(folder: Path, who: str, command: str) -> None:
    """Leave a note of who holds a folder."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = f"{who} of {_user()} on {os.uname().nodename} since {since} ({command})"
    # on a full disk the lock must do
    with contextlib.suppress(OSError):
        records.write_text(folder / HOLDER, holder[:500])


def is_held(folder: Path) -> bool:
    """Tell whether a living run holds a folder of results; a killed one leaves only its name.

    Where the lock cannot be opened, as another user's may not, the name is believed.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return True
    lock.release()
    return False


def held_by(folder: Path) -> str:
    """Return a sentence that says who holds a folder of results."""
    who = _holder(folder) or "another run"
    return f"{folder}: found it in use by {who}; wait for its end, or take another folder"


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _no_locks(folder: Path, error: Exception) -> str:
    return (
        f"{folder}: expected a file system with locks, found one without ({error}); take "
        "another folder for results"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # a container may have no name for this user
        return str(os.getuid())
