"""The report as one file to send: the page with all that it shows, to unpack and open anywhere."""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from lockstep import records
from lockstep.report import gallery
from lockstep.report.asked import of_results
from lockstep.report.gallery import Row
from lockstep.report.series import Place
from lockstep.report.terms import Frames
from lockstep.report.thumbnails import shrunk

SIDE = 2048
"""Most pixels of a copy's longer side."""

QUALITY = 90
"""Of the copies, which are JPEGs; at 1024² one is about a tenth of its PNG."""

FOLDER = "lockstep-report"
"""What everything in the bundle lies in."""


def write_bundle(
    frames: Frames,
    report: Path,
    files: Sequence[Path],
    background: str,
    path: Path,
    threads: int,
    places: Mapping[str, Place],
) -> None:
    """Write a zip of a finished report, with copies of the images.

    Args:
        report: the report's folder.
        files: those in the folder to take; thumbnails and what tells of the samples come anyway.
        background: what lies under transparent images, as "#rrggbb".
        threads: images that are copied at a time.
        places: of the editors on the page.
    """
    samples = gallery.Samples(frames)

    def images(some: Iterable[Mapping[str, Row]]) -> Iterator[tuple[Path, str]]:
        for image, small in gallery.images_of(some, report):
            if small.exists():
                yield image, small.relative_to(report).as_posix()

    scripts = gallery.scripts(
        samples,
        list(frames),
        lambda some: {small for _, small in images(some)},
        lambda _, small: quote(_copy_of(small)),
        places,
        of_results(report.parent, frames),
    )
    with records.atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for own in files:
            if own.suffix != ".js":
                bundle.write(own, f"{FOLDER}/{own.relative_to(report).as_posix()}")
        for name, text in scripts:
            bundle.writestr(f"{FOLDER}/{name}", text)
        for name, data in _pictures(images(samples), report, background, threads):
            bundle.writestr(f"{FOLDER}/{name}", data, zipfile.ZIP_STORED)


def _copy_of(thumbnail: str) -> str:
    return thumbnail.replace("thumbs/", "images/", 1)


def _pictures(
    images: Iterator[tuple[Path, str]], report: Path, background: str, threads: int
) -> Iterator[tuple[str, bytes]]:
    """Yield thumbnails and copies, some ahead of what is written but not all at once."""
    with ThreadPoolExecutor(threads) as pool:
        while part := list(islice(images, 64)):
            copies = pool.map(lambda pair: _copy(pair[0], background), part)
            for (_, small), copy in zip(part, copies, strict=True):
                yield small, (report / small).read_bytes()
                if copy is not None:
                    yield _copy_of(small), copy


def _copy(image: Path, background: str) -> bytes | None:
    """Return an image's copy; None if it is gone, where the page shows the thumbnail instead."""
    try:
        return shrunk(image, SIDE, background, QUALITY)
    except Exception:  # Pillow raises many kinds on what is no image
        return None
