"""A base model in memory that becomes one checkpoint of a training run after another.

What adapters change is kept as it was loaded, in host memory, and copied back before the next ones
are added: a sum in floating point cannot be taken back by a difference. Weights stay where they
are, so that what was made of them before, such as views of several side by side, holds.
"""

from collections.abc import Sequence

import torch

from lockstep.editors.diffusers import DiffusersSettings, adapters, modular
from lockstep.editors.diffusers.pipelines import Pipeline, denoiser_name

Kept = dict[str, torch.Tensor]
"""Weights as they were loaded, by the name of their layer in the denoiser."""


def keep(pipeline: Pipeline, checked: Sequence[adapters.Checked], kept: Kept) -> None:
    """Keep what adapters will change, as far as it is not kept yet."""
    denoiser = _denoiser(pipeline)
    for name in (name for adapter in checked for name in adapter.layers):
        if name not in kept:
            weight = denoiser.get_submodule(name).weight
            kept[name] = weight.detach().to("cpu", copy=True)  # type: ignore[operator]


@torch.no_grad()
def take(pipeline: Pipeline, settings: DiffusersSettings, kept: Kept) -> None:
    """Replace the adapters of a pipeline by those of its settings.

    Raises:
        ConfigError: if one does not fit; the pipeline is not to be used then.
    """
    index = pipeline.config
    if modular.is_modular(settings):
        index = modular.read_index(settings.model, settings.components)
    checked = adapters.check(settings, type(pipeline), index)
    restore(pipeline, kept)
    keep(pipeline, checked, kept)
    adapters.fuse(pipeline, settings, checked)


@torch.no_grad()
def restore(pipeline: Pipeline, kept: Kept) -> None:
    """Make a pipeline's weights what they were when it was loaded, in their places."""
    denoiser = _denoiser(pipeline)
    for name, weight in kept.items():
        denoiser.get_submodule(name).weight.copy_(weight)  # type: ignore[operator]


def _denoiser(pipeline: Pipeline) -> torch.nn.Module:
    found: torch.nn.Module = getattr(pipeline, str(denoiser_name(pipeline.components)))
    return found
