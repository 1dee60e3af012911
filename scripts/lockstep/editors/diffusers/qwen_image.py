"""Qwen-Image-Edit (and Plus: 2509, 2511) as fast as its matrix products.

The transformer is in `qwen_transformer`, the autoencoder in `qwen_autoencoder`; here are the
prompts, and what the CPU can do ahead of the device. docs/speed.md says what each step brings.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from lockstep.editors.diffusers.pipelines import Pipeline
from lockstep.fast import qwen_autoencoder, qwen_transformer
from lockstep.models.qwen_vl import optimize_vision


def optimize(pipeline: Pipeline) -> None:
    """Make a pipeline fast, in place; its weights must have their final values.

    Raises:
        ValueError: at a later call, for what only the slow path can do: batches and masks.
    """
    optimize_vision(pipeline.text_encoder.model.visual)
    qwen_transformer.optimize(pipeline.transformer, pipeline.scheduler)
    qwen_autoencoder.optimize(pipeline.vae)


class Prepared(NamedTuple):
    """What the CPU does for an edit ahead of the device."""

    images: Image.Image | list[Image.Image]
    """Sources as the pipeline takes them: one alone, or a list."""
    inputs: list[dict[str, torch.Tensor]]
    """For the text encoder, one for each prompt."""
    size: tuple[int, int]
    """Width and height of the edited image."""


def prepare(pipeline: Pipeline, images: Sequence[Image.Image], prompts: Sequence[str]) -> Prepared:
    """Resize sources and make the text encoder's inputs, on the CPU.

    Args:
        images: 8-bit RGB; more than one for a Plus pipeline only, whose edits have the proportions
            of the last one.
        prompts: instruction and, with guidance, the negative prompt.
    """
    resize = pipeline.image_processor.resize
    sizes, seen = [], []
    for image in images:
        ratio = image.width / image.height
        if isinstance(pipeline, diffusers.QwenImageEditPlusPipeline):
            dimensions = pipeline_qwenimage_edit_plus.calculate_dimensions
            width, height = dimensions(pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE, ratio)
            condition = dimensions(pipeline_qwenimage_edit_plus.CONDITION_IMAGE_SIZE, ratio)
        else:
            dimensions = pipeline_qwenimage_edit.calculate_dimensions
            condition = width, height = dimensions(1024 * 1024, ratio)[:2]
        sizes.append((width, height))
        seen.append(resize(image, condition[1], condition[0]))
    before = ""
    if isinstance(pipeline, diffusers.QwenImageEditPlusPipeline):
        shown = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"
        before = "".join(shown.format(number) for number in range(1, len(images) + 1))
    inputs = [
        dict(
            pipeline.processor(
                text=[pipeline.prompt_template_encode.format(before + prompt)],
                images=seen,
                return_mm_token_type_ids=True,
                return_tensors="pt",
            )
        )
        for prompt in prompts
    ]
    # the pipeline computes each size anew from the image that it is given
    ready = [
        resize(image, size[1], size[0])
        if dimensions(1024 * 1024, size[0] / size[1])[:2] == size
        else image
        for image, size in zip(images, sizes, strict=True)
    ]
    return Prepared(ready if len(ready) > 1 else ready[0], inputs, sizes[-1])


def encode(pipeline: Pipeline, prepared: Prepared) -> dict[str, Any]:
    """Encode all prompts, the image once, and return them as arguments of the pipeline's call."""
    encoder = pipeline.text_encoder.model
    first, embeds = pipeline.prompt_template_encode_start_idx, []
    shared = {
        name: prepared.inputs[0][name].to(encoder.device)
        for name in ("pixel_values", "image_grid_thw")
    }
    # cuDNN, which PyTorch prefers, would plan 0.07 s for every new number of tokens
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with torch.no_grad(), sdpa_kernel(kernels), _image_seen_once(encoder):
        for inputs in prepared.inputs:
            own = {name: inputs[name].to(encoder.device) for name in inputs.keys() - shared.keys()}
            hidden = encoder(**own, **shared, use_cache=False).last_hidden_state
            embeds.append(hidden[:, first:].to(pipeline.text_encoder.dtype))
    arguments = {}
    for prefix, each in zip(("", "negative_"), embeds, strict=False):
        arguments[f"{prefix}prompt_embeds"] = each
        # nothing is masked, and without a mask the pipeline warns
        mask = torch.ones(each.shape[:2], dtype=torch.bool, device=each.device)
        arguments[f"{prefix}prompt_embeds_mask"] = mask
    return arguments


@contextmanager
def _image_seen_once(encoder: Any) -> Iterator[None]:
    """Take the image's features from the first prompt for all further ones."""
    features: list[Any] = []

    def get_image_features(*args: Any, **kwargs: Any) -> Any:
        if not features:
            features.append(type(encoder).get_image_features(encoder, *args, **kwargs))
        return features[0]

    encoder.get_image_features = get_image_features
    try:
        yield
    finally:
        del encoder.get_image_features
