"""The shapes that pictures of the drawn world are made of, and its colours.

A picture is a list of shapes; `drawing` makes pixels of it. The page runs from 0 to 1 on both
sides, down and to the right.
"""

import math

Colour = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "red": (0.87, 0.22, 0.20),
    "green": (0.25, 0.66, 0.32),
    "blue": (0.20, 0.40, 0.86),
    "yellow": (0.96, 0.80, 0.22),
    "purple": (0.58, 0.28, 0.76),
    "white": (0.97, 0.97, 0.95),
}

PASTELS: tuple[Colour, ...] = (
    (0.98, 0.91, 0.80),
    (0.84, 0.91, 0.95),
    (0.88, 0.94, 0.84),
    (0.95, 0.86, 0.86),
    (0.90, 0.87, 0.95),
)
WOODS: tuple[Colour, ...] = ((0.74, 0.53, 0.33), (0.62, 0.42, 0.28), (0.84, 0.66, 0.45))
SKINS: tuple[Colour, ...] = ((0.96, 0.80, 0.66), (0.85, 0.64, 0.48), (0.55, 0.38, 0.28))
HAIRS: tuple[Colour, ...] = ((0.25, 0.17, 0.13), (0.60, 0.38, 0.18), (0.12, 0.11, 0.13))

ELLIPSE, BOX = 0.0, 1.0

FIELDS = 13
"""Numbers of a shape: kind, centre x and y, half width and height, width of the top by that of the
foot, cosine and sine of its turn, radius of its corners, red, green, blue, opacity."""

MOST = 36
"""Shapes that a picture can have."""

Shape = tuple[float, ...]


def box(
    x: float,
    y: float,
    rx: float,
    ry: float,
    colour: Colour,
    *,
    top: float = 1.0,
    corner: float = 0.0,
    turn: float = 0.0,
    opacity: float = 1.0,
) -> Shape:
    """Return a box, or a trapezium: `top` is the width of its top by that of its foot."""
    return (BOX, x, y, rx, ry, top, math.cos(turn), math.sin(turn), corner, *colour, opacity)


def oval(
    x: float, y: float, rx: float, ry: float, colour: Colour, turn: float = 0.0, opacity: float = 1
) -> Shape:
    """Return an ellipse."""
    return (ELLIPSE, x, y, rx, ry, 1.0, math.cos(turn), math.sin(turn), 0.0, *colour, opacity)


def dark(colour: Colour, share: float = 0.75) -> Colour:
    """Return a darker colour."""
    return tuple(part * share for part in colour)  # type: ignore[return-value]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return a colour between two."""
    return tuple(p + (q - p) * share for p, q in zip(a, b, strict=True))  # type: ignore[return-value]
