"""Triton kernels of Qwen-VL: what lies between two matrix products, in one pass over memory.

Sums are taken in float32 and rounded once at the end. Rows are tokens; tensors are contiguous.
Counts of tokens differ between prompts: none is compiled into a kernel.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl


def add_rms_norm(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `x + y` and its RMS norm.

    Args:
        x: … × width.
        y: as x.
        weight: width.
    """
    return _add_norm_rows(x, y, weight, None, epsilon)


def add_layer_norm(
    x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `x + y` and its layer norm; arguments as in `add_rms_norm`."""
    return _add_norm_rows(x, y, weight, bias, epsilon)


def silu_mul(x: torch.Tensor) -> torch.Tensor:
    """Return the SiLU of the first half of each row, times the second.

    Args:
        x: … × 2 width.
    """
    width = x.shape[-1] // 2
    out = torch.empty((*x.shape[:-1], width), dtype=x.dtype, device=x.device)
    block = 1024
    grid = (x.numel() // (2 * width), -(-width // block))
    _silu_mul[grid](x, out, width, BLOCK=block)
    return out


class HeadNorms(NamedTuple):
    """RMS norms of a layer's queries and keys."""

    query: torch.Tensor
    """Weights, a number for each of a head's."""
    key: torch.Tensor
    epsilon: float


def turn_store(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    norms: HeadNorms | None,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    query: torch.Tensor,
) -> None:
    """Norm and turn queries and keys, put keys and values where they are kept; rounded once.

    Pairs of numbers are turned, one of each half of a head.

    Args:
        qkv: rows × tokens × heads, of queries, then keys, then values, times dim.
        cos: tokens × dim or rows × tokens × dim, both halves alike.
        sin: as cos.
        keys: rows × heads × slots × dim, numbers of a head beside each other; changed.
        values: as keys; changed.
        slots: of each token, rows × tokens.
        query: where queries go, rows × tokens × heads × dim; changed.
    """
    rows, tokens, heads, dim = query.shape
    shared = keys.shape[1]
    weights = (None, None, 0.0) if norms is None else norms
    _turn_store[(rows * tokens,)](
        qkv,
        cos,
        sin,
        *weights,
        query,
        keys,
        values,
        slots,
        tokens,
        keys.stride(0),
        keys.stride(1),
        keys.stride(2),
        QUERIES=heads,
        SHARED=shared,
        HALF=dim // 2,
        HEADS=_power(heads + 2 * shared),
        COLUMNS=_power(dim // 2),
    )


def _power(number: int) -> int:
    """Return the next power of 2; Triton's own function is slow outside kernels."""
    return 1 << (number - 1).bit_length()


def _add_norm_rows(
    x: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    width = x.shape[-1]
    total, out = torch.empty_like(x), torch.empty_like(x)
    block = _power(width)
    warps = 8 if block >= 4096 else 4
    _add_norm[(x.numel() // width,)](
        x, y, weight, bias, total, out, width, epsilon, BLOCK=block, num_warps=warps
    )
    return total, out


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(  # type: ignore[no-untyped-def]
    x_ptr,
    y_ptr,
    weight_ptr,
    bias_ptr,
    total_ptr,
    out_ptr,
    width,
    epsilon,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    within = column < width
    at = row * width + column
    x = tl.load(x_ptr + at, mask=within, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + at, mask=within, other=0.0).to(tl.float32)
    total = (x + y).to(total_ptr.dtype.element_ty)
    tl.store(total_ptr + at, total, mask=within)
    # the norm is of what the next layers see
    x = total.to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=within, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        x = tl.where(within, x - tl.sum(x, axis=0) / width, 0.0)
        normed = x * tl.rsqrt(tl.sum(x * x, axis=0) / width + epsilon) * weight
        normed += tl.load(bias_ptr + column, mask=within, other=0.0).to(tl.float32)
    else:
        normed = x * tl.rsqrt(tl.sum(x * x, axis=0) / width + epsilon) * weight
    tl.store(out_ptr + at, normed.to(out_ptr.dtype.element_ty), mask=within)


@triton.jit  # type: ignore[untyped-decorator]
def _silu_mul(x_ptr, out_ptr, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = column < width
    at = x_ptr + row * 2 * width + column
    gate = tl.load(at, mask=within, other=0.0).to(tl.float32)
    up = tl.load(at + width, mask=within, other=0.0).to(tl.float32)
    out = gate / (1 + tl.exp(-gate)) * up
    tl.store(out_ptr + row * width + column, out.to(out_ptr.dtype.element_ty), mask=within)


@triton.jit(do_not_specialize=["tokens"])  # type: ignore[untyped-decorator]
def _turn_store(  # type: ignore[no-untyped-def]
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    query_weight_ptr,
    key_weight_ptr,
    epsilon,
    query_ptr,
    keys_ptr,
    values_ptr,
    slots_ptr,
    tokens,
    row_stride,
    head_stride,
    slot_stride,
    QUERIES: tl.constexpr,
    SHARED: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    within = column < HALF
    mask = (head < QUERIES + 2 * SHARED) & within
    is_query = head < QUERIES
    is_value = head >= QUERIES + SHARED
    at = qkv_ptr + (token * (QUERIES + 2 * SHARED) + head) * 2 * HALF + column
    first = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(at + HALF, mask=mask, other=0.0).to(tl.float32)
    angle = token * 2 * HALF + column
    cos = tl.load(cos_ptr + angle, mask=within, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + angle, mask=within, other=0.0).to(tl.float32)
    a, b = first, second
    if query_weight_ptr is not None:
        variance = (tl.sum(a * a, axis=1) + tl.sum(b * b, axis=1)) / (2 * HALF)
        scale = tl.rsqrt(variance + epsilon)[:, None]
        query_a = tl.load(query_weight_ptr + column, mask=within, other=0.0).to(tl.float32)
        query_b = tl.load(query_weight_ptr + HALF + column, mask=within, other=0.0).to(tl.float32)
        key_a = tl.load(key_weight_ptr + column, mask=within, other=0.0).to(tl.float32)
        key_b = tl.load(key_weight_ptr + HALF + column, mask=within, other=0.0).to(tl.float32)
        a *= scale * tl.where(is_query, query_a, key_a)
        b *= scale * tl.where(is_query, query_b, key_b)
    kind = query_ptr.dtype.element_ty
    left = tl.where(is_value, first, a * cos - b * sin).to(kind)
    right = tl.where(is_value, second, b * cos + a * sin).to(kind)
    to_query = query_ptr + (token * QUERIES + head) * 2 * HALF + column
    tl.store(to_query, left, mask=is_query & within)
    tl.store(to_query + HALF, right, mask=is_query & within)
    slot = tl.load(slots_ptr + token)
    kept = (token // tokens) * row_stride + slot * slot_stride + column
    to_key = keys_ptr + kept + (head - QUERIES) * head_stride
    is_key = (head >= QUERIES) & (head < QUERIES + SHARED) & within
    tl.store(to_key, left, mask=is_key)
    tl.store(to_key + HALF, right, mask=is_key)
    to_value = values_ptr + kept + (head - QUERIES - SHARED) * head_stride
    tl.store(to_value, left, mask=is_value & mask)
    tl.store(to_value + HALF, right, mask=is_value & mask)
