"""The source image itself: the control that a judge must score low."""

from typing import Any, ClassVar, Literal, Self

from PIL import Image

from lockstep.editors.protocol import Editor
from lockstep.editors.settings import EditorSettings
from lockstep.foreign.images import open_rgb
from lockstep.records import Sample


class IdentityEditor:
    """The source image, unchanged: the control that a judge must score low."""

    def prepare(self, sample: Sample) -> Image.Image:
        return open_rgb(sample.image, sample.background)

    def edit(self, prepared: Image.Image, sample: Sample, seed: int) -> Image.Image:
        return prepared


class IdentitySettings(EditorSettings):
    """The source image itself: the control that a judge must score low."""

    copies_source: ClassVar[bool] = True
    type: Literal["identity"]

    def with_seed(self, number: int) -> Self | None:
        return None if number else self

    def identity(self, sample: Sample) -> dict[str, Any]:
        return {}

    def load(self, torch_device: str) -> Editor:
        return IdentityEditor()
