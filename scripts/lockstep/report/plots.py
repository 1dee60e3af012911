"""Plots of how devices kept step; none knows more than the dict of `drift.measure`."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from lockstep.report.language import ENGLISH, Say
from lockstep.report.svg import BLOCKS_ID, INK, style, svg

COLOURS = {"work": "#3b82f6", "wait": "#f59e0b", "load": "#8b8f98"}
"""Mid tones, to be told apart on light and dark pages and without colour vision."""

BLOCKS = 2000
"""Most blocks of the timeline that are drawn one by one."""

POINTS = 500
"""Most points of the drift curve that are drawn one by one; a page shows few more in its width."""

WIDTHS = (11.0, 4.6)
"""Inches of 72 units, of a plot for the page's width, which the page scales, and for a phone."""

LONGEST = 24
"""Characters of a device's name that are shown."""


class _Rectangle(NamedTuple):
    left: float
    bottom: float
    width: float
    height: float


def timeline(
    editor: str,
    lockstep: Mapping[str, Any],
    width: float = WIDTHS[0],
    say: Say = ENGLISH,
    named: Callable[[str], str] = str,
) -> str:
    """Draw devices over time, with work, wait and load; return SVG.

    Where there are too many blocks each device's time is cut into equal bins, and a bin is filled
    with the shares of work, wait and load from bottom to top.
    """
    names = list(lockstep["devices"])
    with style(say("plots.timeline", editor=editor)) as title:
        row = max(0.15, 0.32 - 0.005 * len(names))
        axes, scale = _axes(lockstep, row * len(names), width, say, named)
        blocks = lockstep["timeline"]
        shapes = _exact if len(blocks) <= BLOCKS else _binned
        for kind, rectangles in shapes(blocks, names, lockstep["seconds"]).items():
            axes.add_patch(_area(rectangles, scale, COLOURS[kind]))
        every = -(-len(names) // 32)
        axes.set_yticks(range(0, len(names), every), map(_shown, names[::every]))
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.figure.legend(
            handles=[
                Patch(color=colour, label=say(f"plots.{kind}")) for kind, colour in COLOURS.items()
            ],
            loc="upper right",
            ncols=len(COLOURS),
            frameon=False,
            borderaxespad=0,
        )
        return svg(axes, title)


def drift_curve(
    editor: str,
    lockstep: Mapping[str, Any],
    width: float = WIDTHS[0],
    say: Say = ENGLISH,
    named: Callable[[str], str] = str,
) -> str:
    """Draw by how many images the fastest device is ahead of the slowest; return SVG."""
    with style(say("plots.drift", editor=editor)) as title:
        axes, scale = _axes(lockstep, 1.1, width, say, named)
        step = lockstep["seconds"] / POINTS if len(lockstep["curve"]) > POINTS else 0
        colour = COLOURS["work"]
        for category in lockstep["drift"]:
            points = [p for p in lockstep["curve"] if p["category"] == category]
            seconds = np.array([p["seconds"] for p in points])
            images = np.array([p["images"] for p in points])
            if step:
                seconds, images = _highest(seconds, images, step)
            axes.fill_between(
                seconds * scale, 0, images, step="post", color=colour, alpha=0.3, lw=0
            )
            axes.plot(seconds * scale, images, drawstyle="steps-post", color=colour, linewidth=1)
        axes.set_ylim(0, max(1, lockstep["largest_drift"]) * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel(say("plots.apart"))
        return svg(axes, title)


def _axes(
    lockstep: Mapping[str, Any],
    height: float,
    width: float,
    say: Say,
    named: Callable[[str], str],
) -> tuple[Axes, float]:
    """Return axes over the timeline's time, and their units per second.

    All plots of an editor have the same axis in the same place, so that one can be read below
    another; categories are marked and named above.

    Args:
        height: inches of the axes.
        width: inches of the whole plot.
        named: gives what a category is called.
    """
    longest = max(len(_shown(name)) for name in lockstep["devices"])
    left, right, above, below = max(0.55, 0.15 + 0.075 * longest), 0.15, 0.45, 0.45
    total = above + height + below
    figure = Figure((width, total))
    axes = figure.add_axes(
        (left / width, below / total, (width - left - right) / width, height / total)
    )
    unit, seconds = _unit(lockstep["seconds"])
    axes.set_xlim(0, (lockstep["seconds"] or 1) / seconds)
    axes.set_xlabel(say(f"plots.{unit}"))
    _name_categories(axes, lockstep, 1 / seconds, 12 * width, named)
    return axes, 1 / seconds


def _unit(span: float) -> tuple[str, int]:
    """Return the unit for a time of so many seconds, and its seconds."""
    for name, seconds in (("hours", 3600), ("minutes", 60)):
        if span >= 2 * seconds:
            return name, seconds
    return "seconds", 1


def _shown(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _name_categories(
    axes: Axes,
    lockstep: Mapping[str, Any],
    scale: float,
    characters: float,
    named: Callable[[str], str],
) -> None:
    """Mark where each category begins, with its name above where there is room for it.

    Args:
        characters: how many the width takes, about.
    """
    begins: dict[str, float] = {}
    for block in lockstep["timeline"]:
        begins.setdefault(block["category"], block["start"])
    free = 0.0
    for category, start in begins.items():
        axes.axvline(start * scale, color=INK, linewidth=0.6, linestyle=(0, (2, 2)), alpha=0.6)
        width = lockstep["seconds"] * (len(category) + 1) / characters
        before = start + width > lockstep["seconds"]
        if start - (width if before else 0) < free:
            continue
        axes.annotate(
            named(category),
            (start * scale, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-2 if before else 2, 3),
            textcoords="offset points",
            horizontalalignment="right" if before else "left",
        )
        free = start + (0 if before else width)


def _exact(
    blocks: Sequence[Mapping[str, Any]], names: Sequence[str], _: float
) -> dict[str, list[_Rectangle]]:
    rows = {name: row for row, name in enumerate(names)}
    shapes = defaultdict(list)
    for block in blocks:
        shapes[block["kind"]].append(
            _Rectangle(block["start"], rows[block["device"]] + 0.4, block["seconds"], -0.8)
        )
    return shapes


def _binned(
    blocks: Sequence[Mapping[str, Any]], names: Sequence[str], span: float
) -> dict[str, list[_Rectangle]]:
    bins = max(50, BLOCKS // len(names))
    width = span / bins
    rows = {name: row for row, name in enumerate(names)}
    shares = {kind: np.zeros((len(names), bins)) for kind in COLOURS}
    for block in blocks:
        begin, end = block["start"] / width, (block["start"] + block["seconds"]) / width
        cells = np.arange(int(begin), min(bins, int(np.ceil(end))))
        inside = np.minimum(cells + 1, end) - np.maximum(cells, begin)
        shares[block["kind"]][rows[block["device"]], cells] += inside
    base = np.zeros((len(names), bins))
    shapes = {}
    for kind, share in shares.items():
        shapes[kind] = [
            _Rectangle(
                cell * width, row + 0.4 - 0.8 * base[row, cell], width, -0.8 * share[row, cell]
            )
            for row, cell in zip(*np.nonzero(share > 0.005), strict=True)
        ]
        base += share
    return shapes


def _area(rectangles: Iterable[_Rectangle], scale: float, colour: str) -> PathPatch:
    """Return all rectangles as one shape: a path each would make the page heavy."""
    vertices, codes = [], []
    for left, bottom, width, height in rectangles:
        begin, end = left * scale, (left + width) * scale
        top = bottom + height
        vertices += [(begin, bottom), (end, bottom), (end, top), (begin, top), (begin, bottom)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    shape = Path(np.reshape(vertices, (-1, 2)), codes)
    return PathPatch(shape, facecolor=colour, linewidth=0, gid=BLOCKS_ID)


def _highest(times: np.ndarray, images: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return times `step` seconds apart, and the most images between each and the next."""
    edges = np.arange(times[0], times[-1] + step, step)
    starts = np.searchsorted(times, edges[:-1], side="right") - 1
    ends = np.searchsorted(times, edges[1:], side="left")
    most = [images[start:end].max() for start, end in zip(starts, ends, strict=True)]
    return edges, np.array([*most, images[-1]])
