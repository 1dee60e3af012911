"""Notes of what outputs were made of: hashes of what decided them, and of the files themselves.

They lie in `provenance/`, below the results, and travel with them.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from lockstep import layout
from lockstep.errors import DamagedError
from lockstep.records import files, hashes

REASONS = {
    "anchors": "made-of-other-anchors",
    "benchmark": "made-of-another-benchmark",
    "code": "made-by-another-version",
    "compared": "made-of-other-sources",
    "config": "made-with-another-configuration",
    "editor": "made-with-another-editor",
    "edits": "made-of-other-edits",
    "files": "made-of-other-files",
    "human_scores": "made-of-other-human-scores",
    "judge": "made-with-another-judge",
    "manifest": "made-of-other-samples",
    "metrics": "made-with-other-metrics",
    "pairs": "made-of-other-pairs",
    "place": "made-in-another-place",
    "protocol": "made-with-another-protocol",
    "rewriter": "made-with-another-rewriter",
    "rewritten": "made-of-other-rewritten-instructions",
    "rubric": "made-with-another-rubric",
    "scores": "made-of-other-scores",
    "seed": "made-with-another-seed",
    "tables": "made-of-other-tables",
}
"""Why an output is made again, by the part of its note that differs."""

LOST = "a-file-is-lost-or-changed"
ALTERED = "altered-or-cut-off"
UNKNOWN = "made-of-nobody-knows-what"


class Note(BaseModel):
    """What outputs of one job were made of."""

    model_config = ConfigDict(extra="forbid")

    made_of: dict[str, str]
    """SHA-256 of what decided them, by what it is."""
    files: dict[str, str]
    """SHA-256 of each, by its path below the results."""


class Output(NamedTuple):
    """What one job makes."""

    results: Path
    files: Sequence[Path]
    """The first one names the note."""
    made_of: Mapping[str, str]
    """As in the note of it, if it were made now."""
    also: str = ""
    """Pattern of further files, below the results, whose names the job alone knows."""

    @property
    def note(self) -> Path:
        return layout.note(self.results, self.files[0])


@contextmanager
def noted(output: Output) -> Iterator[None]:
    """Leave a note of what the block makes.

    Args:
        output: as it is asked for when the block begins.
    """
    output.note.unlink(missing_ok=True)
    yield
    made_of = dict(output.made_of)
    paths = [*output.files, *(sorted(output.results.glob(output.also)) if output.also else ())]
    found = {str(path.relative_to(output.results)): sha256(path) for path in paths}
    files.write_json(output.note, Note(made_of=made_of, files=found).model_dump(mode="json"))


def check_whole(results: Path, output: Path) -> None:
    """Refuse an output that is not what was written, as far as a note tells.

    Raises:
        DamagedError: if it is another.
    """
    note = read_note(layout.note(results, output))
    if note is not None and note.files.get(str(output.relative_to(results))) != sha256(output):
        raise DamagedError(
            f"{output}: found it altered or cut off, run that workflow again to have it made anew"
        )


def check(outputs: Iterable[Output]) -> None:
    for output in outputs:
        if reason := misfit(output):
            raise DamagedError(
                f"{output.files[0]}: found it {reason.replace('-', ' ')}, "
                "run again to have it made anew"
            )


def misfit(output: Output) -> str | None:
    """Return why an output must be made again; None if it fits, or was never made."""
    there = [path.is_file() for path in output.files]
    note = read_note(output.note)
    if not any(there):
        return None if note is None else LOST
    if not all(there):
        return LOST
    if note is None:
        return UNKNOWN
    try:
        found = {name: sha256(files.below(output.results, name)) for name in note.files}
    except DamagedError:
        # it names a file elsewhere
        return UNKNOWN
    if not all(found.values()):
        return LOST
    if found != note.files:
        return ALTERED
    differing = {
        part
        for part in {*note.made_of, *output.made_of}
        if note.made_of.get(part) != output.made_of.get(part)
    }
    if differing:
        # another version may have told of parts that this one does not know
        return REASONS.get(min(differing), REASONS["code"])
    known = {str(path.relative_to(output.results)) for path in output.files} <= found.keys()
    return None if known else UNKNOWN


def read_note(path: Path) -> Note | None:
    try:
        return Note.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


_known: dict[tuple[str, int, int, int, int], str] = {}
"""SHA-256 of files, by path, size, times and inode."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, "" if there is none; each is read once a process."""
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            # a device or a pipe may have no end
            return ""
        known = (str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        if known not in _known:
            _known[known] = hashes.sha256(Path(path).read_bytes())
        return _known[known]
    except OSError:
        return ""


def digest(*values: Any) -> str:
    """Return the SHA-256 over plain values."""
    return hashes.sha256(hashes.canonical_json(values).encode())


def joint(paths: Iterable[Path]) -> str:
    return digest([sha256(path) for path in paths])
