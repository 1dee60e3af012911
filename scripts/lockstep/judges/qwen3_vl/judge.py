"""Qwen3-VL in this process: several edits at a time, its scores held to the rubric's schema."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import accelerate
import torch
import transformers
from PIL import Image

from lockstep.errors import ConfigError, DeviceError, OutOfMemory, one_sentence
from lockstep.fast.qwen_vl import join_weights, optimize_perceptrons
from lockstep.judges import loading
from lockstep.judges.chat import Chat
from lockstep.judges.protocol import Judgement, Pair, Usage
from lockstep.judges.qwen3_vl import LocalSettings
from lockstep.judges.qwen3_vl.decoding import Decoder
from lockstep.judges.qwen3_vl.prompts import Prefixes, Prompt, make_prompt
from lockstep.judges.qwen3_vl.rows import Reply, Request
from lockstep.judges.qwen3_vl.slots import Slots, layer_devices
from lockstep.judges.qwen3_vl.vocabulary import Vocabulary
from lockstep.models.qwen_vl import optimize_vision
from lockstep.rubrics.questions import Blank

log = logging.getLogger(__name__)

LARGEST = 64
"""Edits judged at a time where memory is no matter: more bring next to nothing."""

STEP = 16
"""Edits by which the number of those that are judged at a time changes with the memory."""

ROOM = 4096
"""Slots of an edit: a prompt of two images of one megapixel has some 2,500 tokens."""

BESIDE = 2**28
"""Bytes that an edit takes beside its slots, while its prompt is read."""

KEPT = 8192
"""Tokens of first parts of prompts that are kept on a CPU, of whose memory nothing is known."""

THREADS = 2
"""Prompts that are made at a time; more get into the way of the one that keeps the GPU busy."""


class Qwen3VLJudge:
    """A Qwen3-VL or Qwen2.5-VL model with its processor.

    Args:
        settings: model and settings.
        torch_device: cpu or cuda.

    Raises:
        ConfigError: if the model cannot be found, or is none that it can be.
    """

    def __init__(self, settings: LocalSettings, torch_device: str) -> None:
        began = time.monotonic()
        self._processor, self._model = loading.load(
            settings.model,
            settings.revision,
            settings.dtype,
            transformers.AutoModelForImageTextToText,
            torch_device,
            partial(device_map, settings, torch_device),
        )
        for part in (self._model.model.visual, *self._model.model.language_model.layers):
            if len({parameter.device for parameter in part.parameters()}) > 1:
                raise ConfigError(
                    f"{settings.option}.device_map: expected each layer and the vision tower on "
                    f"one GPU, found a {type(part).__name__} on several"
                )
        self._settings = settings
        # its models do without switches, and their replies are kept
        self._chat = Chat(settings.model, self._processor, switched=False)
        self._most: int | None = None
        """Rows beyond which memory has not sufficed."""
        optimize_vision(self._model.model.visual)
        optimize_perceptrons(self._model.model.visual)
        join_weights(self._model.model.language_model)
        gpus = range(settings.together)
        if torch_device == "cuda" and len(gpus) > 1:
            _follow(self._model)
        self._prefixes = Prefixes()
        reasoned = settings.mode == "reasoned"
        self._decoder = self._decoding(settings.max_reasoning_tokens if reasoned else 0)
        log.info(
            "loaded %s from %s on %s in %.1f s",
            type(self._model).__name__,
            settings.model,
            "cpu" if torch_device == "cpu" else " + ".join(map(torch.cuda.get_device_name, gpus)),
            time.monotonic() - began,
        )
        if torch_device == "cuda":
            self._warm_up()

    def _decoding(self, max_reasoning_tokens: int) -> Decoder:
        return Decoder(
            self._model,
            Vocabulary(self._processor.tokenizer),
            max_reasoning_tokens=max_reasoning_tokens,
            temperature=self._settings.temperature,
            make_rows=lambda count, room: Slots(self._model, count, room, self._prefixes),
        )

    def _warm_up(self) -> None:
        """Have kernels compiled before the first edit comes, for as few rows as will do."""
        began = time.monotonic()
        said = self._chat.rendered([("system", "Rules."), ("user", "Task.")], images=2)
        shown = [Image.new("RGB", (1024, 1024), "gray")] * 2
        prompt = make_prompt(self._processor, self._model, said, shown, self._prefixes)
        try:
            blank = Blank("value", '{"value": ', tuple(map(str, range(11))), "number")
            self._decoding(1).reply([prompt], [Request([blank], None)], 1)
            log.info("warmed up in %.1f s", time.monotonic() - began)
        except torch.OutOfMemoryError:
            # what there is may do for smaller images
            log.warning("not warmed up, for want of memory")
        torch.cuda.empty_cache()

    def fitting(self) -> int:
        # what earlier jobs have taken of the memory is for those to come
        return self._fitting

    @cached_property
    def _fitting(self) -> int:
        if self._model.device.type == "cpu":
            return 4
        size = LARGEST
        for device, slot in self._bytes_of_a_slot():
            free, _ = torch.cuda.mem_get_info(device)
            size = min(size, int(0.7 * free) // (ROOM * slot + BESIDE))
        # a little more or less free memory is no reason for other sums
        size = size - size % STEP if size > STEP else max(1, size)
        log.info("judging %d edits at a time", size)
        return size

    def _bytes_of_a_slot(self) -> list[tuple[torch.device, int]]:
        """Return what a slot of a row takes of each device's memory."""
        text = self._model.config.get_text_config()
        dim = self._model.model.language_model.layers[0].self_attn.head_dim
        layer = 2 * text.num_key_value_heads * dim * self._model.dtype.itemsize
        devices = Counter(layer_devices(self._model))
        return [(device, layers * layer) for device, layers in devices.items()]

    def _room_for_prefixes(self) -> int:
        """Return how many tokens find place in half of what a full batch leaves of the memory."""
        if self._model.device.type == "cpu":
            return KEPT
        count = self._settings.batch(self)
        return min(
            max(0, torch.cuda.mem_get_info(device)[0] - count * (ROOM * slot + BESIDE)) // 2 // slot
            for device, slot in self._bytes_of_a_slot()
        )

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        if self._prefixes.most is None:
            # not when it loads: another model may still be in memory then
            self._prefixes.most = self._room_for_prefixes()
        widths = self._widths(pairs)
        if len(set(widths)) > 1:
            return self._judge_apart(pairs, widths)
        count = self._count(pairs)
        try:
            return self._judge(pairs, count)
        except torch.OutOfMemoryError as error:
            self._decoder.forget()
            if self._prefixes.give_back():
                log.warning("no memory for %d edits at a time beside prompts read before", count)
            elif count == len(pairs):
                self._most = max(1, count // 2)
                raise OutOfMemory(f"out of memory on the device ({one_sentence(error)})") from None
            else:
                self._most = max(1, count // 2)
                log.warning("no memory for %d edits at a time, going on with %d", count, self._most)
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error
        # not while the error is handled: with it, what did not fit stays in memory
        return self.judge(pairs)

    def _widths(self, pairs: Sequence[Pair]) -> list[int]:
        """Return the width of each pair's steps, of which a GPU computes only equal ones together.

        For another width, too, a GPU adds in another order.
        """
        if self._model.device.type == "cpu":
            return [0] * len(pairs)
        known = {pair.rubric.form: 0 for pair in pairs}
        for form in known:
            known[form] = self._decoder.width(Request(form, None))
        return [known[pair.rubric.form] for pair in pairs]

    def _judge_apart(self, pairs: Sequence[Pair], widths: Sequence[int]) -> list[Judgement]:
        found: dict[int, Judgement] = {}
        for width in sorted(set(widths)):
            numbers = [number for number, own in enumerate(widths) if own == width]
            judged = self.judge([pairs[number] for number in numbers])
            found |= dict(zip(numbers, judged, strict=True))
        return [found[number] for number in range(len(pairs))]

    def _count(self, pairs: Sequence[Pair]) -> int:
        """Return how many rows are computed: on a GPU always those of a full batch.

        For another number a GPU adds in another order, and scores would depend on how many
        devices share the samples.
        """
        settings = self._settings
        if self._model.device.type == "cpu" or not settings.use_batch_inference:
            return len(pairs)
        full = self.fitting() if settings.batch_size == "auto" else settings.batch_size
        return max(len(pairs), min(full, self._most or full))

    def _judge(self, pairs: Sequence[Pair], count: int) -> list[Judgement]:
        counts = []

        def prompts() -> Iterator[Prompt]:
            # the next ones are made while the device reads one
            with ThreadPoolExecutor(THREADS) as pool:
                for prompt in pool.map(self._prompt, pairs):
                    counts.append(prompt.first.tokens.shape[1] + prompt.rest.tokens.shape[1])
                    yield prompt

        requests = [Request(pair.rubric.form, pair.seed) for pair in pairs]
        replies = self._decoder.reply(prompts(), requests, count)
        return [judgement_of(reply, count) for reply, count in zip(replies, counts, strict=True)]

    def _prompt(self, pair: Pair) -> Prompt:
        text = self._chat.text(pair)
        return make_prompt(self._processor, self._model, text, pair.shown, self._prefixes)


def judgement_of(reply: Reply | None, prompt_tokens: int) -> Judgement:
    """Return a reply as a judgement, or that there is none."""
    if reply is None:
        return Judgement(None, error="the model gave no numbers, try another judge.dtype")
    return Judgement(
        reply.text,
        # sums over a large vocabulary differ in their last bits between batch sizes
        probabilities={
            name: tuple(round(share, 6) for share in shares)
            for name, shares in reply.probabilities.items()
        },
        schema_mass=round(reply.schema_mass, 4),
        usage=Usage(prompt_tokens, reply.tokens),
    )


def device_map(settings: LocalSettings, torch_device: str) -> str | dict[str, Any]:
    """Return which device holds which module."""
    if settings.together == 1:
        return torch_device
    if settings.device_map == "auto":
        modules = _balanced(settings)
    else:
        # it has no weights, so that a map may well leave it out
        modules = {"model.language_model.rotary_emb": 0, **settings.device_map}
    # all slots of a CPU are one device
    return modules if torch_device == "cuda" else dict.fromkeys(modules, "cpu")


def _balanced(settings: LocalSettings) -> dict[str, int]:
    """Return a map that gives each visible GPU about as much of a model."""
    dtype = getattr(torch, settings.dtype)
    given = transformers.AutoConfig.from_pretrained(settings.model, revision=settings.revision)
    with accelerate.init_empty_weights():
        empty = transformers.AutoModelForImageTextToText.from_config(given, dtype=dtype)
    empty.tie_weights()
    # transformers takes the parts of a vision tower apart too, and cannot run them so
    towers = [empty.model.visual] if hasattr(empty.model, "visual") else []
    whole = [*empty._no_split_modules, *(type(tower).__name__ for tower in towers)]
    memory = accelerate.utils.get_max_memory()
    if torch.cuda.is_available():
        # what has no place on a GPU would go to the host, unseen and hundreds of times slower
        del memory["cpu"]
    memory = accelerate.utils.get_balanced_memory(empty, memory, whole, dtype)
    modules = accelerate.infer_auto_device_map(empty, memory, whole, dtype)
    if "disk" in modules.values():
        raise ConfigError(
            f"{settings.option}.gpus_per_judge: expected more GPUs for {settings.model!r}, "
            f"found too little memory on {settings.together}"
        )
    return modules


def _follow(model: transformers.PreTrainedModel) -> None:
    """Let each part of a model run with its own GPU as the current one, where Triton launches."""
    text = model.model.language_model
    for part in (model.model.visual, text.embed_tokens, model.lm_head):
        device = next(part.parameters()).device
        part.register_forward_pre_hook(lambda *_, device=device: torch.cuda.set_device(device))
