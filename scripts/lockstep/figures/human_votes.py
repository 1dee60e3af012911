"""Votes of people on pairs of edits: their agreement, and the judge's by its scores."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from lockstep.figures import clusters, raters
from lockstep.rubrics.ties import settled


def votes_rows(votes: pd.DataFrame, table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return rows as in `schema.Votes`, for each category and overall, and each editor.

    Both kinds of equal votes are one. An editor's rows are of the pairs that it is in.

    Args:
        votes: as in `human_files.VOTED`.
        table: the judge's scores by editor and form; None compares with no judge.
    """
    cast = _turned(votes)
    if table is not None:
        groups = table.drop_duplicates("form").set_index("form")["cluster"]
        cast = cast.assign(judge=_judge(cast, table), cluster=cast["form"].map(groups))
    order = sorted({*cast["first"], *cast["second"]}) if table is None else table["editor"].unique()
    return [_row(*group) for group in _groups(cast, order)]


def _turned(votes: pd.DataFrame) -> pd.DataFrame:
    """Return votes with the editors of each pair in one order, whichever was shown first."""
    turned = (votes["first"] > votes["second"]).to_numpy()
    first, second = votes["first"].to_numpy(), votes["second"].to_numpy()
    return votes.assign(
        first=np.where(turned, second, first),
        second=np.where(turned, first, second),
        vote=np.where(turned, -1, 1) * votes["vote"].to_numpy(dtype=float),
    )


def _judge(cast: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return the judge's vote on each row's pair by its scores; NaN without one of the two."""
    scores = table.set_index(["editor", "form"])["score"].astype(float)
    first, second = (
        scores.reindex(pd.MultiIndex.from_frame(cast[[name, "form"]])).to_numpy(dtype=float)
        for name in ("first", "second")
    )
    return np.sign(settled(first) - settled(second))


def _groups(
    cast: pd.DataFrame, order: Iterable[str]
) -> Iterator[tuple[str, str | None, pd.DataFrame]]:
    if cast.empty:
        return
    for category in (*dict.fromkeys(cast["category"].dropna()), "overall"):
        own = cast if category == "overall" else cast[cast["category"] == category]
        editors = [name for name in order if name in {*own["first"], *own["second"]}]
        yield category, None, own
        if len(editors) > 2:
            for editor in editors:
                yield category, editor, own[(own["first"] == editor) | (own["second"] == editor)]


def _row(category: str, editor: str | None, cast: pd.DataFrame) -> dict[str, Any]:
    keys = ["form", "first", "second"]
    number = cast.groupby(keys).cumcount()
    rater, names = pd.factorize(cast["rater"].where(cast["rater"].notna(), number))
    pair, pairs = pd.factorize(pd.MultiIndex.from_frame(cast[keys]))
    values = np.full((len(names), len(pairs)), np.nan)
    values[rater, pair] = cast["vote"]
    kappa = raters.fleiss_kappa(values)
    counts = (~np.isnan(values)).sum(axis=0)
    return {
        "category": category,
        "editor": editor,
        "pairs": len(pairs),
        "shared": int((counts > 1).sum()),
        "votes": len(cast),
        "equal_votes": int((cast["vote"] == 0).sum()),
        "raters": int(cast["rater"].nunique()),
        "alpha_nominal": raters.krippendorff_alpha(values, "nominal"),
        "kappa": kappa.value,
        "kappa_pairs": kappa.units,
        "kappa_votes": kappa.ratings,
        "raters_share": _share_of_equal(values[:, counts > 1]),
        **(_against(cast, pair) if "judge" in cast else NO_JUDGE),
    }


NO_JUDGE = {
    "judged": 0,
    "judge_share": None,
    "judge_ci95": None,
    "best_share": None,
    "agree": 0,
    "oppose": 0,
    "same": 0,
}


def _share_of_equal(values: np.ndarray) -> float | None:
    """Return how often two raters' votes on one pair are equal, as a mean over the pairs."""
    if not values.size:
        return None
    counts = (~np.isnan(values)).sum(axis=0)
    equal = sum((n := (values == vote).sum(axis=0)) * (n - 1) for vote in (-1, 0, 1))
    return float((equal / (counts * (counts - 1))).mean())


def _against(cast: pd.DataFrame, pair: np.ndarray) -> dict[str, Any]:
    """Return how the judge's scores agree with votes, over the pairs that have both scores."""
    known = cast["judge"].notna().to_numpy()
    own, pairs = cast[known], pair[known]
    if not len(own):
        return NO_JUDGE
    equal = (own["judge"] == own["vote"]).to_numpy(dtype=float)
    share = clusters.mean([equal], [own["cluster"]])
    most = own.assign(pair=pairs).groupby(["pair", "vote"]).size().groupby("pair").max()
    won = own[own["vote"] != 0]
    along = (won["judge"] * won["vote"]).to_numpy()
    return {
        "judged": len(own),
        "judge_share": float(equal.mean()),
        "judge_ci95": clusters.interval(share, (0, 1)),
        "best_share": float(most.sum()) / len(own),
        "agree": int((along > 0).sum()),
        "oppose": int((along < 0).sum()),
        "same": int((along == 0).sum()),
    }
