"""Benchmark files, read as streams: one reader for each format, the same samples from all."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lockstep import config, records
from lockstep.benchmark import re_edit
from lockstep.errors import BenchmarkError, SampleError
from lockstep.ids import safe_id as safe_id
from lockstep.images import verify_image
from lockstep.records import Rejected, Sample

READERS = {"re-edit": re_edit.read}
"""Reader for each `benchmark.format`: path, language, fallback → items."""


class Counts(NamedTuple):
    samples: dict[str, int]
    """Accepted samples by category."""
    rejected: int
    """Rejected samples."""


@dataclass
class _Intake:
    """What has been accepted so far; nothing of a sample but its id stays in memory."""

    settings: config.Benchmark
    folder: Path
    ids: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def full(self, category: str) -> bool:
        limit = self.settings.limit
        return limit is not None and self.counts[category] >= limit

    def accept(self, item: re_edit.Item) -> Sample:
        sample_id = safe_id(item.id)
        if sample_id in self.ids:
            raise SampleError(f"found id {sample_id!r} a second time, accepted is each once")
        data = item.image()
        image = verify_image(data, self.settings.max_pixels)
        digest = records.sha256(data)
        path = self.folder / "images" / f"{digest}{image.suffix}"
        if not path.exists() or path.stat().st_size != len(data):
            records.write_bytes(path, data)
        self.ids.add(sample_id)
        index = self.counts[item.category]
        self.counts[item.category] += 1
        return Sample(
            id=sample_id,
            category=item.category,
            image=str(path.relative_to(self.folder)),
            image_sha256=digest,
            width=image.width,
            height=image.height,
            transparent=image.transparent,
            background=self.settings.background,
            instruction=item.instruction,
            description=item.description,
            rationale=item.rationale,
            tags=item.tags,
            difficulty=item.difficulty,
            source_seed=item.source_seed,
            index=index,
        )


def prepare(settings: config.Benchmark, folder: Path) -> Counts:
    """Read a benchmark in one pass and write a manifest per category.

    Writes `{category}.jsonl` for every configured category, `rejected.jsonl`, `counts.json` with
    the number of samples of each, and each image once under its hash in `images/`. Memory holds one
    item at a time.

    Raises:
        BenchmarkError: if the file as a whole cannot be read, or at the first rejected sample
            if `strict` is set.
    """
    intake = _Intake(settings, Path(folder), counts=dict.fromkeys(settings.categories, 0))
    rejected = 0
    with ExitStack() as stack:
        manifests = {
            category: stack.enter_context(records.atomic(intake.folder / f"{category}.jsonl"))
            for category in settings.categories
        }
        rejects = stack.enter_context(records.atomic(intake.folder / "rejected.jsonl"))
        for position, item in enumerate(_items(settings)):
            try:
                category = getattr(item, "category", None)
                if category is not None and (category not in manifests or intake.full(category)):
                    continue
                if isinstance(item, SampleError):
                    raise item
                sample = intake.accept(item)
                manifests[item.category].write(records.json_line(sample))
            except SampleError as error:
                if settings.strict:
                    raise BenchmarkError(f"{settings.path}: item {position}: {error}") from None
                rejected += 1
                rejects.write(records.json_line(_rejection(position, item, error)))
            if all(map(intake.full, manifests)):
                break
    records.write_json(intake.folder / "counts.json", intake.counts)
    return Counts(intake.counts, rejected)


def _items(settings: config.Benchmark) -> Iterator[re_edit.Item | SampleError]:
    read = READERS[settings.format]
    empty = True
    for item in read(Path(settings.path), settings.language, settings.language_fallback):
        empty = False
        yield item
    if empty:
        raise BenchmarkError(f"{settings.path}: found no samples, accepted is a JSON list of them")


def _rejection(position: int, item: re_edit.Item | SampleError, error: SampleError) -> Rejected:
    return Rejected(
        position=position,
        id=getattr(item, "id", None),
        subset=getattr(item, "subset", None),
        reason=str(error),
    )
