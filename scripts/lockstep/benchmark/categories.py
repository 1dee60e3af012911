"""Categories of the benchmarks: their names in paths, targets and tables, and in the files."""

from collections.abc import Mapping
from typing import NamedTuple

from lockstep.errors import ConfigError, suggest


class Category(NamedTuple):
    key: str
    """Name in paths, targets and tables."""
    chinese: str = ""
    """Name in Chinese benchmarks; a target too."""
    aliases: tuple[str, ...] = ()
    """Other subset names that published benchmarks use for it."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names that it can be asked for by."""
        return tuple(name for name in (self.key, self.chinese) if name)

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called; the key first."""
        return (*self.targets, *self.aliases)


Categories = Mapping[str, Category]
"""Category by key."""


def _listed(*categories: Category | str) -> Categories:
    known = [c if isinstance(c, Category) else Category(c) for c in categories]
    return {category.key: category for category in known}


CATEGORIES = _listed(
    Category("physical", "物理"),
    Category("environmental", "环境"),
    Category("social", "社会", ("cultural",)),
    Category("causal", "因果"),
    Category("referential", "指代"),
)
"""The five reasoning categories of the RE-Edit style."""

GEDIT = _listed(
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
)

IMGEDIT = _listed(
    "add",
    Category("adjust", aliases=("alter",)),
    "extract",
    "replace",
    "remove",
    "background",
    "style",
    "compose",
    "action",
)

KRIS = _listed(
    "count_change",
    "color_change",
    "size_adjustment",
    "part_completion",
    "anomaly_correction",
    "position_movement",
    "viewpoint_change",
    "temporal_prediction",
    "practical_knowledge",
    "humanities",
    "biology",
    "chemistry",
    "geography",
    "mathematics",
    "medicine",
    "physics",
    "abstract_reasoning",
    "rule-based_reasoning",
    "multi-instruction_execution",
    "multi-element_composition",
)

RISE = _listed(
    "temporal_reasoning",
    "causal_reasoning",
    "spatial_reasoning",
    "logical_reasoning",
)

BY_FORMAT: Mapping[str, Categories | None] = {
    "re-edit": CATEGORIES,
    "gedit": GEDIT,
    "imgedit": IMGEDIT,
    "kris": KRIS,
    "rise": RISE,
    "uniredit": None,
    "table": None,
}
"""Categories of each format; None where they are each file's own, and the configuration names them.

The workflow's jobs follow from the configuration alone, so it must know the categories without
reading a benchmark of gigabytes.
"""


def categories_of(form: str, keys: tuple[str, ...]) -> Categories:
    """Return the configured categories of a format, in the configured order.

    Args:
        form: name of the format.
        keys: keys of the categories.
    """
    known = BY_FORMAT[form]
    return {key: Category(key) if known is None else known[key] for key in keys}


def find_key(name: str, known: Categories = CATEGORIES) -> str | None:
    """Return the key of a category given by key, Chinese name or subset name; None of another."""
    return next((category.key for category in known.values() if name in category.names), None)


def category_key(name: str, known: Categories = CATEGORIES) -> str:
    """Return the key of a category as `find_key` does.

    Raises:
        ConfigError: if no category has that name.
    """
    if (key := find_key(name, known)) is not None:
        return key
    names = [other for category in known.values() for other in category.names]
    listed = ", ".join(f"{c.key} ({c.chinese})" if c.chinese else c.key for c in known.values())
    name = name[:60]
    raise ConfigError(f"found category {name!r}{suggest(name, names)}; expected one of {listed}")


def known_key(category: str) -> str:
    """Return the key of one of the workflow's own categories, or else the name itself."""
    return find_key(category) or category


RESERVED = frozenset(
    {"all", "edit", "logs", "manifest", "prepare", "report", "score"}
    | {"tabulate", "tiny", "tiny_models", "agreement", "anchor_set", "anchors", "bundle", "compare"}
    | {"import", "rejected", "protocol", "overall", "rewrite", "rewrites", "judge.spent"}
    | {"arena", "choose_pairs", "pairs", "judges", "rating", "report-partial"}
)
"""Names of targets, rules, folders and files, which no editor and no category can take."""
