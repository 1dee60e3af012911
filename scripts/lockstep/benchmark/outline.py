"""An overview of a benchmark, read in one pass without decoding an image."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lockstep.benchmark.intake import Counts, Intake, check_left, read
from lockstep.benchmark.items import FileImage, Image, Item, called
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import BenchmarkError, SampleError
from lockstep.foreign.ids import safe_id, same_id

KEPT = 50
"""Instructions that are kept."""


@dataclass
class Outline:
    """The overview. A sample is good if everything but its pixels was checked and is right."""

    intake: Intake
    rejected: int = 0
    first: str = ""
    """The first of these, and why it is rejected."""
    several: int = 0
    """Samples with several source images."""
    size: int = 0
    """Bytes of all images."""
    instructions: list[str] = field(default_factory=list)
    """Those of the first samples."""
    ids: dict[str, str] = field(default_factory=dict)
    """Id of each sample, by the form in which ids are compared."""

    @property
    def counts(self) -> dict[str, int]:
        """Good samples by category."""
        return self.intake.counts

    @property
    def samples(self) -> int:
        return sum(self.counts.values())

    @property
    def as_counts(self) -> Counts:
        """The same numbers as `intake.prepare` returns them."""
        own = self.intake
        return Counts(own.counts, self.rejected, own.left_out, own.reasons)

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why samples are rejected, and how many for each reason, the commonest first."""
        return sum(self.intake.reasons.values(), Counter[str]()).most_common()


def outline(settings: BenchmarkSettings, most: int | None = None) -> Outline:
    """Read a benchmark's items, but for the pixels of their images, and write nothing.

    Args:
        most: items that are read; None reads all.

    Raises:
        BenchmarkError: if it cannot be read as a whole, or holds nothing.
    """
    found = Outline(Intake(settings, None, processes=1))
    intake = found.intake
    for position, item in enumerate(islice(read(settings), most)):
        if not intake.wants(item):
            continue
        try:
            if isinstance(item, SampleError):
                raise item
            _add(found, item)
        except SampleError as error:
            found.rejected += 1
            found.first = found.first or f"{called(position, item.id)}: {error}"
            intake.note(position, item, error)
        if intake.complete():
            break
    return found


def check(found: Outline, settings: BenchmarkSettings) -> None:
    """Refuse a benchmark of which too little is left, as a run does.

    Raises:
        BenchmarkError: with the commonest reason; with the first one if none may be rejected.
    """
    if settings.strict and found.rejected:
        raise BenchmarkError(f"{settings.path}: {found.first}")
    check_left(found.as_counts, settings)


def _add(found: Outline, item: Item) -> None:
    references = [] if item.reference is None else [item.reference]
    size = _size((*item.images, *references))
    form = same_id(item.id)
    if form in found.ids:
        raise SampleError(f"expected each id once, found {safe_id(item.id)!r} a second time")
    found.ids[form] = safe_id(item.id)
    found.size += size
    found.several += len(item.images) > 1
    found.intake.counts[item.category] += 1
    if len(found.instructions) < KEPT:
        found.instructions.append(item.instruction)


def _size(images: Iterable[Image | Any]) -> int:
    """Return the bytes of some images; files are looked for and not read."""
    return sum(each.size() if isinstance(each, FileImage) else len(each()) for each in images)
