"""Tiny random-weight models of the pipelines that presets are for: the real classes and layout."""

from pathlib import Path
from typing import Any

from lockstep.demo import parts
from lockstep.demo.tiny import SPREAD, make_tokenizer, mark, text_config
from tests.tiny_editors import _clip_text_encoder, _clip_tokenizer, _vae

VISION = {
    "depth": 2,
    "initializer_range": SPREAD,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
}


def flux2_klein(folder: Path, kind: str = "Flux2KleinPipeline", distilled: bool = True) -> None:
    """Write a tiny FLUX.2 [klein]."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    tokenizer.chat_template = parts.CHAT_TEMPLATE
    getattr(diffusers, kind)(
        scheduler=_scheduler(),
        vae=_flux2_vae(),
        text_encoder=_qwen3(tokenizer, "Qwen3ForCausalLM", layers=27),
        tokenizer=tokenizer,
        transformer=_flux2_transformer(guidance_embeds=False),
        is_distilled=distilled,
    ).save_pretrained(folder)
    mark(folder)


def flux2_klein_base(folder: Path) -> None:
    """Write a tiny FLUX.2 [klein] that is not distilled."""
    flux2_klein(folder, distilled=False)


def flux2_klein_kv(folder: Path) -> None:
    """Write a tiny FLUX.2 [klein] with key-value reuse."""
    flux2_klein(folder, "Flux2KleinKVPipeline")


def flux2_dev(folder: Path, guidance_embeds: bool = True) -> None:
    """Write a tiny FLUX.2 [dev]."""
    import diffusers
    import transformers

    _seed()
    tokenizer = parts.make_tokenizer(
        make_tokenizer().get_vocab() | {"[IMG]": 300, "[IMG_BREAK]": 301, "[IMG_END]": 302}, []
    )
    text_encoder = transformers.Mistral3ForConditionalGeneration(
        transformers.Mistral3Config(
            text_config={
                "model_type": "mistral",
                **text_config(tokenizer),
                "num_hidden_layers": 30,
                "pad_token_id": tokenizer.pad_token_id,
                "sliding_window": None,
            },
            vision_config={
                "model_type": "pixtral",
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "intermediate_size": 32,
                "image_size": 32,
                "patch_size": 8,
            },
            image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
            vision_feature_layer=-1,
        )
    )
    diffusers.Flux2Pipeline(
        scheduler=_scheduler(),
        vae=_flux2_vae(),
        text_encoder=text_encoder,
        tokenizer=transformers.PixtralProcessor(
            image_processor=transformers.PixtralImageProcessor(),
            tokenizer=tokenizer,
            patch_size=8,
            chat_template=parts.CHAT_TEMPLATE,
        ),
        transformer=_flux2_transformer(guidance_embeds=guidance_embeds),
    ).save_pretrained(folder)
    mark(folder)


def flux3(folder: Path, kind: str = "Flux3ModularPipeline", upsampler: bool = True) -> None:
    """Write a tiny FLUX.3 [klein] base, a modular pipeline, with the model that rewrites prompts.

    Args:
        kind: class of the pipeline.
        upsampler: whether the rewriting model lies in the folder; else nowhere.
    """
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    pipeline = getattr(diffusers, kind)()
    pipeline.update_components(
        text_encoder=_qwen3_vl(tokenizer, num_hidden_layers=32),
        tokenizer=_processor(tokenizer, 16, judge=True),
        vae=_flux2_vae(),
        transformer=diffusers.Flux3Transformer2DModel(
            in_channels=16,
            cond_in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=8 * 32,
            axes_dims_rope=(4, 4, 4, 4),
            flow_map="Distilled" in kind,
        ),
    )
    if upsampler:
        pipeline.update_components(
            prompt_upsampler=_qwen3_5(tokenizer),
            prompt_upsampler_processor=_processor(tokenizer, 16, judge=True),
        )
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
    mark(folder)


def flux3_klein(folder: Path) -> None:
    """Write a tiny FLUX.3 [klein], which is distilled."""
    flux3(folder, "Flux3DistilledModularPipeline")


def qwen_image_21_turbo(folder: Path) -> None:
    """Write a tiny Qwen-Image 2.1 Turbo: it brings its steps."""
    qwen_image_21(folder, sample_sigmas=[1.0, 0.5])


def qwen_image_21(folder: Path, sample_sigmas: list[float] | None = None) -> None:
    """Write a tiny Qwen-Image 2.1."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    diffusers.QwenImage21Pipeline(
        scheduler=parts.make_scheduler(),
        vae=diffusers.AutoencoderKLQwenImage21(
            base_dim=4,
            decoder_base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        text_encoder=_qwen3_vl(tokenizer),
        processor=_processor(tokenizer, 16, judge=True),
        transformer=diffusers.QwenImage21Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=32,
            axes_dims_rope=(4, 6, 6),
        ),
        sample_sigmas=sample_sigmas,
    ).save_pretrained(folder)
    mark(folder)


