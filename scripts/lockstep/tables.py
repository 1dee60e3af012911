"""Tables of one editor and category: a row for each sample, and their summary."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lockstep import records, stats
from lockstep.records import EditRecord, ScoreRecord
from lockstep.rubric import COLUMNS, SCALE, Rubric

NUMBERS = ("score", "expected_score", "uncertainty", "spread", "swapped_score")
"""Columns beside the criteria that hold numbers; all others hold texts."""


def table(
    manifest: Path, edits: Sequence[Path], scores: Sequence[Path], rubric: Rubric, folder: Path
) -> pd.DataFrame:
    """Return a row for each sample of a category, in the manifest's order.

    Columns: those of `rubric.COLUMNS`, with one for each criterion after the scores. Scores are 0
    to 10 and empty unless status is ok; a sample without records is `missing`. `tags` is a JSON
    list.

    Args:
        folder: the category's results, which the edits' image paths are relative to.
    """
    edited = {r.id: r for path in edits for r in records.read_records(path, EditRecord)}
    scored = {r.id: r for path in scores for r in records.read_records(path, ScoreRecord)}
    names = rubric.names
    rows = []
    for sample in records.read_manifest(manifest):
        edit, score = edited.get(sample.id), scored.get(sample.id)
        row = {
            "id": sample.id,
            "category": sample.category,
            "status": score.status if score else "missing",
            **{name: getattr(score, name) if score else None for name in NUMBERS},
            **{name: score.criteria.get(name) if score else None for name in names},
            "difficulty": sample.difficulty,
            "tags": records.canonical_json(sample.tags),
            "instruction": sample.instruction,
            "rationale": sample.rationale,
            "source": sample.image,
            "edited": str(folder / edit.image) if edit and edit.image else None,
            "reasoning": score.reasoning if score else None,
            "error": score.error if score else "found no record of this sample",
            "judge": score.fingerprint if score else None,
        }
        rows.append(row)
    first = COLUMNS.index("difficulty")
    frame = pd.DataFrame(rows, columns=[*COLUMNS[:first], *names, *COLUMNS[first:]])
    return frame.astype(dict.fromkeys([*names, *NUMBERS], "Float64"))


def describe(
    frame: pd.DataFrame,
    threshold: float,
    criteria: Sequence[str],
    scale: tuple[float, float],
) -> dict[str, Any]:
    """Return the numbers of `stats.summarise` over a table's rows, and `criteria`, their means."""
    return {
        **stats.summarise(group(frame), threshold, scale),
        "criteria": means(frame, criteria),
    }


def group(frame: pd.DataFrame) -> stats.Group:
    """Return the scores of a table's rows, and what became of those without one.

    What its editor does not take is no failure of it, and says nothing of its coverage.
    """
    ok = frame["status"] == "ok"
    failures = frame.loc[~frame["status"].isin(["ok", "skipped"]), "status"].value_counts()
    return stats.Group(
        frame.loc[ok, "score"].to_numpy(dtype=float),
        {str(kind): int(number) for kind, number in sorted(failures.items())},
        int((frame["status"] == "skipped").sum()),
    )


def means(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, float | None]:
    """Return the mean of each column over the scored samples; None where there is nothing."""
    ok = frame[frame["status"] == "ok"]
    return {name: float(ok[name].mean()) if ok[name].notna().any() else None for name in columns}


def criteria(frame: pd.DataFrame) -> list[str]:
    """Return the criteria of a table, in order."""
    return [column for column in frame.columns if column not in COLUMNS]


def summary(
    frame: pd.DataFrame,
    edits: Sequence[Path],
    scores: Sequence[Path],
    rubric: Rubric,
    threshold: float,
) -> dict[str, Any]:
    """Summarise a table and the time that it took.

    Returns:
        what `describe` says, `status` (samples by status), `means` (of the numbers of a score
        that are neither it nor criteria), `rubric` (its hash), `judges` (by fingerprint),
        `versions` (of the software that edited and judged) and `seconds` (sums over edits, waits
        and judgements; cached ones count with the time that they took).
    """
    edited = [r for path in edits for r in records.read_records(path, EditRecord)]
    scored = [r for path in scores for r in records.read_records(path, ScoreRecord)]
    return {
        **describe(frame, threshold, rubric.names, SCALE),
        "status": {str(status): int(n) for status, n in frame["status"].value_counts().items()},
        "means": means(frame, [name for name in NUMBERS if name != "score"]),
        "rubric": rubric.sha256,
        "judges": {
            record.fingerprint: {"judge": record.judge, "versions": record.versions}
            for record in scored
            if record.fingerprint
        },
        "versions": {
            "edit": _union(record.versions for record in edited),
            "judge": _union(record.versions for record in scored),
        },
        "seconds": {
            "edit": round(sum(r.edit_seconds or 0 for r in edited), 3),
            "wait": round(sum(r.wait_seconds for r in edited), 3),
            "judge": round(sum(r.judge_seconds or 0 for r in scored), 3),
        },
    }


def _union(several: Iterable[dict[str, str]]) -> dict[str, list[str]]:
    """Return each package with all its versions."""
    found: dict[str, set[str]] = {}
    for versions in several:
        for package, version in versions.items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in sorted(found.items())}


def to_csv(frame: pd.DataFrame) -> str:
    # a carriage return inside an unquoted text would end the row
    return frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table back; texts such as `007` and `NA` stay what they are."""
    texts = [column for column in COLUMNS if column not in NUMBERS]
    frame = pd.read_csv(
        path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""]
    )
    # a table of an earlier version has fewer columns
    return frame.assign(**{column: None for column in COLUMNS if column not in frame})
