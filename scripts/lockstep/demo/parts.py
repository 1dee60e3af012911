"""Parts that the tiny models and the miniature have in common."""

from typing import Any

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\
{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

AROUND_HALF: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
"""Mean and spread of pixels that run from -1 to 1."""


def make_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """Return a tokenizer with the special tokens of Qwen's."""
    import transformers

    return transformers.Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]
        additional_special_tokens=SPECIAL_TOKENS,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


def make_scheduler() -> Any:
    """Return the scheduler of Qwen-Image-Edit."""
    import diffusers

    return diffusers.FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift=1.0,
        shift_terminal=0.02,
        use_dynamic_shifting=True,
    )


def make_processor(
    tokenizer: Any, patch: int, shortest: int, longest: int, *, judge: bool = False, **norm: Any
) -> Any:
    """Return the processor of an editor's text encoder, or of a judge.

    Args:
        patch: pixels of a patch's sides.
        shortest: a picture has at least as many pixels as a square of such sides.
        longest: at most as many as a square of such sides.
        norm: mean and spread of pixels, where they are not the usual ones.
    """
    import transformers
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    kind = transformers.Qwen3VLProcessor if judge else transformers.Qwen2VLProcessor
    video = transformers.Qwen3VLVideoProcessor if judge else Qwen2VLVideoProcessor
    return kind(
        image_processor=transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": shortest**2, "longest_edge": longest**2},
            patch_size=patch,
            temporal_patch_size=2,
            merge_size=2,
            **norm,
        ),
        tokenizer=tokenizer,
        video_processor=video(),
        chat_template=CHAT_TEMPLATE,
    )


def vision_token_ids(tokenizer: Any) -> dict[str, Any]:
    """Return what a configuration says of the tokens around pictures."""
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image": "<|image_pad|>",
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }.items()
    }
