"""Pixels of the drawn world, for many pictures at a time, on whatever device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lockstep.demo.shapes import FIELDS, MOST, Shape

SIDE = 128
"""Pixels of a picture's sides."""


def pack(pictures: Sequence[Sequence[Shape]]) -> np.ndarray:
    """Return shapes as one array, pictures × MOST × FIELDS; those that are missing are zeros."""
    packed = np.zeros((len(pictures), MOST, FIELDS), np.float16)
    for number, picture in enumerate(pictures):
        packed[number, : len(picture)] = picture
    return packed


def draw(
    shapes: torch.Tensor,
    side: int = SIDE,
    paint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Draw pictures with smooth edges.

    Args:
        shapes: pictures × MOST × FIELDS.
        paint: `paint_over`, compiled or not.

    Returns:
        pictures × 3 × side × side, 0 to 1.
    """
    shapes = shapes.float()
    image = torch.zeros(len(shapes), 3, side, side, device=shapes.device)
    for each in shapes.unbind(1):
        if shapes.device.type == "cpu" and not each[:, -1].any():
            break
        image = (paint or paint_over)(image, each)
    return image


def paint_over(image: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """Paint one shape over each picture.

    Args:
        shape: pictures × FIELDS.
    """
    side = image.shape[-1]
    line = (torch.arange(side, device=image.device) + 0.5) / side
    parts = shape[:, :, None, None].unbind(1)
    kind, x, y, rx, ry, top, cos, sin, corner, red, green, blue, opacity = parts
    dx, dy = line[None, None, :] - x, line[None, :, None] - y
    across, down = dx * cos + dy * sin, dy * cos - dx * sin
    rx, ry = rx.clamp_min(1e-3), ry.clamp_min(1e-3)
    # distance to the edge, negative inside; of an ellipse approximately
    far = ((across / rx) ** 2 + (down / ry) ** 2 + 1e-12).sqrt()
    slope = ((across / rx**2) ** 2 + (down / ry**2) ** 2 + 1e-12).sqrt()
    ellipse = far * (far - 1) / slope
    # the trapezium's half width here
    wide = rx * (top + (1 - top) * ((down + ry) / (2 * ry)).clamp(0, 1))
    out_x, out_y = across.abs() - wide + corner, down.abs() - ry + corner
    outside = (out_x.clamp_min(0) ** 2 + out_y.clamp_min(0) ** 2 + 1e-12).sqrt()
    rectangle = outside + torch.maximum(out_x, out_y).clamp_max(0) - corner
    distance = torch.where(kind > 0.5, rectangle, ellipse)
    cover = (0.5 - distance * side).clamp(0, 1) * opacity
    return image + cover[:, None] * (torch.stack([red, green, blue], 1) - image)


def pictures(scenes: Sequence[Sequence[Shape]]) -> list[Image.Image]:
    """Draw pictures as 8-bit RGB images."""
    pixels = draw(torch.from_numpy(pack(scenes)))
    rounded = (pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(each) for each in rounded]


def damage(
    images: torch.Tensor, strength: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Damage pictures: noise, blur or lost blocks, whichever by chance, or all of them at once.

    Args:
        images: pictures × 3 × side × side, 0 to 1.
        strength: of each picture, 0 (none) to 1; 2 moves its parts about, too.
    """
    count, side, device = len(images), images.shape[-1], images.device
    strength = strength[:, None, None, None]
    wrecked = strength > 1
    draws = torch.rand(count, generator=generator, device=device)[:, None, None, None]
    moved = torch.where(wrecked, _smeared(images, generator), images)
    noise = torch.randn(images.shape, generator=generator, device=device) * 0.22
    noise = moved + noise * torch.where(wrecked, 0.15, strength)
    small = F.avg_pool2d(moved, 8)
    blurred = F.interpolate(small, size=(side, side), mode="bilinear")
    blurred = moved + (blurred - moved) * strength.clamp_max(1) * torch.where(wrecked, 0.5, 1.0)
    cells = torch.rand(count, 1, 16, 16, generator=generator, device=device) < 0.25 * strength
    tints = torch.rand(count, 3, 16, 16, generator=generator, device=device)
    lost = F.interpolate(cells.float(), size=(side, side)) * torch.where(wrecked, 0.6, 1.0)
    tints = F.interpolate(tints, size=(side, side))
    blocks = moved + (tints - moved) * lost
    harmed = torch.where(draws < 1 / 3, noise, torch.where(draws < 2 / 3, blurred, blocks))
    return torch.where(strength > 0, harmed, images).clamp(0, 1)


def _smeared(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Move each part of a picture some way, whichever."""
    count, side, device = len(images), images.shape[-1], images.device
    ways = []
    for cells, far in ((8, 0.25), (32, 0.12)):
        way = torch.randn(count, 2, cells, cells, generator=generator, device=device) * far
        ways.append(F.interpolate(way, size=(side, side), mode="bilinear"))
    line = torch.linspace(-1, 1, side, device=device)
    page = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    coarse, fine = ways
    grid = page[None] + (coarse + fine).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=True)
