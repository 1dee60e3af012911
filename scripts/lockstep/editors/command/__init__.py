"""A program in an environment of its own: what a user may say of it (docs/own_editor.md)."""

import os
import shlex
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PositiveInt

from lockstep import records
from lockstep.config.section import PathText, Seconds
from lockstep.devices.device import VISIBLE
from lockstep.editors.protocol import Editor
from lockstep.editors.settings import DeviceEditorSettings
from lockstep.models.backend import Lacking, absent
from lockstep.models.fingerprints import (
    LARGE,
    all_files,
    changed,
    file_sha256,
    once,
    state_of,
)
from lockstep.records import Sample


def _words(command: Any) -> Any:
    """Return a command that is one text as its words."""
    try:
        return shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise ValueError(f"expected words as a shell splits them, found {error}") from None


def _possible(command: tuple[str, ...]) -> tuple[str, ...]:
    if any("\0" in word for word in command):
        raise ValueError("expected words that a program can be given, found a NUL character")
    return command


def _variables(environment: dict[str, str]) -> dict[str, str]:
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"expected names and values of variables, found {name!r}")
    if VISIBLE in environment:
        raise ValueError(f"found {VISIBLE}, which says the device that the program is to use")
    return environment


Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_words, json_schema_input_type=str | tuple[str, ...]),
    AfterValidator(_possible),
]


class CommandSettings(DeviceEditorSettings):
    """A program of yours in its own environment (docs/own_editor.md)."""

    neutral: ClassVar[frozenset[str]] = DeviceEditorSettings.neutral | {
        *("start_timeout", "timeout", "attempts")
    }
    places: ClassVar[frozenset[str]] = frozenset({"command", "depends_on", "folder"})
    elsewhere: ClassVar[bool] = True
    type: Literal["command"]
    command: Words = Field(
        min_length=1,
        description="The program and its arguments: a list, or one text as in a shell.",
    )
    version: str = Field(
        description="Version of the program, part of the key of each edit. Change it when the "
        "program's results change and neither `command` nor `depends_on` does."
    )
    depends_on: tuple[PathText, ...] = Field(
        (), description="Files and folders that decide the results, such as code and weights."
    )
    arguments: dict[str, JsonValue] = Field(
        {}, description="Values that the program gets with each sample."
    )
    environment: Annotated[dict[str, str], AfterValidator(_variables)] = Field(
        {},
        description="Further environment variables. They are written to records, so give no "
        "secrets.",
    )
    folder: PathText = Field(
        ".",
        description="Folder in which the program runs. Paths in `command` and `depends_on` are "
        "relative to it.",
    )
    start_timeout: Seconds = Field(
        600.0, description="Seconds until the program must be ready, with its model loaded."
    )
    timeout: Seconds = Field(600.0, description="Seconds that one edit may take.")
    attempts: PositiveInt = Field(
        2, description="Tries of one sample if the program ends or hangs."
    )

    def identity(self, sample: Sample) -> dict[str, Any]:
        """Name the program by its version, files, arguments, and all its words but the first.

        A word that names a file counts by the file's contents.
        """
        words = [[option, _sha256(path)] if path else option for option, path in self._arguments()]
        return {
            "version": self.version,
            "command": words,
            "depends_on": sorted([os.path.basename(path), _sha256(path)] for path in self._paths()),
            "arguments": self.arguments,
            "environment": self.environment,
        }

    def files(self) -> dict[str, Path]:
        named = {f"command/{n}": path for n, (_, path) in enumerate(self._arguments()) if path}
        found = {name: Path(path) for name, path in named.items()}
        for place, path in enumerate(self._paths()):
            found |= {f"depends_on/{place}/{name}": file for name, file in _deciding(path).items()}
        return found

    def state(self) -> list[Any]:
        # a small file that is touched is the same one
        files = [[name, *_state(path)] for name, path in self.files().items()]
        return [[option for option, _ in self._arguments()], *files]

    def check_unchanged(self) -> None:
        for path in [path for _, path in self._arguments() if path] + self._paths():
            if _sha256(path) != _sha256.anew(path):
                raise changed(path)

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        if not os.path.isdir(self.folder):
            yield Lacking("folder", f"found no folder {self.folder!r}")
        program = self.command[0]
        if "/" in program:
            # without a slash it would be looked for on PATH
            found = shutil.which(os.path.abspath(self._path(program)))
        else:
            found = shutil.which(program, path=self.environment.get("PATH"))
        if found is None:
            where = "an executable file" if "/" in program else "a program on PATH"
            yield Lacking("command", f"expected {where}, found no {program!r}")
        for place, path in enumerate(self._paths()):
            yield from absent(f"depends_on[{place}]", path, made)

    def load(self, torch_device: str) -> Editor:
        from lockstep.editors.command.editor import CommandEditor

        return CommandEditor(self)

    def _arguments(self) -> list[tuple[str, str]]:
        """Return the words of the command but the first, and the path of each that names a file.

        In `--weights=model.safetensors` the file stands after the option.
        """
        found = []
        for word in self.command[1:]:
            option, equals, value = word.rpartition("=")
            if os.path.isfile(path := self._path(word)):
                found.append(("", path))
            elif equals and os.path.isfile(path := self._path(value)):
                found.append((option, path))
            else:
                found.append((word, ""))
        return found

    def _path(self, name: str) -> str:
        return os.path.normpath(os.path.join(self.folder, name))

    def _paths(self) -> list[str]:
        return list(map(self._path, self.depends_on))


def _deciding(path: str) -> dict[str, Path]:
    """Return a file, or those of a folder by their paths in it, but for hidden ones."""
    if not os.path.isdir(path):
        return {"": Path(path)}
    return {
        name: file
        for name, file in all_files(path).items()
        if not any(part.startswith(".") or part == "__pycache__" for part in Path(name).parts)
    }


def _state(path: Path) -> list[Any]:
    known = state_of(path)
    return [file_sha256(path)] if known and known[0] < LARGE else known


@once
def _sha256(path: str) -> str:
    """Hash a file, or all files of a folder, once a process."""
    listed = [[name, file_sha256(file)] for name, file in sorted(_deciding(path).items())]
    return records.sha256(records.canonical_json(listed).encode(errors="surrogateescape"))
