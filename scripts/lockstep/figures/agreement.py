"""Agreement of a judge with humans: rank and linear correlations, with intervals."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lockstep.benchmark.score_files import number_in, read_rows, text_in
from lockstep.errors import ConfigError
from lockstep.figures.correlations import correlations
from lockstep.figures.tables import clusters, read_table
from lockstep.foreign.ids import same_id


def agreement(tables: Mapping[str, Mapping[str, Path]], humans: Path) -> list[dict[str, Any]]:
    """Compare a judge's scores with those of humans.

    Args:
        tables: `table.csv` of each editor and category.
        humans: a file as `score_files` reads it, with `id`, `score` on any scale, and `editor`
            where there are several. Several rows of one edit, by several people, count by their
            mean.

    Returns:
        for each category and overall, over all editors (`editor` None) and, where there are
        several, of each: the numbers of `correlations` over the edits that both scored; edits of
        one source image are a cluster. Rows over all editors have `spearman_fisher` (see
        `fisher_mean`) of so many `editors`.

    Raises:
        ConfigError: if the file is no such table, or scores edits that are not there.
    """
    judged = pd.concat(
        [
            frame[["id", "category", "score"]].assign(editor=editor, cluster=clusters(frame))
            for editor, files in tables.items()
            for path in files.values()
            for frame in [read_table(path)]
        ]
    )
    judged["form"] = [same_id(name) for name in judged.pop("id")]
    given = read_humans(humans, list(tables))
    unknown = given.merge(judged, on=["editor", "form"], how="left", indicator=True)
    unknown = unknown[unknown["_merge"] == "left_only"]
    if len(unknown):
        first = unknown.iloc[0]
        raise ConfigError(
            f"{humans}: found {len(unknown)} edits that this run does not have "
            f"({first['id']!r} by {first['editor']!r} is the first), accepted are this run's"
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
    return {"category": category, "editor": editor, **correlations(pairs, scores["cluster"])}


def read_humans(path: Path, editors: list[str]) -> pd.DataFrame:
    """Return the mean of what humans gave each edit.

    Raises:
        ConfigError: if the file is no such table.
    """
    columns, numbered = read_rows(path)
    for column in ("id", "score"):
        if column not in columns:
            raise ConfigError(f"{path}: found no column {column!r}, accepted are id, editor, score")
    if "editor" not in columns and len(editors) > 1:
        raise ConfigError(f"{path}: found no column 'editor', accepted are id, editor, score")
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
