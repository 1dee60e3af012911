"""Checkpoints of training runs: which step is best, and how the others differ from it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lockstep.report.comparisons import over_all
from lockstep.report.terms import Frames, Headlines, Terms
from lockstep.rubrics.ties import settled

Series = Mapping[str, Sequence[str]]
"""Training run → editors of its checkpoints, in the order of their steps."""


def best_of(series: Series, frames: Frames, headlines: Headlines, terms: Terms) -> dict[str, str]:
    """Return the checkpoint of each series with the highest number that editors are ranked by.

    Of equal ones it is the earliest. One that lacks too many scores is none; a series of such ones
    alone has no best.
    """
    found = {}
    for name, members in series.items():
        means = {
            editor: mean
            for editor in members
            if _is_complete(frames[editor], terms)
            and (mean := _mean(frames[editor], headlines[editor], terms)) is not None
        }
        if means:
            found[name] = max(means, key=means.__getitem__)
    return found


def shown(editors: Sequence[str], series: Series, best: Mapping[str, str]) -> list[str]:
    """Return the editors that stand in rankings and charts: of each series one.

    That is its best checkpoint, or the last where none is.
    """
    standing = {name: best.get(name, members[-1]) for name, members in series.items()}
    others = {editor for members in series.values() for editor in members} - {*standing.values()}
    return [editor for editor in editors if editor not in others]


class Place(NamedTuple):
    """Where an editor stands on the page."""

    number: int
    """Of its colour, which the checkpoints of a series share, and the seeds of an editor."""
    standing: bool
    """Whether it stands in rankings and charts."""
    first_seed: str
    """Name of the same editor with the first seed."""
    control: bool = False
    """Whether it returns its source, so that it is no rival of the others."""


def places(report: Mapping[str, Any]) -> dict[str, Place]:
    """Return the place of each editor of a report, as `schema.Report` describes it."""
    series = {one["name"]: [step["editor"] for step in one["steps"]] for one in report["series"]}
    best = {one["name"]: one["best"] for one in report["series"] if one["best"]}
    groups = {editor: name for name, members in series.items() for editor in members}
    firsts = {name: one["editor"] for one in report["seeds"] for name in one["names"]}

    def group(editor: str) -> str:
        first = firsts.get(editor, editor)
        return groups.get(first, first)

    order = list(dict.fromkeys(map(group, report["editors"])))
    standing = shown([e for e in report["editors"] if firsts.get(e, e) == e], series, best)
    return {
        editor: Place(
            order.index(group(editor)),
            editor in standing,
            firsts.get(editor, editor),
            editor in report["control_editors"],
        )
        for editor in report["editors"]
    }


def compared(
    series: Series,
    steps: Mapping[str, int],
    best: Mapping[str, str],
    frames: Frames,
    headlines: Headlines,
    terms: Terms,
) -> list[dict[str, Any]]:
    """Return what the report says of each series, as in `schema.Series`.

    Args:
        steps: of each checkpoint.
        best: as from `best_of`.
    """
    found = []
    for name, members in series.items():
        others = {
            editor: {
                "from_first": members[0],
                "from_previous": members[max(0, place - 1)],
                "from_best": best.get(name, editor),
            }
            for place, editor in enumerate(members)
        }
        pairs = [(e, o) for e, own in others.items() for o in own.values() if o != e]
        rows = over_all(list(dict.fromkeys(pairs)), frames, headlines, terms)
        told = {(row["first"], row["second"]): row for row in rows}
        lines = [
            {
                "editor": editor,
                "step": steps[editor],
                **{kind: told.get((editor, other)) for kind, other in own.items()},
            }
            for editor, own in others.items()
        ]
        found.append(
            {
                "name": name,
                "steps": lines,
                "best": best.get(name),
                "earliest": _earliest(lines, best.get(name), frames, terms),
            }
        )
    return found


def _earliest(
    lines: Sequence[Mapping[str, Any]], best: str | None, frames: Frames, terms: Terms
) -> str | None:
    """Return the first checkpoint that the comparisons do not tell from the best one.

    None where there is no best one, or where too few samples tell nothing apart.
    """
    if best is None:
        return None
    for line in lines:
        if line["editor"] == best:
            break
        if line["from_best"]["p_value"] is None:
            return None
        if not line["from_best"]["clear"] and _is_complete(frames[line["editor"]], terms):
            return str(line["editor"])
    return best


def _is_complete(own: Mapping[str, pd.DataFrame], terms: Terms) -> bool:
    """Tell whether all categories have the least coverage, as a ranking asks for it."""
    for frame in own.values():
        asked = frame[frame["status"] != "skipped"]
        scored = int((asked["status"] == "ok").sum())
        if len(asked) and scored / len(asked) < terms.settings.min_coverage:
            return False
    return True


def _mean(
    own: Mapping[str, pd.DataFrame], headlines: Mapping[str, pd.Series], terms: Terms
) -> float | None:
    """Return an editor's headline number, settled as all comparisons of numbers are."""
    parts = [
        headlines[category][frame["status"] == "ok"].dropna().to_numpy(dtype=float)
        for category, frame in own.items()
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    macro = terms.headline["aggregate"] == "macro"
    values = [part.mean() for part in parts] if macro else np.concatenate(parts)
    return float(settled(np.mean(values)))
