"""Qwen3-VL in this process: batched, left-padded, greedy, its scores held to the rubric's schema.

The judge reasons freely for up to `max_reasoning_tokens`; then only tokens that keep the JSON
object valid are allowed. How much probability the model itself gave to the allowed values is kept
as `schema_mass`: it tells a judge that would have answered so from one that was forced to.
"""

import logging
import re
import time
from collections.abc import Sequence

import llguidance
import safetensors
import torch
import transformers

from lockstep import config
from lockstep.errors import ConfigError, DeviceError, OutOfMemory, one_sentence
from lockstep.judges import Judgement, Pair
from lockstep.models import check_weights
from lockstep.rubric import Rubric

log = logging.getLogger(__name__)

# its bars would fill the log
transformers.utils.logging.disable_progress_bar()

AT_VALUE = re.compile(r'": 1?$')
"""End of a reply whose next token belongs to a value (after 1, a 0 may still follow)."""


class Qwen3VLJudge:
    """A Qwen3-VL model with its processor.

    Args:
        settings: model and settings.
        rubric: what is asked.
        torch_device: cpu or cuda.

    Raises:
        ConfigError: if the model cannot be found.
    """

    def __init__(self, settings: config.Judge, rubric: Rubric, torch_device: str) -> None:
        self._rubric = rubric
        if torch_device == "cpu":
            # with more threads the order of sums, and so the last bits, depends on their number
            torch.set_num_threads(1)
        began = time.monotonic()
        try:
            self._processor = transformers.AutoProcessor.from_pretrained(
                settings.model, revision=settings.revision
            )
            self._model, info = transformers.Qwen3VLForConditionalGeneration.from_pretrained(
                settings.model,
                revision=settings.revision,
                dtype=getattr(torch, settings.dtype),
                device_map=torch_device,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise ConfigError(
                f"judge: cannot load {settings.model!r} ({one_sentence(error)})"
            ) from None
        check_weights(f"judge: {settings.model}", info)
        self._model.eval()
        tokenizer = self._processor.tokenizer
        self._tokenizer = llguidance.LLTokenizer(
            tokenizer.backend_tokenizer.to_str(),
            n_vocab=self._model.config.text_config.vocab_size,
            eos_token=tokenizer.eos_token_id,
        )
        self._grammar = grammar(rubric, settings.max_reasoning_tokens)
        # an upper bound: every character of the object as a token of its own
        names = (len(criterion.name) + len(', "": 10') for criterion in rubric.criteria)
        self._max_new_tokens = settings.max_reasoning_tokens + sum(names) + 8
        log.info(
            "loaded %s from %s on %s in %.1f s",
            type(self._model).__name__,
            settings.model,
            torch.cuda.get_device_name() if torch_device == "cuda" else "cpu",
            time.monotonic() - began,
        )

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        try:
            return self._judge(pairs)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"out of memory on the device ({one_sentence(error)})") from None
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error

    @torch.inference_mode()
    def _judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        inputs = self._processor(
            text=[self._chat(pair) for pair in pairs],
            images=[image for pair in pairs for image in (pair.source, pair.edited)],
            padding=True,
            # right padding would put the pad tokens between prompt and reply
            padding_side="left",
            return_tensors="pt",
        ).to(self._model.device)
        prompt_tokens = inputs["input_ids"].shape[1]
        schema = SchemaProcessor(self._tokenizer, self._grammar, len(pairs), prompt_tokens)
        output = self._model.generate(
            **inputs,
            max_new_tokens=self._max_new_tokens,
            do_sample=False,
            logits_processor=transformers.LogitsProcessorList([schema]),
            # the model's own generation settings may sample
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=self._tokenizer.eos_token,
            pad_token_id=self._processor.tokenizer.pad_token_id,
        )
        replies = self._processor.batch_decode(
            output[:, prompt_tokens:], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        # a reply that never came to a value was held back by nothing and counts for nothing
        masses = [0.0 if mass is None else mass for mass in schema.least_mass]
        return [Judgement(reply, mass) for reply, mass in zip(replies, masses, strict=True)]

    def _chat(self, pair: Pair) -> str:
        content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": pair.prompt}]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": self._rubric.system}]},
            {"role": "user", "content": content},
        ]
        return self._processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )


class SchemaProcessor(transformers.LogitsProcessor):
    """Allow only tokens that keep each row's reply inside a grammar.

    Args:
        tokenizer: the model's tokenizer.
        grammar: Lark grammar of a reply.
        rows: replies generated side by side.
        prompt_tokens: length of the padded prompts.
    """

    def __init__(
        self, tokenizer: llguidance.LLTokenizer, grammar: str, rows: int, prompt_tokens: int
    ) -> None:
        self._tokenizer = tokenizer
        self._matchers = [llguidance.LLMatcher(tokenizer, grammar) for _ in range(rows)]
        self._prompt_tokens = prompt_tokens
        self._in_object = [False] * rows
        self.least_mass: list[float | None] = [None] * rows
        """Least probability that the model put on allowed tokens where a value was due."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        generated = input_ids[:, self._prompt_tokens :].tolist()
        allowed = torch.stack(
            [
                self._allowed(matcher, tokens, scores.shape[1])
                for matcher, tokens in zip(self._matchers, generated, strict=True)
            ]
        ).to(scores.device)
        for row, tokens in enumerate(generated):
            if self._at_value(row, tokens):
                probabilities = scores[row].float().softmax(-1)
                mass = float(probabilities[allowed[row]].sum())
                # sums over a large vocabulary differ in their last bits between batch sizes
                mass = round(min(mass, 1.0), 4)
                least = self.least_mass[row]
                self.least_mass[row] = mass if least is None else min(mass, least)
        return scores.masked_fill(~allowed, float("-inf"))

    def _at_value(self, row: int, tokens: list[int]) -> bool:
        tail = self._tokenizer.decode_str(tokens[-8:])
        # the reasoning holds no brace, so the first one begins the object
        self._in_object[row] = self._in_object[row] or "{" in tail
        return self._in_object[row] and AT_VALUE.search(tail) is not None

    def _allowed(
        self, matcher: llguidance.LLMatcher, tokens: list[int], vocabulary: int
    ) -> torch.Tensor:
        """Feed a row's newest token and return which may follow, as bool over the vocabulary."""
        if tokens and not matcher.is_stopped():
            matcher.consume_token(tokens[-1])
        if matcher.is_stopped():
            allowed = torch.zeros(vocabulary, dtype=torch.bool)
            allowed[self._tokenizer.eos_token] = True
            return allowed
        bits = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        return allowed.flatten()[:vocabulary].bool()


def grammar(rubric: Rubric, max_reasoning_tokens: int) -> str:
    """Return the Lark grammar of a reply: free text without braces, then the object."""
    low, high = rubric.reply.minimum, rubric.reply.maximum
    values = "|".join(map(str, range(high, low - 1, -1)))
    members = ' ", " '.join(f'"\\"{criterion.name}\\": " VALUE' for criterion in rubric.criteria)
    return (
        "start: reasoning object\n"
        f"reasoning[max_tokens={max_reasoning_tokens}]: /[^{{}}]*/\n"
        f'object: "{{" {members} "}}"\n'
        f"VALUE: /{values}/\n"
    )
