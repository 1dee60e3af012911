"""Time the real edit job on a GPU: imports, loading, the first edit, and all that follow.

python benchmarks/edit_job.py MODEL    4 steps without guidance, preparing and saving included
"""

import argparse
import io
import itertools
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lockstep import records
from lockstep.config.run import Config
from lockstep.devices import device
from lockstep.editing import shard as editing_shard

SIDE = 1024
"""Pixels of the source, square."""

PROMPT = "Show the table as it looks after the ball has melted in the sun, with the right shadows."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder of a Qwen-Image-Edit")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--adapter", help="LoRA file")
    parser.add_argument("--cache", default="~/.cache/lockstep", help="folder of compiled kernels")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)7.0f ms %(message)s")
    settings = Config.model_validate(
        {
            "benchmark": {"path": "none"},
            "editors": [
                {
                    "name": "benchmark",
                    "type": "diffusers",
                    "model": arguments.model,
                    "num_inference_steps": arguments.steps,
                    "true_cfg_scale": 1.0,
                    "adapters": [{"path": arguments.adapter}] if arguments.adapter else [],
                }
            ],
            "judge": {"type": "qwen3_vl", "model": "none"},
            "devices": {"compile_cache": arguments.cache},
        }
    )
    with tempfile.TemporaryDirectory() as temporary:
        done, images = run(settings, Path(temporary), arguments.samples)
    between = [after - before for before, after in itertools.pairwise(images[1:])]
    later = [record.edit_seconds for record in done[1:]]
    print(
        f"load with imports {done[0].load_seconds:.2f} s, first edit {done[0].edit_seconds:.2f} s, "
        f"then {statistics.mean(between):.3f} s an image with saving (largest {max(between):.3f}), "
        f"of which in the editor {statistics.mean(later):.3f} s"
    )


def run(settings: Config, root: Path, samples: int) -> tuple[list[records.EditRecord], list[float]]:
    """Run an edit job on the first device; return its records and when each image was saved."""
    manifest = []
    for number in range(samples):
        buffer = io.BytesIO()
        source(number).save(buffer, "PNG")
        path = root / f"source-{number}.png"
        path.write_bytes(buffer.getvalue())
        manifest.append(
            records.Sample(
                id=f"{number:03}",
                category="physical",
                image=str(path),
                image_sha256=records.sha256(buffer.getvalue()),
                width=SIDE,
                height=SIDE,
                # every instruction has another number of tokens
                instruction=PROMPT + " Again." * number,
                index=number,
            )
        )
    records.write_records(root / "physical.jsonl", manifest)
    devices = device.devices(settings.devices)[:1]
    shard = editing_shard.Shard(number=0, devices=devices, slots=1, run="benchmark")
    began = time.monotonic()
    import lockstep.editors.diffusers.editor  # noqa: F401

    print(f"imports {time.monotonic() - began:.2f} s", flush=True)
    editing_shard.edit_shard(
        settings.editors[0],
        root / "physical.jsonl",
        root,
        shard,
        sys.stderr,
        seed=settings.seed,
        settings=settings.devices,
    )
    done = records.read_records(next(root.glob("edits/*.jsonl")), records.EditRecord)
    return done, [(root / record.image).stat().st_mtime for record in done]


def source(number: int) -> Image.Image:
    """Return a smooth image with noise, which is about as hard to store as a photograph."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 4, (SIDE, SIDE, 3))
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
