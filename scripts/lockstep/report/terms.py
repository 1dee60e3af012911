"""What the numbers of a report are of, and what they are on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from lockstep.config.report import ReportSettings

Frames = Mapping[str, Mapping[str, pd.DataFrame]]
"""Editor → category → table."""

Scale = tuple[float, float]

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
