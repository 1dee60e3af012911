"""An editor behind a server with OpenAI's interface for edits (`POST /v1/images/edits`).

The server gets the source images as PNG, so that no pixel changes, the instruction and a seed. What
it makes of these cannot be seen from here, so a record says what was asked for and what came: the
size, the seed, and whatever the server says of itself.
"""

import io
import json
import threading
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urljoin

from PIL import Image
from pydantic_core import from_json

from lockstep import records
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.editors.openai_images.answers import NO_IMAGE, Edited, bytes_of, edited_in
from lockstep.editors.protocol import Told
from lockstep.errors import NO_UTF8, EditError, SampleError
from lockstep.foreign.images import MAX_PIXELS, open_rgb
from lockstep.foreign.network import check_named, origin
from lockstep.foreign.quarantine import Quarantine
from lockstep.foreign.transport import Answer, Client, Failed, Form, Limits, Passing
from lockstep.models.answers import failure_of, problem_in
from lockstep.models.client import ServedModel
from lockstep.records import Sample, Served

LONGEST_ANSWER = 128 * 2**20
"""Most bytes of an answer: an image of 24 megapixels in base64, whatever it shows."""

SHOWN = 2**16
"""Bytes of an answer that are looked at for a message."""

SEEDS = 2**31
"""Seeds below it are taken by all servers; others refuse larger ones, or cut them off."""

COPY = "the image is an exact copy of the source"
OTHER_SIZE = "the image has another size than was asked for"


class _Prepared(NamedTuple):
    """What a request needs of a sample."""

    sources: list[bytes]
    """Images as PNG."""
    pixels: str
    """SHA-256 of the first one's pixels."""
    size: tuple[int, int]
    """Of the first one."""


class OpenAIImagesEditor(ServedModel):
    """A client of a server, as `ServedModel` is."""

    done = "edited"

    def __init__(self, settings: OpenAIImagesSettings) -> None:
        super().__init__(settings, LONGEST_ANSWER)
        self._asks = settings
        self._elsewhere: dict[str, Client] = {}
        """Clients of other hosts, where images lie that the server has made."""
        self._decoding = threading.Lock()
        self._quarantine = Quarantine()

    def prepare(self, sample: Sample) -> _Prepared:
        sources = [
            open_rgb(picture, sample.background)
            for picture in (sample.image, *(picture.image for picture in sample.more))
        ]
        pixels = records.pixels_sha256(sources[0])
        return _Prepared([_png(source) for source in sources], pixels, sources[0].size)

    def edit(self, prepared: _Prepared, sample: Sample, seed: int) -> Told:
        fields = self._fields(prepared, sample, seed)
        try:
            edited = self._client.post("images/edits", _form(fields, prepared.sources), self._read)
            image = self._decoded(self._image(edited), sample)
        except Failed as error:
            self._count(error)
            raise EditError(str(error)) from None
        self._count(None)
        asked = fields.get("size")
        warnings = []
        if asked not in (None, "auto", f"{image.width}x{image.height}"):
            warnings.append(OTHER_SIZE)
        if records.pixels_sha256(image) == prepared.pixels:
            warnings.append(COPY)
        served = Served(
            requested_size=asked,
            requested_seed=int(fields["seed"]) if fields.get("seed", "").isdecimal() else None,
            warnings=warnings,
            **edited.told(self._key),
        )
        return Told(image, {"served": served, "versions": edited.versions(self._key)})

    def stop(self) -> None:
        super().stop()
        for client in self._others():
            client.stop()

    def close(self) -> None:
        super().close()
        for client in self._others():
            client.close()

    def _others(self) -> list[Client]:
        with self._counting:
            return list(self._elsewhere.values())

    def _fields(self, prepared: _Prepared, sample: Sample, seed: int) -> dict[str, str]:
        """Return the fields of a request beside its images."""
        width, height = prepared.size
        given = {
            "model": self._asks.model,
            "prompt": sample.instruction,
            "n": 1,
            # left to the server where the editor's own size is wanted
            "size": f"{width}x{height}" if self._asks.size == "source" else None,
            "seed": seed % SEEDS,
            **self._asks.request,
        }
        return {name: _text(value) for name, value in given.items() if value is not None}

    def _read(self, answer: Answer) -> Edited:
        """Return what an answer says of an edit.

        Raises:
            Failed: if it holds no image; `Passing`, if another try may bring one.
            ServerError: if no request can bring one.
        """
        # images are long, and the key is looked for in all that is shown
        brief = replace(answer, body=answer.body[:SHOWN])
        asked = {"option": self.option, "doing": "edit"}
        try:
            given = from_json(answer.body)
        except ValueError as error:
            if not answer.good:
                raise failure_of({}, brief, **asked) from None
            # it was cut off on its way
            why = error if answer.is_utf8 else NO_UTF8
            raise Passing(f"{NO_IMAGE} no JSON: {why} ({brief.said})") from None
        problem = problem_in(given)
        if problem is not None or not answer.good:
            raise failure_of(problem or {}, brief, **asked)
        edited = edited_in(given, brief)
        self._use(edited.tokens)
        with self._counting:
            self.images += 1
        return edited

    def _image(self, edited: Edited) -> bytes:
        """Return the bytes of the image that an answer holds or names."""
        text, url = edited.first.b64_json, edited.first.url
        if text:
            return bytes_of(text)
        assert url is not None
        return bytes_of(url) if url.startswith("data:") else self._fetched(url)

    def _fetched(self, url: str) -> bytes:
        """Return what lies at an address that the server names; only the server gets its key."""
        own = self._asks.url
        try:
            address = urljoin(f"{own}/", url)
        except ValueError:
            # not even joined, and refused as it is
            address = url
        if fault := check_named(address, own):
            raise Failed(f"{NO_IMAGE} {fault} in place of its address")
        there = origin(address)
        client = self._client if there == origin(own) else self._client_of(there)
        return client.fetch(address, _body)

    def _client_of(self, there: str) -> Client:
        """Return the client of another host."""
        asks = self._asks
        limits = Limits(asks.timeout, asks.attempts, asks.max_wait, LONGEST_ANSWER)
        with self._counting:
            if there not in self._elsewhere:
                self._elsewhere[there] = Client(there, None, limits)
            return self._elsewhere[there]

    def _decoded(self, data: bytes, sample: Sample) -> Image.Image:
        try:
            with self._decoding:
                self._quarantine.ask(data, max(MAX_PIXELS, sample.width * sample.height))
                self._quarantine.answer()
            return open_rgb(io.BytesIO(data), sample.background)
        except SampleError as error:
            raise Failed(f"{NO_IMAGE} something else: {error}") from None


def _form(fields: dict[str, str], sources: list[bytes]) -> Form:
    name = "image" if len(sources) == 1 else "image[]"
    files = [
        (name, (f"image-{number}.png", data, "image/png")) for number, data in enumerate(sources)
    ]
    return Form(fields, files)


def _text(value: Any) -> str:
    """Return a value as the field of a form."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _body(answer: Answer) -> bytes:
    """Return the bytes of an answer to a request for an image."""
    if answer.good:
        return answer.body
    said = replace(answer, body=answer.body[:SHOWN]).said
    if answer.status in (408, 429) or answer.status >= 500:
        raise Passing(f"{NO_IMAGE} none at its address: {said}")
    raise Failed(f"{NO_IMAGE} none at its address: {said}")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