def longcat_image_edit(folder: Path) -> None:
    """Write a tiny LongCat-Image-Edit."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    diffusers.LongCatImageEditPipeline(
        scheduler=_scheduler(shift=3.0, use_dynamic_shifting=True),
        vae=diffusers.AutoencoderKL(
            **_vae(latent_channels=16), scaling_factor=0.4, shift_factor=0.1, use_quant_conv=False
        ),
        text_encoder=_qwen25_vl(tokenizer),
        tokenizer=tokenizer,
        text_processor=_processor(tokenizer, 14),
        transformer=diffusers.LongCatImageTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 6, 6],
        ),
    ).save_pretrained(folder)
    mark(folder)


def glm_image(folder: Path) -> None:
    """Write a tiny GLM-Image."""
    import diffusers
    import transformers

    _seed()
    special = ("<|image|>", "<|grid_bos|>", "<|grid_eos|>", "<sop>")
    letters = make_tokenizer().get_vocab()
    tokenizer = parts.make_tokenizer(letters, [])
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer = _with_names(tokenizer)
    size = 400
    text = transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=384, d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2
        )
    )
    config = transformers.GlmImageConfig(
        text_config={
            "vocab_size": size,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "vision_vocab_size": 128,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": (4, 2, 2),
            },
            "eos_token_id": None,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "intermediate_size": 32,
        },
        vq_config={"embed_dim": 32, "num_embeddings": 128, "latent_channels": 32},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        image_start_token_id=tokenizer.bos_token_id,
        image_end_token_id=tokenizer.pad_token_id,
    )
    diffusers.GlmImagePipeline(
        tokenizer=transformers.ByT5Tokenizer(),
        processor=transformers.GlmImageProcessor(
            image_processor=transformers.GlmImageImageProcessor(
                patch_size=16,
                temporal_patch_size=1,
                merge_size=1,
                size={"shortest_edge": 32**2, "longest_edge": 128**2},
            ),
            tokenizer=tokenizer,
            chat_template=parts.CHAT_TEMPLATE.replace(
                "<|vision_start|><|image_pad|><|vision_end|>", "<sop><|image|><|endoftext|>"
            ),
        ),
        text_encoder=text,
        vision_language_encoder=transformers.GlmImageForConditionalGeneration(config),
        vae=diffusers.AutoencoderKL(
            **_vae(latent_channels=4), latents_mean=[0.0] * 4, latents_std=[1.0] * 4
        ),
        transformer=diffusers.GlmImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=32,
            time_embed_dim=16,
            condition_dim=8,
            prior_vq_quantizer_codebook_size=128,
        ),
        scheduler=_scheduler(),
    ).save_pretrained(folder)
    mark(folder)


def z_image_omni(folder: Path) -> None:
    """Write a tiny Z-Image Omni."""
    import diffusers
    import transformers

    _seed()
    tokenizer = make_tokenizer()
    diffusers.ZImageOmniPipeline(
        scheduler=_scheduler(),
        vae=diffusers.AutoencoderKL(
            **_vae(latent_channels=16), scaling_factor=0.4, shift_factor=0.1
        ),
        text_encoder=_qwen3(tokenizer, "Qwen3Model", layers=2),
        tokenizer=tokenizer,
        transformer=diffusers.ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            siglip_feat_dim=32,
            axes_dims=[4, 6, 6],
            axes_lens=[2048, 64, 64],
        ),
        siglip=transformers.Siglip2VisionModel(
            transformers.Siglip2VisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_patches=64,
            )
        ),
        siglip_processor=transformers.Siglip2ImageProcessor(max_num_patches=64),
    ).save_pretrained(folder)
    mark(folder)


def omnigen(folder: Path) -> None:
    """Write a tiny OmniGen."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    diffusers.OmniGenPipeline(
        transformer=diffusers.OmniGenTransformer2DModel(
            in_channels=4,
            hidden_size=32,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=32,
            num_layers=1,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            time_step_dim=4,
            rope_scaling={"long_factor": [1, 2, 3, 4], "short_factor": [1, 2, 3, 4]},
        ),
        scheduler=_scheduler(invert_sigmas=True, num_train_timesteps=1),
        vae=diffusers.AutoencoderKL(**_vae(latent_channels=4)),
        tokenizer=tokenizer,
    ).save_pretrained(folder)
    mark(folder)


