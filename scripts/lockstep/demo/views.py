"""How the places of the drawn world look, before and after what was done there."""

import math
from collections.abc import Callable

from lockstep.demo.places import Scene
from lockstep.demo.shapes import COLOURS, MOST, Shape, box, dark, mix, oval

LEAF = (0.30, 0.60, 0.30)
WATER = (0.50, 0.73, 0.90)
ICE = (0.72, 0.90, 0.98)
INK = (0.20, 0.17, 0.20)
BARK = (0.45, 0.32, 0.24)
SNOW = (0.96, 0.97, 1.0)


def shapes(scene: Scene) -> list[Shape]:
    """Return the shapes of a scene, from back to front."""
    found = _DRAWINGS[scene["category"]](scene)
    assert len(found) <= MOST, (scene["category"], scene.get("done"), len(found))
    return found


def _draw_physical(s: Scene) -> list[Shape]:
    table, wood, done, amount = s["table"], s["wood"], s.get("done"), s.get("amount", 1)
    out = [box(0.5, 0.5, 0.5, 0.5, s["wall"])]
    out.append(box(0.5, 0.96, 0.5, 0.06, dark(s["wall"], 0.8)))
    out += [box(x, 0.92, 0.03, 0.10, dark(wood)) for x in (0.1, 0.9)]
    out.append(box(0.5, table + 0.03, 0.48, 0.03, wood, corner=0.01))
    for thing, x in zip(s["things"], s["x"], strict=True):
        r = 0.075 * s["scale"]
        match thing:
            case "ball":
                fallen = done == "drop"
                low, high = table - r, s["height"]
                y = high + (low - high) * (amount if fallen else 0)
                grip = high - r
                out.append(box(x, grip / 2 - 0.06, 0.04, grip / 2, (0.35, 0.5, 0.7)))
                out.append(oval(x, y, r, r, s["ball"]))
                spread = 0.055 if fallen else 0.032
                for side in (-1.0, 0.0, 1.0):
                    turn = side * (0.9 if fallen else 0.25)
                    finger = (x + side * spread, grip + 0.01)
                    out.append(box(*finger, 0.014, 0.045, s["skin"], corner=0.012, turn=-turn))
                out.append(box(x, grip - 0.045, 0.05, 0.035, s["skin"], corner=0.03))
            case "ice":
                melted = amount if done == "melt" else 0
                if melted:
                    wide = 0.05 + 0.06 * melted
                    out.append(oval(x, table + 0.005, wide, 0.022, WATER))
                if melted < 1:
                    side = 0.07 * s["scale"] * (1 - melted * 0.6)
                    out.append(box(x, table - side, side, side, ICE, corner=0.01))
                    out.append(box(x - side / 3, table - side, side / 5, side * 0.7, (1, 1, 1)))
            case "balloon":
                free = amount if done == "cut" else 0
                y = 0.46 + (0.11 - 0.46) * free
                foot = table - 0.04
                if not free:
                    out.append(box(x, (y + foot) / 2, 0.005, (foot - y) / 2, INK))
                else:
                    out.append(box(x, y + 0.13, 0.005, 0.05, INK))
                out.append(oval(x, y, 0.08 * s["scale"], 0.095 * s["scale"], s["balloon"]))
                out.append(oval(x - 0.025, y - 0.035, 0.015, 0.022, (1, 1, 1), opacity=0.6))
                out.append(box(x, table - 0.025, 0.045, 0.025, (0.4, 0.4, 0.45), top=0.7))
            case "glass":
                tipped = amount if done == "tip" else 0
                if tipped == 1:
                    out.append(oval(x, table + 0.008, 0.115, 0.022, WATER))
                turn = tipped * math.pi / 2
                y = table - 0.09 + 0.045 * tipped
                out.append(box(x, y, 0.05, 0.09, (0.88, 0.95, 0.98), top=1.15, turn=turn))
                if tipped < 1:
                    lean = 0.03 * math.sin(turn)
                    fill = (x - lean, y + 0.025)
                    out.append(box(*fill, 0.042, 0.055, (0.35, 0.6, 0.85), turn=turn))
    return out


