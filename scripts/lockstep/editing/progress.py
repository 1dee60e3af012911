"""What is said of a job's edits while they are made: its log and its progress."""

import logging
from typing import IO

from tqdm import tqdm

from lockstep.devices.settings import Schedule
from lockstep.records import EditRecord, alike

log = logging.getLogger(__name__)

MARKS: dict[Schedule, str] = {"lockstep": "[SYNC]", "free": "[NO-SYNC]", "queue": "[QUEUE]"}
"""What marks each schedule in progress and logs."""


class Tally:
    """What became of the samples of a job so far, for its log, its progress and its end.

    Args:
        watch: None where a server may fail a share of its requests.
    """

    def __init__(self, watch: alike.Watch | None, progress: tqdm) -> None:
        self.progress = progress
        self._watch = watch
        self._failed = 0

    def note(self, record: EditRecord) -> None:
        """Take note of a record.

        Raises:
            SharedError: if the first few edits fail alike.
        """
        _log_edit(record)
        if record.status == "edit_failed":
            self._failed += 1
            self.progress.set_postfix_str(f"{self._failed} failed")
            if self._watch is not None:
                self._watch.failed(record.id, str(record.error))
        elif record.status == "ok" and self._watch is not None:
            self._watch.passed()
        self.progress.update()


def progress_bar(title: str, count: int, terminal: IO[str], line: int) -> tqdm:
    """Return a bar on a line of a terminal; none is drawn elsewhere."""
    return tqdm(
        total=count,
        desc=title,
        file=terminal,
        disable=not terminal.isatty(),
        position=line,
        leave=False,
        bar_format="{desc} {n}/{total} {bar:20} {elapsed} left {remaining}{postfix}",
    )


def _log_edit(record: EditRecord) -> None:
    took = " from the cache" if record.cached else f" in {record.edit_seconds:.2f} s"
    waits = f"waited {record.wait_seconds:.2f} s, stalled {record.stall_seconds:.2f} s"
    log.info("%s %s%s (%s)", record.id, record.status, took, waits)
    if record.error:
        log.warning("%s: %s", record.id, record.error)
    for warning in record.served.warnings if record.served else ():
        log.warning("%s: %s", record.id, warning)
