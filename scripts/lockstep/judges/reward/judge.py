"""A reward model in this process: a vision-language model whose head gives numbers, one edit at a
time. The head looks at the last token of what the chat template writes, where a reply would begin.
"""

import logging
import math
import time
from collections.abc import Sequence
from typing import cast

import torch
import transformers

from lockstep.errors import ConfigError, DeviceError, OutOfMemory, one_sentence
from lockstep.judges import loading
from lockstep.judges.chat import Chat
from lockstep.judges.protocol import Finished, Judgement, Pair, Usage
from lockstep.judges.reward import RewardSettings
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import Rubric

log = logging.getLogger(__name__)


class RewardJudge:
    """A model with its processor.

    Args:
        settings: model and settings.
        torch_device: cpu or cuda.

    Raises:
        ConfigError: if the model cannot be found, is none that it can be, or has fewer numbers
            than the settings name.
    """

    def __init__(self, settings: RewardSettings, torch_device: str) -> None:
        began = time.monotonic()
        self._outputs = settings.outputs
        kind = transformers.AutoModelForSequenceClassification
        config = loading.config_of(
            settings.model,
            settings.revision,
            [kind, transformers.AutoModelForImageTextToText],
            "reads images and has a head that gives numbers",
        )
        count = int(config.num_labels or 0)
        for name, own in settings.outputs.items():
            if own.output >= count:
                raise ConfigError(
                    f"{settings.option}.outputs.{name}: expected a number of "
                    f"{settings.model!r}, which has {count}, counted from 0; found {own.output}"
                )
        self._processor, self._model = loading.load(
            settings.model, settings.revision, settings.dtype, kind, torch_device
        )
        self._chat = Chat(settings.model, self._processor)
        log.info(
            "loaded %s from %s in %.1f s",
            type(self._model).__name__,
            settings.model,
            time.monotonic() - began,
        )

    def fitting(self) -> int:
        return 1

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        try:
            return [self._judge(pair) for pair in pairs]
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(f"out of memory on the device ({one_sentence(error)})") from None
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error

    @torch.inference_mode()
    def _judge(self, pair: Pair) -> Judgement:
        inputs = self._chat.inputs(pair).to(self._model.device, dtype=self._model.dtype)
        numbers = self._model(**inputs, use_cache=False).logits[0].float().tolist()
        criteria = {}
        rubric = cast(Rubric, pair.rubric)
        for name, _, _, kind in rubric.valued:
            own = self._outputs[name]
            number = numbers[own.output]
            if not math.isfinite(number):
                return Judgement(None, error="the model gave no numbers, try another judge.dtype")
            if not own.lowest <= number <= own.highest:
                return Judgement(
                    None,
                    error=f"{name}: expected a number from {own.lowest} to {own.highest} "
                    f"(judge.outputs), found {number:.6g}",
                )
            share = (number - own.lowest) / (own.highest - own.lowest)
            lowest, highest = kind.scale or rubric.scale
            criteria[name] = round(lowest + share * (highest - lowest), 6)
        score = combine.score(rubric, criteria, pair.tags)
        usage = Usage(inputs["input_ids"].shape[1], 0)
        return Judgement(None, usage=usage, finished=Finished(criteria, score))
