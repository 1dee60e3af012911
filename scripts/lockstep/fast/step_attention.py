"""Attention of a step of few tokens: all that was read of a row streams past once.

PyTorch's kernels with a mask give a row's head to one block of the GPU, which then waits for its
memory. Here keys are split into chunks that are attended to side by side, and the parts are put
together (as in FlashDecoding, Dao et al. 2023). Steps of several tokens have work enough for one
chunk. The order of the sums depends neither on how much memory lies behind a row nor on the other
rows, and what no token of a row sees is not read: rows that hold nothing cost next to nothing.
"""

import torch
import triton
import triton.language as tl

CHUNK = 512
"""Keys of a part, in a step of one token."""

PARTS = 32
"""Parts that are put together in one order, whether there are so many or fewer."""

BLOCK = 64
"""Keys that are attended to at a time."""

QUERIES = 64
"""Most queries that are attended for at a time."""


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, last: torch.Tensor, scale: float
) -> torch.Tensor:
    """Return what each query attends to; sums are taken in float32.

    Args:
        query: rows × tokens × query heads × dim, contiguous; heads that share keys lie beside
            each other.
        key: rows × heads × slots × dim, contiguous.
        value: as the keys.
        last: last slot that each token sees, rows × tokens.
        scale: what the products are multiplied with.

    Returns:
        As `query`.
    """
    rows, heads, length, dim = key.shape
    tokens = query.shape[1]
    groups = query.shape[2] // heads
    chunk = CHUNK if tokens == 1 else length + -length % BLOCK
    parts = triton.cdiv(length, chunk)
    shape = (rows * heads, parts, tokens * groups)
    sums = torch.empty((*shape, dim), dtype=torch.float32, device=query.device)
    tops, totals = torch.empty((2, *shape), dtype=torch.float32, device=query.device)
    queries = min(QUERIES, max(16, triton.next_power_of_2(tokens * groups)))
    _attend_part[(rows * heads, parts, triton.cdiv(tokens * groups, queries))](
        query,
        key,
        value,
        last.contiguous(),
        sums,
        tops,
        totals,
        scale,
        length,
        heads,
        tokens,
        chunk,
        GROUPS=groups,
        QUERIES=queries,
        DIM=dim,
        BLOCK=BLOCK,
        num_stages=2,
    )
    out = torch.empty_like(query)
    most = max(PARTS, triton.next_power_of_2(parts)) if tokens == 1 else 1
    _join[(rows * heads, tokens * groups)](
        sums, tops, totals, out, parts, heads, tokens, GROUPS=groups, DIM=dim, PARTS=most
    )
    return out


@triton.jit(do_not_specialize=["length", "chunk"])
def _attend_part(
    query_ptr,
    key_ptr,
    value_ptr,
    last_ptr,
    sums_ptr,
    tops_ptr,
    totals_ptr,
    scale,
    length,
    heads,
    tokens,
    chunk,
    GROUPS: tl.constexpr,
    QUERIES: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    head = tl.program_id(0).to(tl.int64)  # of all rows
    part = tl.program_id(1)
    # a product has at least 16 rows
    number = tl.program_id(2) * QUERIES + tl.arange(0, QUERIES)
    token, group = number // GROUPS, number % GROUPS
    dim = tl.arange(0, DIM)
    is_query = number < tokens * GROUPS
    some = is_query[:, None]
    row = head // heads
    place = ((row * tokens + token) * heads + head % heads) * GROUPS + group
    query = tl.load(query_ptr + place[:, None] * DIM + dim[None, :], mask=some, other=0.0)
    last = tl.load(last_ptr + row * tokens + token, mask=is_query, other=-1).to(tl.int32)
    top = tl.full([QUERIES], -1e30, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    attended = tl.zeros([QUERIES, DIM], tl.float32)
    # nothing is read that no query sees
    end = tl.minimum((part + 1) * chunk, tl.max(last, axis=0) + 1)
    for begin in range(part * chunk, end, BLOCK):
        slot = begin + tl.arange(0, BLOCK)
        within = (slot < length)[:, None]
        at = (head * length + slot[:, None]) * DIM + dim[None, :]
        key = tl.load(key_ptr + at, mask=within, other=0.0)
        product = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        product = tl.where(slot[None, :] <= last[:, None], product, -float("inf"))
        higher = tl.maximum(top, tl.max(product, axis=1))
        share = tl.exp(product - higher[:, None])
        shrink = tl.exp(top - higher)
        value = tl.load(value_ptr + at, mask=within, other=0.0)
        total = total * shrink + tl.sum(share, axis=1)
        added = tl.dot(share.to(value.dtype), value, input_precision="ieee")
        attended = attended * shrink[:, None] + added
        top = higher
    place = (head * tl.num_programs(1) + part) * tokens * GROUPS + number
    tl.store(tops_ptr + place, top, mask=is_query)
    tl.store(totals_ptr + place, total, mask=is_query)
    tl.store(sums_ptr + place[:, None] * DIM + dim[None, :], attended, mask=some)


@triton.jit(do_not_specialize=["parts"])
def _join(
    sums_ptr,
    tops_ptr,
    totals_ptr,
    out_ptr,
    parts,
    heads,
    tokens,
    GROUPS: tl.constexpr,
    DIM: tl.constexpr,
    PARTS: tl.constexpr,
):
    head = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1)
    part = tl.arange(0, PARTS)
    dim = tl.arange(0, DIM)
    within = part < parts
    place = (head * parts + part) * tokens * GROUPS + number
    tops = tl.load(tops_ptr + place, mask=within, other=-float("inf"))
    weight = tl.exp(tops - tl.max(tops, axis=0))
    total = tl.sum(weight * tl.load(totals_ptr + place, mask=within, other=0.0), axis=0)
    at = place[:, None] * DIM + dim[None, :]
    sums = tl.load(sums_ptr + at, mask=within[:, None], other=0.0)
    attended = tl.sum(weight[:, None] * sums, axis=0) / total
    row = (head // heads) * tokens + number // GROUPS
    out = out_ptr + ((row * heads + head % heads) * GROUPS + number % GROUPS) * DIM + dim
    tl.store(out, attended.to(out_ptr.dtype.element_ty))
