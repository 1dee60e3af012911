"""Measure the editor on a GPU, against diffusers as it comes, in one run.

python benchmarks/edit.py --random-weights full                    everything, Qwen-Image-Edit
python benchmarks/edit.py --random-weights full --model 2511       with zero_cond_t
python benchmarks/edit.py --random-weights full --parts rates,forward
"""

import argparse
import functools
import gc
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import full_models
import numpy as np
import torch
import torch.nn.functional as F
from edit_job import PROMPT, SIDE, source
from torch.nn.attention import SDPBackend, sdpa_kernel

from lockstep.editors.diffusers import DiffusersSettings, lossy, qwen_image
from lockstep.editors.diffusers.editor import add_token_types
from lockstep.fast import qwen_transformer

WORDS = 1400
"""Text tokens of one forward: those of the image and an instruction."""

PARTS = ("rates", "forward", "autoencoder", "images", "lossy", "job", "adapter")

APPROXIMATIONS = {
    "exact": {},
    "first_block": {"cache": "first_block"},
    "taylorseer": {"cache": "taylorseer"},
    "fp8": {"fp8": True},
}
"""In this order, since the exact weights are gone after the last. Not `mag`: it needs ratios of the
published weights, and those of random ones would have it skip other steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random-weights", choices=["full"], required=True)
    parser.add_argument("--model", choices=["edit", "2509", "2511"], default="edit")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--steps", default="50", help="steps of the images with guidance")
    parser.add_argument("--folder", type=Path, help="where the model is kept; default temporary")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {arguments.model}")
    rates = measure_rates() if {"rates", "forward"} & set(parts) else None
    pipeline = full_models.build_editor(
        plus=arguments.model != "edit", zero_cond_t=arguments.model == "2511"
    )
    add_token_types(pipeline.text_encoder)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        folder = arguments.folder or Path(temporary, "editor")
        adapter = folder.with_suffix(".safetensors")
        if {"job", "adapter"} & set(parts) and not folder.exists():
            began = time.perf_counter()
            full_models.save(pipeline, folder)
            full_models.save_adapter(pipeline.transformer, adapter)
            print(f"saved in {time.perf_counter() - began:.0f} s")
        steps = [int(step) for step in arguments.steps.split(",")]
        compare(pipeline, parts, steps, rates)
        if "lossy" in parts:
            approximate(pipeline)
        del pipeline
        gc.collect()
        torch.cuda.empty_cache()
        jobs = {
            "job": (("no compiled kernels yet", []), ("compiled kernels", [])),
            "adapter": (("with an adapter", ["--adapter", str(adapter)]),),
        }
        for part in {"job", "adapter"} & set(parts):
            for note, options in jobs[part]:
                print(f"real edit job, {note}:", flush=True)
                cache = ["--cache", str(Path(temporary, "cache"))]
                script = Path(__file__).with_name("edit_job.py")
                subprocess.run([sys.executable, script, folder, *cache, *options], check=True)


def compare(pipeline, parts: list[str], steps: list[int], rates: dict[str, float] | None) -> None:
    """Measure stages and images, first as diffusers comes and then ours, with the same weights."""
    stages = ("forward", "encode", "decode")
    results = {}
    for ours in (False, True):
        if ours:
            began = time.perf_counter()
            qwen_image.optimize(pipeline)
            torch.cuda.synchronize()
            print(f"optimised in {time.perf_counter() - began:.2f} s")
        for part in parts:
            match part:
                case "forward":
                    results[part, ours] = forward(pipeline)
                case "autoencoder":
                    for half in ("encode", "decode"):
                        results[half, ours] = autoencoder(pipeline, half)
                case "images":
                    for count, scale in [(count, 4.0) for count in steps] + [(4, 4.0), (4, 1.0)]:
                        key = f"{count} steps, CFG {scale:g}"
                        results[key, ours] = image(pipeline, count, scale, ours)
    for name in dict.fromkeys(name for name, _ in results):
        (before, was), (after, is_now) = results[name, False], results[name, True]
        text = f"{name}: eager {before:.4f} s, ours {after:.4f} s, ratio {before / after:.3f}"
        if name in stages:
            error = (is_now.float() - was.float()).norm() / was.float().norm()
            text += f", relative error {error:.1e}"
        else:
            text += f", PSNR {psnr(was, is_now):.1f} dB"
        if name == "forward" and rates:
            work = forward_flops(pipeline)
            floor = sum(work[kind] / rates[kind] for kind in work) / 1e12
            text += f", floor {floor:.4f} s, share {floor / after:.3f} (eager {floor / before:.3f})"
        print(text, flush=True)


def approximate(pipeline) -> None:
    """Measure the approximations against our exact path; the weights are rounded in the end."""
    transformer, exact, forwards, computed = pipeline.transformer, {}, [], []
    transformer.register_forward_hook(lambda *_: forwards.append(1))
    transformer.transformer_blocks[-1].img_mlp.register_forward_hook(lambda *_: computed.append(1))
    for name, given in APPROXIMATIONS.items():
        settings = DiffusersSettings(name=name, type="diffusers", model="none", lossy=given)
        lossy.enable(pipeline, settings)
        for steps, scale in ((4, 1.0), (20, 4.0)):
            forwards.clear(), computed.clear()
            seconds, pixels = image(pipeline, steps, scale, ours=True)
            before, expected = exact.setdefault((steps, scale), (seconds, pixels))
            print(
                f"{name}, {steps} steps, CFG {scale:g}: {seconds:.3f} s, "
                f"exact over it {before / seconds:.3f}, PSNR {psnr(pixels, expected):.1f} dB, "
                f"computed {len(computed) / len(forwards):.0%} of the forwards",
                flush=True,
            )
        if "cache" in given:
            transformer.disable_cache()
            continue
        seconds, out = forward(pipeline)
        before, expected = exact.setdefault("forward", (seconds, out))
        error = (out.float() - expected.float()).norm() / expected.float().norm()
        print(
            f"{name}, one forward: {seconds:.4f} s, exact over it {before / seconds:.3f}, "
            f"relative error {error:.1e}",
            flush=True,
        )


def measure_rates() -> dict[str, float]:
    """Measure what the GPU can do, at the clocks that it holds for seconds on end; TFLOP/s."""
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    qkv = torch.randn(3, 1, 24, 9600, 128, device="cuda", dtype=torch.bfloat16)
    rates = {"linear": 2 * 8192**3 / sustained(lambda: a @ b) / 1e12, "attention": 0.0}
    print(f"matrix product 8192³: {rates['linear']:.0f} TFLOP/s")
    timed = {}
    for kernel in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(kernel):
            seconds = sustained(lambda: F.scaled_dot_product_attention(*qkv))
        timed[kernel.name] = seconds
    if (flash := qwen_transformer.flash()) is not None:
        tokens_first = [each.transpose(1, 2).contiguous() for each in qkv]
        timed["FlashAttention 4"] = sustained(lambda: flash(*tokens_first))
    for name, seconds in timed.items():
        rate = 4 * 24 * 9600**2 * 128 / seconds / 1e12
        print(f"attention 24 × 9600 × 128, {name}: {rate:.0f} TFLOP/s", flush=True)
        rates["attention"] = max(rate, rates["attention"])
    return rates


def forward_flops(pipeline) -> dict[str, float]:
    """Count the operations of one forward: those that its result depends on."""
    transformer, words = pipeline.transformer, WORDS
    width, blocks = transformer.inner_dim, len(transformer.transformer_blocks)
    edited = (SIDE // 16) ** 2
    tokens = 2 * edited + words
    # queries, keys, values, output, and the perceptron of 4 × width
    linear = 2 * 12 * width**2 * tokens * blocks
    attention = 4 * width * tokens**2 * blocks
    # of the last block, only the edited image is asked for
    linear -= 2 * 10 * width**2 * (tokens - edited)
    attention -= 4 * width * tokens * (tokens - edited)
    return {"linear": linear, "attention": attention}


@torch.inference_mode()
def forward(pipeline) -> tuple[float, torch.Tensor]:
    """Time one forward of the transformer, at clocks that it holds."""
    torch.manual_seed(1)
    transformer = pipeline.transformer
    edited = (SIDE // 16) ** 2
    tensors = {
        "hidden_states": torch.randn(1, 2 * edited, 64),
        "encoder_hidden_states": torch.randn(1, WORDS, 3584),
        "timestep": pipeline.scheduler.timesteps[:1].cpu() / 1000,
    }
    call = functools.partial(
        transformer,
        **{name: value.to("cuda", torch.bfloat16) for name, value in tensors.items()},
        img_shapes=[[(1, SIDE // 16, SIDE // 16)] * 2],
        return_dict=False,
    )
    out = call()[0][:, :edited].clone()
    return sustained(call, seconds=4.0), out


@torch.inference_mode()
def autoencoder(pipeline, half: str) -> tuple[float, torch.Tensor]:
    vae = pipeline.vae
    pixels = pipeline.image_processor.preprocess(source(0), SIDE, SIDE)
    latents = vae.encode(pixels.unsqueeze(2).to("cuda", torch.bfloat16)).latent_dist.mode()
    if half == "encode":
        pixels = pixels.unsqueeze(2).to("cuda", torch.bfloat16)
        return sustained(lambda: vae.encode(pixels), 1.0), latents
    return sustained(lambda: vae.decode(latents), 1.0), vae.decode(latents).sample


def image(pipeline, steps: int, scale: float, ours: bool) -> tuple[float, np.ndarray]:
    """Time one edit from the source to the pixels; the smallest of two after a first call."""
    if steps <= 4:
        _image(pipeline, steps, scale, ours)
    seconds = []
    for _ in range(1 if steps > 20 else 2):
        torch.cuda.synchronize()
        began = time.perf_counter()
        pixels = _image(pipeline, steps, scale, ours)
        seconds.append(time.perf_counter() - began)
    return min(seconds), pixels


def _image(pipeline, steps: int, scale: float, ours: bool) -> np.ndarray:
    prompts = [PROMPT, " "] if scale > 1 else [PROMPT]
    if ours:
        prepared = qwen_image.prepare(pipeline, [source(0)], prompts)
        given = {"image": prepared.images, **qwen_image.encode(pipeline, prepared)}
    else:
        given = {"image": source(0), "prompt": PROMPT}
        given["negative_prompt"] = " " if scale > 1 else None
    lossy.forget(pipeline)
    generator = torch.Generator().manual_seed(1)
    call = {"num_inference_steps": steps, "true_cfg_scale": scale, "generator": generator}
    return pipeline(**given, **call, output_type="np").images[0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of two images in [0, 1], in dB."""
    return 10 * math.log10(1 / max(float(((a - b) ** 2).mean()), 1e-12))


def sustained(call: Callable[[], object], seconds: float = 2.0) -> float:
    """Time a call on the GPU: the mean over some seconds, after as many to settle the clocks."""
    call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    torch.cuda.synchronize()
    count = max(3, round(seconds / (time.perf_counter() - began)))
    for _ in range(2):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(count):
            call()
        end.record()
        torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / count


if __name__ == "__main__":
    main()
