"""Answers of servers that edit: the image, and what else they say of it."""

import base64
import binascii
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, Strict, ValidationError

from lockstep.foreign.redaction import redact
from lockstep.foreign.transport import Answer, Failed
from lockstep.models.answers import FILTERED, Name, Odd, Text, Tokens, refused, words_in
from lockstep.models.backend import Usage

NO_IMAGE = "expected an edited image, found"

Seed = Annotated[Annotated[int, Strict()] | None, Odd]


def _called(*names: str) -> Any:
    return Field(validation_alias=AliasChoices(*names))


class _Image(BaseModel):
    b64_json: Text = None
    url: Text = None
    revised_prompt: Text = None
    seed: Seed = None
    finish_reason: Text = None
    error: Any = None


class _Usage(BaseModel):
    input_tokens: Tokens = Field(
        None, validation_alias=AliasChoices("input_tokens", "prompt_tokens")
    )
    output_tokens: Tokens = Field(
        None, validation_alias=AliasChoices("output_tokens", "completion_tokens")
    )


class Edited(BaseModel):
    """A server's answer, as far as it is read."""

    data: Annotated[
        list[_Image],
        Field(min_length=1),
        BeforeValidator(lambda given: given[:1] if isinstance(given, list) else given),
    ]
    usage: Annotated[_Usage | None, Odd] = None
    model: Name = None
    system_fingerprint: Name = None
    seed: Seed = None

    @property
    def first(self) -> _Image:
        return self.data[0]

    @property
    def tokens(self) -> Usage:
        """What the edit took, as far as the server tells it."""
        usage = self.usage or _Usage()
        return Usage(usage.input_tokens or 0, usage.output_tokens or 0)

    def told(self, key: str | None) -> dict[str, Any]:
        """Return what the server says of the edit, for its record.

        Args:
            key: of the server, which is not shown.
        """
        usage = self.usage or _Usage()
        revised = self.first.revised_prompt
        return {
            "model": self.model and redact(self.model, key),
            "used_seed": self.seed if self.first.seed is None else self.first.seed,
            "revised_prompt": revised and redact(revised[:20_000], key),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
        }

    def versions(self, key: str | None) -> dict[str, str]:
        """Return what the server says of the model that edited: an alias may hide a new one."""
        said = {"served model": self.model, "system fingerprint": self.system_fingerprint}
        return {name: redact(value, key) for name, value in said.items() if value}


def edited_in(given: Any, brief: Answer) -> Edited:
    """Return what an answer says of an edit.

    Args:
        brief: the answer, cut off for messages.

    Raises:
        Failed: if it holds no image; `Refused`, if a content filter kept it.
    """
    try:
        edited = Edited.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].partition(" or instance of")[0]
        found = f"{where}: {message}" if where else "no object"
        raise Failed(f"{NO_IMAGE} {found} ({brief.said})") from None
    image = edited.first
    if not (image.b64_json or image.url):
        if (words_in(image.finish_reason) | words_in(image.error)) & FILTERED:
            raise refused(brief.said, "edit")
        raise Failed(f"{NO_IMAGE} none ({brief.said})")
    return edited


def bytes_of(text: str) -> bytes:
    """Return the bytes of an image in base64, with or without what a data address begins with.

    Raises:
        Failed: if it is none.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Failed(f"{NO_IMAGE} no base64") from None
