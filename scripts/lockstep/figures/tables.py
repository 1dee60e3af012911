"""Tables of one editor and category: a row for each sample, and their summary."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lockstep import records
from lockstep.errors import DamagedError
from lockstep.figures import preservation, stats
from lockstep.foreign import media
from lockstep.records import EditRecord, PreservationRecord, ScoreRecord
from lockstep.records.columns import COLUMNS, MEASURES, NUMBERS, SIMILARITIES
from lockstep.rubrics.rubric import SCALE, Rubric


def table(
    manifest: Path,
    edits: Sequence[Path],
    scores: Sequence[Path],
    rubric: Rubric,
    folder: Path,
    preserved: Mapping[str, PreservationRecord],
    similar: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Return a row for each sample of a category, in the manifest's order.

    Columns: those of `records.columns`, with one for each criterion after the scores. Scores are 0
    to 10 and empty unless status is ok; a sample without records is `missing`. `tags` is a JSON
    list, and so is `judgements`: the criteria of each of several judgements, in the columns' order.

    Args:
        folder: the category's results, which the edits' image paths are relative to.
        preserved: what each edit kept of its source, by id.
        similar: what models told of each edit, by id and column.
    """
    names = rubric.names
    # of a record only what the table shows stays in memory
    edited = {
        r.id: (r.image, r.prompt_cut, r.rewritten) for r in records.each_record(edits, EditRecord)
    }
    scored = {r.id: _scored(r, names) for r in records.each_record(scores, ScoreRecord)}
    nothing = {"status": "missing", "error": "found no record of this sample"}
    first = COLUMNS.index("difficulty")
    columns = [*COLUMNS[:first], *names, *COLUMNS[first:]]
    rows = []
    for sample in records.read_manifest(manifest):
        image, prompt_cut, rewritten = edited.get(sample.id, (None, None, None))
        row = {
            **(similar or {}).get(sample.id, {}),
            **scored.pop(sample.id, nothing),
            "id": sample.id,
            "category": sample.category,
            "difficulty": sample.difficulty,
            "tags": records.canonical_json(sample.tags),
            "instruction": sample.instruction,
            "rewritten": rewritten,
            "description": sample.description,
            "rationale": sample.rationale,
            "source": sample.image,
            "edited": str(folder / image) if image else None,
            "prompt_cut": prompt_cut,
            **_preserved(preserved.get(sample.id)),
        }
        rows.append(tuple(map(row.get, columns)))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys([*names, *NUMBERS, *MEASURES, *SIMILARITIES], "Float64"))


def _preserved(record: PreservationRecord | None) -> dict[str, Any]:
    """Return what a table shows of what an edit kept, by column."""
    if record is None:
        return {}
    return {name: getattr(record, name) for name in (*MEASURES, "copy_of_source")}


def _scored(record: ScoreRecord, names: Iterable[str]) -> dict[str, Any]:
    """Return what a table shows of a score, by column."""
    return {
        "status": record.status,
        **{name: getattr(record, name) for name in NUMBERS},
        **{name: record.criteria.get(name) for name in names},
        "judgements": _judgements(record, names),
        "reasoning": record.reasoning,
        "error": record.error,
        "judge": record.fingerprint,
    }


def _judgements(record: ScoreRecord, names: Iterable[str]) -> str | None:
    """Return the criteria of several judgements as a JSON list of lists, in the rubric's order."""
    if not record.judgements:
        return None
    return records.canonical_json([[own.get(n) for n in names] for own in record.judgements])


def describe(
    frame: pd.DataFrame, threshold: float, criteria: Sequence[str], scale: tuple[float, float]
) -> dict[str, Any]:
    """Return the numbers of `stats.summarise` over a table's rows, and those of criteria.

    `criteria` are their means, `criteria_std` their standard deviations (ddof 0).
    """
    return {
        **stats.summarise(group(frame), threshold, scale),
        "criteria": means(frame, criteria),
        "criteria_std": spreads(frame, criteria),
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
        clusters(frame[ok]).tolist(),
    )


def clusters(frame: pd.DataFrame) -> pd.Series:
    """Return what each row of a table is independent of others by: its source image.

    Images are named by their hashes, so samples of one image have one name in every category and
    run. Where no source is known, as of scores of others, it is category and id.
    """
    own = frame["category"] + "/" + frame["id"]
    names = frame["source"].map(lambda path: path.rpartition("/")[2], na_action="ignore")
    return names.astype(object).fillna(own)


