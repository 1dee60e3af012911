"""Tiny judges with random weights, in the real classes of each architecture that is known."""

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, normalizers, pre_tokenizers

from lockstep.demo import parts, tiny

SIZE = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}

TEMPLATE = """\
{%- for message in messages %}<{{ message.role }}>
{% for part in message.content %}{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}\
{% endif %}{% endfor %}<end>
{% endfor %}{% if add_generation_prompt %}<assistant>
{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}{% endif %}"""
"""As templates of models that think unless they are told not to."""


def bytes_tokenizer(special: dict[str, str], *, with_ten: bool) -> Any:
    """Return a tokenizer of single bytes.

    Args:
        with_ten: whether 10 is a token of its own, as of tokenizers that join digits.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = {letter: number for number, letter in enumerate(letters)}
    merges = []
    if with_ten:
        known["10"] = len(known)
        merges = [("1", "0")]
    own = tokenizers.Tokenizer(tokenizers.models.BPE(known, merges))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    return fast_tokenizer(own, special)


def pieces_tokenizer(special: dict[str, str]) -> Any:
    """Return a tokenizer of single characters that writes spaces as SentencePiece's do."""
    letters = [chr(code) for code in range(33, 127)] + ["▁", "\n"]
    known = {f"<0x{byte:02X}>": byte for byte in range(256)}
    known |= {letter: 256 + number for number, letter in enumerate(letters)}
    own = tokenizers.Tokenizer(tokenizers.models.BPE(known, [], byte_fallback=True))
    own.normalizer = normalizers.Replace(" ", "▁")
    own.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return fast_tokenizer(own, special)


def fast_tokenizer(own: Any, special: dict[str, str]) -> Any:
    ends = {"eos_token": "<end>", "pad_token": "<pad>", "bos_token": "<bos>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own,
        **ends,
        extra_special_tokens={
            **special,
            **{role: f"<{role}>" for role in ("system", "user", "assistant")},
        },
    )


def ids(tokenizer: Any, **tokens: str) -> dict[str, int]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def text_config(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Return what the language models have in common: four layers of 32."""
    given = tiny.text_config(tokenizer, **more.pop("rope", {}))
    return {**given, "head_dim": 8, "pad_token_id": None, **more}


EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}

GATED = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
"""Of Qwen3.5: a layer that sums up what it has read, and one that looks back at it."""


def qwen_vision(**more: Any) -> dict[str, Any]:
    return {
        "depth": 2,
        "initializer_range": tiny.SPREAD,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 2304,
        **more,
    }


def make_qwen(
    folder: Path,
    kind: str,
    text: dict[str, Any],
    vision: dict[str, Any],
    head: str = "ForConditionalGeneration",
    **more: Any,
) -> None:
    """Write a model that has Qwen3-VL's processor."""
    tokenizer = tiny.make_tokenizer()
    rope = {"rope": {"mrope_section": [2, 1, 1], "mrope_interleaved": True}}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_config(tokenizer, **rope, **text),
        vision_config=qwen_vision(**vision),
        **parts.vision_token_ids(tokenizer),
        **more,
    )
    processor = parts.make_processor(tokenizer, 16, 64, 128, judge=True, **parts.AROUND_HALF)
    processor.chat_template = parts.CHAT_TEMPLATE + (
        "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    )
    write(folder, getattr(transformers, f"{kind}{head}"), config, processor)


def make_glm(folder: Path, kind: str, text: dict[str, Any]) -> None:
    family = "Glm46V" if kind == "Glm46V" else "Glm4v"
    marks = {"image": "<|image|>", "video": "<|video|>"}
    marks |= {"image_start": "<|begin_of_image|>", "image_end": "<|end_of_image|>"}
    marks |= {"video_start": "<|begin_of_video|>", "video_end": "<|end_of_video|>"}
    tokenizer = bytes_tokenizer(
        {f"{name}_token": mark for name, mark in marks.items()}, with_ten=True
    )
    rope = {"rope": {"mrope_section": [1, 1, 2]}}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_config(tokenizer, **rope, **text),
        vision_config=qwen_vision(image_size=84, patch_size=14, spatial_merge_size=2),
        **ids(tokenizer, **{f"{name}_token_id": mark for name, mark in marks.items()}),
    )
    processor = getattr(transformers, f"{family}Processor")(
        image_processor=getattr(transformers, f"{family}ImageProcessor")(size=SIZE),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{family}VideoProcessor")(),
        chat_template=TEMPLATE.replace("IMAGE", "<|begin_of_image|><|image|><|end_of_image|>"),
    )
    write(folder, getattr(transformers, f"{kind}ForConditionalGeneration"), config, processor)


