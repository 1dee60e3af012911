"""Weights from files to a GPU, by torch alone: while what runs them is still being imported.

What diffusers and transformers read one tensor after another through pageable memory comes here in
large pieces, by several threads, through pinned memory (fastsafetensors).
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from lockstep.errors import ConfigError
from lockstep.models import weights

log = logging.getLogger(__name__)

PIECE = 4 * 2**30
"""Bytes of a file that are read at a time; the device needs room for two of them."""

Tensors = dict[str, torch.Tensor]

PIPELINES = {"QwenImageEditPipeline", "QwenImageEditPlusPipeline"}
"""Pipelines of whose parts it is known that their weights are taken as they are read here."""

_begun: dict[Path, "Future[Tensors]"] = {}
"""Weights of parts that are being read ahead, by the parts' folders."""


@contextmanager
def ahead(model: str, dtype: torch.dtype, torch_device: str) -> Iterator[None]:
    """Read the weights of a model's parts during the block, one part after the other.

    What cannot be read is left to `tensors`, which says why.
    """
    folder = Path(model)
    try:
        index = weights.read_object(folder / "model_index.json") if folder.is_dir() else {}
        known = torch_device == "cuda" and index.get("_class_name") in PIPELINES
        parts = [name for name in index if known and weights.weight_files(folder / name)]
        for name in parts:
            weights.check_part(folder / name)
    except (ConfigError, OSError):
        parts = []
    with ThreadPoolExecutor(1) as pool:
        for name in parts:
            files = weights.weight_files(folder / name)
            _begun[folder / name] = pool.submit(_read, files, dtype)
        try:
            yield
        finally:
            # what was not asked for is let go
            _begun.clear()
            pool.shutdown(wait=False, cancel_futures=True)


def tensors(folder: Path, files: list[Path], dtype: torch.dtype) -> Tensors:
    """Return all tensors of a part's safetensors files on the GPU; floating ones in a format."""
    begun = _begun.pop(folder, None)
    return _read(files, dtype) if begun is None else begun.result()


def _read(files: list[Path], dtype: torch.dtype) -> Tensors:
    # several processes and jobs read the same files: through the page cache
    os.environ.setdefault("FASTSAFETENSORS_ODIRECT", "0")
    from fastsafetensors import ParallelLoader

    loader = ParallelLoader(
        None,
        [str(path) for path in files],
        device="cuda:0",
        nogds=True,
        use_tqdm_on_load=False,
        max_batch_bytes=PIECE,
    )
    found = {}
    for name, tensor in loader.iterate_weights():
        found[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    loader.close()
    return found
