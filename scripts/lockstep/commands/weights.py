"""Checks of models: whether they are there and whole, and what their weights need."""

import shutil
from pathlib import Path
from typing import NamedTuple

from lockstep.commands.finding import Finding
from lockstep.commands.hardware import size
from lockstep.config.section import is_folder
from lockstep.errors import ConfigError
from lockstep.models import sizes, weights
from lockstep.models.backend import BackendSettings
from lockstep.models.served_settings import ServedSettings


class Weights(NamedTuple):
    """What the weights of one model take."""

    owner: str
    """The editor or judge that has it."""
    bytes: int
    together: int
    """Devices that share it."""
    offloaded: bool
    """Whether it stays in the memory of the host."""


class Model(NamedTuple):
    """What is known of a model before it is loaded."""

    found: Finding
    weights: Weights | None


def offline() -> bool:
    """Tell whether the environment keeps from asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _cache() -> str:
    """Return where downloads go, and how much room there is."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    return f"{cache} ({size(shutil.disk_usage(existing).free)} are free there)"


def model(owner: str, name: str, own: BackendSettings, together: int) -> Model:
    """Return what is known of the model of an editor or judge.

    Args:
        owner: what messages call it.
        name: of the check.
    """
    if own.model_name is None or not own.on_device:
        server = f", {own.model} at {own.url}" if isinstance(own, ServedSettings) else ""
        return Model(Finding("ok", name, f"{owner}: {own.type}{server}"), None)
    called, revision = own.model_name, getattr(own, "revision", None)
    folder = sizes.folder_of(called, revision)
    if folder is None:
        text = f"{owner}: {called} is not downloaded yet; the run downloads it to {_cache()}"
        return Model(Finding("warning", name, text), None)
    dtype = getattr(own, "dtype", None)
    try:
        if not is_folder(called):
            weights.check_model(folder)
        taken = sizes.weight_bytes(folder, dtype) if dtype in sizes.WIDTHS else 0
    except ConfigError as error:
        text = f"{owner}: {called} is downloaded in part ({error})"
        if offline():
            text = f"{text}, and HF_HUB_OFFLINE keeps from asking the hub for the rest; unset it"
            return Model(Finding("error", name, text), None)
        return Model(Finding("warning", name, f"{text}; the run downloads the rest"), None)
    where = "" if is_folder(called) else ", downloaded"
    told = f", {size(taken)} of weights as {dtype}" if taken else ""
    found = Finding("ok", name, f"{owner}: {called}{where}{told}")
    offloaded = getattr(own, "offload", "none") != "none"
    return Model(found, Weights(owner, taken, together, offloaded) if taken else None)
