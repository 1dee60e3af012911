"""What comparisons in pairs say of the editors of a run, by category and over all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep import records
from lockstep.figures.pairs import against_scores, comparisons, matrix, position_bias
from lockstep.figures.strengths import strengths
from lockstep.figures.tables import clusters, read_table
from lockstep.records import PairRecord
from lockstep.records.failures import sentence


def read_pairs(paths: Sequence[Path]) -> list[PairRecord]:
    return list(records.each_record(paths, PairRecord))


def arena(
    pairs: Mapping[str, Sequence[PairRecord]], tables: Mapping[str, Mapping[str, Path]]
) -> list[dict[str, Any]]:
    """Return a row for each category, and `overall` where there are several.

    A row has `category`, all of `strengths.strengths`, `failed` comparisons, `matrix`, `position`
    (see `pairs.position_bias`) and `scores` (see `pairs.against_scores`).

    Args:
        pairs: by category.
        tables: `table.csv` of each editor and category.
    """
    editors = list(tables)
    scores: dict[str, dict[str, float]] = {editor: {} for editor in editors}
    sources: dict[str, str] = {}
    for editor, files in tables.items():
        for category, path in files.items():
            frame = read_table(path)
            names = zip(frame["id"], clusters(frame), strict=True)
            sources |= {f"{category}/{sample}": source for sample, source in names}
            kept = frame[frame["score"].notna()]
            for sample, score in zip(kept["id"], kept["score"], strict=True):
                scores[editor][f"{category}/{sample}"] = float(score)
    parts = dict(pairs)
    if len(parts) > 1:
        parts["overall"] = [each for own in pairs.values() for each in own]
    rows = []
    for category, found in parts.items():
        done = comparisons(found)
        own = {
            editor: {
                sample: score
                for sample, score in values.items()
                if category == "overall" or sample.startswith(f"{category}/")
            }
            for editor, values in scores.items()
        }
        rated = strengths(done, editors, sources)
        if rated["reason"] is not None and (failed := failures(found)):
            rated["reason"] = f"{failed}; {rated['reason']}"
        ratings = {editor: row["rating"] for editor, row in rated["editors"].items()}
        rows.append(
            {
                "category": category,
                **rated,
                "failed": len(found) - len(done),
                "matrix": matrix(done, editors),
                "position": position_bias(done),
                "scores": against_scores(done, ratings, own),
            }
        )
    return rows


def failures(found: Sequence[PairRecord]) -> str:
    """Return in one sentence how many comparisons failed and the commonest reason, if any did."""
    failed = ((each.id, each.error) for each in found if each.status != "ok")
    return sentence(failed, len(found), "comparison")
