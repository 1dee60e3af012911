"""A count that several processes keep in one file, and that outlives each of them."""

import fcntl
import os
from pathlib import Path


def count(path: Path, most: int | None) -> bool:
    """Add one to a count, unless it has come to its most; tell whether it was added.

    The file holds as many bytes as were counted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        if most is not None and os.fstat(file).st_size >= most:
            return False
        os.write(file, b".")
        return True
    finally:
        os.close(file)


def counted(path: Path) -> int:
    """Return a count; 0 where nothing was counted."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
