"""Check how the texts read that people read: `python -m tests.prose`, part of `make lint`.

Many readers have English as a second language. So a sentence begins with its subject, the subject
is a noun, and the sentence is short. The check looks at the pages, at the first line of each
docstring and at the texts of messages.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANY = re.MULTILINE | re.DOTALL
PAGES = ("*.md", "docs/*.md", "config/*.md")
LONGEST = 35
"""Most words of a sentence; a colon, a semicolon and a cell of a table end one too."""

VERB = r"(is|are|was|were|does|do|did|has|have|had|can|could|may|must|will|would)"
PLACE = "Above|Among|At|Before|Behind|Below|Beside|Between|From|In|Of|On|Over|To|Under|With"
NOUN = "expected a noun as the subject"
RULES = {
    NOUN: re.compile(
        r"^((And|But|So|Then|Yet),? )?(?i:what|whatever|whoever|whichever|who)\b(?!.*\?$)"
        r"|^((And|But|So|Then),? )?(?i:how|whether|which)\b(?! to\b)(?!.*\?$)"
        r"|^That (the|an?|its?|they|no|each|every|either|there|we|you|some|all|both|nothing)\b"
        rf"|[;,:] (and |but |so )?(what|who) [^,;.?]{{2,60}} {VERB}[.;]"
    ),
    "expected 'expected …, found …'": re.compile(r"\baccepted (is|are)\b", re.IGNORECASE),
    "expected the subject before its verb": re.compile(
        rf"^(Nor|Never|Rarely|Seldom|Hardly) {VERB}\b|, nor {VERB}\b|^Neither {VERB} (the|it|an?)\b"
        rf"|^Only (after|by|if|in|then|when|where|with)\b[^,]{{0,60}} {VERB} (the|it|an?|they)\b"
        r"|^(Should|Had|Were|Be) (an?|the|it|one|they|this)\b(?!.*\?$)"
        rf"|^({PLACE})\b[^,;:.]{{1,60}}? (stands?|lies?|sits?|comes?|goes|follows?) "
        r"(an?|the|its|all|each|every)\b"
        rf"|^[A-Z][a-z]+(ed|ept|own|iven) {VERB} (an?|the|any|all|one|what|only)\b"
    ),
    "expected a plural or a number": re.compile(r"\bmany an?\b|\b(at most|at least) so many\b"),
}


def pieces(markdown: str) -> Iterator[str]:
    """Yield paragraphs, list items and cells of a page, without code, addresses and marks.

    Code in a line becomes one word; headings, which are no sentences, are left out. A cell begins
    with a bar.
    """
    text = re.sub(r"^ *(```|~~~).*?^ *\1$|<!--.*?-->|\n\n(    .*\n)+", "\n\n", markdown, flags=MANY)
    text = re.sub(r"`+[^`]+`+", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^>\s][^>]*>|\*\*|(?<!\w)[*_]|[*_](?!\w)", "", text)
    text = re.sub(r"^\s*#.*$", "\n", text, flags=re.M)
    text = re.sub(r"^\s*([-*+]|\d+\.|>)\s", "\n\n", text, flags=re.M)
    text = re.sub(r"^\s*\|.*$", lambda row: row[0].replace("|", "\n\n| "), text, flags=re.M)
    yield from (" ".join(piece.split()) for piece in re.split(r"\n\s*\n", text))


def faults(piece: str, label: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each fault of a text, and the sentence that has it.

    Args:
        label: whether the first sentence may be a label, as "What a run holds.", with no verb of
            its own.
    """
    for number, sentence in enumerate(re.split(r"(?<=[.!?。])['\")]* +(?![a-z(])", piece.strip())):
        for told, pattern in RULES.items():
            if pattern.search(sentence) and not (told == NOUN and label and number == 0):
                yield told, sentence
        most = max(len(part.split()) for part in re.split(r"[:;](?: |$)", sentence))
        if most > LONGEST:
            yield f"expected at most {LONGEST} words, found {most}", sentence


def of_code(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text and whether it is a label, of docstrings and of messages.

    Of a docstring it is the first line; a message is a text with which an exception is raised.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if told := ast.get_docstring(node):
                yield getattr(node, "lineno", 1), told.split("\n\n")[0], True
        elif isinstance(node, ast.Raise) and node.exc is not None:
            parts = (part for part in ast.walk(node.exc) if isinstance(part, ast.Constant))
            texts = [part.value for part in parts if isinstance(part.value, str)]
            yield node.lineno, " ".join(texts), False


def found(root: Path) -> Iterator[str]:
    """Yield a line for each fault in a tree."""
    for path in sorted(path for pattern in PAGES for path in root.glob(pattern)):
        name, text = str(path.relative_to(root)), path.read_text(encoding="utf-8")
        if path.parent.name == "docs" and not re.match(r"# .*\n\n\*?For ", text):
            yield f'{name}: expected a first line "For …" that says who reads the page'
        for piece in pieces(text):
            for told, sentence in faults(piece.removeprefix("| "), piece.startswith("| ")):
                yield f"{name}: {told}: {sentence}"
    for path in sorted((root / "scripts").rglob("*.py")):
        for line, text, label in of_code(path.read_text(encoding="utf-8")):
            for told, sentence in faults(" ".join(text.split()), label):
                yield f"{path.relative_to(root)}:{line}: {told}: {sentence}"


if __name__ == "__main__":
    sys.exit("\n".join(found(ROOT)) or 0)
