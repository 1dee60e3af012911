"""Charts of scores: means with intervals, distributions, criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lockstep.report.language import ENGLISH, Say
from lockstep.report.svg import INK, style, svg
from lockstep.report.terms import Chart, colour
from lockstep.rubrics.ties import settled

MARKERS = "osDv^PXh"
"""Of editors, for who cannot tell the colours apart."""

WIDTH = 4.6
"""Inches of 72 units, so that text is of its size on a phone too."""

WIDE = 13.0
"""Inches of a chart over the page's whole width."""

LONGEST = 36
"""Characters of a label that are shown; its CSV has all."""

BINS = 20
"""Of a distribution; each is half a point wide on the scale from 0 to 10."""


def means(
    report: Mapping[str, Any],
    labels: Mapping[str, str],
    standing: Sequence[str],
    say: Say = ENGLISH,
) -> Chart:
    """Draw each editor's mean with its interval, overall and by category.

    The chart is drawn twice: for the page's whole width, and for a phone.

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
    names = [_shown(name) for name in (say("page.overall"), *labels.values())]
    drawn = []
    for width in (WIDE, WIDTH):
        with style(say("results.means")) as title:
            # the wide one is as low as its marks allow
            line = max(0.34, (0.12 if width == WIDE else 0.17) * (len(editors) + 1.2))
            axes = _means(rows, editors, names, (width, line * len(names)), report["scale"])
            drawn.append(svg(axes, title))
    return Chart("means", drawn[0], rows, drawn[1])


def _means(
    rows: Sequence[Mapping[str, Any]],
    editors: Sequence[str],
    names: Sequence[str],
    size: tuple[float, float],
    scale: tuple[float, float],
) -> Axes:
    step = 1 / (len(editors) + 1.2)
    width, height = size
    axes = _axes(height, width, scale, left=min(max(1.45, _width(names)), width / 2.2))
    for number, editor in enumerate(editors):
        for place, row in enumerate(row for row in rows if row["editor"] == editor):
            _point(axes, row, place + _beside(number, len(editors), step), number)
    axes.axhline(0.5, color=INK, linewidth=0.6, alpha=0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return axes


def _beside(number: int, count: int, step: float) -> float:
    """Return how far below its line an editor is drawn, so that no two lie on each other."""
    return (number - (count - 1) / 2) * step


def series(
    one: Mapping[str, Any],
    report: Mapping[str, Any],
    labels: Mapping[str, str],
    number: int,
    say: Say = ENGLISH,
) -> Chart:
    """Draw the mean of a series over its steps with its interval, overall and by category.

    The best step has a ring.

    Args:
        one: what `schema.Series` describes.
        number: of its colour.
    """
    groups = {"overall": say("page.overall"), **labels}
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
    drawn = []
    for width, columns in ((WIDE, 5), (WIDTH, 2)):
        with style(f"{one['name']}: {say('series.chart')}") as title:
            lines = -(-len(labels) // columns)
            figure = Figure((width, 1.9 + 1.35 * lines))
            grid = figure.add_gridspec(1 + lines, columns, height_ratios=[1.5, *[1] * lines])
            places = [
                grid[0, :],
                *(grid[1 + n // columns, n % columns] for n in range(len(labels))),
            ]
            for place, (group, label) in zip(places, groups.items(), strict=True):
                axes = figure.add_subplot(place)
                _curve(axes, [row for row in known if row["group"] == group], one["best"], number)
                axes.set_title(_shown(label), fontsize=9, loc="left")
                axes.set_ylim(*_around(ends, report["scale"]))
                axes.set_xlim(*_around([step["step"] for step in one["steps"]]))
            left = 0.4 / width
            figure.subplots_adjust(left, 0.07, 1 - left / 2, 0.93, wspace=0.18, hspace=0.55)
            drawn.append(svg(axes, title))
    return Chart(f"series-{one['name']}", drawn[0], rows, drawn[1])


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
    category: str,
    scores: Mapping[str, Sequence[float]],
    scale: tuple[float, float],
    say: Say = ENGLISH,
) -> Chart:
    """Draw how many samples of a category have which score, an editor below the other.

    Args:
        scores: editor → scores.
    """
    edges = settled(np.linspace(*scale, BINS + 1))
    counts = {editor: np.histogram(settled(own), edges)[0] for editor, own in scores.items()}
    highest = max(1, *(int(own.max()) for own in counts.values()))
    with style(say("plots.distribution", category=category)) as title:
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
    say: Say = ENGLISH,
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
    with style(say("plots.criteria", category=category)) as title:
        shown = [_shown(name.replace("_", " ")) for name in names]
        # a line is as high as its editors need to lie below each other
        line = max(0.36, 0.14 * (len(means_of) + 1))
        axes = _axes(line * len(names), WIDTH, scale, left=_width(shown))
        step = 1 / (len(means_of) + 1)
        for place in range(len(names)):
            axes.axhline(place, color=INK, linewidth=0.5, alpha=0.2)
        for number, own in enumerate(means_of.values()):
            beside = _beside(number, len(means_of), step)
            given = [(own.get(name), place + beside) for place, name in enumerate(names)]
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
