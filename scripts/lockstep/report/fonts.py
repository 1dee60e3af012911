"""Whether a browser on this machine can draw Chinese; the report brings no font."""

from collections.abc import Iterable

from lockstep.figures.survey import HAN

LETTER = "物"
"""A character that every font for Chinese has."""


def is_chinese(text: str) -> bool:
    """Tell whether a text has Chinese characters."""
    return any(ord(character) in HAN for character in text)


def has_chinese() -> bool:
    """Tell whether a font of this machine has Chinese characters."""
    from matplotlib import font_manager

    return any(_has(path) for path in _ordered(font_manager.findSystemFonts()))


def _ordered(paths: Iterable[str]) -> list[str]:
    """Return the files of fonts, those first whose names promise Chinese."""
    names = ("cjk", "han", "wqy", "fallback", "simhei", "song", "ming", "hei")
    return sorted(paths, key=lambda path: (not any(n in path.lower() for n in names), path))


def _has(path: str) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(path).get_char_index(ord(LETTER)) != 0
    except (OSError, RuntimeError):
        # no font that can be read
        return False
