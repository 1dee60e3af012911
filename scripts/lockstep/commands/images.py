"""A folder of images without a table: the table that its owner fills in."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from lockstep import records
from lockstep.benchmark import table_rows
from lockstep.benchmark.categories import RESERVED
from lockstep.errors import BenchmarkError
from lockstep.foreign.ids import same_id

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")

COLUMNS = ("id", "category", "image", "instruction")


def write_table(folder: Path) -> tuple[Path, int]:
    """Write a table with a row for each image of a folder, and an empty instruction in each.

    An image in a folder below has that folder's name for category.

    Returns:
        the table, and its number of rows.

    Raises:
        BenchmarkError: if there is no image.
        OSError: if the folder cannot be written.
    """
    rows = list(_rows(folder))
    if not rows:
        raise BenchmarkError(
            f"{folder}: expected a benchmark or images ({', '.join(SUFFIXES)}), found neither"
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / table_rows.METADATA
    records.write_text(path, text.getvalue())
    return path, len(rows)


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    taken: set[str] = set()
    for name in sorted(_images(folder)):
        image = Path(name)
        *above, _ = image.parts
        place = above[-1] if above else folder.resolve().name
        sample = next(own for own in _ids(image) if same_id(own) not in taken)
        taken.add(same_id(sample))
        yield {"id": sample, "category": category(place), "image": name, "instruction": ""}


def _ids(image: Path) -> Iterator[str]:
    """Yield ids for an image without end, the shortest first."""
    yield image.stem
    whole = str(image).replace("/", "_")
    yield whole.removesuffix(image.suffix)
    yield whole
    yield from (f"{whole}_{number}" for number in count(2))


def _images(folder: Path) -> Iterator[str]:
    """Yield the paths of images in a folder and in the folders in it, from there."""
    for root, folders, names in os.walk(folder):
        folders[:] = [] if Path(root) != folder else [n for n in folders if not n.startswith(".")]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and name.isprintable():
                yield os.path.relpath(os.path.join(root, name), folder)


def category(name: str) -> str:
    """Return a name as one that a category can have."""
    plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")[:64]
    return plain if plain and plain not in RESERVED else "images"
