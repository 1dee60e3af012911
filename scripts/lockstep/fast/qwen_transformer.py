"""The transformer of Qwen-Image at the speed of its matrix products.

The same function as diffusers computes, rounded less often: rotary positions as real numbers, the
products of queries, keys and values as one, and all that lies between two matrix products in one
pass over memory (`kernels`). Nothing is compiled for a shape: every sample has another number of
tokens. One image at a time.
"""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from types import MethodType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lockstep.fast.qwen_types import Block, Function, Scheduler, Transformer

log = logging.getLogger(__name__)


def optimize(transformer: Transformer, scheduler: Scheduler) -> None:
    """Make a transformer fast, in place; its weights must have their final values.

    Args:
        scheduler: its steps are the only ones that the transformer is called with.

    Raises:
        ValueError: at a later call, for what only the slow path can do: batches and masks.
    """
    transformer.forward = MethodType(_transformer_forward, transformer)
    transformer.scheduler, transformer.modulated = scheduler, None
    for block in transformer.transformer_blocks:
        _fuse_projections(block)
        # what `float8` has others for
        block.norm_modulate, block.gate_norm_modulate = norm_modulate, gate_norm_modulate
        for mlp in (block.img_mlp, block.txt_mlp):
            mlp.forward = MethodType(_mlp_forward, mlp)
        block.forward = MethodType(_block_forward, block)


def _fuse_projections(block: Block) -> None:
    """Lay the weights of queries, keys and values side by side; the parameters become views."""
    attention = block.attn
    for name, parts in {
        "image_qkv": (attention.to_q, attention.to_k, attention.to_v),
        "text_qkv": (attention.add_q_proj, attention.add_k_proj, attention.add_v_proj),
    }.items():
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = torch.cat([part.bias.detach() for part in parts])
        for part, rows, values in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
            part.weight.data, part.bias.data = rows, values
        setattr(block, name, partial(torch.addmm, bias, mat2=weight.t()))
    norms = (attention.norm_added_q, attention.norm_added_k, attention.norm_q, attention.norm_k)
    block.norm_weights = torch.stack([norm.weight.detach() for norm in norms])


MOST_STEPS = 100
"""Steps up to which the modulation of all is kept; a step takes 4.4 MB."""


class _Modulation(NamedTuple):
    """What the time of a step does to every block."""

    steps: torch.Tensor
    """Times, as the transformer is called with them."""
    embedding: torch.Tensor
    """Steps × width; one more row where source tokens are modulated as if there were no noise."""
    image: torch.Tensor
    """Blocks × steps (and that row) × 6 width."""
    text: torch.Tensor
    """Blocks × steps × 6 width."""


def _modulation(transformer: Transformer, steps: torch.Tensor) -> _Modulation:
    times = torch.cat([steps, steps[:1] * 0]) if transformer.zero_cond_t else steps
    embedding = transformer.time_text_embed(times, times)
    blocks = transformer.transformer_blocks
    image = torch.stack([block.img_mod(embedding) for block in blocks])
    text = torch.stack([block.txt_mod(embedding[: len(steps)]) for block in blocks])
    return _Modulation(steps, embedding, image, text)


