"""What of a judge decides its replies."""

from typing import Any

from lockstep.judges.settings import JudgeSettings


def identity(settings: JudgeSettings) -> dict[str, Any]:
    """Return everything of a judge that decides its replies, for the score key.

    The size of a batch is not part of it, nor is what belongs to one judgement (its seed).
    """
    common = {"type": settings.type, "semantics": settings.semantics}
    return {**common, **settings.identity(), **settings.plugin()}
