"""The pictures of the small benchmark's scenes."""

import math

from lockstep.demo.brush import (
    GLEAM,
    INK,
    LEAF,
    LEAF_DARK,
    RED,
    SHADE,
    SKIN,
    SKIN_DARK,
    SUN,
    WHITE,
    WOOD,
    WOOD_DARK,
    WOOD_LIGHT,
    Colour,
    Draw,
    Place,
    arc,
    disc,
    line,
    oval,
    poly,
    rect,
    spot,
    whole_page,
)


def _ground(draw: Draw, above: Colour, below: Colour, horizon: float) -> None:
    page = whole_page(draw)
    rect(draw, page, (0, 0, 1, horizon), above)
    rect(draw, page, (0, horizon, 1, 1), below)


def _cloud(draw: Draw, at: Place, fill: Colour) -> None:
    for x, y, radius in ((-0.1, 0, 0.05), (-0.03, -0.035, 0.07), (0.06, -0.015, 0.06)):
        disc(draw, at, x, y, radius, fill)
    rect(draw, at, (-0.15, -0.01, 0.15, 0.05), fill, 0.03)


def held_ball(draw: Draw) -> None:
    _ground(draw, (253, 233, 200), (233, 196, 154), 0.86)
    page = whole_page(draw)
    for x in (0.17, 0.79):
        rect(draw, page, (x, 0.84, x + 0.04, 1), WOOD_DARK)
    poly(draw, page, ((0.19, 0.7), (0.81, 0.7), (0.95, 0.8), (0.05, 0.8)), WOOD_LIGHT)
    rect(draw, page, (0.05, 0.8, 0.95, 0.86), WOOD)
    at = spot(draw, 0.5, 0.42)
    sleeve = (92, 140, 190)
    poly(draw, at, ((-0.07, -0.24), (0.07, -0.24), (0.1, -2), (-0.1, -2)), sleeve)
    rect(draw, at, (-0.085, -0.27, 0.085, -0.215), (70, 112, 164), 0.02)
    rect(draw, at, (-0.055, -0.22, 0.055, -0.1), SKIN)
    # the thumb goes behind the ball, the fingers before it
    line(draw, at, ((0.06, -0.16), (0.125, -0.12), (0.152, -0.07), (0.155, -0.03)), 0.05, SKIN_DARK)
    disc(draw, at, 0, 0, 0.15, RED)
    oval(draw, at, (-0.09, 0.05, 0.03, 0.105), (255, 255, 255, 50))
    rect(draw, at, (-0.1, -0.2, 0.1, -0.09), SKIN, 0.06)
    for x, tip in ((-0.076, -0.045), (-0.026, 0.005), (0.026, 0.01), (0.076, -0.03)):
        line(draw, at, ((x, -0.13), (x * 1.2, -0.08), (x * 1.24, tip)), 0.048, SKIN)
    for x in (-0.055, 0, 0.055):
        line(draw, at, ((x * 0.95, -0.115), (x * 1.08, -0.065)), 0.008, SKIN_DARK)


