"""What a pipeline made, on its way from the device to an image."""

from typing import Any

import torch
from PIL import Image

from lockstep.editors.diffusers.pipelines import RESULTS
from lockstep.errors import EditError


def opaque(image: Image.Image, background: str) -> Image.Image:
    """Return an image as RGB, what is transparent in it on the background of its source."""
    if image.mode == "RGBA":
        ground = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


class Arriving:
    """What a pipeline made of a sample, on its way to host memory.

    Args:
        field: of the pipeline's output, as the settings name it.

    Raises:
        EditError: if it is no image, or a safety checker put a black one in its place.
    """

    def __init__(self, result: Any, field: str, name: str) -> None:
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            raise EditError(f"the pipeline's safety checker withheld the image of {name!r}")
        images = getattr(result, RESULTS[field], None)
        if images is None or len(images) == 0:
            raise EditError(f"the pipeline returned no image but a {type(result).__name__}")
        image = images[0]
        if RESULTS[field] == "frames":
            image = image[0 if field == "first_frame" else -1]
        image = image.float()
        # as diffusers makes images of arrays, but a quarter as much leaves the device
        pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        self._finite = torch.isfinite(image).all().to("cpu", non_blocking=True)
        self._pixels = pixels.to("cpu", non_blocking=True)
        self._there = torch.cuda.Event() if image.is_cuda else None
        if self._there is not None:
            self._there.record()

    def image(self) -> Image.Image:
        """Wait for it and return it as 8-bit RGB, or RGBA where the pipeline does.

        Raises:
            EditError: if its pixels are no numbers.
        """
        if self._there is not None:
            self._there.synchronize()
        if not self._finite:
            raise EditError("the pipeline returned pixels that are no numbers")
        return Image.fromarray(self._pixels.numpy())