def _modulation_at(
    transformer: Transformer, timestep: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the embedding of one step (1 × width) and each block's modulation.

    A block's modulation is a product with 226 MB of weights for a single row. For all steps at once
    it takes no longer, and both branches of guidance share it. A timestep that is none of the
    scheduler's gives no numbers rather than a neighbour's.
    """
    timesteps = transformer.scheduler.timesteps
    # it is there once the steps are set
    count = getattr(transformer.scheduler, "num_inference_steps", None)
    if count is None or count > MOST_STEPS:
        known = _modulation(transformer, timestep)
    else:
        if transformer.modulated is not timesteps:
            transformer.modulation = _modulation(transformer, timesteps.to(timestep) / 1000)
            transformer.modulated = timesteps
        known = transformer.modulation
    found = known.steps == timestep
    row = found.int().argmax().view(1)
    embedding = known.embedding[row] + torch.where(found.any(), 0.0, torch.nan)
    # the device must not wait for the CPU: rows are chosen there
    rows = torch.cat([row, torch.full_like(row, len(known.steps))])
    image = known.image[:, rows if transformer.zero_cond_t else row]
    return embedding.to(timestep.dtype), image, known.text[:, row]


def _transformer_forward(
    self: Transformer,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    img_shapes: list[list[tuple[int, int, int]]],
    encoder_hidden_states_mask: torch.Tensor | None = None,
    guidance: torch.Tensor | None = None,
    attention_kwargs: dict[str, Any] | None = None,
    return_dict: bool = True,
) -> tuple[torch.Tensor]:
    """`QwenImageTransformer2DModel.forward` for one image without a mask.

    Returns:
        What is predicted for the edited image's tokens, which come first; none of the source's.
    """
    if len(hidden_states) > 1 or encoder_hidden_states_mask is not None or guidance is not None:
        raise ValueError("the fast path takes one image, no mask and no guidance embedding")
    image = self.img_in(hidden_states)
    text = self.txt_in(self.txt_norm(encoder_hidden_states))
    embedding, for_image, for_text = _modulation_at(self, timestep.to(image.dtype))
    image_turns, text_turns = self.pos_embed(
        img_shapes, max_txt_seq_len=text.shape[1], device=text.device
    )
    turns = torch.cat([text_turns, image_turns])
    edited = math.prod(img_shapes[0][0])
    shared = {
        "rotation": (turns.real.contiguous(), turns.imag.contiguous()),
        "split": edited if self.zero_cond_t else image.shape[1],
    }
    # an approximation compares the first and the last block's tokens
    needed = None if self.is_cache_enabled else edited
    last = len(self.transformer_blocks) - 1
    with _attention_kernels(image):
        for number, block in enumerate(self.transformer_blocks):
            text, image = block(
                hidden_states=image,
                encoder_hidden_states=text,
                modulation=(for_text[number], for_image[number]),
                needed=needed if number == last else None,
                **shared,
            )
    return (self.proj_out(self.norm_out(image[:, :edited], embedding)),)


def _block_forward(
    self: Block,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    modulation: tuple[torch.Tensor, torch.Tensor],
    rotation: tuple[torch.Tensor, torch.Tensor],
    split: int,
    needed: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`QwenImageTransformerBlock.forward` for one image; text first, as it returns them.

    Args:
        modulation: of text and image, 1 or 2 × 6 width.
        rotation: cosines and sines of text and image tokens.
        split: image tokens from this one on take the second row of the modulation.
        needed: image tokens that anyone asks for after the last block; None in all others.
    """
    image, text = hidden_states[0], encoder_hidden_states[0]
    words = len(text)
    (text_first, text_second), (image_first, image_second) = (
        each.chunk(2, dim=-1) for each in modulation
    )
    attention = self.attn
    width = attention.inner_dim
    qkv = image.new_empty(words + len(image), 3 * width)
    for rows, tokens, first, second_row, project in (
        (qkv[:words], text, text_first, words, self.text_qkv),
        (qkv[words:], image, image_first, split, self.image_qkv),
    ):
        project(self.norm_modulate(tokens, first, second_row), out=rows)
    qkv = qkv.view(-1, 3, attention.heads, width // attention.heads)
    _norm_rotate_(qkv, self.norm_weights, *rotation, words)
    if needed is None:
        attended = _attend(qkv, slice(None))
        for_text = attention.to_add_out(attended[:words])
        text = _add(self, self.txt_mlp, text, for_text, text_first, text_second, words)
        attended = attended[words:]
    else:
        attended = _attend(qkv, slice(words, words + needed))
        image = image[:needed]
    for_image = attention.to_out[0](attended)
    image = _add(self, self.img_mlp, image, for_image, image_first, image_second, split)
    return text[None], image[None]


def _add(
    block: Block,
    mlp: Function,
    tokens: torch.Tensor,
    attended: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    split: int,
) -> torch.Tensor:
    """Add what attention and then the multilayer perceptron say, each through its gate."""
    tokens, normed = block.gate_norm_modulate(tokens, attended, first, second, split)
    return _clip(_gate(tokens, mlp(normed), second, split))


def _mlp_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    return self.net[2](_gelu_linear(self.net[0].proj, hidden_states))


def _attend(qkv: torch.Tensor, asking: slice) -> torch.Tensor:
    """Attend to all tokens.

    Args:
        qkv: tokens × 3 × heads × dim.
        asking: tokens that ask.

    Returns:
        Asking tokens × width.
    """
    if (attend := _flash_for(qkv)) is not None:
        query, key, value = qkv[None].unbind(2)
        attended = attend(query[:, asking], key, value)
        # some versions return the logarithms of the sums too
        return (attended[0] if isinstance(attended, tuple) else attended)[0].flatten(1)
    query, key, value = qkv.permute(1, 2, 0, 3).unsqueeze(1)
    # all tokens ask: another number would be another plan of cuDNN's
    attended = F.scaled_dot_product_attention(query, key, value)
    return attended[0].transpose(0, 1).flatten(1)[asking]


def _flash_for(qkv: torch.Tensor) -> Function | None:
    """Return FlashAttention 4 if it is there and made for this GPU and number format."""
    half = qkv.dtype in (torch.bfloat16, torch.float16)
    return flash() if qkv.is_cuda and half and _hopper(qkv.device) else None


@cache
def flash() -> Function | None:
    """Return FlashAttention 4, an optional dependency; None where it is not installed."""
    folder = os.environ.get("TRITON_CACHE_DIR")
    if folder:
        # it compiles by itself, and keeps it only when told to
        os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "1")
        os.environ.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", os.path.join(folder, "flash"))
    try:
        from flash_attn.cute import flash_attn_func
    except ImportError:
        log.info("found no FlashAttention 4; with it (make flash) an edit takes about 6% less time")
        return None
    return flash_attn_func


@cache
def _hopper(device: torch.device) -> bool:
    """Tell whether a GPU is of Hopper's generation or later."""
    return torch.cuda.get_device_capability(device) >= (9, 0)


@contextmanager
def _attention_kernels(tokens: torch.Tensor) -> Iterator[None]:
    """On Hopper and later, cuDNN's kernel is twice as fast as the one PyTorch takes by itself."""
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    kernels = sdpa_kernel([SDPBackend.CUDNN_ATTENTION, *others], set_priority=True)
    with kernels if tokens.is_cuda and _hopper(tokens.device) else nullcontext():
        yield


def _gelu_linear(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    if x.is_cuda:
        # cuBLAS applies the tanh form before it rounds
        return torch._addmm_activation(layer.bias, x, layer.weight.t(), use_gelu=True)
    return F.gelu(layer(x), approximate="tanh")


def norm_modulate(x: torch.Tensor, modulation: torch.Tensor, split: int) -> torch.Tensor:
    if x.is_cuda:
        from lockstep.fast import kernels

        return kernels.norm_modulate(x, modulation, split)
    shift, scale, _ = _per_token(modulation, len(x), split)
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def gate_norm_modulate(
    x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, modulation: torch.Tensor, split: int
) -> tuple[torch.Tensor, torch.Tensor]:
    if x.is_cuda:
        from lockstep.fast import kernels

        return kernels.gate_norm_modulate(x, y, gate, modulation, split)
    x = _gate(x, y, gate, split)
    return x, norm_modulate(x, modulation, split)


def _gate(x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor, split: int) -> torch.Tensor:
    if x.is_cuda:
        from lockstep.fast import kernels

        return kernels.gate(x, y, gate, split)
    return x + _per_token(gate, len(x), split)[2] * y


def _norm_rotate_(
    qkv: torch.Tensor, weights: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, split: int
) -> None:
    if qkv.is_cuda:
        from lockstep.fast import kernels

        return kernels.norm_rotate_(qkv, weights, cos, sin, split)
    for rows, norms, at in (
        (qkv[:split], weights[:2], slice(None, split)),
        (qkv[split:], weights[2:], slice(split, None)),
    ):
        x = rows[:, :2].float()
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * norms[:, None]
        real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
        c, s = cos[at, None, None], sin[at, None, None]
        turned = torch.stack([real * c - imaginary * s, real * s + imaginary * c], -1)
        rows[:, :2] = turned.flatten(-2).to(qkv.dtype)


def _per_token(modulation: torch.Tensor, tokens: int, split: int) -> Sequence[torch.Tensor]:
    """Return shift, scale and gate of each token."""
    if len(modulation) == 2:
        counts = torch.tensor([split, tokens - split], device=modulation.device)
        modulation = modulation.repeat_interleave(counts, dim=0)
    return modulation.chunk(3, dim=-1)


def _clip(x: torch.Tensor) -> torch.Tensor:
    """Keep half precision finite, as the model's own code does."""
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x
