"""What several judges of one run say: scores and places by judge, agreement, an ensemble."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lockstep import records
from lockstep.errors import counted
from lockstep.figures import clusters, tables
from lockstep.figures.correlations import correlations
from lockstep.figures.raters import krippendorff_alpha
from lockstep.figures.stats import with_interval
from lockstep.records import ScoreRecord
from lockstep.rubrics.rubric import SCALE
from lockstep.rubrics.ties import settled

DISAGREEMENTS = 20
"""Edits that are listed of those that the judges see most differently."""

ENSEMBLE = "ensemble"

Files = Mapping[str, Mapping[str, tuple[Path, Sequence[Sequence[Path]]]]]
"""Editor → category → `table.csv`, with the first judge's scores, and the records of each other."""


def column(judge: str) -> str:
    return f"score_{judge}"


def scores(judges: Sequence[str], files: Files) -> pd.DataFrame:
    """Return all edits with every judge's score: editor, category, id, and `column` of each judge.

    Further columns are `cluster` (see `tables.clusters`), `ensemble` and `spread`. An edit has no
    score (NaN) of a judge that failed on it, nor has one that was not made. Samples that an editor
    does not take are left out. `ensemble` is the mean of all judges' standardised
    scores, `spread` the difference of the highest and the lowest; both are NaN unless every judge
    scored the edit. A judge's scores are standardised over the edits of all editors that every
    judge scored: less their mean, divided by their standard deviation (ddof 0). Those of a judge
    that gave all the same score are 0.
    """
    first, *others = judges
    parts = []
    for editor, own in files.items():
        for category, (table, further) in own.items():
            frame = tables.read_table(table)
            frame = frame.assign(cluster=tables.clusters(frame))
            frame = frame.loc[frame["status"] != "skipped", ["id", "score", "cluster"]]
            part = frame.rename(columns={"score": column(first)})
            for name, paths in zip(others, further, strict=True):
                found = {
                    each.id: each.score
                    for each in records.each_record(paths, ScoreRecord)
                    if each.status == "ok"
                }
                part[column(name)] = part["id"].map(found)
            parts.append(part.assign(editor=editor, category=category))
    frame = pd.concat(parts, ignore_index=True)
    given = settled(frame[[column(name) for name in judges]].to_numpy(dtype=float))
    frame[[column(name) for name in judges]] = given
    standard = _standardised(given)
    frame[ENSEMBLE] = standard.mean(axis=1)
    return frame.assign(spread=np.ptp(standard, axis=1))


def _standardised(given: np.ndarray) -> np.ndarray:
    """Return each column standardised over the rows that are whole; NaN in others."""
    whole = ~np.isnan(given).any(axis=1)
    standard = np.full(given.shape, np.nan)
    if whole.any():
        own = given[whole] - given[whole].mean(axis=0)
        spread = given[whole].std(axis=0)
        standard[whole] = np.where(np.ptp(given[whole], axis=0) == 0, 0, own) / np.where(
            spread == 0, 1, spread
        )
    return standard


def to_csv(judges: Sequence[str], frame: pd.DataFrame, ensemble: bool) -> str:
    """Return the table of `scores` as CSV."""
    named = ["editor", "category", "id", *map(column, judges), *([ENSEMBLE] if ensemble else [])]
    return tables.to_csv(frame[named])


def compared(
    judges: Sequence[str], frame: pd.DataFrame, ensemble: bool, min_coverage: float
) -> list[dict[str, Any]]:
    """Return a row for each category, and `overall` where there are several, as in `schema.Judges`.

    Args:
        frame: as from `scores`.
        min_coverage: share of an editor's edits below which a judge's scores give it no place.
    """
    categories = list(dict.fromkeys(frame["category"]))
    parts = [(key, frame[frame["category"] == key]) for key in categories]
    parts = parts if len(parts) == 1 else [*parts, ("overall", frame)]
    return [_row(judges, key, own, ensemble, min_coverage) for key, own in parts]


