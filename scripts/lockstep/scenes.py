"""The drawn scenes of the small benchmark: what to edit, why, and a picture of each.

Pictures have no pixels of their own: backgrounds are placed on the page, where both sides run from
0 to 1, and things around a spot on it, in units of the shorter side, so that a ball stays round
in any frame.
"""

import colorsys
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

OVERSAMPLING = 4
"""Scenes are drawn this many times larger, because `ImageDraw` does not smooth edges."""

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


def _page(draw: Draw) -> Place:
    width, height = draw.im.size
    return lambda x, y: (x * width, y * height)


def _spot(draw: Draw, x: float, y: float, scale: float = 1) -> Place:
    width, height = draw.im.size
    unit = min(width, height) * scale
    return lambda dx, dy: (x * width + dx * unit, y * height + dy * unit)


def _length(at: Place, units: float) -> float:
    return at(units, 0)[0] - at(0, 0)[0]


def _rect(draw: Draw, at: Place, box: Box, fill: Colour, corner: float = 0) -> None:
    corners = (*at(*box[:2]), *at(*box[2:]))
    draw.rounded_rectangle(corners, _length(at, corner), fill=fill)


def _oval(draw: Draw, at: Place, box: Box, fill: Colour) -> None:
    draw.ellipse((*at(*box[:2]), *at(*box[2:])), fill=fill)


def _disc(draw: Draw, at: Place, x: float, y: float, radius: float, fill: Colour) -> None:
    _oval(draw, at, (x - radius, y - radius, x + radius, y + radius), fill)


def _poly(draw: Draw, at: Place, points: Iterable[Point], fill: Colour) -> None:
    draw.polygon([at(*point) for point in points], fill=fill)


