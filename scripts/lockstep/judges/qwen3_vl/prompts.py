"""Prompts in two parts: what comes before the edited image, and the rest.

The first part is the same for all editors of a sample, so what was read of it is kept. Each part is
always read in a pass of its own, whether the first one was kept or not: so results are the same.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

Grid = tuple[int, int, int]
"""Patches of an image: frames, rows, columns."""


class Chunk(NamedTuple):
    """A part of a prompt."""

    tokens: torch.Tensor
    """1 × tokens."""
    positions: torch.Tensor
    """3 × 1 × tokens."""
    places: Sequence[slice]
    """Of the tokens of each image."""
    grids: tuple[Grid, ...]
    """Of each image."""
    pixels: torch.Tensor | None
    """Patches of all images; None where they are not needed."""


class Prefix(NamedTuple):
    """What was read of the first part of a prompt."""

    grids: tuple[Grid, ...]
    tokens: int
    held: dict[torch.device, torch.Tensor]
    """On each device keys, then values of its layers, layers × heads × tokens × dim."""


class Prompt(NamedTuple):
    first: Chunk
    rest: Chunk
    offset: int
    """What the position of a token behind it is beyond its number."""
    key: bytes
    """Of the first part."""
    prefix: Prefix | None
    """What was read of the first part, where it was there when this was made."""


class Prefixes:
    """The first parts that were read last.

    Args:
        most: tokens that are kept in all; None keeps none, until it is known.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self._kept: OrderedDict[bytes, Prefix] = OrderedDict()
        # prompts are made beside the device's thread
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Prefix | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def room(self, tokens: int) -> bool:
        """Let go of what was used longest ago, and tell whether so many tokens find place."""
        most = self.most or 0
        if tokens > most:
            return False
        with self._lock:
            while sum(kept.tokens for kept in self._kept.values()) + tokens > most:
                self._kept.popitem(last=False)
        return True

    def keep(self, key: bytes, prefix: Prefix) -> None:
        with self._lock:
            self._kept[key] = prefix

    def clear(self) -> int:
        """Let go of all, and return how many tokens they had."""
        with self._lock:
            held = sum(kept.tokens for kept in self._kept.values())
            self._kept.clear()
        return held

    def give_back(self) -> bool:
        """Let go of all, keep half as many from now on, and tell whether there were any."""
        held = self.clear()
        if held:
            self.most = held // 2
        return held > 0


def make_prompt(
    processor: Any,
    model: Any,
    text: str,
    images: Sequence[Image.Image],
    prefixes: Prefixes,
) -> Prompt:
    """Make a prompt as the processor does.

    Args:
        model: a Qwen-VL model; numbers positions.
        text: with one image token for each image.
        images: at least one; all but the last belong to the first part.
    """
    *before, behind = text.split(processor.image_token)
    key = hashlib.sha256(processor.image_token.join(before).encode())
    for image in images[:-1]:
        key.update(f"{image.mode} {image.size}".encode())
        key.update(image.tobytes())
    prefix = prefixes.get(key.digest())
    first = _patches(processor, images[:-1], model) if len(images) > 1 and not prefix else None
    own_pixels, own = _patches(processor, images[-1:], model)
    shared = prefix.grids if prefix else first[1] if first else ()
    grids = (*shared, *own)
    merged = processor.image_processor.merge_size**2
    counts = [frames * rows * columns // merged for frames, rows, columns in grids]
    shown = "".join(
        said + processor.image_token * count for said, count in zip(before, counts, strict=True)
    )
    tokens = torch.tensor([processor.tokenizer(shown + behind)["input_ids"]])
    is_image = tokens == processor.image_token_id
    positions, offset = model.model.get_rope_index(
        tokens, is_image.int(), image_grid_thw=torch.tensor(grids)
    )
    starts = is_image[0].nonzero()[:, 0].tolist()
    places = []
    for count in counts:
        places.append(slice(starts[0], starts[0] + count))
        starts = starts[count:]
    split = places[-1].start
    return Prompt(
        Chunk(
            tokens[:, :split],
            positions[:, :, :split],
            places[:-1],
            grids[:-1],
            first[0] if first else None,
        ),
        Chunk(tokens[:, split:], positions[:, :, split:], [slice(0, counts[-1])], own, own_pixels),
        int(offset),
        key.digest(),
        prefix,
    )


def _patches(
    processor: Any, images: Sequence[Image.Image], model: Any
) -> tuple[torch.Tensor, tuple[Grid, ...]]:
    made = processor.image_processor(images=list(images), return_tensors="pt")
    # as the model does it, but beside it; from pinned memory the way to a GPU is short
    pixels = made["pixel_values"].to(model.dtype)
    pixels = pixels.pin_memory() if model.device.type == "cuda" else pixels
    return pixels, tuple((int(t), int(h), int(w)) for t, h, w in made["image_grid_thw"])
