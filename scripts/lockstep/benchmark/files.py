"""Images that a benchmark names by path, in a folder or an archive that nothing leads out of."""

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from lockstep.errors import BenchmarkError, SampleError
from lockstep.foreign.files import MAX_FILE, read_file, same_path, spelled
from lockstep.foreign.ids import same_id

ANNOTATION = "annotation.json"
"""File in each folder of a KRIS benchmark."""

MAX_MEMBERS = 1_000_000
"""Files of one archive."""

MAX_HEADER = 2**20
"""Bytes of one header in a tar."""

TABLES = (
    ("*", ".parquet"),
    ("data/*", ".parquet"),
    ("data-*", ".arrow"),
    ("*/data-*", ".arrow"),
)
"""Where the files of a table are in a folder, and how their names end."""


class Files(Protocol):
    def read(self, name: str) -> bytes:
        """Return the contents of a file.

        Raises:
            SampleError: if there is none, or its path leads elsewhere.
        """

    def state(self, name: str) -> list[Any] | None:
        """Return a file's path, and its size and time where it is there; None in an archive.

        Raises:
            SampleError: if its path leads elsewhere.
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
        raise SampleError(f"expected a relative path without '..', found {name[:100]!r}")
    return pure


def table_files(path: Path) -> list[Path]:
    """Return the files of a table, in order: itself, or those in a folder."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    for pattern, suffix in TABLES:
        if found := sorted(p for p in path.glob(pattern) if p.suffix.lower() == suffix):
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
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._last: tuple[str, Path] | None = None

    def read(self, name: str) -> bytes:
        try:
            return read_file(self._found(name), name)
        except (OSError, ValueError):
            raise self._lacking(name) from None

    def state(self, name: str) -> list[Any]:
        try:
            real = self._found(name)
            found = os.stat(real)
        except (SampleError, OSError, ValueError):
            return [str(safe_path(name))]
        return [os.path.relpath(real, self._root), found.st_size, found.st_mtime_ns]

    def _found(self, name: str) -> Path:
        """Return where a file is; that of the last name that was asked for is known."""
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        pure = safe_path(name)
        try:
            try:
                real = (self._root / pure).resolve(strict=True)
            except FileNotFoundError:
                real = self._alike(pure).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise self._lacking(name) from None
        if not any(real.is_relative_to(base) for base in self._bases):
            raise SampleError(
                f"expected a file in its folder, found {name[:100]!r}, a link that leads out of it"
            )
        self._last = name, real
        return real

    def _lacking(self, name: str) -> SampleError:
        return SampleError(f"found no file {name[:100]!r} in {self._root}")

    def _alike(self, pure: PurePosixPath) -> Path:
        """Return the one path whose names may be mixed up with those of another path.

        Raises:
            SampleError: if there are several.
            FileNotFoundError: if there is none.
        """
        here = self._root
        for part in pure.parts:
            names = [part] if (here / part).exists() else self._listed(here).get(same_id(part), [])
            if not names:
                raise FileNotFoundError
            _check_one(names, pure, here)
            here /= names[0]
        return here

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            found = self._names[folder] = {}
            for name in sorted(os.listdir(folder)):
                found.setdefault(same_id(spelled(os.fsencode(name))), []).append(name)
        return self._names[folder]


class Archive:
    """Files of an archive, found by their whole path or by its end.

    Args:
        members: reads each, by its name.
        encoding: of names that the archive does not say to be UTF-8.
    """

    def __init__(
        self, path: Path, members: dict[str, Callable[[], bytes]], encoding: str = "utf-8"
    ) -> None:
        self._path = path
        self._members = members
        self._encoding = encoding
        self._ends: dict[str, list[str]] = {}
        for name in members:
            self._ends.setdefault(PurePosixPath(name).name, []).append(name)

    def state(self, name: str) -> None:
        # the archive itself is a file of the benchmark
        return None

    def read(self, name: str) -> bytes:
        pure = safe_path(name)
        found = [str(pure)] if str(pure) in self._members else []
        found = found or [
            member for member in self._ends.get(pure.name, ()) if member.endswith(f"/{pure}")
        ]
        found = found or self._alike(same_path(pure))
        if not found:
            raise SampleError(f"found no file {name[:100]!r} in {self._path}")
        _check_one(found, pure, self._path)
        return self._members[found[0]]()

    def _alike(self, path: tuple[str, ...]) -> list[str]:
        """Return the members whose path, or its end, may be mixed up with another one."""
        listed = self._alike_ends.get(path[-1], [])
        whole = {member for other, member in listed if other == path}
        return sorted(whole or {member for other, member in listed if other[-len(path) :] == path})

    @cached_property
    def _alike_ends(self) -> dict[str, list[tuple[tuple[str, ...], str]]]:
        """Members by the last part of their path, as `same_path` has it, in either reading."""
        found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for member in self._members:
            readings = {member.encode(errors="replace").decode()}
            with suppress(UnicodeEncodeError):
                readings.add(spelled(member.encode(self._encoding, errors="surrogateescape")))
            for reading in readings:
                if path := same_path(reading.replace("\\", "/")):
                    found.setdefault(path[-1], []).append((path, member))
        return found


def _check_one(found: Sequence[str], wanted: PurePosixPath, place: Path) -> None:
    if len(found) > 1:
        listed = " and ".join(repr(name[-100:]) for name in found[:3])
        raise SampleError(f"expected one file {str(wanted)[:100]!r} in {place}, found {listed}")


def _read_all(read: Callable[[int], bytes], size: int, name: str) -> bytes:
    if size > MAX_FILE:
        raise SampleError(f"expected up to {MAX_FILE:,} bytes in {name[:100]!r}, found {size:,}")
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
            f"{path}: expected a folder, a tar that is not compressed, or a zip, found no folder "
            f"and no archive ({error})"
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

    members = {info.filename: reader(info) for info in infos if _regular(info)}
    return Archive(path, members, "cp437")


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
            archive.members.clear()  # type: ignore[attr-defined]
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
