"""Training of the miniature's judge."""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from lockstep.demo import world
from miniature import asking, drawing, models, passes, rows
from miniature.measure import HELD_OUT
from miniature.training import Averaged, Clock, Optimizer, Pool, autocast, compiled, log


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
    from safetensors.torch import load_file

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    out.mkdir(parents=True, exist_ok=True)
    say = log(out / "judge.log")
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
    optimizer, averaged = Optimizer(named, muon=0.02, adam=2e-3), Averaged(named)
    step, seconds = 0, 0.0
    known, earlier = folder / "judge.pt", folder / "judge.safetensors"
    if earlier.exists():
        network.load_state_dict(load_file(earlier), strict=False)
        averaged = Averaged(named)
    if known.exists():
        state = torch.load(known, map_location=device)
        network.load_state_dict(state["weights"])
        optimizer.load(state["optimizer"])
        averaged.values, step, seconds = state["averaged"], state["step"], state["seconds"]
        torch.manual_seed(step)
    if device == "cuda":
        torch._dynamo.config.cache_size_limit = 64
        for layer in network.model.language_model.layers:
            layer.compile(dynamic=False)
        for reader in readers.values():
            reader.tower = compiled(reader.tower.__call__, device)
    draw = partial(drawing.draw, paint=compiled(drawing.paint_over, device))
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

    def wanted_of(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each next token, and which of them belong to the reply."""
        targets = batch["tokens"][:, 1:].long()
        place = torch.arange(1, targets.shape[1] + 1, device=device)[None]
        return targets, (place >= batch["start"][:, None]) & (place < batch["length"][:, None])

    def loss_of(what: str, batch: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
        scores = logits(what, batch, pixels)
        targets, wanted = wanted_of(batch)
        targets = targets.masked_fill(~wanted, -100)
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten())

    held_out = {
        what: {
            name: torch.from_numpy(value).to(device)
            for name, value in rows.judge_rows(
                tokenizer, what, HELD_OUT, checked, held_out=True
            ).items()
        }
        for what in rows.QUESTIONS
    }

    def check() -> None:
        """Say how often each question's reply would be right, word by word."""
        parts = []
        for what, batch in held_out.items():
            right = []
            with averaged.in_place(), torch.no_grad(), autocast(device):
                for first in range(0, checked, size):
                    part = {name: value[first : first + size] for name, value in batch.items()}
                    scores = logits(what, part, seen(part))
                    targets, wanted = wanted_of(part)
                    right.append(((scores.argmax(-1) == targets) | ~wanted).all(-1))
            parts.append(f"{what} {torch.cat(right).float().mean():.3f}")
            if what == "score":
                whole, names = torch.cat(right).float(), world.OUTCOMES
                parts += [
                    f"{name} {whole[batch['outcome'] == n].mean():.2f}"
                    for n, name in enumerate(names)
                ]
        say(f"{clock.seconds:.0f} s step {step} " + " ".join(parts))

    # seven in ten steps learn to score
    turn = ("score", "score", "done", "score", "score", "look", "score", "score", "better", "score")
    checks, losses = [clock.seconds + 25 + 45 * n for n in range(100)], []
    while not clock.over:
        what = turn[step % len(turn)]
        batch = pools[what].batch(size)
        pixels = seen(batch)
        with autocast(device):
            loss = loss_of(what, batch, pixels)
        loss.backward()
        optimizer.step(rate * clock.rate(step))
        averaged.follow(step)
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
    averaged.save(out / "judge.safetensors", step)
    torch.save(
        {
            "weights": network.state_dict(),
            "optimizer": optimizer.state(),
            "averaged": averaged.values,
            "step": step,
            "seconds": clock.seconds,
        },
        known,
    )
