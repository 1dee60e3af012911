"""The judge's model in few passes over memory, on a GPU in half precision; elsewhere the same sums.

Products over the same input are one: of queries, keys and values, and of both halves of a
perceptron. Residuals are added where they are normed, keys and values written where they are kept,
and of the last layer only what is asked for is computed. Nothing waits for the GPU.
"""

from collections.abc import Sequence
from types import MethodType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from lockstep.fast import qwen_vl_kernels as kernels
from lockstep.fast import step_attention

Module = Any
"""A module of transformers: torch knows no types of the parts of one."""


LENGTHS = 256
"""Tokens to whose multiple a prompt is filled up while it is attended to: cuDNN, whose kernel is
the fastest for many tokens, plans for each number of them."""


class Memory(NamedTuple):
    """Where keys and values of some rows' tokens are kept, and what these tokens see of them."""

    keys: Sequence[torch.Tensor]
    """Of each layer, rows × heads × slots × dim."""
    values: Sequence[torch.Tensor]
    """As the keys."""
    slots: torch.Tensor
    """Of each token, rows × tokens; a token sees its own slot and those before it."""
    end: int | None = None
    """Where the tokens are the last ones of a single row: slots that are filled with them."""


class Image(NamedTuple):
    """What a vision tower says of one image."""

    place: slice
    """Of its tokens."""
    seen: torch.Tensor
    """Tokens × width."""
    deeper: Sequence[torch.Tensor] = ()
    """What is added after each of the first layers, each tokens × width."""


def join_weights(text: Module) -> None:
    """Let products over the same input share one matrix, in place.

    The layers' own weights become parts of it, so that nothing is there twice for long.
    """
    for layer in text.layers:
        mlp = layer.mlp
        mlp.joined = _joined(mlp.gate_proj, mlp.up_proj)
        mlp.is_silu = text.config.hidden_act == "silu"
    for layer in text.layers:
        attention = layer.self_attn
        attention.joined = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        attention.norms = None
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm, attention.k_norm
            epsilon = query.variance_epsilon
            attention.norms = kernels.HeadNorms(query.weight, key.weight, epsilon)


def optimize_perceptrons(vision: Module) -> None:
    """Let the blocks of Qwen3-VL's vision tower, on a GPU in half precision, take fewer passes."""
    for block in vision.blocks:
        mlp, norm = block.mlp, block.norm2
        known = isinstance(norm, torch.nn.LayerNorm) and hasattr(mlp, "linear_fc1")
        if known and _is_fast(norm.weight) and vision.config.hidden_act == "gelu_pytorch_tanh":
            block.forward = MethodType(_look, block)


def forward(
    text: Module,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    memory: Memory,
    images: Sequence[Image] = (),
    wanted: torch.Tensor | slice | None = None,
) -> torch.Tensor | None:
    """Read tokens and return what the language model makes of some of them.

    Args:
        text: a language model after `join_weights`.
        tokens: rows × tokens.
        positions: 3 × rows × tokens.
        images: of a single row.
        wanted: tokens that are asked for, of each row as many; None asks for nothing.

    Returns:
        Rows × wanted × width, after the last norm.
    """
    x = text.embed_tokens(tokens)
    for image in images:
        x[0, image.place] = image.seen.to(x.device)
    cos, sin = text.rotary_emb(x, positions)
    slots, square, device = memory.slots, None, None
    x = x.to(_enter(text.layers[0].input_layernorm))
    normed = _rms_norm(x, text.layers[0].input_layernorm)
    following = [*(layer.input_layernorm for layer in text.layers[1:]), text.norm]
    for number, (layer, after) in enumerate(zip(text.layers, following, strict=True)):
        attention = layer.self_attn
        if x.device != device:
            device = x.device
            cos, sin, slots = (_moved(each, device) for each in (cos, sin, slots))
            wanted = _moved(wanted, device) if isinstance(wanted, torch.Tensor) else wanted
            square = _square(attention, x, memory.end)
        keys, values = memory.keys[number], memory.values[number]
        query = _turn_store(attention, normed, cos, sin, keys, values, slots, square)
        if after is text.norm:
            if wanted is None:
                return None
            x, query, slots = (_picked(each, wanted) for each in (x, query, slots))
        attended = _attend(query, keys, values, slots, memory.end, square, attention.scaling)
        x, normed = _add_norm(x, attention.o_proj(attended), layer.post_attention_layernorm)
        said = _perceive(layer.mlp, normed)
        # nobody asks for tokens of an image
        for image in images if after is not text.norm else ():
            if number < len(image.deeper):
                said[0, image.place] += image.deeper[number].to(said.device)
        x, normed = _add_norm(x, said, after)
    return normed


class _Joined(NamedTuple):
    """Matrices of several layers, below each other."""

    weight: torch.Tensor
    bias: torch.Tensor | None


def _joined(*layers: torch.nn.Linear) -> _Joined:
    weight = torch.cat([layer.weight.detach() for layer in layers])
    bias = None
    if layers[0].bias is not None:
        bias = torch.cat([layer.bias.detach() for layer in layers])
    rows = [layer.out_features for layer in layers]
    for layer, part in zip(layers, weight.split(rows), strict=True):
        layer.weight = torch.nn.Parameter(part, layer.weight.requires_grad)
    return _Joined(weight, bias)


def _is_fast(tensor: torch.Tensor) -> bool:
    return tensor.is_cuda and tensor.dtype in (torch.bfloat16, torch.float16)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.to(device).contiguous()


