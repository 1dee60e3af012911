"""Agreement of a judge with humans: rank and linear correlations, with intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, pearsonr, spearmanr

from lockstep.benchmark.score_files import number_in, read_rows, text_in
from lockstep.errors import ConfigError
from lockstep.figures.tables import read_table
from lockstep.foreign.ids import same_id
from lockstep.rubrics.ties import settled

Measure = Callable[[np.ndarray, np.ndarray], Any]
"""Returns what has a `statistic`."""

MEASURES: dict[str, Measure] = {
    "spearman": spearmanr,
    "kendall": kendalltau,
    "pearson": pearsonr,
}

RESAMPLES = 1999


def agreement(tables: Mapping[str, Mapping[str, Path]], humans: Path) -> list[dict[str, Any]]:
    """Compare a judge's scores with those of humans.

    Args:
        tables: `table.csv` of each editor and category.
        humans: a file as `score_files` reads it, with `id`, `score` on any scale, and `editor`
            where there are several. Several rows of one edit, by several people, count by their
            mean.

    Returns:
        for each category and overall, over all editors (`editor` None) and, where there are
        several, of each: `count` of edits that both scored, and for each measure its value
        (Kendall's is tau-b) with a 95% interval, `[low, high]`, from a percentile bootstrap over
        the edits (Efron 1979). Both are None where too few edits or too equal scores give none.
        Rows over all editors have `spearman_fisher` (see `fisher_mean`) of so many `editors`.

    Raises:
        ConfigError: if the file is no such table, or scores edits that are not there.
    """
    judged = pd.concat(
        [
            read_table(path)[["id", "category", "score"]].assign(editor=editor)
            for editor, files in tables.items()
            for path in files.values()
        ]
    )
    judged["form"] = [same_id(name) for name in judged.pop("id")]
    given = read_humans(humans, list(tables))
    unknown = given.merge(judged, on=["editor", "form"], how="left", indicator=True)
    unknown = unknown[unknown["_merge"] == "left_only"]
    if len(unknown):
        first = unknown.iloc[0]
        raise ConfigError(
            f"{humans}: expected edits of this run, found {len(unknown)} that it does not have "
            f"(the first is {first['id']!r} by {first['editor']!r})"
        )
    both = given.merge(judged, on=["editor", "form"], suffixes=("_human", "_judge"))
    both = both.dropna(subset=["score_judge"])
    rows = []
    for category in (*dict.fromkeys(both["category"]), "overall"):
        own = both if category == "overall" else both[both["category"] == category]
        each = [
            _row(category, str(editor), part) for editor, part in own.groupby("editor", sort=False)
        ]
        every = _row(category, None, own) if len(each) != 1 else {**each[0], "editor": None}
        known = [row["spearman"] for row in each if row["spearman"] is not None]
        rows.append({**every, "spearman_fisher": fisher_mean(known), "editors": len(known)})
        rows += each if len(each) > 1 else []
    return rows


def fisher_mean(correlations: Sequence[float]) -> float | None:
    """Return the mean of correlations by Fisher's z: tanh of the mean of their artanh (1921).

    A correlation of 1 or −1 outweighs all others; both together have no mean.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.tanh(np.mean(np.arctanh(correlations))) if len(correlations) else np.nan
    return None if np.isnan(mean) else float(mean)


def _row(category: str, editor: str | None, scores: pd.DataFrame) -> dict[str, Any]:
    pairs = scores[["score_judge", "score_human"]].to_numpy(dtype=float)
    return {"category": category, "editor": editor, **correlations(pairs)}


def correlations(scores: np.ndarray) -> dict[str, Any]:
    """Return how two raters' scores go together, as in a row of `agreement`.

    Args:
        scores: of shape (edits, 2), all of them there.
    """
    pairs = settled(scores)
    row: dict[str, Any] = {"count": len(pairs)}
    for name, measure in MEASURES.items():
        row[name], row[f"{name}_ci95"] = _with_interval(pairs, measure)
    return row


def read_humans(path: Path, editors: list[str]) -> pd.DataFrame:
    """Return the mean of what humans gave each edit.

    Raises:
        ConfigError: if the file is no such table.
    """
    columns, numbered = read_rows(path)
    for column in ("id", "score"):
        if column not in columns:
            raise ConfigError(
                f"{path}: expected the columns id, editor, score, found no {column!r}"
            )
    if "editor" not in columns and len(editors) > 1:
        raise ConfigError(f"{path}: expected the columns id, editor, score, found no 'editor'")
    rows = []
    for place, values in numbered:
        given = values if "editor" in columns else {"editor": editors[0], **values}
        editor, name = (text_in(place, column, given.get(column)) for column in ("editor", "id"))
        score = number_in(place, "score", given.get("score"))
        if score is None or not math.isfinite(score):
            found = f"{given.get('score')!r:.60}"
            raise ConfigError(f"{place}: score: expected a number, found {found}")
        rows.append({"editor": editor, "id": name, "form": same_id(name), "score": score})
    frame = pd.DataFrame(rows, columns=["editor", "id", "form", "score"])
    return frame.groupby(["editor", "form"], as_index=False).agg({"id": "first", "score": "mean"})


def _with_interval(pairs: np.ndarray, measure: Measure) -> tuple[float | None, list[float] | None]:
    value = _correlation(pairs, measure)
    if value is None or len(pairs) < 4:
        return value, None
    generator = np.random.default_rng(0)
    drawn = (generator.integers(len(pairs), size=len(pairs)) for _ in range(RESAMPLES))
    values = [v for rows in drawn if (v := _correlation(pairs[rows], measure)) is not None]
    return value, [float(bound) for bound in np.percentile(values, [2.5, 97.5])]


def _correlation(pairs: np.ndarray, measure: Measure) -> float | None:
    """Return a correlation; None where one side is constant or there are fewer than three."""
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    return float(measure(pairs[:, 0], pairs[:, 1]).statistic)
