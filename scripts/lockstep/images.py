"""Images as files and as pixels: what is accepted, and what editors and judges see.

What is handled how, and what is refused: docs/images.md.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, ImageColor, PngImagePlugin

from lockstep.errors import SampleError, suggest

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "AVIF": ".avif"}
"""Accepted formats and the file suffix of each.

MPO is how Pillow calls a JPEG with further pictures behind the first, as phones write it.
"""

OPENED = ("PNG", "JPEG", "WEBP", "AVIF")
"""Formats by the names that Pillow opens them under."""

EXPECTED = "PNG, JPEG, WebP or AVIF"

UNREAD = {
    rb"GIF8": "a GIF",
    rb"BM.{4}\0{4}": "a BMP",
    rb"II\*\0|MM\0\*": "a TIFF",
    rb".{4}ftyp(hei|hev|mif1|msf1)": "a HEIC",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "a JPEG XL",
    rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ": "a JPEG 2000",
    rb"8BPS": "a Photoshop file",
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?<svg": "an SVG",
    rb"(\xef\xbb\xbf)?\s*<(?i:(!doctype )?html)": "an HTML page",
    rb"version https://git-lfs": "a Git LFS pointer in place of the file",
}
"""How a file begins that is known and not read."""

MAX_SCANS = 100
"""Passes over the picture of a JPEG; encoders write up to 20, each takes as long as an image."""

MAX_CHUNKS = 100_000
"""Parts of a PNG; the largest file that is read has 12,000 as libpng writes it."""

MAX_UNPACKED = 16 * 2**20
"""Bytes that a text or a profile in a PNG may unpack to; profiles of printers have up to 4 MB."""

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

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
"""Chunks of a PNG that say nothing of its pixels; a turn or an author may be among them."""

MAX_TEXTS = 64 * 2**20
"""Bytes that all texts of a PNG together may unpack to."""

SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"

MARKER = re.compile(rb"\xff[^\0\x01\xd0-\xd8\xff]")
"""A marker of a JPEG but for those inside a picture's data."""

NEAR_SRGB = ({1, 2, 5, 6, 7}, {1, 2, 6, 13, 14, 15})
"""Colours and brightness of an AVIF by number (ITU-T H.273) that viewers show nearly as sRGB."""

# the limit is the configuration's, checked before any pixel is decoded
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK = MAX_UNPACKED
# several jobs share the processor
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


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
        with _open(io.BytesIO(data)) as image:
            _check_shape(image, max_pixels)
            shown = _shown(image)
            transparent = shown.mode == "RGBA" and shown.getchannel("A").getextrema()[0] < 255
            return Verified(FORMATS[image.format], image.width, image.height, transparent)
    except SampleError:
        raise
    except MemoryError:
        raise SampleError(
            "expected an image that decodes in the memory that its pixels need, "
            "found one that takes more"
        ) from None
    except Exception as error:  # Pillow's decoders do, too
        raise _broken(error) from None


def open_rgb(path: str | Path, background: str = WHITE) -> Image.Image:
    """Open an image as a viewer shows it: turned by its EXIF, 8-bit sRGB, on a background.

    Args:
        background: colour under transparent pixels, as "#rrggbb".

    Raises:
        SampleError: if it is no image, an animation or otherwise not accepted.
        Exception: what Pillow raises on an image that is broken.
    """
    with _open(path) as stored:
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
        raise ValueError(f"found {text!r}{close}, accepted is '#rrggbb' or a CSS colour name")
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
    with _open(path) as image:
        turned = _orientation(image) >= 5
        return image.size[::-1] if turned else image.size


def has_alpha(data: bytes) -> bool:
    """Tell whether an image can have transparent pixels, without decoding it."""
    if data.startswith(JPEG):
        return False
    try:
        with _open(io.BytesIO(data)) as image:
            return image.has_transparency_data
    except (OSError, SyntaxError, ValueError, SampleError):
        # what cannot be opened fails by itself where it is
        return False


def _open(file: str | Path | IO[bytes]) -> Image.Image:
    """Open a file without decoding it; one that is no still image is refused."""
    data = Path(file).read_bytes() if isinstance(file, str | Path) else file.read()
    if data.startswith(PNG):
        data = _without_long_texts(data)
    elif data.startswith(JPEG):
        _check_scans(data)
    try:
        image = Image.open(io.BytesIO(data), formats=OPENED)
    except Image.UnidentifiedImageError:
        raise SampleError(f"expected {EXPECTED}, found {_name(data)}") from None
    except Exception as error:  # Pillow's readers of headers raise many kinds on broken data
        raise _broken(error) from None
    if image.format == "AVIF":
        _check_colours(data)
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise SampleError(
            f"found an animation of {image.n_frames} pictures, accepted is a still image"
        )
    return image


def _broken(error: Exception) -> SampleError:
    reason = str(error) or type(error).__name__
    return SampleError(f"expected {EXPECTED}, found a broken image ({reason})")


def _name(data: bytes) -> str:
    """Return what a file is that Pillow does not open, as far as its first bytes tell."""
    for start, name in UNREAD.items():
        if re.match(start, data[:200], re.DOTALL):
            return f"{name}, which is not read"
    return f"{len(data)} bytes that are no image ({data[:12].hex(' ')} …)"


