"""What every backend, an editor or a judge, says of itself without being loaded."""

import os
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from lockstep.config.section import Section, is_folder
from lockstep.errors import ConfigError
from lockstep.models.fingerprints import check_unchanged, file_sha256, model_files, state_of


class Lacking(NamedTuple):
    """Something that a backend needs and that is not there."""

    field: str
    """Of its settings."""
    sentence: str
    """What was found and what was expected."""


class HubFile(NamedTuple):
    """A file that a model or adapter named by a hub id must have."""

    field: str
    """Of the settings that name it."""
    id: str
    revision: str | None
    file: str


class Usage(NamedTuple):
    """Tokens that one or more requests took."""

    prompt_tokens: int
    reply_tokens: int


class BackendSettings(Section):
    """What all editors and judges share. A subclass has a field `type`, a literal, by which it is
    found, and imports what it runs on in `load` alone: settings are read where no model is.
    """

    type: str
    on_device: ClassVar[bool] = False
    """Whether it has a model, which runs on the job's own devices."""
    served: ClassVar[bool] = False
    """Whether it is behind a server, which several requests may ask at a time."""
    imports: ClassVar[str] = ""
    """Module with what takes long to import, so that a worker can do so before it has a job."""
    neutral: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide no result, so that a change makes nothing again."""
    places: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where files are; `state` says which they are."""

    @property
    def model_name(self) -> str | None:
        """Folder, hub id or name of its model on a server; None without a model."""
        return getattr(self, "model", None)

    @property
    def model_folder(self) -> str | None:
        """Folder of its weights; None of a hub id, and without any."""
        model = self.model_name
        return model if self.on_device and model is not None and is_folder(model) else None

    def moved(self, move: Callable[[str], str]) -> Self:
        """Return the settings with each folder of weights where `move` says that it is now."""
        folder = self.model_folder
        return self if folder is None else self.model_copy(update={"model": move(folder)})

    @classmethod
    def plugin(cls) -> dict[str, str]:
        """Return what names a backend's own code in a key: nothing where it is ours."""
        if cls.__module__.startswith("lockstep."):
            return {}
        return {"plugin": file_sha256(str(sys.modules[cls.__module__].__file__))}

    @property
    def held(self) -> Self:
        """Settings of what stays in memory from job to job; models of equal ones share it."""
        return self

    def take(self, model: Any) -> None:
        """Make a model that was loaded for equal `held` settings the one of these.

        Raises:
            ConfigError: if it cannot become that.
        """

    def files(self) -> dict[str, Path]:
        """Return the files that decide what it gives, by names that no move changes."""
        folder = self.model_folder
        if folder is None or not Path(folder).is_dir():
            return {}
        return {f"model/{path.relative_to(folder)}": path for path in model_files(folder)}

    def state(self) -> list[Any]:
        """Return what changes when its files do, wherever they lie, without reading large ones."""
        return [[name, *state_of(path)] for name, path in self.files().items()]

    def check_unchanged(self) -> None:
        """Refuse files that changed between their hash, which is in keys, and now.

        Raises:
            ConfigError: naming one of them.
        """
        if self.model_folder is not None:
            check_unchanged(self.model_folder)

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        """Yield what it needs on this machine and what is not there or not whole.

        Args:
            made: paths that the workflow makes itself, which need not exist yet.
        """
        yield from ()

    def on_hub(self) -> Iterator[HubFile]:
        """Yield one file of each model and adapter that is named by a hub id."""
        yield from ()


def absent(field: str, path: str, made: Collection[str]) -> Iterator[Lacking]:
    """Yield that a path does not exist, if it does not and nobody makes it."""
    path = os.path.normpath(path)
    if path not in map(os.path.normpath, made) and not os.path.exists(path):
        yield Lacking(field, f"found no file {path!r}")


def broken(
    field: str, check: Any, folder: str, file: str, made: Collection[str]
) -> Iterator[Lacking]:
    """Yield that a model's folder lacks a file, or why `check` refuses it.

    Args:
        check: called with the folder; raises ConfigError.
    """
    path = os.path.normpath(os.path.join(folder, file))
    lacking = list(absent(field, path, made))
    yield from lacking
    # one that is made now may be half there
    if not lacking and path not in map(os.path.normpath, made):
        try:
            check(folder)
        except ConfigError as error:
            yield Lacking(field, str(error))


def without_files(field: str, folder: str, suffixes: tuple[str, ...]) -> Iterator[Lacking]:
    """Yield that a folder holds no file of some kinds; it would only fail each sample."""
    try:
        with os.scandir(folder) as entries:
            if any(entry.name.lower().endswith(suffixes) for entry in entries):
                return
        kinds = f" ending in {', '.join(suffixes)}" if any(suffixes) else ""
        found = f"no file{kinds} in {folder!r}"
    except OSError as error:
        found = f"{folder!r}, which is no folder that can be read ({error.strerror})"
    yield Lacking(field, f"found {found}, expected a folder with one for each sample")
