"""Samples that each reader gives per second on one core, and the memory that prepare takes.

    python -m benchmarks.readers                     10,000 samples of each format, 100 kB images
    python -m benchmarks.readers --memory 2e9        prepare on a RE-Edit file of 2 GB
    python -m benchmarks.readers --ratio             what decoding in a process of its own costs

Images are verified and stored as `prepare` does it; making the files is not counted. The first
figure is by the clock, the second by the time of the processor, which others do not slow down.
"""

import argparse
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from tests import formats

from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.foreign.images import Verified, verify_image
from lockstep.foreign.quarantine import Quarantine

ROUNDS = 7
"""Times that each way is measured, in turn; the fastest counts."""

VARIANTS = [
    *((name, {}) for name in formats.MAKERS),
    ("gedit", {"saved": True}),
    ("imgedit", {"archive": "tar"}),
    ("table", {"form": "jsonl"}),
    ("table", {"form": "parquet"}),
]


@cache
def photograph(kilobytes: float, form: str) -> bytes:
    """Return an image of about so many kilobytes: a gradient under noise, as a camera sees it."""
    generator = np.random.default_rng(0)
    low, high = 32, 4096
    while high - low > 8:
        side = (low + high) // 2
        ramp = np.linspace(0, 200, side)[None, :, None] * np.ones((side, 1, 3))
        pixels = (ramp + generator.normal(0, 12, (side, side, 3)) + 20).clip(0, 255)
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, form, quality=90)
        if buffer.tell() > kilobytes * 1000:
            high = side
        else:
            low, found = side, buffer.getvalue()
    return found


def numbered(number: int, kilobytes: float, form: str) -> bytes:
    """Return an image that no other number gives: bytes behind the end, which no decoder minds."""
    return photograph(kilobytes, form) + number.to_bytes(8, "big")


class Here:
    """Verifies images in this process, in place of a `Quarantine`."""

    def __init__(self) -> None:
        self._asked: deque[tuple[bytes, int]] = deque()

    def ask(self, data: bytes, max_pixels: int) -> None:
        self._asked.append((data, max_pixels))

    def answer(self) -> Verified:
        return verify_image(*self._asked.popleft())


def prepared(made: formats.Made, root: Path, quarantine: type) -> tuple[float, float, int, int]:
    """Return the seconds that preparing took, those of processors, and samples and images."""
    settings = BenchmarkSettings(**made.settings)
    with mock.patch("lockstep.benchmark.intake.Quarantine", quarantine):
        began, worked = time.perf_counter(), sum(os.times()[:4])
        counts = intake.prepare(settings, root / "manifest")
        took, work = time.perf_counter() - began, sum(os.times()[:4]) - worked
    images = len(os.listdir(root / "manifest" / "images"))
    shutil.rmtree(root / "manifest")
    assert sum(counts.samples.values()) == made.samples, counts
    return took, work, made.samples, images


def speed(count: int, kilobytes: float, form: str, root: Path, ratio: bool) -> None:
    image = Image.open(io.BytesIO(photograph(kilobytes, form)))
    size = len(photograph(kilobytes, form)) / 1000
    print(f"{count} samples, images of {size:.0f} kB ({form}, {image.width}×{image.height})")
    for name, variant in VARIANTS:
        folder = root / "benchmark"
        made = formats.MAKERS[name](
            folder, count, draw=lambda n: numbered(n, kilobytes, form), **variant
        )
        what = " ".join([name, *map(str, variant.values())])
        if ratio:
            pairs = [
                [prepared(made, root, kind)[:2] for kind in (Here, Quarantine)]
                for _ in range(ROUNDS)
            ]
            here, apart = (
                tuple(map(min, zip(*found, strict=True))) for found in zip(*pairs, strict=True)
            )
            clock, processors = (b / a for a, b in zip(here, apart, strict=True))
            print(f"{what:16} {clock:.2f} by the clock, {processors:.2f} of processors", flush=True)
        else:
            took, work, given, images = prepared(made, root, Quarantine)
            speeds = f"{given / took:6.0f} {given / work:6.0f} samples/s"
            print(f"{what:16} {speeds}  {images / given:.2f} images each", flush=True)
        shutil.rmtree(folder)


def memory(size: float, root: Path) -> None:
    """Prepare a RE-Edit file of images of 2 MB in a process of its own."""
    image = 1.5e6
    made = formats.re_edit(
        root / "benchmark", int(size / 2e6), draw=lambda n: numbered(n, image / 1000, "PNG")
    )
    path = made.settings["path"]
    print(f"{os.path.getsize(path) / 1e9:.2f} GB in {made.samples} samples")
    began = time.perf_counter()
    code = (
        "from lockstep.benchmark import intake, settings; "
        f"own = settings.BenchmarkSettings(path={path!r}); "
        f"print(intake.prepare(own, {str(root / 'manifest')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB, {took:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--kilobytes", type=float, default=100, help="of an image")
    parser.add_argument("--form", default="JPEG", help="JPEG or PNG")
    parser.add_argument("--ratio", action="store_true", help="to decoding in the same process")
    parser.add_argument("--memory", type=float, help="bytes of the file to prepare")
    parser.add_argument("--folder", help="where to work")
    arguments = parser.parse_args()
    if not arguments.ratio:
        os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[0]])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.memory:
            memory(arguments.memory, Path(folder))
        else:
            speed(
                arguments.samples,
                arguments.kilobytes,
                arguments.form,
                Path(folder),
                arguments.ratio,
            )


if __name__ == "__main__":
    main()
