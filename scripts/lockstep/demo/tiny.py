"""Tiny random-weight models and a small benchmark, so that everything runs without a GPU.

The classes and the layout on disk are the real ones: what runs here runs with real weights.
Random weights mean meaningless scores; a marker file in each model's folder says so.
"""

import base64
import io
import itertools
import json
from pathlib import Path
from typing import Any

from PIL import Image

from lockstep import records
from lockstep.demo import parts, scenes
from lockstep.demo.scenes import Scene
from lockstep.models import fingerprints

SPREAD = 0.4
"""Standard deviation of the random weights of language and vision models."""


def make_editor(folder: Path, plus: bool = False, zero_cond_t: bool = False, seed: int = 0) -> None:
    """Write a tiny Qwen-Image-Edit as a diffusers folder.

    Args:
        plus: write the Plus pipeline (2509 and 2511) instead.
        zero_cond_t: modulate the source's tokens as 2511 does, as if they had no noise.
        seed: seed of the random weights.
    """
    import diffusers
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    text_encoder = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=text_config(tokenizer, mrope_section=[1, 1, 2]),
            vision_config={
                "depth": 2,
                "initializer_range": SPREAD,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
                "window_size": 112,
            },
            **parts.vision_token_ids(tokenizer),
        )
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
        zero_cond_t=zero_cond_t,
    )
    # 16 instead of 8 pixels per latent: the pipeline works at one megapixel whatever the source
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    pipeline: Any = diffusers.QwenImageEditPlusPipeline if plus else diffusers.QwenImageEditPipeline
    pipeline(
        scheduler=parts.make_scheduler(),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=parts.make_processor(tokenizer, 14, 56, 112),
        transformer=transformer,
    ).save_pretrained(folder)
    mark(folder)


def make_judge(folder: Path, seed: int = 0) -> None:
    """Write a tiny Qwen3-VL as a transformers folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(
            text_config={
                **text_config(tokenizer, mrope_section=[2, 1, 1], mrope_interleaved=True),
                "head_dim": 8,
            },
            vision_config={
                "depth": 2,
                "initializer_range": SPREAD,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 2304,
            },
            **parts.vision_token_ids(tokenizer),
        )
    ).save_pretrained(folder)
    processor = parts.make_processor(tokenizer, 16, 64, 128, judge=True, **parts.AROUND_HALF)
    processor.save_pretrained(folder)
    mark(folder)


def make_benchmark(path: Path, per_category: int = 2) -> None:
    """Write a small benchmark in the RE-Edit style: drawn scenes of all five categories.

    PNG, JPEG and WebP, RGB, RGBA and greyscale, wide and tall, in turn.
    """
    items: list[dict[str, object]] = []
    for _, group in itertools.groupby(scenes.SCENES, key=lambda scene: scene.subset):
        drawn = list(group)
        for number in range(per_category):
            repetition, index = divmod(number, len(drawn))
            items.append(_item(drawn[index], len(items), repetition))
    records.write_text(path, json.dumps(items, ensure_ascii=False))


def make_tokenizer() -> Any:
    """Return a tokenizer of single bytes."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return parts.make_tokenizer({letter: number for number, letter in enumerate(alphabet)}, [])


def text_config(tokenizer: Any, **rope: object) -> dict[str, Any]:
    """Return the configuration of a language model."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        # large weights, so that replies and pixels depend on every input
        "initializer_range": SPREAD,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, **rope},
    }


def mark(folder: Path) -> None:
    """Say in a model's folder that its weights are random."""
    records.write_text(
        Path(folder, fingerprints.RANDOM), "These weights are random; they mean nothing.\n"
    )


_LOOKS = [
    # format, mode, size: the hard cases are among them
    ("PNG", "RGB", (256, 192)),
    ("WEBP", "RGB", (192, 256)),
    ("JPEG", "RGB", (224, 224)),
    ("JPEG", "RGB", (320, 128)),
    ("PNG", "L", (224, 224)),
    ("PNG", "RGBA", (224, 224)),
]


def _item(scene: Scene, position: int, repetition: int) -> dict[str, object]:
    form, mode, size = _look(scene, position)
    image = scenes.render(scene, size, repetition)
    if mode == "RGBA":
        # only the corners fade, so that the scene stays whole on any background
        gradient = Image.radial_gradient("L").resize(size)
        fade = gradient.point(lambda value: min(255, 3 * (255 - value)))
        image.putalpha(fade)
    buffer = io.BytesIO()
    # the default quality frays the edges of flat colours
    image.convert(mode).save(buffer, form, quality=92)
    difficulty = ("easy", "medium", "hard")[position % 3]
    return {
        "subset": scene.subset,
        "original_description": scene.description_zh,
        "original_description_en": scene.description,
        "edit_instruction": scene.instruction_zh,
        "edit_instruction_en": scene.instruction,
        "src_img_b64": base64.b64encode(buffer.getvalue()).decode(),
        "rationale_short": scene.rationale_zh,
        "rationale_short_en": scene.rationale,
        "tags": [form.lower(), mode.lower()],
        "difficulty": difficulty,
        "original_image_path": f"drawn/{position:05d}_{scene.subset}_{difficulty}.png",
        "seed": 42,
    }


def _look(scene: Scene, position: int) -> tuple[str, str, tuple[int, int]]:
    look = _LOOKS[position % len(_LOOKS)]
    if look[1] == "L" and scene.needs_colour:
        return _LOOKS[(position + 1) % len(_LOOKS)]
    return look