def make_gemma(folder: Path) -> None:
    marks = {"image": "<|image|>", "boi": "<|image>", "eoi": "<image|>"}
    marks |= {"audio": "<|audio|>", "boa": "<|audio>", "eoa": "<audio|>"}
    tokenizer = pieces_tokenizer({f"{name}_token": mark for name, mark in marks.items()})
    image = transformers.Gemma4ImageProcessor(max_soft_tokens=70)
    processor = transformers.Gemma4Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=image,
        tokenizer=tokenizer,
        video_processor=transformers.Gemma4VideoProcessor(),
        chat_template="{{ bos_token }}" + TEMPLATE.replace("IMAGE", "<|image|>"),
    )
    text = text_config(tokenizer)
    del text["rope_parameters"]
    names = [name for name in marks if name != "eoa"]
    config = transformers.Gemma4Config(
        text_config={
            **text,
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 64,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": len(tokenizer),
            "final_logit_softcapping": 30.0,
            "use_bidirectional_attention": "vision",
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "initializer_range": tiny.SPREAD,
        },
        audio_config=None,
        **ids(tokenizer, **{f"{name}_token_id": marks[name] for name in names}),
        eoa_token_index=tokenizer.convert_tokens_to_ids(marks["eoa"]),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
    )
    write(folder, transformers.Gemma4ForConditionalGeneration, config, processor)


def make_internvl(folder: Path) -> None:
    marks = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>"}
    marks |= {"video": "<video>"}
    tokenizer = bytes_tokenizer(
        {f"{name}_token": mark for name, mark in marks.items()}, with_ten=False
    )
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(
            size={"height": 56, "width": 56}, crop_to_patches=False
        ),
        tokenizer=tokenizer,
        video_processor=transformers.InternVLVideoProcessor(),
        image_seq_length=4,
        # it has no switch
        chat_template=TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n").split("{% if enable_thinking")[0]
        + "{% endif %}",
    )
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen3", **text_config(tokenizer)},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [56, 56],
            "initializer_range": tiny.SPREAD,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    write(folder, transformers.InternVLForConditionalGeneration, config, processor)


def make_gemma3_reward(folder: Path, numbers: int) -> None:
    marks = {"image": "<image_soft_token>", "boi": "<start_of_image>", "eoi": "<end_of_image>"}
    tokenizer = pieces_tokenizer({f"{name}_token": mark for name, mark in marks.items()})
    text = text_config(tokenizer)
    del text["rope_parameters"]
    config = transformers.Gemma3Config(
        text_config={**text, "sliding_window": 64, "pad_token_id": tokenizer.pad_token_id},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        **ids(tokenizer, image_token_id=marks["image"]),
        boi_token_index=tokenizer.convert_tokens_to_ids(marks["boi"]),
        eoi_token_index=tokenizer.convert_tokens_to_ids(marks["eoi"]),
        num_labels=numbers,
    )
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template="{{ bos_token }}" + TEMPLATE.replace("IMAGE", "<start_of_image>"),
    )
    write(folder, transformers.Gemma3ForSequenceClassification, config, processor)


def write(folder: Path, kind: Any, config: Any, processor: Any) -> None:
    torch.manual_seed(0)
    config.dtype = "float32"
    kind(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    tiny.mark(folder)


MAKE = {
    "qwen3_vl_moe": lambda folder: make_qwen(
        folder,
        "Qwen3VLMoe",
        {**EXPERTS, "num_experts": 4},
        {"deepstack_visual_indexes": [0, 1]},
    ),
    "qwen3_5": lambda folder: make_qwen(folder, "Qwen3_5", GATED, {}),
    "qwen3_5_moe": lambda folder: make_qwen(
        folder,
        "Qwen3_5Moe",
        {**GATED, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
        {},
    ),
    "glm4v": lambda folder: make_glm(folder, "Glm4v", {}),
    "glm46v": lambda folder: make_glm(folder, "Glm46V", {}),
    "glm4v_moe": lambda folder: make_glm(
        folder,
        "Glm4vMoe",
        {**EXPERTS, "n_routed_experts": 4, "first_k_dense_replace": 1, "head_dim": 16},
    ),
    "gemma4": make_gemma,
    "internvl": make_internvl,
}
"""What writes a tiny judge into a folder, by its `model_type`."""

MAKE_REWARD = {
    "qwen3_5": lambda folder, numbers: make_qwen(
        folder, "Qwen3_5", GATED, {}, "ForSequenceClassification", num_labels=numbers
    ),
    "gemma3": make_gemma3_reward,
}
"""What writes a tiny reward model of so many numbers into a folder, by its `model_type`."""
