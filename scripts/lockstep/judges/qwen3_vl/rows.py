"""One reply as it grows: what is fed, which values are allowed, and how likely each is.

The object of a reply has blanks (`rubrics.questions.Blank`). Before each, its fixed text is fed;
then the model's own probabilities of all answers that may stand there are read.

Where numbers are written by their digits, integers from 0 to 10 take no step of their own. "10" is
two tokens: behind each fixed part a "1" is fed on trial, which nothing after it sees; what the
model puts on a "0" behind it, and on an end of the number there, splits the probability of "1"
between 10 and 1. That a number ends after another digit than 1 is taken for granted; where that
digit is the one taken, `schema_mass` says how true it is.

Other answers, and all numbers of a tokenizer that joins digits, make a tree of tokens. Where two of
them part, or one ends where another goes on, the tokens up to there are fed on trial, and what the
model puts on each way on splits the probability. What has next to none before is not looked into.
So the probabilities of all answers are known, given those before.
"""

import math
import random
from collections.abc import Generator, Sequence
from typing import NamedTuple

from lockstep.judges.qwen3_vl.vocabulary import Node, Tree, Vocabulary
from lockstep.rubrics.questions import Blank, filled

WIDE = 16
"""Tokens to whose multiple a step of several may be filled up, so that few are captured."""

ASKED = 4
"""Tokens of a part after which the model is asked: its first two and its last two."""

NEGLIGIBLE = math.log(1e-7)
"""Share of a branch of answers, as its logarithm, that no record shows."""

TENS = {str(number) for number in range(11)}
"""Integers whose probabilities take no step of their own, where they are written by digits."""

LONGEST = 2
"""Digits of the longest of them."""


class Request(NamedTuple):
    """What is asked of one row."""

    form: Sequence[Blank]
    """Blanks of the object."""
    seed: int | None
    """Seed of the sampling; None is greedy."""


class Reply(NamedTuple):
    """What came of one row."""

    text: str
    probabilities: dict[str, tuple[float, ...]]
    """Of the answers of each blank, in their order, of all that is on them."""
    schema_mass: float
    """Probability of tokens that a valid value allows, least over the tokens of all values."""
    tokens: int
    """Length of the reply."""


class Logs(NamedTuple):
    """Log probabilities after each token of a part after which the model is asked."""

    digits: list[list[float]]
    """Of each digit."""
    ends: list[float]
    """Of the end of a value."""
    best_ends: list[float]
    """Of the likeliest token that ends one."""
    wanted: list[list[float]]
    """Of each token that the part wants."""


class Part(NamedTuple):
    """What is fed to a row in one step."""

    tokens: list[int]
    width: int
    """Most tokens that such a part can have, whatever the row has said before."""
    end: str = "number"
    """What ends a value there."""
    forgotten: int = 0
    """How many of its last tokens are on trial."""
    wanted: Sequence[int] = ()
    """Tokens whose probabilities are read."""

    def asked(self) -> list[int]:
        """Return the numbers of the tokens after which the model is asked."""
        last = max(0, len(self.tokens) - 1)
        return [0, min(1, last), max(0, last - 1), last]


NOTHING = Part([], 0)


def _ways(tree: Tree, node: Node, logs: Logs, place: int) -> list[tuple[Node | None, float]]:
    """Return each way on from a place with its log probability; None is the answer's end."""
    found: list[tuple[Node | None, float]] = [
        (way, logs.wanted[place][tree.tokens.index(token)]) for token, way in node.ways.items()
    ]
    return found if node.answer is None else [*found, (None, logs.ends[place])]


