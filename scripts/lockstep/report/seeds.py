"""Several seeds a sample: tables with the means over them, and what they tell together."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from lockstep.config.report import ReportSettings
from lockstep.figures import seeds, tables
from lockstep.records.columns import NUMBERS
from lockstep.report.terms import Frames, Headlines
from lockstep.rubrics.rubric import SCALE

Seeds = Mapping[str, Sequence[str]]
"""Editor with the first seed → the same editor with each of its seeds, this one first."""


def averaged(own: Seeds, frames: Frames, headlines: Headlines) -> tuple[Frames, Headlines]:
    """Return tables and headline numbers with means over the seeds in place of the first one."""
    tables_, numbers = (
        {e: dict(f) for e, f in frames.items()},
        {e: dict(h) for e, h in headlines.items()},
    )
    for editor, names in own.items():
        for category in frames[editor] if len(names) > 1 else ():
            tables_[editor][category], numbers[editor][category] = seeds.averaged(
                [frames[name][category] for name in names],
                [headlines[name][category] for name in names],
            )
    return tables_, numbers


def averaged_scores(own: Seeds, frames: Frames) -> Frames:
    """Return tables with means over the seeds in place of the first one, for their scores alone."""
    scores = {e: {c: frame["score"] for c, frame in f.items()} for e, f in frames.items()}
    return averaged(own, frames, scores)[0]


def summaries(
    own: Seeds, frames: Frames, found: Mapping[str, Any], settings: ReportSettings
) -> dict[str, dict[str, Any]]:
    """Return the summaries of editors and categories with the means over the seeds.

    Args:
        frames: as from `averaged`.
        found: `summary.json` of each editor and category.
    """
    threshold = settings.threshold_on(SCALE)
    other = [name for name in NUMBERS if name != "score"]
    return {
        editor: {
            category: summary
            if len(own.get(editor, ())) < 2
            else {
                **summary,
                **tables.describe(frame, threshold, tables.criteria(frame), SCALE),
                "means": tables.means(frame, other),
            }
            for category, summary in found[editor].items()
            for frame in [frames[editor][category]]
        }
        for editor in found
    }


def told(
    own: Seeds, frames: Frames, headlines: Headlines, ranked: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return what the report says of several seeds: `seeds` and `power`, as in `schema.Report`.

    Args:
        frames: of all editors, each with its own seed.
        ranked: editors that stand in rankings, the best first; neighbours are compared.
    """
    scores = {
        editor: pd.concat(
            {
                category: seeds.values(
                    [frames[name][category] for name in names],
                    [headlines[name][category] for name in names],
                )
                for category in frames[editor]
            }
        )
        for editor, names in own.items()
        if len(names) > 1
    }
    return {
        "seeds": [
            _of_editor(editor, own[editor], found, frames) for editor, found in scores.items()
        ],
        "power": list(_powers([editor for editor in ranked if editor in scores], scores)),
    }


def _of_editor(
    editor: str, names: Sequence[str], scores: pd.DataFrame, frames: Frames
) -> dict[str, Any]:
    values = scores.to_numpy(dtype=float)
    spread = seeds.spread(values)
    best = seeds.best(values)
    statuses = pd.concat([frame["status"] for name in names for frame in frames[name].values()])
    asked = int((statuses != "skipped").sum())
    return {
        "editor": editor,
        "names": list(names),
        "samples": len(best),
        "edits": asked,
        "failed": asked - int((statuses == "ok").sum()),
        "means": [None if np.isnan(mean) else float(mean) for mean in scores.mean()],
        "best": float(best.mean()) if len(best) else None,
        "within_std": None if spread is None else spread.within**0.5,
        "between_std": None if spread is None else spread.between**0.5,
    }


def _powers(ranked: Sequence[str], scores: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    for first, second in pairwise(ranked):
        found = seeds.power(scores[first], scores[second])
        if found is not None:
            yield {"first": first, "second": second, "seeds": list(seeds.SEEDS), **found}
