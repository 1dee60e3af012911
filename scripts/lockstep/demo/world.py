"""The drawn world: scenes, instructions, and what a right edit of each shows.

An instruction maps a scene to the scene after it, so the right edit, and edits that are wrong in a
known way, are drawn by the same program.
"""

import copy
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from lockstep.demo import wordings
from lockstep.demo.places import SCENES, Scene
from lockstep.demo.shapes import COLOURS

CATEGORIES = tuple(wordings.KINDS)


class Task(NamedTuple):
    """A scene with an instruction."""

    category: str
    kind: str
    """What is asked for, such as `melt`."""
    detail: dict[str, str]
    """What fills the gaps of its wording, such as the colour."""
    scene: Scene


class Outcome(NamedTuple):
    """An edit whose worth is known."""

    name: str
    """One of `OUTCOMES`."""
    scene: Scene
    seen: str
    """What happened, as a judge says it."""
    criteria: tuple[int, int, int, int]
    """Right values: instruction, the category's own criterion, preservation, quality; 0 to 10."""
    damage: float = 0.0
    """Strength of the damage to its pixels, 0 to 1; 2 wrecks the picture."""


def make_task(category: str, rng: random.Random, kind: str | None = None) -> Task:
    """Draw a scene and an instruction at random.

    Args:
        kind: the instruction; None takes any of the category's.
    """
    scene = SCENES[category](rng)
    kind = kind or rng.choice(wordings.KINDS[category])
    return Task(category, kind, _detail(scene, kind, rng), scene)


def other_tasks(task: Task, rng: random.Random) -> list[Task]:
    """Return the same scene with the category's other instructions."""
    kinds = [kind for kind in wordings.KINDS[task.category] if kind != task.kind]
    return [Task(task.category, kind, _detail(task.scene, kind, rng), task.scene) for kind in kinds]


def right(task: Task, amount: float = 1.0) -> Scene:
    """Return the scene after the instruction.

    Args:
        amount: how much of it was done, 0 to 1.
    """
    scene = copy.deepcopy(task.scene)
    scene["done"] = task.kind
    scene["amount"] = amount
    scene["colour"] = task.detail.get("colour")
    return scene


def said(task: Task) -> str:
    """Return what happens in a right edit, as a judge says it."""
    return wordings.EFFECTS[task.kind].format(**task.detail)


OUTCOMES = ("right", "untouched", "other", "half", "extra", "damaged", "worn", "wrecked")


def outcome(task: Task, name: str, rng: random.Random) -> Outcome:
    """Return an edit that is right, or wrong in a known way."""
    done = said(task)
    match name:
        case "right":
            return Outcome(name, right(task), done, (10, 10, 10, 10))
        case "untouched":
            return Outcome(name, task.scene, "nothing", (0, 0, 10, 10))
        case "other":
            other = rng.choice(other_tasks(task, rng))
            return Outcome(name, right(other), said(other), (0, 0, 5, 10))
        case "half":
            return Outcome(name, right(task, 0.5), f"half of it, {done}", (5, 5, 10, 10))
        case "extra":
            scene = _altered(right(task), rng)
            return Outcome(name, scene, done, (10, 10, 3, 10))
        case "damaged":
            return Outcome(name, right(task), done, (8, 8, 4, 1), damage=1.0)
        case "worn":
            return Outcome(name, right(task), done, (10, 10, 8, 5), damage=0.5)
        case "wrecked":
            return Outcome(name, right(task), "nothing", (0, 0, 0, 0), damage=2.0)
    raise ValueError(f"expected one of {OUTCOMES}, found {name!r}")


def worth(criteria: Sequence[int]) -> float:
    """Return the score of criteria, 0 to 10, as the miniature's rubrics combine them."""
    following = criteria[0]
    mean = sum(w * value for w, value in zip((3, 4, 2, 1), criteria, strict=True)) / 10
    return min(mean, 1 if following < 3 else 3 if following < 5 else 10)


def _detail(scene: Scene, kind: str, rng: random.Random) -> dict[str, str]:
    if not kind.startswith("paint"):
        return {}
    thing = {"paint_small": "small", "paint_big": "big", "paint_ball": "ball"}[kind]
    used = scene["colours"][scene["things"].index(thing)]
    return {"colour": rng.choice([name for name in COLOURS if name != used])}


def _altered(scene: Scene, rng: random.Random) -> Scene:
    """Change something that no instruction asked for."""
    kinds = [name for name in ("wall", "floor", "house") if name in scene]
    where = rng.choice(kinds)
    tints = [(0.95, 0.55, 0.55), (0.55, 0.75, 0.95), (0.60, 0.85, 0.60), (0.80, 0.62, 0.92)]
    scene[where] = max(rng.sample(tints, 2), key=lambda tint: math.dist(tint, scene[where]))
    return scene
