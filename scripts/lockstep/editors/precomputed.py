"""Editors that need no model: finished images from a folder, and the source itself."""

import io
from pathlib import Path

from PIL import Image

from lockstep import records
from lockstep.errors import EditError, SampleError
from lockstep.foreign_files import find_file, read_file
from lockstep.images import MAX_PIXELS, has_alpha, open_rgb
from lockstep.quarantine import Quarantine
from lockstep.records import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")


class PrecomputedEditor:
    """Finished images by sample id.

    Args:
        folder: holds `{id}.png`, `.jpg`, `.jpeg`, `.webp` or `.avif`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._quarantine = Quarantine()

    def prepare(self, sample: Sample) -> Image.Image:
        try:
            found = _read(self._folder, sample)
            if found is None:
                raise EditError(
                    f"{self._folder}: found no image of sample {sample.id!r}, "
                    f"accepted is {sample.id} with one of {', '.join(SUFFIXES)}"
                )
            path, data = found
        except SampleError as error:
            raise EditError(str(error)) from None
        try:
            self._quarantine.ask(data, max(MAX_PIXELS, sample.width * sample.height))
            self._quarantine.answer()
            return open_rgb(io.BytesIO(data), sample.background)
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
    try:
        found = _read(folder, sample)
    except SampleError:
        # that sample's edit fails, and no other
        return {"file_sha256": None}
    if found is None:
        return {"file_sha256": None}
    _, data = found
    known = {"file_sha256": records.sha256(data)}
    return {**known, "background": sample.background} if has_alpha(data) else known


def _read(folder: str, sample: Sample) -> tuple[Path, bytes] | None:
    """Return where a sample's finished image is, and its bytes; None if it is nowhere.

    Raises:
        SampleError: if there are several, or it cannot be read.
    """
    path = find_file(Path(folder), sample.id, SUFFIXES)
    try:
        return None if path is None else (path, read_file(path, str(path)))
    except OSError as error:
        raise SampleError(
            f"{path}: expected a file, found none to read ({error.strerror})"
        ) from None
