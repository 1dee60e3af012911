"""Training of the miniature on one GPU, in pieces that go on where the last one ended."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lockstep import records
from miniature import rows

EMA = 0.999
"""Share of the averaged weights that a step keeps."""


class Optimizer:
    """Muon (Jordan 2024) for matrices, many of one shape at a time, and AdamW for all else.

    Args:
        named: parameters by name; embeddings and outputs are no matrices to Muon.
    """

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], muon: float, adam: float):
        self.muon = muon
        self.groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
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
        for others in self.adam.param_groups:
            others["lr"] = self.rate * share
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


class Averaged:
    """Running means of a model's weights, which are checked and saved instead of them.

    Args:
        named: parameters by name.
    """

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]]) -> None:
        self.names, self.weights = zip(*named, strict=True)
        self.values = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after a step; early ones are soon forgotten."""
        share = 1 - min(EMA, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.values, list(self.weights), share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the means instead of its weights."""
        self._swap()
        yield
        self._swap()

    def _swap(self) -> None:
        for weight, average in zip(self.weights, self.values, strict=True):
            kept = weight.detach().clone()
            weight.data.copy_(average)
            average.copy_(kept)

    def save(self, path: Path, step: int) -> None:
        """Write the means in bfloat16."""
        named = zip(self.names, self.values, strict=True)
        values = {name: average.bfloat16().contiguous() for name, average in named}
        save_file(values, path, metadata={"step": str(step)})


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


def compiled(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False) if device == "cuda" else function


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def log(path: Path) -> Callable[[str], None]:
    """Return what adds a line to a file and shows it."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def say(line: str) -> None:
        lines.append(line)
        print(path.stem, line, flush=True)
        records.write_text(path, "\n".join(lines) + "\n")

    return say