class Row:
    """One reply as it grows."""

    def __init__(self, request: Request, vocabulary: Vocabulary) -> None:
        self.random = None if request.seed is None else random.Random(request.seed)
        self.reasoning: list[int] = []
        self._form = request.form
        self._vocabulary = vocabulary
        self._texts: list[str] = []
        self._probabilities: list[tuple[float, ...]] = []
        self._masses: list[float] = []
        self._tokens = 0
        self._broken = False
        """Whether the model gave no numbers."""

    @property
    def is_word(self) -> bool:
        """Whether it is a word right behind the prompt, which no text is fed before."""
        return not self._form[0].before

    @property
    def widest(self) -> int:
        """Most tokens of a part that is fed."""
        widths = [
            self._before(number, [0] * bool(number))[1] + 1 for number in range(len(self._form))
        ]
        others = [own.options for own in self._form if not self._at_once(own)]
        return max(
            *widths, *(len(self._vocabulary.encode(text)) for own in others for text in own), 1
        )

    @property
    def room(self) -> int:
        """Slots that what is fed needs: it is filled up to a grain, and never longer than this."""
        return sum(self._room(blank) for blank in self._form)

    def _room(self, blank: Blank) -> int:
        if self._at_once(blank):
            return len(self._vocabulary.encode(blank.name)) + 2 * WIDE
        longest = max(len(self._vocabulary.encode(text)) for text in blank.options)
        return len(self._vocabulary.encode(blank.before)) + 2 * longest + 4 * WIDE

    def _at_once(self, blank: Blank) -> bool:
        """Tell whether the probabilities of a blank's answers take no step of their own."""
        by_digits = bool(self._vocabulary.digits) and not self.is_word
        return by_digits and TENS.issuperset(blank.options)

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

    def parts(self, temperature: float) -> Generator[Part, Logs, None]:
        """Yield what is fed, one part after the other, each for what the model says after it."""
        digits = self._vocabulary.digits
        taken: list[int] = []
        end = "number"
        for number, blank in enumerate(self._form):
            if taken and blank.end != end:
                # what may follow a number of a list is another matter
                self._note(taken, (yield self._fed(Part(taken, LONGEST, end))))
                taken = []
            before, width = self._before(number, taken)
            if self._at_once(blank):
                part = Part([*taken, *before, digits[1]], width + 1, blank.end, 1)
                logs = yield self._fed(part)
                self._note(taken, logs)
                answer = self._take_integer(blank, logs, temperature)
                taken = [] if answer is None else [digits[int(d)] for d in blank.options[answer]]
            else:
                tree = Tree(blank.options, self._vocabulary)
                logs = yield self._fed(Part([*taken, *before], width, blank.end, 0, tree.tokens))
                self._note(taken, logs)
                taken = []
                answer = yield from self._answer(blank, tree, logs, temperature)
            if answer is None:
                self._broken = True
                return
            self._texts.append(blank.options[answer])
            end = blank.end
        if taken:
            self._note(taken, (yield self._fed(Part(taken, LONGEST, end))))

    def _fed(self, part: Part) -> Part:
        self._tokens += len(part.tokens) - part.forgotten
        return part

    def _before(self, number: int, taken: Sequence[int]) -> tuple[list[int], int]:
        """Return the fixed text before a blank, and how many tokens it has at most, with a value.

        The first begins a line of its own.
        """
        before = self._form[number].before
        forms = (before,) if number else (before, f"\n{before}")
        lengths = [len(self._vocabulary.encode(form)) for form in forms]
        own = self._vocabulary.encode(before if number else self._opening() + before)
        return own, max(lengths) + (LONGEST if taken else 0)

    def _opening(self) -> str:
        """Return what stands before the object: a new line, but at the beginning of one."""
        reasoning = self._vocabulary.decode(self.reasoning)
        return "" if not reasoning or reasoning.endswith("\n") else "\n"

    def _note(self, taken: Sequence[int], logs: Logs) -> None:
        """Note what was on valid tokens behind each digit: an end, and behind a first 1 a 0."""
        for place, token in enumerate(taken):
            is_one = place == 0 and token == self._vocabulary.digits[1]
            zero = [logs.digits[place][0]] if is_one else []
            self._masses.append(math.exp(_log_sum([logs.ends[place], *zero])))

    def _take_integer(self, blank: Blank, logs: Logs, temperature: float) -> int | None:
        """Take an integer by the log probabilities of its digits.

        Args:
            logs: the last ones behind a 1, those before them where it stands.
        """
        digits, zero, end = logs.digits[-2], logs.digits[-1][0], logs.ends[-1]
        values = [*digits, digits[1] + zero - _log_sum([zero, end])]
        values[1] += end - _log_sum([zero, end])
        if len(blank.options) < len(values):
            allowed = [values[int(text)] for text in blank.options]
            return self._take(allowed, math.exp(_log_sum(allowed)), temperature)
        # token by token, as in any greedy reply
        first = digits.index(max(digits))
        greedy = 10 if first == 1 and zero >= logs.best_ends[-1] else first
        return self._take(values, math.exp(_log_sum(digits)), temperature, greedy)

    def _answer(
        self, blank: Blank, tree: Tree, logs: Logs, temperature: float
    ) -> Generator[Part, Logs, int | None]:
        """Take an answer from a tree, and feed it."""
        ways = _ways(tree, tree.root, logs, -1)
        total = _log_sum([log for _, log in ways])
        values = [-math.inf] * len(tree.answers)
        if math.isfinite(total):
            yield from self._explore(blank, tree, ways, total, values)
        answer = self._take(values, math.exp(total), temperature)
        if answer is None:
            return None
        tokens, node = tree.answers[answer], tree.root
        for begin in range(0, len(tokens), ASKED):
            fed = tokens[begin : begin + ASKED]
            logs = yield self._fed(Part(fed, tree.longest, blank.end, 0, tree.tokens))
            for token, place in zip(fed, _places(len(fed)), strict=True):
                node = node.ways[token]
                allowed = [log for _, log in _ways(tree, node, logs, place)]
                self._masses.append(math.exp(_log_sum(allowed)))
        return answer

    def _explore(
        self,
        blank: Blank,
        tree: Tree,
        ways: Sequence[tuple[Node | None, float]],
        total: float,
        values: list[float],
    ) -> Generator[Part, Logs, None]:
        """Find the log probability of each answer, on trial where several go on alike.

        Args:
            total: of all answers.
            values: of each answer, filled in.
        """
        paths = {id(tree.root): list[int]()}
        for token, after in tree.root.ways.items():
            paths[id(after)] = [token]
        waiting = [(way, log) for way, log in ways if way is not None]
        while waiting:
            node, log = waiting.pop()
            answers = list(node.below())
            if len(answers) == 1 or not log - total > NEGLIGIBLE:
                for answer in answers:
                    values[answer] = log - math.log(len(answers))
                continue
            path = paths[id(node)]
            for token, after in node.ways.items():
                paths[id(after)] = [*path, token]
            if node.answer is None and len(node.ways) == 1:
                waiting += [(after, log) for after in node.ways.values()]
                continue
            logs = yield self._fed(Part(path, tree.longest, blank.end, len(path), tree.tokens))
            found = _ways(tree, node, logs, -1)
            allowed = _log_sum([own for _, own in found])
            for way, own in found:
                if way is not None:
                    waiting.append((way, log + own - allowed))
                elif node.answer is not None:
                    values[node.answer] = log + own - allowed

    def _take(
        self, values: Sequence[float], mass: float, temperature: float, greedy: int | None = None
    ) -> int | None:
        """Take one of the allowed answers by their log probabilities; None if they are none.

        Args:
            mass: probability of all tokens with which one may begin.
            greedy: the one that is taken without sampling; None is the likeliest.
        """
        total = _log_sum(values)
        if not math.isfinite(total):
            return None
        self._masses.append(mass)
        self._probabilities.append(tuple(math.exp(value - total) for value in values))
        if self.random is not None:
            heights = [math.exp((value - max(values)) / temperature) for value in values]
            return self.random.choices(range(len(values)), heights)[0]
        return values.index(max(values)) if greedy is None else greedy

    def reply(self) -> Reply | None:
        if self._broken or any(map(math.isnan, self._masses)):
            return None
        names = [blank.name for blank in self._form]
        return Reply(
            text=self._vocabulary.decode(self.reasoning)
            + self._opening()
            + filled(self._form, self._texts),
            probabilities=dict(zip(names, self._probabilities, strict=True)),
            schema_mass=min(self._masses),
            tokens=len(self.reasoning) + self._tokens + 1,
        )


def _places(count: int) -> list[int]:
    """Return where the first tokens of a part stand among those that it is asked after."""
    return [0, 1, 3][:count] if count < ASKED else [0, 1, 2, 3]


def _log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum of exponentials."""
    highest = max(logs)
    if not math.isfinite(highest):
        return highest
    return highest + math.log(sum(math.exp(value - highest) for value in logs))
