"""Judges: one protocol, a module for each backend.

A judge answers for several pairs at a time with raw replies; `rubric.parse_reply` makes scores of
them. Importing this package imports no torch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from PIL import Image

from lockstep import config
from lockstep.models import model_identity
from lockstep.rubric import Rubric

SEMANTICS = 1
"""Raised by hand when code changes the replies that the same settings give."""


class Pair(NamedTuple):
    """One edit to judge."""

    source: Image.Image
    """8-bit RGB."""
    edited: Image.Image
    """8-bit RGB."""
    prompt: str
    """User text of the rubric for this sample."""


class Judgement(NamedTuple):
    """What a judge said of one pair."""

    reply: str
    """As the judge gave it."""
    schema_mass: float | None
    """Probability that the judge itself put on allowed values, least over the criteria."""


class Judge(Protocol):
    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return a judgement for each pair, in order.

        Raises:
            OutOfMemory: if fewer pairs at a time may still work.
            DeviceError: if the device cannot go on at all.
        """


def identity(settings: config.Judge) -> dict[str, Any]:
    """Return everything of a judge that decides its replies, for the score key.

    The size of a batch is not part of it.
    """
    return {
        "type": settings.type,
        "semantics": SEMANTICS,
        **model_identity(settings.model, settings.revision),
        "dtype": settings.dtype,
        "max_reasoning_tokens": settings.max_reasoning_tokens,
    }


def load_judge(settings: config.Judge, rubric: Rubric, torch_device: str) -> Judge:
    """Load a judge on a device.

    Args:
        torch_device: cpu or cuda, as `device.pin` returns it.

    Raises:
        ConfigError: if its model cannot be found.
    """
    from lockstep.judges.qwen3_vl import Qwen3VLJudge

    return Qwen3VLJudge(settings, rubric, torch_device)