def ice_on_plate(draw: Draw) -> None:
    _ground(draw, (255, 226, 205), (240, 168, 134), 0.42)
    page = whole_page(draw)
    for stripe in range(6):
        x = stripe / 6
        rect(draw, page, (x, 0, x + 1 / 12, 0.42), (255, 234, 217))
    rect(draw, page, (0, 0.42, 1, 0.445), (222, 146, 114))
    at = spot(draw, 0.5, 0.68)
    oval(draw, at, (-0.43, -0.13, 0.43, 0.23), SHADE)
    oval(draw, at, (-0.42, -0.18, 0.42, 0.18), WHITE)
    oval(draw, at, (-0.39, -0.165, 0.39, 0.15), (120, 164, 200))
    oval(draw, at, (-0.375, -0.158, 0.375, 0.142), WHITE)
    oval(draw, at, (-0.28, -0.11, 0.28, 0.11), (232, 232, 232))
    oval(draw, at, (-0.2, -0.05, 0.24, 0.1), (170, 200, 220))
    left, right, back, top = (-0.19, -0.25), (0.19, -0.25), (0, -0.335), (0, -0.165)
    foot, low_left, low_right = (0, 0.075), (-0.18, -0.01), (0.18, -0.01)
    poly(draw, at, (left, back, right, top), (226, 246, 255))
    poly(draw, at, (left, top, foot, low_left), (160, 212, 242))
    poly(draw, at, (right, top, foot, low_right), (124, 188, 230))
    for outline in (
        (left, back, right, top, left),
        (top, foot),
        (left, low_left, foot, low_right, right),
    ):
        line(draw, at, outline, 0.014, (240, 251, 255))
    poly(draw, at, ((-0.15, -0.19), (-0.1, -0.168), (-0.1, -0.04), (-0.145, -0.06)), GLEAM)
    line(draw, at, ((-0.065, -0.1), (-0.065, -0.05)), 0.018, (206, 236, 252))
    disc(draw, at, 0.08, -0.1, 0.018, (166, 214, 242))
    disc(draw, at, 0.12, -0.05, 0.011, (166, 214, 242))


def house_in_summer(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (142, 208, 242), (136, 198, 96), 0.66)
    sun = spot(draw, 0.84, 0.15)
    for ray in range(12):
        angle = math.tau * ray / 12
        x, y = math.cos(angle), math.sin(angle)
        line(draw, sun, ((0.11 * x, 0.11 * y), (0.14 * x, 0.14 * y)), 0.014, SUN)
    disc(draw, sun, 0, 0, 0.085, SUN)
    _cloud(draw, spot(draw, 0.22, 0.18), WHITE)
    _cloud(draw, spot(draw, 0.55, 0.1, 0.7), WHITE)
    oval(draw, page, (-0.3, 0.54, 0.6, 0.95), (164, 214, 112))
    oval(draw, page, (0.35, 0.57, 1.4, 1), (150, 206, 104))
    _house(draw, spot(draw, 0.34, 0.8))
    tree = spot(draw, 0.77, 0.83)
    oval(draw, tree, (-0.17, -0.03, 0.17, 0.03), SHADE)
    poly(draw, tree, ((-0.025, -0.3), (0.025, -0.3), (0.04, 0), (-0.04, 0)), WOOD_DARK)
    for x, y, radius in ((-0.08, -0.3, 0.1), (0.09, -0.3, 0.1), (0, -0.41, 0.12)):
        disc(draw, tree, x, y, radius, LEAF_DARK)
    for x, y, radius in ((-0.09, -0.33, 0.075), (0.06, -0.33, 0.08), (-0.01, -0.44, 0.085)):
        disc(draw, tree, x, y, radius, LEAF)
    for x, y in ((-0.1, -0.3), (0.02, -0.27), (0.1, -0.35), (-0.03, -0.43), (0.06, -0.47)):
        disc(draw, tree, x, y, 0.018, RED)
    for x, y in ((0.08, 0.93), (0.19, 0.89), (0.54, 0.94), (0.6, 0.88), (0.7, 0.95), (0.93, 0.92)):
        _daisy(draw, spot(draw, x, y))


def _house(draw: Draw, at: Place) -> None:
    poly(draw, at, ((-0.05, 0), (0.05, 0), (0.11, 0.4), (-0.11, 0.4)), (240, 222, 176))
    rect(draw, at, (0.1, -0.46, 0.16, -0.3), (178, 92, 76))
    rect(draw, at, (0.09, -0.47, 0.17, -0.445), (150, 74, 62))
    rect(draw, at, (-0.2, -0.27, 0.2, 0), (255, 241, 214))
    poly(draw, at, ((-0.25, -0.25), (0, -0.48), (0.25, -0.25)), (214, 98, 78))
    disc(draw, at, 0, -0.34, 0.036, WHITE)
    disc(draw, at, 0, -0.34, 0.025, (120, 180, 214))
    rect(draw, at, (-0.05, -0.17, 0.05, 0), (76, 128, 164), 0.01)
    disc(draw, at, 0.03, -0.08, 0.009, SUN)
    for x in (-0.165, 0.095):
        rect(draw, at, (x - 0.008, -0.18, x + 0.078, -0.088), WHITE)
        rect(draw, at, (x, -0.172, x + 0.07, -0.096), (142, 200, 228))
        line(draw, at, ((x + 0.035, -0.172), (x + 0.035, -0.096)), 0.008, WHITE)
        rect(draw, at, (x - 0.015, -0.088, x + 0.085, -0.072), (150, 94, 76))


