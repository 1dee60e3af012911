"""Training of the miniature on one GPU, in pieces that go on where the last one ended."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lockstep import records
from lockstep.demo import drawing, models, passes, rows, world
from lockstep.demo.measure import HELD_OUT, correct

EMA = 0.999
"""Share of the averaged weights that a step keeps."""

SERIES = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)
"""Shares of the training after which a checkpoint of the editor is kept."""


class Optimizer:
    """Muon (Jordan 2024) for matrices, many of one shape at a time, and AdamW for all else.

    Args:
        named: parameters by name; embeddings and outputs are no matrices to Muon.
    """

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], muon: float, adam: float):
        self.muon, self.groups = muon, {}
        others = []
        for name, parameter in named:
            outer = any(part in name for part in ("embed", "img_in", "txt_in", "proj_out", "head"))
            if parameter.ndim == 2 and not outer:
                self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
            else:
                others.append(parameter)
        self.parameters = [*others, *itertools.chain(*self.groups.values())]
        device = others[0].device
        self.momenta = {
            shape: torch.zeros(len(group), *shape, device=device)
            for shape, group in self.groups.items()
        }
        self.adam = torch.optim.AdamW(
            others, lr=adam, betas=(0.9, 0.98), weight_decay=0.01, fused=device.type == "cuda"
        )
        self.rate = adam

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Take a step at a share of the highest rate, and forget the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * share
        self.adam.step()
        for shape, group in self.groups.items():
            # the last block's text is of no use to anyone
            gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in group]
            gradient = torch.stack(gradients)
            momentum = self.momenta[shape].lerp_(gradient, 0.05)
            change = _orthogonal(gradient.lerp(momentum, 0.95))
            rate = self.muon * share * max(1, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(group, 1 - 0.01 * rate)
            torch._foreach_add_(group, list(change.unbind()), alpha=-rate)
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        for shape, value in state["momenta"].items():
            self.momenta[shape].copy_(value)


def _orthogonal(x: torch.Tensor) -> torch.Tensor:
    """Return the nearest orthogonal matrices, roughly, by five Newton-Schulz steps."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    # a CPU would emulate it
    x = x.bfloat16() if x.is_cuda else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.mT if tall else x).float()


class Pool:
    """Rows on the device, of which batches are drawn at random."""

    def __init__(self, folder: Path, what: str, device: str) -> None:
        self.folder, self.what, self.device = folder, what, device
        self.known: set[str] = set()
        self.rows: dict[str, torch.Tensor] = {}
        while not self.refresh():
            time.sleep(0.5)

    def refresh(self) -> int:
        """Take in what was written since, and return how many rows there are."""
        for found in rows.read(self.folder, self.what, self.known):
            for name, value in found.items():
                tensor = torch.from_numpy(value).to(self.device)
                old = self.rows.get(name)
                self.rows[name] = tensor if old is None else torch.cat([old, tensor])
        return len(self.rows["tokens"]) if self.rows else 0

    def batch(self, size: int) -> dict[str, torch.Tensor]:
        count = len(self.rows["tokens"])
        picked = torch.randint(0, count, (size,), device=self.device)
        return {name: value[picked] for name, value in self.rows.items()}


class Clock:
    """Time of a training that runs in pieces.

    Args:
        total: seconds of all pieces.
        piece: seconds of this one.
        before: seconds of those before.
    """

    def __init__(self, total: float, piece: float, before: float) -> None:
        self.total, self.piece, self.before = total, piece, before
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    @property
    def share(self) -> float:
        return min(1.0, self.seconds / self.total)

    @property
    def over(self) -> bool:
        return time.monotonic() - self.began > self.piece or self.seconds > self.total

    def rate(self, step: int) -> float:
        """Return the share of the highest rate: up in 200 steps, level, then down to nothing."""
        return min(1.0, (step + 1) / 200) * min(1.0, (1 - self.share) / 0.55 + 0.01)


def _compiled(function: Callable, device: str) -> Callable:
    return torch.compile(function, dynamic=False) if device == "cuda" else function


