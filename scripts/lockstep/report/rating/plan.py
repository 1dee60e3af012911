"""Who rates what, and in which order: pure functions, the same for the same seed."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from lockstep.config.rating import RatingSettings
from lockstep.errors import ConfigError
from lockstep.figures import design

T = TypeVar("T")

Key = tuple[str, str]
"""Category and id of a sample."""


class Item(NamedTuple):
    """What is rated at a time."""

    category: str
    id: str
    editors: tuple[str, ...]
    """One, or the two of a pair in the order in which they are shown."""


def choose(present: Mapping[Key, Collection[str]], settings: RatingSettings) -> list[Item]:
    """Choose what is rated: categories in turn, and of each sample all editors' edits.

    Pairs are those that tell most of the editors' strengths; the first ones connect all editors.

    Args:
        present: the editors that have an edit, by sample.

    Raises:
        ConfigError: if there is nothing to rate.
    """
    random = Random(f"{settings.seed}/items")
    if settings.mode == "pairs":
        items = _pairs(present, settings.items, random)
    else:
        items = [
            Item(*sample, (editor,))
            for sample in _in_turn(_mixed(present, random), lambda sample: sample[0])
            for editor in _mixed(sorted(present[sample]), random)
        ]
    if not items:
        few = "two edits of a sample" if settings.mode == "pairs" else "a finished edit"
        raise ConfigError(f"rating.mode: {settings.mode}: expected {few}, found none")
    return items[: settings.items]


def _pairs(present: Mapping[Key, Collection[str]], most: int | None, random: Random) -> list[Item]:
    samples = {f"{category}/{id}": own for (category, id), own in present.items()}
    editors = sorted({editor for own in present.values() for editor in own})
    every = sum(math.comb(len(own), 2) for own in present.values())
    budget = every if most is None else min(most, every)
    chosen = design.choose(samples, editors, [], budget) if every else []
    keys = dict(zip(samples, present, strict=True))
    return [
        Item(*keys[pair.sample], tuple(_mixed((pair.one, pair.other), random))) for pair in chosen
    ]


class Deal(NamedTuple):
    """What each rater gets."""

    orders: dict[str, list[Item]]
    """Rater → items, in the order in which they are shown."""
    shared: list[Item]
    """Items that every rater gets."""


def deal(items: Sequence[Item], settings: RatingSettings) -> Deal:
    """Give every rater the shared items, and each other item to one of them.

    Editors are in turn among both, and raters take turns in a random order, so that each rater
    sees about as much of every editor.
    """
    random = Random(f"{settings.seed}/raters")
    mixed = _in_turn(_mixed(items, random), lambda item: item.editors)
    # 0.1 × 30 is a little more than 3
    count = math.ceil(round(settings.overlap * len(mixed), 6))
    shared, rest = mixed[:count], mixed[count:]
    orders = {rater: list(shared) for rater in settings.names}
    for start in range(0, len(rest), len(orders)):
        some = rest[start : start + len(orders)]
        for item, rater in zip(some, _mixed(orders, random), strict=False):
            orders[rater].append(item)
    return Deal(
        {r: _mixed(own, Random(f"{settings.seed}/order/{r}")) for r, own in orders.items()}, shared
    )


def _mixed(values: Collection[T], random: Random) -> list[T]:
    return random.sample(list(values), len(values))


def _in_turn(values: Sequence[T], kind: Callable[[T], object]) -> list[T]:
    """Return values with their kinds in turn, each kind's in the given order."""
    seen: dict[object, int] = {}
    turns = []
    for value in values:
        turns.append(seen.setdefault(kind(value), 0))
        seen[kind(value)] += 1
    order = sorted(range(len(turns)), key=turns.__getitem__)
    return [values[place] for place in order]
