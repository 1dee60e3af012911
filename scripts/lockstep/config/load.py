"""Reading a configuration: from plain values to types, with one sentence for each mistake."""

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lockstep.config import backends, series
from lockstep.config.checks import check_files
from lockstep.config.run import Comparison, Config
from lockstep.config.section import Section
from lockstep.config.sentences import sentences
from lockstep.errors import ConfigError, suggest
from lockstep.foreign.yaml_files import read_yaml
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import absent

PRESETS = Path(__file__).parents[3] / "config" / "editors"
"""Folder of the editor presets."""

MERGED = ("call", "request", "scheduler")
"""Keys of an editor of which those given beside a preset replace its own one by one."""


def called(files: Iterable[str]) -> str:
    """Return what messages call a configuration: its files, from the working folder if below it."""
    working = Path.cwd()
    paths = [Path(file) for file in files]
    own = (path.relative_to(working) if path.is_relative_to(working) else path for path in paths)
    return " + ".join(map(str, own))


def load_config(
    data: Mapping[str, Any],
    source: str,
    produced: Collection[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Config:
    """Return the typed configuration of what a YAML file and the command line gave.

    The files that it names are looked for, checkpoints of a training run anew each time.

    Args:
        data: the configuration as plain values.
        source: what to call it in messages, usually the file's path.
        produced: paths that the workflow makes itself, which need not exist yet.
        say: told what is left out.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    config = typed(data, source, produced, say)
    check_files(config, source, produced)
    return config


def typed(
    data: Mapping[str, Any],
    source: str,
    produced: Collection[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Config:
    """Return what `load_config` does, of whose files only the benchmark is looked for.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    benchmark = data.get("benchmark")
    path = benchmark.get("path") if isinstance(benchmark, Mapping) else None
    # its contents tell the format, and which categories there are
    if isinstance(path, str) and path:
        for _, sentence in absent("path", os.path.expanduser(path), produced):
            raise ConfigError(f"{source}: benchmark.path: {sentence}{_beside_it(source, path)}")
    return _typed(data, source, partial(series.look, say=say))


def _beside_it(source: str, path: str) -> str:
    """Return a hint to who starts a run in another folder than that of its files."""
    folder = Path(source).parent
    if not (Path(source).is_file() and (folder / path).exists()):
        return ""
    return (
        " in the working folder, one lies beside the configuration; paths begin at the working "
        f"folder (--directory {folder})"
    )


def of_file(path: Path) -> Config:
    """Return the typed configuration of a YAML file, as a run of it has it.

    Raises:
        ConfigError: with a sentence for each mistake.
    """
    return load_config(given(path), str(path))


def given(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file, as a run of it has them.

    Raises:
        ConfigError: if there is no such file, or it is none.
    """
    try:
        data = read_yaml(path, ConfigError)
    except OSError as error:
        raise ConfigError(f"{path}: expected a configuration, found none ({error})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found none")
    folder = str(path.parent)
    # rubrics lie beside the presets, too
    return with_own_files(with_rubrics(data, [PRESETS.parents[1], folder]), [folder])


def of_job(data: Mapping[str, Any]) -> Config:
    """Return the typed configuration of a run in one of its jobs.

    The run has looked for the files that it names. A job may run before those of others are made.
    """
    return _typed(data, "configuration", series.known)


def with_own_files(data: Mapping[str, Any], folders: Sequence[str]) -> dict[str, Any]:
    """Return a configuration whose plugins and own presets are found beside it.

    A plugin is looked for beside the configuration, then in the working folder; a preset beside
    the workflow, then in the folder `editors` beside the configuration.

    Args:
        folders: of the configuration's files.
    """
    found, plugins, editors = dict(data), data.get("plugins"), data.get("editors")
    if isinstance(plugins, list):
        found["plugins"] = [_beside(path, folders) for path in plugins]
    if isinstance(editors, list):
        found["editors"] = [_with_own_preset(editor, folders) for editor in editors]
    return found


def _beside(path: Any, folders: Sequence[str]) -> Any:
    if not isinstance(path, str):
        return path
    places = (os.path.abspath(os.path.join(folder, os.path.expanduser(path))) for folder in folders)
    return next(filter(os.path.isfile, places), path)


def _with_own_preset(editor: Any, folders: Sequence[str]) -> Any:
    name = editor.get("preset") if isinstance(editor, Mapping) else None
    if not isinstance(name, str) or (PRESETS / f"{name}.yaml").is_file():
        return editor
    path = _beside(f"editors/{name}.yaml", folders)
    if not os.path.isfile(path):
        return editor
    # with its values in it, no job needs to find it
    return _merged(Path(path), {key: value for key, value in editor.items() if key != "preset"})


def _typed(data: Mapping[str, Any], source: str, found: series.Found) -> Config:
    data, places = dict(data), []
    editors = data.get("editors")
    if isinstance(editors, Sequence) and not isinstance(editors, str):
        data["editors"] = []
        for place, editor in enumerate(editors):
            own = series.members(_with_preset(editor, source), source, found)
            data["editors"] += own
            places += [place] * len(own)
    return _validated(Config, data, source, places)


def load_comparison(data: Mapping[str, Any], source: str) -> Comparison:
    """Return the typed configuration of a comparison; arguments and errors as above."""
    return _validated(Comparison, data, source)


S = TypeVar("S", bound=Section)


def _validated(
    kind: type[S], data: Mapping[str, Any], source: str, places: Sequence[int] = ()
) -> S:
    """Return typed values.

    Args:
        places: of each editor, where it stands in the list that was given.
    """
    try:
        typed = kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        items = [{**item, "loc": _as_given(item["loc"], places)} for item in error.errors()]
        said = dict.fromkeys(sentences(items, kind, backends.known()))
        raise ConfigError("\n".join(f"{source}: {text}" for text in said)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: found a value that YAML alone can hold ({error})") from None
    # where any value may stand no type has refused it, and keys would hold null in its place
    for steps, value in _unending(data):
        place = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}"
            for step in _as_given(steps, places)
        )
        raise ConfigError(f"{source}: {place[1:]}: expected a finite number, found {value}")
    return typed


def _unending(
    value: Any, steps: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], float]]:
    """Yield the numbers that are not finite, each with the steps that lead to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield steps, value
    elif isinstance(value, Mapping):
        for key, own in value.items():
            yield from _unending(own, (*steps, str(key)))
    elif isinstance(value, list | tuple):
        for number, own in enumerate(value):
            yield from _unending(own, (*steps, number))


def _as_given(loc: tuple[int | str, ...], places: Sequence[int]) -> tuple[int | str, ...]:
    match loc:
        case ("editors", int() as number, *rest) if number < len(places):
            return "editors", places[number], *rest
    return loc


def _with_preset(editor: Any, source: str) -> Any:
    if not isinstance(editor, Mapping) or not isinstance(editor.get("preset"), str):
        return editor
    path = PRESETS / f"{editor['preset']}.yaml"
    names = sorted(file.stem for file in PRESETS.glob("*.yaml"))
    if editor["preset"] not in names:
        raise ConfigError(
            f"{source}: editors: found preset {editor['preset']!r}"
            f"{suggest(editor['preset'], names)}; expected one of {', '.join(names)}"
        )
    return _merged(path, editor)


def _merged(preset: Path, editor: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset with what is given beside it.

    Raises:
        ConfigError: if the preset is none.
    """
    merged: dict[str, Any] = read_yaml(preset, ConfigError)
    for key, value in editor.items():
        if key in MERGED and isinstance(value, Mapping):
            value = {**merged.get(key, {}), **value}
        merged[key] = value
    return merged


def with_rubrics(data: Mapping[str, Any], folders: Sequence[str | Path]) -> dict[str, Any]:
    """Return a configuration whose rubrics are found from any working folder.

    Args:
        folders: where to look, one after the other, for what the working folder lacks.
    """
    found, several = dict(data), data.get("judges")
    if "judge" in data:
        found["judge"] = _with_own_rubrics(data["judge"], folders)
    if isinstance(several, list):
        found["judges"] = [_with_own_rubrics(judge, folders) for judge in several]
    return found


def _with_own_rubrics(judge: Any, folders: Sequence[str | Path]) -> Any:
    if not isinstance(judge, Mapping):
        return judge
    asked = judge.get("rubrics", JudgeSettings.model_fields["rubrics"].default)
    if not isinstance(asked, str) or not asked or os.path.exists(os.path.expanduser(asked)):
        return judge
    for path in (os.path.abspath(os.path.join(folder, asked)) for folder in folders):
        if os.path.exists(path):
            return {**judge, "rubrics": path}
    return judge
