"""Strokes of the small benchmark's drawings.

Backgrounds are placed on the page, where both sides run from 0 to 1, and things around a spot on
it, in units of the shorter side, so that a ball stays round in any frame.
"""

import math
from collections.abc import Callable, Iterable

from PIL import ImageDraw

Draw = ImageDraw.ImageDraw
Point = tuple[float, float]
Box = tuple[float, float, float, float]
Colour = tuple[int, int, int] | tuple[int, int, int, int]


class Brush:
    """Draws somewhere on a page.

    Args:
        at: turns a point there into pixels.
    """

    def __init__(self, draw: Draw, at: Callable[[float, float], Point]) -> None:
        self._draw, self._at = draw, at

    def rect(self, box: Box, fill: Colour, corner: float = 0) -> None:
        self._draw.rounded_rectangle(self._corners(box), self._length(corner), fill=fill)

    def oval(self, box: Box, fill: Colour) -> None:
        self._draw.ellipse(self._corners(box), fill=fill)

    def disc(self, x: float, y: float, radius: float, fill: Colour) -> None:
        self.oval((x - radius, y - radius, x + radius, y + radius), fill)

    def poly(self, points: Iterable[Point], fill: Colour) -> None:
        self._draw.polygon([self._at(*point) for point in points], fill=fill)

    def line(self, points: Iterable[Point], width: float, fill: Colour) -> None:
        """Draw a line with round ends; opaque colours only, because the ends overlap it."""
        pixels = [self._at(*point) for point in points]
        radius = self._length(width) / 2
        self._draw.line(pixels, fill=fill, width=max(1, round(2 * radius)), joint="curve")
        for x, y in pixels:
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    def _corners(self, box: Box) -> Box:
        return (*self._at(*box[:2]), *self._at(*box[2:]))

    def _length(self, units: float) -> float:
        return self._at(units, 0)[0] - self._at(0, 0)[0]


def whole_page(draw: Draw) -> Brush:
    width, height = draw.im.size
    return Brush(draw, lambda x, y: (x * width, y * height))


def spot(draw: Draw, x: float, y: float, scale: float = 1) -> Brush:
    width, height = draw.im.size
    unit = min(width, height) * scale
    return Brush(draw, lambda dx, dy: (x * width + dx * unit, y * height + dy * unit))


def arc(centre: Point, radii: Point, start: float, end: float) -> list[Point]:
    """Return points on an ellipse between two angles in degrees, clockwise from the right."""
    steps = 24
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [
        (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles
    ]
