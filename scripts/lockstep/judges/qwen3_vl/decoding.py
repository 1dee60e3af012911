"""Replies of a vision-language model, token by token: reasoning is free, scores are read.

The reasoning is what the model writes by itself, until it begins an object, ends, or has written
enough. The object's fixed parts are not generated but fed, each in one step; where a value is due,
the model's own probabilities of the integers from 0 to 10 are read, and one of them is taken.

"10" is two tokens. Behind each fixed part a "1" is fed on trial, which nothing after it sees: what
the model puts on a "0" behind it, and on an end of the number there, splits the probability of "1"
between 10 and 1. So the probabilities of all values are known, given the values before, without a
step of their own. That a number ends after another digit than 1 is taken for granted here; where
that digit is the one taken, `schema_mass` says how true it is.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import transformers

from lockstep.errors import ConfigError
from lockstep.judges.qwen3_vl.slots import WIDE, Slots

DIGITS = "0123456789"

ENDS = (",", "}", "Ġ", "Ċ", "č", "ĉ")
"""How tokens begin that may follow a number; byte-level tokenizers write white space so."""


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


class Vocabulary:
    """Tokens that mean something here.

    Raises:
        ConfigError: if digits are not tokens of their own.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        tokens = [self.encode(digit) for digit in DIGITS]
        parts = [self.encode('{"a": '), tokens[1], tokens[0], self.encode(', "b": ')]
        joined = [token for part in (*parts, tokens[7], self.encode("}")) for token in part]
        single = all(len(digit) == 1 for digit in tokens)
        if not single or self.encode('{"a": 10, "b": 7}') != joined:
            raise ConfigError(
                "judge: found a tokenizer that joins digits with what stands beside them, "
                "accepted is one with a token for each digit, as Qwen's"
            )
        self.digits = [digit for (digit,) in tokens]
        known = tokenizer.get_vocab()
        self.opening = {number for token, number in known.items() if "{" in token}
        """Tokens that begin an object."""
        self.ends = sorted(number for token, number in known.items() if token.startswith(ENDS))
        """Tokens that may follow a number."""

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


class Decoder:
    """A model that replies.

    Args:
        model: a Qwen-VL model.
        vocabulary: of its tokenizer.
        max_reasoning_tokens: longest reasoning; 0 asks for none.
        temperature: of sampled replies.
    """

    def __init__(
        self,
        model: transformers.PreTrainedModel,
        vocabulary: Vocabulary,
        max_reasoning_tokens: int,
        temperature: float,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._digits, self._ends = (
            torch.tensor(tokens, device=model.device)
            for tokens in (vocabulary.digits, vocabulary.ends)
        )
        self._slots: Slots | None = None
        self._max_reasoning_tokens = max_reasoning_tokens
        self._temperature = temperature
        stops = model.generation_config.eos_token_id
        stops = stops if isinstance(stops, list) else [stops]
        self._stops = vocabulary.opening | {token for token in stops if token is not None}

    @torch.inference_mode()
    def reply(
        self, prompts: Iterable[Mapping[str, Any]], requests: Sequence[Request], count: int
    ) -> list[Reply | None]:
        """Reply to each row.

        Args:
            prompts: what the processor makes of each prompt.
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
            logits = slots.append([part.tokens for part in fed], width, trial=True)
            for row, part, logs in zip(rows, fed, self._logs(logits), strict=True):
                row.read(part, logs, self._temperature)
        return [row.reply() for row in rows]

    def forget(self) -> None:
        """Give the memory of the rows back."""
        self._slots = None

    def _slots_for(self, rows: Sequence["_Row"], count: int) -> Slots:
        """Return memory for rows; that of the last ones, if it suffices."""
        # what is fed is filled up to a grain, and never longer than this
        parts = max(
            sum(len(self._vocabulary.encode(name)) + 2 * WIDE for name in row.names) for row in rows
        )
        room = self._max_reasoning_tokens + parts + WIDE
        if self._slots is None or not self._slots.fit(count, room):
            self.forget()
            self._slots = Slots(self._model, count, room)
        return self._slots

    def _reason(self, slots: Slots, logits: torch.Tensor, rows: Sequence["_Row"]) -> None:
        """Let each row write until it stops by itself or has written enough.

        Args:
            logits: after each prompt.
        """
        writing = list(rows)
        for _ in range(self._max_reasoning_tokens):
            greedy = logits.argmax(-1).tolist()
            fed: list[list[int]] = []
            for number, row in enumerate(rows):
                token = greedy[number]
                if row.random is not None and row in writing:
                    token = _sample(logits[number], self._temperature, row.random)
                if row in writing and token in self._stops:
                    writing.remove(row)
                fed.append([token] if row in writing else [])
                row.reasoning += fed[-1]
            if not writing:
                return
            logits = slots.append(fed)[:, -1]

    def _logs(self, logits: torch.Tensor) -> list["_Logs"]:
        """Return what the logits after each token of each row say of numbers there."""
        logits = logits.float()
        total = logits.logsumexp(-1, keepdim=True)
        digits, ends = (
            logits.index_select(-1, tokens) - total for tokens in (self._digits, self._ends)
        )
        found = zip(
            digits.tolist(), ends.logsumexp(-1).tolist(), ends.amax(-1).tolist(), strict=True
        )
        return [_Logs(*row) for row in found]


class _Logs(NamedTuple):
    """Log probabilities after each token of a row."""

    digits: list[list[float]]
    """Of each digit."""
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

    def part(self, number: int) -> _Part:
        """Return what comes before the value of a criterion, or after the last one's."""
        if self._broken or number > len(self.names):
            return _Part([], 0, False)
        digits = self._vocabulary.digits
        taken = [digits[int(digit)] for digit in str(self._values[-1])] if number else []
        if number == len(self.names):
            return _Part(taken, len(taken), False)
        before = ", " if number else self._opening()
        fixed = self._vocabulary.encode(f'{before}"{self.names[number]}": ')
        return _Part([*taken, *fixed, digits[1]], len(taken), True)

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
            zero = [logs.digits[place][0]] if self._values[-1] in (1, 10) and place == 0 else []
            self._masses.append(math.exp(_log_sum([logs.ends[place], *zero])))
        if part.trial:
            last = len(part.tokens) - 1
            self._take(logs.digits[last - 1], logs.digits[last][0], logs, last, temperature)

    def _take(
        self, digits: list[float], zero: float, logs: "_Logs", last: int, temperature: float
    ) -> None:
        """Take a value by the log probabilities of its digits.

        Args:
            digits: of each as the first one.
            zero: of a 0 behind a 1.
            last: place of that 1.
        """
        end = logs.ends[last]
        values = [*digits, digits[1] + zero - _log_sum([zero, end])]
        values[1] += end - _log_sum([zero, end])
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
        self._values.append(10 if first == 1 and zero >= logs.best_ends[last] else first)

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


def _sample(logits: torch.Tensor, temperature: float, generator: random.Random) -> int:
    """Draw a token by one number of the row's own generator, whatever rows are beside it."""
    heights = (logits.float() / temperature).softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(heights, heights[-1] * generator.random(), right=True)
    return min(int(drawn), len(logits) - 1)


def _log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials."""
    highest = max(logs)
    if not math.isfinite(highest):
        return highest
    return highest + math.log(sum(math.exp(value - highest) for value in logs))