def _without_long_texts(data: bytes) -> bytes:
    """Return a PNG without the texts that are too long to unpack, which viewers pass over too.

    Raises:
        SampleError: if its colour profile is too long: without it the colours would be others.
    """
    kept, place, total, profiles = [], 0, 0, 0
    for number, (kind, start, end) in enumerate(_chunks(data)):
        if number == MAX_CHUNKS:
            raise SampleError(f"expected a PNG of up to {MAX_CHUNKS:,} chunks, found more")
        if kind not in TEXTS and kind != b"iCCP":
            continue
        profiles += kind == b"iCCP"
        # viewers take the first profile; once there is too much, no text is unpacked any more
        looked = profiles == 1 if kind == b"iCCP" else total <= MAX_TEXTS
        size = _unpacked(kind, data[start + 8 : end - 4]) if looked else None
        total += size or 0
        if kind == b"iCCP" and size == MAX_UNPACKED:
            raise SampleError(
                f"expected a colour profile below {MAX_UNPACKED:,} bytes, found a larger one"
            )
        dropped = size is None or size == MAX_UNPACKED or total > MAX_TEXTS
        if dropped and end <= len(data):
            kept.append(data[place:start])
            place = end
    return b"".join([*kept, data[place:]]) if kept else data


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of each chunk of a PNG."""
    place = len(PNG)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place, place + length + 12
        place += length + 12


def _unpacked(kind: bytes, chunk: bytes) -> int | None:
    """Return the bytes that a text or profile unpacks to, MAX_UNPACKED where there are more.

    None where it is packed in no known way.
    """
    text = chunk.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and text[:1] != b"\1"):
        return len(text)
    if kind == b"iTXt":
        # its language and its translated name lie between
        text = text[1:2] + text[2:].split(b"\0", 2)[-1]
    if text[:1] != b"\0":
        return None
    try:
        return len(zlib.decompressobj().decompress(text[1:], MAX_UNPACKED))
    except zlib.error:
        # Pillow passes over it
        return 0


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that is painted over and over: each pass takes as long as an image."""
    # parts before the picture, such as a preview, may hold the marker; no part of the picture does
    if data.count(SCAN) <= MAX_SCANS:
        return
    scans, place = 0, 2
    while found := MARKER.search(data, place):
        place = found.end()
        if found[0] == END_OF_IMAGE:
            break
        scans += found[0] == SCAN
        if len(data) - place >= 2:
            place += struct.unpack_from(">H", data, place)[0]
    if scans > MAX_SCANS:
        raise SampleError(f"expected a JPEG of up to {MAX_SCANS} scans, found {scans}")


def _check_colours(data: bytes) -> None:
    """Refuse an AVIF whose colours Pillow would not convert: of a wide gamut or of HDR."""
    place = data.find(b"colrnclx")
    if place < 0 or len(data) < place + 12 or b"colrprof" in data or b"colrrICC" in data:
        return
    codes = struct.unpack_from(">HH", data, place + 8)
    if not all(code in near for code, near in zip(codes, NEAR_SRGB, strict=True)):
        raise SampleError(
            "expected an AVIF in sRGB or with a colour profile, found colours of a wide gamut or "
            f"of HDR (H.273 codes {codes[0]} and {codes[1]})"
        )


def _check_shape(image: Image.Image, max_pixels: int) -> None:
    found = f"found an image of {image.width}×{image.height} pixels"
    if image.width * image.height > max_pixels:
        raise SampleError(
            f"{found}, accepted are up to {max_pixels:,} pixels (benchmark.max_pixels)"
        )
    if max(image.size) > MAX_RATIO * min(image.size):
        raise SampleError(f"{found}, accepted is a side up to {MAX_RATIO} times the other")


def _shown(stored: Image.Image) -> Image.Image:
    """Return an opened image as RGB or RGBA with 8 bits in sRGB, turned by its EXIF."""
    _check_transparent_colour(stored)
    stored.load()
    turn = TURNS.get(_orientation(stored))
    image = stored if turn is None else stored.transpose(turn)
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


def _check_transparent_colour(image: Image.Image) -> None:
    """Refuse an image whose transparent colour Pillow would take for another one."""
    if "transparency" in image.info and image.tile and image.tile[0].args in KEYED:
        raise SampleError(
            "found one colour marked as transparent in an image of 2, 4 or 16 bits, "
            "accepted are 1 or 8 bits, or an alpha channel"
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
    return ImageCms.applyTransform(colours, conversion.transform)


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
    values = steps if mode == "L" else ((r, g, b) for r in steps for g in steps for b in steps)
    flat = [v for value in values for v in (value if mode == "RGB" else (value,))]
    probe = Image.frombytes(mode, (len(flat) // len(mode), 1), bytes(flat))
    after = ImageCms.applyTransform(probe, transform).tobytes()
    before = probe.convert("RGB").tobytes()
    return any(abs(a - b) > SAME for a, b in zip(after, before, strict=True))
