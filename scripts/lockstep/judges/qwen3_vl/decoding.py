"""Replies of a vision-language model, token by token: reasoning is free, scores are read.

The reasoning is what the model writes by itself, until it begins an object, ends, or has written
enough. The object's fixed parts are not generated but fed, each in one step; where a value is due,
the model's own probabilities of the integers from 0 to 10 are read, and one of them is taken.

"10" is two tokens, unless a tokenizer has one of its own. Where it is two, a "1" is fed on trial
behind each fixed part, which nothing after it sees: what the model puts on a "0" behind it, and on
an end of the number there, splits the probability of "1" between 10 and 1. So the probabilities of
all values are known, given the values before, without a step of their own. That a number ends after
another digit than 1 is taken for granted here; where that digit is the one taken, `schema_mass`
says how true it is.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
import transformers

from lockstep.judges.qwen3_vl.vocabulary import Vocabulary

WIDE = 16
"""Tokens to whose multiple a step of several may be filled up, so that few are captured."""

AHEAD = 2
"""Steps that the device is told of before the one after which it may stop is over."""

ASKED = 4
"""Tokens of a part after which the model is asked: its first two and its last two."""


class Request(NamedTuple):
    """What is asked of one row."""

    names: Sequence[str]
    """Criteria, in the order of the object."""
    seed: int | None
    """Seed of the sampling; None is greedy."""
    values: Sequence[int] = range(11)
    """What each criterion may have, ascending."""


class Reply(NamedTuple):
    """What came of one row."""

    text: str
    probabilities: dict[str, tuple[float, ...]]
    """Of each criterion's values, ascending, of all that is on them."""
    schema_mass: float
    """Probability of tokens that a valid value allows, least over the tokens of all values."""
    tokens: int
    """Length of the reply."""


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
        trial: bool = False,
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
        self._vocabulary = vocabulary
        self._make_rows = make_rows
        self._single, self._ends = (
            torch.tensor(tokens, device=model.device)
            for tokens in (vocabulary.single, vocabulary.ends)
        )
        self._slots: Rows | None = None
        self._max_reasoning_tokens = max_reasoning_tokens
        self._temperature = temperature
        stops = model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        known = vocabulary.opening | {token for token in stops if token is not None}
        self._stops = torch.tensor(sorted(known), device=model.device)

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
        rows = [_Row(request, self._vocabulary) for request in requests]
        slots = self._slots_for(rows, count)
        logits = slots.begin(prompts)
        if self._max_reasoning_tokens:
            self._reason(slots, logits, rows)
        for number in range(max(len(row.names) for row in rows) + 1):
            fed = [row.part(number) for row in rows]
            if not any(part.tokens for part in fed):
                break
            width = max(row.longest(number) for row in rows)
            tokens, asked = [part.tokens for part in fed], [part.asked() for part in fed]
            trial = any(part.trial for part in fed)
            logits = slots.append(tokens, width, asked, trial)
            for row, part, logs in zip(rows, fed, self._logs(logits), strict=True):
                row.read(part, logs, self._temperature)
        return [row.reply() for row in rows]

    def forget(self) -> None:
        """Give the memory of the rows back."""
        self._slots = None

    def _slots_for(self, rows: Sequence["_Row"], count: int) -> Rows:
        """Return memory for rows; that of the last ones, if it suffices."""
        # what is fed is filled up to a grain, and never longer than this
        parts = max(
            sum(len(self._vocabulary.encode(name)) + 2 * WIDE for name in row.names) for row in rows
        )
        room = self._max_reasoning_tokens + parts + WIDE
        if self._slots is None or not self._slots.fit(count, room):
            self.forget()
            self._slots = self._make_rows(count, room)
        return self._slots

    def _reason(self, slots: Rows, logits: torch.Tensor, rows: Sequence["_Row"]) -> None:
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
        writing = torch.tensor([True] * len(rows) + [False] * missing, device=device)
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

    def _logs(self, logits: torch.Tensor) -> list["_Logs"]:
        """Return what the logits after each token of each row say of numbers there."""
        logits = logits.float()
        total = logits.logsumexp(-1, keepdim=True)
        numbers, ends = (
            logits.index_select(-1, tokens) - total for tokens in (self._single, self._ends)
        )
        found = zip(
            numbers.tolist(), ends.logsumexp(-1).tolist(), ends.amax(-1).tolist(), strict=True
        )
        return [_Logs(*row) for row in found]


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


class _Logs(NamedTuple):
    """Log probabilities after each token of a part after which the model is asked."""

    numbers: list[list[float]]
    """Of each token that is a whole number, ascending: of the digits, and of 10 where it is one."""
    ends: list[float]
    """Of the end of a number."""
    best_ends: list[float]
    """Of the likeliest token that ends one."""


class _Part(NamedTuple):
    """What is fed to a row in one step."""

    tokens: list[int]
    taken: int
    """How many of them belong to the value before."""
    trial: bool
    """Whether the last one is a 1 on trial."""

    def asked(self) -> list[int]:
        """Return the numbers of the tokens after which the model is asked."""
        last = max(0, len(self.tokens) - 1)
        return [0, min(1, last), max(0, last - 1), last]


