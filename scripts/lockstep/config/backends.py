"""The kinds of editors and judges there are: ours, and those that plugins offer.

A backend is a module that defines a subclass of `EditorSettings` or `JudgeSettings` with a literal
`type`. Ours are named here. An installed package offers its modules as entry points of the group
`lockstep.backends`; a configuration names files in `plugins`.
"""

import importlib
import importlib.util
import logging
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

from lockstep import records
from lockstep.editors.settings import EditorSettings
from lockstep.errors import ConfigError
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import BackendSettings

log = logging.getLogger(__name__)

OURS = (
    *("lockstep.editors.diffusers", "lockstep.editors.command", "lockstep.editors.openai_images"),
    *("lockstep.editors.precomputed", "lockstep.editors.identity"),
    *("lockstep.judges.qwen3_vl", "lockstep.judges.reward", "lockstep.judges.openai_api"),
    "lockstep.judges.precomputed",
)

GROUP = "lockstep.backends"
"""Entry points of installed packages that offer backends."""


class Backends(NamedTuple):
    """Kinds by their `type`, in the order in which they are listed."""

    editors: dict[str, type[EditorSettings]]
    judges: dict[str, type[JudgeSettings]]


_plugins: dict[str, ModuleType] = {}
"""Loaded in this process, by their full paths."""


def load(path: str) -> None:
    """Import a plugin, whose kinds are known from then on.

    Raises:
        ConfigError: if it cannot be imported, offers nothing, or a `type` that is taken.
    """
    full = str(Path(path).resolve())
    before = _plugins.pop(full, None)
    module = _module(path)
    _add(known(), module, path)
    _plugins[full] = module
    if module is not before:
        log.info("loaded plugin %s", path)


def known() -> Backends:
    """Return the kinds of editors and judges that this process knows."""
    found = Backends({}, {})
    for module in (*_installed(), *_plugins.values()):
        _add(found, module, module.__name__)
    return found


@cache
def _installed() -> list[ModuleType]:
    modules = [importlib.import_module(name) for name in OURS]
    return [*modules, *(point.load() for point in metadata.entry_points(group=GROUP))]


def _module(path: str) -> ModuleType:
    """Import a plugin; one that was imported and has not changed since is kept."""
    file = Path(path).resolve()
    try:
        name = f"lockstep_plugin_{file.stem}_{records.sha256(file.read_bytes())[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError("expected a file that ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{path}: found no Python that can be imported ({what})") from None
    return module


def _add(found: Backends, module: ModuleType, origin: str) -> None:
    offered = 0
    sorts: list[tuple[type[BackendSettings], dict[str, Any]]] = [
        (EditorSettings, found.editors),
        (JudgeSettings, found.judges),
    ]
    for kind in vars(module).values():
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            continue
        for base, known in sorts:
            if issubclass(kind, base) and (name := type_of(kind)) is not None:
                offered += 1
                if name in known:
                    raise ConfigError(f"{origin}: found type {name!r}, which is taken")
                known[name] = kind
    if not offered:
        raise ConfigError(
            f"{origin}: expected a subclass of EditorSettings or JudgeSettings with a "
            "literal type, found none"
        )


def type_of(kind: type[BackendSettings]) -> str | None:
    """Return the `type` by which a configuration names a kind; None of a base class."""
    values: tuple[Any, ...] = get_args(kind.model_fields["type"].annotation)
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
