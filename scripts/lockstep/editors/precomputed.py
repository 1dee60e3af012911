"""Editors that need no model: finished images from a folder, and the source itself."""

from pathlib import Path

from PIL import Image

from lockstep import records
from lockstep.errors import EditError
from lockstep.images import open_rgb
from lockstep.records import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class PrecomputedEditor:
    """Finished images by sample id.

    Args:
        folder: holds `{id}.png`, `.jpg`, `.jpeg` or `.webp`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def edit(self, sample: Sample, seed: int) -> Image.Image:
        path = _find(self._folder, sample)
        if path is None:
            raise EditError(
                f"{self._folder}: found no image of sample {sample.id!r}, "
                f"accepted is {sample.id} with one of {', '.join(SUFFIXES)}"
            )
        return open_rgb(path)


class IdentityEditor:
    """The source image, unchanged: the control that a judge must score low."""

    def edit(self, sample: Sample, seed: int) -> Image.Image:
        return open_rgb(sample.image)


def files(folder: str) -> list[Path]:
    """Return all finished images of a folder, in order."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix in SUFFIXES)


def file_sha256(folder: str, sample: Sample) -> str | None:
    """Hash the file that holds a sample's finished image; None where there is none."""
    path = _find(folder, sample)
    return None if path is None else records.sha256(path.read_bytes())


def _find(folder: str, sample: Sample) -> Path | None:
    paths = (Path(folder, sample.id + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)