def _daisy(draw: Draw, at: Place) -> None:
    for petal in range(5):
        angle = math.tau * petal / 5 - math.pi / 2
        disc(draw, at, 0.014 * math.cos(angle), 0.014 * math.sin(angle), 0.011, WHITE)
    disc(draw, at, 0, 0, 0.01, SUN)


def dry_road(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (186, 190, 196), (188, 178, 122), 0.52)
    for x, y, scale, grey in (
        (0.16, 0.16, 1.5, 168),
        (0.5, 0.26, 1.2, 206),
        (0.84, 0.14, 1.6, 172),
    ):
        _cloud(draw, spot(draw, x, y, scale), (grey, grey + 3, grey + 8))
    oval(draw, page, (-0.2, 0.42, 0.5, 0.7), (150, 156, 122))
    oval(draw, page, (0.5, 0.44, 1.25, 0.7), (160, 164, 126))
    rect(draw, page, (0, 0.54, 1, 1), (196, 184, 126))
    for x, y, scale in ((0.08, 0.57, 0.8), (0.2, 0.56, 0.6), (0.73, 0.56, 0.6), (0.93, 0.58, 0.9)):
        tree = spot(draw, x, y, scale)
        rect(draw, tree, (-0.012, -0.1, 0.012, 0), WOOD_DARK)
        oval(draw, tree, (-0.06, -0.26, 0.06, -0.06), (112, 130, 96))
    poly(draw, page, ((0.475, 0.54), (0.525, 0.54), (0.88, 1), (0.12, 1)), (222, 212, 170))
    poly(draw, page, ((0.48, 0.54), (0.52, 0.54), (0.82, 1), (0.18, 1)), (142, 138, 138))
    for near, far in ((0, 0.3), (0.42, 0.6), (0.69, 0.8), (0.86, 0.92)):
        low, high = 1 - 0.46 * near, 1 - 0.46 * far
        wide, thin = 0.016 * (1 - near) + 0.001, 0.016 * (1 - far) + 0.001
        dash = ((0.5 - wide, low), (0.5 + wide, low), (0.5 + thin, high), (0.5 - thin, high))
        poly(draw, page, dash, (250, 244, 226))
    for x, y in ((0.06, 0.8), (0.15, 0.68), (0.27, 0.63), (0.72, 0.64), (0.83, 0.74), (0.95, 0.84)):
        tuft = spot(draw, x, y)
        for lean in (-0.03, 0, 0.03):
            line(draw, tuft, ((lean / 3, 0), (lean, -0.06)), 0.01, (150, 134, 74))


