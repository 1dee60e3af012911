"""Replies of a vision-language model, token by token: reasoning is free, scores are read.

The reasoning is what the model writes by itself, until it begins an object, ends, or has written
enough. The object's fixed parts are not generated but fed, each in one step; where a value is due,
the model's own probabilities of all values that its kind allows are read, and one of them is taken
(`rows`).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import torch
import transformers

from lockstep.judges.qwen3_vl.rows import NOTHING, WIDE, Logs, Part, Reply, Request, Row
from lockstep.judges.qwen3_vl.vocabulary import Vocabulary

AHEAD = 2
"""Steps that the device is told of before the one after which it may stop is over."""


class Rows(Protocol):
    """What a model has read of some rows. `Slots` reads them side by side, `PlainRow` one alone."""

    def fit(self, count: int, room: int) -> bool:
        """Tell whether so many rows with so much room behind their prompts find place."""

    def begin(self, prompts: Iterable[Any]) -> torch.Tensor:
        """Forget all rows, read new prompts and return the logits behind them."""

    def step(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Read one token behind each row that keeps it, and return the logits."""

    def append(
        self,
        rows: Sequence[Sequence[int]],
        width: int,
        asked: Sequence[Sequence[int]],
        forgotten: Sequence[int] = (),
    ) -> torch.Tensor:
        """Read tokens behind each row and return the logits after those that are asked for."""


