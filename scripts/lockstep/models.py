"""Models on disk or on a hub: which weights these are, without loading them."""

import hashlib
from functools import cache
from pathlib import Path

from lockstep.config import is_folder

WHOLE_FILE = 64 * 2**20
"""Files up to this many bytes are hashed whole."""

BLOCKS = 256
"""Evenly spaced blocks hashed of a larger file."""

BLOCK = 16 * 2**10
"""Bytes of a block."""


def model_identity(model: str, revision: str | None) -> dict[str, str | None]:
    """Return what names a model's weights in a key.

    A hub id is named by itself and its revision, a folder by a fingerprint of its files, so that a
    copy elsewhere is the same model and new weights at the same place are another.
    """
    if is_folder(model):
        return {"fingerprint": _fingerprint(str(Path(model).expanduser()))}
    return {"model": model, "revision": revision}


@cache
def _fingerprint(folder: str) -> str:
    """Hash the names, sizes and contents of a folder's files; of large files a sample.

    256 blocks spread over a weights file tell two checkpoints apart, because training moves all
    weights; hashing 58 GB whole would cost each job a minute.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{relative}\0{size}\0".encode())
        with open(path, "rb") as file:
            if size <= WHOLE_FILE:
                digest.update(file.read())
                continue
            for block in range(BLOCKS):
                file.seek((size - BLOCK) * block // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()
