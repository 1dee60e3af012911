"""The pictures of the small benchmark's scenes."""

import math

from lockstep.demo.brush import Brush, Colour, Draw, arc, spot, whole_page

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


def _ground(draw: Draw, above: Colour, below: Colour, horizon: float) -> Brush:
    page = whole_page(draw)
    page.rect((0, 0, 1, horizon), above)
    page.rect((0, horizon, 1, 1), below)
    return page


def _cloud(at: Brush, fill: Colour) -> None:
    for x, y, radius in ((-0.1, 0, 0.05), (-0.03, -0.035, 0.07), (0.06, -0.015, 0.06)):
        at.disc(x, y, radius, fill)
    at.rect((-0.15, -0.01, 0.15, 0.05), fill, 0.03)


def held_ball(draw: Draw) -> None:
    page = _ground(draw, (253, 233, 200), (233, 196, 154), 0.86)
    for x in (0.17, 0.79):
        page.rect((x, 0.84, x + 0.04, 1), WOOD_DARK)
    page.poly(((0.19, 0.7), (0.81, 0.7), (0.95, 0.8), (0.05, 0.8)), WOOD_LIGHT)
    page.rect((0.05, 0.8, 0.95, 0.86), WOOD)
    at = spot(draw, 0.5, 0.42)
    sleeve = (92, 140, 190)
    at.poly(((-0.07, -0.24), (0.07, -0.24), (0.1, -2), (-0.1, -2)), sleeve)
    at.rect((-0.085, -0.27, 0.085, -0.215), (70, 112, 164), 0.02)
    at.rect((-0.055, -0.22, 0.055, -0.1), SKIN)
    # the thumb goes behind the ball, the fingers before it
    at.line(((0.06, -0.16), (0.125, -0.12), (0.152, -0.07), (0.155, -0.03)), 0.05, SKIN_DARK)
    at.disc(0, 0, 0.15, RED)
    at.oval((-0.09, 0.05, 0.03, 0.105), (255, 255, 255, 50))
    at.rect((-0.1, -0.2, 0.1, -0.09), SKIN, 0.06)
    for x, tip in ((-0.076, -0.045), (-0.026, 0.005), (0.026, 0.01), (0.076, -0.03)):
        at.line(((x, -0.13), (x * 1.2, -0.08), (x * 1.24, tip)), 0.048, SKIN)
    for x in (-0.055, 0, 0.055):
        at.line(((x * 0.95, -0.115), (x * 1.08, -0.065)), 0.008, SKIN_DARK)


def ice_on_plate(draw: Draw) -> None:
    page = _ground(draw, (255, 226, 205), (240, 168, 134), 0.42)
    for stripe in range(6):
        x = stripe / 6
        page.rect((x, 0, x + 1 / 12, 0.42), (255, 234, 217))
    page.rect((0, 0.42, 1, 0.445), (222, 146, 114))
    at = spot(draw, 0.5, 0.68)
    at.oval((-0.43, -0.13, 0.43, 0.23), SHADE)
    at.oval((-0.42, -0.18, 0.42, 0.18), WHITE)
    at.oval((-0.39, -0.165, 0.39, 0.15), (120, 164, 200))
    at.oval((-0.375, -0.158, 0.375, 0.142), WHITE)
    at.oval((-0.28, -0.11, 0.28, 0.11), (232, 232, 232))
    at.oval((-0.2, -0.05, 0.24, 0.1), (170, 200, 220))
    left, right, back, top = (-0.19, -0.25), (0.19, -0.25), (0, -0.335), (0, -0.165)
    foot, low_left, low_right = (0, 0.075), (-0.18, -0.01), (0.18, -0.01)
    at.poly((left, back, right, top), (226, 246, 255))
    at.poly((left, top, foot, low_left), (160, 212, 242))
    at.poly((right, top, foot, low_right), (124, 188, 230))
    for outline in (
        (left, back, right, top, left),
        (top, foot),
        (left, low_left, foot, low_right, right),
    ):
        at.line(outline, 0.014, (240, 251, 255))
    at.poly(((-0.15, -0.19), (-0.1, -0.168), (-0.1, -0.04), (-0.145, -0.06)), GLEAM)
    at.line(((-0.065, -0.1), (-0.065, -0.05)), 0.018, (206, 236, 252))
    at.disc(0.08, -0.1, 0.018, (166, 214, 242))
    at.disc(0.12, -0.05, 0.011, (166, 214, 242))


