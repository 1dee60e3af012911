"""What people say of edits: how far they agree with each other, and a judge with them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lockstep.config.report import HumanScale
from lockstep.figures import raters, tables
from lockstep.figures.correlations import correlations
from lockstep.figures.human_files import People, check_known, columns_of
from lockstep.figures.human_votes import votes_rows
from lockstep.foreign import media
from lockstep.foreign.ids import same_id
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import Rubric
from lockstep.rubrics.ties import settled

MOST_ORDINAL = 7
"""Most different values of a scale that is taken for ordinal, as Likert's scales are."""

LINES = {
    "raters": {
        **{name: name for name in ("scale", "category", "editor", "edits", "shared", "ratings")},
        "missing": "missing",
        "alpha (ordinal)": "alpha_ordinal",
        "alpha (interval)": "alpha_interval",
        "kappa": "kappa",
        "Spearman": "spearman",
        "std": "std",
        "ceiling": "ceiling",
    },
    "agreement": {
        **{name: name for name in ("scale", "judge", "category", "editor")},
        "edits": "count",
        "Spearman": "spearman",
        "each rater": "each_fisher",
        "ceiling": "ceiling",
    },
    "votes": {
        **{name: name for name in ("category", "editor", "pairs", "shared", "votes")},
        "alpha": "alpha_nominal",
        "kappa": "kappa",
        "raters agree": "raters_share",
        "judge agrees": "judge_share",
        "at most": "best_share",
    },
}
"""What `lines` shows: rows → heading → key."""

EQUAL = ("alpha_ordinal", "alpha_interval", "alpha_nominal", "kappa")
"""Numbers that ratings of shared edits lack if all of them are equal."""


def judged(files: Mapping[str, Mapping[str, Path]], rubrics: Mapping[str, Rubric]) -> pd.DataFrame:
    """Return a judge's numbers of each edit.

    Columns are editor, category, id, form, cluster (see `tables.clusters`) and those of
    `human_files.columns_of`.

    Args:
        files: `table.csv` of each editor and category.
        rubrics: by category.
    """
    parts = []
    for editor, own in files.items():
        for category, path in own.items():
            frame = tables.read_table(path)
            rubric = rubrics[category]
            names = [name for name in rubric.names if name in frame]
            part = frame[["id", "score", *names]].assign(
                editor=editor, category=category, cluster=tables.clusters(frame)
            )
            if rubric.combine_aspect is not None:
                aspects = [_aspects(rubric, row) for row in part[names].to_dict("records")]
                part = part.join(pd.DataFrame(aspects, index=part.index))
            parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    lacking = {name: np.nan for name in columns_of(rubrics) if name not in frame}
    return frame.assign(form=[same_id(name) for name in frame["id"]], **lacking)


def _aspects(rubric: Rubric, row: Mapping[Any, Any]) -> dict[str, float]:
    known = {str(name): float(value) for name, value in row.items() if not pd.isna(value)}
    return combine.aspects(rubric, known) if known else {}


def agreement(
    files: Mapping[str, Mapping[str, Path]], people: People, rubrics: Mapping[str, Rubric]
) -> dict[str, list[dict[str, Any]]]:
    """Compare a judge's numbers with people's, and people with each other.

    Args:
        files: `table.csv` of each editor and category.
        rubrics: by category.

    Returns:
        `agreement` of the judge with people and `raters` among themselves, each a row for every
        scale, category and overall, over all editors (`editor` None) and, where there are several,
        for each; and `votes` on pairs likewise (docs/report.md).

    Raises:
        ConfigError: if people rated what is not there.
    """
    table = judged(files, rubrics)
    given = _placed(people.ratings, table, ["editor", "form"], "edit")
    rows: dict[str, list[dict[str, Any]]] = {"agreement": [], "raters": []}
    for name, scale in people.scales.items():
        column = scale.judge or (name if name in table else None)
        for group in _groups(name, scale, given):
            judge = None if column is None else _judge(table, column, group)
            among = _among(group, judge)
            rows["raters"].append(among)
            if judge is not None:
                compared = _compared(group, judge, among["ceiling"])
                rows["agreement"].append({**compared, "judge": column})
    _with_fisher(rows["agreement"])
    votes = _placed(
        people.votes, table[["form", "category", "id"]].drop_duplicates(), ["form"], "sample"
    )
    return {**rows, "votes": votes_rows(votes, table)}


