"""The words of the drawn scenes' instructions, in English and Chinese (wordings.yaml)."""

import random
from pathlib import Path
from typing import Any

from lockstep.errors import LockstepError
from lockstep.foreign.yaml_files import read_yaml

_WORLD: Any = read_yaml(Path(__file__).with_suffix(".yaml"), LockstepError)

_KINDS: dict[str, Any] = {
    kind: own for each in _WORLD["categories"].values() for kind, own in each["kinds"].items()
}

KINDS: dict[str, tuple[str, ...]] = {
    category: tuple(each["kinds"]) for category, each in _WORLD["categories"].items()
}
"""Instructions of each category."""

OWN: dict[str, str] = {category: each["own"] for category, each in _WORLD["categories"].items()}
"""The criterion that a category has for itself."""

EFFECTS: dict[str, str] = {kind: own["effect"] for kind, own in _KINDS.items()}
"""What a right edit shows, as a judge says it."""

ENGLISH: dict[str, tuple[str, ...]] = {kind: tuple(own["english"]) for kind, own in _KINDS.items()}
"""Wordings; the last of each is held out: no model is trained on it."""

CHINESE: dict[str, tuple[str, ...]] = {kind: tuple(own["chinese"]) for kind, own in _KINDS.items()}

COLOURS_CHINESE: dict[str, str] = _WORLD["colours"]


def instruction(
    kind: str, detail: dict[str, str], rng: random.Random, *, chinese: bool, held_out: bool
) -> str:
    """Return an instruction in one of its wordings.

    Args:
        held_out: take the wording that no model was trained on.
    """
    wordings = (CHINESE if chinese else ENGLISH)[kind]
    wording = wordings[-1] if held_out else rng.choice(wordings[:-1])
    if chinese:
        detail = {name: COLOURS_CHINESE[value] for name, value in detail.items()}
    return wording.format(**detail) + ("。" if chinese else ".")