def _row(
    judges: Sequence[str], category: str, frame: pd.DataFrame, ensemble: bool, least: float
) -> dict[str, Any]:
    given = frame[[column(name) for name in judges]].to_numpy(dtype=float)
    by_judge = {name: _editors(frame, column(name), SCALE, least) for name in judges}
    # standardised scores have no scale but what edits got
    ends = float(frame[ENSEMBLE].min()), float(frame[ENSEMBLE].max())
    return {
        "category": category,
        "edits": len(frame),
        "shared": int((~np.isnan(given).any(axis=1)).sum()),
        "judges": by_judge,
        "pairs": [_pair(one, other, frame, by_judge) for one, other in combinations(judges, 2)],
        "alpha": krippendorff_alpha(given.T),
        "ensemble": _editors(frame, ENSEMBLE, ends, least) if ensemble else None,
        "disagreements": _disagreements(judges, frame),
    }


def _editors(
    frame: pd.DataFrame, name: str, scale: tuple[float, float], least: float
) -> dict[str, dict[str, Any]]:
    """Return what a column says of each editor."""
    rows: dict[str, dict[str, Any]] = {}
    for editor, own in frame.groupby("editor", sort=False):
        scored = own.dropna(subset=[name])
        values = scored[name].to_numpy(dtype=float)
        found = clusters.mean([values], [scored["cluster"]])
        sure = with_interval(found, scale)
        rows[str(editor)] = {
            "mean": float(values.mean()) if len(values) else None,
            "ci95": sure["ci95"],
            "clusters": sure["clusters"],
            "count": len(values),
            "failed": len(own) - len(values),
        }
    means = {
        editor: float(settled(row["mean"]))
        for editor, row in rows.items()
        if row["count"] and row["count"] >= least * (row["count"] + row["failed"])
    }
    for editor, row in rows.items():
        higher = [mean for mean in means.values() if editor in means and mean > means[editor]]
        row["place"] = len(higher) + 1 if editor in means else None
    return rows


def _pair(
    one: str, other: str, frame: pd.DataFrame, by_judge: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return how two judges agree: on edits that both scored, and on the order of editors."""
    shared = frame.dropna(subset=[column(one), column(other)])
    both = shared[[column(one), column(other)]].to_numpy(dtype=float)
    means = [
        (row["mean"], by_judge[other][editor]["mean"]) for editor, row in by_judge[one].items()
    ]
    known = settled(np.array([pair for pair in means if None not in pair])).reshape(-1, 2)
    signs = [np.sign(first - second).prod() for first, second in combinations(known, 2)]
    return {
        "first": one,
        "second": other,
        **correlations(both, shared["cluster"]),
        "difference": float(np.subtract(*both.T).mean()) if len(both) else None,
        "editors_kendall": _kendall(known),
        "same_order": sum(bool(sign > 0) for sign in signs),
        "other_order": sum(bool(sign < 0) for sign in signs),
        "editor_pairs": len(signs),
    }


def _kendall(means: np.ndarray) -> float | None:
    """Return Kendall's tau-b of two judges' means; None of less than three editors, or of equal."""
    if len(means) < 3 or (np.ptp(means, axis=0) == 0).any():
        return None
    # it takes a second to import
    from scipy.stats import kendalltau

    return float(kendalltau(means[:, 0], means[:, 1]).statistic)


def _disagreements(judges: Iterable[str], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the edits whose standardised scores differ most, the most first."""
    apart = frame[settled(frame["spread"].to_numpy()) > 0]
    ordered = apart.sort_values("spread", ascending=False, kind="stable").head(DISAGREEMENTS)
    return [
        {
            **{name: row[name] for name in ("editor", "category", "id", "spread")},
            "scores": {name: row[column(name)] for name in judges},
        }
        for row in ordered.to_dict("records")
    ]


def failures(row: Mapping[str, Any]) -> dict[str, int]:
    """Return how many edits have no score by each judge, for those that failed on any."""
    counts = {
        name: sum(own["failed"] for own in editors.values())
        for name, editors in row["judges"].items()
    }
    return {name: count for name, count in counts.items() if count}


def sentence(row: Mapping[str, Any]) -> str:
    """Return in one line how the judges agree."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    pairs = [f"{p['first']} and {p['second']} {number(p['spearman'])}" for p in row["pairs"]]
    failed = [f"; {name} gave no score to {count}" for name, count in failures(row).items()]
    return (
        f"{row['category']}: Krippendorff's alpha {number(row['alpha'])}; Spearman of "
        f"{', '.join(pairs)}; {row['shared']} of {counted(row['edits'], 'edit')} scored by all "
        f"judges{''.join(failed)}"
    )