def tags(frame: pd.DataFrame) -> dict[str, pd.Index]:
    """Return the rows of each tag, the most frequent tag first."""
    several = frame["tags"].map(json.loads, na_action="ignore").explode().dropna()
    # a tag that a sample has twice is one
    rows = several.reset_index().drop_duplicates().groupby("tags", sort=True)["index"]
    found = {str(tag): pd.Index(own) for tag, own in rows}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def means(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, float | None]:
    """Return the mean of each column over the scored samples; None where there is nothing."""
    ok = frame[frame["status"] == "ok"]
    return {name: float(ok[name].mean()) if ok[name].notna().any() else None for name in columns}


def spreads(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, float | None]:
    """Return the standard deviation (ddof 0) of each column over the scored samples."""
    ok = frame[frame["status"] == "ok"]
    return {
        name: float(ok[name].std(ddof=0)) if ok[name].notna().any() else None for name in columns
    }


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
        that are neither it nor criteria), `preservation` (what the edits kept of their sources),
        `rubric` (its hash), `judges` (by fingerprint), `versions` (of the software that edited and
        judged) and `seconds` (sums over edits, waits and judgements; cached ones count with the
        time that they took).
    """
    versions: dict[str, dict[str, set[str]]] = {"edit": {}, "judge": {}}
    seconds = dict.fromkeys(("edit", "wait", "judge"), 0.0)
    judges: dict[str, dict[str, Any]] = {}
    for edit in records.each_record(edits, EditRecord):
        _add(versions["edit"], edit.versions)
        seconds["edit"] += edit.edit_seconds or 0
        seconds["wait"] += edit.wait_seconds
    for score in records.each_record(scores, ScoreRecord):
        _add(versions["judge"], score.versions)
        seconds["judge"] += score.judge_seconds or 0
        if fingerprint := score.fingerprint:
            judges[fingerprint] = {"judge": score.judge, "versions": score.versions}
    return {
        **describe(frame, threshold, rubric.names, SCALE),
        "status": {str(status): int(n) for status, n in frame["status"].value_counts().items()},
        "means": means(frame, [name for name in NUMBERS if name != "score"]),
        "preservation": preservation.summarise(frame),
        "rubric": rubric.sha256,
        "judges": judges,
        "versions": {
            stage: {package: sorted(known) for package, known in sorted(own.items())}
            for stage, own in versions.items()
        },
        "seconds": {stage: round(own, 3) for stage, own in seconds.items()},
    }


def _add(found: dict[str, set[str]], versions: Mapping[str, str]) -> None:
    """Add the versions of packages to all that are known."""
    for package, version in versions.items():
        found.setdefault(package, set()).add(version)


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV whose texts are safe in spreadsheets; see `media.cell`."""
    safe = media.cells(frame)
    return safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table back; texts such as `007` and `NA` stay what they are.

    Raises:
        DamagedError: if it is no such table, or an id is no file's name.
    """
    texts = [column for column in COLUMNS if column not in (*NUMBERS, *MEASURES, *SIMILARITIES)]
    try:
        frame = pd.read_csv(
            path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""]
        )
        written = [column for column in texts if column in frame]
        frame[written] = frame[written].map(media.from_cell, na_action="ignore")
        _check(frame, texts)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DamagedError(f"{path}: expected a table of a run, found another ({reason})") from None
    # a table of an earlier version has fewer columns
    return frame.assign(**{column: None for column in COLUMNS if column not in frame})


def _check(frame: pd.DataFrame, texts: Sequence[str]) -> None:
    """Raise ValueError unless a table, which may come from others, holds what its columns say."""
    if "id" not in frame or frame["id"].isna().any():
        raise ValueError("a row has no id")
    for name in frame["id"]:
        records.file_name(name)
    numbers = set(frame.select_dtypes("number"))
    for column in frame:
        if column not in numbers and column not in texts and frame[column].notna().any():
            raise ValueError(f"{column}: a value is no number")
    for column in {"tags", "judgements"}.intersection(frame):
        for value in frame[column].dropna():
            if not isinstance(json.loads(value), list):
                raise ValueError(f"{column}: {value:.60} is no list")