def house_in_summer(draw: Draw) -> None:
    page = _ground(draw, (142, 208, 242), (136, 198, 96), 0.66)
    sun = spot(draw, 0.84, 0.15)
    for ray in range(12):
        angle = math.tau * ray / 12
        x, y = math.cos(angle), math.sin(angle)
        sun.line(((0.11 * x, 0.11 * y), (0.14 * x, 0.14 * y)), 0.014, SUN)
    sun.disc(0, 0, 0.085, SUN)
    _cloud(spot(draw, 0.22, 0.18), WHITE)
    _cloud(spot(draw, 0.55, 0.1, 0.7), WHITE)
    page.oval((-0.3, 0.54, 0.6, 0.95), (164, 214, 112))
    page.oval((0.35, 0.57, 1.4, 1), (150, 206, 104))
    _house(spot(draw, 0.34, 0.8))
    tree = spot(draw, 0.77, 0.83)
    tree.oval((-0.17, -0.03, 0.17, 0.03), SHADE)
    tree.poly(((-0.025, -0.3), (0.025, -0.3), (0.04, 0), (-0.04, 0)), WOOD_DARK)
    for x, y, radius in ((-0.08, -0.3, 0.1), (0.09, -0.3, 0.1), (0, -0.41, 0.12)):
        tree.disc(x, y, radius, LEAF_DARK)
    for x, y, radius in ((-0.09, -0.33, 0.075), (0.06, -0.33, 0.08), (-0.01, -0.44, 0.085)):
        tree.disc(x, y, radius, LEAF)
    for x, y in ((-0.1, -0.3), (0.02, -0.27), (0.1, -0.35), (-0.03, -0.43), (0.06, -0.47)):
        tree.disc(x, y, 0.018, RED)
    for x, y in ((0.08, 0.93), (0.19, 0.89), (0.54, 0.94), (0.6, 0.88), (0.7, 0.95), (0.93, 0.92)):
        _daisy(spot(draw, x, y))


def _house(at: Brush) -> None:
    at.poly(((-0.05, 0), (0.05, 0), (0.11, 0.4), (-0.11, 0.4)), (240, 222, 176))
    at.rect((0.1, -0.46, 0.16, -0.3), (178, 92, 76))
    at.rect((0.09, -0.47, 0.17, -0.445), (150, 74, 62))
    at.rect((-0.2, -0.27, 0.2, 0), (255, 241, 214))
    at.poly(((-0.25, -0.25), (0, -0.48), (0.25, -0.25)), (214, 98, 78))
    at.disc(0, -0.34, 0.036, WHITE)
    at.disc(0, -0.34, 0.025, (120, 180, 214))
    at.rect((-0.05, -0.17, 0.05, 0), (76, 128, 164), 0.01)
    at.disc(0.03, -0.08, 0.009, SUN)
    for x in (-0.165, 0.095):
        at.rect((x - 0.008, -0.18, x + 0.078, -0.088), WHITE)
        at.rect((x, -0.172, x + 0.07, -0.096), (142, 200, 228))
        at.line(((x + 0.035, -0.172), (x + 0.035, -0.096)), 0.008, WHITE)
        at.rect((x - 0.015, -0.088, x + 0.085, -0.072), (150, 94, 76))


def _daisy(at: Brush) -> None:
    for petal in range(5):
        angle = math.tau * petal / 5 - math.pi / 2
        at.disc(0.014 * math.cos(angle), 0.014 * math.sin(angle), 0.011, WHITE)
    at.disc(0, 0, 0.01, SUN)


