"""Tokens that mean something in a reply, and the trees that answers make of them."""

from collections.abc import Iterator, Sequence

import transformers

from lockstep.errors import ConfigError

DIGITS = "0123456789"

ENDS = {
    "number": (",", "}", "Ġ", "Ċ", "č", "ĉ"),
    "list": (",", "]", "Ġ", "Ċ", "č", "ĉ"),
    "text": ('"',),
}
"""How tokens begin that may follow a value; byte-level tokenizers write white space so."""


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
        self.ends = {
            kind: sorted(number for token, number in known.items() if token.startswith(signs))
            for kind, signs in ENDS.items()
        }
        """Tokens that may follow a value of each kind."""

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


class Node:
    """A place in the tree of all answers' tokens."""

    def __init__(self) -> None:
        self.ways: dict[int, Node] = {}
        """Where each token leads that may follow."""
        self.answer: int | None = None
        """Number of the answer that ends here."""

    def below(self) -> Iterator[int]:
        """Yield the numbers of all answers that lead through here."""
        if self.answer is not None:
            yield self.answer
        for node in self.ways.values():
            yield from node.below()


class Tree:
    """The answers of a blank as tokens."""

    def __init__(self, options: Sequence[str], vocabulary: Vocabulary) -> None:
        self.root = Node()
        self.answers = [vocabulary.encode(text) for text in options]
        for number, tokens in enumerate(self.answers):
            node = self.root
            for token in tokens:
                node = node.ways.setdefault(token, Node())
            node.answer = number
        self.tokens = sorted({token for tokens in self.answers for token in tokens})
        self.longest = max(map(len, self.answers))
