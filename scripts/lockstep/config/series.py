"""A training run's checkpoints: an editor with `checkpoints` becomes one editor for each of them.

All else sees ordinary editors, each with its place in the series.
"""

import glob
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lockstep.errors import ConfigError
from lockstep.models.weights import check_model, read_header

FOUND = "LOCKSTEP_CHECKPOINTS"
"""Environment variable with the checkpoints that a run has found, by pattern, as JSON: its jobs
take these, whatever a training has written since."""

WILD = re.compile(r"[*?\[]")

Found = Callable[[str], list[str]]
"""Returns the checkpoints that fit a pattern."""


def members(editor: Any, source: str, found: Found) -> list[Any]:
    """Return the editors that an editor stands for: one for each checkpoint, or itself alone.

    Args:
        editor: as plain values.
        source: what to call the configuration in messages.

    Raises:
        ConfigError: if there is no checkpoint, or their names tell no steps, or one step twice.
    """
    if not isinstance(editor, Mapping) or editor.get("type") != "diffusers":
        return [editor]
    pattern, name, own = (editor.get(key) for key in ("checkpoints", "name", "adapters"))
    if not isinstance(pattern, str) or not isinstance(name, str):
        return [editor]
    where = f"{source}: editors: {name}: checkpoints"
    paths = found(pattern)
    if not paths:
        files = f", such as '{pattern}/step-*.safetensors'" if Path(pattern).is_dir() else ""
        raise ConfigError(
            f"{where}: expected a pattern of finished checkpoints{files}, found none at {pattern!r}"
        )
    steps: dict[int, tuple[str, str]] = {}
    for path in paths:
        digits = _digits(pattern, path, where)
        other = steps.setdefault(int(digits), (digits, path))
        if other[1] != path:
            raise ConfigError(
                f"{where}: expected one checkpoint of each step, found {other[1]} and {path}"
            )
    shared = {key: value for key, value in editor.items() if key != "checkpoints"}
    expanded = []
    for step, (digits, path) in sorted(steps.items()):
        place: dict[str, Any] = {"name": f"{name}-{digits}"}
        place["series"] = {"name": name, "step": step}
        if Path(path, "model_index.json").is_file():
            weights: dict[str, Any] = {"model": path}
        else:
            weights = {"adapters": [*(own if isinstance(own, list) else ()), {"path": path}]}
        expanded.append({**shared, **place, **weights})
    return expanded


def look(pattern: str, say: Callable[[str], None]) -> list[str]:
    """Look for the checkpoints that fit a pattern, and let this run's jobs know them.

    Args:
        say: told of each that is not whole, such as one that is just being written.
    """
    paths, pattern = [], os.path.expanduser(pattern)
    for path in sorted(map(os.path.normpath, glob.glob(pattern, recursive=True))):
        if (reason := _unfinished(path)) is None:
            paths.append(path)
        else:
            told = reason.removeprefix(f"{path}: ")
            say(f"checkpoints: left out {path}, which may still be written: {told}")
    os.environ[FOUND] = json.dumps({**_known(), os.path.abspath(pattern): paths})
    return paths


def known(pattern: str) -> list[str]:
    """Return the checkpoints that this run has found; in a process of no run, look for them."""
    paths = _known().get(os.path.abspath(os.path.expanduser(pattern)))
    return look(pattern, lambda _: None) if paths is None else paths


def _known() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(os.environ.get(FOUND, "{}"))
    return found


def _digits(pattern: str, path: str, where: str) -> str:
    """Return the last number in what a pattern leaves open of a path, as it is written there."""
    # from the end, where `**` stands for no certain number of names
    names = reversed(os.path.normpath(pattern).split(os.sep))
    above = next((n for n, name in enumerate(names) if WILD.search(name)), 0)
    name = Path(path).parts[-1 - above]
    found = re.findall(r"\d+", name.removesuffix(".safetensors"))
    if not found:
        raise ConfigError(f"{where}: expected the step's number in {name!r}, found none ({path})")
    return str(found[-1])


def _unfinished(path: str) -> str | None:
    """Return why a checkpoint is none that can be loaded; None of one that can."""
    try:
        if not os.path.isdir(path):
            read_header(path)
        elif Path(path, "model_index.json").is_file():
            check_model(path)
        else:
            files = sorted(Path(path).glob("*.safetensors"))
            if len(files) != 1:
                return (
                    "expected one .safetensors file, or a whole model with model_index.json, found "
                    f"{len(files)} .safetensors files"
                )
            read_header(files[0])
    except (ConfigError, OSError) as error:
        return str(error)
    return None
