"""Numbers of a run as a published benchmark sums them up, by its protocol."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from lockstep.protocol import Protocol
from lockstep.rubric import SCALE, Rubric

Row = Mapping[str, float | int | None]


def aggregate(
    protocol: Protocol, frames: Mapping[str, pd.DataFrame], rubrics: Mapping[str, Rubric]
) -> dict[str, Any]:
    """Sum up an editor's tables as a benchmark does.

    Args:
        frames: table of each category.
        rubrics: rubric of each category.

    Returns:
        `categories`, `groups` and `overall`: each with `score`, the means of `aspects` and
        `criteria` (on the published scale), `accuracy` where it is published, and `count` of
        scored samples. A number is None where there is nothing, and where `macro` lacks a
        category's.
    """
    samples = {key: _samples(protocol, frame, rubrics[key]) for key, frame in frames.items()}
    categories = {key: _mean(rows) for key, rows in samples.items()}
    # what an editor does not take says nothing of it
    asked = {key for key, frame in frames.items() if (frame["status"] != "skipped").any()}

    def together(keys: Iterable[str]) -> dict[str, Any]:
        own = [key for key in keys if key in asked]
        every = [row for key in own for row in samples[key]]
        if protocol.aggregate == "micro":
            return _mean(every)
        if not all(samples[key] for key in own):
            return {"score": None, "count": len(every)}
        return {**_mean([categories[key] for key in own]), "count": len(every)}

    return {
        "name": protocol.name,
        "source": protocol.source,
        "aggregate": protocol.aggregate,
        "scale": list(protocol.scale),
        "categories": categories,
        "groups": {name: together(keys) for name, keys in protocol.groups.items()},
        "overall": together(samples),
    }


def _samples(protocol: Protocol, frame: pd.DataFrame, rubric: Rubric) -> list[Row]:
    """Return the published numbers of each scored sample, on the published scale."""
    found = []
    for _, row in frame[frame["status"] == "ok"].iterrows():
        given = {name: row[name] for name in rubric.names if pd.notna(row.get(name))}
        tags = json.loads(row["tags"]) if isinstance(row.get("tags"), str) else []
        values: dict[str, float] = {"score": _moved(float(row["score"]), SCALE, protocol.scale)}
        if len(given) == len(rubric.names):
            counted = {name: float(given[name]) for name in rubric.counted(tags)}
            aspects = rubric.aspects({name: float(value) for name, value in given.items()})
            for name, value in (aspects | counted).items():
                values[name] = _moved(value, rubric.scale, protocol.scale)
            if protocol.accuracy:
                values["accuracy"] = float(all(v == rubric.scale[1] for v in counted.values()))
        found.append({**values, "count": 1})
    return found


def _mean(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean of each number over the rows that have it, and the sum of their counts."""
    names = dict.fromkeys(name for row in rows for name in row if name != "count")
    means: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        means[name] = math.fsum(values) / len(values) if values else None
    return {"score": None, **means, "count": sum(row["count"] for row in rows)}


def _moved(value: float, old: tuple[float, float], new: tuple[float, float]) -> float:
    """Return a value of one scale on another one."""
    return new[0] + (value - old[0]) / (old[1] - old[0]) * (new[1] - new[0])


def markdown(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the editors' numbers as a table, a column for each editor.

    Args:
        numbers: what `aggregate` returns, by editor.
    """
    first = next(iter(numbers.values()))
    low, high = first["scale"]
    lines = [
        f"# {first['name']}",
        "",
        f"{first['aggregate']} means, from {low:g} to {high:g}. Arithmetic: {first['source']}",
        "",
        "| | " + " | ".join(_cell(editor) for editor in numbers) + " |",
        "|---|" + "---|" * len(numbers),
    ]

    def line(title: str, rows: list[Mapping[str, Any]], key: str) -> str:
        cells = (
            "–"
            if row.get(key) is None
            else f"{row[key]:.1%}"
            if key == "accuracy"
            else f"{row[key]:.3f}"
            for row in rows
        )
        return f"| {_cell(title)} | " + " | ".join(cells) + " |"

    overall = [own["overall"] for own in numbers.values()]
    for key in dict.fromkeys(key for row in overall for key in row if key != "count"):
        lines.append(line(f"**overall** {key}", overall, key))
    for part in ("groups", "categories"):
        for name in first[part]:
            lines.append(line(name, [own[part][name] for own in numbers.values()], "score"))
    lines.append("| scored samples | " + " | ".join(str(row["count"]) for row in overall) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