def dry_road(draw: Draw) -> None:
    page = _ground(draw, (186, 190, 196), (188, 178, 122), 0.52)
    for x, y, scale, grey in (
        (0.16, 0.16, 1.5, 168),
        (0.5, 0.26, 1.2, 206),
        (0.84, 0.14, 1.6, 172),
    ):
        _cloud(spot(draw, x, y, scale), (grey, grey + 3, grey + 8))
    page.oval((-0.2, 0.42, 0.5, 0.7), (150, 156, 122))
    page.oval((0.5, 0.44, 1.25, 0.7), (160, 164, 126))
    page.rect((0, 0.54, 1, 1), (196, 184, 126))
    for x, y, scale in ((0.08, 0.57, 0.8), (0.2, 0.56, 0.6), (0.73, 0.56, 0.6), (0.93, 0.58, 0.9)):
        tree = spot(draw, x, y, scale)
        tree.rect((-0.012, -0.1, 0.012, 0), WOOD_DARK)
        tree.oval((-0.06, -0.26, 0.06, -0.06), (112, 130, 96))
    page.poly(((0.475, 0.54), (0.525, 0.54), (0.88, 1), (0.12, 1)), (222, 212, 170))
    page.poly(((0.48, 0.54), (0.52, 0.54), (0.82, 1), (0.18, 1)), (142, 138, 138))
    for near, far in ((0, 0.3), (0.42, 0.6), (0.69, 0.8), (0.86, 0.92)):
        low, high = 1 - 0.46 * near, 1 - 0.46 * far
        wide, thin = 0.016 * (1 - near) + 0.001, 0.016 * (1 - far) + 0.001
        dash = ((0.5 - wide, low), (0.5 + wide, low), (0.5 + thin, high), (0.5 - thin, high))
        page.poly(dash, (250, 244, 226))
    for x, y in ((0.06, 0.8), (0.15, 0.68), (0.27, 0.63), (0.72, 0.64), (0.83, 0.74), (0.95, 0.84)):
        tuft = spot(draw, x, y)
        for lean in (-0.03, 0, 0.03):
            tuft.line(((lean / 3, 0), (lean, -0.06)), 0.01, (150, 134, 74))


def person_in_shirt(draw: Draw) -> None:
    page = whole_page(draw)
    page.rect((0, 0, 1, 1), (108, 152, 156))
    at = spot(draw, 0.5, 0.62)
    at.disc(0, -0.14, 0.4, (132, 176, 176))
    hair, shirt, fold = (84, 54, 44), (244, 238, 222), (206, 198, 180)
    at.oval((-0.2, -0.47, 0.2, -0.1), hair)
    at.rect((-0.31, 0.1, 0.31, 2), shirt, 0.14)
    for side in (-1, 1):
        at.line(((side * 0.205, 0.27), (side * 0.2, 2)), 0.01, fold)
    at.poly(((-0.1, 0.1), (0.1, 0.1), (0, 0.2)), SKIN)
    at.rect((-0.065, -0.06, 0.065, 0.13), SKIN_DARK, 0.03)
    for side in (-1, 1):
        collar = ((0, 0.215), (side * 0.075, 0.07), (side * 0.125, 0.1), (side * 0.09, 0.22))
        at.poly(collar, WHITE)
        at.line((*collar[::3], collar[2]), 0.008, fold)
    at.line(((0, 0.23), (0, 2)), 0.008, fold)
    for y in (0.28, 0.36):
        at.disc(0.02, y, 0.011, fold)
    for side in (-1, 1):
        at.disc(side * 0.165, -0.18, 0.035, SKIN_DARK)
    at.rect((-0.16, -0.38, 0.16, 0), SKIN, 0.15)
    fringe = arc((0, -0.26), (0.185, 0.18), 180, 360)
    at.poly((*fringe, (0.15, -0.29), (0.06, -0.34), (-0.06, -0.29), (-0.15, -0.25)), hair)
    for side in (-1, 1):
        at.oval((side * 0.07 - 0.016, -0.2, side * 0.07 + 0.016, -0.16), INK)
        at.line(arc((side * 0.07, -0.225), (0.03, 0.014), 200, 340), 0.011, hair)
        at.disc(side * 0.105, -0.105, 0.028, (240, 140, 120, 80))
    at.line(((0, -0.16), (0.012, -0.12), (0, -0.115)), 0.01, SKIN_DARK)
    at.line(arc((0, -0.09), (0.06, 0.04), 20, 160), 0.014, (176, 84, 76))


def table_and_chair(draw: Draw) -> None:
    page = _ground(draw, (196, 222, 214), (228, 196, 158), 0.72)
    page.rect((0, 0.7, 1, 0.725), WHITE)
    window = spot(draw, 0.42, 0.27)
    window.rect((-0.17, -0.17, 0.17, 0.15), WHITE, 0.015)
    window.rect((-0.15, -0.15, 0.15, 0.13), (150, 208, 238))
    _cloud(spot(draw, 0.42, 0.27, 0.6), (226, 242, 250))
    window.rect((-0.01, -0.15, 0.01, 0.13), WHITE)
    window.rect((-0.19, 0.14, 0.19, 0.165), WHITE, 0.01)
    at = spot(draw, 0.5, 0.88)
    at.oval((-0.44, -0.06, 0.42, 0.07), (204, 120, 104))
    at.oval((-0.41, -0.05, 0.39, 0.06), (224, 146, 122))
    for x in (-0.3, 0.06):
        at.poly(((x, -0.3), (x + 0.045, -0.3), (x + 0.035, 0.01), (x + 0.01, 0.01)), WOOD)
    at.rect((-0.32, -0.33, 0.125, -0.27), WOOD)
    at.rect((-0.36, -0.37, 0.165, -0.325), WOOD_LIGHT, 0.015)
    chair, chair_dark = (70, 124, 142), (52, 98, 116)
    at.line(((0.345, -0.2), (0.35, -0.36), (0.375, -0.52)), 0.034, chair_dark)
    at.line(((0.352, -0.37), (0.375, -0.52)), 0.05, chair)
    for x, foot in ((0.16, 0.15), (0.34, 0.36)):
        at.line(((x, -0.18), (foot, 0.01)), 0.03, chair_dark)
    at.rect((0.13, -0.22, 0.365, -0.175), chair, 0.02)


