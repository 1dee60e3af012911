"""Failures that all samples share: a fault of the run, not of its samples.

One sample's failure never stops the others. Where the first few all fail with one error and nothing
succeeds, the fault is in the model or its settings, and the rest would fail as well.
"""

import re
from collections.abc import Iterable

from lockstep.errors import SharedError

FEW = 3
"""Samples that fail alike before a fault is taken for that of all."""

REFUSAL = "the server's content filter refused"
"""How the sentence on a refusal begins: the fault is the sample's, however many are refused."""


class Watch:
    """Watch what a job's samples fail of.

    Args:
        succeeded: whether one is there already, made by the same model and settings.
    """

    def __init__(self, succeeded: bool) -> None:
        self._succeeded = succeeded
        self._kind: str | None = None
        self._samples: set[str] = set()

    def passed(self) -> None:
        self._succeeded = True

    def failed(self, sample: str, error: str) -> None:
        """Take note of a failure.

        Args:
            sample: id of the sample.
            error: one sentence.

        Raises:
            SharedError: if it is one of the first few in a row, all alike.
        """
        kind = _kind(sample, error)
        if kind != self._kind:
            self._kind = kind
            self._samples.clear()
        self._samples.add(sample)
        if not self._succeeded and kind is not None and len(self._samples) >= FEW:
            raise SharedError(
                f"{FEW} samples in a row failed alike and none succeeded, so the others are not "
                f"tried: {error}"
            )


def check_edits(what: str, outcomes: Iterable[tuple[str, str, str | None]]) -> None:
    """Refuse edits that all failed alike, as they may in shards with fewer samples than a few.

    Args:
        what: names them in messages.
        outcomes: id, status and error of each sample.

    Raises:
        SharedError: if there are a few.
    """
    found = list(outcomes)
    failed = [(sample, error) for sample, status, error in found if status == "edit_failed"]
    if len(found) < FEW or len(failed) < len(found):
        return
    kinds = {_kind(sample, error or "") for sample, error in failed}
    if len(kinds) == 1 and None not in kinds:
        # the jobs that edit came to their end, so that another run would not start them
        raise SharedError(
            f"{what}: all {len(found)} edits failed alike: {found[0][2]}; once the cause is "
            "mended, add `--forcerun edit` to the command"
        )


def _kind(sample: str, error: str) -> str | None:
    """Return what failures of one fault have in common; None of one that is the sample's own."""
    if error.startswith(REFUSAL) or re.search(rf"(?<!\w){re.escape(sample)}(?!\w)", error):
        return None
    return re.sub(r"0x[0-9a-f]+|\d+", "#", error)
