"""What of an editor decides a sample's pixels."""

from typing import Any

from lockstep.editors.settings import EditorSettings
from lockstep.records import Sample

SEMANTICS = 2
"""Raised by hand when code changes the pixels that the same settings give."""


def identity(settings: EditorSettings, sample: Sample) -> dict[str, Any]:
    """Return everything of an editor that decides a sample's pixels, for the edit key."""
    common = {"type": settings.type, "semantics": SEMANTICS, "size_policy": settings.size}
    if settings.size != "native":
        common["resize_filter"] = settings.resize_filter
    return {**common, **settings.identity(sample), **settings.plugin()}
