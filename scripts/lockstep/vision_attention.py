"""Vision towers of Qwen's models with one attention kernel a layer.

transformers calls its attention once for each window (about a hundred at one megapixel), which
keeps the CPU busy and the GPU idle. PyTorch's kernel for sequences of different lengths takes all
of them at once.
"""

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

# transformers hands over the windows' bounds only where the name says flash
NAME = "lockstep_flash_windows"

LONG = 1024
"""Tokens of a window from which a batch is worth while."""


def fuse_windows(vision: PreTrainedModel) -> None:
    """Let a vision tower on a GPU attend to all its windows at once, in half precision."""
    if vision.device.type == "cuda" and vision.dtype in (torch.bfloat16, torch.float16):
        AttentionInterface.register(NAME, _attend)
        vision.config._attn_implementation = NAME


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: torch.Tensor,
    max_length_q: int,
    max_length_k: int,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within windows; tensors are 1 × heads × tokens × dim."""
    windows, heads, tokens, _ = len(cu_seq_lens_q) - 1, *query.shape[1:]
    if windows * max_length_q == tokens and max_length_q >= LONG:
        # all of one length, such as images of one size: a batch, for which there are faster kernels
        split = (
            each[0].unflatten(1, (windows, -1)).transpose(0, 1) for each in (query, key, value)
        )
        attended = F.scaled_dot_product_attention(*split, scale=scaling)
        return attended.permute(0, 2, 1, 3).reshape(1, tokens, heads, -1), None
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    bounds = (cu_seq_lens_q.int(), cu_seq_lens_k.int(), max_length_q, max_length_k)
    return varlen_attn(query, key, value, *bounds, scale=scaling)[None], None