def person_in_shirt(draw: Draw) -> None:
    page = whole_page(draw)
    rect(draw, page, (0, 0, 1, 1), (108, 152, 156))
    at = spot(draw, 0.5, 0.62)
    disc(draw, at, 0, -0.14, 0.4, (132, 176, 176))
    hair, shirt, fold = (84, 54, 44), (244, 238, 222), (206, 198, 180)
    oval(draw, at, (-0.2, -0.47, 0.2, -0.1), hair)
    rect(draw, at, (-0.31, 0.1, 0.31, 2), shirt, 0.14)
    for side in (-1, 1):
        line(draw, at, ((side * 0.205, 0.27), (side * 0.2, 2)), 0.01, fold)
    poly(draw, at, ((-0.1, 0.1), (0.1, 0.1), (0, 0.2)), SKIN)
    rect(draw, at, (-0.065, -0.06, 0.065, 0.13), SKIN_DARK, 0.03)
    for side in (-1, 1):
        collar = ((0, 0.215), (side * 0.075, 0.07), (side * 0.125, 0.1), (side * 0.09, 0.22))
        poly(draw, at, collar, WHITE)
        line(draw, at, (*collar[::3], collar[2]), 0.008, fold)
    line(draw, at, ((0, 0.23), (0, 2)), 0.008, fold)
    for y in (0.28, 0.36):
        disc(draw, at, 0.02, y, 0.011, fold)
    for side in (-1, 1):
        disc(draw, at, side * 0.165, -0.18, 0.035, SKIN_DARK)
    rect(draw, at, (-0.16, -0.38, 0.16, 0), SKIN, 0.15)
    fringe = arc((0, -0.26), (0.185, 0.18), 180, 360)
    poly(draw, at, (*fringe, (0.15, -0.29), (0.06, -0.34), (-0.06, -0.29), (-0.15, -0.25)), hair)
    for side in (-1, 1):
        oval(draw, at, (side * 0.07 - 0.016, -0.2, side * 0.07 + 0.016, -0.16), INK)
        line(draw, at, arc((side * 0.07, -0.225), (0.03, 0.014), 200, 340), 0.011, hair)
        disc(draw, at, side * 0.105, -0.105, 0.028, (240, 140, 120, 80))
    line(draw, at, ((0, -0.16), (0.012, -0.12), (0, -0.115)), 0.01, SKIN_DARK)
    line(draw, at, arc((0, -0.09), (0.06, 0.04), 20, 160), 0.014, (176, 84, 76))


def table_and_chair(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (196, 222, 214), (228, 196, 158), 0.72)
    rect(draw, page, (0, 0.7, 1, 0.725), WHITE)
    window = spot(draw, 0.42, 0.27)
    rect(draw, window, (-0.17, -0.17, 0.17, 0.15), WHITE, 0.015)
    rect(draw, window, (-0.15, -0.15, 0.15, 0.13), (150, 208, 238))
    _cloud(draw, spot(draw, 0.42, 0.27, 0.6), (226, 242, 250))
    rect(draw, window, (-0.01, -0.15, 0.01, 0.13), WHITE)
    rect(draw, window, (-0.19, 0.14, 0.19, 0.165), WHITE, 0.01)
    at = spot(draw, 0.5, 0.88)
    oval(draw, at, (-0.44, -0.06, 0.42, 0.07), (204, 120, 104))
    oval(draw, at, (-0.41, -0.05, 0.39, 0.06), (224, 146, 122))
    for x in (-0.3, 0.06):
        poly(draw, at, ((x, -0.3), (x + 0.045, -0.3), (x + 0.035, 0.01), (x + 0.01, 0.01)), WOOD)
    rect(draw, at, (-0.32, -0.33, 0.125, -0.27), WOOD)
    rect(draw, at, (-0.36, -0.37, 0.165, -0.325), WOOD_LIGHT, 0.015)
    chair, chair_dark = (70, 124, 142), (52, 98, 116)
    line(draw, at, ((0.345, -0.2), (0.35, -0.36), (0.375, -0.52)), 0.034, chair_dark)
    line(draw, at, ((0.352, -0.37), (0.375, -0.52)), 0.05, chair)
    for x, foot in ((0.16, 0.15), (0.34, 0.36)):
        line(draw, at, ((x, -0.18), (foot, 0.01)), 0.03, chair_dark)
    rect(draw, at, (0.13, -0.22, 0.365, -0.175), chair, 0.02)


