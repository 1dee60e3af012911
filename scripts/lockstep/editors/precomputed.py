"""Editors that need no model: finished images from a folder, and the source itself."""

from pathlib import Path

from PIL import Image

from lockstep import records
from lockstep.errors import EditError, SampleError
from lockstep.images import has_alpha, open_rgb
from lockstep.records import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class PrecomputedEditor:
    """Finished images by sample id.

    Args:
        folder: holds `{id}.png`, `.jpg`, `.jpeg` or `.webp`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def prepare(self, sample: Sample) -> Image.Image:
        path = _find(self._folder, sample)
        if path is None:
            raise EditError(
                f"{self._folder}: found no image of sample {sample.id!r}, "
                f"accepted is {sample.id} with one of {', '.join(SUFFIXES)}"
            )
        try:
            return open_rgb(path, sample.background)
        except SampleError as error:
            raise EditError(f"{path}: {error}") from None

    def edit(self, prepared: Image.Image, sample: Sample, seed: int) -> Image.Image:
        return prepared


class IdentityEditor:
    """The source image, unchanged: the control that a judge must score low."""

    def prepare(self, sample: Sample) -> Image.Image:
        return open_rgb(sample.image, sample.background)

    def edit(self, prepared: Image.Image, sample: Sample, seed: int) -> Image.Image:
        return prepared


def identity(folder: str, sample: Sample) -> dict[str, str | None]:
    """Return what decides a sample's finished image: its file and, below transparency, a colour."""
    path = _find(folder, sample)
    if path is None:
        return {"file_sha256": None}
    try:
        data = path.read_bytes()
    except OSError:
        # it may not be read, or is a folder: that sample's edit fails, and no other
        return {"file_sha256": None}
    known = {"file_sha256": records.sha256(data)}
    return {**known, "background": sample.background} if has_alpha(data) else known


def _find(folder: str, sample: Sample) -> Path | None:
    paths = (Path(folder, sample.id + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)
