"""Images as pixels: what is accepted, and what editors and judges see.

What is handled how, and what is refused: docs/images.md.
"""

import io
import re
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import IO, NamedTuple

from PIL import ExifTags, Image, ImageCms, ImageColor, ImageFile

from lockstep.errors import SampleError, suggest
from lockstep.foreign.image_files import FORMATS, JPEG, broken, open_image

WHITE = "#ffffff"
"""Colour that transparent images are laid on if nothing else is said."""

MAX_PIXELS = 64_000_000
"""Of an image, where the configuration says nothing else."""

MAX_RATIO = 100
"""Longest side over shortest.

Qwen-Image-Edit makes 10240×96 pixels of such a source. From 163 on its image processor refuses what
rounding both sides to 32 pixels leaves, and from 200 on the judge's refuses the source itself.
"""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What a viewer does for each EXIF orientation; from 5 on, width and height change places."""

KEYED = {"L;2", "L;4", "I;16B", "RGB;16B"}
"""Depths of PNG at which Pillow misreads a transparent colour."""

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for each colour space of an ICC profile."""

SAME = 2
"""Levels of 255 that a profile may move a colour by and still be sRGB but for rounding."""


class Verified(NamedTuple):
    suffix: str
    """File suffix with its dot."""
    width: int
    """Pixels, as stored."""
    height: int
    """Pixels, as stored."""
    transparent: bool
    """Whether any pixel is not opaque."""


class _Conversion(NamedTuple):
    """How the colours of an ICC profile become sRGB."""

    mode: str
    """Mode of the images that the profile describes."""
    transform: ImageCms.ImageCmsTransform


def verify_image(data: bytes, max_pixels: int) -> Verified:
    """Decode an image's bytes completely and return what it is.

    Raises:
        SampleError: if it is no image of an accepted format, is cut off, is larger than
            `max_pixels` (checked before decoding), or is nothing that an editor could take.
    """
    try:
        with open_image(io.BytesIO(data)) as image:
            _check_shape(image, max_pixels)
            shown = _shown(image)
            transparent = shown.mode == "RGBA" and any(shown.getchannel("A").histogram()[:255])
            return Verified(FORMATS[str(image.format)], image.width, image.height, transparent)
    except SampleError:
        raise
    except MemoryError:
        raise SampleError(
            "expected an image that decodes in the memory that its pixels need, "
            "found one that takes more"
        ) from None
    except Exception as error:  # Pillow's decoders do, too
        raise broken(error) from None


def open_rgb(file: str | Path | IO[bytes], background: str = WHITE) -> Image.Image:
    """Open an image as a viewer shows it: turned by its EXIF, 8-bit sRGB, on a background.

    Args:
        background: colour under transparent pixels, as "#rrggbb".

    Raises:
        SampleError: if it is no image, an animation or otherwise not accepted.
        Exception: what Pillow raises on an image that is broken.
    """
    with open_image(file) as stored:
        image = _shown(stored)
    if image.mode == "RGB":
        return image
    ground = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(ground, image).convert("RGB")


def parse_colour(text: str) -> str:
    """Return a colour as "#rrggbb".

    Raises:
        ValueError: unless it is written so, or is a CSS name.
    """
    lower = text.lower()
    if re.fullmatch("#[0-9a-f]{6}", lower):
        return lower
    if lower not in ImageColor.colormap:
        close = suggest(lower, ImageColor.colormap)
        raise ValueError(f"expected '#rrggbb' or a CSS colour name, found {text!r}{close}")
    return "#{:02x}{:02x}{:02x}".format(*ImageColor.getrgb(lower))


def resize(image: Image.Image, size: tuple[int, int], resize_filter: str) -> Image.Image:
    """Return an image in another size; one that has it already as it is.

    Args:
        resize_filter: one of Pillow's filters, in lower case.
    """
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling[resize_filter.upper()])


def shown_size(path: str | Path) -> tuple[int, int]:
    """Return the width and height that a viewer shows, without decoding the image."""
    with open_image(path) as image:
        turned = _orientation(image) >= 5
        return image.size[::-1] if turned else image.size


def has_alpha(data: bytes) -> bool:
    """Tell whether an image can have transparent pixels, without decoding it."""
    if data.startswith(JPEG):
        return False
    try:
        with open_image(io.BytesIO(data)) as image:
            return image.has_transparency_data
    except (OSError, SyntaxError, ValueError, SampleError):
        # what cannot be opened fails by itself where it is
        return False


def _check_shape(image: Image.Image, max_pixels: int) -> None:
    found = f"found an image of {image.width}×{image.height} pixels"
    if image.width * image.height > max_pixels:
        raise SampleError(f"expected up to {max_pixels:,} pixels (benchmark.max_pixels), {found}")
    if max(image.size) > MAX_RATIO * min(image.size):
        raise SampleError(f"expected a side up to {MAX_RATIO} times the other, {found}")


def _shown(stored: ImageFile.ImageFile) -> Image.Image:
    """Return an opened image as RGB or RGBA with 8 bits in sRGB, turned by its EXIF."""
    _check_transparent_colour(stored)
    stored.load()
    turn = TURNS.get(_orientation(stored))
    image: Image.Image = stored if turn is None else stored.transpose(turn)
    if image.mode.startswith("I"):
        # Pillow clips 16-bit values to 255 instead of scaling them
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    whole = image.convert("RGBA") if image.has_transparency_data else image
    if image.mode in ("1", "L", "LA"):
        colours = whole.convert("L")
    else:
        colours = whole if whole.mode in ("CMYK", "RGB") else whole.convert("RGB")
    shown = _in_srgb(colours, stored.info.get("icc_profile"))
    if whole.mode == "RGBA":
        shown.putalpha(whole.getchannel("A"))
    return shown


def _check_transparent_colour(image: ImageFile.ImageFile) -> None:
    """Refuse an image whose transparent colour Pillow would take for another one."""
    if "transparency" in image.info and image.tile and image.tile[0].args in KEYED:
        raise SampleError(
            "expected 1 or 8 bits, or an alpha channel, found one colour marked as transparent in "
            "an image of 2, 4 or 16 bits"
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, which is upright, where there is none or a broken one."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many kinds on broken EXIF, which viewers ignore
        return 1
    return value if value in TURNS else 1


def _in_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image of mode L, RGB or CMYK as RGB, its profile applied.

    What is sRGB already, or has no profile that fits it, keeps its values to the bit.
    """
    conversion = _conversion(profile) if profile else None
    if conversion is None:
        return colours.convert("RGB")
    if colours.mode == "L" and conversion.mode == "RGB":
        colours = colours.convert("RGB")
    if colours.mode != conversion.mode:
        return colours.convert("RGB")
    return conversion.transform.apply(colours)


@lru_cache(maxsize=32)
def _conversion(profile: bytes) -> _Conversion | None:
    """Return how a profile's colours become sRGB; None if they are or it cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = SPACES[source.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, KeyError, ImageCms.PyCMSError):
        # viewers ignore a broken profile too
        return None
    return _Conversion(mode, transform) if _moves(transform, mode) else None


def _moves(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a transform moves any colour of a coarse grid by more than rounding."""
    if mode == "CMYK":
        return True
    steps = range(0, 256, 17)
    flat = [level for colour in product(steps, repeat=len(mode)) for level in colour]
    probe = Image.frombytes(mode, (len(flat) // len(mode), 1), bytes(flat))
    after = transform.apply(probe).tobytes()
    before = probe.convert("RGB").tobytes()
    return any(abs(a - b) > SAME for a, b in zip(after, before, strict=True))
