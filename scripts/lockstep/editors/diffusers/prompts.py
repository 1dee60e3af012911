"""Prompts in the form that a pipeline takes, and how much of them its text encoders see."""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import transformers
from diffusers.pipelines.longcat_image.pipeline_longcat_image_edit import split_quotation

from lockstep.editors.diffusers.pipelines import Pipeline
from lockstep.errors import EditError

FROM_FRONT = ("JoyImageEditPipeline", "JoyImageEditPlusPipeline")
"""Pipelines that drop the first tokens of a longer prompt, after their encoder has read all."""

Tokenizer = transformers.PreTrainedTokenizerBase


def tokenizers(pipeline: Pipeline) -> Iterator[tuple[str, Tokenizer]]:
    """Yield the tokenizers of a pipeline by component, those of its processors included."""
    for name, part in pipeline.components.items():
        part = getattr(part, "tokenizer", part)
        if isinstance(part, Tokenizer):
            yield name, part


@dataclass
class _Seen:
    """What one encoder was given of a prompt."""

    encoder: str
    limit: int | None = None
    """Tokens that it takes at most, as its tokenizer was told."""
    longest: int = 0
    """Tokens of the longest text that its tokenizer was given, with those around the prompt."""
    last: bool = False
    """Whether it keeps the last ones, not the first."""


class CutWatch:
    """Notices where a pipeline's tokenizers cut a prompt: it counts what they are given uncut.

    Args:
        pipeline: of which every tokenizer tells of its calls from now on.
        negative: text that does not count where it stands without the prompt; None or blank where
            there is none.
        given: arguments of the pipeline's call.
    """

    def __init__(
        self, pipeline: Pipeline, negative: str | None, given: Mapping[str, Any] | None = None
    ) -> None:
        self._prompt = ""
        self._negative = (negative or "").strip()
        self._seen: list[_Seen] = []
        for name, tokenizer in tokenizers(pipeline):
            seen = _Seen(_encoder(pipeline, name))
            self._seen.append(seen)
            self._follow(tokenizer, seen)
        if type(pipeline).__name__ in FROM_FRONT:
            self._follow_encoder(pipeline, given or {})

    def begin(self, prompt: str) -> None:
        """Forget what was seen, for the next prompt."""
        self._prompt = prompt
        for seen in self._seen:
            seen.limit, seen.longest = None, 0

    def said(self) -> str | None:
        """Return which encoders took only the beginning of the prompt, and how much of it."""
        cut = [
            f"cut {'to the last' if seen.last else 'after'} {seen.limit} of {seen.longest} tokens "
            f"({seen.encoder})"
            for seen in self._seen
            if seen.limit is not None and seen.longest > seen.limit
        ]
        return "; ".join(dict.fromkeys(cut)) or None

    def _follow(self, tokenizer: Tokenizer, seen: _Seen) -> None:
        # an object is called by its class, so it gets one of its own
        kind = type(tokenizer)

        def call(self_: Any, *args: Any, **kwargs: Any) -> Any:
            self._note(kind, self_, seen, args, kwargs)
            return kind.__call__(self_, *args, **kwargs)

        tokenizer.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def _follow_encoder(self, pipeline: Pipeline, given: Mapping[str, Any]) -> None:
        parameters = inspect.signature(type(pipeline).__call__).parameters
        limit = given.get("max_sequence_length", parameters["max_sequence_length"].default)
        start = pipeline.prompt_template_encode_start_idx["multiple_images"]
        seen = _Seen(type(pipeline.text_encoder).__name__, last=True)
        self._seen.append(seen)

        def before(_: Any, args: tuple[Any, ...], inputs: Mapping[str, Any]) -> None:
            # the negative prompt comes second
            if seen.limit is None:
                seen.limit, seen.longest = limit, inputs["input_ids"].shape[1] - start

        pipeline.text_encoder.register_forward_pre_hook(before, with_kwargs=True)

    def _counts(self, text: str) -> bool:
        return self._prompt in text or not self._negative or self._negative not in text

    def _note(
        self,
        kind: type[Tokenizer],
        tokenizer: Tokenizer,
        seen: _Seen,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        given = args[0] if args else kwargs.get("text")
        texts = [given] if isinstance(given, str) else list(given or ())
        prompts = [text for text in texts if isinstance(text, str) and self._counts(text)]
        if not prompts:
            return
        special = {key: kwargs[key] for key in ("add_special_tokens",) if key in kwargs}
        uncut = kind.__call__(tokenizer, prompts, **special)["input_ids"]
        seen.longest = max(seen.longest, *map(len, uncut))
        if kwargs.get("truncation") not in (None, False, "do_not_truncate"):
            limit = kwargs.get("max_length") or tokenizer.model_max_length
            seen.limit = limit if seen.limit is None else min(seen.limit, limit)


def refuse_longer(pipeline: Pipeline, prompt: str) -> None:
    """Refuse a prompt that LongCat-Image-Edit would cut: diffusers 0.42 fails in saying so.

    Raises:
        EditError: saying how many tokens there are.
    """
    if type(pipeline).__name__ != "LongCatImageEditPipeline":
        return
    tokens = 0
    for text, quoted in split_quotation(prompt):
        # what stands in quotes is tokenised letter by letter
        for piece in text if quoted else [text]:
            tokens += len(pipeline.tokenizer(piece, add_special_tokens=False)["input_ids"])
    if tokens > pipeline.tokenizer_max_length:
        raise EditError(
            f"{type(pipeline).__name__} takes {pipeline.tokenizer_max_length} tokens of an "
            f"instruction, found {tokens}"
        )


def _encoder(pipeline: Pipeline, name: str) -> str:
    """Return the class of the encoder that a tokenizer or processor works for."""
    parts = pipeline.components
    if name.startswith("tokenizer"):
        wanted = [name.replace("tokenizer", "text_encoder"), "transformer"]
    else:
        wanted = ["vision_language_encoder", "text_encoder"]
    return next(type(parts[part]).__name__ for part in [*wanted, name] if parts.get(part))


def formed(instruction: str, form: str, sources: int) -> str:
    """Return the prompt of an instruction in the form that a pipeline takes."""
    if form == "tagged":
        tags = (f"<img><|image_{number}|></img>" for number in range(1, sources + 1))
        return f"{' '.join(tags)} {instruction}"
    if form == "json":
        try:
            given = json.loads(instruction)
        except (ValueError, RecursionError):
            given = None
        if not (isinstance(given, dict) and "edit_instruction" in given):
            return json.dumps({"edit_instruction": instruction}, ensure_ascii=False)
    return instruction
