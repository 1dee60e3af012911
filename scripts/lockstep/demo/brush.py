"""Strokes of the small benchmark's drawings, and their colours.

Backgrounds are placed on the page, where both sides run from 0 to 1, and things around a spot on
it, in units of the shorter side, so that a ball stays round in any frame.
"""

import math
from collections.abc import Callable, Iterable

from PIL import ImageDraw

Draw = ImageDraw.ImageDraw
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Place = Callable[[float, float], Point]
Colour = tuple[int, int, int] | tuple[int, int, int, int]

WHITE = (255, 253, 248)
INK = (74, 62, 66)
SHADE = (60, 40, 50, 38)
GLEAM = (255, 255, 255, 110)
RED = (226, 70, 62)
SUN = (255, 206, 84)
SKIN = (246, 200, 166)
SKIN_DARK = (226, 166, 130)
WOOD = (190, 130, 82)
WOOD_LIGHT = (216, 160, 108)
WOOD_DARK = (146, 94, 62)
LEAF = (94, 164, 86)
LEAF_DARK = (66, 132, 76)


def whole_page(draw: Draw) -> Place:
    width, height = draw.im.size
    return lambda x, y: (x * width, y * height)


def spot(draw: Draw, x: float, y: float, scale: float = 1) -> Place:
    width, height = draw.im.size
    unit = min(width, height) * scale
    return lambda dx, dy: (x * width + dx * unit, y * height + dy * unit)


def length(at: Place, units: float) -> float:
    return at(units, 0)[0] - at(0, 0)[0]


def rect(draw: Draw, at: Place, box: Box, fill: Colour, corner: float = 0) -> None:
    corners = (*at(*box[:2]), *at(*box[2:]))
    draw.rounded_rectangle(corners, length(at, corner), fill=fill)


def oval(draw: Draw, at: Place, box: Box, fill: Colour) -> None:
    draw.ellipse((*at(*box[:2]), *at(*box[2:])), fill=fill)


def disc(draw: Draw, at: Place, x: float, y: float, radius: float, fill: Colour) -> None:
    oval(draw, at, (x - radius, y - radius, x + radius, y + radius), fill)


def poly(draw: Draw, at: Place, points: Iterable[Point], fill: Colour) -> None:
    draw.polygon([at(*point) for point in points], fill=fill)


def line(draw: Draw, at: Place, points: Iterable[Point], width: float, fill: Colour) -> None:
    """Draw a line with round ends; opaque colours only, because the ends overlap it."""
    pixels = [at(*point) for point in points]
    radius = length(at, width) / 2
    draw.line(pixels, fill=fill, width=max(1, round(2 * radius)), joint="curve")
    for x, y in pixels:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def arc(centre: Point, radii: Point, start: float, end: float) -> list[Point]:
    """Return points on an ellipse between two angles in degrees, clockwise from the right."""
    steps = 24
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [
        (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles
    ]
