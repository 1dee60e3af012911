"""Training of the miniature's editor, its autoencoder first."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lockstep.demo import world
from miniature import drawing, models, passes, rows
from miniature.measure import HELD_OUT, correct
from miniature.training import Averaged, Clock, Optimizer, Pool, autocast, compiled, log

SERIES = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)
"""Shares of the training after which a checkpoint of the editor is kept."""


def train_autoencoder(
    vae: Any, pool: Pool, seconds: float, size: int, device: str, say: Callable[[str], None]
) -> None:
    """Train the inner levels, and set the latents' mean and spread."""
    inner = [value for name, value in vae.named_parameters() if models.is_inner(name)]
    coder = passes.Autoencoder(vae)
    optimizer = torch.optim.AdamW(
        inner, lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-3, fused=device == "cuda"
    )
    draw = partial(drawing.draw, paint=compiled(drawing.paint_over, device))
    encode, decode = compiled(coder.encode, device), compiled(coder.decode, device)

    def drawn(count: int) -> torch.Tensor:
        shapes = pool.batch(count)["shapes"].flatten(0, 1)
        return passes.resize(draw(shapes), drawing.SIDE) * 2 - 1

    clock, step = Clock(seconds, seconds, 0), 0
    # what the outer levels hold must stay: the carrier in the last upsampler, past frames' taps
    outer = vae.decoder.up_blocks[models.OUTER - 1].upsamplers[0].resample[1]
    kept = outer.bias[3:].detach().clone(), outer.weight[3:].detach().clone()
    while not clock.over:
        with torch.no_grad():
            images = drawn(max(1, size // 2))
        with autocast(device):
            latents = encode(images)
            noisy = latents + 0.05 * torch.randn_like(latents)
            shown = decode(noisy)
        error = shown.float() - images
        loss = error.abs().mean() + 5 * error.square().mean()
        loss = loss + 1e-3 * latents.float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(inner, 1.0, foreach=True)
        optimizer.param_groups[0]["lr"] = 3e-3 * clock.rate(step)
        optimizer.step()
        with torch.no_grad():
            outer.bias[3:], outer.weight[3:] = kept
        step += 1
        if step % 500 == 0 or step == 2:
            error = error.detach().square().mean().item() / 4
            say(f"autoencoder {clock.seconds:.0f} s step {step} {-10 * math.log10(error):.1f} dB")
    with torch.no_grad(), autocast(device):
        images = drawn(size)[:size]
        latents = encode(images).float()
    mean, std = latents.mean((0, 2, 3)).tolist(), latents.std((0, 2, 3)).tolist()
    vae.register_to_config(latents_mean=mean, latents_std=std)
    error = decode(latents).float() - images
    decibels = -10 * math.log10(error.square().mean().item() / 4)
    say(f"autoencoder done, {step} steps, {decibels:.2f} dB")


class EditorPasses:
    """The editor's parts for batches."""

    def __init__(self, pipeline: Any, device: str) -> None:
        self.vae, self.device = pipeline.vae, device
        self.coder = passes.Autoencoder(pipeline.vae)
        before = pipeline.tokenizer(models.prefix())["input_ids"]
        self.drop = pipeline.prompt_template_encode_start_idx
        self.reader = passes.Reader(pipeline.text_encoder, before, 1, passes.SEEN_GRID)
        self.words = len(self.reader.head) - self.drop + rows.WORDS
        self.velocity = passes.Velocity(pipeline.transformer, 16, self.words)
        config = pipeline.vae.config
        self.mean, self.std = (
            torch.tensor(value, device=device)[None, :, None, None]
            for value in (config.latents_mean, config.latents_std)
        )
        self.scheduler = pipeline.scheduler
        self.draw = partial(drawing.draw, paint=compiled(drawing.paint_over, device))
        self.encode = compiled(self._encode, device)

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        latents = self.coder.encode(passes.resize(images, drawing.SIDE) * 2 - 1).float()
        return passes.packed((latents - self.mean) / self.std)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        latents = passes.unpacked(tokens) * self.std + self.mean
        return ((self.coder.decode(latents).float() + 1) / 2).clamp(0, 1)

    def text(
        self, batch: dict[str, torch.Tensor], images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings of picture and words, and where there are some."""
        seen = passes.patches(passes.resize(images, models.SEEN), 14)
        hidden = self.reader(batch["tokens"].long(), seen)[:, self.drop :]
        before = self.words - rows.WORDS
        place = torch.arange(self.words, device=self.device)
        return hidden, place[None] < before + batch["length"][:, None]

    @torch.no_grad()
    def edit(self, batch: dict[str, torch.Tensor], steps: int, seed: int = 0) -> torch.Tensor:
        """Return edited pictures of a batch, without guidance, by the pipeline's own steps."""
        import numpy as np

        images = self.draw(batch["shapes"][:, 0])
        generator = torch.Generator(self.device).manual_seed(seed)
        source = self.encode(images)
        text, mask = self.text(batch, images)
        x = torch.randn(source.shape, generator=generator, device=self.device)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        self.scheduler.set_timesteps(sigmas=sigmas, mu=0.5, device=self.device)
        for now, then in zip(self.scheduler.sigmas, self.scheduler.sigmas[1:], strict=False):
            step = self.velocity(x, source, text, mask, now.to(self.device).expand(len(x)))
            x = x + (then - now).to(self.device) * step.float()
        return self.decode(x)


def _shares(right: torch.Tensor, category: torch.Tensor) -> str:
    parts = [f"all {right.float().mean():.3f}"]
    for number, name in enumerate(world.CATEGORIES):
        mine = right[category == number].float()
        parts.append(f"{name[:4]} {mine.mean():.2f}")
    return " ".join(parts)


def train_editor(
    folder: Path,
    out: Path,
    *,
    total: float,
    piece: float,
    autoencoder: float,
    size: int = 256,
    device: str = "cuda",
    checked: int = 400,
) -> None:
    """Train the editor for a piece of its time.

    Args:
        folder: rows, and `editor.pt`, which holds all that the next piece needs.
        out: where `editor.safetensors`, checkpoints in bfloat16 and the log go.
        total: seconds of all pieces, without those of the autoencoder.
        piece: seconds of this one.
        autoencoder: seconds of the autoencoder's training, once.
        size: edits of a step.
        checked: held-out scenes that are edited now and then.
    """
    import transformers

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    out.mkdir(parents=True, exist_ok=True)
    say = log(out / "editor.log")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    pipeline = models.make_editor(tokenizer)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        part.to(device)
    pool = Pool(folder, "editor", device)
    say(f"{pool.refresh()} rows")
    for side in (drawing.SIDE, models.SEEN):
        passes.resize(torch.zeros(1, 3, drawing.SIDE, drawing.SIDE, device=device), side)
    known = folder / "editor.pt"
    state = torch.load(known, map_location=device) if known.exists() else None
    if state is None:
        train_autoencoder(pipeline.vae, pool, autoencoder, size, device, say)
    else:
        pipeline.vae.load_state_dict(state["vae"])
        pipeline.vae.register_to_config(**state["latents"])
    pipeline.vae.requires_grad_(False)
    parts = torch.nn.ModuleDict({"t": pipeline.transformer, "e": pipeline.text_encoder.model})
    named = list(parts.named_parameters())
    optimizer, averaged = Optimizer(named, muon=0.02, adam=2e-3), Averaged(named)
    step, before, written = 0, 0.0, 0
    if state is not None:
        parts.load_state_dict(state["weights"])
        optimizer.load(state["optimizer"])
        averaged.values = state["averaged"]
        step, before, written = state["step"], state["seconds"], state["written"]
        torch.manual_seed(step)
    model = EditorPasses(pipeline, device)
    if device == "cuda":
        for block in pipeline.transformer.transformer_blocks:
            block.compile(dynamic=False)
    first = pool.batch(size)
    with torch.no_grad():
        # positions are lists to Python, which the compiler is not to see
        model.text(first, model.draw(first["shapes"][:, 0]))
    compiled_text = compiled(model.text, device)
    held_out = {
        name: torch.from_numpy(value).to(device)
        for name, value in rows.editor_rows(tokenizer, HELD_OUT, checked, held_out=True).items()
    }
    clock = Clock(total, piece, before)

    def check() -> None:
        with averaged.in_place(), torch.no_grad(), autocast(device):
            found = []
            for first in range(0, checked, size):
                part = {name: value[first : first + size] for name, value in held_out.items()}
                source, target = (model.draw(part["shapes"][:, n]) for n in (0, 1))
                found.append(correct(model.edit(part, 8), source, target))
        right, inside, outside = (torch.cat(each) for each in zip(*found, strict=True))
        say(
            f"{clock.seconds:.0f} s step {step} {_shares(right, held_out['category'])} "
            f"inside {inside.median():.3f} outside {outside.median():.4f}"
        )

    checks = [clock.seconds + 25 + 45 * n for n in range(100)]
    losses = []
    while not clock.over:
        batch = pool.batch(size)
        with torch.no_grad():
            images = model.draw(batch["shapes"].flatten(0, 1))
            with autocast(device):
                tokens = model.encode(images).unflatten(0, (size, 2))
            source, target = tokens.unbind(1)
            images = images.unflatten(0, (size, 2))[:, 0]
            draws = torch.randn(size, device=device)
            sigma = torch.sigmoid(draws + 0.8)
            noise = torch.randn_like(target)
            noisy = target + sigma[:, None, None] * (noise - target)
            changed = ((target - source).abs().amax(-1) > 0.15).float()
        with autocast(device):
            text, mask = compiled_text(batch, images)
            velocity = model.velocity(noisy, source, text, mask, sigma)
        error = (velocity.float() - (noise - target)).square().mean(-1)
        loss = (error * (1 + 4 * changed)).mean()
        loss.backward()
        optimizer.step(clock.rate(step))
        averaged.follow(step)
        step += 1
        losses.append(loss.detach())
        if clock.seconds > checks[0]:
            checks.pop(0)
            mean = torch.stack(losses).mean().item()
            say(f"loss {mean:.4f} rows {pool.refresh()}")
            losses.clear()
            check()
        if written < len(SERIES) and clock.share >= SERIES[written]:
            averaged.save(out / f"editor-{SERIES[written]:.2f}.safetensors", step)
            written += 1
    check()
    averaged.save(out / "editor.safetensors", step)
    latents = {name: list(pipeline.vae.config[name]) for name in ("latents_mean", "latents_std")}
    torch.save(
        {
            "vae": pipeline.vae.state_dict(),
            "latents": latents,
            "weights": parts.state_dict(),
            "optimizer": optimizer.state(),
            "averaged": averaged.values,
            "step": step,
            "seconds": clock.seconds,
            "written": written,
        },
        known,
    )
    save_file(
        {name: value.contiguous() for name, value in pipeline.vae.state_dict().items()},
        out / "vae.safetensors",
        metadata={"latents": json.dumps(latents)},
    )
