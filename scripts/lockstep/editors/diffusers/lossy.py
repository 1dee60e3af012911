"""Approximations, off unless asked for: diffusers' reuse between steps, layers in eight bits."""

from typing import Any

import diffusers
import torch

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers.pipelines import QWEN_IMAGE_EDIT, Pipeline
from lockstep.errors import ConfigError
from lockstep.fast import float8


def check(
    settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline], torch_device: str
) -> None:
    """Refuse what does not fit the pipeline or the GPU.

    A cache needs a pipeline that tells it the two forwards of a guided step apart.

    Raises:
        ConfigError: naming the expected pipeline, GPU or dtype.
    """
    lossy, where = settings.lossy, f"editors: {settings.name}: lossy"
    if (lossy.cache or lossy.fp8) and not issubclass(kind, QWEN_IMAGE_EDIT):
        key, found = ("cache", repr(lossy.cache)) if lossy.cache else ("fp8", "true")
        expected = " or ".join(each.__name__ for each in QWEN_IMAGE_EDIT)
        raise ConfigError(f"{where}.{key}: expected {expected}, found {found} with {kind.__name__}")
    if lossy.fp8 and torch_device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        if (major, minor) < (8, 9):
            raise ConfigError(
                f"{where}.fp8: expected a GPU of compute capability 8.9 or later, which multiplies "
                f"numbers of eight bits, found {major}.{minor}"
            )
        if settings.dtype != "bfloat16":
            raise ConfigError(
                f"{where}.fp8: expected dtype 'bfloat16' on a GPU, found {settings.dtype!r}"
            )


def enable(pipeline: Pipeline, settings: DiffusersSettings) -> None:
    """Let a pipeline approximate, whose weights and code are final."""
    if settings.lossy.fp8:
        float8.quantise_layers(pipeline.transformer)
    _enable_cache(pipeline, settings)


def _enable_cache(pipeline: Pipeline, settings: DiffusersSettings) -> None:
    """Let the denoiser reuse between steps what changes little."""
    lossy = settings.lossy
    threshold = {} if lossy.threshold is None else {"threshold": lossy.threshold}
    interval = {} if lossy.interval is None else {"cache_interval": lossy.interval}
    cache: Any
    match lossy.cache:
        case None:
            return
        case "first_block":
            cache = diffusers.FirstBlockCacheConfig(**threshold)
        case "taylorseer":
            # lite: only the output is predicted, which needs next to no memory
            cache = diffusers.TaylorSeerCacheConfig(use_lite_mode=True, **interval)
        case "mag":
            cache = diffusers.MagCacheConfig(
                mag_ratios=list(lossy.mag_ratios or ()),
                num_inference_steps=settings.num_inference_steps,
                **threshold,
            )
    pipeline.transformer.enable_cache(cache)


def forget(pipeline: Pipeline) -> None:
    """Drop what a cache holds of the last sample, as it does where that one's edit failed."""
    if isinstance(pipeline, QWEN_IMAGE_EDIT) and pipeline.transformer.is_cache_enabled:
        pipeline.transformer._reset_stateful_cache()
