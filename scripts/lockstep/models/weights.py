"""A model's files: whether they are whole, and whether the model takes all that they hold.

diffusers and transformers warn about weights that a model does not take, and go on: a scale that
belongs to a weight in eight bits is dropped, and so are layers that the configuration does not
count. Here a model runs only as all of what is on disk.
"""

import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, TypeAdapter

from lockstep.errors import ConfigError

NAMES = (
    *("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors"),
    *("model.safetensors", "model.safetensors.index.json"),
)
"""Names that diffusers and transformers give a part's weights, in the order in which they look.

Others beside them are variants (`fp16`, `non_ema`): other weights, which nobody asked for.
"""

PICKLED = ("diffusion_pytorch_model.bin", "pytorch_model.bin")
"""Names of weights in torch's own format, which are read where there are no others."""

READ = {".jinja", ".json", ".model", ".txt"}
"""Suffixes of files beside the weights that a part may be made of."""

POINTERS = {
    b"version https://git-lfs.github.com/": "a Git LFS pointer, expected the file that it stands "
    "for (git lfs pull)",
    b"# xet version": "a Xet pointer, expected the file that it stands for (git xet checkout)",
    b"/annex/objects/": "a git-annex pointer, expected the file that it stands for (git annex get)",
    b"<!doctype html": "a web page, expected the file that it links to",
    b"<html": "a web page, expected the file that it links to",
}
"""What lies in a file's place, by how it begins in lower case."""

SCALE = re.compile(
    r"(^|\.)((weight_|weight\.|q)?(scale(_inv|_2)?|scales|absmax|quant_map|nested_\w+|zero_point)"
    r"|scale_weight|scale_input|input_scale|scaled_fp8|comfy_quant|qweight|qzeros|g_idx|SCB"
    r"|weight_(packed|shape|format|scb)|weight\.quant_state\S*)$"
)
"""Names of what belongs to quantised weights."""

FULL = {"F64", "F32", "BF16", "F16"}
"""Number formats of weights that are not quantised."""

COMPUTED = re.compile(r"(^|\.)(inv_freq|position_ids)$")
"""Names of what old files hold and models compute."""

SMALL = 2**20
"""Bytes up to which a JSON file is read whole; of a larger one the end."""

SHOWN = 3
"""Weights that a message names."""


class Tensor(BaseModel):
    """What a safetensors file's header says of a tensor."""

    dtype: str
    """As safetensors names it: F32, BF16, F8_E4M3, I8, ..."""
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


TENSORS = TypeAdapter(dict[str, Tensor])
METADATA = TypeAdapter(dict[str, str] | None)


def check_model(folder: str | Path) -> None:
    """Refuse a model's folder in which files are cut, missing or pointers; reads no weights.

    Args:
        folder: of a diffusers pipeline or a transformers model.

    Raises:
        ConfigError: naming the first such file.
    """
    index = Path(folder, "model_index.json")
    if not index.exists():
        check_part(Path(folder))
        return
    for name, value in read_object(index).items():
        if isinstance(value, list) and any(value):
            if not Path(folder, name).is_dir():
                raise ConfigError(
                    f"{folder}: found no folder {name!r}, which model_index.json names; expected "
                    "the whole model"
                )
            check_part(Path(folder, name))


def check_judge(folder: str | Path) -> None:
    """Refuse a judge's folder as `check_model` does, and one without a chat template.

    Raises:
        ConfigError: naming the file, or saying that there is no template.
    """
    check_model(folder)
    if any(Path(folder, name).exists() for name in ("chat_template.jinja", "chat_templates")):
        return
    # older files; the one in tokenizer_config.json is for texts alone
    for path in (Path(folder, "chat_template.json"), Path(folder, "processor_config.json")):
        if path.exists() and read_object(path).get("chat_template"):
            return
    raise ConfigError(f"{folder}: expected chat_template.jinja in it, found no chat template")


