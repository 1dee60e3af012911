"""All numbers of the report, from tables to what `schema` describes."""

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from lockstep import __version__, config, records, stats, tables, tiny
from lockstep.records import Rejected
from lockstep.report import schema
from lockstep.rubric import SCALE

Frames = Mapping[str, Mapping[str, pd.DataFrame]]
"""Editor → category → table."""

Scale = tuple[float, float]

PAIRED = ("category", "id", "instruction", "judge", "score", "status")
"""Columns that editors are compared by."""


def of_run(
    settings: config.Config,
    frames: Frames,
    summaries: Mapping[str, Mapping[str, Path]],
    steps: Mapping[str, Mapping[str, Any]],
    rejected: Path,
    further: Mapping[str, Sequence[Path]],
) -> schema.Report:
    """Return the numbers of a run.

    Args:
        summaries: `summary.json` of each editor and category.
        steps: how each editor's devices kept step, without what is only drawn.
        rejected: the benchmark's rejected samples.
        further: JSON lists of rows by the report's key that they join.
    """
    rejects = records.read_records(rejected, Rejected)
    categories = {
        editor: {category: records.read_json(path) for category, path in files.items()}
        for editor, files in summaries.items()
    }
    threshold = settings.report.threshold_on(SCALE)
    editors = {
        editor: {
            "categories": categories[editor],
            **_over_categories(own, threshold, SCALE),
            "lockstep": steps[editor],
        }
        for editor, own in frames.items()
    }
    report = {
        **_compared(frames, editors, settings.report, SCALE),
        "random_weights": _random(settings),
        "controls": _controls(settings, frames),
        **{
            key: [row for path in paths for row in records.read_json(path)]
            for key, paths in further.items()
        },
        "rejected": {
            "count": len(rejects),
            "samples": [reject.model_dump(mode="json") for reject in rejects],
        },
        "skipped": _skipped(frames),
        "settings": settings.model_dump(mode="json"),
        "versions": {
            "lockstep": __version__,
            "python": platform.python_version(),
            **_versions(row for rows in categories.values() for row in rows.values()),
        },
    }
    return schema.Report.model_validate(report)


def of_tables(
    frames: Frames,
    settings: config.Report,
    scale: Scale,
    sources: Mapping[str, Mapping[str, Any]],
) -> schema.Comparison:
    """Return the numbers of tables alone, whoever made them.

    Args:
        scale: lowest and highest score possible.
        sources: where they come from, as in `schema.Source`.
    """
    threshold = settings.threshold_on(scale)
    editors = {
        editor: {
            "categories": {
                category: tables.describe(frame, threshold, tables.criteria(frame), scale)
                for category, frame in own.items()
            },
            **_over_categories(own, threshold, scale),
        }
        for editor, own in frames.items()
    }
    compared = _compared(frames, editors, settings, scale)
    return schema.Comparison.model_validate({**compared, "sources": sources})


def _compared(
    frames: Frames, editors: Mapping[str, Any], settings: config.Report, scale: Scale
) -> dict[str, Any]:
    """Return what all numbers begin with: editors, how they compare, and whether that counts."""
    incomplete = [
        {"editor": editor, "category": category, "coverage": summary["coverage"]}
        for editor, numbers in editors.items()
        for category, summary in numbers["categories"].items()
        if summary["coverage"] is not None and summary["coverage"] < settings.min_coverage
    ]
    comparisons = _comparisons(frames)
    return {
        "title": settings.title,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "scale": scale,
        "threshold": settings.threshold_on(scale),
        "min_coverage": settings.min_coverage,
        "complete": not incomplete,
        "incomplete": incomplete,
        "editors": editors,
        "comparisons": comparisons,
        "leaderboard": [] if incomplete else _leaderboard(editors, comparisons),
    }


def _over_categories(
    own: Mapping[str, pd.DataFrame], threshold: float, scale: Scale
) -> dict[str, Any]:
    """Return an editor's numbers by difficulty, by tag and overall."""
    # copies of texts, a row at a time, are what would take memory
    needed = ["status", "score", "difficulty", "tags"]
    every = pd.concat(
        [frame[[*needed, *tables.criteria(frame)]] for frame in own.values()], ignore_index=True
    )
    # what the editor does not take says nothing of it
    asked = [frame for frame in own.values() if (frame["status"] != "skipped").any()]
    # a criterion that only some categories have says nothing of all
    known = [tables.criteria(frame) for frame in asked]
    shared = [name for name in tables.criteria(every) if all(name in names for names in known)]

    def describe(frame: pd.DataFrame) -> dict[str, Any]:
        return tables.describe(frame, threshold, shared, scale)

    overall = stats.overall(
        {category: tables.group(frame) for category, frame in own.items()}, threshold, scale
    )
    by_category = [tables.means(frame, shared) for frame in asked]
    criteria = {"micro": tables.means(every, shared), "macro": _means(by_category, shared)}
    return {
        "difficulties": {
            str(difficulty): describe(frame)
            for difficulty, frame in every.groupby("difficulty", sort=False)
        },
        "tags": {tag: describe(every.loc[rows]) for tag, rows in _tags(every).items()},
        "overall": {kind: {**row, "criteria": criteria[kind]} for kind, row in overall.items()},
    }


