"""Attention of a step of one token: all that was read of a row streams past once.

PyTorch's kernels with a mask give a row's head to one block of the GPU, which then waits for its
memory. Here keys are split into chunks that are attended to side by side, and the parts are put
together (as in FlashDecoding, Dao et al. 2023). The order of the sums does not depend on how much
memory lies behind a row, and chunks that are masked are not read.
"""

import torch
import triton
import triton.language as tl

CHUNK = 512
"""Keys of a part."""

PARTS = 32
"""Parts that are put together in one order, whether there are so many or fewer."""


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return what each query attends to; sums are taken in float32.

    Args:
        query: rows × query heads × dim; heads that share keys lie beside each other.
        key: rows × heads × slots × dim, contiguous.
        value: as the keys.
        bias: rows × slots, added to the products; -inf masks.
        scale: what the products are multiplied with.

    Returns:
        As `query`.
    """
    rows, heads, length, dim = key.shape
    groups = query.shape[1] // heads
    parts = triton.cdiv(length, CHUNK)
    sums = torch.empty(rows * heads, parts, groups, dim, dtype=torch.float32, device=query.device)
    tops, totals = torch.empty(2, rows * heads, parts, groups, device=query.device)
    _attend_part[(rows * heads, parts)](
        query.contiguous(),
        key,
        value,
        bias,
        sums,
        tops,
        totals,
        scale,
        length,
        heads,
        bias.stride(0),
        GROUPS=groups,
        QUERIES=max(16, triton.next_power_of_2(groups)),
        DIM=dim,
        BLOCK=64,
        CHUNK=CHUNK,
    )
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    most = max(PARTS, triton.next_power_of_2(parts))
    _join[(rows * heads, groups)](
        sums, tops, totals, out, parts, GROUPS=groups, DIM=dim, PARTS=most
    )
    return out


@triton.jit(do_not_specialize=["length"])
def _attend_part(
    query_ptr,
    key_ptr,
    value_ptr,
    bias_ptr,
    sums_ptr,
    tops_ptr,
    totals_ptr,
    scale,
    length,
    heads,
    bias_stride,
    GROUPS: tl.constexpr,
    QUERIES: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    head = tl.program_id(0).to(tl.int64)  # of all rows
    part = tl.program_id(1)
    number = tl.arange(0, QUERIES)
    dim = tl.arange(0, DIM)
    # a product has at least 16 rows
    some = (number < GROUPS)[:, None]
    query = tl.load(
        query_ptr + (head * GROUPS + number[:, None]) * DIM + dim[None, :], mask=some, other=0.0
    )
    top = tl.full([QUERIES], -1e30, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    attended = tl.zeros([QUERIES, DIM], tl.float32)
    bias_ptr += (head // heads) * bias_stride
    slots = part * CHUNK + tl.arange(0, CHUNK)
    chunk = tl.load(bias_ptr + slots, mask=slots < length, other=-float("inf")).to(tl.float32)
    # nothing is read where all is masked
    if tl.max(chunk, axis=0) > -float("inf"):
        for begin in range(0, CHUNK, BLOCK):
            slot = part * CHUNK + begin + tl.arange(0, BLOCK)
            within = slot < length
            at = (head * length + slot[:, None]) * DIM + dim[None, :]
            key = tl.load(key_ptr + at, mask=within[:, None], other=0.0)
            bias = tl.load(bias_ptr + slot, mask=within, other=-float("inf"))
            product = tl.dot(query, tl.trans(key)) * scale + bias.to(tl.float32)[None, :]
            higher = tl.maximum(top, tl.max(product, axis=1))
            share = tl.exp(product - higher[:, None])
            shrink = tl.exp(top - higher)
            value = tl.load(value_ptr + at, mask=within[:, None], other=0.0)
            total = total * shrink + tl.sum(share, axis=1)
            attended = attended * shrink[:, None] + tl.dot(share.to(value.dtype), value)
            top = higher
    place = (head * tl.num_programs(1) + part) * GROUPS + number
    tl.store(tops_ptr + place, top, mask=number < GROUPS)
    tl.store(totals_ptr + place, total, mask=number < GROUPS)
    tl.store(sums_ptr + place[:, None] * DIM + dim[None, :], attended, mask=some)


@triton.jit(do_not_specialize=["parts"])
def _join(
    sums_ptr,
    tops_ptr,
    totals_ptr,
    out_ptr,
    parts,
    GROUPS: tl.constexpr,
    DIM: tl.constexpr,
    PARTS: tl.constexpr,
):
    head = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1)
    part = tl.arange(0, PARTS)
    dim = tl.arange(0, DIM)
    within = part < parts
    place = (head * parts + part) * GROUPS + number
    tops = tl.load(tops_ptr + place, mask=within, other=-float("inf"))
    weight = tl.exp(tops - tl.max(tops, axis=0))
    total = tl.sum(weight * tl.load(totals_ptr + place, mask=within, other=0.0), axis=0)
    at = place[:, None] * DIM + dim[None, :]
    sums = tl.load(sums_ptr + at, mask=within[:, None], other=0.0)
    attended = tl.sum(weight[:, None] * sums, axis=0) / total
    out = out_ptr + (head * GROUPS + number) * DIM + dim
    tl.store(out, attended.to(out_ptr.dtype.element_ty))
