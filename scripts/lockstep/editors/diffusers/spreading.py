"""A pipeline on several GPUs: the denoiser on the others, all the rest on the first.

A denoiser that fits one GPU lies there whole; a larger one is laid over several, layer by layer.
Inputs are handed to where a layer is, so each product is that of a single GPU.
"""

import logging
from pathlib import Path
from typing import Any

import accelerate
import torch

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers.pipelines import DENOISERS, Pipeline, denoiser_name
from lockstep.errors import ConfigError
from lockstep.models import weights

log = logging.getLogger(__name__)

BESIDE = 6 * 2**30
"""Bytes of each GPU that are left for what is computed."""

Places = dict[str, Any]
"""Devices of a model's modules, by their names; one for all is named by an empty name."""


def places(settings: DiffusersSettings, folder: Path, denoiser: torch.nn.Module) -> Places:
    """Return where the modules of a denoiser go.

    Args:
        folder: of the pipeline.
        denoiser: without weights.

    Raises:
        ConfigError: if the GPUs have too little memory.
    """
    sizes = {part.name: _size(part) for part in folder.iterdir() if part.is_dir()}
    size = sum(sizes.pop(name, 0) for name in DENOISERS)
    free = [torch.cuda.mem_get_info(k)[0] - BESIDE for k in range(settings.together)]
    free[0] -= sum(sizes.values())
    if free[0] < 0:
        raise _too_little(settings, f"{sum(sizes.values()) / 1e9:.0f} GB beside the denoiser")
    found: Places = {}
    for number, room in enumerate(free[1:], start=1):
        if size <= room:
            found = {"": number}
            break
    else:
        whole = list(getattr(denoiser, "_no_split_modules", None) or [])
        dtype = getattr(torch, settings.dtype)
        found = accelerate.infer_auto_device_map(denoiser, dict(enumerate(free)), whole, dtype)
        if not all(isinstance(place, int) for place in found.values()):
            raise _too_little(settings, f"a denoiser of {size / 1e9:.0f} GB")
    counts = [sum(place == k for place in found.values()) for k in range(settings.together)]
    log.info("the denoiser's modules by GPU: %s", counts)
    return found


def spread(pipeline: Pipeline, settings: DiffusersSettings, places: Places) -> None:
    """Let a loaded denoiser take its inputs to where it is, and its outputs back.

    Raises:
        ConfigError: if the pipeline would compute on another GPU than its first.
    """
    name = str(denoiser_name(pipeline.components))
    accelerate.dispatch_model(getattr(pipeline, name), places, force_hooks=True)
    if pipeline._execution_device.index not in (None, 0):
        raise ConfigError(
            f"editors: {settings.name}: gpus_per_editor: {type(pipeline).__name__} cannot run on "
            "several GPUs; expected 1"
        )


def _size(part: Path) -> int:
    files = weights.weight_files(part)
    return sum(path.stat().st_size for path in files)


def _too_little(settings: DiffusersSettings, found: str) -> ConfigError:
    return ConfigError(
        f"editors: {settings.name}: gpus_per_editor: found {found}, and too little memory for it "
        f"on {settings.together} GPUs; expected more or larger ones"
    )
