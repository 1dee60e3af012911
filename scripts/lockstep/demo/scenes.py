"""The drawn scenes of the small benchmark: what to edit, why, and a picture of each."""

import colorsys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

from lockstep.demo import pictures
from lockstep.demo.brush import Draw
from lockstep.errors import LockstepError
from lockstep.foreign.yaml_files import read_yaml

OVERSAMPLING = 4
"""Scenes are drawn this many times larger, because `ImageDraw` does not smooth edges."""


class Scene(NamedTuple):
    subset: str
    """Chinese name of the category."""
    instruction: str
    """What an editor is asked to do."""
    instruction_zh: str
    """The instruction in Chinese."""
    description: str
    """What the picture shows."""
    description_zh: str
    """The description in Chinese."""
    rationale: str
    """What a good edit shows, and why."""
    rationale_zh: str
    """The rationale in Chinese."""
    draw: Callable[[Draw], None]
    """Draws the scene over the whole canvas."""
    needs_colour: bool = False
    """Whether the instruction names a colour, so that the scene is never greyscale."""


def render(scene: Scene, size: tuple[int, int], repetition: int = 0) -> Image.Image:
    """Draw a scene in RGB.

    Args:
        repetition: which copy of the scene; each stands in a light of its own.
    """
    image = Image.new("RGB", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))
    scene.draw(ImageDraw.Draw(image, "RGBA"))
    image = image.resize(size, Image.Resampling.LANCZOS)
    if repetition:
        # no mirroring and no turning of hues: left must stay left, and red must stay red
        hue = repetition * 0.618 % 1
        light = colorsys.hsv_to_rgb(hue, 0.12, 1)
        tint = Image.new("RGB", size, tuple(round(255 * part) for part in light))
        image = ImageChops.multiply(image, tint)
    return image


SCENES = [
    Scene(**{**given, "draw": getattr(pictures, given["draw"])})
    for given in read_yaml(Path(__file__).with_suffix(".yaml"), LockstepError)
]
"""Two scenes of each category, in the order of the benchmark."""
