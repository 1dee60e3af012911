"""The only place that writes files.

Every write goes to a temporary file in the same folder and takes its final name by `os.replace`: a
kill at any moment leaves the old file or the new one.
"""

import errno
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from PIL import Image, PngImagePlugin

from lockstep.errors import ConfigError, DamagedError
from lockstep.foreign import media
from lockstep.records.hashes import canonical_json, pixels_sha256

PROVENANCE = "lockstep"
"""Name of the PNG text chunk that holds an edit's provenance as JSON."""

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""Last chunk of every complete PNG; Pillow does not look for it."""

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""Names of files that are being written."""


def below(folder: Path, name: str | None) -> Path:
    """Return a path that a record names, below the folder that it is relative to.

    Raises:
        DamagedError: if it leads out of that folder, or there is none.
    """
    parts = Path(name or "").parts
    if name is None or not parts or Path(name).is_absolute() or ".." in parts:
        raise DamagedError(f"{folder}: expected a path below it in a record, found {name!r:.60}")
    return folder / name


@contextmanager
def atomic(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` when the block ends without an exception.

    Args:
        durable: whether it must outlive a power loss; what only living processes read need not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name that nobody can foresee, and no link that leads elsewhere
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with open(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what kills have left of unfinished files; nobody may be writing there."""
    for root, _, names in os.walk(folder):
        for name in names:
            if TEMPORARY.fullmatch(name):
                os.unlink(os.path.join(root, name))


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    with atomic(path, durable) as file:
        file.write(data)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder and what its links lead to; the copy is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.tmp")
    # what a kill left behind
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync() -> None:
    """Make all that was written outlive a power loss; of many files faster than one by one."""
    os.sync()


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except RecursionError:
        raise ValueError(f"{path}: found JSON nested too deep") from None


def host_folder() -> Path:
    """Return this user's folder for what concerns this host alone: locks, hashes of large files.

    Raises:
        ConfigError: if there is no room for it, or something else in its place.
    """
    name = f"lockstep-{os.getuid()}"
    folder = Path(os.environ.get("TMPDIR") or "/tmp") / name
    if not os.path.lexists(folder):
        # not always: while a disk is full this is another one, where no lock would be found
        try:
            folder = Path(tempfile.gettempdir()) / name
        except FileNotFoundError as error:
            raise ConfigError(f"TMPDIR: {error.strerror}, expected a folder with room") from None
    return own_folder(folder)


def own_folder(folder: Path) -> Path:
    """Return a folder that this user alone can read and write; it is made where there is none.

    Raises:
        ConfigError: if there is anything else, links included.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        found = "a link" if folder.is_symlink() else (error.strerror or "").lower()
        found = "a file" if error.errno == errno.ENOTDIR and found != "a link" else found
    else:
        status = os.fstat(handle)
        os.close(handle)
        if status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return folder
        found = "a folder that others own or can read"
    raise ConfigError(
        f"{folder}: expected a folder of this user alone, found {found}; remove it, or set TMPDIR "
        "to a folder of your own"
    )


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write indented JSON; NaN is refused.

    Args:
        durable: as of `atomic`.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    write_bytes(path, f"{media.json(text)}\n".encode(), durable)


def save_edit(path: Path, image: Image.Image, provenance: dict[str, Any]) -> int:
    """Write an edited image as PNG with its provenance and the hash of its pixels inside.

    Returns:
        the file's bytes.

    Higher levels of compression take up to 17 times as long for at most 15% (docs/images.md).
    """
    text = PngImagePlugin.PngInfo()
    known = {"pixels_sha256": pixels_sha256(image), **provenance}
    text.add_itxt(PROVENANCE, canonical_json(known))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, compress_level=1)
    if path.is_dir() and not path.is_symlink():
        # nobody knows whose it is
        path.rename(path.with_name(f"{path.name}.found-{time.time_ns()}"))
    write_bytes(path, data := buffer.getvalue())
    return len(data)


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance of a complete edit, None for anything else.

    The end of the file and the pixels are verified, so that neither a file that was cut off nor one
    whose pixels were replaced is taken for an edit.
    """
    try:
        with open(path, "rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            if file.read() != PNG_END:
                return None
        with Image.open(path) as image:
            found = json.loads(image.info[PROVENANCE])
            same = found["pixels_sha256"] == pixels_sha256(image)
        return found if same else None
    except Exception:  # Pillow raises many kinds on what is no image
        return None


def read_key(path: Path) -> str | None:
    """Return the key that an edit's file names, without a look at its pixels; None without one."""
    try:
        with Image.open(path) as image:
            key = json.loads(image.info[PROVENANCE])["key"]
        return key if isinstance(key, str) else None
    except Exception:  # as above
        return None


def file_state(status: os.stat_result) -> tuple[int, int]:
    """Return an image's bytes, and its time in whole seconds, as archives keep it."""
    return status.st_size, int(status.st_mtime)
