"""Small copies of images, for pages that show many."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lockstep import records
from lockstep.foreign import images

SIDE = 360
"""Pixels of a thumbnail's longer side: a card's width on a screen with twice the pixels."""


def source_thumbnail(row: Mapping[str, Any]) -> str:
    """Return where a sample's source has its thumbnail, relative to the report."""
    return f"thumbs/sources/{row['category']}/{row['id']}.jpg"


def edit_thumbnail(row: Mapping[str, Any], editor: str) -> str:
    """Return where a sample's edit has its thumbnail, relative to the report."""
    return f"thumbs/edits/{editor}/{row['category']}/{row['id']}.jpg"


def make_ahead(frame: pd.DataFrame, editor: str, folder: Path, background: str) -> None:
    """Write the thumbnails of a table's samples before there is a report.

    It is the report that tells which of them it shows. Half of the processors are left to the jobs
    that others run meanwhile.

    Args:
        folder: the report's.
    """
    wanted = []
    for own in frame[["id", "category", "source", "edited"]].itertuples():
        row = {"id": own.id, "category": own.category}
        wanted.append((Path(str(own.source)), folder / source_thumbnail(row)))
        if isinstance(own.edited, str):
            wanted.append((Path(own.edited), folder / edit_thumbnail(row, editor)))
    make_thumbnails(wanted, background, max(1, len(os.sched_getaffinity(0)) // 2))


def make_thumbnails(
    wanted: Iterable[tuple[Path, Path]], background: str, threads: int
) -> set[Path]:
    """Write a thumbnail of each image that has none yet, and return those that there are.

    A thumbnail has its image's time, less some milliseconds that stand for the background; one with
    another time is made again.

    Args:
        wanted: pairs of an image and its thumbnail.
        background: what lies under transparent images, as "#rrggbb".
        threads: images that are worked on at a time.
    """
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(lambda pair: _thumbnail(pair[0], pair[1], background), wanted)
        return {path for path in made if path is not None}


def _thumbnail(image: Path, path: Path, background: str) -> Path | None:
    """Return the thumbnail's path; None if there is no image to show."""
    try:
        time = image.stat().st_mtime_ns + _number(background) - _number(images.WHITE)
        if not path.exists() or path.stat().st_mtime_ns != time:
            small = shrunk(image, SIDE, background)
            # it is made again in a moment, so it need not outlive a power loss
            with records.atomic(path, durable=False) as file:
                file.write(small)
            os.utime(path, ns=(time, time))
    except Exception:  # Pillow raises many kinds on what is no image, and the page says so
        # one of what was there before shows nothing that is there now
        path.unlink(missing_ok=True)
        return None
    return path


def _number(colour: str) -> int:
    return int(colour.removeprefix("#"), 16)


def shrunk(path: Path, side: int, background: str, quality: int = 82) -> bytes:
    """Return an image as a JPEG whose longer side has at most a number of pixels.

    Raises:
        Exception: what `images.open_rgb` raises on a file that is no image or broken.
    """
    picture = images.open_rgb(path, background)
    scale = side / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=1)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
