"""How much edits keep of their sources, as `measuring.py` measures it. No score uses this."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lockstep import layout, records
from lockstep.foreign import images
from lockstep.records import EditRecord, PreservationRecord
from lockstep.records.columns import MEASURES, SIMILARITIES

SEMANTICS = 2
"""Raised by hand when what is measured changes, so that all is measured again."""

LARGEST = 2048**2
"""Pixels up to which edits are compared pixel by pixel; larger ones are reduced first."""

SHIFTED, ZOOMED = 1.0, 0.5
"""Pixels of shift, and percent of zoom, from which an edit is counted as shifted or zoomed."""

SIGNS = ("copy", "shifted", "zoomed", "other_size")
"""What samples are looked for by: copies, exact or near, and edits that fit the source ill."""

Pixels = npt.NDArray[np.uint8]


class Wanted(NamedTuple):
    """An edit to be measured."""

    id: str
    images: tuple[str, str | None, str]
    """Hashes of the source's bytes and of the edit's pixels, with the background between them."""
    source: str
    edited: str
    background: str
    """Colour under transparent pixels, as "#rrggbb"."""
    size: tuple[int, int] | None
    """Width and height that the editor returned; None if it is that of the file."""
    instruction: str

    @property
    def key(self) -> str:
        decides = [SEMANTICS, *self.images, self.size]
        return records.sha256(records.canonical_json(decides).encode())

    def opened(self) -> tuple[Image.Image, Image.Image] | None:
        """Return source and edit as RGB; None if one of them cannot be read."""
        try:
            source = images.open_rgb(self.source, self.background)
            return source, images.open_rgb(self.edited, self.background)
        except Exception:  # Pillow raises many kinds on what is no image, and the page says so
            return None


def known(wanted: Iterable[Wanted], folder: Path) -> dict[str, PreservationRecord]:
    """Return what was measured already of edits, by id.

    Args:
        folder: the category's results.
    """
    path = layout.preservation(folder)
    before = records.read_records(path, PreservationRecord) if path.exists() else []
    measured = {record.key: record for record in before}
    # two samples may have the same two images
    return {
        own.id: measured[own.key].model_copy(update={"id": own.id})
        for own in wanted
        if own.key in measured
    }


def all_edits(manifest: Path, edits: Sequence[Path], folder: Path) -> Iterator[Wanted]:
    """Yield the edits that there are; arguments are those of `preserved`."""
    edited = {
        r.id: (r.image, r.pixels_sha256, r.native_width, r.native_height)
        for r in records.each_record(edits, EditRecord)
        if r.status == "ok" and r.image and r.pixels_sha256
    }
    for sample in records.read_manifest(manifest):
        if sample.id in edited:
            image, pixels, width, height = edited[sample.id]
            size = (width, height) if width and height else None
            ground = sample.background if sample.transparent else None
            both = (sample.image_sha256, ground, str(pixels))
            places = (sample.image, os.fspath(folder / str(image)))
            yield Wanted(sample.id, both, *places, sample.background, size, sample.instruction)


def reduced(image: Image.Image, pixels: int) -> Image.Image:
    """Return an image with at most a number of pixels."""
    factor = (image.width * image.height / pixels) ** 0.5
    if factor <= 1:
        return image
    size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return image.resize(size, Image.Resampling.BOX)


def signs(row: Mapping[str, Any]) -> list[str]:
    """Return which of `SIGNS` a table's row has."""
    sizes = [(row[f"{whose}_width"], row[f"{whose}_height"]) for whose in ("source", "edited")]
    has = {
        "copy": row["copy_of_source"] in ("exact", "near"),
        "shifted": row["shift_x"] is not None
        and float(np.hypot(row["shift_x"], row["shift_y"])) > SHIFTED,
        "zoomed": row["zoom_percent"] is not None and abs(row["zoom_percent"]) > ZOOMED,
        "other_size": sizes[0] != sizes[1],
    }
    return [sign for sign in SIGNS if has[sign]]


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return what the edits of a table kept of their sources, as in `schema.Preservation`."""
    own = frame[frame["copy_of_source"].notna()]
    values = own[[*MEASURES, *SIMILARITIES]].astype(float)
    shift = (values["shift_x"] ** 2 + values["shift_y"] ** 2) ** 0.5
    sizes = values[["source_width", "source_height", "edited_width", "edited_height"]].to_numpy()
    several = {
        **{name: values[name] for name in ("psnr", "ssim", "changed_share", "colour_cast")},
        "shift": shift,
        **{name: values[name] for name in ("shift_x", "shift_y", "zoom_percent")},
        **{name: values[name] for name in SIMILARITIES if values[name].notna().any()},
    }
    copies = own["copy_of_source"].value_counts()
    return {
        "measured": len(own),
        "exact_copies": int(copies.get("exact", 0)),
        "near_copies": int(copies.get("near", 0)),
        "other_size": int((sizes[:, :2] != sizes[:, 2:]).any(axis=1).sum()),
        "registered": int(shift.notna().sum()),
        "shifted": int((shift > SHIFTED).sum()),
        "zoomed": int((values["zoom_percent"].abs() > ZOOMED).sum()),
        "clip_text_cut": int(own["clip_text_cut"].notna().sum()),
        "distribution": {name: _distribution(column) for name, column in several.items()},
    }


def _distribution(values: pd.Series) -> dict[str, float] | None:
    known = values.dropna()
    if known.empty:
        return None
    low, median, high = known.quantile([0.05, 0.5, 0.95])
    return {"low": float(low), "median": float(median), "high": float(high)}