def check_part(folder: Path) -> None:
    """Refuse a part of a model as `check_model` does, and one whose scales nobody would apply.

    Raises:
        ConfigError: naming the file, or the weights.
    """
    files = weight_files(folder)
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= read_header(path)
    for path in (folder / name for name in PICKLED):
        if not files and os.path.lexists(path):
            check_there(path)
    for path in sorted(folder.iterdir()):
        unused = path.name.startswith(".") or path.name.endswith(".index.json")
        if path.suffix in READ and not unused:
            _check_small(path)
    if not files:
        _check_others(folder)
    if not is_quantised(folder):
        _check_plain(folder, tensors)


def _check_others(folder: Path) -> None:
    """Refuse a part without any weights whose configuration is that of a model."""
    path = folder / "config.json"
    if not path.exists() or next(folder.glob("*.bin*"), None):
        return
    # a tokenizer or scheduler has another configuration
    if {"architectures", "_class_name"} & read_object(path).keys():
        raise ConfigError(
            f"{folder}: expected {NAMES[1]} or {NAMES[2]} beside config.json, found no weights"
        )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that `from_pretrained` reads; none where it reads others.

    Raises:
        ConfigError: if an index is none, or does not fit the files that it names.
    """
    for path in (folder / name for name in NAMES):
        if not os.path.lexists(path):
            continue
        return [path] if path.suffix != ".json" else _indexed(path)
    return []


def is_quantised(folder: Path) -> bool:
    """Tell whether a part says itself that its weights are quantised, so that its library knows."""
    path = folder / "config.json"
    return path.exists() and bool(read_object(path).get("quantization_config"))


def read_header(path: str | Path) -> dict[str, Tensor]:
    """Return what a safetensors file holds, without reading the tensors.

    Raises:
        ConfigError: if it is cut off, a pointer, a folder or of another kind.
    """
    return _header(Path(path))[1]


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the texts in a safetensors file's header; errors as above."""
    return _header(Path(path))[0]


def check_taken(what: str, part: Any, info: Mapping[str, Iterable[Any]]) -> None:
    """Refuse a model whose files lack weights, which would be random, or hold more than it takes.

    Args:
        what: names it in messages.
        part: the loaded model.
        info: what `from_pretrained` returns with `output_loading_info`.

    Raises:
        ConfigError: naming the first few of them.
    """
    kind = type(part).__name__
    lacking = sorted(map(str, [*info["missing_keys"], *_names(info["mismatched_keys"])]))
    surplus = sorted(name for name in info["unexpected_keys"] if not _is_harmless(name, part))
    found = []
    if lacking:
        found.append(f"no fitting weights for {_listed(lacking)}")
    if surplus:
        looks = _looks_like(surplus, part)
        found.append(f"weights that {kind} does not take, {_listed(surplus)}, {looks}")
    if found:
        raise ConfigError(f"{what}: found {' and '.join(found)}; expected all weights of a {kind}")


def _names(mismatched: Iterable[Any]) -> Iterable[str]:
    """Yield names of weights that may come with their shapes."""
    return (entry if isinstance(entry, str) else entry[0] for entry in mismatched)


def _is_harmless(name: str, part: Any) -> bool:
    """Tell whether a weight decides nothing: it is computed, or the head of an encoder's model."""
    headless = name.startswith("lm_head.") and not hasattr(part, "lm_head")
    return headless or COMPUTED.search(name) is not None


