"""What the pages and texts of a report say, in the language that the configuration names.

Each language has a file of texts in `templates/texts/`; all have the same keys. A text is plain
but for `code` and **bold**, which each medium writes in its own way.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import yaml
from markupsafe import Markup, escape

from lockstep.benchmark.categories import CATEGORIES
from lockstep.foreign import media

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times faster where PyYAML was built with libyaml, as every start reads these texts."""

Language = Literal["en", "zh"]

TAGS: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
"""Of HTML, by language."""

CHINESE = {category.key: category.chinese for category in CATEGORIES.values()}

Says = Callable[..., Markup]
"""Gives a text by its key and the values in it, safe for one medium."""

Say = Callable[..., str]
"""Gives a text by its key and the values in it, as it is."""


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return the texts of a language, by keys such as `results.lead`."""
    path = Path(__file__).parent / "templates" / "texts" / f"{language}.yaml"
    return dict(_flat(yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)))


def _flat(texts: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, text in texts.items():
        name = f"{before}{key}"
        found += _flat(text, f"{name}.") if isinstance(text, dict) else [(name, text)]
    return found


def part(language: str, name: str) -> dict[str, str]:
    """Return the texts whose keys begin with a name, such as `viewer`, by the rest of the key."""
    texts = catalogue(language).items()
    return {key.removeprefix(f"{name}."): text for key, text in texts if key.startswith(f"{name}.")}


def plain(language: str, key: str, **values: Any) -> str:
    """Return a text as it is."""
    return _text(language, key, values).format_map(values)


ENGLISH: Say = partial(plain, "en")


def terms(language: str) -> list[tuple[str, dict[str, str]]]:
    """Return the glossary: each term's key with its `name` and what it `says`, by name."""
    texts = part(language, "terms")
    found: dict[str, dict[str, str]] = {}
    for key, text in texts.items():
        term, _, kind = key.partition(".")
        found.setdefault(term, {})[kind] = text.replace("{value}", "x")
    return sorted(found.items(), key=lambda item: item[1]["name"].lower())


def html(language: str) -> Says:
    """Return what gives texts for a page."""

    def say(key: str, **values: Any) -> Markup:
        marked = str(escape(_text(language, key, values)))
        marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", marked)
        marked = re.sub(r"\*\*([^*]*)\*\*", r"<strong>\1</strong>", marked)
        safe = {name: media.html(value) for name, value in values.items()}
        return Markup(marked).format_map(safe)

    return say


def markdown(language: str) -> Says:
    """Return what gives texts for Markdown."""

    def say(key: str, **values: Any) -> Markup:
        safe = {
            name: media.markdown(value) if isinstance(value, str) else value
            for name, value in values.items()
        }
        return Markup(_text(language, key, values).format_map(safe))

    return say


def _text(language: str, key: str, values: Mapping[str, Any]) -> str:
    """Return a text; `count` says whether it is that of one thing or that of many."""
    texts = catalogue(language)
    number = "one" if values.get("count") == 1 else "many"
    return texts[key if key in texts else f"{key}.{number}"]


def category(language: str, key: str) -> str:
    """Return how a category, or all of them together, is called: in English with both names."""
    if key == "overall":
        return plain(language, "page.overall")
    if language == "zh":
        return CHINESE.get(key, key)
    return f"{key} {CHINESE[key]}" if key in CHINESE else key
