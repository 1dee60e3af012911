"""What a job reports of itself while it works, to the process that shows how far the run is.

A report is a datagram. Whether somebody receives it changes nothing: a job whose run has no socket
on its host, as on a cluster, works on in silence. No output depends on a report.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

SOCKET = "LOCKSTEP_PROGRESS"
"""Environment variable with the path of the run's socket."""

WHOLE = 1.0
"""Seconds that the last report of a job waits to be sent."""

SAMPLE = 200
"""Letters of a sample's id that a report holds."""


class Work(NamedTuple):
    """Which job a report is of."""

    stage: str
    """prepare, rewrite, edit, score, pairs or anchors."""
    editor: str = ""
    category: str = ""
    judge: str = ""
    """Folder of the judge among several; the first one has none."""
    shard: int = 0
    device: str = ""
    """Name of its device, or the names of several, joined by +; none of a job without any."""


@dataclass
class Report:
    """How far a job is."""

    work: Work
    state: str = "begun"
    """begun, loading, loaded or working."""
    total: int = 0
    """Samples, or judgements."""
    done: int = 0
    """Those with an outcome, cached and failed ones included."""
    cached: int = 0
    failed: int = 0
    made: int = 0
    """Those that took work, judgements ahead of other jobs included."""
    sample: str = ""
    """The one in hand."""
    since: float = 0.0
    """When it began to work, with its model loaded; a Unix time, as all below. 0 before."""
    loading: float = 0.0
    """Seconds that its model took to load; 0 where it found one."""
    first: float = 0.0
    """When the first of `made` was there; what is first in a process takes longer."""
    first_made: int = 0
    """How many were there by then: a batch may hold several."""
    last: float = 0.0
    """When the last of `made` was there."""
    at: float = 0.0
    """When this was sent."""


_own: Report | None = None
_sender: tuple[socket.socket, str] | None = None


@contextmanager
def reported(work: Work) -> Iterator[None]:
    """Let what is said meanwhile be said of a job of this process."""
    global _own
    _own = Report(work)
    _send(_own)
    try:
        yield
    finally:
        _send(_own, WHOLE)
        _own = None


@contextmanager
def loading(work: Work | None = None) -> Iterator[None]:
    """Let it be known that a model is loaded meanwhile.

    Args:
        work: a job that is still to come; None is the one in hand.
    """
    report, began = _own if work is None else Report(work), time.time()
    if report is None:
        yield
        return
    report.state = "loading"
    _send(report)
    yield
    report.state, report.loading = "loaded", time.time() - began
    _send(report)


def expect(total: int, cached: int) -> None:
    """Say how many items the job has, or has beside those it had."""
    if _own is not None:
        _own.total += total
        _own.cached += cached
        _own.done += cached
        _send(_own)


def working() -> None:
    """Say that the model is loaded."""
    if _own is not None and _own.state != "working":
        _own.state, _own.since = "working", time.time()
        _send(_own)


def take(sample: str) -> None:
    """Say which sample is in hand."""
    if _own is not None:
        _own.sample = sample[:SAMPLE]
        _send(_own)


def note(count: int = 1, failed: int = 0, own: int | None = None) -> None:
    """Say that items have their outcome.

    Args:
        count: those that took work.
        own: those of this job; all if None.
    """
    if _own is None:
        return
    _own.last = time.time()
    _own.made += count
    _own.done += count if own is None else own
    _own.failed += failed
    if not _own.first:
        _own.first, _own.first_made = _own.last, _own.made
    _send(_own)


def _send(report: Report, patience: float = 0.0) -> None:
    """Send a report, if anybody receives it.

    Args:
        patience: seconds to wait where the queue is full, as it is after a few reports. The next
            report says all that a lost one does; the last one of a job is worth a wait.
    """
    global _sender
    if not (path := os.environ.get(SOCKET)):
        return
    with suppress(OSError):
        if _sender is None:
            folder = os.open(Path(path).parent, os.O_PATH)
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # a name short enough for a socket's, of 107 bytes at most
            _sender = sender, f"/proc/self/fd/{folder}/{Path(path).name}"
        own, address = _sender
        report.at = time.time()
        own.settimeout(patience)
        own.sendto(json.dumps(asdict(report)).encode(), address)
