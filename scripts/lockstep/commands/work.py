"""What a run would have to do: edits and judgements that are due, and the time of the edits."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lockstep import layout
from lockstep.commands.finding import Finding
from lockstep.config.run import Config
from lockstep.editing import shard as editing
from lockstep.editors.settings import EditorSettings
from lockstep.figures import survey
from lockstep.jobs import due, provenance
from lockstep.records import notes

PIXELS = 2**20
"""Pixels of an edit, as most models make it."""

CHANNELS = 3
"""Bytes of a pixel that no compression makes smaller."""

MEASURED = 200
"""Edits of an editor whose sizes stand for all."""


class Work(NamedTuple):
    """What is due of one editor."""

    editor: str
    due: Mapping[str, int]
    """Edits to make, by category."""
    kept: int
    """Edits that are there and fit."""


def is_read(settings: Config) -> bool:
    """Tell whether the results hold the benchmark's samples, as a run would read them."""
    prepared = provenance.prepared(settings)
    return prepared.files[0].exists() and notes.misfit(prepared) is None


def edits(settings: Config, counts: Mapping[str, int]) -> list[Work]:
    """Return which edits are due.

    Args:
        counts: samples by category.
    """
    known = is_read(settings)
    return [_of_editor(settings, editor, counts, known) for editor in settings.editors]


def _of_editor(
    settings: Config, editor: EditorSettings, counts: Mapping[str, int], known: bool
) -> Work:
    results, to_make, kept = Path(settings.results), dict[str, int](), 0
    for category, count in counts.items():
        folder, there = layout.folder(results, editor.name, category), 0
        # without a folder nothing is there, and the model's files need not be hashed
        if known and folder.is_dir():
            manifest = layout.manifest(results, category)
            found = editing.kept(editor, manifest, folder, settings.seed)
            there = sum(record is not None for _, record in found)
        to_make[category] = count - there
        kept += there
    return Work(editor.name, to_make, kept)


def sentences(settings: Config, work: list[Work], devices: int) -> Iterator[Finding]:
    """Yield what is due, and how long the edits take by those of earlier runs."""
    to_make = sum(sum(own.due.values()) for own in work)
    kept = sum(own.kept for own in work)
    told = f"{to_make:,} {'edit is' if to_make == 1 else 'edits are'} due"
    told += f", {kept:,} {'is' if kept == 1 else 'are'} cached"
    known = is_read(settings)
    if not known:
        judges = len(settings.each_judge)
        told += "; the judge scores" if judges == 1 else f"; each of {judges} judges scores"
        told += " every edit"
    yield Finding("ok", "to do", told)
    yield from (Finding("ok", "to do", own) for own in (due.of_samples(settings) if known else ()))
    yield from _times(settings, work, devices)


def _times(settings: Config, work: list[Work], devices: int) -> Iterator[Finding]:
    results, unknown = Path(settings.results), list[str]()
    for own in work:
        editor = settings.editor(own.editor)
        if not (editor.on_device or editor.served) or not any(own.due.values()):
            continue
        if not survey.measured(results, own.editor):
            unknown.append(own.editor)
            continue
        at_once = max(1, devices // editor.together)
        told = survey.estimate(own.editor, own.due.values(), results, at_once)
        yield Finding("ok", "time", told)
    if unknown:
        names = ", ".join(unknown)
        how = "; --config benchmark='{limit: 2}' makes a few, by which it is told"
        few = "" if settings.benchmark.limit is not None else how
        yield Finding("ok", "time", f"not known: {names} made no edit yet{few}")


def room(settings: Config, work: list[Work], sources: int) -> int:
    """Return the bytes that the results may grow by.

    Args:
        sources: bytes of the source images, which a run copies once.
    """
    found = 0 if is_read(settings) else sources
    for own in work:
        found += sum(own.due.values()) * _each(settings, own.editor)
    return found


def _each(settings: Config, editor: str) -> int:
    """Return the bytes of one edit: the mean of those that are there, or the most."""
    results = Path(settings.results)
    folders = (layout.folder(results, editor, own) for own in settings.benchmark.categories)
    images = chain.from_iterable(layout.edited_images(own).glob("*.png") for own in folders)
    sizes = [path.stat().st_size for path in islice(images, MEASURED)]
    return round(fmean(sizes)) if sizes else PIXELS * CHANNELS
