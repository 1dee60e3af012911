"""What a model sees of images, without waiting for its GPU."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from transformers import vision_utils

from lockstep.fast.qwen_vl import Image
from lockstep.judges.qwen3_vl.prompts import Chunk, Grid

SIZES = 64
"""Sizes of images for which the places of all patches are kept."""

CAPTURED = 16
"""Sizes for which the tower's work is captured."""


class Eyes:
    """The vision tower of a model.

    Args:
        model: a Qwen-VL model.
        captured: whether to capture on the GPU what is done for images of sizes that come again:
            launched one by one, the kernels keep the CPU busy as long as the GPU.
    """

    def __init__(self, model: Any, captured: bool) -> None:
        self._tower = model.model.visual
        self._device = next(self._tower.parameters()).device
        self._places = lru_cache(SIZES)(self._place)
        self._captured = captured
        self._looks: OrderedDict[tuple[Grid, ...], _Look | None] = OrderedDict()
        """By sizes, those that came last at the end; None until they have come again."""
        self._shared = (torch.cuda.graph_pool_handle(), torch.cuda.Stream()) if captured else None

    def look(self, chunk: Chunk) -> list[Image]:
        """Look at the images of a part of a prompt."""
        if chunk.pixels is None or not chunk.grids:
            return []
        seen = self._seen(chunk.pixels, chunk.grids)
        counts = [place.stop - place.start for place in chunk.places]
        deeper = [layer.split(counts) for layer in getattr(seen, "deepstack_features", None) or ()]
        return [
            Image(place, own, [layer[number] for layer in deeper])
            for number, (place, own) in enumerate(
                zip(chunk.places, seen.pooler_output.split(counts), strict=True)
            )
        ]

    def _seen(self, pixels: torch.Tensor, grids: tuple[Grid, ...]) -> Any:
        """Return what the tower says, in memory that the next look may take."""
        again = grids in self._looks
        look = self._looks.pop(grids, None)
        if again and look is None:
            # not the first time: kernels are compiled and chosen then
            look = _Look(
                partial(self._run, places=self._places(grids)), pixels, grids, self._shared
            )
        if self._captured:
            self._looks[grids] = look
            if len(self._looks) > CAPTURED:
                self._looks.popitem(last=False)
        if look is None:
            return self._run(handed(pixels, self._device), grids, self._places(grids))
        return look.replay(pixels)

    def _run(self, pixels: torch.Tensor, grids: tuple[Grid, ...], places: Mapping[str, Any]) -> Any:
        # whoever is given where patches lie takes it away
        return self._tower(pixels, grid_thw=torch.tensor(grids), **places)

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


class _Look:
    """What a tower does for images of some sizes, captured on the current GPU.

    Args:
        run: returns what it says of patches on the GPU; holds the tensors that it needs.
        pixels: patches, in host memory.
        shared: memory and stream of all looks: what one gave is used before the next begins.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor, tuple[Grid, ...]], Any],
        pixels: torch.Tensor,
        grids: tuple[Grid, ...],
        shared: Any,
    ) -> None:
        self._run = run
        self._pixels = torch.empty_like(pixels, device="cuda")
        self._graph = torch.cuda.CUDAGraph()
        pool, stream = shared
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # meanwhile other threads pin the memory of further prompts
            self._graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                self._seen = run(self._pixels, grids)
            finally:
                self._graph.capture_end()

    def replay(self, pixels: torch.Tensor) -> Any:
        """Return what the tower says, in memory that the next look takes."""
        self._pixels.copy_(pixels, non_blocking=True)
        self._graph.replay()
        return self._seen


def handed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Hand a tensor to a device without waiting for what it does."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
