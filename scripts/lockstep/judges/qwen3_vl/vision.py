"""What a model sees of images, without waiting for its GPU."""

from functools import lru_cache
from typing import Any

import torch
from transformers import vision_utils

from lockstep.fast.qwen_vl import Image
from lockstep.judges.qwen3_vl.prompts import Chunk, Grid

SIZES = 64
"""Sizes of images for which the places of all patches are kept."""


class Eyes:
    """The vision tower of a model.

    Args:
        model: a Qwen-VL model.
    """

    def __init__(self, model: Any) -> None:
        self._tower = model.model.visual
        self._device = next(self._tower.parameters()).device
        self._places = lru_cache(SIZES)(self._place)

    def look(self, chunk: Chunk) -> list[Image]:
        """Look at the images of a part of a prompt."""
        if chunk.pixels is None or not chunk.grids:
            return []
        pixels = handed(chunk.pixels, self._device)
        # whoever is given where patches lie takes it away
        seen = self._tower(pixels, grid_thw=torch.tensor(chunk.grids), **self._places(chunk.grids))
        counts = [place.stop - place.start for place in chunk.places]
        deeper = [layer.split(counts) for layer in getattr(seen, "deepstack_features", None) or ()]
        return [
            Image(place, own, [layer[number] for layer in deeper])
            for number, (place, own) in enumerate(
                zip(chunk.places, seen.pooler_output.split(counts), strict=True)
            )
        ]

    def _place(self, grids: tuple[Grid, ...]) -> dict[str, Any]:
        """Return where patches lie, as transformers computes it, which on a GPU waits for it."""
        tower, grid = self._tower, torch.tensor(grids)
        bounds = vision_utils.get_vision_cu_seqlens(grid)
        placed: dict[str, Any] = {
            "position_ids": vision_utils.get_vision_position_ids(grid, tower.spatial_merge_size),
            "cu_seqlens": bounds,
            "max_seqlen": int(bounds.diff().max()),
        }
        if hasattr(tower, "window_size"):
            index, windows = vision_utils.get_vision_window_index(
                grid, tower.spatial_merge_size, tower.window_size, tower.patch_size
            )
            placed |= {"window_index": index, "cu_window_seqlens": windows}
            placed["max_window_seqlen"] = int(windows.diff().max())
        if hasattr(tower, "num_grid_per_side"):
            indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
                grid,
                num_grid_per_side=tower.num_grid_per_side,
                mode=tower.interpolation_mode,
                align_corners=tower.interpolation_align_corners,
                spatial_merge_size=tower.spatial_merge_size,
            )
            placed |= {"interp_indices": indices, "interp_weights": weights}
        return {
            name: handed(value, self._device) if isinstance(value, torch.Tensor) else value
            for name, value in placed.items()
        }


def handed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Hand a tensor to a device without waiting for what it does."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
