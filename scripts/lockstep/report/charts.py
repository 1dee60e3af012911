"""Charts of scores: means with intervals, distributions, criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def means(report: Mapping[str, Any], labels: Mapping[str, str]) -> Chart:
    """Draw each editor's mean with its interval, overall and by category.

    Args:
        report: what `schema.Report` describes.
        labels: category → how it is called.
    """
    editors = report["editors"]

    def overall(own: Mapping[str, Any]) -> Mapping[str, Any]:
        # as the headline is, on the scale of all scores
        return own["overall"][report["headline"]["aggregate"]]

    rows = [
        {"group": group, "editor": editor, **_mean(numbers)}
        for group in ("overall", *labels)
        for editor, own in editors.items()
        for numbers in [overall(own) if group == "overall" else own["categories"][group]]
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
