"""Samples that each reader gives per second on one core, and the memory that prepare takes.

    python -m benchmarks.readers                     10,000 samples of each format, 100 kB images
    python -m benchmarks.readers --memory 2e9        prepare on a RE-Edit file of 2 GB

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
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tests import formats

from lockstep import benchmark, config

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


def speed(count: int, kilobytes: float, form: str, root: Path) -> None:
    image = Image.open(io.BytesIO(photograph(kilobytes, form)))
    size = len(photograph(kilobytes, form)) / 1000
    print(f"{count} samples, images of {size:.0f} kB ({form}, {image.width}×{image.height})")
    for name, variant in VARIANTS:
        folder = root / "benchmark"
        made = formats.MAKERS[name](
            folder, count, draw=lambda n: numbered(n, kilobytes, form), **variant
        )
        settings = config.Benchmark(**made.settings)
        began, worked = time.perf_counter(), time.process_time()
        counts = benchmark.prepare(settings, root / "manifest")
        took, work = time.perf_counter() - began, time.process_time() - worked
        given = sum(counts.samples.values())
        images = len(os.listdir(root / "manifest" / "images"))
        what = " ".join([name, *map(str, variant.values())])
        speeds = f"{given / took:6.0f} {given / work:6.0f} samples/s"
        print(f"{what:16} {speeds}  {images / given:.2f} images each", flush=True)
        assert given == made.samples, counts
        shutil.rmtree(folder)
        shutil.rmtree(root / "manifest")


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
        "from lockstep import benchmark, config; "
        f"print(benchmark.prepare(config.Benchmark(path={path!r}), {str(root / 'manifest')!r}))"
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
    parser.add_argument("--memory", type=float, help="bytes of the file to prepare")
    parser.add_argument("--folder", help="where to work")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[0]])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.memory:
            memory(arguments.memory, Path(folder))
        else:
            speed(arguments.samples, arguments.kilobytes, arguments.form, Path(folder))


if __name__ == "__main__":
    main()
