"""Documents as tests read them: headings, links, fenced blocks, the files and commands in them."""

import os
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT
from tests.workflow.conftest import environment

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMENT = re.compile(r"\s*(?<![\w\"'])#.*")
CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\b")
ANY = "…"
"""Stands for any lines, and at the end of a line for its rest."""


class Block(NamedTuple):
    language: str
    text: str
    before: str
    """The line of text above it."""

    @property
    def file(self) -> str | None:
        """Path of the file that it is, which the line above ends with or is said to be."""
        named = re.findall(r"`([\w./-]+\.(?:csv|yaml|json|py))`", self.before)
        return named[-1] if named and self.language in ("csv", "yaml", "json") else None


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    text = read(document)
    found = []
    for match in FENCE.finditer(text):
        above = [line for line in text[: match.start()].splitlines() if line.strip()]
        # a sentence may run over two lines
        found.append(Block(match[1], match[2], " ".join(above[-2:])))
    return found


def headings(document: str) -> list[tuple[int, str]]:
    """Return the level and text of each heading."""
    text = FENCE.sub("", read(document))
    found = re.findall(r"^(#+) (.*)$", text, re.MULTILINE)
    return [(len(marks), title) for marks, title in found]


def anchors(document: str) -> set[str]:
    """Return what a link may name in a document, by GitHub's rule."""
    found: dict[str, int] = {}
    named = set()
    for _, title in headings(document):
        plain = LINK.sub(lambda match: match[0][1:].partition("]")[0], title).lower()
        kept = (c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LNM")
        anchor = "".join(kept).replace(" ", "-")
        count = found.get(anchor, 0)
        found[anchor] = count + 1
        named.add(f"{anchor}-{count}" if count else anchor)
    return named


def links(document: str) -> list[str]:
    return LINK.findall(FENCE.sub("", read(document)))


def commands(document: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the console blocks, and the lines that it is said to print."""
    for block in blocks(document):
        if block.language != "console":
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed.splitlines()


def prints(expected: list[str], printed: str) -> bool:
    """Tell whether a command prints what a document shows of it; times of day may differ."""
    patterns = []
    for line in expected:
        if line == ANY:
            patterns.append(r"(?:.*\n)*?")
            continue
        rest = ".*" if line.endswith(ANY) else ""
        text = re.escape(CLOCK.sub("00:00:00", line.removesuffix(ANY)))
        patterns.append(rf"{text}{rest}\n")
    lines = [line for line in printed.splitlines() if "workflow specific profile" not in line]
    said = CLOCK.sub("00:00:00", "".join(f"{line.rstrip()}\n" for line in lines))
    return re.fullmatch("".join(patterns), said) is not None


class Checkout:
    """A copy of the repository in which the commands of a document run as they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.splitlines():
            # some of the miniature's parts are links to folders
            if os.path.lexists(ROOT / name) and not name.startswith(("tests/", "docs/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
        (folder / ".venv").symlink_to(sys.prefix)

    def write(self, document: str) -> None:
        """Write the files that a document shows."""
        for block in blocks(document):
            if block.file is not None:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")

    def run(self, command: str, timeout: float = 900) -> tuple[int, str]:
        """Run a command and return its status and all that it prints.

        The environment is there already, so make does not set it up.
        """
        command = re.sub(r"^make ", "make --silent --old-file=setup ", command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment()
            | {
                "PATH": f"{self.folder}/.venv/bin:{environment()['PATH']}",
                "PYTHONPATH": str(self.folder / "scripts"),
                "CUDA_VISIBLE_DEVICES": "",
            },
            timeout=timeout,
        )
        return done.returncode, done.stdout