def flower_bed(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (176, 222, 240), (148, 202, 108), 0.4)
    _cloud(draw, spot(draw, 0.2, 0.14, 0.9), WHITE)
    _cloud(draw, spot(draw, 0.78, 0.1, 0.8), WHITE)
    width, height = draw.im.size
    columns = round(5 * width / min(width, height))
    pickets = 2 * columns + 1
    for y in (0.27, 0.37):
        rect(draw, page, (0, y, 1, y + 0.025), (238, 232, 220))
    for picket in range(pickets):
        at = spot(draw, (picket + 0.5) / pickets, 0.44)
        tip = ((-0.028, 0), (-0.028, -0.22), (0, -0.26), (0.028, -0.22), (0.028, 0))
        poly(draw, at, tip, WHITE)
    rect(draw, page, (0.04, 0.52, 0.96, 0.95), WOOD, 0.02)
    rect(draw, page, (0.065, 0.55, 0.935, 0.91), (112, 76, 60))
    for y, colour in ((0.61, SUN), (0.75, (240, 130, 160)), (0.89, RED)):
        rect(draw, page, (0.09, y - 0.012, 0.91, y + 0.008), (90, 58, 48), 0.01)
        for column in range(columns):
            _tulip(draw, spot(draw, 0.07 + 0.86 * (column + 0.5) / columns, y), colour)


def _tulip(draw: Draw, at: Place, colour: Colour) -> None:
    line(draw, at, ((0, 0), (0, -0.08)), 0.012, LEAF_DARK)
    for side in (-1, 1):
        leaf = ((0, 0), (side * 0.03, -0.025), (side * 0.042, -0.065), (side * 0.01, -0.035))
        poly(draw, at, leaf, LEAF)
    petals = ((-0.034, -0.09), (-0.034, -0.13), (-0.016, -0.112), (0, -0.135))
    poly(draw, at, (*petals, (0.016, -0.112), (0.034, -0.13), (0.034, -0.09)), colour)
    oval(draw, at, (-0.034, -0.12, 0.034, -0.066), colour)
    oval(draw, at, (-0.021, -0.108, -0.007, -0.082), GLEAM)


def new_candle(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (62, 72, 116), (120, 78, 72), 0.8)
    rect(draw, page, (0, 0.8, 1, 0.82), (146, 98, 86))
    at = spot(draw, 0.5, 0.88)
    for radius, alpha in ((0.44, 22), (0.31, 26), (0.19, 34)):
        disc(draw, at, 0, -0.66, radius, (255, 206, 120, alpha))
    gold, gold_dark = (232, 178, 84), (196, 138, 62)
    oval(draw, at, (-0.24, -0.03, 0.24, 0.07), SHADE)
    oval(draw, at, (-0.21, -0.06, 0.21, 0.05), gold_dark)
    oval(draw, at, (-0.21, -0.075, 0.21, 0.03), gold)
    line(draw, at, arc((0.225, -0.04), (0.05, 0.04), -120, 150), 0.02, gold_dark)
    oval(draw, at, (-0.1, -0.055, 0.1, 0), gold_dark)
    rect(draw, at, (-0.08, -0.09, 0.08, -0.025), gold, 0.02)
    rect(draw, at, (-0.06, -0.56, 0.06, -0.09), (252, 242, 222))
    rect(draw, at, (0.025, -0.56, 0.06, -0.09), (232, 214, 186))
    oval(draw, at, (-0.06, -0.58, 0.06, -0.54), WHITE)
    rect(draw, at, (-0.08, -0.1, 0.08, -0.075), gold_dark, 0.01)
    line(draw, at, ((0, -0.56), (0.004, -0.615)), 0.012, INK)
    for scale, colour in ((1, (255, 160, 60)), (0.68, (255, 214, 100)), (0.38, (255, 246, 206))):
        _flame(draw, at, scale, colour)
    line(draw, at, ((0, -0.57), (0.003, -0.6)), 0.01, INK)


def _flame(draw: Draw, at: Place, scale: float, colour: Colour) -> None:
    foot = -0.585
    belly = arc((0, foot - 0.05 * scale), (0.045 * scale, 0.05 * scale), -20, 200)
    tip = (0.006 * scale, foot - 0.17 * scale)
    poly(
        draw,
        at,
        (*belly, (-0.03 * scale, foot - 0.1 * scale), tip, (0.034 * scale, foot - 0.1 * scale)),
        colour,
    )


def two_boxes(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (216, 204, 230), (244, 222, 196), 0.6)
    rect(draw, page, (0, 0.57, 1, 0.605), WHITE)
    _box(draw, spot(draw, 0.34, 0.84))
    _box(draw, spot(draw, 0.8, 0.88, 0.42))


