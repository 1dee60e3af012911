"""Which code decides an output: the modules that make it, with all of ours that they import.

Read from the import statements, without importing anything.
"""

import re
from functools import cache
from pathlib import Path

from lockstep.models.backend import BackendSettings
from lockstep.records import canonical_json, sha256

LIBRARY = Path(__file__).parents[1]

NEUTRAL = (
    *("config", "devices", "errors", "jobs", "layout"),
    *("editing.background", "editing.order", "editing.waves", "models.backend", "models.staging"),
    *(
        "records.alike",
        "records.progress",
        "records.recovery",
        "records.rows",
        "report.part",
        "report.schema",
    ),
)
"""Modules and rooms that decide no output: where things lie, who works when, what is said of it.

Settings are among what an output is made of themselves; so are their modules (`settings`).
"""

IMPORT = re.compile(r"^ *from lockstep((?:\.\w+)*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


@cache
def code(*modules: str, templates: bool = False) -> str:
    """Return the SHA-256 over the text of the code that decides an output.

    Args:
        modules: names below `lockstep` of what makes it.
        templates: whether the report's templates belong to it.
    """
    paths = sorted(deciding(*modules))
    if templates:
        folder = LIBRARY / "report" / "templates"
        paths += sorted(path for path in folder.rglob("*.*") if path.is_file())
    found = [[str(path.relative_to(LIBRARY)), sha256(path.read_bytes())] for path in paths]
    return sha256(canonical_json(found).encode())


def deciding(*modules: str) -> set[Path]:
    """Return the files of some modules and of all that they import, but for neutral ones."""
    found: set[Path] = set()
    left = list(modules)
    while left:
        name = left.pop()
        path = _file(name)
        if path is None or path in found or _is_neutral(name):
            continue
        found.add(path)
        left += _imports(path)
    return found


def module_of(settings: BackendSettings) -> str:
    """Return the name below `lockstep` of a backend's module; that of a plugin names no file."""
    return type(settings).__module__.removeprefix("lockstep.")


@cache
def _imports(path: Path) -> tuple[str, ...]:
    names = []
    for module, listed in IMPORT.findall(path.read_text(encoding="utf-8")):
        names.append(module.removeprefix("."))
        given = re.sub(r" as \w+|[()\s]", "", listed.split("#")[0]).split(",")
        names += [f"{module}.{name}".removeprefix(".") for name in given if name]
    return tuple(names)


def _file(name: str) -> Path | None:
    """Return a module's file; None if it is no module."""
    if not name:
        # the package itself offers what notebooks need, which decides nothing
        return None
    path = LIBRARY.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _is_neutral(name: str) -> bool:
    return name.endswith("settings") or any(
        name == known or name.startswith(f"{known}.") for known in NEUTRAL
    )
