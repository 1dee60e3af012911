"""A model's part from its files to a device, as fast as memory and bus allow."""

import logging
import time
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from lockstep.editors.diffusers import reading
from lockstep.models import weights

log = logging.getLogger(__name__)

TOLD = {"ignore_mismatched_sizes": True}
"""Lets transformers say which weights have another shape, where it would only say that some do."""


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