def _autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def train_autoencoder(
    vae: Any, pool: Pool, seconds: float, size: int, device: str, say: Callable[[str], None]
) -> None:
    """Train the inner levels, and set the latents' mean and spread."""
    inner = [value for name, value in vae.named_parameters() if models.is_inner(name)]
    coder = passes.Autoencoder(vae)
    optimizer = torch.optim.AdamW(
        inner, lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-3, fused=device == "cuda"
    )
    draw = partial(drawing.draw, paint=_compiled(drawing.paint_over, device))
    encode, decode = _compiled(coder.encode, device), _compiled(coder.decode, device)
    clock, step = Clock(seconds, seconds, 0), 0
    # what the outer levels hold must stay: the carrier in the last upsampler, past frames' taps
    outer = vae.decoder.up_blocks[models.OUTER - 1].upsamplers[0].resample[1]
    kept = outer.bias[3:].detach().clone(), outer.weight[3:].detach().clone()
    while not clock.over:
        with torch.no_grad():
            shapes = pool.batch(max(1, size // 2))["shapes"].flatten(0, 1)
            images = passes.resize(draw(shapes), drawing.SIDE) * 2 - 1
        with _autocast(device):
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
    with torch.no_grad(), _autocast(device):
        shapes = pool.batch(size)["shapes"].flatten(0, 1)
        latents = encode((passes.resize(draw(shapes), drawing.SIDE) * 2 - 1)[:size]).float()
    mean, std = latents.mean((0, 2, 3)).tolist(), latents.std((0, 2, 3)).tolist()
    vae.register_to_config(latents_mean=mean, latents_std=std)
    error = decode(latents).float() - (passes.resize(draw(shapes), drawing.SIDE) * 2 - 1)[:size]
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
        self.draw = partial(drawing.draw, paint=_compiled(drawing.paint_over, device))
        self.encode = _compiled(self._encode, device)

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        latents = self.coder.encode(passes.resize(images, drawing.SIDE) * 2 - 1).float()
        return passes.packed((latents - self.mean) / self.std)

    def decode(self, tokens: torch.Tensor) -> torch.Tensor:
        latents = passes.unpacked(tokens) * self.std + self.mean
        return ((self.coder.decode(latents).float() + 1) / 2).clamp(0, 1)

    def text(self, batch: dict[str, torch.Tensor], images: torch.Tensor) -> tuple:
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
    say = _log(out / "editor.log")
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
    weights = [parameter for _, parameter in named]
    optimizer = Optimizer(named, muon=0.02, adam=2e-3)
    averaged = [weight.detach().clone() for weight in weights]
    step, before, written = 0, 0.0, 0
    if state is not None:
        parts.load_state_dict(state["weights"])
        optimizer.load(state["optimizer"])
        averaged = state["averaged"]
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
    compiled_text = _compiled(model.text, device)
    held_out = {
        name: torch.from_numpy(value).to(device)
        for name, value in rows.editor_rows(tokenizer, HELD_OUT, checked, held_out=True).items()
    }
    clock = Clock(total, piece, before)

    def swapped() -> None:
        for weight, average in zip(weights, averaged, strict=True):
            kept = weight.detach().clone()
            weight.data.copy_(average)
            average.copy_(kept)

    def check() -> None:
        swapped()
        with torch.no_grad(), _autocast(device):
            found = []
            for first in range(0, checked, size):
                part = {name: value[first : first + size] for name, value in held_out.items()}
                source, target = (model.draw(part["shapes"][:, n]) for n in (0, 1))
                found.append(correct(model.edit(part, 8), source, target))
        right, inside, outside = (torch.cat(each) for each in zip(*found, strict=True))
        swapped()
        say(
            f"{clock.seconds:.0f} s step {step} {_shares(right, held_out['category'])} "
            f"inside {inside.median():.3f} outside {outside.median():.4f}"
        )

    def save(name: str) -> None:
        from safetensors.torch import save_file

        values = {
            key: average.bfloat16().contiguous()
            for (key, _), average in zip(named, averaged, strict=True)
        }
        save_file(values, out / f"{name}.safetensors", metadata={"step": str(step)})

    checks = [clock.seconds + 25 + 45 * n for n in range(100)]
    losses = []
    while not clock.over:
        batch = pool.batch(size)
        with torch.no_grad():
            images = model.draw(batch["shapes"].flatten(0, 1))
            with _autocast(device):
                tokens = model.encode(images).unflatten(0, (size, 2))
            source, target = tokens.unbind(1)
            images = images.unflatten(0, (size, 2))[:, 0]
            draws = torch.randn(size, device=device)
            sigma = torch.sigmoid(draws + 0.8)
            noise = torch.randn_like(target)
            noisy = target + sigma[:, None, None] * (noise - target)
            changed = ((target - source).abs().amax(-1) > 0.15).float()
        with _autocast(device):
            text, mask = compiled_text(batch, images)
            velocity = model.velocity(noisy, source, text, mask, sigma)
        error = (velocity.float() - (noise - target)).square().mean(-1)
        loss = (error * (1 + 4 * changed)).mean()
        loss.backward()
        optimizer.step(clock.rate(step))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - min(EMA, (step + 1) / (step + 10)))
        step += 1
        losses.append(loss.detach())
        if clock.seconds > checks[0]:
            checks.pop(0)
            mean = torch.stack(losses).mean().item()
            say(f"loss {mean:.4f} rows {pool.refresh()}")
            losses.clear()
            check()
        if written < len(SERIES) and clock.share >= SERIES[written]:
            save(f"editor-{SERIES[written]:.2f}")
            written += 1
    check()
    save("editor")
    torch.save(
        {
            "vae": pipeline.vae.state_dict(),
            "latents": {
                name: list(pipeline.vae.config[name]) for name in ("latents_mean", "latents_std")
            },
            "weights": parts.state_dict(),
            "optimizer": optimizer.state(),
            "averaged": averaged,
            "step": step,
            "seconds": clock.seconds,
            "written": written,
        },
        known,
    )
    from safetensors.torch import save_file

    latents = {name: list(pipeline.vae.config[name]) for name in ("latents_mean", "latents_std")}
    save_file(
        {name: value.contiguous() for name, value in pipeline.vae.state_dict().items()},
        out / "vae.safetensors",
        metadata={"latents": json.dumps(latents)},
    )


def train_judge(
    folder: Path,
    out: Path,
    *,
    total: float,
    piece: float,
    size: int = 192,
    device: str = "cuda",
    checked: int = 1000,
    rate: float = 1.0,
) -> None:
    """Train the judge for a piece of its time.

    Args:
        folder: rows, and `judge.pt`, which holds all that the next piece needs.
        out: where `judge.safetensors` and the log go.
        total: seconds of all pieces.
        piece: seconds of this one.
        size: replies of a step.
        checked: held-out edits that are judged now and then.
        rate: highest rate of learning, as a share; less where `judge.safetensors` of an earlier
            training is in the folder, from which it then goes on.
    """
    import transformers
    from safetensors.torch import load_file, save_file

    from lockstep.demo import asking

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    out.mkdir(parents=True, exist_ok=True)
    say = _log(out / "judge.log")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    network, _ = models.make_judge(tokenizer)
    network.to(device)
    pools = {what: Pool(folder, what, device) for what in rows.QUESTIONS}
    before = tokenizer(f"<|im_start|>system\n{asking.SYSTEM}<|im_end|>\n<|im_start|>user\n")[
        "input_ids"
    ]
    readers = {
        what: passes.Reader(network, before, rows.PICTURES[what], passes.JUDGED_GRID)
        for what in rows.QUESTIONS
    }
    named = list(network.named_parameters())
    weights = [parameter for _, parameter in named]
    optimizer = Optimizer(named, muon=0.02, adam=2e-3)
    averaged = [weight.detach().clone() for weight in weights]
    step, seconds = 0, 0.0
    known, earlier = folder / "judge.pt", folder / "judge.safetensors"
    if earlier.exists():
        network.load_state_dict(load_file(earlier), strict=False)
        averaged = [weight.detach().clone() for weight in weights]
    if known.exists():
        state = torch.load(known, map_location=device)
        network.load_state_dict(state["weights"])
        optimizer.load(state["optimizer"])
        averaged, step, seconds = state["averaged"], state["step"], state["seconds"]
        torch.manual_seed(step)
    if device == "cuda":
        torch._dynamo.config.cache_size_limit = 64
        for layer in network.model.language_model.layers:
            layer.compile(dynamic=False)
        for reader in readers.values():
            reader.tower = _compiled(reader.tower.__call__, device)
    draw = partial(drawing.draw, paint=_compiled(drawing.paint_over, device))
    clock = Clock(total, piece, seconds)

    def seen(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return patches of a batch's pictures, each a little unlike what was drawn."""
        with torch.no_grad():
            images = draw(batch["shapes"].flatten(0, 1))
            images = drawing.damage(images, batch["damage"].flatten().float())
            count = len(images)
            soft = torch.rand(count, 1, 1, 1, device=device).square() * 0.4
            images = images + soft * (F.avg_pool2d(images, 3, 1, 1) - images)
            grain = torch.rand(count, 1, 1, 1, device=device).square() * 0.02
            images = (images + grain * torch.randn_like(images)).clamp(0, 1)
            return passes.patches(images, 8)

    def logits(what: str, batch: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        """Return logits of each token after the pictures, from the first on."""
        hidden = readers[what](batch["tokens"].long(), pixels)
        first = len(readers[what].head)
        return F.linear(hidden[:, first:-1], network.lm_head.weight).float()

    def loss_of(what: str, batch: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        scores = logits(what, batch, pixels)
        targets = batch["tokens"][:, 1:].long()
        place = torch.arange(1, targets.shape[1] + 1, device=device)[None]
        wanted = (place >= batch["start"][:, None]) & (place < batch["length"][:, None])
        losses = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
        losses = losses * wanted.flatten()
        return losses.sum() / wanted.sum()

    held_out = {
        what: {
            name: torch.from_numpy(value).to(device)
            for name, value in rows.judge_rows(
                tokenizer, what, HELD_OUT, checked, held_out=True
            ).items()
        }
        for what in rows.QUESTIONS
    }

    def swapped() -> None:
        for weight, average in zip(weights, averaged, strict=True):
            kept = weight.detach().clone()
            weight.data.copy_(average)
            average.copy_(kept)

    def check() -> None:
        """Say how often each question's reply would be right, word by word."""
        swapped()
        parts = []
        for what, batch in held_out.items():
            right, words = [], []
            with torch.no_grad(), _autocast(device):
                for first in range(0, checked, size):
                    part = {name: value[first : first + size] for name, value in batch.items()}
                    scores = logits(what, part, seen(part))
                    targets = part["tokens"][:, 1:].long()
                    place = torch.arange(1, targets.shape[1] + 1, device=device)[None]
                    wanted = (place >= part["start"][:, None]) & (place < part["length"][:, None])
                    hit = (scores.argmax(-1) == targets) | ~wanted
                    right.append(hit.all(-1))
                    words.append(hit.sum() - (~wanted).sum())
            parts.append(f"{what} {torch.cat(right).float().mean():.3f}")
            if what == "score":
                whole, names = torch.cat(right).float(), world.OUTCOMES
                parts += [
                    f"{name} {whole[batch['outcome'] == n].mean():.2f}"
                    for n, name in enumerate(names)
                ]
        swapped()
        say(f"{clock.seconds:.0f} s step {step} " + " ".join(parts))

    def save() -> None:
        values = {
            key: average.bfloat16().contiguous()
            for (key, _), average in zip(named, averaged, strict=True)
        }
        save_file(values, out / "judge.safetensors", metadata={"step": str(step)})

    # seven in ten steps learn to score
    turn = ("score", "score", "done", "score", "score", "look", "score", "score", "better", "score")
    checks, losses = [clock.seconds + 25 + 45 * n for n in range(100)], []
    while not clock.over:
        what = turn[step % len(turn)]
        batch = pools[what].batch(size)
        pixels = seen(batch)
        with _autocast(device):
            loss = loss_of(what, batch, pixels)
        loss.backward()
        optimizer.step(rate * clock.rate(step))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - min(EMA, (step + 1) / (step + 10)))
        step += 1
        if what == "score":
            losses.append(loss.detach())
        if clock.seconds > checks[0]:
            checks.pop(0)
            counts = [pool.refresh() for pool in pools.values()]
            say(f"loss {torch.stack(losses).mean().item():.4f} rows {counts}")
            losses.clear()
            check()
    check()
    save()
    torch.save(
        {
            "weights": network.state_dict(),
            "optimizer": optimizer.state(),
            "averaged": averaged,
            "step": step,
            "seconds": clock.seconds,
        },
        known,
    )


def _log(path: Path) -> Callable[[str], None]:
    """Return what adds a line to a file and shows it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def say(line: str) -> None:
        lines.append(line)
        print(path.stem, line, flush=True)
        records.write_text(path, "\n".join(lines) + "\n")

    return say
