"""Judges of transformers: which models are known, and on which path each is read."""

import logging
from typing import NamedTuple

import transformers

from lockstep.judges import loading
from lockstep.judges.protocol import Judge
from lockstep.judges.qwen3_vl import LocalSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.judges.qwen3_vl.plain import PlainJudge

log = logging.getLogger(__name__)


class Known(NamedTuple):
    """A type of models."""

    name: str
    """By which people call it."""
    is_fast: bool = False
    """Whether `fast.qwen_vl` computes all that its layers do."""


KNOWN = {
    "qwen2_5_vl": Known("Qwen2.5-VL", is_fast=True),
    "qwen3_vl": Known("Qwen3-VL", is_fast=True),
    "qwen3_vl_moe": Known("Qwen3-VL-MoE"),
    "qwen3_5": Known("Qwen3.5"),
    "qwen3_5_moe": Known("Qwen3.5-MoE"),
    "glm4v": Known("GLM-4V"),
    "glm4v_moe": Known("GLM-4.5V"),
    "glm46v": Known("GLM-4.6V"),
    "gemma4": Known("Gemma 4"),
    "internvl": Known("InternVL 3 and 3.5"),
}
"""By the `model_type` in their configuration."""


def load(settings: LocalSettings, torch_device: str) -> Judge:
    """Load a judge on the fast path where its layers are known, plainly elsewhere.

    Raises:
        ConfigError: if the model cannot be found, or reads no images or writes no text.
    """
    config = loading.config_of(
        settings.model,
        settings.revision,
        [transformers.AutoModelForImageTextToText],
        "reads images and writes text",
    )
    found = config.model_type
    known = KNOWN.get(found)
    if known is not None and known.is_fast and not _has_windows(config):
        return Qwen3VLJudge(settings, torch_device)
    why = "is not known" if known is None else f"({known.name}) has no fast path"
    log.info("model type %s %s: edits are judged plainly, one at a time", found, why)
    return PlainJudge(settings, torch_device)


def _has_windows(config: transformers.PreTrainedConfig) -> bool:
    """Tell whether some layers see only the last tokens, of which the fast path knows nothing."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or ()
    return any(kind != "full_attention" for kind in kinds)
