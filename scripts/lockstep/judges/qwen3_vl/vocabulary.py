"""Tokens that mean something in a reply, and the trees that answers make of them."""

from collections.abc import Iterator, Sequence

import transformers

from lockstep.errors import ConfigError

DIGITS = "0123456789"

SPACE = ("Ġ", "Ċ", "č", "ĉ", "▁", "\n", "\r", "\t")
"""How tokens of white space begin: byte-level tokenizers write it by the letters with marks,
SentencePiece's a space by the bar."""

ENDS = {"number": (",", "}", *SPACE), "list": (",", "]", *SPACE), "text": ('"',)}
"""How tokens begin that may follow a value."""


class Vocabulary:
    """Tokens that mean something here.

    Raises:
        ConfigError: if numbers are joined with what stands beside them.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.digits = self._digits()
        """Token of each digit, where numbers are written by them; none where some are joined."""
        known = tokenizer.get_vocab()
        self.opening = {number for token, number in known.items() if "{" in token}
        """Tokens that begin an object."""
        self.ends = {
            kind: sorted(number for token, number in known.items() if token.startswith(signs))
            for kind, signs in {**ENDS, "line": (*SPACE, str(tokenizer.eos_token))}.items()
        }
        """Tokens that may follow a value of each kind."""

    def _digits(self) -> list[int]:
        """Return the token of each digit.

        Raises:
            ConfigError: as above.
        """
        parts = ('{"a": ', "10", ', "b": ', "7", "}")
        if self.encode("".join(parts)) != [token for own in parts for token in self.encode(own)]:
            raise ConfigError(
                "judge: expected a tokenizer that writes numbers in tokens of their own, as "
                "Qwen's, found one that joins them with what stands beside them"
            )
        digits = [self.encode(digit) for digit in DIGITS]
        alone = all(len(own) == 1 for own in digits)
        if not alone or self.encode("10") != [*digits[1], *digits[0]]:
            return []
        return [digit for (digit,) in digits]

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
