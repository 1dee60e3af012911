"""Figures as SVG that stands in a page: text in its colour, nothing around it.

The same numbers give the same text.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes

INK = "#0a0b0c"
"""Stands for the page's colour of text."""

BLOCKS_ID = "blocks"
"""Marks what must be drawn without smoothed edges, which would show between neighbours."""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "font.size": 9,
    "path.simplify": False,
    "svg.fonttype": "none",
    "text.color": INK,
    # a $ in a device's name is a $
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def style(title: str) -> Iterator[str]:
    """Draw with the report's style; the title makes the ids of a plot its own."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        # the page draws the letters, with fonts of its own
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield title


def svg(axes: Axes, title: str) -> str:
    """Return the figure of axes as SVG that fits its page."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    size = next(re.finditer(r'viewBox="[^"]*"', text))[0]
    text = text[text.index(">", text.index("<svg")) + 1 :]
    # its style sheet would hold for the whole page, and its ids are the same in every plot
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = text.replace(f'id="{BLOCKS_ID}"', 'shape-rendering="crispEdges"')
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    # a tenth of a unit is less than a pixel
    text = re.sub(r' d="[^"]*"', lambda path: _short(path[0]), text)
    text = text.replace(INK, "currentColor")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    label = f'role="img" aria-label="{html.escape(title)}"'
    return f'<svg class="plot" {spaces} {label} {size}>{text}'


def _short(path: str) -> str:
    """Return a path's `d` attribute in as few characters as a page needs."""
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", path)
    return re.sub(r"\s*([MLz])\s*", r"\1", numbers).replace(".0 ", " ").replace(".0L", "L")
