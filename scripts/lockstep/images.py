"""Images as files and as pixels: what is accepted, and what editors and judges see."""

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from lockstep.errors import SampleError

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
"""Accepted formats and the file suffix of each."""

BACKGROUND = (255, 255, 255)
"""Colour that transparent images are laid on."""

# the limit is the configuration's, checked before any pixel is decoded
Image.MAX_IMAGE_PIXELS = None


class Verified(NamedTuple):
    suffix: str
    """File suffix with its dot."""
    width: int
    """Pixels, as stored."""
    height: int
    """Pixels, as stored."""


def verify_image(data: bytes, max_pixels: int) -> Verified:
    """Decode an image's bytes completely and return what it is.

    Raises:
        SampleError: if it is no image of an accepted format, is cut off, or is larger than
            `max_pixels` (checked before decoding).
    """
    accepted = "PNG, JPEG or WebP"
    try:
        with Image.open(io.BytesIO(data), formats=list(SUFFIXES)) as image:
            if image.width * image.height > max_pixels:
                raise SampleError(
                    f"found an image of {image.width}×{image.height} pixels, "
                    f"accepted are up to {max_pixels:,} pixels (benchmark.max_pixels)"
                )
            image.load()
            return Verified(SUFFIXES[image.format], image.width, image.height)
    except SampleError:
        raise
    except Image.UnidentifiedImageError:
        start = data[:12].hex(" ")
        raise SampleError(
            f"found {len(data)} bytes that are no image ({start} …), accepted is {accepted}"
        ) from None
    except Exception as error:  # Pillow's decoders raise many kinds on broken data
        raise SampleError(f"found a broken image ({error}), accepted is {accepted}") from None


def open_rgb(path: str | Path) -> Image.Image:
    """Open an image as a viewer shows it: turned by its EXIF, 8-bit RGB, on white."""
    with Image.open(path) as stored:
        image = ImageOps.exif_transpose(stored)
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips 16-bit values to 255 instead of scaling them
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")
