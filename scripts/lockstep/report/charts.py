"""Charts of scores: means with intervals, distributions, criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lockstep.report.svg import INK, style, svg
from lockstep.report.terms import Chart, colour
from lockstep.rubrics.ties import settled

MARKERS = "osDv^PXh"
"""Of editors, for who cannot tell the colours apart."""

WIDTH = 4.6
"""Inches of 72 units, so that text is of its size on a phone too."""

LONGEST = 36
"""Characters of a label that are shown; its CSV has all."""

BINS = 20
"""Of a distribution; each is half a point wide on the scale from 0 to 10."""


def means(report: Mapping[str, Any], labels: Mapping[str, str], standing: Sequence[str]) -> Chart:
    """Draw each editor's mean with its interval, overall and by category.

    Args:
        report: what `schema.Report` describes.
        labels: category → how it is called.
        standing: the editors.
    """
    editors = standing
    rows = [
        {"group": group, "editor": editor, **_mean(_summary(report, editor, group))}
        for group in ("overall", *labels)
        for editor in editors
    ]
    groups = {"overall": "overall", **labels}
    with style("mean scores with 95% intervals") as title:
        step = 1 / (len(editors) + 1.2)
        height = len(groups) * max(0.34, 0.17 * (len(editors) + 1.2))
        names = list(map(_shown, groups.values()))
        axes = _axes(height, 7.2, report["scale"], left=max(1.45, _width(names)))
        for number, editor in enumerate(editors):
            own = [row for row in rows if row["editor"] == editor]
            for place, row in enumerate(own):
                y = place + (number - (len(editors) - 1) / 2) * step
                _point(axes, row, y, number)
        axes.axhline(0.5, color=INK, linewidth=0.6, alpha=0.5)
        axes.set_yticks(range(len(groups)), names)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        return Chart("means", svg(axes, title), rows)


def series(
    one: Mapping[str, Any], report: Mapping[str, Any], labels: Mapping[str, str], number: int
) -> Chart:
    """Draw the mean of a series over its steps with its interval, overall and by category.

    The best step has a ring.

    Args:
        one: what `schema.Series` describes.
        number: of its colour.
    """
    groups = {"overall": "overall", **labels}
    rows = [
        {
            "group": group,
            "step": step["step"],
            "editor": step["editor"],
            **_mean(_summary(report, step["editor"], group)),
        }
        for group in groups
        for step in one["steps"]
    ]
    known = [row for row in rows if row["mean"] is not None]
    ends = [v for row in known for v in (row["low"], row["mean"], row["high"]) if v is not None]
    with style(f"{one['name']}: mean scores over the steps, with 95% intervals") as title:
        figure = Figure((7.2, 1.9 + 1.35 * -(-len(labels) // 3)))
        grid = figure.add_gridspec(
            1 + -(-len(labels) // 3), 3, height_ratios=[1.5, *[1] * -(-len(labels) // 3)]
        )
        places = [grid[0, :], *(grid[1 + n // 3, n % 3] for n in range(len(labels)))]
        for place, (group, label) in zip(places, groups.items(), strict=True):
            axes = figure.add_subplot(place)
            _curve(axes, [row for row in known if row["group"] == group], one["best"], number)
            axes.set_title(_shown(label), fontsize=9, loc="left")
            axes.set_ylim(*_around(ends, report["scale"]))
            axes.set_xlim(*_around([step["step"] for step in one["steps"]]))
        figure.subplots_adjust(0.055, 0.07, 0.985, 0.93, wspace=0.18, hspace=0.55)
        return Chart(f"series-{one['name']}", svg(axes, title), rows)


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], best: str | None, number: int) -> None:
    steps, values = ([row[key] for row in rows] for key in ("step", "mean"))
    low, high = (
        [row["mean"] if row[end] is None else row[end] for row in rows] for end in ("low", "high")
    )
    axes.fill_between(steps, low, high, color=colour(number), alpha=0.2, linewidth=0)
    axes.plot(steps, values, "o-", color=colour(number), linewidth=1.4, markersize=3.5)
    axes.plot(
        [row["step"] for row in rows if row["editor"] == best],
        [row["mean"] for row in rows if row["editor"] == best],
        "o",
        color=INK,
        markersize=8,
        fillstyle="none",
    )
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color=INK, linewidth=0.5, alpha=0.15)
    axes.set_axisbelow(True)


def _around(values: Sequence[float], within: Sequence[float] | None = None) -> tuple[float, float]:
    """Return ends of an axis that shows values, with some room around them."""
    low, high = (min(values), max(values)) if values else within or (0, 1)
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _summary(report: Mapping[str, Any], editor: str, group: str) -> Mapping[str, Any]:
    """Return an editor's numbers in a category, or overall."""
    own: Mapping[str, Any] = report["editors"][editor]
    # as the headline is, on the scale of all scores
    of_all = own["overall"][report["headline"]["aggregate"]]
    found: Mapping[str, Any] = of_all if group == "overall" else own["categories"][group]
    return found


