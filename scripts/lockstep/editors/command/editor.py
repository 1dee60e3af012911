"""Edits by a program of the user's, which is started anew when it ends or hangs."""

import io
import logging
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image

from lockstep import records
from lockstep.editors.command import CommandSettings
from lockstep.editors.command.program import Lost, Program
from lockstep.errors import ConfigError, EditError, SampleError, SharedError, SkipError
from lockstep.foreign.files import read_file
from lockstep.foreign.images import MAX_PIXELS, open_rgb
from lockstep.foreign.quarantine import Quarantine
from lockstep.records import Sample

log = logging.getLogger(__name__)


class CommandEditor:
    """A program that has loaded its model.

    Raises:
        SharedError: if it does not become ready.
    """

    def __init__(self, settings: CommandSettings) -> None:
        self._settings = settings
        self._quarantine = Quarantine()
        self._takes = 1
        """Source images of a sample that it takes."""
        self._asked = 0
        self._program: Program | None = self._started()

    def prepare(self, sample: Sample) -> list[bytes]:
        """Return a sample's source images as PNG, as all editors see them."""
        if len(sample.more) >= self._takes:
            raise SkipError(
                f"found {1 + len(sample.more)} source images, but the program takes {self._takes}"
            )
        paths = [sample.image, *(picture.image for picture in sample.more)]
        return [_png(open_rgb(path, sample.background)) for path in paths]

    def edit(self, prepared: list[bytes], sample: Sample, seed: int) -> Image.Image:
        most = self._settings.attempts
        for attempt in range(1, most + 1):
            if self._program is not None and self._program.has_ended():
                # at no sample, so none is to blame
                self._program.end()
                self._program = None
            if self._program is None:
                self._program = self._started()
            try:
                return self._edited(self._program, prepared, sample, seed)
            except Lost as error:
                log.warning("%s: attempt %d of %d: %s", sample.id, attempt, most, error)
                self._program.end()
                self._program = None
                sentence = str(error)
        raise EditError(sentence)

    def _started(self) -> Program:
        given, began = self._settings, time.monotonic()
        program = Program(given.name, given.command, given.environment, given.folder)
        try:
            ready = program.ready(given.start_timeout)
            self._takes = ready.get("images", 1)
            if type(self._takes) is not int or self._takes < 1:
                raise Lost(f'expected a number as "images", found {self._takes!r:.50}')
            # keys were made of the files before, and the program of what is there now
            given.check_unchanged()
        except (Lost, ConfigError) as error:
            program.end()
            raise SharedError(f"{given.name}: {error}") from None
        log.info("%s is ready after %.1f s", given.name, time.monotonic() - began)
        return program

    def _edited(
        self, program: Program, images: list[bytes], sample: Sample, seed: int
    ) -> Image.Image:
        # no two edits share a name, so that nothing of another one is taken
        self._asked += 1
        paths = [program.exchange / f"{self._asked}-image-{k}.png" for k in range(len(images))]
        output = program.exchange / f"{self._asked}-output.png"
        request = {
            "id": sample.id,
            "image": str(paths[0]),
            "images": list(map(str, paths[1:])),
            "instruction": sample.instruction,
            "seed": seed,
            "output": str(output),
            "arguments": self._settings.arguments,
        }
        try:
            for path, data in zip(paths, images, strict=True):
                records.write_bytes(path, data, durable=False)
            program.ask(request, self._settings.timeout)
            return self._taken(output, max(MAX_PIXELS, sample.width * sample.height))
        except ValueError as error:
            raise EditError(f"the program: {error}") from None
        finally:
            for path in (*paths, output):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _taken(self, output: Path, most: int) -> Image.Image:
        """Return the image that the program has written, once it is decoded whole."""
        try:
            data = read_file(output, output.name)
            self._quarantine.ask(data, most)
            found = self._quarantine.answer()
            if found.suffix != ".png":
                raise SampleError(f"expected a PNG, found a file of kind {found.suffix}")
            if found.transparent:
                raise SampleError("expected an opaque image, found transparent pixels")
            return open_rgb(io.BytesIO(data))
        except OSError as error:
            raise EditError(
                f"expected an image from the program, found none ({error.strerror})"
            ) from None
        except SampleError as error:
            raise EditError(f"the program's image: {error}") from None


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
