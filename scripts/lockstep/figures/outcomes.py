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


STAGES: Mapping[str, str] = {"edit": "edit", "judgement": "score"}
"""Rule that makes each, which is also the name of its logs' folder."""


def _of(rows: pd.DataFrame, status: str, noun: str) -> list[str]:
    own = rows[rows["status"] == status]
    errors = zip(own["id"], own["error"].where(own["error"].notna(), None), strict=True)
    if not (said := sentence(errors, len(rows), noun)):
        return []
    if len(own) == len(rows):
        stage = STAGES[noun]
        raise SharedError(
            f"expected at least one {noun} that succeeded, found none: {said}; once the cause is "
            f"mended, `snakemake --forcerun {stage}` tries again"
        )
    return [said]
