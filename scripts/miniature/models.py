"""The miniature's models before training: the real classes, small, with a tokenizer of their own.

Sizes are a compromise: three checkpoints of the editor, and a judge, are to fit in 40 MB.
"""

import json
from pathlib import Path
from typing import Any

from lockstep.demo import parts, shapes, wordings
from miniature import asking

VOCABULARY = 1100
"""Tokens, special ones aside."""

SEEN = 112
"""Pixels of the sides that the editor's text encoder sees of a picture."""

LATENT = 16
"""Channels of the autoencoder's latents."""

LEVELS = (1, 2, 2, 8, 10, 10)
"""Channels of the autoencoder's levels, from one megapixel down, in units of 4."""

OUTER = 3
"""Levels of the autoencoder that are set and not trained."""

CARRIER = 32.0
"""A constant beside the pixels in the autoencoder's last levels, so that norms divide by it."""

FAINT = 1 / 256
"""What the last norm makes of a pixel, so small that the activation behind it only halves it."""


def make_tokenizer() -> Any:
    """Train the tokenizer on the world's texts; the same one whenever it is called."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    empty = transformers.Qwen2Tokenizer(vocab={}, merges=[])
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = empty.backend_tokenizer.pre_tokenizer
    learner.normalizer = empty.backend_tokenizer.normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(_texts(), trainer)
    learnt = json.loads(learner.to_str())["model"]
    merges = [(first, second) for first, second in learnt["merges"]]
    return parts.make_tokenizer(learnt["vocab"], merges)


def prefix() -> str:
    """Return the text that the editor's pipeline puts before a picture."""
    import diffusers

    parts = ("scheduler", "vae", "text_encoder", "tokenizer", "processor", "transformer")
    empty: Any = diffusers.QwenImageEditPipeline(**dict.fromkeys(parts))
    return empty.prompt_template_encode.split("<|vision_start|>")[0]


def _texts() -> list[str]:
    # the pipeline drops the first 64 tokens of its own text: each of its words is to be a token
    texts = prefix().split("<|") * 20
    for kind, english in wordings.ENGLISH.items():
        for colour in shapes.COLOURS:
            texts += [wording.format(colour=colour) + "." for wording in english]
            texts.append(" " + wordings.EFFECTS[kind].format(colour=colour) + ".")
    # Chinese has no spaces: whole phrases would become tokens
    chinese = "".join(sum(wordings.CHINESE.values(), ())) + "".join(
        wordings.COLOURS_CHINESE.values()
    )
    texts += [letter for letter in chinese + "。，" for _ in range(30)]
    texts += asking.texts() * 20
    return texts


def make_editor(tokenizer: Any, seed: int = 0) -> Any:
    """Return the editor's pipeline with weights to be trained."""
    import diffusers
    import torch
    import transformers

    torch.manual_seed(seed)
    text_encoder = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config={
                **_text_config(tokenizer, mrope_section=[4, 4, 4]),
                "hidden_size": 96,
                "intermediate_size": 256,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
            },
            vision_config={
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 96,
                "num_heads": 2,
                "out_hidden_size": 96,
                "fullatt_block_indexes": [1],
                "window_size": SEEN,
            },
            tie_word_embeddings=True,
            **parts.vision_token_ids(tokenizer),
        )
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=4 * LATENT,
        out_channels=LATENT,
        num_layers=5,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=96,
        axes_dims_rope=(8, 12, 12),
    )
    return diffusers.QwenImageEditPipeline(
        scheduler=parts.make_scheduler(),
        vae=make_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=parts.make_processor(tokenizer, 14, SEEN, SEEN, **parts.AROUND_HALF),
        transformer=transformer,
    )


def make_autoencoder() -> Any:
    """Return the autoencoder with its outer levels set, and its inner ones to be trained.

    The pipeline works at one megapixel, the world has 128 pixels a side: the outer three levels do
    nothing but average four pixels into one, and repeat one as four.
    """
    import diffusers
    import torch

    vae: Any = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=LATENT,
        dim_mult=list(LEVELS),
        num_res_blocks=1,
        temperal_downsample=[False] * 5,
        latents_mean=[0.0] * LATENT,
        latents_std=[1.0] * LATENT,
    )
    with torch.no_grad():
        for convolution in vae.modules():
            if type(convolution).__name__ == "QwenImageCausalConv3d" and (
                convolution.weight.shape[2] > 1
            ):
                # before a single frame there is nothing
                convolution.weight[:, :, :-1] = 0
        _set_encoder(vae.encoder)
        _set_decoder(vae.decoder)
    return vae