def distribution(
    category: str, scores: Mapping[str, Sequence[float]], scale: tuple[float, float]
) -> Chart:
    """Draw how many samples of a category have which score, an editor below the other.

    Args:
        scores: editor → scores.
    """
    edges = settled(np.linspace(*scale, BINS + 1))
    counts = {editor: np.histogram(settled(own), edges)[0] for editor, own in scores.items()}
    highest = max(1, *(int(own.max()) for own in counts.values()))
    with style(f"{category}: distribution of scores") as title:
        axes = _axes(0.5 * len(counts), WIDTH, scale, left=0.15)
        for number, (editor, own) in enumerate(counts.items()):
            base = len(counts) - 1 - number
            axes.bar(
                edges[:-1],
                own / highest * 0.82,
                np.diff(edges) * 0.92,
                bottom=base,
                align="edge",
                color=colour(number),
                linewidth=0,
            )
            axes.axhline(base, color=INK, linewidth=0.5, alpha=0.4)
            if len(scores[editor]):
                mean = float(np.mean(scores[editor]))
                axes.plot([mean, mean], [base, base + 0.9], color=INK, linewidth=1.2)
        axes.set_yticks([])
        axes.set_ylim(0, len(counts))
        rows = [
            {"editor": editor, "from": float(low), "to": float(high), "samples": int(count)}
            for editor, own in counts.items()
            for low, high, count in zip(edges[:-1], edges[1:], own, strict=True)
        ]
        return Chart(f"distribution-{category}", svg(axes, title), rows)


def criteria(
    category: str,
    means_of: Mapping[str, Mapping[str, float | None]],
    scale: tuple[float, float],
) -> Chart:
    """Draw each editor's mean of each criterion of a category.

    Args:
        means_of: editor → criterion → mean.
    """
    names = list(dict.fromkeys(name for own in means_of.values() for name in own))
    rows = [
        {"criterion": name, "editor": editor, "mean": own.get(name)}
        for name in names
        for editor, own in means_of.items()
    ]
    with style(f"{category}: means of the criteria") as title:
        shown = [_shown(name.replace("_", " ")) for name in names]
        axes = _axes(0.36 * len(names), WIDTH, scale, left=_width(shown))
        for place in range(len(names)):
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.2)
        # the first editor lies on top where means are the same
        for number, own in reversed(list(enumerate(means_of.values()))):
            given = [(own.get(name), place) for place, name in enumerate(names)]
            found = [(mean, place) for mean, place in given if mean is not None]
            axes.scatter(
                [mean for mean, _ in found],
                [place for _, place in found],
                s=36,
                color=colour(number),
                marker=MARKERS[number % len(MARKERS)],
                linewidths=0,
                zorder=3,
                clip_on=False,
            )
        axes.set_yticks(range(len(names)), shown)
        axes.set_ylim(len(names) - 0.5, -0.5)
        return Chart(f"criteria-{category}", svg(axes, title), rows)


def _shown(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _width(labels: Sequence[str]) -> float:
    """Return the inches that labels take."""
    return 0.2 + 0.078 * max(map(len, labels))


def _mean(numbers: Mapping[str, Any]) -> dict[str, Any]:
    low, high = numbers["ci95"] or (None, None)
    return {"mean": numbers["mean"], "low": low, "high": high, "count": numbers["count"]}


def _point(axes: Axes, row: Mapping[str, Any], y: float, number: int) -> None:
    if row["mean"] is None:
        return
    if row["low"] is not None:
        axes.plot([row["low"], row["high"]], [y, y], color=colour(number), linewidth=1.6, alpha=0.7)
    marker = MARKERS[number % len(MARKERS)]
    axes.plot(row["mean"], y, marker, color=colour(number), markersize=5.5, clip_on=False)


def _axes(height: float, width: float, scale: tuple[float, float], left: float) -> Axes:
    """Return axes over the scale of scores; all sizes are inches."""
    below, above, right = 0.28, 0.08, 0.15
    total = height + below + above
    figure = Figure((width, total))
    axes = figure.add_axes(
        (left / width, below / total, (width - left - right) / width, height / total)
    )
    axes.set_xlim(*scale)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(axis="x", color=INK, linewidth=0.5, alpha=0.15)
    axes.set_axisbelow(True)
    return axes
