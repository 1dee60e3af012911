"""What the numbers of a report are of, and what they are on."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import pandas as pd

from lockstep.config.report import ReportSettings

Frames = Mapping[str, Mapping[str, pd.DataFrame]]
"""Editor → category → table."""

Scale = tuple[float, float]

COLOURS = ("#3b82f6", "#e0752d", "#12a594", "#c653a1", "#8e6fe0", "#a08a1f", "#d64b5c", "#7c8594")
"""Of editors, in the configured order: mid tones that stand out on light and dark pages."""

Headlines = Mapping[str, Mapping[str, pd.Series]]
"""Editor → category → the number of each row of the table that editors are ranked by."""


class Terms(NamedTuple):
    """What the numbers of one report have in common."""

    settings: ReportSettings
    scale: Scale
    """Of all categories, or what is usual where they differ."""
    scales: Mapping[str, Scale]
    """Of each category where they differ, else empty."""
    headline: Mapping[str, Any]
    """As in `schema.Headline`."""

    def of(self, category: str) -> Scale:
        return self.scales.get(category, self.scale)

    def headline_of(self, category: str) -> Scale:
        """Return the scale of a category's headline numbers."""
        if self.headline["protocol"] is not None:
            return cast(Scale, self.headline["scale"])
        return self.of(category)


class Chart(NamedTuple):
    """A drawing and the numbers in it."""

    name: str
    """Of its CSV, without suffix."""
    svg: str
    rows: list[dict[str, Any]]
    """One dict for each row of the CSV; all have the same keys."""
    narrow_svg: str = ""
    """The same drawing for a phone, where it is another one."""


def colour(number: int) -> str:
    """Return the colour of the editor with this number, from 0."""
    return COLOURS[number % len(COLOURS)]
