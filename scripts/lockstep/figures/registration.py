"""How far an edit moved and scaled what it kept of its source.

Windowed phase correlation of gradients (`skimage.registration.phase_cross_correlation`) in blocks,
first on small copies, then on the images. A similarity transform is fitted to the blocks that
agree (`skimage.measure.ransac`), so a large changed region, whose blocks do not, moves nothing.
The pixels of these blocks then refine it, by least squares: blocks alone draw a small zoom to 0.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.measure import ransac
from skimage.registration import phase_cross_correlation
from skimage.transform import SimilarityTransform, warp

Grey = npt.NDArray[np.float32]
Gradient = npt.NDArray[np.complex64]

SMALL = 256**2
"""Pixels of the small copies that tell roughly."""

LEAST = 32
"""Pixels of the shorter side below which blocks hold too little."""

BLOCKS = 7
"""Most blocks along a side; they overlap."""

FINE, ROUGH = 100, 10
"""Parts of a pixel that a block's displacement is told in."""

TEXTURE = 0.3 / 255
"""Least root mean square of a block's gradient in which anything can be recognised."""

CORRELATED = 0.25
"""Least correlation of a block of the source with the edit.

On photographs, blocks that show the same have 0.4 to 0.8, unrelated ones up to 0.2.
"""

AGREEING, SHARE = 5, 0.25
"""Least number of blocks, and share of those with texture, that one transform must explain."""

MOST_ZOOM, MOST_TURN = 0.15, 0.02
"""Largest relative zoom and rotation (radians) that are believed."""

RESAMPLED = 0.008
"""Relative zoom from which the edit is scaled back before blocks are compared finely."""

POINTS = 2**15
"""Most pixels that refine a transform."""

SMOOTH, WIDE = 1.0, 17
"""Pixels of the Gaussian before pixels are compared, and of the mean that is taken from them.

Without the first, interpolation would decide; without the second, a change of light.
"""

STEPS, STILL = 20, 1e-3
"""Most steps of the refinement, and pixels of a corner's move at which it ends."""

REFINED = 1.0
"""Pixels by which a refinement may move a corner; a larger move found something else."""


class Registration(NamedTuple):
    """Where an edit has what its source shows."""

    shift_x: float
    """Pixels by which the source's centre lies further right."""
    shift_y: float
    """Pixels by which the source's centre lies further down."""
    zoom: float
    """Percent by which it is larger, about the centre."""
    matched: float
    """Share of the blocks with texture that are where this says, 0 to 1."""


class _Fit(NamedTuple):
    """A transform that blocks agree on."""

    transform: Any
    share: float
    """Of the blocks with texture, those that agree."""
    blocks: npt.NDArray[np.float64]
    """Their centres in the source, x and y."""


def register(source: Grey, edited: Grey) -> Registration | None:
    """Return the shift and zoom of an edit, or None where they cannot be told.

    Args:
        source: brightness from 0 to 1, height × width.
        edited: the same of the edit, in the source's size.
    """
    if min(source.shape) < LEAST:
        return None
    rough, original = _roughly(source, edited), edited
    moved = _still()
    if abs(rough.scale - 1) > RESAMPLED:
        moved, rough = rough, moved
        edited = warp(edited, moved, order=3, mode="edge").astype(np.float32)
    found = _fit(_gradient(source), _gradient(edited), rough, 0.5, FINE)
    if found is None:
        return None
    transform = _refined(source, original, found.transform + moved, found.blocks)
    centre = (np.array(source.shape[::-1]) - 1) / 2
    shift_x, shift_y = transform(centre)[0] - centre
    scale = float(np.sqrt(abs(np.linalg.det(transform.params[:2, :2]))))
    return Registration(float(shift_x), float(shift_y), (scale - 1) * 100, found.share)


def _still() -> Any:
    return SimilarityTransform()


def _roughly(source: Grey, edited: Grey) -> Any:
    """Return the transform from source to edit that small copies tell; none where they do not."""
    factor = (source.size / SMALL) ** 0.5
    if factor < 1.2 or min(source.shape) / factor < LEAST:
        return _still()
    small = [_gradient(_reduced(image, factor)) for image in (source, edited)]
    found = _fit(small[0], small[1], _still(), 1.0, ROUGH)
    if found is None:
        return _still()
    # centres of pixels have whole coordinates
    larger = SimilarityTransform(scale=factor, translation=[(factor - 1) / 2] * 2)
    return SimilarityTransform((larger.inverse + found.transform + larger).params)


def _reduced(image: Grey, factor: float) -> Grey:
    size = [max(1, round(length / factor)) for length in image.shape[::-1]]
    return np.asarray(Image.fromarray(image).resize(tuple(size), Image.Resampling.BOX))


def _gradient(image: Grey) -> Gradient:
    down, right = np.gradient(image)
    return np.asarray(right + 1j * down, dtype=np.complex64)


def _fit(
    source: Gradient, edited: Gradient, expected: Any, tolerance: float, parts: int
) -> _Fit | None:
    """Return the transform that most blocks agree on.

    Args:
        expected: transform near which blocks are looked for.
        tolerance: pixels by which a block may miss the transform.
        parts: parts of a pixel that a block's displacement is told in.
    """
    blocks = list(_matches(source, edited, expected, parts))
    places = np.array([block for block in blocks if block is not None])
    if len(places) < AGREEING:
        return None
    with warnings.catch_warnings():
        # that none agree is an answer
        warnings.simplefilter("ignore")
        transform, agreeing = ransac(
            (places[:, 0], places[:, 1]),
            SimilarityTransform,
            min_samples=2,
            residual_threshold=tolerance,
            is_model_valid=_is_likely,
            rng=0,
        )
    number = 0 if agreeing is None else int(agreeing.sum())
    share = number / len(blocks)
    if number < AGREEING or share < SHARE or not _is_likely(transform):
        return None
    return _Fit(transform, share, places[agreeing, 0])


