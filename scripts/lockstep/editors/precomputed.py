"""Finished images from a folder, named by sample id with any common suffix."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from PIL import Image
from pydantic import Field

from lockstep import records
from lockstep.config.section import PathText
from lockstep.editors.protocol import Editor
from lockstep.editors.settings import EditorSettings
from lockstep.errors import EditError, SampleError
from lockstep.foreign.files import find_file, read_file
from lockstep.foreign.images import MAX_PIXELS, has_alpha, open_rgb
from lockstep.foreign.quarantine import Quarantine
from lockstep.models.backend import Lacking, absent, without_files
from lockstep.models.fingerprints import all_files, folder_state
from lockstep.records import Sample

SEED = "{seed}"

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
                    f"{self._folder}: expected an image {sample.id} with one of the suffixes "
                    f"{', '.join(SUFFIXES)}, found none"
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


class PrecomputedEditorSettings(EditorSettings):
    """Finished images from a folder: sample id, then .png, .jpg, .jpeg, .webp or .avif."""

    places: ClassVar[frozenset[str]] = frozenset({"folder"})
    type: Literal["precomputed"]
    folder: PathText = Field(
        description="Folder of the images. With several seeds, `{seed}` in it stands for the "
        "number of the seed, from 0."
    )

    def with_seed(self, number: int) -> Self | None:
        own = super().with_seed(number)
        if own is None or SEED not in self.folder:
            return None if number else self
        return own.model_copy(update={"folder": self.folder.replace(SEED, str(number))})

    def identity(self, sample: Sample) -> dict[str, Any]:
        """Name a sample's finished image: its file and, below transparency, a colour."""
        try:
            found = _read(self.folder, sample)
        except SampleError:
            # that sample's edit fails, and no other
            return {"file_sha256": None}
        if found is None:
            return {"file_sha256": None}
        _, data = found
        known = {"file_sha256": records.sha256(data)}
        return {**known, "background": sample.background} if has_alpha(data) else known

    def files(self) -> dict[str, Path]:
        return all_files(self.folder)

    def state(self) -> list[Any]:
        return [folder_state(self.folder)]

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        lacking = list(absent("folder", self.folder, made))
        yield from lacking or without_files("folder", self.folder, SUFFIXES)

    def load(self, torch_device: str) -> Editor:
        return PrecomputedEditor(self.folder)
