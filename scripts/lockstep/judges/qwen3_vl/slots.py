"""What a model has read of several rows side by side, in slots of fixed memory.

Each prompt is read by itself, without padding, and behind it a row goes on in slots of its own. All
rows go on together, in steps of one shape: rows that are missing, and tokens that a row does not
need, are computed and forgotten. So the order of all sums of a row, and with it the last bit of
what comes of it, depends on neither the other rows nor their number. What a missing row would look
at is not read, so it costs its part of the products alone, which take their time for the weights.
On a GPU a step is captured once and replayed: launched one by one, its kernels keep the CPU busy
longer than the GPU.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from lockstep.fast import qwen_vl
from lockstep.judges.qwen3_vl.prompts import Chunk, Prefix, Prefixes, Prompt
from lockstep.judges.qwen3_vl.rows import WIDE
from lockstep.judges.qwen3_vl.vision import Eyes, handed

KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

HALF_KERNELS = [SDPBackend.CUDNN_ATTENTION, *KERNELS]
"""Of prompts in half precision, the fastest first."""

GRAIN = 512
"""Slots by whose number the memory of a row grows."""


class Slots:
    """Memory for some rows, and the steps of a model over them.

    Args:
        model: a Qwen-VL model, after `qwen_vl.join_weights`.
        count: rows.
        room: slots behind each prompt.
        prefixes: first parts of prompts that were read already.
    """

    def __init__(
        self, model: transformers.PreTrainedModel, count: int, room: int, prefixes: Prefixes
    ) -> None:
        self._model = model
        self._text: Any = model.model.language_model
        self._count, self._room = count, room
        self._prefixes = prefixes
        self._devices = layer_devices(model)
        # a graph is of one device
        alone = len({parameter.device for parameter in model.parameters()}) == 1
        self._captured = alone and model.device.type == "cuda"
        self._eyes = Eyes(model, self._captured)
        self._length = 0
        self._lengths = torch.zeros(count, dtype=torch.long, device=model.device)
        """Slots of each row that hold something."""
        self._offset = torch.zeros(count, dtype=torch.long, device=model.device)
        """What the position of a row's token is beyond its slot."""
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._graphs: dict[tuple[int, int], _Step] = {}

    def fit(self, count: int, room: int) -> bool:
        """Tell whether so many rows with so much room behind their prompts find place."""
        return count <= self._count and room <= self._room

    @torch.inference_mode()
    def begin(self, prompts: Iterable[Prompt]) -> torch.Tensor:
        """Forget all rows and read new prompts.

        Args:
            prompts: as many as there are rows or fewer.

        Returns:
            The logits after each row's prompt, rows × vocabulary; those of missing rows say
            nothing.
        """
        # masked slots are computed with too, and nothing masks what is no number
        for held in (*self.keys, *self.values):
            held.zero_()
        lengths, offsets, ends = [], [], []
        for row, prompt in enumerate(prompts):
            ends.append(self._read(row, prompt).to(self._model.device))
            lengths.append(prompt.first.tokens.shape[1] + prompt.rest.tokens.shape[1])
            offsets.append(prompt.offset)
        missing = self._count - len(ends)
        for held, found in ((self._lengths, lengths), (self._offset, offsets)):
            held.copy_(torch.tensor(found + [0] * missing))
        return self._logits(F.pad(torch.cat(ends), (0, 0, 0, missing)))

    def _read(self, row: int, prompt: Prompt) -> torch.Tensor:
        """Read a prompt into a row, and return what the model makes of its end, 1 × width."""
        split = prompt.first.tokens.shape[1]
        end = split + prompt.rest.tokens.shape[1]
        self._make_room(end + self._room)
        found = prompt.prefix or self._prefixes.get(prompt.key)
        if found is None:
            self._pass(row, prompt.first, 0, split, None)
            if self._prefixes.room(split):
                held = {device: torch.stack(own) for device, own in self._held(row, split).items()}
                self._prefixes.keep(prompt.key, Prefix(prompt.first.grids, split, held))
        else:
            for device, own in self._held(row, split).items():
                torch._foreach_copy_(own, list(found.held[device].unbind()))
        said = self._pass(row, prompt.rest, split, end, slice(-1, None))
        assert said is not None
        return said[:, -1]

    def _held(self, row: int, end: int) -> dict[torch.device, list[torch.Tensor]]:
        """Return the first slots of a row, by device: keys, then values of its layers."""
        held = defaultdict(list)
        for layer in (*self.keys, *self.values):
            held[layer.device].append(layer[row, :, :end])
        return held

    def _pass(
        self, row: int, chunk: Chunk, begin: int, end: int, wanted: slice | None
    ) -> torch.Tensor | None:
        """Read a part of a prompt into a row."""
        device = self._model.device
        images = self._eyes.look(chunk)
        memory = qwen_vl.Memory(
            [keys[row : row + 1] for keys in self.keys],
            [values[row : row + 1] for values in self.values],
            torch.arange(begin, end, device=device)[None],
            end,
        )
        tokens, positions = (handed(each, device) for each in (chunk.tokens, chunk.positions))
        half = self._model.dtype.itemsize == 2
        with sdpa_kernel(HALF_KERNELS if half else KERNELS, set_priority=True):
            return qwen_vl.forward(self._text, tokens, positions, memory, images, wanted)

    @torch.inference_mode()
    def step(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Let the model read one token behind each row.

        Args:
            tokens: of each row, on the device.
            kept: whether it is one that belongs to the row, 0 or 1.

        Returns:
            The logits after it, rows × vocabulary, until the next step.
        """
        logits = self._run(tokens[:, None], torch.zeros_like(tokens)[:, None])
        self._lengths += kept
        return logits[:, 0]

    @torch.inference_mode()
    def append(
        self,
        rows: Sequence[Sequence[int]],
        width: int,
        asked: Sequence[Sequence[int]],
        forgotten: Sequence[int] = (),
    ) -> torch.Tensor:
        """Let the model read tokens behind each row.

        Args:
            rows: tokens of each row.
            width: most tokens that a row may have.
            asked: numbers of the tokens of each row after which it is asked, of each as many.
            forgotten: how many of the last ones of each row are forgotten again.

        Returns:
            The logits there, rows × asked × vocabulary, until the next step.
        """
        device = self._model.device
        if device.type == "cuda":
            width += -width % WIDE
        missing = self._count - len(rows)
        filled = [[*row, *[0] * (width - len(row))] for row in rows] + [[0] * width] * missing
        wanted = [list(own) for own in asked] + [[0] * len(asked[0])] * missing
        logits = self._run(torch.tensor(filled, device=device), torch.tensor(wanted, device=device))
        lost = forgotten or [0] * len(rows)
        kept = [len(row) - own for row, own in zip(rows, lost, strict=True)] + [0] * missing
        self._lengths += torch.tensor(kept, device=device)
        return logits[: len(rows)]

    def _run(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if not self._captured:
            return self.compute(tokens, wanted)
        shape = tokens.shape[1], wanted.shape[1]
        if shape not in self._graphs:
            self._graphs[shape] = _Step(self, tokens, wanted)
        return self._graphs[shape].replay(tokens, wanted)

    def compute(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Read tokens into the slots behind what each row holds."""
        now = self._lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        positions = now + self._offset[:, None]
        said = qwen_vl.forward(
            self._text,
            tokens,
            positions.expand(3, -1, -1),
            qwen_vl.Memory(self.keys, self.values, now),
            wanted=wanted,
        )
        return self._logits(said)

    def _logits(self, said: torch.Tensor | None) -> torch.Tensor:
        return self._model.lm_head(said).to(self._model.device)

    def _make_room(self, length: int) -> None:
        """Have memory for so many slots; what was captured for less is of no use."""
        if length <= self._length:
            return
        self._graphs.clear()
        grown = length + -length % GRAIN - self._length
        self._length += grown
        if not self.keys:
            config = self._text.config
            dim = self._text.layers[0].self_attn.head_dim
            shape = (self._count, config.num_key_value_heads, 0, dim)
            self.keys, self.values = (
                [torch.empty(shape, dtype=self._model.dtype, device=own) for own in self._devices]
                for _ in range(2)
            )
        # one layer after the other, so that little is there twice
        for layers in (self.keys, self.values):
            for number, layer in enumerate(layers):
                layers[number] = F.pad(layer, (0, 0, 0, grown))


def layer_devices(model: transformers.PreTrainedModel) -> list[torch.device]:
    """Return the device of each layer of a model's language model."""
    return [next(layer.parameters()).device for layer in model.model.language_model.layers]


class _Step:
    """A step of some shape, captured on the GPU."""

    def __init__(self, slots: Slots, tokens: torch.Tensor, wanted: torch.Tensor) -> None:
        self._tokens, self._wanted = tokens.clone(), wanted.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # kernels are chosen and their memory is made before the capture
            slots.compute(self._tokens, self._wanted)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = slots.compute(self._tokens, self._wanted)

    def replay(self, tokens: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        self._tokens.copy_(tokens)
        self._wanted.copy_(wanted)
        self._graph.replay()
        return self._logits
