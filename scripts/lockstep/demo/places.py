"""The places of the drawn world, one for each category, and what stands there by chance."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from lockstep.demo.shapes import COLOURS, HAIRS, PASTELS, SKINS, WOODS

Scene = dict[str, Any]
"""A few named numbers and colours, and then what was done to it."""


def _shifted(value: float, rng: random.Random, width: float) -> float:
    return value + rng.uniform(-width, width)


def _order(rng: random.Random, names: Sequence[str]) -> list[str]:
    return rng.sample(list(names), len(names))


# physical: a hand with a ball, ice, a balloon on a string and a glass, over a table


def _physical(rng: random.Random) -> Scene:
    return {
        "category": "physical",
        "wall": rng.choice(PASTELS),
        "wood": rng.choice(WOODS),
        "table": rng.uniform(0.72, 0.80),
        "things": _order(rng, ("ball", "ice", "balloon", "glass")),
        "x": [_shifted(0.14 + 0.24 * place, rng, 0.015) for place in range(4)],
        "ball": COLOURS[rng.choice(("red", "green", "blue", "yellow", "purple"))],
        "balloon": COLOURS[rng.choice(("red", "green", "blue", "yellow", "purple"))],
        "skin": rng.choice(SKINS),
        "height": rng.uniform(0.30, 0.42),
        "scale": rng.uniform(0.9, 1.1),
    }


# environmental: a house, a tree, a road, the sun


def _environmental(rng: random.Random) -> Scene:
    things = _order(rng, ("house", "tree"))
    return {
        "category": "environmental",
        "sky": rng.choice(((0.58, 0.80, 0.95), (0.70, 0.88, 0.98), (0.50, 0.74, 0.92))),
        "ground": rng.choice(((0.55, 0.76, 0.40), (0.62, 0.80, 0.48), (0.48, 0.68, 0.38))),
        "house": rng.choice(((0.98, 0.93, 0.82), (0.92, 0.78, 0.66), (0.80, 0.86, 0.92))),
        "roof": rng.choice(((0.78, 0.36, 0.30), (0.45, 0.36, 0.42), (0.30, 0.45, 0.60))),
        "horizon": rng.uniform(0.55, 0.65),
        "things": things,
        "x": [rng.uniform(0.24, 0.34), rng.uniform(0.68, 0.78)],
        "sun": rng.uniform(0.42, 0.58),
        "scale": rng.uniform(0.85, 1.1),
        "clouds": [(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2)) for _ in range(2)],
        "grain": [(rng.random(), rng.random()) for _ in range(16)],
    }


# social: a person, and a table with a place set for one


def _social(rng: random.Random) -> Scene:
    return {
        "category": "social",
        "wall": rng.choice(PASTELS),
        "wood": rng.choice(WOODS),
        "side": rng.choice((0, 1)),
        "end": rng.choice((0, 1)),
        "skin": rng.choice(SKINS),
        "hair": rng.choice(HAIRS),
        "shirt": COLOURS[rng.choice(("red", "green", "blue", "purple", "yellow"))],
        "plate": rng.choice(((0.98, 0.98, 1.0), (0.80, 0.90, 0.98), (0.98, 0.88, 0.82))),
        "cup": COLOURS[rng.choice(("red", "green", "blue", "yellow"))],
        "table": rng.uniform(0.66, 0.74),
        "tall": rng.uniform(0.34, 0.40),
        "shift": rng.uniform(-0.02, 0.02),
    }


# causal: a terrace with a candle, a vase and an apple on a shelf, and flowers in front


def _causal(rng: random.Random) -> Scene:
    return {
        "category": "causal",
        "wall": rng.choice(PASTELS),
        "floor": rng.choice(((0.62, 0.80, 0.50), (0.70, 0.84, 0.58), (0.56, 0.74, 0.46))),
        "wood": rng.choice(WOODS),
        "shelf": rng.uniform(0.44, 0.50),
        "things": _order(rng, ("candle", "vase", "apple")),
        "x": [_shifted(0.2 + 0.3 * place, rng, 0.03) for place in range(3)],
        "vase": COLOURS[rng.choice(("blue", "purple", "green", "red"))],
        "apple": rng.choice(((0.85, 0.20, 0.18), (0.55, 0.75, 0.25))),
        "petals": [COLOURS[rng.choice(("red", "yellow", "purple", "blue"))] for _ in range(5)],
        "beds": [_shifted(0.14 + 0.18 * place, rng, 0.02) for place in range(5)],
        "scale": rng.uniform(0.9, 1.1),
        "lean": [rng.choice((-1, 1)) for _ in range(5)],
    }


# referential: two boxes, a ball and a lamp


def _referential(rng: random.Random) -> Scene:
    things = _order(rng, ("small", "big", "ball"))
    things.insert(rng.choice((1, 2)), "lamp")
    return {
        "category": "referential",
        "wall": rng.choice(PASTELS),
        "floor": rng.choice(WOODS),
        "things": things,
        "colours": rng.sample(list(COLOURS), 4),
        "x": [_shifted(0.14 + 0.24 * place, rng, 0.02) for place in range(4)],
        "horizon": rng.uniform(0.62, 0.70),
        "foot": [rng.uniform(0.80, 0.90) for _ in range(4)],
        "scale": rng.uniform(0.92, 1.05),
    }


SCENES: dict[str, Callable[[random.Random], Scene]] = {
    "physical": _physical,
    "environmental": _environmental,
    "social": _social,
    "causal": _causal,
    "referential": _referential,
}