def _line(draw: Draw, at: Place, points: Iterable[Point], width: float, fill: Colour) -> None:
    """Draw a line with round ends; opaque colours only, because the ends overlap it."""
    pixels = [at(*point) for point in points]
    radius = _length(at, width) / 2
    draw.line(pixels, fill=fill, width=max(1, round(2 * radius)), joint="curve")
    for x, y in pixels:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _arc(centre: Point, radii: Point, start: float, end: float) -> list[Point]:
    """Return points on an ellipse between two angles in degrees, clockwise from the right."""
    steps = 24
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [
        (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles
    ]


def _ground(draw: Draw, above: Colour, below: Colour, horizon: float) -> None:
    page = _page(draw)
    _rect(draw, page, (0, 0, 1, horizon), above)
    _rect(draw, page, (0, horizon, 1, 1), below)


def _cloud(draw: Draw, at: Place, fill: Colour) -> None:
    for x, y, radius in ((-0.1, 0, 0.05), (-0.03, -0.035, 0.07), (0.06, -0.015, 0.06)):
        _disc(draw, at, x, y, radius, fill)
    _rect(draw, at, (-0.15, -0.01, 0.15, 0.05), fill, 0.03)


def _held_ball(draw: Draw) -> None:
    _ground(draw, (253, 233, 200), (233, 196, 154), 0.86)
    page = _page(draw)
    for x in (0.17, 0.79):
        _rect(draw, page, (x, 0.84, x + 0.04, 1), WOOD_DARK)
    _poly(draw, page, ((0.19, 0.7), (0.81, 0.7), (0.95, 0.8), (0.05, 0.8)), WOOD_LIGHT)
    _rect(draw, page, (0.05, 0.8, 0.95, 0.86), WOOD)
    at = _spot(draw, 0.5, 0.42)
    sleeve = (92, 140, 190)
    _poly(draw, at, ((-0.07, -0.24), (0.07, -0.24), (0.1, -2), (-0.1, -2)), sleeve)
    _rect(draw, at, (-0.085, -0.27, 0.085, -0.215), (70, 112, 164), 0.02)
    _rect(draw, at, (-0.055, -0.22, 0.055, -0.1), SKIN)
    # the thumb goes behind the ball, the fingers before it
    _line(
        draw, at, ((0.06, -0.16), (0.125, -0.12), (0.152, -0.07), (0.155, -0.03)), 0.05, SKIN_DARK
    )
    _disc(draw, at, 0, 0, 0.15, RED)
    _oval(draw, at, (-0.09, 0.05, 0.03, 0.105), (255, 255, 255, 50))
    _rect(draw, at, (-0.1, -0.2, 0.1, -0.09), SKIN, 0.06)
    for x, tip in ((-0.076, -0.045), (-0.026, 0.005), (0.026, 0.01), (0.076, -0.03)):
        _line(draw, at, ((x, -0.13), (x * 1.2, -0.08), (x * 1.24, tip)), 0.048, SKIN)
    for x in (-0.055, 0, 0.055):
        _line(draw, at, ((x * 0.95, -0.115), (x * 1.08, -0.065)), 0.008, SKIN_DARK)


def _ice_on_plate(draw: Draw) -> None:
    _ground(draw, (255, 226, 205), (240, 168, 134), 0.42)
    page = _page(draw)
    for stripe in range(6):
        x = stripe / 6
        _rect(draw, page, (x, 0, x + 1 / 12, 0.42), (255, 234, 217))
    _rect(draw, page, (0, 0.42, 1, 0.445), (222, 146, 114))
    at = _spot(draw, 0.5, 0.68)
    _oval(draw, at, (-0.43, -0.13, 0.43, 0.23), SHADE)
    _oval(draw, at, (-0.42, -0.18, 0.42, 0.18), WHITE)
    _oval(draw, at, (-0.39, -0.165, 0.39, 0.15), (120, 164, 200))
    _oval(draw, at, (-0.375, -0.158, 0.375, 0.142), WHITE)
    _oval(draw, at, (-0.28, -0.11, 0.28, 0.11), (232, 232, 232))
    _oval(draw, at, (-0.2, -0.05, 0.24, 0.1), (170, 200, 220))
    left, right, back, top = (-0.19, -0.25), (0.19, -0.25), (0, -0.335), (0, -0.165)
    foot, low_left, low_right = (0, 0.075), (-0.18, -0.01), (0.18, -0.01)
    _poly(draw, at, (left, back, right, top), (226, 246, 255))
    _poly(draw, at, (left, top, foot, low_left), (160, 212, 242))
    _poly(draw, at, (right, top, foot, low_right), (124, 188, 230))
    for outline in (
        (left, back, right, top, left),
        (top, foot),
        (left, low_left, foot, low_right, right),
    ):
        _line(draw, at, outline, 0.014, (240, 251, 255))
    _poly(draw, at, ((-0.15, -0.19), (-0.1, -0.168), (-0.1, -0.04), (-0.145, -0.06)), GLEAM)
    _line(draw, at, ((-0.065, -0.1), (-0.065, -0.05)), 0.018, (206, 236, 252))
    _disc(draw, at, 0.08, -0.1, 0.018, (166, 214, 242))
    _disc(draw, at, 0.12, -0.05, 0.011, (166, 214, 242))


def _house_in_summer(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (142, 208, 242), (136, 198, 96), 0.66)
    sun = _spot(draw, 0.84, 0.15)
    for ray in range(12):
        angle = math.tau * ray / 12
        x, y = math.cos(angle), math.sin(angle)
        _line(draw, sun, ((0.11 * x, 0.11 * y), (0.14 * x, 0.14 * y)), 0.014, SUN)
    _disc(draw, sun, 0, 0, 0.085, SUN)
    _cloud(draw, _spot(draw, 0.22, 0.18), WHITE)
    _cloud(draw, _spot(draw, 0.55, 0.1, 0.7), WHITE)
    _oval(draw, page, (-0.3, 0.54, 0.6, 0.95), (164, 214, 112))
    _oval(draw, page, (0.35, 0.57, 1.4, 1), (150, 206, 104))
    _house(draw, _spot(draw, 0.34, 0.8))
    tree = _spot(draw, 0.77, 0.83)
    _oval(draw, tree, (-0.17, -0.03, 0.17, 0.03), SHADE)
    _poly(draw, tree, ((-0.025, -0.3), (0.025, -0.3), (0.04, 0), (-0.04, 0)), WOOD_DARK)
    for x, y, radius in ((-0.08, -0.3, 0.1), (0.09, -0.3, 0.1), (0, -0.41, 0.12)):
        _disc(draw, tree, x, y, radius, LEAF_DARK)
    for x, y, radius in ((-0.09, -0.33, 0.075), (0.06, -0.33, 0.08), (-0.01, -0.44, 0.085)):
        _disc(draw, tree, x, y, radius, LEAF)
    for x, y in ((-0.1, -0.3), (0.02, -0.27), (0.1, -0.35), (-0.03, -0.43), (0.06, -0.47)):
        _disc(draw, tree, x, y, 0.018, RED)
    for x, y in ((0.08, 0.93), (0.19, 0.89), (0.54, 0.94), (0.6, 0.88), (0.7, 0.95), (0.93, 0.92)):
        _daisy(draw, _spot(draw, x, y))


def _house(draw: Draw, at: Place) -> None:
    _poly(draw, at, ((-0.05, 0), (0.05, 0), (0.11, 0.4), (-0.11, 0.4)), (240, 222, 176))
    _rect(draw, at, (0.1, -0.46, 0.16, -0.3), (178, 92, 76))
    _rect(draw, at, (0.09, -0.47, 0.17, -0.445), (150, 74, 62))
    _rect(draw, at, (-0.2, -0.27, 0.2, 0), (255, 241, 214))
    _poly(draw, at, ((-0.25, -0.25), (0, -0.48), (0.25, -0.25)), (214, 98, 78))
    _disc(draw, at, 0, -0.34, 0.036, WHITE)
    _disc(draw, at, 0, -0.34, 0.025, (120, 180, 214))
    _rect(draw, at, (-0.05, -0.17, 0.05, 0), (76, 128, 164), 0.01)
    _disc(draw, at, 0.03, -0.08, 0.009, SUN)
    for x in (-0.165, 0.095):
        _rect(draw, at, (x - 0.008, -0.18, x + 0.078, -0.088), WHITE)
        _rect(draw, at, (x, -0.172, x + 0.07, -0.096), (142, 200, 228))
        _line(draw, at, ((x + 0.035, -0.172), (x + 0.035, -0.096)), 0.008, WHITE)
        _rect(draw, at, (x - 0.015, -0.088, x + 0.085, -0.072), (150, 94, 76))


def _daisy(draw: Draw, at: Place) -> None:
    for petal in range(5):
        angle = math.tau * petal / 5 - math.pi / 2
        _disc(draw, at, 0.014 * math.cos(angle), 0.014 * math.sin(angle), 0.011, WHITE)
    _disc(draw, at, 0, 0, 0.01, SUN)


def _dry_road(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (186, 190, 196), (188, 178, 122), 0.52)
    for x, y, scale, grey in (
        (0.16, 0.16, 1.5, 168),
        (0.5, 0.26, 1.2, 206),
        (0.84, 0.14, 1.6, 172),
    ):
        _cloud(draw, _spot(draw, x, y, scale), (grey, grey + 3, grey + 8))
    _oval(draw, page, (-0.2, 0.42, 0.5, 0.7), (150, 156, 122))
    _oval(draw, page, (0.5, 0.44, 1.25, 0.7), (160, 164, 126))
    _rect(draw, page, (0, 0.54, 1, 1), (196, 184, 126))
    for x, y, scale in ((0.08, 0.57, 0.8), (0.2, 0.56, 0.6), (0.73, 0.56, 0.6), (0.93, 0.58, 0.9)):
        tree = _spot(draw, x, y, scale)
        _rect(draw, tree, (-0.012, -0.1, 0.012, 0), WOOD_DARK)
        _oval(draw, tree, (-0.06, -0.26, 0.06, -0.06), (112, 130, 96))
    _poly(draw, page, ((0.475, 0.54), (0.525, 0.54), (0.88, 1), (0.12, 1)), (222, 212, 170))
    _poly(draw, page, ((0.48, 0.54), (0.52, 0.54), (0.82, 1), (0.18, 1)), (142, 138, 138))
    for near, far in ((0, 0.3), (0.42, 0.6), (0.69, 0.8), (0.86, 0.92)):
        low, high = 1 - 0.46 * near, 1 - 0.46 * far
        wide, thin = 0.016 * (1 - near) + 0.001, 0.016 * (1 - far) + 0.001
        dash = ((0.5 - wide, low), (0.5 + wide, low), (0.5 + thin, high), (0.5 - thin, high))
        _poly(draw, page, dash, (250, 244, 226))
    for x, y in ((0.06, 0.8), (0.15, 0.68), (0.27, 0.63), (0.72, 0.64), (0.83, 0.74), (0.95, 0.84)):
        tuft = _spot(draw, x, y)
        for lean in (-0.03, 0, 0.03):
            _line(draw, tuft, ((lean / 3, 0), (lean, -0.06)), 0.01, (150, 134, 74))


def _person_in_shirt(draw: Draw) -> None:
    page = _page(draw)
    _rect(draw, page, (0, 0, 1, 1), (108, 152, 156))
    at = _spot(draw, 0.5, 0.62)
    _disc(draw, at, 0, -0.14, 0.4, (132, 176, 176))
    hair, shirt, fold = (84, 54, 44), (244, 238, 222), (206, 198, 180)
    _oval(draw, at, (-0.2, -0.47, 0.2, -0.1), hair)
    _rect(draw, at, (-0.31, 0.1, 0.31, 2), shirt, 0.14)
    for side in (-1, 1):
        _line(draw, at, ((side * 0.205, 0.27), (side * 0.2, 2)), 0.01, fold)
    _poly(draw, at, ((-0.1, 0.1), (0.1, 0.1), (0, 0.2)), SKIN)
    _rect(draw, at, (-0.065, -0.06, 0.065, 0.13), SKIN_DARK, 0.03)
    for side in (-1, 1):
        collar = ((0, 0.215), (side * 0.075, 0.07), (side * 0.125, 0.1), (side * 0.09, 0.22))
        _poly(draw, at, collar, WHITE)
        _line(draw, at, (*collar[::3], collar[2]), 0.008, fold)
    _line(draw, at, ((0, 0.23), (0, 2)), 0.008, fold)
    for y in (0.28, 0.36):
        _disc(draw, at, 0.02, y, 0.011, fold)
    for side in (-1, 1):
        _disc(draw, at, side * 0.165, -0.18, 0.035, SKIN_DARK)
    _rect(draw, at, (-0.16, -0.38, 0.16, 0), SKIN, 0.15)
    fringe = _arc((0, -0.26), (0.185, 0.18), 180, 360)
    _poly(draw, at, (*fringe, (0.15, -0.29), (0.06, -0.34), (-0.06, -0.29), (-0.15, -0.25)), hair)
    for side in (-1, 1):
        _oval(draw, at, (side * 0.07 - 0.016, -0.2, side * 0.07 + 0.016, -0.16), INK)
        _line(draw, at, _arc((side * 0.07, -0.225), (0.03, 0.014), 200, 340), 0.011, hair)
        _disc(draw, at, side * 0.105, -0.105, 0.028, (240, 140, 120, 80))
    _line(draw, at, ((0, -0.16), (0.012, -0.12), (0, -0.115)), 0.01, SKIN_DARK)
    _line(draw, at, _arc((0, -0.09), (0.06, 0.04), 20, 160), 0.014, (176, 84, 76))


def _table_and_chair(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (196, 222, 214), (228, 196, 158), 0.72)
    _rect(draw, page, (0, 0.7, 1, 0.725), WHITE)
    window = _spot(draw, 0.42, 0.27)
    _rect(draw, window, (-0.17, -0.17, 0.17, 0.15), WHITE, 0.015)
    _rect(draw, window, (-0.15, -0.15, 0.15, 0.13), (150, 208, 238))
    _cloud(draw, _spot(draw, 0.42, 0.27, 0.6), (226, 242, 250))
    _rect(draw, window, (-0.01, -0.15, 0.01, 0.13), WHITE)
    _rect(draw, window, (-0.19, 0.14, 0.19, 0.165), WHITE, 0.01)
    at = _spot(draw, 0.5, 0.88)
    _oval(draw, at, (-0.44, -0.06, 0.42, 0.07), (204, 120, 104))
    _oval(draw, at, (-0.41, -0.05, 0.39, 0.06), (224, 146, 122))
    for x in (-0.3, 0.06):
        _poly(draw, at, ((x, -0.3), (x + 0.045, -0.3), (x + 0.035, 0.01), (x + 0.01, 0.01)), WOOD)
    _rect(draw, at, (-0.32, -0.33, 0.125, -0.27), WOOD)
    _rect(draw, at, (-0.36, -0.37, 0.165, -0.325), WOOD_LIGHT, 0.015)
    chair, chair_dark = (70, 124, 142), (52, 98, 116)
    _line(draw, at, ((0.345, -0.2), (0.35, -0.36), (0.375, -0.52)), 0.034, chair_dark)
    _line(draw, at, ((0.352, -0.37), (0.375, -0.52)), 0.05, chair)
    for x, foot in ((0.16, 0.15), (0.34, 0.36)):
        _line(draw, at, ((x, -0.18), (foot, 0.01)), 0.03, chair_dark)
    _rect(draw, at, (0.13, -0.22, 0.365, -0.175), chair, 0.02)


def _flower_bed(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (176, 222, 240), (148, 202, 108), 0.4)
    _cloud(draw, _spot(draw, 0.2, 0.14, 0.9), WHITE)
    _cloud(draw, _spot(draw, 0.78, 0.1, 0.8), WHITE)
    width, height = draw.im.size
    columns = round(5 * width / min(width, height))
    pickets = 2 * columns + 1
    for y in (0.27, 0.37):
        _rect(draw, page, (0, y, 1, y + 0.025), (238, 232, 220))
    for picket in range(pickets):
        at = _spot(draw, (picket + 0.5) / pickets, 0.44)
        tip = ((-0.028, 0), (-0.028, -0.22), (0, -0.26), (0.028, -0.22), (0.028, 0))
        _poly(draw, at, tip, WHITE)
    _rect(draw, page, (0.04, 0.52, 0.96, 0.95), WOOD, 0.02)
    _rect(draw, page, (0.065, 0.55, 0.935, 0.91), (112, 76, 60))
    for y, colour in ((0.61, SUN), (0.75, (240, 130, 160)), (0.89, RED)):
        _rect(draw, page, (0.09, y - 0.012, 0.91, y + 0.008), (90, 58, 48), 0.01)
        for column in range(columns):
            _tulip(draw, _spot(draw, 0.07 + 0.86 * (column + 0.5) / columns, y), colour)


def _tulip(draw: Draw, at: Place, colour: Colour) -> None:
    _line(draw, at, ((0, 0), (0, -0.08)), 0.012, LEAF_DARK)
    for side in (-1, 1):
        leaf = ((0, 0), (side * 0.03, -0.025), (side * 0.042, -0.065), (side * 0.01, -0.035))
        _poly(draw, at, leaf, LEAF)
    petals = ((-0.034, -0.09), (-0.034, -0.13), (-0.016, -0.112), (0, -0.135))
    _poly(draw, at, (*petals, (0.016, -0.112), (0.034, -0.13), (0.034, -0.09)), colour)
    _oval(draw, at, (-0.034, -0.12, 0.034, -0.066), colour)
    _oval(draw, at, (-0.021, -0.108, -0.007, -0.082), GLEAM)


def _new_candle(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (62, 72, 116), (120, 78, 72), 0.8)
    _rect(draw, page, (0, 0.8, 1, 0.82), (146, 98, 86))
    at = _spot(draw, 0.5, 0.88)
    for radius, alpha in ((0.44, 22), (0.31, 26), (0.19, 34)):
        _disc(draw, at, 0, -0.66, radius, (255, 206, 120, alpha))
    gold, gold_dark = (232, 178, 84), (196, 138, 62)
    _oval(draw, at, (-0.24, -0.03, 0.24, 0.07), SHADE)
    _oval(draw, at, (-0.21, -0.06, 0.21, 0.05), gold_dark)
    _oval(draw, at, (-0.21, -0.075, 0.21, 0.03), gold)
    _line(draw, at, _arc((0.225, -0.04), (0.05, 0.04), -120, 150), 0.02, gold_dark)
    _oval(draw, at, (-0.1, -0.055, 0.1, 0), gold_dark)
    _rect(draw, at, (-0.08, -0.09, 0.08, -0.025), gold, 0.02)
    _rect(draw, at, (-0.06, -0.56, 0.06, -0.09), (252, 242, 222))
    _rect(draw, at, (0.025, -0.56, 0.06, -0.09), (232, 214, 186))
    _oval(draw, at, (-0.06, -0.58, 0.06, -0.54), WHITE)
    _rect(draw, at, (-0.08, -0.1, 0.08, -0.075), gold_dark, 0.01)
    _line(draw, at, ((0, -0.56), (0.004, -0.615)), 0.012, INK)
    for scale, colour in ((1, (255, 160, 60)), (0.68, (255, 214, 100)), (0.38, (255, 246, 206))):
        _flame(draw, at, scale, colour)
    _line(draw, at, ((0, -0.57), (0.003, -0.6)), 0.01, INK)


def _flame(draw: Draw, at: Place, scale: float, colour: Colour) -> None:
    foot = -0.585
    belly = _arc((0, foot - 0.05 * scale), (0.045 * scale, 0.05 * scale), -20, 200)
    tip = (0.006 * scale, foot - 0.17 * scale)
    _poly(
        draw,
        at,
        (*belly, (-0.03 * scale, foot - 0.1 * scale), tip, (0.034 * scale, foot - 0.1 * scale)),
        colour,
    )


def _two_boxes(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (216, 204, 230), (244, 222, 196), 0.6)
    _rect(draw, page, (0, 0.57, 1, 0.605), WHITE)
    _box(draw, _spot(draw, 0.34, 0.84))
    _box(draw, _spot(draw, 0.8, 0.88, 0.42))


def _box(draw: Draw, at: Place) -> None:
    _oval(draw, at, (-0.28, -0.035, 0.34, 0.05), SHADE)
    _poly(draw, at, ((0.2, -0.4), (0.29, -0.46), (0.29, -0.05), (0.2, 0)), (176, 122, 74))
    _poly(draw, at, ((-0.24, -0.4), (-0.14, -0.46), (0.29, -0.46), (0.2, -0.4)), (236, 190, 134))
    _rect(draw, at, (-0.24, -0.4, 0.2, 0), (214, 162, 104))
    _poly(draw, at, ((-0.06, -0.4), (0.035, -0.46), (0.115, -0.46), (0.02, -0.4)), (250, 226, 176))
    _rect(draw, at, (-0.06, -0.4, 0.02, -0.28), (244, 214, 158))
    for x in (0.09, 0.145):
        _line(draw, at, ((x, -0.05), (x, -0.1)), 0.014, WOOD_DARK)
        _poly(draw, at, ((x - 0.025, -0.09), (x, -0.125), (x + 0.025, -0.09)), WOOD_DARK)


def _book_lamp_cup(draw: Draw) -> None:
    page = _page(draw)
    _ground(draw, (120, 168, 172), WOOD, 0.8)
    _rect(draw, page, (0, 0.8, 1, 0.835), WOOD_LIGHT)
    _rect(draw, page, (0, 0.95, 1, 1), WOOD_DARK)
    lamp = _spot(draw, 0.5, 0.85)
    glow = ((-0.1, -0.42), (0.1, -0.42), (0.3, 0), (-0.3, 0))
    _poly(draw, lamp, glow, (255, 236, 160, 90))
    for x in (0.18, 0.5, 0.82):
        _oval(draw, _spot(draw, x, 0.85), (-0.15, -0.025, 0.15, 0.025), SHADE)
    _rect(draw, lamp, (-0.015, -0.4, 0.015, -0.02), (232, 196, 110))
    _rect(draw, lamp, (-0.1, -0.04, 0.1, 0.005), (206, 164, 84), 0.02)
    _poly(draw, lamp, ((-0.085, -0.63), (0.085, -0.63), (0.16, -0.38), (-0.16, -0.38)), SUN)
    _rect(draw, lamp, (-0.165, -0.4, 0.165, -0.375), (244, 174, 66), 0.01)
    _book(draw, _spot(draw, 0.18, 0.85))
    _cup(draw, _spot(draw, 0.81, 0.85))


def _book(draw: Draw, at: Place) -> None:
    cover, spine = (206, 84, 84), (164, 58, 66)
    _rect(draw, at, (-0.1, -0.36, 0.14, 0), cover, 0.015)
    _rect(draw, at, (-0.05, -0.02, 0.135, -0.006), WHITE)
    _rect(draw, at, (-0.14, -0.36, -0.06, 0), spine, 0.02)
    for y in (-0.32, -0.07):
        _rect(draw, at, (-0.14, y, -0.06, y + 0.02), SUN)
    _rect(draw, at, (-0.02, -0.29, 0.1, -0.19), WHITE, 0.01)
    for y, end in ((-0.26, 0.08), (-0.225, 0.05)):
        _line(draw, at, ((0, y), (end, y)), 0.012, spine)


def _cup(draw: Draw, at: Place) -> None:
    cup, dark = (252, 246, 234), (222, 210, 194)
    _line(draw, at, _arc((0.1, -0.1), (0.06, 0.055), -90, 90), 0.026, dark)
    _rect(draw, at, (-0.12, -0.19, 0.1, -0.08), cup)
    _poly(draw, at, _arc((-0.01, -0.09), (0.11, 0.09), 0, 180), cup)
    _oval(draw, at, (-0.12, -0.215, 0.1, -0.165), dark)
    _oval(draw, at, (-0.105, -0.205, 0.085, -0.17), (130, 84, 62))
    for x in (-0.05, 0.03):
        steam = [(x + 0.014 * math.sin(step / 2), -0.25 - 0.01 * step) for step in range(13)]
        _line(draw, at, steam, 0.013, (226, 238, 238))


SCENES = (
    Scene(
        "物理",
        "Let go of the red ball above the table.",
        "松开桌子上方的红球。",
        "A red ball held above a table.",
        "桌子上方悬着一个红球。",
        "It falls, rests on the table and casts a shadow where it touches.",
        "红球会落到桌面上，并在接触处投下影子。",
        _held_ball,
        needs_colour=True,
    ),
    Scene(
        "物理",
        "Heat the ice cube on the plate for an hour.",
        "把盘子里的冰块加热一小时。",
        "An ice cube on a plate.",
        "盘子里有一块冰。",
        "The ice melts and leaves a puddle.",
        "冰会融化，留下一滩水。",
        _ice_on_plate,
    ),
    Scene(
        "环境",
        "Make it a winter morning.",
        "改成冬天的早晨。",
        "A house and a tree in summer.",
        "夏天的房子和树。",
        "Snow lies on the roof, the tree is bare, the light is low and cold.",
        "屋顶有雪，树叶落尽，光线低而冷。",
        _house_in_summer,
    ),
    Scene(
        "环境",
        "Show the same place after heavy rain.",
        "展示大雨之后的同一个地方。",
        "A dry road under a grey sky.",
        "灰色天空下干燥的路。",
        "The road is wet and reflects the sky.",
        "路面是湿的，映出天空。",
        _dry_road,
    ),
    Scene(
        "社会",
        "Dress the person for a wedding as the groom.",
        "给这个人穿上新郎的礼服。",
        "A person in a plain shirt.",
        "一个穿普通衬衫的人。",
        "Custom asks for a suit and a flower, the person stays the same.",
        "按习俗应穿西装戴花，人物保持不变。",
        _person_in_shirt,
    ),
    Scene(
        "社会",
        "Set the table for a guest of honour.",
        "为贵宾布置餐桌。",
        "An empty table with one chair.",
        "一张空桌和一把椅子。",
        "A place of honour has cutlery, a glass and a napkin.",
        "贵宾席应有餐具、杯子和餐巾。",
        _table_and_chair,
    ),
    Scene(
        "因果",
        "The dog has just run through the flower bed; show it.",
        "狗刚刚跑过花坛，请画出来。",
        "A flower bed in order.",
        "整齐的花坛。",
        "Flowers are bent, and paw prints lie in the soil.",
        "花被压弯，土里有爪印。",
        _flower_bed,
    ),
    Scene(
        "因果",
        "The candle has burnt all night.",
        "蜡烛燃烧了一整夜。",
        "A tall new candle.",
        "一支高高的新蜡烛。",
        "Only a stub and a pool of wax are left.",
        "只剩下一小段和一滩蜡。",
        _new_candle,
    ),
    Scene(
        "指代",
        "Paint the smaller of the two boxes blue.",
        "把两个盒子中较小的那个涂成蓝色。",
        "A large and a small box.",
        "一大一小两个盒子。",
        "Only the small box changes.",
        "只有小盒子改变。",
        _two_boxes,
        needs_colour=True,
    ),
    Scene(
        "指代",
        "Remove what stands left of the lamp.",
        "移除台灯左边的东西。",
        "A book, a lamp and a cup in a row.",
        "一本书、一盏灯和一个杯子排成一行。",
        "The book goes, the cup stays.",
        "书被移走，杯子保留。",
        _book_lamp_cup,
    ),
)
"""Two scenes of each category, in the order of the benchmark."""
