"""Agreement of a judge with humans: rank and linear correlations, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, pearsonr, spearmanr

from lockstep.errors import ConfigError
from lockstep.tables import read_table
from lockstep.ties import settled

MEASURES = {"spearman": spearmanr, "kendall": kendalltau, "pearson": pearsonr}

RESAMPLES = 1999


def agreement(tables: Mapping[str, Mapping[str, Path]], humans: Path) -> list[dict[str, Any]]:
    """Compare a judge's scores with those of humans.

    Args:
        tables: `table.csv` of each editor and category.
        humans: CSV with `id`, `score` on any scale, and `editor` where there are several. Several
            rows of one edit, by several people, count by their mean.

    Returns:
        for each category and overall, over all editors (`editor` None) and, where there are
        several, of each: `count` of edits that both scored, and for each measure its value
        (Kendall's is tau-b) with a 95% interval, `[low, high]`, from a percentile bootstrap over
        the edits (Efron 1979). Both are None where too few edits or too equal scores give none.
        Rows over all editors have `spearman_fisher` (see `fisher_mean`) of so many `editors`.

    Raises:
        ConfigError: if the file is not such a CSV, or scores edits that are not there.
    """
    judged = pd.concat(
        [
            read_table(path)[["id", "category", "score"]].assign(editor=editor)
            for editor, files in tables.items()
            for path in files.values()
        ]
    )
    given = read_humans(humans, list(tables))
    unknown = given.merge(judged, on=["editor", "id"], how="left", indicator=True)
    unknown = unknown[unknown["_merge"] == "left_only"]
    if len(unknown):
        first = unknown.iloc[0]
        raise ConfigError(
            f"{humans}: found {len(unknown)} edits that this run does not have "
            f"({first['id']!r} by {first['editor']!r} is the first), accepted are this run's"
        )
    both = given.merge(judged, on=["editor", "id"], suffixes=("_human", "_judge"))
    both = both.dropna(subset=["score_judge"])
    rows = []
    for category in (*dict.fromkeys(both["category"]), "overall"):
        own = both if category == "overall" else both[both["category"] == category]
        each = [_row(category, editor, part) for editor, part in own.groupby("editor", sort=False)]
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
    pairs = settled(scores[["score_judge", "score_human"]].to_numpy(dtype=float))
    row: dict[str, Any] = {"category": category, "editor": editor, "count": len(pairs)}
    for name, measure in MEASURES.items():
        row[name], row[f"{name}_ci95"] = _with_interval(pairs, measure)
    return row


def read_humans(path: Path, editors: list[str]) -> pd.DataFrame:
    """Return the mean of what humans gave each edit.

    Raises:
        ConfigError: if the file is no such CSV.
    """
    try:
        # an id may be NA
        texts = {"id": str, "editor": str}
        nothing = {"id": [""], "editor": [""], "score": ["", "NA", "NaN", "nan"]}
        frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=nothing)
        for column in ("id", "editor", "score"):
            # pandas numbers the columns of one name
            if f"{column}.1" in frame:
                raise ValueError(f"column {column!r} is there twice")
        frame["score"] = frame["score"].astype(float)
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path}: found no CSV with id and score ({error})") from None
    if "editor" not in frame and len(editors) == 1:
        frame["editor"] = editors[0]
    for column in ("id", "editor"):
        if column not in frame:
            raise ConfigError(f"{path}: found no column {column!r}, accepted are id, editor, score")
        if frame[column].isna().any():
            row = int(frame[column].isna().to_numpy().argmax()) + 1
            raise ConfigError(f"{path}: found no {column} in row {row}, accepted is one in each")
    if not np.isfinite(frame["score"]).all():
        raise ConfigError(f"{path}: found a score that is no number, accepted are numbers")
    return frame.groupby(["editor", "id"], as_index=False)["score"].mean()


def _with_interval(pairs: np.ndarray, measure) -> tuple[float | None, list[float] | None]:
    value = _correlation(pairs, measure)
    if value is None or len(pairs) < 4:
        return value, None
    generator = np.random.default_rng(0)
    drawn = (generator.integers(len(pairs), size=len(pairs)) for _ in range(RESAMPLES))
    values = [v for rows in drawn if (v := _correlation(pairs[rows], measure)) is not None]
    return value, [float(bound) for bound in np.percentile(values, [2.5, 97.5])]


def _correlation(pairs: np.ndarray, measure) -> float | None:
    """Return a correlation; None where one side is constant or there are fewer than three."""
    if len(pairs) < 3 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    return float(measure(pairs[:, 0], pairs[:, 1]).statistic)
