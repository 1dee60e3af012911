"""Numbers of a run as a published benchmark sums them up, by its protocol."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from lockstep.figures import clusters, tables
from lockstep.foreign import media
from lockstep.rubrics import combine
from lockstep.rubrics.protocol import Protocol
from lockstep.rubrics.rubric import SCALE, Rubric
from lockstep.rubrics.ties import settled


class _Sample(NamedTuple):
    """One sample that the editor was asked for."""

    tags: Sequence[str]
    numbers: Mapping[str, float] | None
    """What is published of it, on the published scale; None without a score."""
    cluster: str
    """See `tables.clusters`."""


def aggregate(
    protocol: Protocol, frames: Mapping[str, pd.DataFrame], rubrics: Mapping[str, Rubric]
) -> dict[str, Any]:
    """Sum up an editor's tables as a benchmark does.

    Args:
        frames: table of each category.
        rubrics: rubric of each category.

    Returns:
        `categories`, `groups`, `tags` and `overall`: each with `score`, the means of `aspects` and
        `criteria` (on the published scale), where it is published `accuracy` of the scored samples
        and `accuracy_of_all` (a sample without a score counts as wrong), the 95% intervals of all
        these (`ci95`, see `clusters.interval`), `count` of scored samples and `failed` ones. A
        number is None where there is nothing, and where `macro` lacks a category's.
    """
    samples = {key: _samples(protocol, frame, rubrics[key]) for key, frame in frames.items()}
    every = [sample for own in samples.values() for sample in own]

    def together(keys: Iterable[str]) -> dict[str, Any]:
        # what an editor does not take says nothing of it
        own = [samples[key] for key in keys if samples.get(key)]
        return _sum(protocol, own, macro=protocol.aggregate == "macro")

    def tagged(tag: str) -> dict[str, Any]:
        return _sum(protocol, [[sample for sample in every if tag in sample.tags]])

    return {
        "name": protocol.name,
        "source": protocol.source,
        "aggregate": protocol.aggregate,
        "headline": protocol.headline,
        "scale": list(protocol.scale),
        "categories": {key: _sum(protocol, [own]) for key, own in samples.items()},
        "groups": {name: together(keys) for name, keys in protocol.groups.items()},
        "tags": {tag: tagged(tag) for tag in protocol.tags},
        "overall": together(samples),
    }


def headlines(protocol: Protocol, frame: pd.DataFrame, rubric: Rubric) -> pd.Series:
    """Return the number of each of a table's rows that editors are ranked by; NaN without one.

    A score is on the published scale, accuracy from 0 to 1.
    """
    scored = frame[frame["status"] == "ok"]
    samples = _samples(protocol, scored, rubric)
    known = [own.numbers or {} for own in samples]
    found = [numbers.get(protocol.headline, np.nan) for numbers in known]
    return pd.Series(found, index=scored.index, dtype=float).reindex(frame.index)


def _samples(protocol: Protocol, frame: pd.DataFrame, rubric: Rubric) -> list[_Sample]:
    """Return what is published of each sample but those that the editor does not take."""
    asked = frame[frame["status"] != "skipped"]
    columns = ["status", "score", "tags", "judgements", *rubric.names]
    told = asked.reindex(columns=columns).assign(cluster=tables.clusters(asked))
    rows = told.to_dict("records")
    return [_sample(protocol, cast(Mapping[str, Any], row), rubric) for row in rows]


def _sample(protocol: Protocol, row: Mapping[str, Any], rubric: Rubric) -> _Sample:
    tags = json.loads(row["tags"]) if isinstance(row["tags"], str) else []
    if row["status"] != "ok":
        return _Sample(tags, None, row["cluster"])
    told = [_judgement(protocol, rubric, own, tags) for own in _judgements(row, rubric.names)]
    # what a judgement decides is decided before the mean over all of them
    named = [name for name in told[0] if all(name in own for own in told)]
    means = {name: math.fsum(own[name] for own in told) / len(told) for name in named}
    score = _moved(float(row["score"]), SCALE, protocol.scale)
    numbers = {n: float(settled(v)) for n, v in {"score": score, **means}.items()}
    return _Sample(tags, numbers, row["cluster"])


def _judgements(row: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, float]]:
    """Return each judgement's criteria; none of a score that came without."""
    several = row.get("judgements")
    if isinstance(several, str):
        return [_valued(dict(zip(names, own, strict=True))) for own in json.loads(several)]
    # a criterion whose call was skipped, or whose answer does not count, has no value
    return [_valued({name: row.get(name) for name in names})]


def _valued(given: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in given.items() if pd.notna(value)}


