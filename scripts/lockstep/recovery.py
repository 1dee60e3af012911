"""A folder of results: who writes to it, and what an earlier run has left in it."""

import contextlib
import getpass
import os
import shlex
import stat
import sys
import time
from pathlib import Path

import filelock

from lockstep import layout, records
from lockstep.errors import ConfigError

LOCK = ".lock"
HOLDER = ".lock.holder"


def check_writable(folder: Path) -> None:
    """Raise ConfigError unless the results' folder, or the one to make it in, can be written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"results: found {str(folder)!r} not writable (its owner, its mode, or a file system "
            "that is mounted read-only), accepted is a folder that this user can write"
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


def forget_other_counts(folder: Path, count: int) -> None:
    """Delete records that were written for another number of shards.

    They may speak of images that this run replaces. What they knew is in images and judgements.
    """
    for path in folder.glob("shard-*-of-*.jsonl"):
        if not path.stem.endswith(f"-of-{count}"):
            path.unlink(missing_ok=True)
            layout.note(folder.parents[2], path).unlink(missing_ok=True)


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
        raise ConfigError(
            f"{folder}: expected a file system with locks, found one without ({error}); take "
            "another folder for results"
        ) from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    host, command = os.uname().nodename, shlex.join(sys.argv)
    holder = f"process {os.getpid()} of {_user()} on {host} since {since} ({command})"
    # on a full disk the lock must do
    with contextlib.suppress(OSError):
        records.write_text(folder / HOLDER, holder[:500])
    return lock


def held_by(folder: Path) -> str:
    """Return a sentence that says who holds a folder of results."""
    try:
        who = (folder / HOLDER).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        who = "another run"
    return f"{folder}: found it in use by {who}; wait for its end, or take another folder"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # a container may have no name for this user
        return str(os.getuid())
