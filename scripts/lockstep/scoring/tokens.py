"""How many tokens a judgement takes, estimated before it is made.

Each model counts in its own way, so these are estimates by one rule: a token for four characters of
ASCII, for every other character, and for every 28×28 pixels of an image, which are more than most
models take.
"""

from PIL import Image

from lockstep.models.backend import Usage
from lockstep.scoring.replies import Pending

LETTERS = 4
"""Characters of ASCII that are one token."""

PATCH = 28
"""Pixels along each side of what is one token."""


def of_text(text: str) -> int:
    plain = sum(character.isascii() for character in text)
    return len(text) - plain + -(-plain // LETTERS)


def of_image(width: int, height: int) -> int:
    return -(-width // PATCH) * -(-height // PATCH)


def longest(item: Pending) -> int:
    """Return the tokens of the longest reply."""
    return item.job.settings.longest_reply(item.question)


def of_prompt(item: Pending) -> int:
    """Return the tokens of all that the judge is shown and told."""
    texts = of_text(item.question.system or "") + of_text(item.prompt)
    return texts + sum(of_image(*size) for kind in item.images for size in _sizes(item, kind))


def dearest(item: Pending) -> Usage:
    """Return the most that one request of an item takes: the one that asks once more."""
    reply = longest(item)
    corrected = of_text(item.question.correction("x" * 300)) + reply
    return Usage(of_prompt(item) + corrected, reply)


def _sizes(item: Pending, kind: str) -> list[tuple[int, int]]:
    """Return the sizes of a kind of images."""
    sample = item.sample
    own = (sample.width, sample.height)
    if kind == "edited":
        resized = item.call is not None and item.call.edited_size == "source"
        return [own if resized else _edited_size(item)]
    pictures = [] if sample.reference is None else [sample.reference]
    pictures = list(sample.more) if kind == "more" else pictures
    return [own] if kind == "source" else [(each.width, each.height) for each in pictures]


def _edited_size(item: Pending) -> tuple[int, int]:
    """Return the size of the edited image; that of the source where there is none yet."""
    try:
        with Image.open(item.edited) as image:
            return image.size
    except Exception:  # Pillow raises many kinds on what is no image
        return item.sample.width, item.sample.height