def joyimage_edit(folder: Path, plus: bool = False) -> None:
    """Write a tiny JoyImageEdit, or its Plus."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    name = "JoyImageEditPlus" if plus else "JoyImageEdit"
    transformer: Any = getattr(diffusers, f"{name}Transformer3DModel")
    pipeline: Any = getattr(diffusers, f"{name}Pipeline")
    pipeline(
        scheduler=_scheduler(),
        vae=_wan_vae(),
        text_encoder=_qwen3_vl(tokenizer),
        tokenizer=tokenizer,
        processor=_processor(tokenizer, 16, judge=True),
        transformer=transformer(
            patch_size=[1, 2, 2],
            in_channels=16,
            hidden_size=32,
            num_attention_heads=2,
            text_dim=32,
            num_layers=1,
            rope_dim_list=[4, 6, 6],
            theta=256,
        ),
    ).save_pretrained(folder)
    mark(folder)


def joyimage_edit_plus(folder: Path) -> None:
    """Write a tiny JoyImageEditPlus."""
    joyimage_edit(folder, plus=True)


def dreamlite(folder: Path, kind: str = "DreamLitePipeline") -> None:
    """Write a tiny DreamLite."""
    import diffusers

    _seed()
    tokenizer = make_tokenizer()
    getattr(diffusers, kind)(
        text_encoder=_qwen3_vl(tokenizer),
        tokenizer=tokenizer,
        processor=_processor(tokenizer, 16, judge=True),
        vae=diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        ),
        unet=diffusers.DreamLiteUNetModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=(
                "DreamLiteCrossAttnNoSelfAttnDownBlock2D",
                "DreamLiteCrossAttnDownBlock2D",
            ),
            up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
            block_out_channels=(32, 64),
            cross_attention_dim=32,
            attention_head_dim=8,
            layers_per_block=1,
            norm_num_groups=8,
            transformer_layers_per_block=1,
        ),
        scheduler=_scheduler(),
    ).save_pretrained(folder)
    mark(folder)


def dreamlite_mobile(folder: Path) -> None:
    """Write a tiny DreamLite Mobile."""
    dreamlite(folder, "DreamLiteMobilePipeline")


def kandinsky_5_i2i(folder: Path) -> None:
    """Write a tiny Kandinsky 5 image-to-image."""
    import diffusers
    import torch

    _seed()
    tokenizer, tokenizer_2 = make_tokenizer(), _clip_tokenizer()
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=16,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=16,
        out_visual_dim=16,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(1, 1, 2),
        visual_cond=True,
        attention_type="regular",
    )
    for weights in transformer.parameters():
        # modulations are zero before training, and texts without effect
        if not weights.any():
            torch.nn.init.normal_(weights, std=SPREAD)
    diffusers.Kandinsky5I2IPipeline(
        vae=diffusers.AutoencoderKL(**_vae(latent_channels=16), scaling_factor=0.4),
        text_encoder=_qwen25_vl(tokenizer),
        tokenizer=_processor(tokenizer, 14),
        text_encoder_2=_clip_text_encoder(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
        scheduler=_scheduler(shift=7.0),
    ).save_pretrained(folder)
    mark(folder)


def chronoedit(folder: Path) -> None:
    """Write a tiny ChronoEdit."""
    import diffusers
    import transformers

    _seed()
    tokenizer = transformers.ByT5Tokenizer()
    diffusers.ChronoEditPipeline(
        transformer=diffusers.ChronoEditTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36,
            out_channels=16,
            text_dim=32,
            freq_dim=64,
            ffn_dim=32,
            num_layers=1,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
            image_dim=4,
        ),
        vae=_wan_vae(),
        scheduler=_scheduler(shift=7.0),
        text_encoder=transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=384, d_model=32, d_ff=64, d_kv=16, num_layers=1, num_heads=2
            )
        ),
        tokenizer=tokenizer,
        image_encoder=transformers.CLIPVisionModel(
            transformers.CLIPVisionConfig(
                hidden_size=4,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=8,
            )
        ),
        image_processor=transformers.CLIPImageProcessor(size=32, crop_size=32),
    ).save_pretrained(folder)
    mark(folder)


def bria_fibo_edit(folder: Path) -> None:
    """Write a tiny Bria Fibo edit."""
    import diffusers
    import transformers

    _seed()
    tokenizer = make_tokenizer()
    diffusers.BriaFiboEditPipeline(
        scheduler=_scheduler(use_dynamic_shifting=True),
        text_encoder=transformers.SmolLM3ForCausalLM(
            transformers.SmolLM3Config(
                # an empty prompt is the token 128000
                vocab_size=128256,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                pad_token_id=tokenizer.pad_token_id,
            )
        ),
        tokenizer=tokenizer,
        transformer=diffusers.BriaFiboTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=64,
            text_encoder_dim=32,
            pooled_projection_dim=None,
            axes_dims_rope=[4, 6, 6],
        ),
        vae=diffusers.AutoencoderKLWan(
            base_dim=4,
            decoder_base_dim=4,
            dim_mult=[1, 1, 1, 1],
            in_channels=12,
            out_channels=12,
            is_residual=True,
            num_res_blocks=1,
            patch_size=2,
            scale_factor_spatial=16,
            scale_factor_temporal=4,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 16,
            latents_std=[1.0] * 16,
        ),
    ).save_pretrained(folder)
    mark(folder)


def _seed() -> None:
    import torch

    torch.manual_seed(0)


def _scheduler(**given: Any) -> Any:
    import diffusers

    return diffusers.FlowMatchEulerDiscreteScheduler(**given)


def _processor(tokenizer: Any, patch: int, judge: bool = False) -> Any:
    return parts.make_processor(tokenizer, patch, 4 * patch, 8 * patch, judge=judge)


def _qwen3(tokenizer: Any, kind: str, layers: int) -> Any:
    import transformers

    config = {**text_config(tokenizer), "num_hidden_layers": layers, "head_dim": 8}
    return getattr(transformers, kind)(transformers.Qwen3Config(**config))


def _qwen25_vl(tokenizer: Any) -> Any:
    import transformers

    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=text_config(tokenizer, mrope_section=[1, 1, 2]),
            vision_config={**VISION, "fullatt_block_indexes": [1], "window_size": 112},
            **parts.vision_token_ids(tokenizer),
        )
    )


def _qwen3_5(tokenizer: Any) -> Any:
    import transformers

    return transformers.Qwen3_5ForConditionalGeneration(
        transformers.Qwen3_5Config(
            text_config={
                **text_config(tokenizer, mrope_section=[2, 1, 1], mrope_interleaved=True),
                "head_dim": 8,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
            },
            vision_config={**VISION, "num_position_embeddings": 2304},
            **parts.vision_token_ids(tokenizer),
        )
    )


def _qwen3_vl(tokenizer: Any, **more: Any) -> Any:
    import transformers

    return transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(
            text_config={
                **text_config(tokenizer, mrope_section=[2, 1, 1], mrope_interleaved=True),
                "head_dim": 8,
                **more,
            },
            vision_config={
                **VISION,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 2304,
            },
            **parts.vision_token_ids(tokenizer),
        )
    )


def _flux2_vae() -> Any:
    import diffusers

    return diffusers.AutoencoderKLFlux2(**_vae(latent_channels=4))


def _flux2_transformer(guidance_embeds: bool) -> Any:
    import diffusers

    return diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=96,
        axes_dims_rope=[4, 4, 4, 4],
        guidance_embeds=guidance_embeds,
    )


def _wan_vae() -> Any:
    import diffusers

    return diffusers.AutoencoderKLWan(
        base_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


def _with_names(tokenizer: Any) -> Any:
    """Give a tokenizer the names by which GLM-Image's processor asks for special tokens."""
    import transformers

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token=tokenizer.pad_token,
        eos_token=tokenizer.eos_token,
        bos_token="<sop>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "grid_bos_token": "<|grid_bos|>",
            "grid_eos_token": "<|grid_eos|>",
        },
    )
