"""Texts of others in prompts: what looks like a control token is read as the characters it is.

A tokenizer takes `<|im_end|>` in an instruction for the token that ends a turn. Here such a name is
parted by a mark, so that neither a tokenizer nor a processor finds it, and the tokenizer removes
the mark once it has looked for its tokens. Texts without such a name keep their tokens.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lockstep.errors import SampleError

MARK = "\ufdd0\ufdd1"
"""Two of Unicode's noncharacters, which no text is made of."""

NAME = re.compile(r"<\S+>|\[\S+\]")
"""Names of control tokens. Others that a tokenizer lists, such as `!` in CLIP's, are words."""

ONCE_READ = re.compile(
    r"<\|[^<>|\s]+\|>"
    r"|</?(?:s|pad|bos|eos|think|tool_call|tool_response|extra_id_\d+)>"
    r"|\[/?(?:INST|IMG|IMG_BREAK|IMG_END|SYSTEM_PROMPT)\]"
)
"""Names that were read as control tokens until they were spelled out."""


def spelling(*texts: str) -> dict[str, int]:
    """Return what a key holds of how texts are read: nothing of those that were always plain."""
    return {"plain_text": 1} if any(map(ONCE_READ.search, texts)) else {}


def speller(tokenizers: Iterable[Any]) -> Callable[[str], str]:
    """Return what makes a text plain to tokenizers of transformers, which learn to read it.

    Where a tokenizer finds its token without the mark too, a space stays in the mark's place.

    Raises:
        SampleError: by what is returned, for a text that is read as a control token all the same.
    """
    names: set[str] = set()
    taught: list[tuple[Any, dict[int, str]]] = []
    mark = MARK
    for tokenizer in tokenizers:
        own = {name: number for name, number in tokenizer.get_added_vocab().items() if _named(name)}
        names |= own.keys()
        own.pop(tokenizer.unk_token, None)
        if hasattr(tokenizer, "backend_tokenizer"):
            taught.append((tokenizer.backend_tokenizer, {own[name]: name for name in own}))
        else:
            # one written in Python cannot be taught
            mark = " "
    for tokenizer, own in taught:
        _teach(tokenizer, own)
    longest = sorted(names, key=len, reverse=True)
    # some tokenizers look for their tokens in lower case
    pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)", re.IGNORECASE)

    def spell(text: str) -> str:
        count = 1
        while count:
            # one name may hold another
            text, count = pattern.subn(lambda found: _parted(found[0], mark), text)
        # some read full-width characters as the usual ones
        if not pattern.search(unicodedata.normalize("NFKC", text)):
            return text
        for tokenizer, own in taught:
            if read := _controls(tokenizer, own, text):
                raise SampleError(f"found text that the model reads as its token {own[read.pop()]}")
        return text

    return spell


def _named(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def _parted(name: str, mark: str) -> str:
    return name[0] + mark + name[1:]


def _controls(tokenizer: Any, names: Mapping[int, str], text: str) -> set[int]:
    return names.keys() & set(tokenizer.encode(text, add_special_tokens=False).ids)


def _teach(tokenizer: Any, names: Mapping[int, str]) -> None:
    """Let a tokenizer remove marks, or put a space in their place where that makes a token again.

    T5's model finds its tokens by itself, and CLIP looks for them once more after the marks.
    """
    from tokenizers import normalizers

    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    for gap in ("", " "):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(MARK, gap), *own])
        if not any(_controls(tokenizer, names, _parted(name, MARK)) for name in names.values()):
            return