class Decoder:
    """A model that replies.

    Args:
        model: any that writes text.
        vocabulary: of its tokenizer.
        max_reasoning_tokens: longest reasoning; 0 asks for none.
        temperature: of sampled replies.
        make_rows: makes memory for so many rows, with so many tokens behind each prompt.
    """

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        vocabulary: Vocabulary,
        max_reasoning_tokens: int,
        temperature: float,
        make_rows: Callable[[int, int], Rows],
    ) -> None:
        self._device = model.device
        self._vocabulary = vocabulary
        self._make_rows = make_rows
        self._digits = torch.tensor(vocabulary.digits, dtype=torch.long, device=self._device)
        self._ends = {
            kind: torch.tensor(tokens, device=self._device)
            for kind, tokens in vocabulary.ends.items()
        }
        self._slots: Rows | None = None
        self._max_reasoning_tokens = max_reasoning_tokens
        self._temperature = temperature
        stops = model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        known = vocabulary.opening | {token for token in stops if token is not None}
        self._stops = torch.tensor(sorted(known), device=self._device)

    @torch.inference_mode()
    def reply(
        self, prompts: Iterable[Any], requests: Sequence[Request], count: int
    ) -> list[Reply | None]:
        """Reply to each row.

        Args:
            prompts: of each row, as `Rows` reads them.
            count: rows that are computed, whether there is a prompt for them or not.

        Returns:
            None where the model gives no numbers.
        """
        rows = [Row(request, self._vocabulary) for request in requests]
        slots = self._slots_for(rows, requests, count)
        logits = slots.begin(prompts)
        words = any(row.is_word for row in rows)
        behind = logits.clone() if words else logits
        if self._max_reasoning_tokens and not all(row.is_word for row in rows):
            self._reason(slots, logits, rows)
        growing = [row.parts(self._temperature) for row in rows]
        fed = [next(parts, NOTHING) for parts in growing]
        if words:
            fed = [
                _after(parts, logs) if row.is_word else part
                for row, parts, part, logs in zip(
                    rows, growing, fed, self._logs(behind[:, None], fed), strict=True
                )
            ]
        # of another width, sums of a GPU have another order
        wide = self.width(requests[0]) if self._device.type == "cuda" else None
        while any(part.tokens for part in fed):
            tokens, asked = [part.tokens for part in fed], [part.asked() for part in fed]
            width = wide or max(part.width for part in fed)
            logits = slots.append(tokens, width, asked, [part.forgotten for part in fed])
            fed = [
                _after(parts, logs) if part.tokens else NOTHING
                for parts, part, logs in zip(growing, fed, self._logs(logits, fed), strict=True)
            ]
        return [row.reply() for row in rows]

    def width(self, request: Request) -> int:
        """Return how many tokens the steps of a row have on a GPU; only such go together."""
        widest = Row(request, self._vocabulary).widest
        return widest + -widest % WIDE

    def forget(self) -> None:
        """Give the memory of the rows back."""
        self._slots = None

    def _slots_for(self, rows: Sequence[Row], requests: Sequence[Request], count: int) -> Rows:
        """Return memory for rows; that of the last ones, if it suffices."""
        # what is fed is filled up to a grain, and never longer than this
        room = self._max_reasoning_tokens + max(row.room for row in rows)
        room += max(self.width(request) for request in requests)
        if self._slots is None or not self._slots.fit(count, room):
            self.forget()
            self._slots = self._make_rows(count, room)
        return self._slots

    def _reason(self, slots: Rows, logits: torch.Tensor, rows: Sequence[Row]) -> None:
        """Let each row write until it stops by itself or has written enough.

        The device takes the tokens, and is told of the next steps before it has done so.

        Args:
            logits: after each prompt, those of missing rows too.
        """
        device, most = logits.device, self._max_reasoning_tokens
        missing = len(logits) - len(rows)
        drawn = [row.draws(most) for row in rows] + [None] * missing
        is_drawn = torch.tensor([own is not None for own in drawn], device=device)
        chances = torch.tensor([own or [0.0] * most for own in drawn], device=device).T
        wanted = [not row.is_word for row in rows]
        writing = torch.tensor([*wanted, *[False] * missing], device=device)
        written, flags = [], deque[_Flag]()
        for step in range(most):
            tokens = logits.argmax(-1)
            if any(own is not None for own in drawn):
                sampled = _sample(logits, self._temperature, chances[step])
                tokens = torch.where(is_drawn, sampled, tokens)
            writing = writing & ~torch.isin(tokens, self._stops)
            written.append(torch.where(writing, tokens, -1))
            flags.append(_Flag(writing.any()))
            if len(flags) > AHEAD and not flags.popleft().is_set():
                break
            logits = slots.step(tokens * writing, writing.long())
        for row, own in zip(rows, torch.stack(written, dim=1).tolist(), strict=False):
            row.write([token for token in own if token >= 0], most)

    def _logs(self, logits: torch.Tensor, fed: Sequence[Part]) -> list[Logs]:
        """Return what the logits after each token of each row say of what may stand there."""
        logits = logits.float()
        total = logits.logsumexp(-1, keepdim=True)
        digits = (logits.index_select(-1, self._digits) - total).tolist()
        ends, best = {}, {}
        for kind in {part.end for part in fed}:
            found = logits.index_select(-1, self._ends[kind]) - total
            ends[kind], best[kind] = found.logsumexp(-1).tolist(), found.amax(-1).tolist()
        wanted = self._wanted(logits, total, fed)
        return [
            Logs(digits[n], ends[part.end][n], best[part.end][n], wanted[n])
            for n, part in enumerate(fed)
        ]

    def _wanted(
        self, logits: torch.Tensor, total: torch.Tensor, fed: Sequence[Part]
    ) -> list[list[list[float]]]:
        """Return the log probabilities of the tokens that each row asks for by itself."""
        most = max(len(part.wanted) for part in fed)
        if not most:
            return [[] for _ in fed]
        filled = [[*part.wanted, *[0] * (most - len(part.wanted))] for part in fed]
        tokens = torch.tensor(filled, device=logits.device)[:, None].expand(-1, logits.shape[1], -1)
        return (logits.gather(-1, tokens) - total).tolist()


def _after(parts: Generator[Part, Logs, None], logs: Logs) -> Part:
    """Return what a row is fed after what it has read; nothing at its end."""
    try:
        return parts.send(logs)
    except StopIteration:
        return NOTHING


class _Flag:
    """A yes or no that is on its way from a device."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value, self._event = value, None
        if value.is_cuda:
            self._value = torch.empty((), dtype=value.dtype).pin_memory()
            self._value.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def is_set(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self._value)


def _sample(logits: torch.Tensor, temperature: float, chances: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row by a number between 0 and 1, whatever rows are beside it."""
    heights = (logits.float() / temperature).softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(heights, heights[:, -1:] * chances[:, None], right=True)
    return drawn[:, 0].clamp(max=logits.shape[-1] - 1)
