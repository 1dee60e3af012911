"""Contact sheets: a category's sources, and one editor's edits of them, in the same places."""

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from lockstep.report import gallery
from lockstep.report.gallery import Row
from lockstep.report.thumbnails import edit_thumbnail, source_thumbnail

COLUMNS, ROWS = 6, 8
CELL = 240
"""Pixels of a cell's sides."""

GAP = 8
EMPTY = "#d9dce2"
"""Where there is no image."""


def worst(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a category's table that its sheets show: what failed, then the lowest."""
    taken = frame[frame["status"] != "skipped"]
    order = taken["score"].astype(float).fillna(-1).to_numpy().argsort(kind="stable")
    return gallery.rows(taken.iloc[order[: COLUMNS * ROWS]])


def sheet(shown: Sequence[Row], editor: str | None, folder: Path) -> bytes:
    """Return the JPEG of a category's samples.

    Args:
        shown: their rows, as `worst` gives them.
        editor: whose edits are shown; the sources if None.
        folder: the report's, with the thumbnails.
    """
    lines = max(1, -(-len(shown) // COLUMNS))
    size = (COLUMNS * (CELL + GAP) + GAP, lines * (CELL + GAP) + GAP)
    paper = Image.new("RGB", size, "white")
    for number, row in enumerate(shown):
        line, column = divmod(number, COLUMNS)
        name = edit_thumbnail(row, editor) if editor else source_thumbnail(row)
        # a thumbnail may be that of an earlier edit, where there is none now
        cell = _cell(folder / name if editor is None or row["edited"] else None)
        paper.paste(cell, (GAP + column * (CELL + GAP), GAP + line * (CELL + GAP)))
    buffer = io.BytesIO()
    paper.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _cell(path: Path | None) -> Image.Image:
    """Return a square cell with a thumbnail in its middle, if there is one."""
    cell = Image.new("RGB", (CELL, CELL), EMPTY)
    if path is not None and path.exists():
        with Image.open(path) as small:
            small.thumbnail((CELL, CELL))
            cell.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return cell
