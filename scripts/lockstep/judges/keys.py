"""What of a judge decides its replies."""

from typing import Any

from lockstep.judges.settings import JudgeSettings

SEMANTICS = 4
"""Raised by hand when code changes the replies that the same settings give."""


def identity(settings: JudgeSettings) -> dict[str, Any]:
    """Return everything of a judge that decides its replies, for the score key.

    The size of a batch is not part of it, nor is what belongs to one judgement (its seed).
    """
    common = {"type": settings.type, "semantics": SEMANTICS}
    return {**common, **settings.identity(), **settings.plugin()}
