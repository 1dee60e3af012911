"""What an edit kept of its source, measured on the pixels; it is never part of a score.

An edit of another size is first brought to the source's. Measures are scikit-image's, with the
settings that are named here.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lockstep import layout, records
from lockstep.figures.apart import begun
from lockstep.figures.registration import register
from lockstep.foreign import images
from lockstep.records import EditRecord, PreservationRecord
from lockstep.records.columns import MEASURES, SIMILARITIES

SEMANTICS = 2
"""Raised by hand when what is measured changes, so that all is measured again."""

LARGEST = 2048**2
"""Pixels up to which edits are compared pixel by pixel; larger ones are reduced first."""

WINDOW = 11
"""Pixels of the Gaussian window of SSIM (σ 1.5), as in Wang et al. 2004."""

CHANGED = 16
"""Levels of 255 by which a channel of a pixel differs that counts as changed."""

BLOCK, NEAR = 8, 8
"""Pixels of the blocks whose mean colours no copy moves by more than so many levels of 255.

Noise and compression average out in a block, and a change that can be seen does not.
"""

MOVED = 1024**2
"""Pixels up to which images are registered as they are; larger ones are reduced first."""

LAB = 256**2
"""Pixels of the reduced copies that colours are averaged over."""

BATCH = 32
"""Edits that a process measures before what was measured is saved."""

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


def preserved(
    manifest: Path, edits: Sequence[Path], folder: Path, processes: int
) -> dict[str, PreservationRecord]:
    """Return what each edit of a category kept of its source, by id; only new edits are measured.

    An edit whose image cannot be read has none.

    Args:
        edits: the edits' records.
        folder: the category's results, where what was measured is kept.
        processes: that this one may have beside it.
    """
    path = layout.preservation(folder)
    wanted = list(all_edits(manifest, edits, folder))
    found = known(wanted, folder)
    new = [own for own in wanted if own.id not in found]
    for start in range(0, len(new), BATCH * processes):
        batch = new[start : start + BATCH * processes]
        parts = [batch[k::processes] for k in range(processes)]
        results = [begun(processes, measure_all, part) for part in parts if part]
        found |= {record.id: record for result in results for record in result()}
        records.write_records(path, found.values())
    return found


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


def measure_all(wanted: Sequence[Wanted]) -> list[PreservationRecord]:
    """Measure edits; one whose image cannot be read is left out."""
    found = []
    for own in wanted:
        if (pair := own.opened()) is not None:
            measured = measure(*pair, own.size)
            found.append(PreservationRecord(id=own.id, key=own.key, **measured))
    return found


def measure(
    source: Image.Image, edited: Image.Image, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return what an edit kept of its source, as in `PreservationRecord`.

    Args:
        source: RGB.
        edited: RGB.
        size: that the editor returned, where it is not the edit's any more.
    """
    width, height = size or edited.size
    alike = images.resize(edited, source.size, "lanczos")
    one, other = (np.asarray(reduced(image, LARGEST)) for image in (source, alike))
    exact = edited.size == source.size and bool((np.asarray(source) == np.asarray(edited)).all())
    found = {
        "source_width": source.width,
        "source_height": source.height,
        "edited_width": width,
        "edited_height": height,
        "size_ratio": width * height / (source.width * source.height),
        "copy_of_source": "exact" if exact else _near(source, alike),
        **_pixels(one, other, exact),
        **_place(source, alike, exact),
        **_colours(source, alike),
    }
    return {key: round(v, 5) if isinstance(v, float) else v for key, v in found.items()}


def reduced(image: Image.Image, pixels: int) -> Image.Image:
    """Return an image with at most a number of pixels."""
    factor = (image.width * image.height / pixels) ** 0.5
    if factor <= 1:
        return image
    size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    return image.resize(size, Image.Resampling.BOX)


def _near(source: Image.Image, edited: Image.Image) -> Literal["near", "no"]:
    one, other = (np.asarray(image.reduce(BLOCK), dtype=np.int16) for image in (source, edited))
    return "near" if np.abs(one - other).max() <= NEAR else "no"


def _pixels(source: Pixels, edited: Pixels, exact: bool) -> dict[str, float | None]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    if exact:
        return {"psnr": None, "ssim": 1.0, "changed_share": 0.0}
    apart = np.abs(source.astype(np.int16) - edited).max(axis=2)
    psnr = float(peak_signal_noise_ratio(source, edited)) if apart.any() else None
    ssim = None
    if min(apart.shape) >= WINDOW:
        ssim = float(
            structural_similarity(
                _grey(source),
                _grey(edited),
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
    return {"psnr": psnr, "ssim": ssim, "changed_share": float((apart > CHANGED).mean())}


def _grey(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Return brightness from 0 to 1."""
    from skimage.color import rgb2gray

    return np.asarray(rgb2gray(pixels.astype(np.float32) / 255), dtype=np.float32)


def _place(source: Image.Image, edited: Image.Image, exact: bool) -> dict[str, float | None]:
    names = ("shift_x", "shift_y", "zoom_percent", "matched_share")
    one, other = (_grey(np.asarray(reduced(image, MOVED))) for image in (source, edited))
    if exact and one.min() < one.max():
        return dict(zip(names, (0.0, 0.0, 0.0, 1.0), strict=True))
    found = register(one, other)
    if found is None:
        return dict.fromkeys(names)
    factor = (source.width * source.height / one.size) ** 0.5
    x, y = found.shift_x * factor, found.shift_y * factor
    return dict(zip(names, (x, y, found.zoom, found.matched), strict=True))


def _colours(source: Image.Image, edited: Image.Image) -> dict[str, float]:
    from skimage.color import deltaE_cie76, rgb2lab

    one, other = (
        rgb2lab(np.asarray(reduced(image, LAB))).mean(axis=(0, 1)) for image in (source, edited)
    )
    apart = dict(zip(("colour_l", "colour_a", "colour_b"), map(float, other - one), strict=True))
    return {**apart, "colour_cast": float(deltaE_cie76(one, other))}


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