def _draw_environmental(s: Scene) -> list[Shape]:
    done, amount, scale, horizon = s.get("done"), s.get("amount", 1), s["scale"], s["horizon"]
    whole = amount == 1
    snow, rain, night, autumn = (done == k for k in ("snow", "rain", "night", "autumn"))
    sky, ground, roof = s["sky"], s["ground"], s["roof"]
    crown = LEAF
    road = (0.62, 0.60, 0.58)
    if snow and whole:
        sky, ground, roof, crown = (0.80, 0.84, 0.90), SNOW, SNOW, mix(LEAF, SNOW, 0.75)
    if rain:
        sky = mix(sky, (0.52, 0.56, 0.62), amount)
        road = dark(road, 0.75) if whole else road
    if autumn:
        crown = mix(LEAF, (0.90, 0.50, 0.15), amount)
    out = [box(0.5, 0.5, 0.5, 0.5, sky)]
    if not (snow or rain) or not whole:
        out.append(oval(s["sun"], 0.14, 0.07, 0.07, (1.0, 0.85, 0.35)))
    cloud = (0.66, 0.69, 0.74) if rain and whole else (0.98, 0.98, 1.0)
    out += [oval(x, y, 0.11, 0.04, cloud) for x, y in s["clouds"]]
    out.append(box(0.5, (1 + horizon) / 2, 0.5, (1 - horizon) / 2, ground))
    out.append(box(0.5, (1.02 + horizon + 0.18) / 2, 0.40, 0.11, road, top=0.6))
    for thing, x in zip(s["things"], s["x"], strict=True):
        foot = horizon + 0.12
        if thing == "house":
            wide, high = 0.15 * scale, 0.13 * scale
            out.append(box(x, foot - high, wide, high, s["house"]))
            out.append(box(x, foot - 2 * high - 0.07, wide * 1.2, 0.075, roof, top=0.15))
            out.append(box(x, foot - 0.06, 0.03, 0.06, (0.45, 0.30, 0.25)))
        else:
            out.append(box(x, foot - 0.10, 0.025, 0.11, BARK))
            out.append(oval(x, foot - 0.27 * scale - 0.03, 0.12 * scale, 0.14 * scale, crown))
    if autumn and whole:
        for gx, gy in s["grain"][:8]:
            y = horizon + 0.10 + 0.12 * gy
            x = s["x"][s["things"].index("tree")] + 0.36 * (gx - 0.5)
            out.append(oval(x, y, 0.02, 0.012, (0.88, 0.50, 0.15)))
    if rain and whole:
        out += [oval(x, 0.93, 0.09, 0.02, WATER) for x in (0.35, 0.64)]
    if night:
        out.append(box(0.5, 0.5, 0.5, 0.5, (0.04, 0.06, 0.22), opacity=0.72 if whole else 0.36))
        if whole:
            out.append(oval(s["sun"], 0.14, 0.07, 0.07, (0.95, 0.95, 0.88)))
            out.append(oval(s["sun"] + 0.035, 0.125, 0.06, 0.06, mix(sky, (0.04, 0.06, 0.22), 0.8)))
    x = s["x"][s["things"].index("house")]
    pane = (1.0, 0.88, 0.40) if night and whole else (0.55, 0.74, 0.86)
    pane = mix(pane, (0.04, 0.06, 0.22), 0.4) if night and not whole else pane
    out += [box(x + d, horizon + 0.12 - 0.18 * scale, 0.03, 0.03, pane) for d in (-0.08, 0.08)]
    if snow:
        out += [oval(gx, gy, 0.016, 0.016, (1, 1, 1)) for gx, gy in s["grain"]]
    if rain:
        for gx, gy in s["grain"]:
            out.append(box(gx, gy, 0.005, 0.045, (0.80, 0.88, 0.97), turn=0.25))
    return out


