"""Triton kernels of Qwen-Image: what lies between two matrix products, in one pass over memory.

Sums are taken in float32 and rounded once at the end. Rows are tokens; tensors are contiguous.
Counts of tokens differ between samples: none is compiled into a kernel.
"""

import torch
import triton
import triton.language as tl


def norm_modulate(x: torch.Tensor, modulation: torch.Tensor, split: int) -> torch.Tensor:
    """Return `norm(x) * (1 + scale) + shift`, with a layer norm without weights.

    Args:
        x: tokens × width.
        modulation: shift, scale and gate side by side, 1 or 2 × 3 width; see `split`.
        split: tokens from this one on take the second row of the modulation.
    """
    out = torch.empty_like(x)
    _launch_norm(x, modulation, out, None, split)
    return out


def norm_modulate_quantise(
    x: torch.Tensor, modulation: torch.Tensor, split: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `norm_modulate` does as `quantise` does, rounded once."""
    out, scales = _eight_bits(x)
    _launch_norm(x, modulation, out, scales, split)
    return out, scales


def gate_norm_modulate(
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, modulation: torch.Tensor, split: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `x + gate * y` and the modulated norm of it, in one pass.

    Args:
        x: tokens × width.
        y: tokens × width.
        gate: modulation whose gate is meant.
        modulation: modulation of the norm, 1 or 2 × 3 width as in `norm_modulate`.
        split: tokens from this one on take the second row of both.
    """
    total, out = torch.empty_like(x), torch.empty_like(x)
    _launch_gate_norm(x, y, gate, modulation, total, out, None, split)
    return total, out


def gate_norm_modulate_quantise(
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, modulation: torch.Tensor, split: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sum of `gate_norm_modulate`, and the modulated norm as `quantise` does."""
    total, (out, scales) = torch.empty_like(x), _eight_bits(x)
    _launch_gate_norm(x, y, gate, modulation, total, out, scales, split)
    return total, out, scales


def gate(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, split: int) -> torch.Tensor:
    """Return `x + gate * y`; arguments as in `gate_norm_modulate`."""
    out = torch.empty_like(x)
    tokens, width = x.shape
    _gate[(tokens,)](x, y, gate, out, split, width, gate.stride(0), **_row(width))
    return out


def quantise(x: torch.Tensor, gelu: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Round rows to eight bits (e4m3), the largest of each to the largest number there is.

    Args:
        x: rows × width.
        gelu: of its GELU instead, in the tanh form.

    Returns:
        Values, and what those of each row are to be multiplied with: rows × 1, float32.
    """
    out, scales = _eight_bits(x)
    rows, width = x.shape
    _quantise[(rows,)](x, out, scales, width, GELU=gelu, **_row(width))
    return out, scales


def norm_rotate_(
    qkv: torch.Tensor, weights: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, split: int
) -> None:
    """Normalise and rotate queries and keys where they lie.

    Args:
        qkv: tokens × 3 × heads × dim; the values are left alone.
        weights: of the RMS norms of text queries, text keys, image queries, image keys, 4 × dim.
        cos: tokens × dim/2, float32.
        sin: tokens × dim/2, float32.
        split: number of text tokens, which come first.
    """
    tokens, _, heads, dim = qkv.shape
    _norm_rotate[(tokens, 2)](
        qkv, weights, cos, sin, split, heads, EPSILON, DIM=dim, HEADS=triton.next_power_of_2(heads)
    )


def norm_silu(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Return `silu(x / |x| * sqrt(channels) * gamma)`, with the length over channels.

    Args:
        x: 1 × channels × 1 × height × width; fastest with the channels next to each other.
        gamma: a weight for each channel.
    """
    pixels = x.movedim(1, -1).contiguous()
    out = torch.empty_like(pixels)
    channels = pixels.shape[-1]
    count = pixels.numel() // channels
    rows = max(1, 4096 // triton.next_power_of_2(channels))
    _norm_silu[(triton.cdiv(count, rows),)](
        pixels, gamma, out, count, channels, ROWS=rows, BLOCK=triton.next_power_of_2(channels)
    )
    return out.movedim(-1, 1)


EPSILON = 1e-6
"""Of all norms of the model."""


def _row(width: int) -> dict[str, int]:
    """Return how a program takes a whole row."""
    block = triton.next_power_of_2(width)
    # a thread of more than 32 numbers would leave too few registers to the others
    return {"BLOCK": block, "num_warps": max(1, min(8, block // 256), block // 1024)}


def _eight_bits(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return memory for rows in eight bits and their scales."""
    scales = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    return torch.empty_like(x, dtype=torch.float8_e4m3fn), scales


def _launch_norm(
    x: torch.Tensor,
    modulation: torch.Tensor,
    out: torch.Tensor,
    scales: torch.Tensor | None,
    split: int,
) -> None:
    tokens, width = x.shape
    _norm_modulate[(tokens,)](
        x, modulation, out, scales, split, width, modulation.stride(0), EPSILON, **_row(width)
    )


def _launch_gate_norm(
    x: torch.Tensor,
    y: torch.Tensor,
    gate: torch.Tensor,
    modulation: torch.Tensor,
    total: torch.Tensor,
    out: torch.Tensor,
    scales: torch.Tensor | None,
    split: int,
) -> None:
    tokens, width = x.shape
    _gate_norm_modulate[(tokens,)](
        x,
        y,
        gate,
        modulation,
        total,
        out,
        scales,
        split,
        width,
        gate.stride(0),
        modulation.stride(0),
        EPSILON,
        **_row(width),
    )


LARGEST = tl.constexpr(448.0)
"""Largest number in eight bits."""
SMALLEST = tl.constexpr(1e-12)
"""What a row of zeros has for its largest number, since it is divided by."""


@triton.jit
def _store_row(out_ptr, scale_ptr, row, token, at, mask):
    """Store a row; where there is memory for its scale, scaled to the whole of the format."""
    if scale_ptr is not None:
        scale = tl.maximum(tl.max(tl.abs(row), axis=0), SMALLEST) / LARGEST
        tl.store(scale_ptr + token, scale)
        row = row / scale
    tl.store(out_ptr + at, row.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_part(modulation, part, row_stride, second, width, columns, mask):
    """Load one of shift, scale and gate, of the first or the second row, as float32."""
    offset = second * row_stride + part * width + columns
    return tl.load(modulation + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _modulated_norm(x, modulation, row_stride, second, width, eps, columns, mask):
    mean = tl.sum(x, axis=0) / width
    centred = tl.where(mask, x - mean, 0.0)
    variance = tl.sum(centred * centred, axis=0) / width
    normed = centred * tl.rsqrt(variance + eps)
    shift = _load_part(modulation, 0, row_stride, second, width, columns, mask)
    scale = _load_part(modulation, 1, row_stride, second, width, columns, mask)
    return normed * (1 + scale) + shift


@triton.jit(do_not_specialize=["split"])
def _norm_modulate(
    x_ptr, modulation, out_ptr, scale_ptr, split, width, row_stride, eps, BLOCK: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    second = (token >= split).to(tl.int64)
    at = token * width + columns
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    out = _modulated_norm(x, modulation, row_stride, second, width, eps, columns, mask)
    _store_row(out_ptr, scale_ptr, out, token, at, mask)


@triton.jit(do_not_specialize=["split"])
def _gate_norm_modulate(
    x_ptr,
    y_ptr,
    gate_ptr,
    modulation,
    total_ptr,
    out_ptr,
    scale_ptr,
    split,
    width,
    gate_stride,
    row_stride,
    eps,
    BLOCK: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    second = (token >= split).to(tl.int64)
    at = token * width + columns
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
    # the norm is of what the next layer adds to, which is rounded
    total = (x + _load_part(gate_ptr, 2, gate_stride, second, width, columns, mask) * y).to(
        total_ptr.dtype.element_ty
    )
    tl.store(total_ptr + at, total, mask=mask)
    out = _modulated_norm(
        total.to(tl.float32), modulation, row_stride, second, width, eps, columns, mask
    )
    _store_row(out_ptr, scale_ptr, out, token, at, mask)


@triton.jit(do_not_specialize=["split"])
def _gate(x_ptr, y_ptr, gate_ptr, out_ptr, split, width, gate_stride, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    second = (token >= split).to(tl.int64)
    at = token * width + columns
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + at, mask=mask, other=0.0).to(tl.float32)
    out = x + _load_part(gate_ptr, 2, gate_stride, second, width, columns, mask) * y
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _quantise(x_ptr, out_ptr, scale_ptr, width, BLOCK: tl.constexpr, GELU: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < width
    at = row * width + columns
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        # x (1 + tanh(y)) / 2 = x sigmoid(2 y), with y = √(2/π) (x + 0.044715 x³)
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    _store_row(out_ptr, scale_ptr, x, row, at, mask)


@triton.jit(do_not_specialize=["split"])
def _norm_rotate(
    qkv,
    weights,
    cos_ptr,
    sin_ptr,
    split,
    heads,
    eps,
    DIM: tl.constexpr,
    HEADS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)  # 0: queries, 1: keys
    head = tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, DIM)[None, :]
    mask = head < heads
    at = qkv + (token * 3 + part) * heads * DIM + head * DIM + column
    x = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    variance = tl.sum(x * x, axis=1) / DIM
    image = (token >= split).to(tl.int32)
    weight = tl.load(weights + (image * 2 + part) * DIM + column).to(tl.float32)
    x = x * tl.rsqrt(variance + eps)[:, None] * weight
    # neighbours are the real and the imaginary part of one number
    real, imaginary = tl.split(tl.reshape(x, (HEADS, DIM // 2, 2)))
    pair = tl.arange(0, DIM // 2)[None, :]
    cos = tl.load(cos_ptr + token * (DIM // 2) + pair)
    sin = tl.load(sin_ptr + token * (DIM // 2) + pair)
    turned = tl.join(real * cos - imaginary * sin, real * sin + imaginary * cos)
    tl.store(at, tl.reshape(turned, (HEADS, DIM)).to(qkv.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def _norm_silu(x_ptr, gamma_ptr, out_ptr, count, channels, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    channel = tl.arange(0, BLOCK)[None, :]
    mask = (row < count) & (channel < channels)
    at = row * channels + channel
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    gamma = tl.load(gamma_ptr + channel, mask=channel < channels, other=0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(x * x, axis=1)), 1e-12)[:, None]
    x = x / length * tl.sqrt(channels.to(tl.float32)) * gamma
    tl.store(out_ptr + at, (x * tl.sigmoid(x)).to(out_ptr.dtype.element_ty), mask=mask)
