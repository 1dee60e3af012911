"""Reasons why jobs fail. Each reason is told once, however many jobs share it."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from lockstep.errors import counted


class Job(NamedTuple):
    what: str
    """Its message, such as `editing physical with own, shard 0`."""
    wildcards: Mapping[str, str]

    @property
    def of_shards(self) -> str:
        """What it and the other shards do together; "" where it is no shard."""
        own = f", shard {self.wildcards.get('shard')}"
        return self.what.replace(own, "") if own in self.what else ""


class Failures:
    """Jobs that failed for good, and their reasons."""

    def __init__(self) -> None:
        self._reasons: set[str] = set()
        self._shards: Counter[tuple[str, str]] = Counter()
        """Shards by what they do together and by their reason."""

    def told(self, job: Job, reason: str, line: str) -> str:
        """Return what is to be said of a failure; "" if another shard has said it.

        Args:
            reason: one sentence; two that differ in numbers alone are the same.
            line: says which job failed.
        """
        kind = re.sub(r"\d+", "#", reason)
        of_shards = job.of_shards
        self._shards[of_shards, kind] += 1
        if of_shards and self._shards[of_shards, kind] > 1:
            return ""
        is_known = not reason or kind in self._reasons
        self._reasons.add(kind)
        return line if is_known else f"Error: {reason}\n{line}"

    def summary(self) -> str:
        """Return a line for all shards that failed alike."""
        found = [(what, n) for (what, _), n in self._shards.items() if what and n > 1]
        return "".join(f"FAILED {what}: {counted(n, 'shard')} alike\n" for what, n in found)
