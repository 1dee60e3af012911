"""Records as JSON lines."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lockstep.errors import DamagedError
from lockstep.foreign import media
from lockstep.records import rows
from lockstep.records.files import atomic
from lockstep.records.hashes import canonical_json
from lockstep.records.rows import Rows
from lockstep.records.types import Picture, Record, Sample

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Sample)


def json_line(record: Record) -> bytes:
    return (media.json(canonical_json(record.model_dump(mode="json"))) + "\n").encode()


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines."""
    with atomic(path) as file:
        file.writelines(map(json_line, records))


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Read JSON lines as records of one kind.

    Raises:
        DamagedError: if a line is none.
    """
    return list(each_record([path], kind))


def each_record(paths: Iterable[Path], kind: type[R]) -> Iterator[R]:
    """Yield what `read_records` returns of several files, one record at a time."""
    for path in paths:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                yield _record(path, kind, number, line)


def _record(path: Path, kind: type[R], number: int, line: bytes) -> R:
    """Return the record in a line, of which there are so many before it."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise DamagedError(
            f"{path}: found a broken line {number + 1} ({reason}), "
            "delete the file and run again to have it made again"
        ) from None


def rows_of(path: Path, kind: type[R]) -> Rows[R]:
    """Return the records of a file, each read when it is asked for.

    Raises:
        DamagedError: by what is read, if a line is none.
    """
    return rows.lines(path, lambda number, line: _record(path, kind, number, line))


def read_manifest(path: Path) -> Rows[Sample]:
    """Return a category's samples, each read when it is asked for.

    Their images become paths that can be opened.

    Raises:
        DamagedError: by what is read, if a line is none.
    """
    folder = Path(path).parent
    return rows.lines(
        path, lambda number, line: with_paths(_record(path, Sample, number, line), folder)
    )


def with_paths(sample: S, folder: Path) -> S:
    """Return a sample whose images are paths that can be opened, from those in a folder."""

    def placed(picture: Picture) -> Picture:
        return picture.model_copy(update={"image": str(folder / picture.image)})

    image = str(folder / sample.image)
    reference = None if sample.reference is None else placed(sample.reference)
    more = list(map(placed, sample.more))
    return sample.model_copy(update={"image": image, "more": more, "reference": reference})
