"""What a benchmark holds, told before anything runs."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lockstep import layout, plan, records
from lockstep.benchmark import intake
from lockstep.benchmark.intake import Intake, not_configured
from lockstep.benchmark.items import called
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config.run import Config
from lockstep.errors import DamagedError, counted
from lockstep.jobs import due
from lockstep.records import EditRecord, Rejected, Sample
from lockstep.scoring.due import MEASURED

SHOWN = 10
"""Rejected samples that are shown one by one."""

HAN = range(0x4E00, 0xA000)
"""Chinese characters (CJK Unified Ideographs)."""


@dataclass
class Survey:
    """What was found; of a sample only numbers and hashes are kept."""

    intake: Intake
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    """Samples by the hash of their first source image."""
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Samples by that hash and the instruction."""
    several: int = 0
    """Samples with several source images."""
    references: int = 0
    """Samples with a reference image."""
    rejected: list[Rejected] = field(default_factory=list)
    some: dict[str, list[Sample]] = field(default_factory=dict)
    """The first samples of each category, which stand for all."""


def survey(settings: BenchmarkSettings) -> Survey:
    """Read a whole benchmark as `prepare` does, and write nothing.

    Raises:
        BenchmarkError: if it cannot be read as a whole.
    """
    found = Survey(Intake(settings, None))
    for sample in intake.samples(found.intake):
        if isinstance(sample, Rejected):
            found.rejected.append(sample)
        else:
            _note(found, sample)
    return found


def _note(found: Survey, sample: Sample) -> None:
    found.widths.append(sample.width)
    found.heights.append(sample.height)
    chinese = any(ord(character) in HAN for character in sample.instruction)
    found.languages["with Chinese characters" if chinese else "without Chinese characters"] += 1
    found.images[sample.image_sha256] += 1
    found.pairs[sample.image_sha256, sample.instruction] += 1
    found.several += bool(sample.more)
    found.references += sample.reference is not None
    some = found.some.setdefault(sample.category, [])
    if len(some) < MEASURED:
        some.append(sample)


def lines(found: Survey, settings: Config, devices: int) -> Iterator[str]:
    """Yield what to print of a survey, line by line."""
    intake = found.intake
    total = sum(intake.counts.values())
    yield f"{settings.benchmark.path}: {settings.benchmark.format}, {counted(total, 'sample')}"
    for category, count in intake.counts.items():
        yield f"  {count:6} {category}"
    if left_out := not_configured(intake.left_out):
        yield left_out
    listed = ", ".join(f"{count} {name}" for name, count in found.languages.most_common())
    yield f"instructions: {listed or 'none'} (benchmark.language: {settings.benchmark.language})"
    if total:
        yield (
            f"source images: {min(found.widths)}×{min(found.heights)} to "
            f"{max(found.widths)}×{max(found.heights)}, median "
            f"{statistics.median_low(found.widths)}×{statistics.median_low(found.heights)}"
        )
    if found.several or found.references:
        yield (
            f"{counted(found.several, 'sample')} with several source images, "
            f"{found.references} with a reference image"
        )
    yield (
        f"duplicates: samples with the image of another one: {total - len(found.images)}, with its "
        f"instruction too: {total - len(found.pairs)}"
    )
    yield f"rejected: {len(found.rejected)}"
    for reason, count in Counter(r.reason.split(":")[0] for r in found.rejected).most_common():
        yield f"  {count:6} {reason}"
    for reject in found.rejected[:SHOWN]:
        yield f"  {called(reject.position, reject.id)}: {reject.reason}"
    for editor in settings.editors:
        yield estimate(editor.name, intake.counts.values(), Path(settings.results), devices)
    yield from due.of_benchmark(settings, intake.counts, found.some)


def estimate(name: str, counts: Iterable[int], results: Path, devices: int) -> str:
    """Return how long an editor will take, by the edits that it has made before."""
    seconds = statistics.median(measured(results, name) or [0.0])
    if not seconds:
        return f"{name}: not measured yet; --config benchmark='{{limit: 2}}' measures it"
    waves = plan.wave_count(sum(counts), devices)
    return (
        f"{name}: about {_duration(waves * seconds)} of editing on {counted(devices, 'device')} "
        f"({counted(waves, 'wave')} of {seconds:.2f} s, the median of the edits in "
        f"{results / name})"
    )


def measured(results: Path, editor: str) -> list[float]:
    """Return the seconds of each edit that an editor has made before."""
    found = []
    for path in layout.known_edits(results, editor):
        try:
            edits = records.read_records(path, EditRecord)
        except DamagedError:
            continue
        found += [edit.edit_seconds for edit in edits if edit.status == "ok" and edit.edit_seconds]
    return found


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
