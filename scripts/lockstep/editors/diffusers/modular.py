"""Modular pipelines of diffusers: where the parts lie that their index names.

Such an index may name another repository for each part. Here all parts lie on the disk, in the
model's folder or in folders that `components` names: what was not hashed would not be in the key.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from lockstep.config.section import is_folder
from lockstep.errors import ConfigError
from lockstep.models.backend import Lacking, broken
from lockstep.models.fingerprints import model_files, model_identity
from lockstep.models.weights import check_part, read_object

if TYPE_CHECKING:
    from lockstep.editors.diffusers import DiffusersSettings

PLAIN = "model_index.json"
INDEX = "modular_model_index.json"

BLOCKS = "modular_config.json"
"""File by which a repository brings blocks of its own, as code."""

LIBRARIES = ("diffusers", "transformers")
"""Packages whose classes a part may be of."""

Components = Mapping[str, str | None]
"""Folders of parts that do not lie in the model's; None leaves a part out."""


class Part(NamedTuple):
    """A part of a modular pipeline."""

    library: str
    kind: str
    """Name of its class."""
    folder: Path


def is_modular(settings: "DiffusersSettings") -> bool:
    """Tell whether settings ask for a modular pipeline: by its name, or by the model's index."""
    if settings.pipeline is not None:
        return settings.pipeline.endswith("ModularPipeline")
    folder = Path(settings.model)
    return (folder / INDEX).exists() and not (folder / PLAIN).exists()


def lacking(settings: "DiffusersSettings", made: Collection[str] = ()) -> Iterator[Lacking]:
    """Yield why a modular pipeline cannot run so, as far as its files and settings tell."""
    for field, needed in {"offload": "none", "gpus_per_editor": 1}.items():
        if (found := getattr(settings, field)) != needed:
            yield Lacking(
                field, f"found {found!r} with a modular pipeline of diffusers; expected {needed!r}"
            )
    for name, place in settings.components.items():
        if place is not None and not Path(place).is_dir():
            yield Lacking(
                f"components.{name}",
                f"found no folder {place!r}, expected one with the part's files",
            )
            return
    if not is_folder(settings.model):
        yield Lacking(
            "model",
            f"found the hub id {settings.model!r}; expected a folder, since the parts of a modular "
            "pipeline may lie in several repositories",
        )
        return

    def check(folder: str) -> None:
        parts = read_parts(folder, settings.components).values()
        mapped = map(Path, filter(None, settings.components.values()))
        for place in dict.fromkeys([*(part.folder for part in parts), *mapped]):
            check_part(place)

    index = INDEX if Path(settings.model, INDEX).exists() else PLAIN
    yield from broken("model", check, settings.model, index, made)


def read_index(folder: str, components: Components) -> dict[str, Any]:
    """Return a modular pipeline's index, with a `Part` for each that is loaded from files.

    Raises:
        ConfigError: naming the first part that is not on the disk or not of a known class.
    """
    path = _index(folder)
    plain = {name: value for name, value in read_object(path).items() if not _is_part(value)}
    return {**plain, **read_parts(folder, components)}


def read_parts(folder: str, components: Components) -> dict[str, Part]:
    """Return the parts that a model's index names, by name; errors as above."""
    path = _index(folder)
    if "auto_map" in _object(Path(folder, BLOCKS)):
        raise ConfigError(
            f"{Path(folder, BLOCKS)}: found blocks that are code of the model's own, which is not "
            "run; expected a model whose blocks diffusers has"
        )
    found = {}
    for name, value in read_object(path).items():
        if _is_part(value) and not (name in components and components[name] is None):
            where = f"{path}: {name}: "
            library, kind = _class(value, where)
            mapped = components.get(name)
            place = _inside(folder, name, value, where) if mapped is None else Path(mapped)
            found[name] = Part(library, kind, place)
    return found


def identity(components: Components) -> dict[str, Any]:
    """Return what names parts outside of the model's folder in a key; nothing of none."""
    if not components:
        return {}
    named = {
        name: None if folder is None else model_identity(folder, None)
        for name, folder in components.items()
    }
    return {"components": named}


def files(components: Components) -> dict[str, Path]:
    """Return the files of parts outside of the model's folder, by names that no move changes."""
    return {
        f"components/{name}/{path.relative_to(folder)}": path
        for name, folder in components.items()
        if folder is not None and Path(folder).is_dir()
        for path in model_files(folder)
    }


def _index(folder: str) -> Path:
    own = Path(folder, INDEX)
    return own if own.exists() else Path(folder, PLAIN)


def _object(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _is_part(value: object) -> bool:
    """Tell whether an entry of an index is a part: library, class, and in a modular one a place."""
    if not isinstance(value, list):
        return False
    if len(value) == 3:
        return isinstance(value[2], dict)
    return len(value) == 2 and all(isinstance(word, str) for word in value)


def _class(value: list[Any], where: str) -> tuple[str, str]:
    """Return library and class of a part; no other code may be imported by an index."""
    hint = value[2].get("type_hint") if len(value) == 3 else value
    library, kind = hint if isinstance(hint, list) and len(hint) == 2 else (None, None)
    if library not in LIBRARIES or not isinstance(kind, str) or kind.startswith("AutoModel"):
        raise ConfigError(
            f"{where}found the class {kind!r} of {library!r}, expected one of diffusers or "
            "transformers by its own name"
        )
    return library, kind


def _inside(folder: str, name: str, value: list[Any], where: str) -> Path:
    """Return a part's folder in the model's folder."""
    spec = value[2] if len(value) == 3 else {"subfolder": name}
    below = PurePosixPath(spec.get("subfolder") or "")
    hidden = any(part.startswith(".") for part in below.parts) or below.is_absolute()
    place = Path(folder, below)
    if below.parts and not hidden and place.is_dir() and any(place.iterdir()):
        if spec.get("variant") is not None:
            raise ConfigError(
                f"{where}found the variant {spec['variant']!r}, expected weights without one, or a "
                f"folder for it in components"
            )
        return place
    named = spec.get("pretrained_model_name_or_path") or spec.get("repo")
    at = f" (subfolder {str(below)!r})" if below.parts else ""
    raise ConfigError(
        f"{where}found {named!r}{at}, which is not in the model's folder; expected it there, or "
        f"in components a folder for {name}, or null to leave it out"
    )
