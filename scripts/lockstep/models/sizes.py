"""How much memory a model's weights need, by the headers of their files."""

import math
from pathlib import Path

from lockstep.config.section import is_folder
from lockstep.models.weights import FULL, PICKLED, read_header, read_object, weight_files

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by its format in a configuration."""

INDEX = "model_index.json"


def folder_of(model: str, revision: str | None) -> Path | None:
    """Return a model's folder, which may lie in the hub's cache on this host; None of no such."""
    if is_folder(model):
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    for name in (INDEX, "config.json"):
        known = try_to_load_from_cache(model, name, revision=revision)
        if isinstance(known, str):
            return Path(known).parent
    return None


def weight_bytes(folder: Path, dtype: str) -> int:
    """Return the bytes of a model's weights in memory; 0 where no file of them is there.

    Args:
        folder: of a diffusers pipeline or a transformers model.
        dtype: of the configuration; numbers that are not quantised are read as such.

    Raises:
        ConfigError: if a file is not whole.
    """
    return sum(_of_part(part, WIDTHS[dtype]) for part in _parts(folder))


def _parts(folder: Path) -> list[Path]:
    if not (folder / INDEX).exists():
        return [folder]
    named = read_object(folder / INDEX)
    parts = (folder / name for name, value in named.items() if isinstance(value, list))
    return [part for part in parts if part.is_dir()]


def _of_part(folder: Path, width: int) -> int:
    found = 0
    files = weight_files(folder)
    for path in files:
        for tensor in read_header(path).values():
            first, last = tensor.data_offsets
            plain = tensor.dtype in FULL
            found += math.prod(tensor.shape) * width if plain else last - first
    if not files:
        found = sum((folder / name).stat().st_size for name in PICKLED if (folder / name).exists())
    return found