class _Square(NamedTuple):
    """Queries of all tokens of a row, of which the last ones ask.

    cuDNN knows no other triangle, and its kernel makes up for it.
    """

    query: torch.Tensor
    """1 × tokens × heads × dim."""
    asking: slice


def _square(attention: Module, x: torch.Tensor, end: int | None) -> _Square | None:
    """Return room for the queries of a prompt on a GPU."""
    if end is None or not _is_fast(x):
        return None
    dim = attention.head_dim
    shape = (1, end + -end % LENGTHS, attention.o_proj.in_features // dim, dim)
    return _Square(x.new_zeros(shape), slice(end - x.shape[1], end))


def _picked(x: torch.Tensor, wanted: torch.Tensor | slice) -> torch.Tensor:
    """Return some tokens of each row."""
    if isinstance(wanted, slice):
        return x[:, wanted]
    index = wanted.reshape(*wanted.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def _enter(norm: Module) -> torch.device:
    """Return the device of a norm, and make it the current one, where Triton launches."""
    device: torch.device = norm.weight.device
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _rms_norm(x: torch.Tensor, norm: Module) -> torch.Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _add_norm(x: torch.Tensor, y: torch.Tensor, norm: Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a sum and its norm, where the norm is."""
    if norm.weight.device != x.device:
        device = _enter(norm)
        x, y = x.to(device), y.to(device)
    if _is_fast(x):
        return kernels.add_rms_norm(x.contiguous(), y, norm.weight, norm.variance_epsilon)
    x = x + y
    return x, _rms_norm(x, norm)


def _perceive(mlp: Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a perceptron says."""
    both = F.linear(x, *mlp.joined)
    if _is_fast(x) and mlp.is_silu:
        return mlp.down_proj(kernels.silu_mul(both))
    gate, up = both.chunk(2, dim=-1)
    return mlp.down_proj(mlp.act_fn(gate) * up)


def _turn_store(
    attention: Module,
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    square: _Square | None,
) -> torch.Tensor:
    """Return queries, rows × tokens × heads × dim, and keep keys and values."""
    qkv, norms = F.linear(x, *attention.joined), attention.norms
    if _is_fast(x):
        if square is not None:
            query = square.query[:, square.asking]
        else:
            query = x.new_empty(
                *slots.shape, attention.o_proj.in_features // keys.shape[3], keys.shape[3]
            )
        kernels.turn_store(qkv, cos, sin, norms, keys, values, slots, query)
        return query
    shared, dim = keys.shape[1], keys.shape[3]
    qkv = qkv.unflatten(-1, (-1, dim))
    query, key, value = qkv.split((qkv.shape[2] - 2 * shared, shared, shared), dim=2)
    if norms is not None:
        query = F.rms_norm(query, (dim,), norms.query, norms.epsilon)
        key = F.rms_norm(key, (dim,), norms.key, norms.epsilon)
    rows = torch.arange(len(slots), device=slots.device)[:, None]
    keys[rows, :, slots] = _turned(key, cos, sin)
    values[rows, :, slots] = value
    return _turned(query, cos, sin)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, :, None] + torch.cat([-second, first], dim=-1) * sin[:, :, None]


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    end: int | None,
    square: _Square | None,
    scale: float,
) -> torch.Tensor:
    """Return what queries attend to, rows × tokens × width."""
    rows, tokens, _, dim = query.shape
    if _is_fast(query):
        if square is not None and tokens > 1:
            return _attend_square(square, keys, values, scale)
        return step_attention.attend(query.contiguous(), keys, values, slots, scale).flatten(2)
    keys, values = keys[:, :, :end], values[:, :, :end]
    # query heads that share keys lie beside each other, so that keys are read once
    shared = keys.shape[1]
    grouped = query.reshape(rows, tokens, shared, -1, dim).permute(0, 2, 1, 3, 4)
    groups = grouped.shape[3]
    seen = torch.arange(keys.shape[2], device=slots.device) <= slots[:, :, None]
    attended = F.scaled_dot_product_attention(
        grouped.reshape(rows, shared, -1, dim),
        keys,
        values,
        seen[:, None].repeat_interleave(groups, dim=2),
        scale=scale,
    )
    attended = attended.reshape(rows, shared, tokens, groups, dim).permute(0, 2, 1, 3, 4)
    return attended.reshape(rows, tokens, -1)


def _attend_square(
    square: _Square, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> torch.Tensor:
    length = square.query.shape[1]
    attended = F.scaled_dot_product_attention(
        square.query.transpose(1, 2),
        keys[:, :, :length],
        values[:, :, :length],
        is_causal=True,
        scale=scale,
        enable_gqa=True,
    )
    return attended.transpose(1, 2)[:, square.asking].flatten(2)


def _look(
    self: Module,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    **given: object,
) -> torch.Tensor:
    """`forward` of a vision tower's block."""
    angles = {"cu_seqlens": cu_seqlens, "position_embeddings": position_embeddings}
    attended = self.attn(self.norm1(hidden_states), **angles, **given)
    norm, first = self.norm2, self.mlp.linear_fc1
    x, normed = kernels.add_layer_norm(hidden_states, attended, norm.weight, norm.bias, norm.eps)
    # cuBLAS applies the tanh form before it rounds
    inner = torch._addmm_activation(first.bias, normed, first.weight.t(), use_gelu=True)
    return x + self.mlp.linear_fc2(inner)
