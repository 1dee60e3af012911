"""Tokens of which replies are made."""

from collections.abc import Sequence

import transformers

from lockstep.errors import ConfigError

DIGITS = "0123456789"

ENDS = (",", "}", "Ġ", "Ċ", "č", "ĉ", "▁", "\n", "\r", "\t")
"""How tokens begin that may follow a number; byte-level tokenizers write white space by the letters
with marks, SentencePiece's by the bar."""


class Vocabulary:
    """Tokens that mean something here.

    Raises:
        ConfigError: if digits are not tokens of their own.
    """

    def __init__(self, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        tokens = [self.encode(digit) for digit in DIGITS]
        self.ten = self._ten(tokens)
        """Tokens of the number 10: its digits, or one of its own."""
        self.digits = [digit for (digit,) in tokens]
        self.single = [*self.digits, *(self.ten if len(self.ten) == 1 else [])]
        """Tokens that are a whole number, of 0, 1, … ascending."""
        known = tokenizer.get_vocab()
        self.opening = {number for token, number in known.items() if "{" in token}
        """Tokens that begin an object."""
        self.ends = sorted(number for token, number in known.items() if token.startswith(ENDS))
        """Tokens that may follow a number."""

    def _ten(self, digits: Sequence[list[int]]) -> list[int]:
        """Return the tokens of 10.

        Raises:
            ConfigError: as above.
        """
        found = self.encode('{"a": 10, "b": 7}')
        for ten in ([*digits[1], *digits[0]], self.encode("10")):
            parts = [self.encode('{"a": '), ten, self.encode(', "b": '), digits[7]]
            joined = [token for part in (*parts, self.encode("}")) for token in part]
            if max(map(len, digits)) == 1 and len(ten) <= 2 and found == joined:
                return ten
        raise ConfigError(
            "judge: found a tokenizer that joins digits with what stands beside them, "
            "accepted is one with a token for each digit, as Qwen's"
        )

    def number(self, value: int) -> list[int]:
        """Return the tokens of a number from 0 to 10."""
        return self.ten if value == 10 else [self.digits[value]]

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)
