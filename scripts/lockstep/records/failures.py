"""Failures in a sentence: how many there are, and the commonest reason."""

import re
from collections.abc import Iterable

from lockstep.errors import counted

UNKNOWN = "no reason given"


def reason(sample: str, error: str | None) -> str:
    """Return why a sample failed, without its id, so that equal reasons are equal texts."""
    return re.sub(rf"(?<!\w){re.escape(sample)}(?!\w)", "…", error or "")


def by_reason(failed: Iterable[tuple[str, str | None]]) -> list[tuple[str, list[str]]]:
    """Return each reason with the samples that failed for it, the commonest first.

    Args:
        failed: id and error of each.
    """
    found: dict[str, list[str]] = {}
    for sample, error in failed:
        found.setdefault(reason(sample, error), []).append(sample)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def sentence(failed: Iterable[tuple[str, str | None]], of: int, noun: str) -> str:
    """Return how many edits or judgements failed and the commonest reason; empty where none did.

    Args:
        failed: id and error of each that failed.
        of: number of all.
        noun: what they are, in the singular.
    """
    errors = list(failed)
    if not errors:
        return ""
    (common, samples), *_ = by_reason(errors)
    if len(samples) == 1:
        # with the id, there is one to look at
        common = next(error or "" for sample, error in errors if sample == samples[0])
    count = "" if len(samples) == len(errors) else f", {len(samples)} of them for this reason"
    return f"{len(errors)} of {counted(of, noun)} failed{count}: {common or UNKNOWN}"
