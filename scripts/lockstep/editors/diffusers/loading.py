"""A model's part from its files to a device, as fast as memory and bus allow."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import torch
import transformers

from lockstep.editors.diffusers import DiffusersSettings, reading
from lockstep.editors.diffusers.pipelines import DENOISERS, QWEN_IMAGE_EDIT
from lockstep.errors import ConfigError, one_sentence
from lockstep.models import weights

log = logging.getLogger(__name__)

TOLD = {"ignore_mismatched_sizes": True}
"""Lets transformers say which weights have another shape, where it would only say that some do."""


def load_parts(
    settings: DiffusersSettings,
    kind: type[Any],
    found: Mapping[str, tuple[type[torch.nn.Module], Path]],
    torch_device: str,
    places: dict[str, Any] | None = None,
) -> dict[str, torch.nn.Module]:
    """Load a pipeline's parts one by one, so that each can say whether its weights were all there.

    Args:
        kind: class of the pipeline.
        found: class and folder of each part with weights.
        places: devices of the denoiser's modules, if it is on others than the rest.

    Raises:
        ConfigError: if weights are missing, which would leave them random, or not all are taken.
    """
    dtype, parts = getattr(torch, settings.dtype), {}
    for name, (part, folder) in found.items():
        where = f"editors: {settings.name}: {folder}"
        try:
            _check_quantised(settings, kind, name, folder)
            own = places if name in DENOISERS else None
            parts[name], info = load_part(part, folder, dtype, torch_device, own)
        except torch.AcceleratorError:
            raise
        except ConfigError as error:
            raise ConfigError(f"editors: {settings.name}: {error}") from None
        except RuntimeError as error:
            raise ConfigError(f"{where}: cannot load it ({one_sentence(error)})") from None
        weights.check_taken(where, parts[name], info)
    return parts


def load_part(
    kind: type[Any],
    folder: Path,
    dtype: torch.dtype,
    torch_device: str,
    places: dict[str, Any] | None = None,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Load one part of a pipeline, and say which weights its files lacked or had too many.

    Args:
        kind: class of diffusers or transformers.
        torch_device: cpu or cuda.
        places: devices of its modules, where they are not all on the first one.

    Returns:
        The part, and what `from_pretrained` gives for `output_loading_info`.

    Raises:
        ConfigError: if a file is not whole, or holds weights that nothing says how to read.
    """
    began = time.monotonic()
    weights.check_part(folder)
    files = weights.weight_files(folder)
    part: torch.nn.Module | None = None
    info: dict[str, Any] = {}
    # some classes keep modules in float32, and some weights are quantised: only their own way of
    # loading knows how
    own_way = getattr(kind, "_keep_in_fp32_modules", None) or weights.is_quantised(folder)
    if torch_device == "cuda" and files and not own_way and not places:
        load = _load_transformers if issubclass(kind, transformers.PreTrainedModel) else _load
        part, info = load(kind, folder, reading.tensors(folder, files, dtype), dtype)
    if part is None or any(info.values()):
        # files of older versions name their weights otherwise, which this way understands
        part, info = kind.from_pretrained(
            folder,
            dtype=dtype,
            device_map=places or ("cuda" if torch_device == "cuda" else None),
            output_loading_info=True,
            **TOLD if issubclass(kind, transformers.PreTrainedModel) else {},
        )
    size = sum(p.numel() * p.element_size() for p in part.parameters())
    log.info("%s: %.1f GB in %.2f s", folder.name, size / 1e9, time.monotonic() - began)
    return part, info


def _load_transformers(
    kind: type[Any],
    folder: Path,
    tensors: dict[str, torch.Tensor],
    dtype: torch.dtype,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    return kind.from_pretrained(
        None,
        config=kind.config_class.from_pretrained(folder),
        state_dict=tensors,
        dtype=dtype,
        device_map="cuda",
        output_loading_info=True,
        **TOLD,
    )


def _load(
    kind: type[Any],
    folder: Path,
    tensors: dict[str, torch.Tensor],
    dtype: torch.dtype,
) -> tuple[torch.nn.Module | None, dict[str, Any]]:
    before = torch.get_default_dtype()
    # for what is computed and not read
    torch.set_default_dtype(dtype)
    try:
        with accelerate.init_empty_weights(include_buffers=False):
            part = kind.from_config(kind.load_config(folder))
    finally:
        torch.set_default_dtype(before)
    expected = {name: value.shape for name, value in part.state_dict().items()}
    if {name: value.shape for name, value in tensors.items()} != expected:
        return None, {}
    part.load_state_dict(tensors, assign=True)
    info = dict.fromkeys(("missing_keys", "mismatched_keys", "unexpected_keys"), ())
    return part.to("cuda").eval(), info


def part_class(value: object) -> type[torch.nn.Module] | None:
    """Return the class of a part that has weights, from its line in model_index.json.

    None of what diffusers is left to load: parts without weights, and names that transformers no
    longer has, for which diffusers knows the new ones.
    """
    if not isinstance(value, list) or not isinstance(value[0], str):
        return None
    libraries = {"diffusers": diffusers, "transformers": transformers}
    # a class of a pipeline's own is named with the pipeline's module
    library = libraries.get(value[0]) or getattr(diffusers.pipelines, value[0], None)
    kind = getattr(library, value[1], None)
    return kind if isinstance(kind, type) and issubclass(kind, torch.nn.Module) else None


def _check_quantised(settings: DiffusersSettings, kind: type[Any], name: str, part: Path) -> None:
    """Refuse a quantised denoiser where code of ours reads or changes its weights."""
    ours = issubclass(kind, QWEN_IMAGE_EDIT) and settings.optimized
    if name in DENOISERS and (ours or settings.adapters) and weights.is_quantised(part):
        given = "adapters" if settings.adapters else "optimize: true"
        raise ConfigError(
            f"{part}: found quantised weights with {given}; expected weights that are not quantised"
        )