def _means(
    rows: Sequence[Mapping[str, float | None]], names: Sequence[str]
) -> dict[str, float | None]:
    """Return the mean over categories of each criterion that all have a mean of."""
    values = {name: [row[name] for row in rows] for name in names}
    return {
        name: None if not own or None in own else sum(own) / len(own)
        for name, own in values.items()
    }


def _tags(frame: pd.DataFrame) -> dict[str, pd.Index]:
    """Return the rows of each tag, the most frequent tag first."""
    several = frame["tags"].map(json.loads, na_action="ignore").explode().dropna()
    # a tag that a sample has twice is one
    rows = several.reset_index().drop_duplicates().groupby("tags", sort=True)["index"]
    found = {str(tag): pd.Index(own) for tag, own in rows}
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _comparisons(frames: Frames) -> list[dict[str, Any]]:
    """Return paired comparisons of all pairs of editors, by category and overall."""
    categories = list(dict.fromkeys(category for own in frames.values() for category in own))
    found = []
    for category in (*categories, "overall"):
        members = categories if category == "overall" else [category]
        own = {
            editor: pd.concat([frames_[c][list(PAIRED)] for c in members if c in frames_])
            for editor, frames_ in frames.items()
            if any(c in frames_ for c in members)
        }
        rows = [_comparison(category, own, *pair) for pair in combinations(own, 2)]
        corrected = stats.holm([row["p_value"] for row in rows])
        for row, p_holm in zip(rows, corrected, strict=True):
            row["p_holm"] = p_holm
            row["clear"] = stats.is_clear(row)
        found += rows
    return found


def _comparison(
    category: str, frames: Mapping[str, pd.DataFrame], first: str, second: str
) -> dict[str, Any]:
    one, two = (frame.loc[frame["status"] == "ok"] for frame in (frames[first], frames[second]))
    both = one.merge(two, on=["category", "id"], suffixes=("_first", "_second"))
    told = both[["instruction_first", "instruction_second"]]
    differing = told.notna().all(axis=1) & (told.iloc[:, 0] != told.iloc[:, 1])
    both = both[~differing]
    return {
        "category": category,
        "first": first,
        "second": second,
        "same_judge": _same_judge(both),
        "differing": int(differing.sum()),
        **stats.paired(both["score_first"].to_numpy(), both["score_second"].to_numpy()),
    }


def _same_judge(both: pd.DataFrame) -> bool | None:
    """Tell whether one judge scored both edits of each sample; None where a judge is unknown."""
    judges = both[["judge_first", "judge_second"]]
    if judges.empty or judges.isna().any(axis=None):
        return None
    return bool((judges["judge_first"] == judges["judge_second"]).all())


def _leaderboard(
    editors: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    overall = [row for row in comparisons if row["category"] == "overall"]
    clear = [{row["first"], row["second"]} for row in overall if row["clear"]]
    micro = {editor: numbers["overall"]["micro"] for editor, numbers in editors.items()}
    ranks = stats.ranks({editor: row["mean"] for editor, row in micro.items()}, overall)
    return [
        {
            "rank": rank,
            "editor": editor,
            **{key: micro[editor][key] for key in ("mean", "ci95", "count", "coverage")},
            "tied_with": [
                other for other in ranks if other != editor and {editor, other} not in clear
            ],
        }
        for editor, rank in ranks.items()
    ]


def _random(settings: config.Config) -> list[str]:
    """Return what has random weights: editors, and the judge."""
    models = {
        editor.name: editor.model
        for editor in settings.editors
        if isinstance(editor, config.DiffusersEditor)
    }
    if isinstance(settings.judge, config.Qwen3VLJudge):
        models["the judge"] = settings.judge.model
    return [n for n, model in models.items() if config.is_folder(model) and tiny.is_random(model)]


def _controls(settings: config.Config, frames: Frames) -> list[dict[str, Any]]:
    """Return how well the judge tells edits from what deserves no score, for each control.

    Controls are the edits of an editor that returns the source, and the edits themselves, judged
    against another sample's instruction.
    """
    copies = [e.name for e in settings.editors if isinstance(e, config.IdentityEditor)]
    rows = []
    for editor, own in frames.items():
        for name, members in {**{c: [c] for c in own}, "overall": list(own)}.items():
            controls = {
                "swapped": [s for c in members for s in own[c]["swapped_score"].dropna()],
            }
            if copies and editor not in copies:
                untouched = frames[copies[0]]
                controls["identity"] = [s for c in members for s in _scored(untouched[c])]
            edits = [s for c in members for s in _scored(own[c])]
            rows += [
                {"editor": editor, "category": name, "control": control}
                | stats.separation(edits, scores)
                for control, scores in controls.items()
                if scores
            ]
    return rows


def _scored(frame: pd.DataFrame) -> Sequence[float]:
    return tables.group(frame).scores


def _skipped(frames: Frames) -> list[dict[str, Any]]:
    """Return the samples that editors do not take, by editor, category and reason."""
    return [
        {"editor": editor, "category": category, "reason": str(reason), "ids": list(ids)}
        for editor, own in frames.items()
        for category, frame in own.items()
        for reason, ids in frame[frame["status"] == "skipped"].groupby("error", sort=False)["id"]
    ]


def _versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the software that edited and judged; several versions where they differ."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for versions in row["versions"].values():
            for package, known in versions.items():
                found.setdefault(package, set()).update(known)
    return {package: " and ".join(sorted(found[package])) for package in sorted(found)}
