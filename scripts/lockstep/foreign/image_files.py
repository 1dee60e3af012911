"""Files of images as their bytes say: which are opened, and which cost too much or mislead.

What is handled how, and what is refused: docs/images.md.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import AvifImagePlugin, Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from lockstep.errors import SampleError

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


def open_image(file: str | Path | IO[bytes]) -> ImageFile.ImageFile:
    """Open a file without decoding it.

    Raises:
        SampleError: if it is no still image of an accepted format, or costs too much to decode.
    """
    data = Path(file).read_bytes() if isinstance(file, str | Path) else file.read()
    if data.startswith(PNG):
        data = _without_long_texts(data)
    elif data.startswith(JPEG):
        _check_scans(data)
    try:
        image = Image.open(io.BytesIO(data), formats=OPENED)
    except UnidentifiedImageError:
        raise SampleError(f"expected {EXPECTED}, found {_name(data)}") from None
    except Exception as error:  # Pillow's readers of headers raise many kinds on broken data
        raise broken(error) from None
    if image.format == "AVIF":
        _check_colours(data)
    pictures = getattr(image, "n_frames", 1)
    if image.format != "MPO" and pictures > 1:
        raise SampleError(f"expected a still image, found an animation of {pictures} pictures")
    return image


def broken(error: Exception) -> SampleError:
    """Return what is said of an image that Pillow cannot decode."""
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
