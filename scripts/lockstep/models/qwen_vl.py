"""Vision towers of Qwen-VL models on a GPU with few passes over memory.

transformers calls its attention once for each window of an image (about a hundred at one
megapixel), which keeps the CPU busy and the GPU idle, turns queries and keys in a dozen passes, and
cuts patches by a convolution. Here one kernel attends to all windows, one turns, and patches are a
matrix product.
"""

from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn
from transformers import PreTrainedModel

LONG = 1024
"""Tokens of a window from which a batch is worth while."""

Module = Any
"""A module of transformers: torch knows no types of the parts of one."""

# cuDNN plans for every new size of images, which pays: the others fill up the tower's narrow heads
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


def turn_(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    """Turn pairs of numbers, one of each half of a head, where they lie; rounded once.

    Args:
        x: tokens × heads × dim; numbers of a head lie beside each other.
        cos: tokens × dim, both halves alike.
        sin: tokens × dim, both halves alike.
    """
    tokens, heads, dim = x.shape
    _turn[(tokens,)](
        x,
        cos,
        sin,
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
    turn_(qkv[:, :2].flatten(1, 2), *position_embeddings)
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


@triton.jit  # type: ignore[untyped-decorator]
def _turn(  # type: ignore[no-untyped-def]
    x_ptr,
    cos_ptr,
    sin_ptr,
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
    angle = token * angle_stride + column
    cos = tl.load(cos_ptr + angle, mask=within, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + angle, mask=within, other=0.0).to(tl.float32)
    kind = x_ptr.dtype.element_ty
    tl.store(first, (a * cos - b * sin).to(kind), mask=mask)
    tl.store(first + half, (b * cos + a * sin).to(kind), mask=mask)
