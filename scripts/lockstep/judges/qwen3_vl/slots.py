"""What a model has read of several rows side by side, in slots of fixed memory.

Each prompt is read by itself, without padding, and behind it a row goes on in slots of its own. All
rows go on together, in steps of one shape: rows that are missing, and tokens that a row does not
need, are computed and forgotten. So the order of all sums of a row, and with it the last bit of
what comes of it, depends on neither the other rows nor their number. On a GPU a step is captured
once and replayed: launched one by one, its thousand kernels keep the CPU busy ten times as long as
the GPU.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lockstep.fast import step_attention

NAME = "lockstep_slots"

# cuDNN, which PyTorch prefers, plans for every new number of tokens
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

GRAIN = 256
"""Slots by whose number the memory of a row grows."""

WIDE = 16
"""Tokens to whose multiple a step of several is filled up, so that few are captured."""


class Slots:
    """Memory for some rows, and the steps of a model over them.

    Args:
        model: a Qwen-VL model.
        count: rows.
        room: slots behind each prompt.
    """

    def __init__(self, model: transformers.PreTrainedModel, count: int, room: int) -> None:
        self._model = model
        self._text = model.model.language_model
        self._count, self._room = count, room
        self._devices = layer_devices(model)
        # a graph is of one device
        alone = len({parameter.device for parameter in model.parameters()}) == 1
        self._captured = alone and model.device.type == "cuda"
        config = self._text.config
        self._groups = config.num_attention_heads // config.num_key_value_heads
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        config._attn_implementation = NAME
        self._length = 0
        self._lengths = torch.zeros(count, dtype=torch.long, device=model.device)
        """Slots of each row that hold something."""
        self._offset = torch.zeros(count, dtype=torch.long, device=model.device)
        """What the position of a row's token is beyond its slot."""
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._graphs: dict[int, _Step] = {}

    def fit(self, count: int, room: int) -> bool:
        """Tell whether so many rows with so much room behind their prompts find place."""
        return count <= self._count and room <= self._room

    @torch.inference_mode()
    def begin(self, prompts: Iterable[Mapping[str, Any]]) -> torch.Tensor:
        """Forget all rows and read new prompts.

        Args:
            prompts: what the processor makes of each, as many as there are rows or fewer.

        Returns:
            The logits after each, rows × vocabulary.
        """
        self._lengths.zero_()
        self._offset.zero_()
        logits = []
        for row, prompt in enumerate(prompts):
            logits.append(self._read(row, prompt))
        return torch.stack(logits)

    def _read(self, row: int, prompt: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Read a prompt into a row, and return the logits after it."""
        tokens, grids = prompt["input_ids"], prompt["image_grid_thw"]
        # on a GPU it would wait for each image
        positions, offset = self._model.model.get_rope_index(
            tokens, prompt["mm_token_type_ids"], image_grid_thw=grids
        )
        with sdpa_kernel(KERNELS):
            out = self._model(
                input_ids=self._given(tokens),
                position_ids=self._given(positions),
                pixel_values=self._given(prompt["pixel_values"]),
                image_grid_thw=self._given(grids),
                use_cache=True,
                logits_to_keep=1,
            )
        length = tokens.shape[1]
        self._make_room(length + self._room)
        self._lengths[row] = length
        self._offset[row] = int(offset)
        for layer, keys, values in zip(
            out.past_key_values.layers, self.keys, self.values, strict=True
        ):
            for held, read in ((keys, layer.keys), (values, layer.values)):
                held[row, :, :length] = read[0]
                # masked slots are computed with too, and nothing masks what is no number
                held[row, :, length:] = 0
        return out.logits[0, -1].to(self._model.device)

    def _given(self, tensor: torch.Tensor) -> torch.Tensor:
        """Hand a tensor to the device without waiting for what it does."""
        pinned = tensor.pin_memory() if self._model.device.type == "cuda" else tensor
        return pinned.to(self._model.device, non_blocking=True)

    @torch.inference_mode()
    def append(
        self, rows: Sequence[Sequence[int]], width: int = 1, trial: bool = False
    ) -> torch.Tensor:
        """Let the model read tokens behind each row.

        Args:
            rows: tokens of each row.
            width: most tokens that a row may have.
            trial: forget the last one of each row again.

        Returns:
            The logits after each token, rows × tokens × vocabulary, until the next step.
        """
        if self._model.device.type == "cuda" and width > 1:
            width += -width % WIDE
        missing = self._count - len(rows)
        filled = [[*row, *[0] * (width - len(row))] for row in rows] + [[0] * width] * missing
        tokens = torch.tensor(filled, device=self._model.device)
        if self._captured:
            if width not in self._graphs:
                self._graphs[width] = _Step(self, tokens)
            logits = self._graphs[width].replay(tokens)
        else:
            logits = self.compute(tokens)
        kept = [max(0, len(row) - trial) for row in rows] + [0] * missing
        self._lengths += torch.tensor(kept, device=self._model.device)
        return logits[: len(rows)]

    def compute(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read tokens into the slots behind what each row holds."""
        now = self._lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self._now = {device: now.to(device) for device in self._devices}
        positions = now + self._offset[:, None]
        seen = torch.arange(self._length, device=tokens.device) <= now[:, :, None]
        bias = torch.zeros(seen.shape, dtype=self._model.dtype, device=tokens.device)
        bias = bias.masked_fill(~seen, -torch.inf)[:, None].repeat(1, 1, self._groups, 1)
        with sdpa_kernel(KERNELS):
            hidden = self._text(
                input_ids=tokens,
                attention_mask=bias,
                position_ids=positions.expand(3, -1, -1),
                past_key_values=self,
                use_cache=True,
            ).last_hidden_state
        return self._model.lm_head(hidden).to(tokens.device)

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take a layer's newest keys and values, as a cache of transformers does."""
        now = self._now[key.device][:, None, :, None].expand_as(key)
        self.keys[layer].scatter_(2, now, key)
        self.values[layer].scatter_(2, now, value)
        return self.keys[layer], self.values[layer]

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
    """A step of some width, captured on the GPU."""

    def __init__(self, slots: Slots, tokens: torch.Tensor) -> None:
        self._tokens = tokens.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # kernels are chosen and their memory is made before the capture
            slots.compute(self._tokens)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = slots.compute(self._tokens)

    def replay(self, tokens: torch.Tensor) -> torch.Tensor:
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._logits


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Attend with query heads beside each other that share keys, which are then read once.

    Args:
        attention_mask: a row for each query of each head of a group; None for a prompt.
    """
    if attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, None, scaling=scaling, **given)
    rows, heads, width, dim = query.shape
    if width == 1 and query.device.type == "cuda":
        bias = attention_mask[:, 0, 0]
        attended = step_attention.attend(query[:, :, 0], key, value, bias, scaling)
        return attended[:, None], None
    grouped = query.reshape(rows, key.shape[1], -1, dim)
    mask = attention_mask.expand(-1, key.shape[1], -1, -1)
    attended = F.scaled_dot_product_attention(grouped, key, value, mask, scale=scaling)
    return attended.reshape(rows, heads, width, dim).transpose(1, 2), None