def is_inner(name: str) -> bool:
    """Tell whether a parameter of the autoencoder is trained."""
    outer = [f"encoder.down_blocks.{number}." for number in range(2 * OUTER)]
    outer += [f"decoder.up_blocks.{number}." for number in range(OUTER, 2 * OUTER)]
    outer += ["encoder.conv_in.", "decoder.norm_out.", "decoder.conv_out."]
    return not name.startswith(tuple(outer))


def _set_encoder(encoder: Any) -> None:
    """Let the outer levels of an encoder average."""
    import torch

    _only(encoder.conv_in, {(c, c): 1.0 for c in range(3)})
    for number in range(0, 2 * OUTER, 2):
        resnet, shrink = encoder.down_blocks[number], encoder.down_blocks[number + 1].resample[1]
        _pass(resnet)
        if not isinstance(resnet.conv_shortcut, torch.nn.Identity):
            _only(resnet.conv_shortcut, {(c, c): 1.0 for c in range(3)})
        _only(shrink, {})
        for c in range(3):
            shrink.weight[c, c, :2, :2] = 0.25


def _set_decoder(decoder: Any) -> None:
    """Let the outer levels of a decoder repeat."""
    import torch

    last = decoder.up_blocks[OUTER - 1].upsamplers[0].resample[1]
    _only(last, {})
    last.weight[:3, :, 1, 1] = torch.randn(3, last.weight.shape[1]) * 0.1
    last.bias[3] = CARRIER
    copied = {(c, c): 1.0 for c in range(4)}
    for block in decoder.up_blocks[OUTER:]:
        for resnet in block.resnets:
            _pass(resnet)
            if not isinstance(resnet.conv_shortcut, torch.nn.Identity):
                _only(resnet.conv_shortcut, copied)
        if block.upsamplers is not None:
            _only(block.upsamplers[0].resample[1], copied)
    # the norm divides by the carrier and multiplies by the root of the channels
    decoder.norm_out.gamma.fill_(FAINT * CARRIER / 2)
    _only(decoder.conv_out, {(c, c): 2 / FAINT for c in range(3)})


def _only(convolution: Any, taps: dict[tuple[int, int], float]) -> None:
    """Let a convolution do nothing but copy channels, where it stands."""
    convolution.weight.zero_()
    convolution.bias.zero_()
    weight = convolution.weight if convolution.weight.ndim == 4 else convolution.weight[:, :, -1]
    middle = weight.shape[-1] // 2
    for (to, origin), factor in taps.items():
        weight[to, origin, middle, middle] = factor


def _pass(resnet: Any) -> None:
    """Let a residual block add nothing."""
    resnet.conv1.weight.zero_()
    resnet.conv1.bias.zero_()
    resnet.conv2.weight.zero_()
    resnet.conv2.bias.zero_()


def make_judge(tokenizer: Any, seed: int = 0) -> tuple[Any, Any]:
    """Return the judge, with weights to be trained, and its processor."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(
            text_config={
                **_text_config(tokenizer, mrope_section=[6, 5, 5], mrope_interleaved=True),
                "head_dim": 32,
                "hidden_size": 160,
                "intermediate_size": 448,
                "num_hidden_layers": 5,
                "num_attention_heads": 5,
                "num_key_value_heads": 5,
            },
            vision_config={
                "depth": 3,
                "hidden_size": 96,
                "intermediate_size": 288,
                "num_heads": 3,
                "out_hidden_size": 160,
                "patch_size": 8,
                "deepstack_visual_indexes": [1],
                "num_position_embeddings": 256,
            },
            tie_word_embeddings=True,
            **parts.vision_token_ids(tokenizer),
        )
    )
    return model, parts.make_processor(tokenizer, 8, 128, 128, judge=True, **parts.AROUND_HALF)


def save_editor(pipeline: Any, folder: Path) -> None:
    """Write an editor's folder in bfloat16."""
    import torch

    pipeline.to(torch.bfloat16).save_pretrained(folder)


def save_judge(model: Any, processor: Any, folder: Path) -> None:
    """Write a judge's folder in bfloat16."""
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def _text_config(tokenizer: Any, **rope: object) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **rope},
        "tie_word_embeddings": True,
    }