def among(people: People) -> dict[str, list[dict[str, Any]]]:
    """Return `raters` and `votes` as `agreement` does, of people alone."""
    rows = [
        _among(group, None)
        for name, scale in people.scales.items()
        for group in _groups(name, scale, people.ratings)
    ]
    return {"raters": rows, "votes": votes_rows(people.votes, None)}


def _placed(given: pd.DataFrame, table: pd.DataFrame, keys: list[str], what: str) -> pd.DataFrame:
    """Return rows of people with the run's category and id, in the run's order."""
    known = table[[*dict.fromkeys([*keys, "form", "category", "id"])]]
    found = given.drop(columns=["category", "id"]).merge(known, on=keys, how="left")
    check_known(given, found["category"].isna().to_numpy(), what)
    for name in [name for name in ("editor", "category") if name in found]:
        order = {own: place for place, own in enumerate(table[name].unique())}
        found = found.iloc[found[name].map(order).argsort(kind="stable")]
    return found


class Group(NamedTuple):
    """Ratings on one scale, of a category or overall, by one editor or all."""

    scale: str
    category: str
    editor: str | None
    level: str
    frame: pd.DataFrame
    """One row for each edit: editor, form."""
    values: np.ndarray
    """Of shape (raters, edits)."""
    names: list[str | None]
    """Of the raters; None of those that the file does not name."""
    missing: int
    """Rows without a value."""


def _groups(name: str, scale: HumanScale, given: pd.DataFrame) -> Iterator[Group]:
    rated = given[given[name].notna()]
    level = scale.level or ("ordinal" if rated[name].nunique() <= MOST_ORDINAL else "interval")
    # a criterion of one category is missing in no other
    asked = given[given["category"].isin(rated["category"])]
    categories = dict.fromkeys(rated["category"].dropna())
    for category in (*categories, "overall"):
        own = asked if category == "overall" else asked[asked["category"] == category]
        editors = list(dict.fromkeys(own["editor"]))
        for editor in (None, *(editors if len(editors) > 1 else ())):
            part = own if editor is None else own[own["editor"] == editor]
            there = part[part[name].notna()]
            missing = len(part) - len(there)
            yield Group(name, category, editor, level, *_matrix(there, name), missing)


def _matrix(there: pd.DataFrame, name: str) -> tuple[pd.DataFrame, np.ndarray, list[str | None]]:
    """Return the edits of rows, the ratings of shape (raters, edits), and the raters' names."""
    # ratings without a name are those of as many raters as rate one edit
    number = there.groupby(["editor", "form"]).cumcount()
    whose = there["rater"].where(there["rater"].notna(), number)
    edits, frame = pd.factorize(pd.MultiIndex.from_frame(there[["editor", "form"]]))
    rater, labels = pd.factorize(whose)
    values = np.full((len(labels), len(frame)), np.nan)
    values[rater, edits] = settled(there[name].to_numpy(dtype=float))
    named = [label if isinstance(label, str) else None for label in labels]
    return pd.DataFrame(list(frame), columns=["editor", "form"]), values, named


class Judged(NamedTuple):
    """A judge's numbers of a group's edits."""

    values: np.ndarray
    """NaN where it has none."""
    clusters: np.ndarray


def _judge(table: pd.DataFrame, column: str, group: Group) -> Judged:
    own = table[["editor", "form", "cluster", column]]
    found = group.frame.merge(own, on=["editor", "form"], how="left")
    values = settled(found[column].to_numpy(dtype=float, na_value=np.nan))
    return Judged(values, found["cluster"].to_numpy())


