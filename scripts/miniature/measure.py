"""Whether the miniature edits right, on scenes and wordings that no training drew."""

import torch
import torch.nn.functional as F

INSIDE, OUTSIDE = 0.3, 0.1
"""Largest errors of a right edit: where a change is due, as a share of that change, and elsewhere,
as the mean absolute difference (of values from 0 to 1) of the worst block."""

BLOCK = 16
"""Pixels of a block's sides."""

HELD_OUT = 900_000
"""Seed of scenes that no training draws."""


def correct(
    edited: torch.Tensor, source: torch.Tensor, right: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tell which edits are right by `INSIDE` and `OUTSIDE`.

    Args:
        edited: pictures × 3 × side × side, 0 to 1; the others likewise.

    Returns:
        Whether each is right, its error where a change is due, and its error elsewhere.
    """
    due = (source - right).abs().amax(1) > 0.03
    error, asked = (edited - right).abs().mean(1), (source - right).abs().mean(1)
    inside = (error * due).sum((1, 2)) / (asked * due).sum((1, 2)).clamp_min(1e-6)
    # by blocks, since a small thing that changed hardly moves the mean of the picture
    kept = F.avg_pool2d((~due).float(), BLOCK)
    blocks = F.avg_pool2d(error * ~due, BLOCK) / kept.clamp_min(1 / 4)
    outside = blocks.amax((1, 2))
    return (inside <= INSIDE) & (outside <= OUTSIDE), inside, outside