class _Row:
    """One reply as it grows."""

    def __init__(self, request: Request, vocabulary: Vocabulary) -> None:
        self.names = request.names
        self.random = None if request.seed is None else random.Random(request.seed)
        self.reasoning: list[int] = []
        self._vocabulary = vocabulary
        self._allowed = request.values
        self._values: list[int] = []
        self._probabilities: list[tuple[float, ...]] = []
        self._masses: list[float] = []
        self._tokens = 0
        self._broken = False
        """Whether the model gave no numbers."""

    @property
    def _two_tokens(self) -> bool:
        """Tell whether 10 is two tokens."""
        return len(self._vocabulary.ten) == 2

    def draws(self, count: int) -> list[float] | None:
        """Return the next numbers of the row's own generator, which stays where it is."""
        if self.random is None:
            return None
        state = self.random.getstate()
        drawn = [self.random.random() for _ in range(count)]
        self.random.setstate(state)
        return drawn

    def write(self, tokens: list[int], most: int) -> None:
        """Take note of the reasoning."""
        self.reasoning = tokens
        if self.random is not None:
            # one for each token, and one for that which ended it
            for _ in range(min(len(tokens) + 1, most)):
                self.random.random()

    def part(self, number: int) -> _Part:
        """Return what comes before the value of a criterion, or after the last one's."""
        if self._broken or number > len(self.names):
            return _Part([], 0, False)
        taken = self._vocabulary.number(self._values[-1]) if number else []
        if number == len(self.names):
            return _Part(taken, len(taken), False)
        before = ", " if number else self._opening()
        fixed = self._vocabulary.encode(f'{before}"{self.names[number]}": ')
        if not self._two_tokens:
            return _Part([*taken, *fixed], len(taken), False)
        return _Part([*taken, *fixed, *self._vocabulary.number(1)], len(taken), True)

    def longest(self, number: int) -> int:
        """Return how many tokens a part can have at most, whatever the row has said before."""
        digits = 2 if number else 0
        if number >= len(self.names):
            return digits
        before = (", ",) if number else ("{", "\n{")
        fixed = (self._vocabulary.encode(f'{b}"{self.names[number]}": ') for b in before)
        return digits + max(map(len, fixed)) + 1

    def _opening(self) -> str:
        """Return how the object begins: on a line of its own."""
        reasoning = self._vocabulary.decode(self.reasoning)
        return "{" if not reasoning or reasoning.endswith("\n") else "\n{"

    def read(self, part: _Part, logs: "_Logs", temperature: float) -> None:
        """Note what was on valid tokens, and take a value if one is due."""
        self._tokens += len(part.tokens) - part.trial
        # what the number taken allowed behind each of its digits: its end, and behind 1 a 0
        for place in range(part.taken):
            ten = self._two_tokens and self._values[-1] in (1, 10) and place == 0
            zero = [logs.numbers[place][0]] if ten else []
            self._masses.append(math.exp(_log_sum([logs.ends[place], *zero])))
        if len(self._values) < len(self.names) and part.tokens:
            self._take(logs, temperature)

    def _take(self, logs: "_Logs", temperature: float) -> None:
        """Take a value by the log probabilities of its digits.

        Args:
            logs: where 10 is two tokens, the last ones behind a 1, those before them where it
                stands; else the last ones where it stands.
        """
        if self._two_tokens:
            digits, zero, end = logs.numbers[-2], logs.numbers[-1][0], logs.ends[-1]
            values = [*digits, digits[1] + zero - _log_sum([zero, end])]
            values[1] += end - _log_sum([zero, end])
        else:
            digits = values = logs.numbers[-1]
        if len(self._allowed) < len(values):
            self._take_allowed([values[value] for value in self._allowed], temperature)
            return
        total = _log_sum(values)
        if not math.isfinite(total):
            self._broken = True
            return
        self._masses.append(math.exp(_log_sum(digits)))
        self._probabilities.append(tuple(math.exp(value - total) for value in values))
        if self.random is not None:
            heights = [math.exp((value - max(values)) / temperature) for value in values]
            self._values.append(self.random.choices(range(len(values)), heights)[0])
            return
        # token by token, as in any greedy reply
        first = digits.index(max(digits))
        is_ten = self._two_tokens and first == 1 and logs.numbers[-1][0] >= logs.best_ends[-1]
        self._values.append(10 if is_ten else first)

    def _take_allowed(self, values: list[float], temperature: float) -> None:
        """Take one of the allowed values by their log probabilities."""
        total = _log_sum(values)
        if not math.isfinite(total):
            self._broken = True
            return
        self._masses.append(math.exp(total))
        self._probabilities.append(tuple(math.exp(value - total) for value in values))
        if self.random is not None:
            heights = [math.exp((value - max(values)) / temperature) for value in values]
            self._values.append(self.random.choices(self._allowed, heights)[0])
            return
        self._values.append(self._allowed[values.index(max(values))])

    def reply(self) -> Reply | None:
        if self._broken or any(map(math.isnan, self._masses)):
            return None
        named = zip(self.names, self._values, strict=True)
        members = ", ".join(f'"{name}": {value}' for name, value in named)
        return Reply(
            text=f"{self._vocabulary.decode(self.reasoning)}{self._opening()}{members}}}",
            probabilities=dict(zip(self.names, self._probabilities, strict=True)),
            schema_mass=min(self._masses),
            tokens=len(self.reasoning) + self._tokens + 1,
        )


def _sample(logits: torch.Tensor, temperature: float, chances: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row by a number between 0 and 1, whatever rows are beside it."""
    heights = (logits.float() / temperature).softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(heights, heights[:, -1:] * chances[:, None], right=True)
    return drawn[:, 0].clamp(max=logits.shape[-1] - 1)


def _log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials."""
    highest = max(logs)
    if not math.isfinite(highest):
        return highest
    return highest + math.log(sum(math.exp(value - highest) for value in logs))
