"""Samples that each reader gives per second on one core, and the memory that prepare takes.

    python -m benchmarks.readers                     10,000 samples of each format, 100 kB images
    python -m benchmarks.readers --memory 2e9        prepare on a RE-Edit file of 2 GB
    python -m benchmarks.readers --ratio             what decoding in processes of their own costs,
                                                     on one core and on all

Images are verified and stored as `prepare` does it; making the files is not counted. The first
figure is by the clock, the second by the time of the processor, which others do not slow down.
"""

import argparse
import gc
import io
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from PIL import Image
from tests import formats

from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.foreign.images import Verified, verify_image
from lockstep.foreign.quarantine import Quarantines

ROUNDS = 3
"""Times that each way is measured, in turn; the fastest counts."""

ALL = sorted(os.sched_getaffinity(0))
ONE = ALL[:1]
"""Cores."""

VARIANTS = [
    *((name, {}) for name in formats.MAKERS),
    ("gedit", {"saved": True}),
    ("imgedit", {"archive": "tar"}),
    ("table", {"form": "jsonl"}),
    ("table", {"form": "parquet"}),
]


COMPARED = [("re-edit", {}), ("imgedit", {}), ("table", {"form": "parquet"})]
"""Images as base64, as files, and as bytes of a table."""


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
    """Verifies images in this process, in place of `Quarantines`."""

    def __init__(self, processes: int) -> None:
        pass

    def ask(self, data: bytes, max_pixels: int) -> "Future[Verified]":
        answer: Future[Verified] = Future()
        answer.set_result(verify_image(data, max_pixels))
        return answer

    def close(self) -> None:
        pass


class Taken(NamedTuple):
    seconds: float
    processors: float
    """Seconds of all processors together."""
    images: int


def prepared(made: formats.Made, root: Path, kind: type, cores: list[int]) -> Taken:
    """Return what preparing takes on some cores."""
    settings, own = BenchmarkSettings(**made.settings), os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    with mock.patch("lockstep.benchmark.intake.Quarantines", kind):
        began, worked = time.perf_counter(), sum(os.times()[:4])
        counts = intake.prepare(settings, root / "manifest")
        took = time.perf_counter() - began
    # its processes end with it
    gc.collect()
    work = sum(os.times()[:4]) - worked
    os.sched_setaffinity(0, own)
    images = len(os.listdir(root / "manifest" / "images"))
    shutil.rmtree(root / "manifest")
    assert sum(counts.samples.values()) == made.samples, counts
    return Taken(took, work, images)


def speed(count: int, kilobytes: float, form: str, root: Path, ratio: bool) -> None:
    image = Image.open(io.BytesIO(photograph(kilobytes, form)))
    size = len(photograph(kilobytes, form)) / 1000
    print(f"{count} samples, images of {size:.0f} kB ({form}, {image.width}×{image.height})")
    for name, variant in COMPARED if ratio else VARIANTS:
        folder = root / "benchmark"
        made = formats.MAKERS[name](
            folder, count, draw=lambda n: numbered(n, kilobytes, form), **variant
        )
        what = " ".join([name, *map(str, variant.values())])
        if ratio:
            print(f"{what:16} {compared(made, root)}", flush=True)
        else:
            took, work, images = prepared(made, root, Quarantines, ONE)
            speeds = f"{made.samples / took:6.0f} {made.samples / work:6.0f} samples/s"
            print(f"{what:16} {speeds}  {images / made.samples:.2f} images each", flush=True)
        shutil.rmtree(folder)


def compared(made: formats.Made, root: Path) -> str:
    """Return what each way takes next to decoding in this process, the fastest of several turns."""
    ways = [(Here, ONE), (Quarantines, ONE), (Quarantines, ALL)]
    rounds = [[prepared(made, root, *way) for way in ways] for _ in range(ROUNDS)]
    here, apart, every = (Taken(*map(min, *own)) for own in zip(*rounds, strict=True))
    return (
        f"{made.samples / here.seconds:6.0f} samples/s in one process; "
        f"{apart.seconds / here.seconds:.2f} of its time in two on one core, "
        f"{every.seconds / here.seconds:.2f} on {len(ALL)} ({here.seconds / every.seconds:.2f} "
        f"times as fast, {every.processors / here.processors:.2f} of its work)"
    )


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
    parser.add_argument("--samples", type=int, help="10,000, with --ratio 800")
    parser.add_argument("--kilobytes", type=float, default=100, help="of an image")
    parser.add_argument("--form", default="JPEG", help="JPEG or PNG")
    parser.add_argument("--ratio", action="store_true", help="to decoding in the same process")
    parser.add_argument("--memory", type=float, help="bytes of the file to prepare")
    parser.add_argument("--folder", help="where to work")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.memory:
            memory(arguments.memory, Path(folder))
        else:
            speed(
                arguments.samples or (800 if arguments.ratio else 10_000),
                arguments.kilobytes,
                arguments.form,
                Path(folder),
                arguments.ratio,
            )


if __name__ == "__main__":
    main()