def flower_bed(draw: Draw) -> None:
    page = _ground(draw, (176, 222, 240), (148, 202, 108), 0.4)
    _cloud(spot(draw, 0.2, 0.14, 0.9), WHITE)
    _cloud(spot(draw, 0.78, 0.1, 0.8), WHITE)
    width, height = draw.im.size
    columns = round(5 * width / min(width, height))
    pickets = 2 * columns + 1
    for y in (0.27, 0.37):
        page.rect((0, y, 1, y + 0.025), (238, 232, 220))
    for picket in range(pickets):
        at = spot(draw, (picket + 0.5) / pickets, 0.44)
        tip = ((-0.028, 0), (-0.028, -0.22), (0, -0.26), (0.028, -0.22), (0.028, 0))
        at.poly(tip, WHITE)
    page.rect((0.04, 0.52, 0.96, 0.95), WOOD, 0.02)
    page.rect((0.065, 0.55, 0.935, 0.91), (112, 76, 60))
    for y, colour in ((0.61, SUN), (0.75, (240, 130, 160)), (0.89, RED)):
        page.rect((0.09, y - 0.012, 0.91, y + 0.008), (90, 58, 48), 0.01)
        for column in range(columns):
            _tulip(spot(draw, 0.07 + 0.86 * (column + 0.5) / columns, y), colour)


def _tulip(at: Brush, colour: Colour) -> None:
    at.line(((0, 0), (0, -0.08)), 0.012, LEAF_DARK)
    for side in (-1, 1):
        leaf = ((0, 0), (side * 0.03, -0.025), (side * 0.042, -0.065), (side * 0.01, -0.035))
        at.poly(leaf, LEAF)
    petals = ((-0.034, -0.09), (-0.034, -0.13), (-0.016, -0.112), (0, -0.135))
    at.poly((*petals, (0.016, -0.112), (0.034, -0.13), (0.034, -0.09)), colour)
    at.oval((-0.034, -0.12, 0.034, -0.066), colour)
    at.oval((-0.021, -0.108, -0.007, -0.082), GLEAM)


def new_candle(draw: Draw) -> None:
    page = _ground(draw, (62, 72, 116), (120, 78, 72), 0.8)
    page.rect((0, 0.8, 1, 0.82), (146, 98, 86))
    at = spot(draw, 0.5, 0.88)
    for radius, alpha in ((0.44, 22), (0.31, 26), (0.19, 34)):
        at.disc(0, -0.66, radius, (255, 206, 120, alpha))
    gold, gold_dark = (232, 178, 84), (196, 138, 62)
    at.oval((-0.24, -0.03, 0.24, 0.07), SHADE)
    at.oval((-0.21, -0.06, 0.21, 0.05), gold_dark)
    at.oval((-0.21, -0.075, 0.21, 0.03), gold)
    at.line(arc((0.225, -0.04), (0.05, 0.04), -120, 150), 0.02, gold_dark)
    at.oval((-0.1, -0.055, 0.1, 0), gold_dark)
    at.rect((-0.08, -0.09, 0.08, -0.025), gold, 0.02)
    at.rect((-0.06, -0.56, 0.06, -0.09), (252, 242, 222))
    at.rect((0.025, -0.56, 0.06, -0.09), (232, 214, 186))
    at.oval((-0.06, -0.58, 0.06, -0.54), WHITE)
    at.rect((-0.08, -0.1, 0.08, -0.075), gold_dark, 0.01)
    at.line(((0, -0.56), (0.004, -0.615)), 0.012, INK)
    for scale, colour in ((1, (255, 160, 60)), (0.68, (255, 214, 100)), (0.38, (255, 246, 206))):
        _flame(at, scale, colour)
    at.line(((0, -0.57), (0.003, -0.6)), 0.01, INK)


