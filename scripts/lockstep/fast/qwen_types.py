"""What the fast path needs of diffusers' classes for Qwen-Image, and what it adds to them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

Function = Callable[..., Any]
"""A module, or what takes its place."""


class Scheduler(Protocol):
    timesteps: torch.Tensor


class Block(Protocol):
    """A `QwenImageTransformerBlock`."""

    attn: Any
    img_mod: Function
    txt_mod: Function
    img_mlp: Any
    txt_mlp: Any
    forward: Function

    norm_modulate: Function
    """Added: `qwen_transformer.norm_modulate`, or what also quantises its result."""
    gate_norm_modulate: Function
    """Added: `qwen_transformer.gate_norm_modulate`, or what also quantises its result."""
    image_qkv: Function
    """Added: projects image tokens to queries, keys and values."""
    text_qkv: Function
    """Added: projects text tokens to queries, keys and values."""
    norm_weights: torch.Tensor
    """Added: of the norms of text queries and keys, image queries and keys; 4 × dim."""

    def __call__(self, **given: Any) -> tuple[torch.Tensor, torch.Tensor]: ...


class Transformer(Protocol):
    """A `QwenImageTransformer2DModel`."""

    zero_cond_t: bool
    is_cache_enabled: bool
    transformer_blocks: Sequence[Block]
    img_in: Function
    txt_in: Function
    txt_norm: Function
    pos_embed: Function
    time_text_embed: Function
    norm_out: Function
    proj_out: Function
    forward: Function

    scheduler: Scheduler
    """Added: its steps are the only ones that the transformer is called with."""
    modulated: torch.Tensor | None
    """Added: the steps that `modulation` is of."""
    modulation: Any
    """Added: what these steps do to every block."""


class Autoencoder(Protocol):
    """An `AutoencoderKLQwenImage`."""

    encoder: Any
    decoder: Any
    quant_conv: Function
    post_quant_conv: Function
    _encode: Function
    _decode: Function

    def modules(self) -> Iterator[Any]: ...


class Convolution(Protocol):
    """A `QwenImageCausalConv3d`."""

    bias: torch.Tensor | None
    stride: tuple[int, ...]
    _padding: tuple[int, ...]

    frame_weight: torch.Tensor
    """Added: of the last frame, in the plane."""
