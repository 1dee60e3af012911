"""What a run came to, in sentences for the terminal: how much failed, and why."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from lockstep.errors import SharedError
from lockstep.figures.tables import read_table
from lockstep.records.failures import sentence


def told(files: Mapping[str, Mapping[str, Path]], controls: Collection[str]) -> list[str]:
    """Return a sentence on failed edits and one on failed judgements, where there are any.

    Args:
        files: `table.csv` of each editor and category.
        controls: editors that only copy the source, which never fail; they count where there are
            no others.

    Raises:
        SharedError: if there are edits or judgements, and all of them failed.
    """
    own = [name for name in files if name not in controls] or list(files)
    read = (read_table(path) for name in own for path in files[name].values())
    found = pd.concat([frame[["id", "status", "error"]] for frame in read], ignore_index=True)
    edits = found[found["status"] != "skipped"]
    judged = edits[edits["status"].isin(["ok", "judge_failed"])]
    return [
        *_of(edits, "edit_failed", "edit"),
        *_of(judged, "judge_failed", "judgement"),
    ]


ADVICE: Mapping[str, str] = {
    "edit": "once the cause is mended, add `--forcerun edit` to the command",
    "judgement": "replies are kept; once the cause is mended, delete the folders `judgements` of "
    "the results and add `--forcerun score` to the command",
}
"""How each is tried again."""


def _of(rows: pd.DataFrame, status: str, noun: str) -> list[str]:
    own = rows[rows["status"] == status]
    errors = zip(own["id"], own["error"].where(own["error"].notna(), None), strict=True)
    if not (said := sentence(errors, len(rows), noun)):
        return []
    if len(own) == len(rows):
        raise SharedError(
            f"expected at least one {noun} that succeeded, found none: {said}; {ADVICE[noun]}"
        )
    return [said]