def _whose(group: Group) -> dict[str, Any]:
    return {"scale": group.scale, "category": group.category, "editor": group.editor}


def _among(group: Group, judge: Judged | None) -> dict[str, Any]:
    """Return how raters agree with each other, as in `schema.Raters`."""
    values = group.values
    counts = (~np.isnan(values)).sum(axis=0)
    kappa = raters.fleiss_kappa(values)
    named = values[[name is not None for name in group.names]]
    pairs, others = raters.pairwise(named), raters.with_others(named)
    mean = raters.fisher_mean(pairs)
    return {
        **_whose(group),
        "level": group.level,
        "edits": values.shape[1],
        "shared": int((counts > 1).sum()),
        "ratings": int(counts.sum()),
        "missing": group.missing,
        "alpha_ordinal": raters.krippendorff_alpha(values, "ordinal"),
        "alpha_interval": raters.krippendorff_alpha(values, "interval"),
        "kappa": kappa.value,
        "kappa_edits": kappa.units,
        "kappa_ratings": kappa.ratings,
        "std": raters.deviation(values),
        "rater_pairs": len(pairs),
        "spearman": float(np.mean(pairs)) if pairs else None,
        "spearman_fisher": mean,
        "others_fisher": raters.fisher_mean([value for value in others if value is not None]),
        "ceiling": raters.ceiling(mean, counts),
        "raters": _each(group, named, others, judge),
    }


def _each(
    group: Group, values: np.ndarray, others: Sequence[float | None], judge: Judged | None
) -> list[dict[str, Any]]:
    """Return what each rater gave, where all categories and editors are together."""
    if group.category != "overall" or group.editor is not None:
        return []
    names = [name for name in group.names if name is not None]
    return [
        {
            "rater": name,
            "ratings": int((~np.isnan(own)).sum()),
            "mean": float(np.nanmean(own)),
            "others": other,
            "judge": None if judge is None else raters.spearman(own, judge.values),
        }
        for name, own, other in zip(names, values, others, strict=True)
    ]


def _compared(group: Group, judge: Judged, ceiling: float | None) -> dict[str, Any]:
    """Return how a judge agrees with raters, as in `schema.Agreement`."""
    both = ~np.isnan(judge.values)
    pairs = np.column_stack([judge.values, raters.means(group.values)])[both]
    each = [raters.spearman(own, judge.values) for own in group.values]
    known = [value for value in each if value is not None]
    named = None not in group.names
    return {
        **_whose(group),
        **correlations(pairs, judge.clusters[both]),
        "each_fisher": raters.fisher_mean(known) if named else None,
        "raters": len(known) if named else 0,
        "ceiling": ceiling,
    }


def _with_fisher(rows: Sequence[dict[str, Any]]) -> None:
    """Add the mean of the editors' correlations to the rows over all editors."""
    for row in rows:
        if row["editor"] is None:
            same = [
                r for r in rows if (r["scale"], r["category"]) == (row["scale"], row["category"])
            ]
            own = [r for r in same if r["editor"] is not None] or [row]
            known = [r["spearman"] for r in own if r["spearman"] is not None]
            row |= {"spearman_fisher": raters.fisher_mean(known), "editors": len(known)}


def whole(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows over all categories and editors alone."""
    return {
        kind: [row for row in rows if row["category"] == "overall" and row["editor"] is None]
        for kind, rows in found.items()
    }


def lines(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return what `agreement` or `among` found as lines of text; – where there is no number."""
    text: list[str] = []
    for kind, columns in LINES.items():
        rows = [_worded(row) for row in found.get(kind, ())]
        told = [[_cell(row[key]) for key in columns.values()] for row in rows]
        if told:
            cells = [[*columns], *told]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            text += [
                "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
                for row in cells
            ]
    return text


def _worded(row: Mapping[str, Any]) -> dict[str, Any]:
    equal = [key for key in EQUAL if row.get("shared") and row.get(key, "") is None]
    return {**row, **dict.fromkeys(equal, "all equal"), "editor": row["editor"] or "all"}


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else media.line(str(value))
