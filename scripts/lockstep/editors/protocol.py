"""What an editor does.

An editor turns a sample and a seed into an image and raises if it cannot; it neither knows shards
nor writes files.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from PIL import Image

from lockstep.records import Sample


class Told(NamedTuple):
    """An edited image, and what its editor tells of it."""

    image: Image.Image
    """8-bit RGB in host memory."""
    record: Mapping[str, Any]
    """Fields of its `EditRecord`."""


class Editor(Protocol):
    def prepare(self, sample: Sample) -> Any:
        """Return what `edit` takes of a sample: the work that needs no device.

        It may run in another thread while `edit` runs for another sample.

        Raises:
            EditError: if this sample cannot be edited.
        """

    def edit(self, prepared: Any, sample: Sample, seed: int) -> Image.Image | Told:
        """Return the edited image as 8-bit RGB in host memory.

        Args:
            prepared: what `prepare` returned for this sample.

        Raises:
            EditError: if this sample cannot be edited.
            DeviceError: if the device cannot go on at all.
            SharedError: if no sample can be edited.
            ServerError: if its server is of no use.
        """
