"""Qwen-VL models on a GPU with few passes over memory.

transformers calls its attention once for each window of an image (about a hundred at one
megapixel), which keeps the CPU busy and the GPU idle, turns queries and keys in a dozen passes, and
cuts patches by a convolution. Here one kernel attends to all windows, one normalises and turns, and
patches are a matrix product.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, Cache, PreTrainedModel

LONG = 1024
"""Tokens of a window from which a batch is worth while."""

# cuDNN plans for every new size of images, which pays: the others fill up the tower's narrow heads
Module = Any
"""A module of transformers: torch knows no types of the parts of one."""

KERNELS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def optimize_vision(vision: Module) -> None:
    """Let a vision tower on a GPU, in half precision, take few passes, in place."""
    if not _is_fast(vision):
        return
    # transformers hands over the windows' longest length only where the name says flash
    vision.config._attn_implementation = "lockstep_flash"
    vision.patch_embed.forward = MethodType(_embed, vision.patch_embed)
    for block in vision.blocks:
        block.attn.forward = MethodType(_look, block.attn)


def optimize_text(text: Module) -> None:
    """Let a language model take few passes, in place.

    Norms are one kernel instead of six everywhere; on a GPU, in half precision, those of queries
    and keys turn them too where the model has them, as Qwen3-VL's does.
    """
    for module in text.modules():
        if type(module).__name__.endswith("RMSNorm"):
            # a module on one of several devices first has what it is given moved there
            name = "_old_forward" if hasattr(module, "_hf_hook") else "forward"
            setattr(module, name, MethodType(_norm, module))
    for layer in text.layers:
        if _is_fast(text) and hasattr(layer.self_attn, "q_norm"):
            layer.self_attn.forward = MethodType(_attend, layer.self_attn)


def norm_turn_(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    weight: torch.Tensor | None = None,
    epsilon: float = 0.0,
) -> None:
    """Turn pairs of numbers, one of each half of a head, where they lie; rounded once.

    Args:
        x: tokens × heads × dim; numbers of a head lie beside each other.
        cos: tokens × dim, both halves alike.
        sin: tokens × dim, both halves alike.
        weight: of an RMS norm before, a number for each of dim; None for no norm.
        epsilon: of that norm.
    """
    tokens, heads, dim = x.shape
    _norm_turn[(tokens,)](
        x,
        cos,
        sin,
        weight,
        epsilon,
        x.stride(0),
        x.stride(1),
        cos.stride(0),
        heads,
        dim // 2,
        HEADS=triton.next_power_of_2(heads),
        HALF=triton.next_power_of_2(dim // 2),
    )


def _is_fast(model: PreTrainedModel) -> bool:
    return model.device.type == "cuda" and model.dtype in (torch.bfloat16, torch.float16)


def _embed(self: Module, patches: torch.Tensor) -> torch.Tensor:
    """`forward` of a vision tower's first layer."""
    weight = self.proj.weight
    return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


def _look(
    self: Module,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    max_seqlen: int,
    **_: object,
) -> torch.Tensor:
    """`forward` of a vision tower's attention."""
    tokens, windows = len(hidden_states), len(cu_seqlens) - 1
    qkv = self.qkv(hidden_states).view(tokens, 3, self.num_heads, -1)
    for part in (0, 1):
        norm_turn_(qkv[:, part], *position_embeddings)
    query, key, value = qkv.unbind(1)
    if windows * max_seqlen == tokens and max_seqlen >= LONG:
        # all of one length, such as images of one size: a batch, for which there is a faster kernel
        q, k, v = (each.unflatten(0, (windows, -1)).transpose(1, 2) for each in (query, key, value))
        with sdpa_kernel(KERNELS, set_priority=True):
            attended = F.scaled_dot_product_attention(q, k, v, scale=self.scaling).transpose(1, 2)
    else:
        bounds = (cu_seqlens.int(), cu_seqlens.int(), max_seqlen, max_seqlen)
        found = varlen_attn(query, key, value, *bounds, scale=self.scaling)
        # it returns more only where it is asked to
        attended = cast(torch.Tensor, found)
    return self.proj(attended.reshape(tokens, -1))


def _attend(
    self: Module,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor | None,
    past_key_values: Cache | None = None,
    **given: object,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`forward` of a language model's attention."""
    shape = hidden_states.shape[:-1]
    cos, sin = (each.reshape(-1, self.head_dim) for each in position_embeddings)
    query, key, value = (
        layer(hidden_states).view(-1, layer.out_features // self.head_dim, self.head_dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj)
    )
    for x, norm in ((query, self.q_norm), (key, self.k_norm)):
        norm_turn_(x, cos, sin, norm.weight, norm.variance_epsilon)
    query, key, value = (
        x.view(*shape, -1, self.head_dim).transpose(1, 2) for x in (query, key, value)
    )
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, self.layer_idx)
    attend: Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
    attend = AttentionInterface()[self.config._attn_implementation]
    attended, weights = attend(
        self, query, key, value, attention_mask, scaling=self.scaling, **given
    )
    return self.o_proj(attended.reshape(*shape, -1)), weights


def _norm(self: Module, x: torch.Tensor) -> torch.Tensor:
    """`forward` of an RMS norm."""
    return F.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)


@triton.jit  # type: ignore[untyped-decorator]
def _norm_turn(  # type: ignore[no-untyped-def]
    x_ptr,
    cos_ptr,
    sin_ptr,
    weight_ptr,
    epsilon,
    token_stride,
    head_stride,
    angle_stride,
    heads,
    half,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, HALF)[None, :]
    within = column < half
    mask = (head < heads) & within
    first = x_ptr + token * token_stride + head * head_stride + column
    a = tl.load(first, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(first + half, mask=mask, other=0.0).to(tl.float32)
    if weight_ptr is not None:
        variance = (tl.sum(a * a, axis=1) + tl.sum(b * b, axis=1)) / (2 * half)
        scale = tl.rsqrt(variance + epsilon)[:, None]
        a *= scale * tl.load(weight_ptr + column, mask=within, other=0.0).to(tl.float32)
        b *= scale * tl.load(weight_ptr + half + column, mask=within, other=0.0).to(tl.float32)
    angle = token * angle_stride + column
    cos = tl.load(cos_ptr + angle, mask=within, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + angle, mask=within, other=0.0).to(tl.float32)
    kind = x_ptr.dtype.element_ty
    tl.store(first, (a * cos - b * sin).to(kind), mask=mask)
    tl.store(first + half, (b * cos + a * sin).to(kind), mask=mask)
