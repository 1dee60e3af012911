"""Model folders, copied to a disk of their own node, where all jobs of it read them."""

import logging
import os
import time
from pathlib import Path
from typing import TypeVar

import filelock

from lockstep import records
from lockstep.models.backend import BackendSettings
from lockstep.models.fingerprints import folder_state

log = logging.getLogger(__name__)

S = TypeVar("S", bound=BackendSettings)


def nearby(settings: S, node_local: str | None) -> S:
    """Return the settings of an editor or judge with its folders of weights copied to this node.

    Keys and records speak of the original, so this is for loading alone. The first job of a node
    copies, the others wait for it; a disk without room is a warning, and the original is taken.
    Hub ids stay: `HF_HOME` says where those are.

    Args:
        node_local: folder on a disk of the node itself; None copies nothing.
    """
    if node_local is None:
        return settings
    return settings.moved(lambda folder: _copy(Path(folder), node_local))


def _copy(source: Path, node_local: str) -> str:
    # a node's scheduler may name the folder of each job
    folder = Path(os.path.expandvars(node_local))
    state = records.sha256(f"{source.resolve()}\0{folder_state(str(source))}".encode())
    copy = folder / f"{source.name}-{state[:16]}"
    began = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{copy}.lock"):
            if copy.exists() and copy.lstat().st_uid not in (os.getuid(), 0):
                raise PermissionError(f"{copy} is another user's")
            if not copy.exists():
                records.copy_folder(source, copy)
                log.info("copied %s to %s in %.1f s", source, copy, time.monotonic() - began)
    except OSError as error:
        log.warning("loading from %s, no copy on this node (%s)", source, error)
        return str(source)
    return str(copy)
