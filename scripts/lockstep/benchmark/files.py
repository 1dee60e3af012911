"""Images that a benchmark names by path, in a folder or an archive that nothing leads out of."""

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from lockstep.errors import BenchmarkError, SampleError

MAX_FILE = 96 * 2**20
"""Bytes of one image file."""

MAX_MEMBERS = 1_000_000
"""Files of one archive."""

MAX_HEADER = 2**20
"""Bytes of one header in a tar."""

ACCEPTED = "accepted is a relative path without '..'"


class Files(Protocol):
    def read(self, name: str) -> bytes:
        """Return the contents of a file.

        Raises:
            SampleError: if there is none, or its path leads elsewhere.
        """


def open_files(path: Path) -> Files:
    """Return the files of a folder, or of a tar or zip archive.

    Raises:
        BenchmarkError: if it is neither.
    """
    if Path(path).is_dir():
        return Folder(Path(path))
    return _archive(Path(path))


def safe_path(name: str) -> PurePosixPath:
    """Return a path that a benchmark gives, with either kind of slash.

    Raises:
        SampleError: if it is absolute, climbs, or names a drive.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    drive = bool(pure.parts) and ":" in pure.parts[0]
    if pure.is_absolute() or ".." in pure.parts or drive or not pure.name or "\0" in name:
        raise SampleError(f"found path {name[:100]!r}, {ACCEPTED}")
    return pure


def table_files(path: Path) -> list[Path]:
    """Return the files of a table, in order: itself, or those in a folder."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    for pattern in ("*.parquet", "data/*.parquet", "data-*.arrow", "*/data-*.arrow"):
        if found := sorted(path.glob(pattern)):
            return found
    return []


class Folder:
    """Files below a folder.

    Links inside it may only lead to files inside it, or to where a snapshot of a model hub keeps
    its files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        base = root.resolve()
        self._bases = [base]
        self._bases += [p.parent / "blobs" for p in base.parents if p.name == "snapshots"]

    def read(self, name: str) -> bytes:
        path = self._root / safe_path(name)
        try:
            real = path.resolve(strict=True)
            if not any(real.is_relative_to(base) for base in self._bases):
                raise SampleError(
                    f"found {name[:100]!r}, a link that leads out of its folder, "
                    "accepted is a file in it"
                )
            # nothing that would make the reader wait, such as a pipe
            handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK)
            with open(handle, "rb") as file:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise SampleError(f"found {name[:100]!r}, which is no file")
                return _read_all(file.read, status.st_size, name)
        except SampleError:
            raise
        except (OSError, ValueError, RuntimeError):
            raise SampleError(f"found no file {name[:100]!r} in {self._root}") from None


class Archive:
    """Files of an archive, found by their whole path or by its end."""

    def __init__(self, path: Path, members: dict[str, Callable[[], bytes]]) -> None:
        self._path = path
        self._members = members
        self._ends: dict[str, list[str]] = {}
        for name in members:
            self._ends.setdefault(PurePosixPath(name).name, []).append(name)

    def read(self, name: str) -> bytes:
        wanted = str(safe_path(name))
        found = [wanted] if wanted in self._members else []
        found = found or [
            member
            for member in self._ends.get(PurePosixPath(wanted).name, ())
            if member.endswith(f"/{wanted}")
        ]
        if len(found) != 1:
            several = f"{len(found)} files" if found else "no file"
            raise SampleError(f"found {several} {name[:100]!r} in {self._path}, accepted is one")
        return self._members[found[0]]()


def _read_all(read: Callable[[int], bytes], size: int, name: str) -> bytes:
    if size > MAX_FILE:
        raise SampleError(
            f"found {size:,} bytes in {name[:100]!r}, accepted are up to {MAX_FILE:,}"
        )
    data = read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise SampleError(f"found more than {MAX_FILE:,} bytes in {name[:100]!r}")
    return data


@cache
def _archive(path: Path) -> Archive:
    try:
        if zipfile.is_zipfile(path):
            return _zip(path)
        return _tar(path)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        raise BenchmarkError(
            f"{path}: found no folder and no archive ({error}), accepted is a folder, "
            "a tar that is not compressed, or a zip"
        ) from None


def _zip(path: Path) -> Archive:
    archive = zipfile.ZipFile(path)
    infos = archive.infolist()
    _check_count(path, len(infos))

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                with archive.open(info) as file:
                    return _read_all(file.read, info.file_size, info.filename)
            except SampleError:
                raise
            # zipfile and zlib raise many kinds on broken data
            except Exception as error:
                raise SampleError(
                    f"found a broken file {info.filename[:100]!r} in {path} ({error})"
                ) from None

        return read

    return Archive(path, {i.filename: reader(i) for i in infos if _regular(i)})


def _regular(info: zipfile.ZipInfo) -> bool:
    """Tell whether a member of a zip is a file, not a folder or a link."""
    mode = info.external_attr >> 16
    return not info.is_dir() and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def _tar(path: Path) -> Archive:
    file = open(path, "rb")  # noqa: SIM115 — as long as the process
    members: dict[str, Callable[[], bytes]] = {}

    def reader(name: str, place: int, size: int) -> Callable[[], bytes]:
        def read() -> bytes:
            file.seek(place)
            data = _read_all(lambda most: file.read(min(most, size)), size, name)
            if len(data) < size:
                raise SampleError(f"found {name[:100]!r} cut off in {path}")
            return data

        return read

    # "r:" takes no compression, so that any member is found without reading all before it
    with _Headers(path) as headers, tarfile.open(fileobj=headers, mode="r:") as archive:
        for member in archive:
            _check_count(path, len(members))
            if member.isreg() and member.sparse is None:
                name = member.name.removeprefix("./")
                members[name] = reader(name, member.offset_data, member.size)
            # what it keeps of each member is not needed
            archive.members.clear()
    return Archive(path, members)


class _Headers(io.FileIO):
    """An archive of which only headers are read, and none that is huge."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError("a header that is too large")
        return super().read(size)


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise BenchmarkError(f"{path}: found more than {MAX_MEMBERS:,} files in it")