def _is_likely(transform: Any, *_: object) -> bool:
    return abs(transform.scale - 1) < MOST_ZOOM and abs(transform.rotation) < MOST_TURN


def _matches(
    source: Gradient, edited: Gradient, expected: Any, parts: int
) -> Iterator[tuple[Any, Any] | None]:
    """Yield for each block with texture its centre in source and edit; None where it is not found.

    The source's block is windowed and the edit's is not: a window over both would draw the
    displacement to 0.
    """
    limits, side = np.array(source.shape), _side(source.shape)
    window = _window(side)
    middle = (side - 1) / 2
    for top in _starts(limits[0], side):
        for left in _starts(limits[1], side):
            block = source[top : top + side, left : left + side] * window
            if np.sqrt((np.abs(block) ** 2).mean()) < TEXTURE:
                continue
            centre = np.array([left, top]) + middle
            corner = np.rint(expected(centre)[0][::-1] - middle).astype(int)
            y, x = corner.clip(0, limits - side)
            other = edited[y : y + side, x : x + side]
            if not other.any():
                yield None
                continue
            shift, error, _ = phase_cross_correlation(
                block, other, upsample_factor=parts, normalization=None
            )
            # `error` is the root of what the square of their correlation leaves of 1
            correlated = max(0.0, 1 - float(error) ** 2) ** 0.5
            found = np.array([x, y]) + middle - shift[::-1]
            yield (centre, found) if correlated >= CORRELATED else None


def _side(shape: tuple[int, ...]) -> int:
    """Return the pixels of a block's sides in an image."""
    return min(128, min(shape) // (4 if min(shape) >= 128 else 2))


def _refined(source: Grey, edited: Grey, transform: Any, blocks: npt.NDArray[np.float64]) -> Any:
    """Return a transform that fits the pixels best around it, or itself where none does.

    Least squares of the brightness over translation, zoom and rotation (Baker & Matthews 2004,
    "Lucas-Kanade 20 years on", inverse compositional), in which pixels that do not fit weigh
    nothing (Tukey's biweight).

    Args:
        blocks: centres of the blocks whose pixels are compared.
    """
    one, other = _band(source), _band(edited)
    points, windowed = _points(source.shape, blocks)
    y, x = points
    values = one[y, x]
    right, down = (np.gradient(one, axis=axis)[y, x] for axis in (1, 0))
    size = np.array(source.shape[::-1])
    centre = (size - 1) / 2
    across, along = x - centre[0], y - centre[1]
    # what moves right, moves down, zooms and turns about the centre changes
    slopes = np.stack([right, down, right * across + down * along, down * across - right * along])
    spline = ndimage.spline_filter(other, output=np.float32)
    middle = SimilarityTransform(translation=centre)
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (size - 1)
    found = transform
    for _ in range(STEPS):
        places = found(points[::-1].T).T
        inside = ((places >= 1) & (places <= size[:, None] - 2)).all(axis=0)
        seen = ndimage.map_coordinates(spline, places[::-1], prefilter=False)
        gain = (values @ (seen * inside)) / max(float(seen @ (seen * inside)), 1e-12)
        apart = gain * seen - values
        # of a normal distribution, the standard deviation is 1.48 times this median
        usual = 1.48 * np.median(np.abs(apart[inside])) + 1e-6 if inside.any() else 1.0
        weights = windowed * inside * (1 - (apart / (4.685 * usual)) ** 2).clip(0) ** 2
        step = np.linalg.lstsq((slopes * weights) @ slopes.T, (slopes * weights) @ apart)[0]
        turned = SimilarityTransform(
            scale=float(np.hypot(1 + step[2], step[3])),
            rotation=float(np.arctan2(step[3], 1 + step[2])),
            translation=step[:2],
        )
        before, found = found, (middle.inverse + turned + middle).inverse + found
        if np.abs(found(corners) - transform(corners)).max() > REFINED:
            return transform
        if np.abs(found(corners) - before(corners)).max() < STILL:
            break
    return found


def _band(image: Grey) -> Grey:
    """Return an image without noise of single pixels and without slow changes of brightness."""
    smooth = ndimage.gaussian_filter(image, SMOOTH, mode="nearest")
    return np.asarray(smooth - ndimage.uniform_filter(smooth, WIDE, mode="nearest"))


def _points(
    shape: tuple[int, ...], blocks: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int_], Grey]:
    """Return rows and columns of pixels of blocks, spread over all, and weights by the windows."""
    side, within = _side(shape), np.zeros(shape, dtype=np.float32)
    window = _window(side)
    for left, top in (blocks - (side - 1) / 2).round().astype(int):
        part = within[top : top + side, left : left + side]
        np.maximum(part, window, out=part)
    places = np.flatnonzero(within)
    chosen = places[np.linspace(0, len(places) - 1, min(len(places), POINTS)).round().astype(int)]
    return np.stack(np.unravel_index(chosen, shape)), within.ravel()[chosen]


def _window(side: int) -> Grey:
    """Return the window of a block, in which its middle weighs most."""
    line = np.hanning(side + 2)[1:-1]
    return np.outer(line, line).astype(np.float32)


def _starts(length: int, side: int) -> npt.NDArray[np.int_]:
    number = min(BLOCKS, max(1, 2 * int(length) // side - 1))
    return np.linspace(0, length - side, number).round().astype(int)
