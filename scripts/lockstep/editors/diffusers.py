"""Qwen-Image-Edit and its kin through diffusers, one image at a time."""

import logging
import time

import diffusers
import numpy as np
import safetensors
import torch
import transformers
from PIL import Image

from lockstep import config
from lockstep.errors import ConfigError, DeviceError, EditError, one_sentence
from lockstep.images import open_rgb
from lockstep.models import check_weights
from lockstep.records import Sample

log = logging.getLogger(__name__)

# their bars would fill the log
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()


class DiffusersEditor:
    """A pipeline that takes an image and a prompt.

    Args:
        settings: model and call arguments.
        torch_device: cpu or cuda.

    Raises:
        ConfigError: if the model cannot be found or is no pipeline.
    """

    def __init__(self, settings: config.DiffusersEditor, torch_device: str) -> None:
        self._settings = settings
        self._device = torch_device
        if torch_device == "cpu":
            # with more threads the order of sums, and so the last bits, depends on their number
            torch.set_num_threads(1)
        began = time.monotonic()
        try:
            self._pipeline = _load(settings, torch_device)
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise ConfigError(
                f"editors: {settings.name}: cannot load {settings.model!r} ({one_sentence(error)})"
            ) from None
        self._pipeline.set_progress_bar_config(disable=True)
        add_token_types(self._pipeline.text_encoder)
        log.info(
            "loaded %s from %s on %s in %.1f s",
            type(self._pipeline).__name__,
            settings.model,
            torch.cuda.get_device_name() if torch_device == "cuda" else "cpu",
            time.monotonic() - began,
        )

    def edit(self, sample: Sample, seed: int) -> Image.Image:
        settings = self._settings
        try:
            result = self._pipeline(
                image=open_rgb(sample.image),
                prompt=sample.instruction,
                # without it the pipeline ignores true_cfg_scale
                negative_prompt=settings.negative_prompt if settings.true_cfg_scale > 1 else None,
                true_cfg_scale=settings.true_cfg_scale,
                num_inference_steps=settings.num_inference_steps,
                # on the CPU, so that every kind of device starts from the same noise
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="np",
            )
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise EditError(f"out of memory on the device ({one_sentence(error)})") from None
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error
        if self._device == "cuda":
            log.info("peak device memory %.1f GiB", torch.cuda.max_memory_allocated() / 2**30)
        image = result.images[0]
        if not np.isfinite(image).all():
            raise EditError("the pipeline returned pixels that are no numbers")
        return self._pipeline.image_processor.numpy_to_pil(image[None])[0]


def _load(settings: config.DiffusersEditor, torch_device: str) -> diffusers.DiffusionPipeline:
    """Load a pipeline part by part, so that each can say whether its weights were all there.

    Raises:
        ConfigError: if weights are missing, which would leave them random.
    """
    place = {
        "revision": settings.revision,
        "dtype": getattr(torch, settings.dtype),
        "device_map": "cuda" if torch_device == "cuda" else None,
    }
    index = diffusers.DiffusionPipeline.load_config(settings.model, revision=settings.revision)
    parts = {}
    for name, value in index.items():
        kind = _kind(value)
        if kind is not None:
            parts[name], info = kind.from_pretrained(
                settings.model, subfolder=name, output_loading_info=True, **place
            )
            check_weights(f"editors: {settings.name}: {settings.model}/{name}", info)
    return diffusers.DiffusionPipeline.from_pretrained(settings.model, **place, **parts)


def _kind(value: object) -> type[torch.nn.Module] | None:
    """Return the class of a part that has weights, from its line in model_index.json."""
    libraries = {"diffusers": diffusers, "transformers": transformers}
    if not isinstance(value, list) or value[0] not in libraries:
        return None
    kind = getattr(libraries[value[0]], value[1])
    return kind if issubclass(kind, torch.nn.Module) else None


def add_token_types(text_encoder: transformers.PreTrainedModel) -> None:
    """Make a Qwen2.5-VL text encoder see which of its tokens are image tokens.

    Without `mm_token_type_ids` transformers falls back to one-dimensional positions, and the
    Qwen-Image-Edit pipelines of diffusers do not pass them (huggingface/diffusers issue 14194):
    the embeddings, and so the pixels, are wrong with no warning.
    """
    if not isinstance(text_encoder, transformers.Qwen2_5_VLForConditionalGeneration):
        return

    def before(module, args, kwargs):
        if kwargs.get("pixel_values") is not None and kwargs.get("mm_token_type_ids") is None:
            image_tokens = kwargs["input_ids"] == module.config.image_token_id
            kwargs["mm_token_type_ids"] = image_tokens.int()
        return args, kwargs

    text_encoder.register_forward_pre_hook(before, with_kwargs=True)
