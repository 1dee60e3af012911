"""Tiny random-weight models of other families than Qwen: the real classes, the real layout."""

from pathlib import Path
from typing import Any

from lockstep import records
from lockstep.demo.tiny import SPREAD, mark


def make_flux_kontext(folder: Path, seed: int = 0) -> None:
    """Write a tiny FLUX.1 Kontext as a diffusers folder."""
    import diffusers
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = _clip_tokenizer()
    tokenizer_2 = transformers.T5Tokenizer(extra_ids=0)
    diffusers.FluxKontextPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKL(
            **_vae(latent_channels=4), scaling_factor=0.4, shift_factor=0.1, use_quant_conv=False
        ),
        text_encoder=_clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=transformers.T5EncoderModel(
            transformers.T5Config(
                vocab_size=len(tokenizer_2), d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2
            )
        ),
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
    ).save_pretrained(folder)
    mark(folder)


def make_instruct_pix2pix(folder: Path, seed: int = 0, safety_checker: bool = False) -> None:
    """Write a tiny InstructPix2Pix as a diffusers folder.

    Args:
        seed: seed of the random weights.
        safety_checker: add one; it takes every image for unsafe.
    """
    import diffusers
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = _clip_tokenizer()
    diffusers.StableDiffusionInstructPix2PixPipeline(
        vae=diffusers.AutoencoderKL(**_vae(latent_channels=4)),
        text_encoder=_clip_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=8,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
            cross_attention_dim=32,
        ),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True),
        safety_checker=_safety_checker() if safety_checker else None,
        feature_extractor=transformers.CLIPImageProcessor(size=32, crop_size=32),
        requires_safety_checker=safety_checker,
    ).save_pretrained(folder)
    mark(folder)


def _vae(latent_channels: int) -> dict[str, Any]:
    """Return what makes an autoencoder of 8 pixels per latent."""
    return {
        "block_out_channels": (4, 4, 4, 4),
        "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": latent_channels,
        "norm_num_groups": 2,
    }


def _clip_tokenizer() -> Any:
    import transformers
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )


def _clip_text_encoder(tokenizer: Any) -> Any:
    import transformers

    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _safety_checker() -> Any:
    import torch
    import transformers
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    checker = StableDiffusionSafetyChecker(
        transformers.CLIPConfig(vision_config=vision, projection_dim=8)
    )
    # a cosine below -1 is what no image has
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0)
    return checker


def make_adapter(
    path: Path, editor: Path, rank: int = 2, alpha: float = 4.0, seed: int = 0
) -> None:
    """Write a random LoRA of a tiny Qwen-Image-Edit, in the layout of the Lightning adapters.

    Args:
        path: the `.safetensors` file.
        editor: folder of the editor whose linear layers it changes.
        rank: columns of each `lora_up`.
        alpha: the change is `alpha / rank · lora_up @ lora_down`.
    """
    import diffusers
    import torch
    from safetensors.torch import save

    generator = torch.Generator().manual_seed(seed)
    model = diffusers.QwenImageTransformer2DModel.from_pretrained(editor, subfolder="transformer")
    weights = {}
    for name, layer in model.transformer_blocks.named_modules(prefix="transformer_blocks"):
        if isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            for side, shape in {"down": (rank, inputs), "up": (outputs, rank)}.items():
                matrix = torch.randn(shape, generator=generator) * SPREAD
                weights[f"{name}.lora_{side}.weight"] = matrix
            weights[f"{name}.alpha"] = torch.tensor(alpha)
    records.write_bytes(path, save(weights, metadata={"format": "pt"}))
