"""The five reasoning categories, their Chinese names and the subsets that belong to them."""

from typing import NamedTuple

from lockstep.errors import ConfigError, suggest


class Category(NamedTuple):
    key: str
    """Name in paths, targets and tables."""
    chinese: str
    """Name in Chinese benchmarks; a target too."""
    aliases: tuple[str, ...] = ()
    """Other subset names that published benchmarks use for it."""


CATEGORIES = {
    category.key: category
    for category in (
        Category("physical", "物理"),
        Category("environmental", "环境"),
        Category("social", "社会", ("cultural",)),
        Category("causal", "因果"),
        Category("referential", "指代"),
    )
}

_KEYS = {
    name: category.key
    for category in CATEGORIES.values()
    for name in (category.key, category.chinese, *category.aliases)
}


def category_key(name: str) -> str:
    """Return the key of a category given by key, Chinese name or subset name.

    Raises:
        ConfigError: if no category has that name.
    """
    try:
        return _KEYS[name]
    except KeyError:
        accepted = ", ".join(f"{c.key} ({c.chinese})" for c in CATEGORIES.values())
        raise ConfigError(
            f"found category {name!r}{suggest(name, _KEYS)}, accepted are {accepted}"
        ) from None
