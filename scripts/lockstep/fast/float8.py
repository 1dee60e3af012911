"""The large linear layers of Qwen-Image's blocks in eight bits: faster, smaller, not exact.

Numbers are e4m3, three bits of precision, with a scale for each output of a layer and for each
token. Modulation, embeddings, norms and attention stay as they are. A GPU multiplies such numbers
as they are; the CPU gives what it would give, for tests.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F

from lockstep.fast import qwen_transformer
from lockstep.fast.qwen_types import Transformer


class Quantised(NamedTuple):
    """A matrix in eight bits."""

    values: torch.Tensor
    """Rows × width, float8_e4m3fn."""
    scales: torch.Tensor
    """What the values of a row are to be multiplied with, rows × 1, float32."""


Product = Callable[..., torch.Tensor]
"""Takes tokens, quantised, and where to put the result as `out`."""


def quantise_layers(transformer: Transformer) -> None:
    """Put the blocks' linear layers into eight bits, in place, after `qwen_transformer.optimize`.

    What they were in more bits is freed.
    """
    for block in transformer.transformer_blocks:
        attention = block.attn
        block.norm_modulate, block.gate_norm_modulate = _norm_modulate, _gate_norm_modulate
        block.image_qkv = _replace(attention.to_q, attention.to_k, attention.to_v)
        block.text_qkv = _replace(attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
        for layer in (attention.to_out[0], attention.to_add_out):
            layer.forward = partial(_linear, product=_replace(layer))
        for mlp in (block.img_mlp, block.txt_mlp):
            first, second = _replace(mlp.net[0].proj), _replace(mlp.net[2])
            mlp.forward = partial(_perceptron, first=first, second=second)


def quantise(x: torch.Tensor, gelu: bool = False) -> Quantised:
    """Round each row so that its largest number becomes the largest that there is.

    Args:
        x: rows × width.
        gelu: of its GELU instead, in the tanh form.
    """
    if x.is_cuda:
        from lockstep.fast import kernels

        return Quantised(*kernels.quantise(x.contiguous(), gelu))
    x = F.gelu(x.float(), approximate="tanh") if gelu else x.float()
    # a row of zeros is divided by something too
    scales = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / LARGEST
    return Quantised((x / scales).to(torch.float8_e4m3fn), scales)


LARGEST = torch.finfo(torch.float8_e4m3fn).max
"""Largest number in eight bits."""


def _replace(*layers: torch.nn.Linear) -> Product:
    """Quantise the weights of layers and return their products side by side as one."""
    weight = quantise(torch.cat([layer.weight.detach() for layer in layers]))
    bias = torch.cat([layer.bias.detach() for layer in layers])
    values, scales = (each.chunk(len(layers)) for each in weight)
    for layer, rows, factors in zip(layers, values, scales, strict=True):
        layer.weight = torch.nn.Parameter(rows, requires_grad=False)
        layer.register_buffer("weight_scales", factors)
    return partial(_product, weight=weight, bias=bias)


def _product(
    x: Quantised, weight: Quantised, bias: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    if bias.is_cuda:
        # its public form, `scaled_mm`, has no `out`
        return torch._scaled_mm(
            x.values,
            weight.values.t(),
            x.scales,
            weight.scales.t(),
            bias=bias,
            out_dtype=bias.dtype,
            # sums keep 14 bits, many more than what is summed
            use_fast_accum=True,
            out=out,
        )
    values, weights = (each.values.float() * each.scales for each in (x, weight))
    product = F.linear(values, weights, bias.float()).to(bias.dtype)
    return product if out is None else out.copy_(product)


def _linear(x: torch.Tensor, product: Product) -> torch.Tensor:
    return product(quantise(x))


def _perceptron(x: Quantised, first: Product, second: Product) -> torch.Tensor:
    return second(quantise(first(x), gelu=True))


def _norm_modulate(x: torch.Tensor, modulation: torch.Tensor, split: int) -> Quantised:
    if x.is_cuda:
        from lockstep.fast import kernels

        return Quantised(*kernels.norm_modulate_quantise(x, modulation, split))
    return quantise(qwen_transformer.norm_modulate(x, modulation, split))


def _gate_norm_modulate(
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, modulation: torch.Tensor, split: int
) -> tuple[torch.Tensor, Quantised]:
    if x.is_cuda:
        from lockstep.fast import kernels

        total, values, scales = kernels.gate_norm_modulate_quantise(x, y, gate, modulation, split)
        return total, Quantised(values, scales)
    x, normed = qwen_transformer.gate_norm_modulate(x, y, gate, modulation, split)
    return x, quantise(normed)
