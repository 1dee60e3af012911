"""How editors compare, by the number of each sample that they are ranked by."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from lockstep.editors.settings import EditorSettings
from lockstep.figures import stats, tables
from lockstep.report.terms import Frames, Headlines, Terms

PAIRED = ("category", "id", "instruction", "judge", "status")
"""Columns that editors are compared by, beside the headline number."""


def pairs(frames: Frames, headlines: Headlines, terms: Terms) -> list[dict[str, Any]]:
    """Return paired comparisons of all pairs of editors, by category and overall."""
    categories = list(dict.fromkeys(category for own in frames.values() for category in own))
    found = []
    for category in (*categories, *(() if terms.scales else ("overall",))):
        members = categories if category == "overall" else [category]
        own = {
            editor: pd.concat([_paired(frames_[c], headlines[editor][c]) for c in there])
            for editor, frames_ in frames.items()
            if (there := [c for c in members if c in frames_])
        }
        found += _corrected(
            [_comparison(category, own, *pair, terms) for pair in combinations(own, 2)]
        )
    return found


def over_all(
    wanted: Sequence[tuple[str, str]], frames: Frames, headlines: Headlines, terms: Terms
) -> list[dict[str, Any]]:
    """Return paired comparisons of some pairs of editors over all categories."""
    own = {
        editor: pd.concat([_paired(frame, headlines[editor][c]) for c, frame in frames_.items()])
        for editor, frames_ in frames.items()
        if any(editor in pair for pair in wanted)
    }
    return _corrected([_comparison("overall", own, *pair, terms) for pair in wanted])


def twins(
    editors: Sequence[EditorSettings], frames: Frames, headlines: Headlines, terms: Terms
) -> list[dict[str, Any]]:
    """Return how editors with a rewriter differ from those that lack it alone, as `schema.Twins`.

    The settings of twins are the same but for those that decide no edit.
    """
    editors = [editor for editor in editors if editor.further_seed is None]
    plain = [editor for editor in editors if editor.rewrite is None]
    wanted = [
        (editor.name, direct.name)
        for editor in editors
        if editor.rewrite is not None
        for direct in [each for each in plain if _decides(each) == _decides(editor)][:1]
    ]
    return [
        {"rewritten": row["first"], "direct": row["second"], "difference": row}
        for row in over_all(wanted, frames, headlines, terms)
    ]


def _decides(editor: EditorSettings) -> dict[str, Any]:
    return editor.model_dump(mode="json", exclude=set(editor.neutral))


def _corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add what follows from looking at all of them together."""
    for row, p_holm in zip(rows, stats.holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = p_holm
        row["clear"] = stats.is_clear(row)
    return rows


def _paired(frame: pd.DataFrame, headline: pd.Series) -> pd.DataFrame:
    """Return what editors are compared by, of the samples that have it."""
    own = frame[list(PAIRED)].assign(headline=headline, cluster=tables.clusters(frame))
    return own[(own["status"] == "ok") & own["headline"].notna()]


def _comparison(
    category: str, frames: Mapping[str, pd.DataFrame], first: str, second: str, terms: Terms
) -> dict[str, Any]:
    one, two = frames[first], frames[second]
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
        **stats.paired(
            both["headline_first"].to_numpy(dtype=float),
            both["headline_second"].to_numpy(dtype=float),
            terms.headline_of(category),
            both["cluster_first"].tolist(),
            both["category"].tolist(),
            category == "overall" and terms.headline["aggregate"] == "macro",
        ),
    }


def _same_judge(both: pd.DataFrame) -> bool | None:
    """Tell whether one judge scored both edits of each sample; None where a judge is unknown."""
    judges = both[["judge_first", "judge_second"]]
    if judges.empty or judges.isna().any(axis=None):
        return None
    return bool((judges["judge_first"] == judges["judge_second"]).all())


def leaderboard(
    editors: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    overall = [row for row in comparisons if row["category"] == "overall"]
    clear = [{row["first"], row["second"]} for row in overall if row["clear"]]
    headline = {editor: numbers["headline"] for editor, numbers in editors.items()}
    micro = {editor: numbers["overall"]["micro"] for editor, numbers in editors.items()}
    ranks = stats.ranks({editor: row["mean"] for editor, row in headline.items()}, overall)
    return [
        {
            "rank": rank,
            "editor": editor,
            **{key: headline[editor][key] for key in ("mean", "ci95", "clusters")},
            **{key: micro[editor][key] for key in ("count", "coverage")},
            "tied_with": [
                other for other in ranks if other != editor and {editor, other} not in clear
            ],
        }
        for editor, rank in ranks.items()
    ]
