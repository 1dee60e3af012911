"""What rewrites instructions before an editor sees them: what a user may say of it."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, PrivateAttr, field_validator

from lockstep.config.section import PlainPath
from lockstep.errors import ConfigError
from lockstep.models.backend import BackendSettings, Lacking
from lockstep.models.fingerprints import file_sha256
from lockstep.models.served_settings import ServedSettings

if TYPE_CHECKING:
    from lockstep.editors.rewriting.chat import ChatRewriter

INSTRUCTION = "{instruction}"
"""What of a prompt the instruction takes the place of."""

SEMANTICS = 1
"""Raised by hand when code changes the texts that the same settings give."""


class ChatRewriteSettings(ServedSettings):
    """A model behind a server with the OpenAI interface for chats."""

    neutral: ClassVar[frozenset[str]] = ServedSettings.neutral | {"max_requests"}
    type: Literal["openai"]
    prompt: str = Field(
        min_length=1,
        max_length=20_000,
        description="Text for the model, with {instruction} in place of the sample's instruction. "
        "The whole reply is the new instruction.",
    )
    image: bool = Field(False, description="Also show the source images to the model.")
    max_tokens: PositiveInt = Field(
        512, le=32_768, description="Most tokens of a reply, the reasoning before it included."
    )
    max_requests: PositiveInt | None = Field(
        None,
        description="Most requests for this editor over all runs into one results folder, repeated "
        "tries included. Then its jobs stop.",
    )
    _editor: str = PrivateAttr("")

    @field_validator("prompt")
    @classmethod
    def _holds_the_instruction(cls, prompt: str) -> str:
        if INSTRUCTION not in prompt:
            raise ValueError(f"expected a text with {INSTRUCTION} in it, found {prompt!r:.60}")
        return prompt

    def belongs_to(self, editor: str) -> None:
        """Name the editor that it works for, for messages."""
        self._editor = editor

    @property
    def option(self) -> str:
        return f"editors.{self._editor}.rewrite"

    def identity(self) -> dict[str, Any]:
        """Return what decides its replies beside what it is shown and told."""
        names = {"type", "model", "revision", "prompt", "image", "max_tokens", "request"}
        return {"semantics": SEMANTICS, **self.model_dump(mode="json", include=names)}

    def load(self) -> "ChatRewriter":
        """Connect to the server.

        Raises:
            ConfigError: if the configured variable holds no key.
        """
        from lockstep.editors.rewriting.chat import ChatRewriter

        return ChatRewriter(self)


class FileRewriteSettings(BackendSettings):
    """A file of rewritten instructions."""

    places: ClassVar[frozenset[str]] = frozenset({"path"})
    type: Literal["file"]
    path: PlainPath = Field(
        description="CSV, JSON, JSONL or Parquet file with the columns id and rewritten (or "
        "instruction), a JSON object with a text for each id, or the rewritten.jsonl of "
        "a run."
    )

    def state(self) -> list[Any]:
        return [file_sha256(self.path)]

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        from lockstep.editors.rewriting.table import read_texts

        if not Path(self.path).is_file():
            yield Lacking("path", f"expected a file, found none at {self.path!r}")
            return
        try:
            read_texts(self.path)
        except ConfigError as error:
            yield Lacking("path", str(error))


Rewriter = Annotated[ChatRewriteSettings | FileRewriteSettings, Field(discriminator="type")]

KINDS: dict[str, type[BackendSettings]] = {
    "openai": ChatRewriteSettings,
    "file": FileRewriteSettings,
}
"""Kinds of rewriters by their `type`."""
