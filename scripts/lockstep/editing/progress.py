"""What is said of a job's edits while they are made: in its log, and to the run."""

import logging

from lockstep.devices.settings import Schedule
from lockstep.records import EditRecord, alike, progress

log = logging.getLogger(__name__)

MARKS: dict[Schedule, str] = {"lockstep": "[SYNC]", "free": "[NO-SYNC]", "queue": "[QUEUE]"}
"""What marks each schedule in progress and logs."""


class Tally:
    """What becomes of the samples of a job, for its log, the run and its end.

    Args:
        watch: None where a server may fail a share of its requests.
    """

    def __init__(self, watch: alike.Watch | None) -> None:
        self._watch = watch

    def note(self, record: EditRecord) -> None:
        """Take note of a record.

        Raises:
            SharedError: if the first few edits fail alike.
        """
        _log_edit(record)
        if record.status == "edit_failed":
            if self._watch is not None:
                self._watch.failed(record.id, str(record.error))
        elif record.status == "ok" and self._watch is not None:
            self._watch.passed()
        if not record.cached:
            progress.note(failed=int(record.status == "edit_failed"))


def _log_edit(record: EditRecord) -> None:
    took = " from the cache" if record.cached else f" in {record.edit_seconds:.2f} s"
    waits = f"waited {record.wait_seconds:.2f} s, stalled {record.stall_seconds:.2f} s"
    log.info("%s %s%s (%s)", record.id, record.status, took, waits)
    if record.error:
        log.warning("%s: %s", record.id, record.error)
    for warning in record.served.warnings if record.served else ():
        log.warning("%s: %s", record.id, warning)
