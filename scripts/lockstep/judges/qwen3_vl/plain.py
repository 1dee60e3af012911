"""Any model of transformers that reads images and writes text: one edit at a time, step by step.

The model's own `forward` reads a prompt and then single tokens, as `generate` has it do: so nothing
of its layers needs to be known, and nothing depends on what is judged beside an edit.
"""

import copy
import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
import transformers

from lockstep.errors import DeviceError, OutOfMemory, one_sentence
from lockstep.judges import loading
from lockstep.judges.chat import Chat
from lockstep.judges.protocol import Judgement, Pair
from lockstep.judges.qwen3_vl import LocalSettings
from lockstep.judges.qwen3_vl.decoding import Decoder
from lockstep.judges.qwen3_vl.judge import device_map, judgement_of
from lockstep.judges.qwen3_vl.rows import Request
from lockstep.judges.qwen3_vl.vocabulary import Vocabulary

log = logging.getLogger(__name__)


class PlainJudge:
    """A model with its processor.

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
        self._chat = Chat(settings.model, self._processor)
        self._decoder = Decoder(
            self._model,
            Vocabulary(self._processor.tokenizer),
            max_reasoning_tokens=settings.max_reasoning_tokens * (settings.mode == "reasoned"),
            temperature=settings.temperature,
            make_rows=lambda count, room: PlainRow(self._model),
        )
        log.info(
            "loaded %s from %s in %.1f s, %s",
            type(self._model).__name__,
            settings.model,
            time.monotonic() - began,
            f"its template told {self._chat.switches}" if self._chat.switches else "told nothing",
        )

    def fitting(self) -> int:
        return 1

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        try:
            return [self._judge(pair) for pair in pairs]
        except torch.OutOfMemoryError as error:
            said = one_sentence(error)
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error
        # not while the error is handled: with it, what did not fit stays in memory
        self._decoder.forget()
        raise OutOfMemory(f"out of memory on the device ({said})")

    def _judge(self, pair: Pair) -> Judgement:
        inputs = self._chat.inputs(pair).to(self._model.device, dtype=self._model.dtype)
        request = Request(pair.rubric.form, pair.seed)
        (reply,) = self._decoder.reply([inputs], [request], 1)
        return judgement_of(reply, inputs["input_ids"].shape[1])


class PlainRow:
    """What a model has read of one row.

    Args:
        model: any that `generate` can use.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._given: dict[str, Any] = {}
        """What `forward` is given with the next token: its cache, positions and masks."""
        self._logits = torch.empty(0)

    def fit(self, count: int, room: int) -> bool:
        return count == 1

    @torch.inference_mode()
    def begin(self, prompts: Iterable[Any]) -> torch.Tensor:
        (inputs,) = prompts
        tokens, self._given = self._model.generate(
            **inputs, custom_generate=_prepared, max_new_tokens=1, do_sample=False, num_beams=1
        )
        return self._read(tokens, is_first_iteration=True)

    @torch.inference_mode()
    def step(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return self._read(tokens[:, None]) if bool(kept) else self._logits

    @torch.inference_mode()
    def append(
        self,
        rows: Sequence[Sequence[int]],
        width: int,
        asked: Sequence[Sequence[int]],
        forgotten: Sequence[int] = (),
    ) -> torch.Tensor:
        (row,), (places,), (lost,) = rows, asked, forgotten or [0]
        found = []
        for number, token in enumerate(row):
            if number == len(row) - lost:
                # a cache that sums up what it has read can forget nothing of it
                before = copy.deepcopy(self._given)
            found.append(self._read(torch.tensor([[token]], device=self._model.device)))
        if lost:
            self._given = before
        return torch.stack([found[place] for place in places], dim=1)

    def _read(self, tokens: torch.Tensor, **given: Any) -> torch.Tensor:
        """Read tokens and return the logits behind them, 1 × vocabulary."""
        told = self._model.prepare_inputs_for_generation(tokens, **given, **self._given)
        said = self._model(**told, return_dict=True)
        self._given = self._model._update_model_kwargs_for_generation(said, self._given)
        self._logits = said.logits[:, -1].to(self._model.device)
        return self._logits


def _prepared(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **given: Any,
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return what `generate` would begin with."""
    return input_ids, given