def _looks_like(surplus: Iterable[str], part: Any) -> str:
    """Return what weights are that a model does not take, as far as their names tell."""
    if any(map(SCALE.search, surplus)):
        return "which look like scales of quantised weights"
    if any("lora_" in name for name in surplus):
        return "which look like an adapter that is not merged"
    known = part.state_dict()
    if any(re.sub(r"\.\d+\.", ".0.", name, count=1) in known for name in surplus):
        return "which look like more layers than its configuration counts"
    return "which look like those of another model"


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_plain(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse quantised weights that nothing says how to read."""
    scales = sorted(name for name in tensors if SCALE.search(name) and _goes_with(name, tensors))
    if scales:
        raise ConfigError(
            f"{folder}: found scales of quantised weights, {_listed(scales)}, but no "
            "quantization_config in its config.json, so that they would be ignored; expected "
            "weights that are not quantised"
        )
    bits = sorted(
        name
        for name, tensor in tensors.items()
        if name.endswith("weight") and tensor.dtype[0] in "IU"
    )
    if bits:
        raise ConfigError(
            f"{folder}: found weights in integers ({tensors[bits[0]].dtype}), {_listed(bits)}, but "
            "no quantization_config in its config.json; expected weights that are not quantised"
        )


def _goes_with(scale: str, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether the weight that a scale belongs to is quantised."""
    layer = re.split(r"(?:\.|^)(?:weight\b|[^.]*$)", scale)[0]
    names = (f"{layer}.{name}".lstrip(".") for name in ("weight", "qweight", "weight_packed"))
    return any(name in tensors and tensors[name].dtype not in FULL for name in names)


def _indexed(index: Path) -> list[Path]:
    """Return the files that an index names, after looking whether both agree."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConfigError(f"{index}: expected the index of a model's weights, found no weight_map")
    if not all(isinstance(name, str) for name in places.values()):
        raise ConfigError(f"{index}: weight_map: expected a file's name for each weight")
    # as texts: to compare paths takes seconds for a large model
    named: dict[str, set[str]] = defaultdict(set)
    for name, place in places.items():
        named[place].add(name)
    files: dict[Path, set[str]] = {}
    for place, names in named.items():
        files.setdefault(index.parent / place, set()).update(names)
    gone = [path.name for path in files if not os.path.lexists(path)]
    if gone:
        raise ConfigError(
            f"{index}: expected all {len(files)} files that it names beside it, found no file for "
            f"{len(gone)}, {_listed(gone)}"
        )
    for path, names in sorted(files.items()):
        held = read_header(path).keys()
        if names - held:
            raise ConfigError(
                f"{path}: expected all weights that {index.name} places there, found no "
                f"{_listed(sorted(names - held))}"
            )
        if held - names:
            raise ConfigError(
                f"{path}: found weights that {index.name} does not place there, "
                f"{_listed(sorted(held - names))}; expected an index of all weights"
            )
    return sorted(files)


def _header(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    size = check_there(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ConfigError(
                f"{path}: expected a whole safetensors file, found {size:,} bytes that are none; "
                "it may have been cut off while it was copied"
            )
        text = file.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        metadata = METADATA.validate_python(header.pop("__metadata__", None))
        tensors = TENSORS.validate_python(header)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise ConfigError(f"{path}: expected safetensors, found a file of another kind") from None
    expected = 8 + length + max((each.data_offsets[1] for each in tensors.values()), default=0)
    if size != expected:
        raise ConfigError(
            f"{path}: expected the {expected:,} bytes that its header tells of, found {size:,}; "
            "it may have been cut off while it was copied"
        )
    return metadata or {}, tensors


def _check_small(path: Path) -> None:
    size = check_there(path)
    if path.suffix != ".json":
        return
    if size <= SMALL:
        _read_json(path)
        return
    with open(path, "rb") as file:
        file.seek(-64, os.SEEK_END)
        if file.read().rstrip()[-1:] not in (b"}", b"]"):
            raise _no_json(path)


def check_there(path: Path) -> int:
    """Return a file's size.

    Raises:
        ConfigError: if it cannot be read, or only stands for the file.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: expected a file, found a folder")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # to open a pipe would wait for who writes to it
            raise ConfigError(f"{path}: expected a regular file, found another kind")
        size = found.st_size
        with open(path, "rb") as file:
            begin = file.read(64).lstrip().lower()
    except FileNotFoundError:
        raise ConfigError(f"{path}: found a link that leads to no file") from None
    except OSError as error:
        raise ConfigError(f"{path}: expected a file to read ({error.strerror})") from None
    for start, what in POINTERS.items():
        if begin.startswith(start):
            raise ConfigError(f"{path}: found {what}")
    return size


def read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds.

    Raises:
        ConfigError: if it is not there, no JSON, or no object.
    """
    value = _read_json(path)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, found JSON of another kind")
    return value


def _read_json(path: Path) -> Any:
    check_there(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise _no_json(path) from None


def _no_json(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: expected valid JSON, found another text; the file may have been cut off while "
        "it was copied"
    )
