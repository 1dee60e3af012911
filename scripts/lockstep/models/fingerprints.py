"""Models on disk or on a hub: which weights and software these are, without loading them."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, update_wrapper
from importlib import metadata
from pathlib import Path
from typing import Generic, TypeVar

import filelock

from lockstep import records
from lockstep.config.section import is_folder
from lockstep.errors import ConfigError

T = TypeVar("T")

SUFFIXES = {".bin", ".jinja", ".json", ".model", ".pt", ".safetensors", ".txt"}
"""Files of a model's folder that decide what it gives; a README does not."""

RANDOM = "RANDOM_WEIGHTS"
"""File in the folder of a model whose weights were never trained."""

MINIATURE = "MINIATURE"
"""File in the folder of a model that has learnt the miniature's drawn world alone."""

LARGE = 64 * 2**20
"""Bytes from which a file's hash is remembered."""

PACKAGES = (
    *("torch", "triton", "flash-attn-4"),
    *("diffusers", "transformers", "accelerate", "peft", "pillow"),
)
"""Software that decides pixels and replies."""


class once(Generic[T]):
    """Have a path read once a process, whatever the working folder is meanwhile."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read, self._known = read, cache(read)
        update_wrapper(self, read)

    def __call__(self, path: str) -> T:
        return self._known(os.path.abspath(path))

    def anew(self, path: str) -> T:
        """Read a path again, and remember nothing of it."""
        return self._read(os.path.abspath(path))

    def cache_clear(self) -> None:
        """Have each path read anew."""
        self._known.cache_clear()


def model_identity(model: str, revision: str | None) -> dict[str, str | None]:
    """Return what names a model's weights in a key.

    A hub id is named by itself and its revision, a folder by a fingerprint of its files, so that a
    copy elsewhere is the same model and new weights at the same place are another.
    """
    if is_folder(model):
        listed = [f"{name}\0{digest}" for name, digest in folder_hashes(model).items()]
        joined = "\0".join(listed).encode(errors="surrogateescape")
        return {"fingerprint": records.sha256(joined)}
    return {"model": model, "revision": revision}


@once
def adapter_sha256(file: str) -> str:
    """Hash an adapter's file once a process."""
    return file_sha256(file)


def model_files(folder: str) -> list[Path]:
    """Return the files of a model's folder that decide what it gives, in order."""
    return sorted(
        path
        for path in _files(folder)
        if path.suffix in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def local_files(model: str, revision: str | None = None) -> list[Path]:
    """Return the files of a model that is a folder, or that the hub's cache on this host has."""
    if not is_folder(model):
        from huggingface_hub import try_to_load_from_cache

        known = try_to_load_from_cache(model, "config.json", revision=revision)
        if not isinstance(known, str):
            known = try_to_load_from_cache(model, "model_index.json", revision=revision)
        if not isinstance(known, str):
            return []
        model = os.path.dirname(known)
    return model_files(model)


def all_files(folder: str) -> dict[str, Path]:
    """Return all files below a folder, by their paths in it."""
    return {os.path.relpath(path, folder): path for path in _files(folder)}


@once
def folder_state(folder: str) -> str:
    """Return what changes when any file of a folder does, without reading them."""
    state = hashlib.sha256()
    for path in _files(folder):
        if known := state_of(path):
            line = "\0".join([os.path.relpath(path, folder), *map(str, known), ""])
            state.update(line.encode(errors="surrogateescape"))
    return state.hexdigest()


def _files(folder: str) -> Iterator[Path]:
    """Yield all files below a folder in order, also of folders that are links, as loading reads."""
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root).resolve()
        # a link to a folder that it lies in has no end
        folders[:] = sorted(
            name for name in folders if not here.is_relative_to(Path(root, name).resolve())
        )
        yield from (Path(root, name) for name in sorted(names))


def files_state(paths: Iterable[str]) -> list[list[int]]:
    """Return what changes when any of some files does, without reading them."""
    return list(map(state_of, paths))


def state_of(path: str | Path) -> list[int]:
    """Return a file's size and time; nothing of what is not to be had."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


@cache
def versions() -> dict[str, str]:
    """Return the versions of the software that decides pixels and replies, where installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@once
def folder_hashes(folder: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a model's folder, by its path in it.

    They are read once a process.
    """
    paths = model_files(folder)
    with ThreadPoolExecutor() as pool:
        names = (str(path.relative_to(folder)) for path in paths)
        return dict(zip(names, pool.map(file_sha256, paths), strict=True))


def check_unchanged(folder: str) -> None:
    """Refuse a model's folder that changed since this process hashed it.

    Raises:
        ConfigError: naming the first file.
    """
    before, now = folder_hashes(folder), folder_hashes.anew(folder)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise changed(os.path.join(folder, name))


def changed(path: str) -> ConfigError:
    """Return the error of a file that is no more what its key was made of."""
    return ConfigError(f"{path} changed during the run, run it again")


def file_sha256(path: str | Path) -> str:
    """Hash a file; that of a large one is remembered on this host until the file changes."""
    path = Path(path)
    state = path.stat()
    if state.st_size < LARGE:
        return records.sha256(path.read_bytes())
    known = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}"
    note = records.host_folder() / f"hash-{records.sha256(known.encode())}"
    # jobs that start together hash it once
    with filelock.FileLock(f"{note}.lock"):
        if note.exists():
            return note.read_text()
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        records.write_text(note, digest)
        return digest


def is_marked(folder: str | Path, marker: str) -> bool:
    """Tell whether a model's folder says of itself what it is: RANDOM or MINIATURE."""
    return Path(folder, marker).exists()
