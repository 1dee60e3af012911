"""A rewriter behind a server with the OpenAI interface: what it is asked, what a reply is worth."""

from typing import Any, NamedTuple

from PIL import Image

from lockstep.benchmark import items
from lockstep.editors.rewriting import INSTRUCTION, ChatRewriteSettings
from lockstep.errors import SampleError, one_sentence
from lockstep.foreign.images import open_rgb
from lockstep.foreign.transport import Failed
from lockstep.models.backend import Usage
from lockstep.models.chat import ChatModel, image_part
from lockstep.records import Sample

THOUGHT = "</think>"
"""Ends what some models reason, where their server does not part it from the reply."""


class Rewritten(NamedTuple):
    """A rewritten instruction."""

    text: str
    usage: Usage | None
    versions: dict[str, str]
    """What the server says of its model."""


class ChatRewriter(ChatModel):
    """A client of a server, as `ServedModel` is."""

    done = "rewritten"
    doing = "rewrite"
    length = "max_tokens"

    def __init__(self, settings: ChatRewriteSettings) -> None:
        super().__init__(settings)
        self._asks = settings

    def rewrite(self, sample: Sample) -> Rewritten:
        """Return a sample's instruction in other words.

        Raises:
            Failed: if there is no reply to take; `Refused`, if a content filter kept it.
            SampleError: if its images cannot be read.
            ServerError: if the server is of no use.
        """
        completion, fault = self._complete(_request(self._asks, sample))
        if completion is None or fault is not None:
            raise fault or Failed("found no reply")
        reply = completion.choices[0].message.content or ""
        return Rewritten(self._text(reply), completion.tokens, completion.versions)

    def _text(self, reply: str) -> str:
        """Return the instruction that a reply is: all of it, without blanks around it."""
        if THOUGHT in reply:
            raise Failed(
                f"expected a reply without its reasoning, found {THOUGHT}; have the server part "
                f"the two, or have it not reason ({self.option}.request)"
            )
        try:
            return items.needed({"reply": reply}, "reply")
        except SampleError as error:
            raise Failed(str(error)) from None


def _request(settings: ChatRewriteSettings, sample: Sample) -> dict[str, Any]:
    """Return the body of the request that asks for one instruction."""
    told = settings.prompt.replace(INSTRUCTION, sample.instruction)
    content: list[dict[str, Any]] = [{"type": "text", "text": told}]
    if settings.image:
        shown = [sample.image, *(picture.image for picture in sample.more)]
        content = [*(image_part(_opened(path, sample.background)) for path in shown), *content]
    body = {
        "model": settings.model,
        "messages": [{"role": "user", "content": content if settings.image else told}],
        "max_tokens": settings.max_tokens,
        "temperature": 0,
        "seed": 0,
        **settings.request,
    }
    return {name: value for name, value in body.items() if value is not None}


def _opened(path: str, background: str) -> Image.Image:
    try:
        return open_rgb(path, background)
    except SampleError:
        raise
    except Exception as error:  # Pillow raises many kinds on what is broken
        raise SampleError(
            f"expected a source image to read, found none ({one_sentence(error)})"
        ) from None
