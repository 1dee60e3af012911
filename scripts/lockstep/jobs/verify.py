"""Whether everything in a folder of results is what was written: each file is read and hashed."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from lockstep import layout, records
from lockstep.errors import ConfigError, DamagedError
from lockstep.records import EditRecord, Sample, notes, recovery
from lockstep.records.notes import Note


class Fault(NamedTuple):
    """A file that is not what was written."""

    path: Path
    what: str
    """What is wrong with it."""


def verify(results: Path) -> Iterator[Fault | None]:
    """Look at each file of a finished or unfinished run; yield what is wrong, None if nothing is.

    Raises:
        ConfigError: if the folder holds no results, or a link leads out of it.
    """
    recovery.check_tree(results)
    notes = layout.known_notes(results)
    if not notes:
        raise ConfigError(f"{results}: expected a folder of results, found no notes in provenance/")
    for path in notes:
        yield from _outputs(results, path)
    for manifest in layout.known_manifests(results):
        yield from _sources(manifest)
    for path in layout.known_edits(results):
        yield from _edits(path)


def _outputs(results: Path, path: Path) -> Iterator[Fault | None]:
    try:
        note = Note.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        yield Fault(path, "is no note")
        return
    if not any((results / name).exists() for name in note.files):
        # a run that needs it makes it, which a dry run tells
        return
    for name, known in note.files.items():
        try:
            found = notes.sha256(records.below(results, name))
        except DamagedError as error:
            yield Fault(path, str(error))
            continue
        if not found:
            yield Fault(results / name, "is lost")
        else:
            yield None if found == known else Fault(results / name, "is altered or cut off")


def _sources(manifest: Path) -> Iterator[Fault | None]:
    try:
        for sample in records.each_record([manifest], Sample):
            pictures = [(sample.image, sample.image_sha256)]
            more = [*sample.more, *([sample.reference] if sample.reference else [])]
            pictures += [(picture.image, picture.sha256) for picture in more]
            for name, known in pictures:
                path = records.below(manifest.parent, name)
                same = notes.sha256(path) == known
                yield None if same else Fault(path, f"is not the image of sample {sample.id!r}")
    except DamagedError as error:
        yield Fault(manifest, str(error))


def _edits(path: Path) -> Iterator[Fault | None]:
    try:
        for edit in records.each_record([path], EditRecord):
            if edit.status != "ok" or edit.image is None:
                continue
            image = records.below(layout.folder(*layout.of_records(path)), edit.image)
            found = records.read_provenance(image)
            if found is None:
                yield Fault(image, "is no complete edit with its own pixels")
            else:
                same = (found.get("key"), found["pixels_sha256"]) == (edit.key, edit.pixels_sha256)
                yield None if same else Fault(image, "is another edit")
    except DamagedError as error:
        yield Fault(path, str(error))