def _draw_social(s: Scene) -> list[Shape]:
    done, amount = s.get("done"), s.get("amount", 1)
    whole = amount == 1
    out = [box(0.5, 0.5, 0.5, 0.5, s["wall"]), box(0.5, 0.94, 0.5, 0.06, dark(s["wall"], 0.8))]
    x = (0.26 if s["side"] == 0 else 0.74) + s["shift"]
    y = s["tall"]
    shirt = s["shirt"]
    if done == "wedding":
        shirt = mix(shirt, (0.13, 0.14, 0.19), amount if whole else 0.5)
    out.append(oval(x, y - 0.03, 0.125, 0.14, s["hair"]))
    out.append(box(x, y + 0.42, 0.17, 0.27, shirt, top=0.85, corner=0.05))
    out.append(box(x, y + 0.14, 0.04, 0.06, dark(s["skin"], 0.88)))
    out.append(oval(x, y, 0.10, 0.125, s["skin"]))
    out += [oval(x + d, y - 0.01, 0.013, 0.018, INK) for d in (-0.04, 0.04)]
    out.append(oval(x, y + 0.06, 0.035, 0.01, (0.75, 0.35, 0.33)))
    out.append(box(x, y - 0.115, 0.105, 0.03, s["hair"], corner=0.03))
    if done == "wedding" and whole:
        out.append(box(x, y + 0.26, 0.055, 0.07, (0.97, 0.97, 0.97), top=1.4))
        out += [box(x + d, y + 0.22, 0.022, 0.022, (0.80, 0.15, 0.2)) for d in (-0.02, 0.02)]
        out.append(oval(x + 0.10, y + 0.27, 0.024, 0.024, (0.98, 0.98, 0.98)))
    if done == "work":
        vest = (1.0, 0.50, 0.10)
        if whole:
            out += [box(x + d, y + 0.42, 0.055, 0.25, vest) for d in (-0.09, 0.09)]
            out.append(box(x, y + 0.45, 0.145, 0.02, (0.95, 0.95, 0.80)))
        out.append(oval(x, y - 0.12, 0.125, 0.075, (1.0, 0.82, 0.15)))
        out.append(box(x, y - 0.085, 0.145, 0.014, (0.93, 0.74, 0.12), corner=0.01))
    if done == "birthday":
        out.append(box(x, y - 0.20, 0.085, 0.10, (0.92, 0.30, 0.55), top=0.08))
        if whole:
            out.append(oval(x, y - 0.305, 0.025, 0.025, (1.0, 0.85, 0.3)))
    middle = 0.68 if s["side"] == 0 else 0.32
    table = s["table"]
    out.append(box(middle, table + 0.02, 0.26, 0.022, s["wood"], corner=0.01))
    out += [box(middle + d, table + 0.16, 0.02, 0.13, dark(s["wood"])) for d in (-0.2, 0.2)]
    if done == "birthday" and whole:
        out.append(box(middle, table - 0.04, 0.065, 0.04, (0.98, 0.85, 0.88), corner=0.01))
        out.append(box(middle, table - 0.105, 0.009, 0.028, (0.4, 0.6, 0.95)))
        out.append(oval(middle, table - 0.145, 0.011, 0.018, (1.0, 0.75, 0.2)))
    ends = (-0.15, 0.15) if s["end"] == 0 else (0.15, -0.15)
    for number, d in enumerate(ends):
        if number and done != "guest":
            continue
        out.append(oval(middle + d, table - 0.002, 0.075, 0.018, s["plate"]))
        if number == 0 or whole:
            inner = 1 if d < 0 else -1
            out.append(box(middle + d - inner * 0.08, table - 0.035, 0.028, 0.035, s["cup"]))
    return out