def _box(draw: Draw, at: Place) -> None:
    oval(draw, at, (-0.28, -0.035, 0.34, 0.05), SHADE)
    poly(draw, at, ((0.2, -0.4), (0.29, -0.46), (0.29, -0.05), (0.2, 0)), (176, 122, 74))
    poly(draw, at, ((-0.24, -0.4), (-0.14, -0.46), (0.29, -0.46), (0.2, -0.4)), (236, 190, 134))
    rect(draw, at, (-0.24, -0.4, 0.2, 0), (214, 162, 104))
    poly(draw, at, ((-0.06, -0.4), (0.035, -0.46), (0.115, -0.46), (0.02, -0.4)), (250, 226, 176))
    rect(draw, at, (-0.06, -0.4, 0.02, -0.28), (244, 214, 158))
    for x in (0.09, 0.145):
        line(draw, at, ((x, -0.05), (x, -0.1)), 0.014, WOOD_DARK)
        poly(draw, at, ((x - 0.025, -0.09), (x, -0.125), (x + 0.025, -0.09)), WOOD_DARK)


def book_lamp_cup(draw: Draw) -> None:
    page = whole_page(draw)
    _ground(draw, (120, 168, 172), WOOD, 0.8)
    rect(draw, page, (0, 0.8, 1, 0.835), WOOD_LIGHT)
    rect(draw, page, (0, 0.95, 1, 1), WOOD_DARK)
    lamp = spot(draw, 0.5, 0.85)
    glow = ((-0.1, -0.42), (0.1, -0.42), (0.3, 0), (-0.3, 0))
    poly(draw, lamp, glow, (255, 236, 160, 90))
    for x in (0.18, 0.5, 0.82):
        oval(draw, spot(draw, x, 0.85), (-0.15, -0.025, 0.15, 0.025), SHADE)
    rect(draw, lamp, (-0.015, -0.4, 0.015, -0.02), (232, 196, 110))
    rect(draw, lamp, (-0.1, -0.04, 0.1, 0.005), (206, 164, 84), 0.02)
    poly(draw, lamp, ((-0.085, -0.63), (0.085, -0.63), (0.16, -0.38), (-0.16, -0.38)), SUN)
    rect(draw, lamp, (-0.165, -0.4, 0.165, -0.375), (244, 174, 66), 0.01)
    _book(draw, spot(draw, 0.18, 0.85))
    _cup(draw, spot(draw, 0.81, 0.85))


def _book(draw: Draw, at: Place) -> None:
    cover, spine = (206, 84, 84), (164, 58, 66)
    rect(draw, at, (-0.1, -0.36, 0.14, 0), cover, 0.015)
    rect(draw, at, (-0.05, -0.02, 0.135, -0.006), WHITE)
    rect(draw, at, (-0.14, -0.36, -0.06, 0), spine, 0.02)
    for y in (-0.32, -0.07):
        rect(draw, at, (-0.14, y, -0.06, y + 0.02), SUN)
    rect(draw, at, (-0.02, -0.29, 0.1, -0.19), WHITE, 0.01)
    for y, end in ((-0.26, 0.08), (-0.225, 0.05)):
        line(draw, at, ((0, y), (end, y)), 0.012, spine)


def _cup(draw: Draw, at: Place) -> None:
    cup, dark = (252, 246, 234), (222, 210, 194)
    line(draw, at, arc((0.1, -0.1), (0.06, 0.055), -90, 90), 0.026, dark)
    rect(draw, at, (-0.12, -0.19, 0.1, -0.08), cup)
    poly(draw, at, arc((-0.01, -0.09), (0.11, 0.09), 0, 180), cup)
    oval(draw, at, (-0.12, -0.215, 0.1, -0.165), dark)
    oval(draw, at, (-0.105, -0.205, 0.085, -0.17), (130, 84, 62))
    for x in (-0.05, 0.03):
        steam = [(x + 0.014 * math.sin(step / 2), -0.25 - 0.01 * step) for step in range(13)]
        line(draw, at, steam, 0.013, (226, 238, 238))
