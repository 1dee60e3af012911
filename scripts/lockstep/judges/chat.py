"""What a model is told, as its own chat template writes it."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from lockstep.errors import ConfigError, one_sentence
from lockstep.foreign.plain_text import speller
from lockstep.judges.protocol import Pair

SWITCHES = {"enable_thinking": False}
"""Arguments of chat templates by which a model does not think before it replies: its reasoning is
the reply's own. Given to templates that know them."""


class Chat:
    """A processor's chat template, in which texts stay the characters that they are.

    Args:
        model: folder or hub id, for messages.
        processor: of the model.
        switched: whether `SWITCHES` are given.

    Raises:
        ConfigError: if there is no template, or one that leaves out what the model is told.
    """

    def __init__(self, model: str, processor: Any, switched: bool = True) -> None:
        self._processor = processor
        template = str(processor.chat_template or "")
        self.switches = {
            name: value for name, value in SWITCHES.items() if switched and name in template
        }
        self._check(f"judge: {model}")
        self._spell = speller([processor.tokenizer])

    def text(self, pair: Pair) -> str:
        """Return what a model is told of a pair, with a mark for each image."""
        return self.rendered(self._said(pair), len(pair.shown))

    def inputs(self, pair: Pair) -> Any:
        """Return what a model reads of a pair, tensors by the names that it gives them."""
        return self._applied(
            self._said(pair), pair.shown, tokenize=True, return_dict=True, return_tensors="pt"
        )

    def rendered(self, said: Sequence[tuple[str, str]], images: int) -> str:
        """Return a conversation, the user's images first.

        Args:
            said: roles and texts.
        """
        return str(self._applied(said, [None] * images, tokenize=False))

    def _said(self, pair: Pair) -> list[tuple[str, str]]:
        system = pair.rubric.system
        said = [*([] if system is None else [("system", system)]), ("user", pair.prompt)]
        if pair.rejected is not None:
            said += [("assistant", pair.rejected.reply), ("user", pair.rejected.error)]
        return [(role, self._spell(text)) for role, text in said]

    def _applied(
        self, said: Sequence[tuple[str, str]], images: Sequence[Image.Image | None], **given: Any
    ) -> Any:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": text}]} for role, text in said
        ]
        first = next(own for own in messages if own["role"] == "user")
        first["content"][:0] = [
            {"type": "image"} if image is None else {"type": "image", "image": image}
            for image in images
        ]
        return self._processor.apply_chat_template(
            messages, add_generation_prompt=True, **given, **self.switches
        )

    def _check(self, where: str) -> None:
        if not self._processor.chat_template:
            raise ConfigError(
                f"{where}: expected the model's own chat template (chat_template.jinja), found none"
            )
        said = [("system", "Rules."), ("user", "Task."), ("assistant", "Reply."), ("user", "More.")]
        try:
            text = self.rendered(said, images=2)
        except Exception as error:  # a template is a program
            raise ConfigError(
                f"{where}: its chat template cannot be used ({one_sentence(error)})"
            ) from None
        lost = [f"the {role}'s text" for role, words in said if words not in text]
        # some templates write what begins an image
        marks = {getattr(self._processor, name, None) for name in ("image_token", "boi_token")}
        if not any(mark and text.count(mark) == 2 for mark in marks):
            lost.append("images")
        if lost:
            raise ConfigError(
                f"{where}: expected a chat template that writes all texts, and each image once, "
                f"found one that leaves out {lost[0]}"
            )