def _draw_causal(s: Scene) -> list[Shape]:
    done, amount, shelf = s.get("done"), s.get("amount", 1), s["shelf"]
    whole = amount == 1
    out = [box(0.5, 0.5, 0.5, 0.5, s["wall"]), box(0.5, 0.85, 0.5, 0.15, s["floor"])]
    out.append(box(0.5, shelf + 0.02, 0.42, 0.02, s["wood"]))
    out += [box(x, shelf + 0.14, 0.02, 0.11, dark(s["wood"])) for x in (0.14, 0.86)]
    for thing, x in zip(s["things"], s["x"], strict=True):
        match thing:
            case "candle":
                burnt = amount if done == "burn" else 0
                high = 0.13 * s["scale"] * (1 - 0.75 * burnt)
                if burnt == 1:
                    out.append(oval(x, shelf - 0.004, 0.075, 0.018, (0.97, 0.93, 0.80)))
                out.append(box(x, shelf - high, 0.035, high, (0.98, 0.94, 0.82), corner=0.008))
                out.append(oval(x, shelf - 2 * high - 0.04, 0.016, 0.034, (1.0, 0.62, 0.15)))
            case "vase":
                fallen = done == "fall"
                gone = fallen and whole
                if fallen and not whole:
                    turn, y = 1.2, shelf - 0.05
                else:
                    turn, y = 0.0, shelf - 0.08
                if not gone:
                    top = y - 0.13 if turn == 0 else y - 0.03
                    tip = x if turn == 0 else x + 0.13
                    out.append(box((x + tip) / 2, (y + top) / 2, 0.007, 0.08, LEAF, turn=turn))
                    out.append(oval(tip, top, 0.03, 0.03, (0.95, 0.55, 0.70)))
                    out.append(box(x, y, 0.05, 0.08, s["vase"], top=0.6, corner=0.01, turn=turn))
                else:
                    out.append(oval(x, 0.765, 0.12, 0.022, WATER))
                    for d, turn in ((-0.07, 0.4), (0.0, -0.5), (0.07, 1.1)):
                        out.append(box(x + d, 0.745, 0.03, 0.025, s["vase"], top=0.1, turn=turn))
                    out.append(oval(x + 0.12, 0.75, 0.024, 0.024, (0.95, 0.55, 0.70)))
            case "apple":
                eaten = done == "eat"
                r = 0.065 * s["scale"]
                y = shelf - r
                out.append(box(x, y - r - 0.015, 0.006, 0.022, BARK))
                if eaten and whole:
                    out.append(box(x, y, 0.018, r * 0.85, (0.97, 0.93, 0.76)))
                    out += [box(x, y + d, 0.04, 0.014, s["apple"], corner=0.01) for d in (-r, r)]
                else:
                    out.append(oval(x, y, r, r, s["apple"]))
                    if eaten:
                        out.append(oval(x + r * 0.9, y, r * 0.6, r * 0.7, s["wall"]))
    trampled = done == "dog"
    for number, (x, petal, lean) in enumerate(zip(s["beds"], s["petals"], s["lean"], strict=True)):
        down = trampled and (whole or number < 2)
        if down:
            out.append(box(x, 0.945, 0.008, 0.06, dark(LEAF), turn=1.45 * lean))
            out.append(oval(x + 0.06 * lean, 0.95, 0.035, 0.018, dark(petal, 0.85)))
        else:
            out.append(box(x, 0.91, 0.008, 0.065, LEAF))
            out.append(oval(x, 0.84, 0.036, 0.036, petal))
            out.append(oval(x, 0.84, 0.013, 0.013, (1.0, 0.92, 0.6)))
    if trampled and whole:
        for x, y in ((0.23, 0.86), (0.41, 0.84), (0.59, 0.86), (0.77, 0.84)):
            out.append(oval(x, y, 0.022, 0.016, (0.40, 0.30, 0.22)))
    return out


def _draw_referential(s: Scene) -> list[Shape]:
    done, amount, things = s.get("done", ""), s.get("amount", 1), s["things"]
    lamp = things.index("lamp")
    target = {
        "paint_small": "small",
        "paint_big": "big",
        "paint_ball": "ball",
        "remove_left": things[lamp - 1],
        "remove_right": things[lamp + 1] if lamp < 3 else None,
    }.get(done)
    out = [box(0.5, 0.5, 0.5, 0.5, s["wall"])]
    out.append(box(0.5, (1 + s["horizon"]) / 2, 0.5, (1 - s["horizon"]) / 2, s["floor"]))
    for thing, x, foot, name in zip(things, s["x"], s["foot"], s["colours"], strict=True):
        colour, opacity = COLOURS[name], 1.0
        if thing == target:
            if done.startswith("paint"):
                colour = mix(colour, COLOURS[s["colour"]], amount)
            elif amount == 1:
                continue
            else:
                opacity = 1 - amount
        half = {"small": 0.055, "big": 0.105, "ball": 0.08, "lamp": 0}[thing] * s["scale"]
        if thing == "lamp":
            out.append(box(x, foot - 0.02, 0.06, 0.02, INK, corner=0.01))
            out.append(box(x, foot - 0.20, 0.010, 0.19, INK))
            out.append(box(x, foot - 0.40, 0.085, 0.07, (1.0, 0.90, 0.60), top=0.5))
        elif thing == "ball":
            out.append(oval(x, foot - half, half, half, colour, opacity=opacity))
            gleam = (x - half / 3, foot - half * 1.4, half / 5, half / 5, (1, 1, 1))
            out.append(oval(*gleam, opacity=0.5 * opacity))
        else:
            out.append(box(x, foot - half, half, half, colour, opacity=opacity))
            lid = (x, foot - 2 * half + 0.012, half, 0.012, dark(colour))
            out.append(box(*lid, opacity=opacity))
    return out


_DRAWINGS: dict[str, Callable[[Scene], list[Shape]]] = {
    "physical": _draw_physical,
    "environmental": _draw_environmental,
    "social": _draw_social,
    "causal": _draw_causal,
    "referential": _draw_referential,
}
