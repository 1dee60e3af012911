"""Hashes: of bytes, of plain values, of pixels."""

import hashlib
import json
from typing import Any

from PIL import Image


def canonical_json(value: Any) -> str:
    """Return the one JSON text that equal values share; NaN is refused."""
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pixels_sha256(image: Image.Image) -> str:
    """Hash an image's mode, size and pixels, whatever file they came from."""
    return sha256(f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes())