def _flame(at: Brush, scale: float, colour: Colour) -> None:
    foot = -0.585
    belly = arc((0, foot - 0.05 * scale), (0.045 * scale, 0.05 * scale), -20, 200)
    tip = (0.006 * scale, foot - 0.17 * scale)
    at.poly(
        (*belly, (-0.03 * scale, foot - 0.1 * scale), tip, (0.034 * scale, foot - 0.1 * scale)),
        colour,
    )


def two_boxes(draw: Draw) -> None:
    page = _ground(draw, (216, 204, 230), (244, 222, 196), 0.6)
    page.rect((0, 0.57, 1, 0.605), WHITE)
    _box(spot(draw, 0.34, 0.84))
    _box(spot(draw, 0.8, 0.88, 0.42))


def _box(at: Brush) -> None:
    at.oval((-0.28, -0.035, 0.34, 0.05), SHADE)
    at.poly(((0.2, -0.4), (0.29, -0.46), (0.29, -0.05), (0.2, 0)), (176, 122, 74))
    at.poly(((-0.24, -0.4), (-0.14, -0.46), (0.29, -0.46), (0.2, -0.4)), (236, 190, 134))
    at.rect((-0.24, -0.4, 0.2, 0), (214, 162, 104))
    at.poly(((-0.06, -0.4), (0.035, -0.46), (0.115, -0.46), (0.02, -0.4)), (250, 226, 176))
    at.rect((-0.06, -0.4, 0.02, -0.28), (244, 214, 158))
    for x in (0.09, 0.145):
        at.line(((x, -0.05), (x, -0.1)), 0.014, WOOD_DARK)
        at.poly(((x - 0.025, -0.09), (x, -0.125), (x + 0.025, -0.09)), WOOD_DARK)


def book_lamp_cup(draw: Draw) -> None:
    page = _ground(draw, (120, 168, 172), WOOD, 0.8)
    page.rect((0, 0.8, 1, 0.835), WOOD_LIGHT)
    page.rect((0, 0.95, 1, 1), WOOD_DARK)
    lamp = spot(draw, 0.5, 0.85)
    glow = ((-0.1, -0.42), (0.1, -0.42), (0.3, 0), (-0.3, 0))
    lamp.poly(glow, (255, 236, 160, 90))
    for x in (0.18, 0.5, 0.82):
        spot(draw, x, 0.85).oval((-0.15, -0.025, 0.15, 0.025), SHADE)
    lamp.rect((-0.015, -0.4, 0.015, -0.02), (232, 196, 110))
    lamp.rect((-0.1, -0.04, 0.1, 0.005), (206, 164, 84), 0.02)
    lamp.poly(((-0.085, -0.63), (0.085, -0.63), (0.16, -0.38), (-0.16, -0.38)), SUN)
    lamp.rect((-0.165, -0.4, 0.165, -0.375), (244, 174, 66), 0.01)
    _book(spot(draw, 0.18, 0.85))
    _cup(spot(draw, 0.81, 0.85))


def _book(at: Brush) -> None:
    cover, spine = (206, 84, 84), (164, 58, 66)
    at.rect((-0.1, -0.36, 0.14, 0), cover, 0.015)
    at.rect((-0.05, -0.02, 0.135, -0.006), WHITE)
    at.rect((-0.14, -0.36, -0.06, 0), spine, 0.02)
    for y in (-0.32, -0.07):
        at.rect((-0.14, y, -0.06, y + 0.02), SUN)
    at.rect((-0.02, -0.29, 0.1, -0.19), WHITE, 0.01)
    for y, end in ((-0.26, 0.08), (-0.225, 0.05)):
        at.line(((0, y), (end, y)), 0.012, spine)


def _cup(at: Brush) -> None:
    cup, dark = (252, 246, 234), (222, 210, 194)
    at.line(arc((0.1, -0.1), (0.06, 0.055), -90, 90), 0.026, dark)
    at.rect((-0.12, -0.19, 0.1, -0.08), cup)
    at.poly(arc((-0.01, -0.09), (0.11, 0.09), 0, 180), cup)
    at.oval((-0.12, -0.215, 0.1, -0.165), dark)
    at.oval((-0.105, -0.205, 0.085, -0.17), (130, 84, 62))
    for x in (-0.05, 0.03):
        steam = [(x + 0.014 * math.sin(step / 2), -0.25 - 0.01 * step) for step in range(13)]
        at.line(steam, 0.013, (226, 238, 238))