def _judgement(
    protocol: Protocol, rubric: Rubric, given: Mapping[str, float], tags: Sequence[str]
) -> dict[str, float]:
    """Return what is published of a judgement beside its score; nothing without criteria."""
    if not given:
        return {}
    values = combine.counting(rubric, given)
    names = [name for name in combine.counted(rubric, tags) if name in values]
    counted = {name: float(values[name]) for name in names}
    found = {
        name: _moved(value, rubric.scale, protocol.scale)
        for name, value in (combine.aspects(rubric, given) | counted).items()
    }
    if protocol.accuracy:
        moving = [counted[name] for name in combine.weighed(rubric, tags) if name in counted]
        found["accuracy"] = float(all(settled(v) == rubric.scale[1] for v in moving))
    return found


def _sum(
    protocol: Protocol, parts: Sequence[Sequence[_Sample]], macro: bool = False
) -> dict[str, Any]:
    """Return the mean of each number over the samples that have it, or of the parts' means (macro).

    None where there is no score at all, and in a macro mean where a part has none.
    """
    counts = {
        "count": sum(own.numbers is not None for part in parts for own in part),
        "failed": sum(own.numbers is None for part in parts for own in part),
    }
    known = [any(own.numbers for own in part) for part in parts]
    if not (known and (all(known) if macro else any(known))):
        return {"score": None, "ci95": {}, **counts}
    names = dict.fromkeys(name for part in parts for own in part for name in own.numbers or ())
    found = {name: _mean(parts, name, macro) for name in names}
    if "accuracy" in found:
        found["accuracy_of_all"] = _mean(parts, "accuracy", macro, failed=0.0)
    if protocol.failed_as is not None:
        found["score_of_all"] = _mean(parts, "score", macro, failed=protocol.failed_as)

    def scale(name: str) -> tuple[float, float]:
        return (0.0, 1.0) if name.startswith("accuracy") else protocol.scale

    return {
        **{name: own.value for name, own in found.items()},
        "ci95": {name: clusters.interval(own, scale(name)) for name, own in found.items()},
        **counts,
    }


def _mean(
    parts: Sequence[Sequence[_Sample]], name: str, macro: bool, failed: float | None = None
) -> clusters.Clustered:
    """Return the mean of a number over the parts that have any.

    Args:
        failed: what a sample without a score counts as; None leaves it out.
    """
    nothing = {} if failed is None else {name: failed}
    given = [[(own.numbers or nothing, own.cluster) for own in part] for part in parts]
    known = [[(own[name], cluster) for own, cluster in part if name in own] for part in given]
    pairs = [part for part in known if part]
    found = clusters.mean(
        [np.array([value for value, _ in part]) for part in pairs],
        [[cluster for _, cluster in part] for part in pairs],
        macro,
    )
    assert found is not None
    return found


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
        f"# {media.markdown(first['name'])}",
        "",
        f"{first['aggregate']} means, from {low:g} to {high:g}, with 95% intervals, or *too few* "
        "where there are too few samples for one. Editors are "
        f"ranked by the {first['headline']} overall. A sample without a score moves no mean"
        f"{'; accuracy_of_all counts it as wrong' if _accurate(numbers) else ''}. "
        f"Arithmetic: {media.markdown(first['source'])}",
        "",
        "| | " + " | ".join(map(media.markdown, numbers)) + " |",
        "|---|" + "---|" * len(numbers),
    ]

    def line(title: str, rows: Sequence[Mapping[str, Any]], key: str) -> str:
        return f"| {title} | " + " | ".join(_number(row, key) for row in rows) + " |"

    overall = [own["overall"] for own in numbers.values()]
    for key in dict.fromkeys(key for row in overall for key in row if key not in NO_MEANS):
        lines.append(line(f"**overall** {media.markdown(key)}", overall, key))
    keys = ["score", *(["accuracy", "accuracy_of_all"] if _accurate(numbers) else [])]
    keys += ["score_of_all"] if any("score_of_all" in own for own in overall) else []
    for part in ("groups", "tags", "categories"):
        for name in first[part]:
            rows = [own[part][name] for own in numbers.values()]
            if part == "tags" and not any(row["count"] + row["failed"] for row in rows):
                continue
            title = media.markdown(name)
            lines += [
                line(title if key == "score" else f"{title} {key}", rows, key) for key in keys
            ]
    lines.append("| scored samples | " + " | ".join(str(row["count"]) for row in overall) + " |")
    lines.append("| failed samples | " + " | ".join(str(row["failed"]) for row in overall) + " |")
    return "\n".join(lines) + "\n"


NO_MEANS = ("ci95", "count", "failed")
"""Keys of a part of `aggregate` that are no published number."""


def _accurate(numbers: Mapping[str, Mapping[str, Any]]) -> bool:
    return any("accuracy" in own["overall"] for own in numbers.values())


def _number(row: Mapping[str, Any], key: str) -> str:
    """Return a number with its interval, such as `3.260 (3.101 to 3.402)`."""
    if row.get(key) is None:
        return "–"
    form = ".1%" if key.startswith("accuracy") else ".3f"
    interval = row["ci95"].get(key)
    ends = "too few" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"
    return f"{row[key]:{form}} ({ends})"
