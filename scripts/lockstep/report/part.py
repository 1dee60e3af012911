"""What all parts of report.json share, and the parts on what was asked of others."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]
"""Low and high end."""


class Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Served(Part):
    """What an editor behind a server asked for and got; null where the server says nothing."""

    requests: int
    """Sent over all runs into these results, further tries included."""
    images: int
    """Edits that stand here."""
    input_tokens: int | None
    """Of these edits, as far as the server tells them."""
    output_tokens: int | None
    price: float | None
    """Of these edits and the one that was repeated for the seed; null without a price."""
    seed: Literal["honoured", "ignored", "unknown"]
    """Whether the same request with the same seed gave the same pixels again."""
    models: list[str]
    """What the server calls its model."""
    warnings: dict[str, int]
    """What is odd of edits and no failure: sentence → edits."""


class Rewriting(Part):
    """What rewrote an editor's instructions, and what that took; null where nobody says."""

    by: str
    """Model, or file."""
    rewritten: int
    """Instructions that were."""
    failed: int
    """Instructions that were not; their samples are not edited."""
    requests: int | None
    """Sent over all runs into these results, further tries included; null of a file."""
    input_tokens: int | None
    """Of the texts that stand here."""
    output_tokens: int | None
    price: float | None
    """Of the texts that stand here; null without a price."""
    models: list[str]
    """What the server calls its model."""
