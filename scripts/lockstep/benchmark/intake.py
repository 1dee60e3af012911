"""Benchmark files, read as streams: one reader for each format, the same samples from all.

Where each format comes from: docs/benchmarks.md.
"""

import importlib
import logging
import os
import re
import sqlite3
import time
import weakref
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from lockstep import records
from lockstep.benchmark.categories import BY_FORMAT
from lockstep.benchmark.items import Image, Item, called
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import BenchmarkError, SampleError, suggest
from lockstep.foreign.ids import safe_id, same_id
from lockstep.foreign.images import Verified
from lockstep.foreign.quarantine import Quarantines
from lockstep.records import Picture, Rejected, Sample, progress

DETAILS = re.compile(r"""'[^']*'|"[^"]*"|\d[\d.,]*""")
"""Names and numbers in a reason; reasons that differ in nothing else are of one kind."""

AHEAD, AHEAD_BYTES = 8, 8 * 2**20
"""Samples, and bytes of their images, that are in memory at a time for each process."""

EVERY = 10.0
"""Seconds between two lines of a log on how far the reading is."""

OFTEN = 0.5
"""Seconds between two reports of it to the run."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Waiting(NamedTuple):
    """An item whose images are being decoded, and where it stands in the benchmark."""

    position: int
    item: Item | SampleError
    """Without its images, which may be long texts."""
    images: list[tuple[bytes, Future[Verified]]]
    """Its source images and its reference, and what each will turn out to be."""
    error: SampleError | None
    """Why one of them cannot be had."""


def not_configured(left_out: Mapping[str, int]) -> str:
    """Return in words what the configuration leaves out of a benchmark; "" if it is nothing."""
    listed = ", ".join(f"{count} {name}" for name, count in left_out.items())
    return f"not configured, left out: {listed}" if listed else ""


class Counts(NamedTuple):
    samples: dict[str, int]
    """Accepted samples by category."""
    rejected: int
    """Rejected samples."""
    left_out: dict[str, int]
    """Samples of categories, or in a language, that are not configured."""
    reasons: dict[str | None, Counter[str]]
    """Rejected samples by category (None where it is not known) and the first reason of a kind,
    which begins with its item."""


@dataclass
class Intake:
    """What has been accepted so far; nothing of a sample stays in memory."""

    settings: BenchmarkSettings
    folder: Path | None
    """Where images are kept; None keeps none."""
    processes: int = field(default_factory=lambda: _processes(None))
    """Images that are decoded at a time."""
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    reasons: dict[str | None, Counter[str]] = field(default_factory=dict)
    """As in `Counts`."""

    sources: IO[bytes] | None = None
    """Where the files are listed that images were read from."""

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(self.settings.categories, 0)
        self._first: dict[str, str] = {}
        # a database without a name is a temporary file, of which few MB are in memory,
        # and that any thread may close
        self._ids = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._ids.close)
        self._ids.execute("PRAGMA journal_mode = OFF")
        # each id, by its form in which ids that a file system may mix up are the same
        self._ids.execute("CREATE TABLE ids (form TEXT PRIMARY KEY, id TEXT) WITHOUT ROWID")
        self._quarantines = Quarantines(self.processes)
        weakref.finalize(self, self._quarantines.close)

    def wants(self, found: Item | SampleError) -> bool:
        """Tell whether a sample was asked for, as far as its category is known."""
        category = found.category
        if category is None:
            return True
        if category not in self.counts:
            self.left_out[category] = self.left_out.get(category, 0) + 1
            return False
        return not self.full(category)

    def full(self, category: str | None, waiting: Collection[Waiting] = ()) -> bool:
        """Tell whether a category has all its samples, should those that wait be good."""
        limit = self.settings.limit
        if limit is None or category not in self.counts:
            return False
        coming = sum(other.item.category == category for other in waiting)
        return self.counts[category] + coming >= limit

    def complete(self, waiting: Collection[Waiting] = ()) -> bool:
        """Tell the same of all categories."""
        return all(self.full(category, waiting) for category in self.counts)

    def holds(self, waiting: Collection[Waiting]) -> bool:
        """Tell whether as many samples wait as memory is for."""
        most = self.processes * AHEAD_BYTES
        return len(waiting) > self.processes * AHEAD or (
            len(waiting) > 1 and sum(map(_size, waiting)) > most
        )

    def begin(self, position: int, item: Item | SampleError) -> Waiting:
        """Read the images of an item and have them decoded."""
        if isinstance(item, SampleError):
            return Waiting(position, item, [], None)
        references = [] if item.reference is None else [item.reference]
        waiting = Waiting(position, item._replace(images=()), [], None)
        try:
            for image in (*item.images, *references):
                try:
                    data = image()
                finally:
                    self._note_source(image)
                answer = self._quarantines.ask(data, self.settings.max_pixels)
                waiting.images.append((data, answer))
        except SampleError as error:
            return waiting._replace(error=error)
        return waiting

    def end(self, waiting: Waiting) -> Sample | Rejected:
        """Return the sample of an item, once its images are known to be good, or why it is none."""
        try:
            if waiting.error is not None:
                raise waiting.error
            if isinstance(waiting.item, SampleError):
                raise waiting.item
            images = [(data, answer.result()) for data, answer in waiting.images]
            return self._accept(waiting.item, images)
        except SampleError as error:
            self.note(waiting.position, waiting.item, error)
            return _rejection(waiting.position, waiting.item, error)

    def _note_source(self, image: Image) -> None:
        """Write down which file an image was read from, and that it was not there."""
        state = getattr(image, "state", None)
        if state is not None and self.sources is not None:
            self.sources.write((records.canonical_json(state) + "\n").encode())

    def _accept(self, item: Item, images: Sequence[tuple[bytes, Verified]]) -> Sample:
        sample_id = safe_id(item.id)
        form = same_id(sample_id)
        found = self._ids.execute("SELECT id FROM ids WHERE form = ?", (form,)).fetchone()
        if found is not None:
            (taken,) = found
            how = "a second time" if taken == sample_id else f"that can be mixed up with {taken!r}"
            raise SampleError(f"expected each id once, found {sample_id!r} {how}")
        first, *more = [self._picture(*image) for image in images]
        reference = None if item.reference is None else more.pop()
        self._ids.execute("INSERT INTO ids VALUES (?, ?)", (form, sample_id))
        index = self.counts[item.category]
        self.counts[item.category] += 1
        return Sample(
            id=sample_id,
            category=item.category,
            image=first.image,
            image_sha256=first.sha256,
            width=first.width,
            height=first.height,
            transparent=first.transparent,
            background=self.settings.background,
            more=more,
            instruction=item.instruction,
            description=item.description,
            rationale=item.rationale,
            reference=reference,
            expected=item.expected,
            tags=list(item.tags),
            difficulty=item.difficulty,
            source_seed=item.source_seed,
            index=index,
        )

    def note(self, position: int, item: Item | SampleError, error: SampleError) -> None:
        """Note why a sample is rejected, and where it stands in the benchmark."""
        told = f"{called(position, item.id)}: {error}"
        first = self._first.setdefault(DETAILS.sub("…", str(error)), told)
        self.reasons.setdefault(item.category, Counter())[first] += 1

    def _picture(self, data: bytes, verified: Verified) -> Picture:
        digest = records.sha256(data)
        name = f"images/{digest}{verified.suffix}"
        if self.folder is not None:
            path = self.folder / name
            if not path.exists() or path.read_bytes() != data:
                records.write_bytes(path, data, durable=False)
        return Picture(
            image=name,
            sha256=digest,
            width=verified.width,
            height=verified.height,
            transparent=verified.transparent,
        )


def prepare(
    settings: BenchmarkSettings,
    folder: Path,
    processes: int | None = None,
) -> Counts:
    """Read a benchmark in one pass and write a manifest per category.

    Writes `{category}.jsonl` for every configured category, `rejected.jsonl`, `counts.json` with
    the number of samples of each, each image once under its hash in `images/`, and in
    `sources.jsonl` the path, size and time of each file that an image was read from. Memory holds a
    few items at a time for each process; how many there are changes no byte of what is written.

    Args:
        processes: images that are decoded at a time, at most one for each processor that this
            process may use; as many if None.

    Raises:
        BenchmarkError: if the file as a whole cannot be read, or at the first rejected sample
            if `strict` is set.
    """
    folder = Path(folder)
    intake = Intake(settings, folder, _processes(processes))
    rejected = 0
    with ExitStack() as stack:
        manifests = {
            category: stack.enter_context(records.atomic(folder / f"{category}.jsonl"))
            for category in settings.categories
        }
        rejects = stack.enter_context(records.atomic(folder / "rejected.jsonl"))
        intake.sources = stack.enter_context(records.atomic(folder / "sources.jsonl"))
        for found in _told(samples(intake)):
            if isinstance(found, Sample):
                manifests[found.category].write(records.json_line(found))
                continue
            if settings.strict:
                own = called(found.position, found.id)
                raise BenchmarkError(f"{settings.path}: {own}: {found.reason}")
            rejected += 1
            rejects.write(records.json_line(found))
        # before the manifests that name them
        records.sync()
    records.write_json(folder / "counts.json", intake.counts)
    return Counts(intake.counts, rejected, intake.left_out, intake.reasons)


def _processes(most: int | None) -> int:
    """Return how many images are decoded at a time."""
    own = len(os.sched_getaffinity(0))
    return own if most is None else min(most, own)


def _told(found: Iterable[T]) -> Iterator[T]:
    """Yield what is found, while the run, and now and then the log, hear how much it is."""
    due, told = time.monotonic() + EVERY, 0
    soon = time.monotonic() + OFTEN
    for number, one in enumerate(found, 1):
        yield one
        now = time.monotonic()
        if now >= soon:
            progress.note(number - told)
            told, soon = number, now + OFTEN
        if now >= due:
            log.info("%d samples read", number)
            due = now + EVERY


def check_left(counts: Counts, settings: BenchmarkSettings, listed: Path | None = None) -> None:
    """Refuse a benchmark of which too little is left: no sample, none of a category, or too few.

    A published benchmark may lack some of its format's categories; those of a table are the
    user's own words.

    Args:
        listed: the file that has all rejected samples, if there is one.

    Raises:
        BenchmarkError: with the commonest reason.
    """
    path = settings.path
    if not any(counts.samples.values()) and counts.rejected:
        why = _why(sum(counts.reasons.values(), Counter()), listed)
        raise BenchmarkError(f"{path}: found no sample that can be used, {why}")
    for category, count in counts.samples.items():
        if count:
            continue
        if category in counts.reasons:
            raise BenchmarkError(
                f"{path}: found no sample of {category!r} that can be used, "
                f"{_why(counts.reasons[category], listed)}; benchmark.categories can leave it out"
            )
        if BY_FORMAT[settings.format] is None or not any(counts.samples.values()):
            others = ", ".join(counts.left_out) or "no other sample"
            raise BenchmarkError(
                f"{path}: found no sample of {category!r}{suggest(category, counts.left_out)} "
                f"(benchmark.categories), it has {others}"
            )
    share = counts.rejected / max(1, counts.rejected + sum(counts.samples.values()))
    if share > settings.max_rejected_share:
        why = _why(sum(counts.reasons.values(), Counter()), listed)
        raise BenchmarkError(
            f"{path}: expected at most {settings.max_rejected_share:.0%} of the samples to be "
            f"rejected (benchmark.max_rejected_share), found {share:.0%}: {why}"
        )


def _why(reasons: Counter[str], listed: Path | None) -> str:
    ((reason, count),) = reasons.most_common(1)
    total = reasons.total()
    told = f"{total} {'is' if total == 1 else 'are'} rejected, {count} of them"
    where = "" if listed is None else f" (all are listed in {listed})"
    return f"{told} for a reason such as: {reason}{where}"


def samples(intake: Intake) -> Iterator[Sample | Rejected]:
    """Yield each sample that was asked for, or why it cannot be used, in the benchmark's order.

    Raises:
        BenchmarkError: if the benchmark as a whole cannot be read.
    """
    waiting: deque[Waiting] = deque()
    try:
        for position, item in enumerate(read(intake.settings)):
            # whether it is one too many, those before it tell
            while waiting and intake.full(item.category, waiting):
                yield intake.end(waiting.popleft())
            if not intake.wants(item):
                continue
            waiting.append(intake.begin(position, item))
            while waiting and (intake.holds(waiting) or intake.complete(waiting)):
                yield intake.end(waiting.popleft())
            if intake.complete():
                return
    except BenchmarkError:
        # where it is broken comes behind what could still be read
        yield from map(intake.end, waiting)
        raise
    yield from map(intake.end, waiting)


def _size(waiting: Waiting) -> int:
    return sum(len(data) for data, _ in waiting.images)


def read(settings: BenchmarkSettings) -> Iterator[Item | SampleError]:
    """Yield each item of a benchmark, or why it cannot be used, in its order.

    Raises:
        BenchmarkError: if the benchmark as a whole cannot be read, or holds nothing.
    """
    # readers of one format load what the others do without
    reader = importlib.import_module(f"lockstep.benchmark.{settings.format.replace('-', '_')}")
    empty = True
    for item in reader.read(settings):
        empty = False
        yield item
    if empty:
        raise BenchmarkError(f"{settings.path}: expected at least one sample, found none")


def _rejection(position: int, item: Item | SampleError, error: SampleError) -> Rejected:
    return Rejected(
        position=position,
        id=item.id,
        subset=item.subset,
        reason=str(error),
    )
