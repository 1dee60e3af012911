"""Measures, on the pixels, how much an edit keeps of its source.

An edit of another size is first brought to the source's. Measures are scikit-image's, with the
settings that are named here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.color import deltaE_cie76, rgb2gray, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lockstep import layout, records
from lockstep.figures.apart import begun
from lockstep.figures.preservation import LARGEST, Wanted, all_edits, known, reduced
from lockstep.figures.registration import register
from lockstep.foreign import images
from lockstep.records import PreservationRecord

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

Pixels = npt.NDArray[np.uint8]


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


def _near(source: Image.Image, edited: Image.Image) -> Literal["near", "no"]:
    one, other = (np.asarray(image.reduce(BLOCK), dtype=np.int16) for image in (source, edited))
    return "near" if np.abs(one - other).max() <= NEAR else "no"


def _pixels(source: Pixels, edited: Pixels, exact: bool) -> dict[str, float | None]:
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
    one, other = (
        rgb2lab(np.asarray(reduced(image, LAB))).mean(axis=(0, 1)) for image in (source, edited)
    )
    apart = dict(zip(("colour_l", "colour_a", "colour_b"), map(float, other - one), strict=True))
    return {**apart, "colour_cast": float(deltaE_cie76(one, other))}
