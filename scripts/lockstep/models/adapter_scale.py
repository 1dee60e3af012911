"""The scale of a LoRA where its tensors do not hold it: PEFT's configuration, a file's header.

A LoRA adds `alpha / rank · up @ down`. Some files hold `alpha` as tensors, which diffusers reads.
PEFT writes it into `adapter_config.json` beside the file, others into the file's header, where
diffusers looks for one name alone. A scale that is nowhere is 1.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.errors import ConfigError
from lockstep.models.weights import read_header, read_metadata, read_object

BESIDE = "adapter_config.json"
"""PEFT's name of its configuration."""

OF_DIFFUSERS = "lora_adapter_metadata"
"""Entry of a header in which diffusers has always found PEFT's configuration."""

PARTS = ("transformer.", "unet.", "")
"""How keys of a header may begin."""

ALPHAS = ("lora_alpha", "network_alpha", "alpha")
"""Keys of a header that hold an alpha."""

RANKS = ("r", "rank", "lora_rank", "network_dim")
"""Keys beside it that hold the rank."""

NOTE = re.compile(r"(?:\w+\.)?(?:(?:lora|network|adapter)_)?(?:scale|scaling|multiplier)")
"""Keys of a header that say how strong a LoRA is, without saying of what."""

TRAINED = "ss_network_alpha"
"""What sd-scripts notes of the training; some converters keep it and multiply the tensors by it."""

DOWN = re.compile(r"lora_(A|down)\b")
"""In names of matrices that have a row for each rank."""

MORE = ("use_dora", "use_qalora", "lora_bias", "layer_replication", "alora_invocation_tokens")
"""What PEFT's configuration may ask for beyond a LoRA."""

UNCHANGED = (None, True, False, "gaussian", "eva", "orthogonal")
"""Beginnings of a LoRA that leave the model's own weights as they are."""


class Declared(NamedTuple):
    """What one place says of a LoRA's scale."""

    place: str
    rank: int | None
    """None where the place does not tell."""
    alpha: float
    ranks: Mapping[str, int]
    """Of layers that have another, by pattern."""
    alphas: Mapping[str, float]
    """Likewise."""
    root: bool
    """Whether alpha is divided by the rank's square root."""


class Scale(NamedTuple):
    """What a layer's change is multiplied with: `alpha / divisor`."""

    alpha: float
    divisor: float


def declared(file: str | Path, beside: str | Path | None, alphas: bool) -> list[Declared]:
    """Return what is said of a LoRA's scale outside its tensors, each place once.

    Args:
        file: the LoRA.
        beside: PEFT's configuration, if there is one.
        alphas: whether tensors hold alphas; single numbers in the header are then notes on them.

    Raises:
        ConfigError: if a place cannot be read, or asks for more than a LoRA.
    """
    found = [] if beside is None else [_of_peft(BESIDE, read_object(Path(beside)))]
    header = read_metadata(file)
    for name, text in sorted(header.items()):
        found += _in_entry(name, text)
    return found if alphas else [*found, *_in_numbers(header)]


def beside(file: str | Path) -> Path | None:
    """Return PEFT's configuration in a file's folder; None where there is none."""
    path = Path(file).parent / BESIDE
    return path if path.exists() else None


def has_alphas(names: Iterable[str]) -> bool:
    """Tell whether a LoRA's tensors hold its alphas."""
    return any(name.endswith(".alpha") for name in names)


@cache
def identity(file: str | Path) -> dict[str, Any]:
    """Return what a key holds of a LoRA's scale beyond its file: nothing where it is 1.

    What diffusers finds in the header, and alphas among the tensors, are part of the file.
    """
    tensors = read_header(file)
    if has_alphas(tensors):
        return {}
    ranks = {value.shape[0] for name, value in tensors.items() if DOWN.search(name) and value.shape}
    told = [each for each in declared(file, beside(file), False) if each.place != OF_DIFFUSERS]
    scaled = [list(each[1:]) for each in told if not _is_one(each, ranks)]
    return {"scale": scaled} if scaled else {}


def scales(said: Iterable[Declared], ranks: Mapping[str, int]) -> dict[str, Scale]:
    """Return the scale of each layer; nothing where no place tells of one.

    Args:
        ranks: of the layers.

    Raises:
        ConfigError: if a place fits other layers than these, or two places differ.
    """
    found: dict[str, Scale] = {}
    first = ""
    for each in said:
        own = {layer: _scale(each, layer, rank) for layer, rank in ranks.items()}
        for pattern in (*each.ranks, *each.alphas):
            if not any(_matches(pattern, layer, each.place) for layer in ranks):
                raise ConfigError(f"{each.place}: {pattern!r} names none of its layers")
        if found and any(_number(own[layer]) != _number(found[layer]) for layer in ranks):
            raise ConfigError(f"{first} and {each.place} tell of different scales, expected one")
        found, first = own, each.place
    return found


def _scale(said: Declared, layer: str, rank: int) -> Scale:
    expected = _by_pattern(said.ranks, layer, said.rank, said.place)
    if expected not in (rank, None):
        raise ConfigError(
            f"{said.place}: expected rank {expected} of {layer}, found {rank}; it may be that of "
            "another file"
        )
    alpha = _by_pattern(said.alphas, layer, said.alpha, said.place)
    if said.place == TRAINED and alpha != rank:
        raise ConfigError(
            f"its header says {TRAINED}: {alpha:g} for rank {rank}, which its tensors may hold or "
            f"not; expected alphas as tensors, or {BESIDE} beside it"
        )
    return Scale(alpha, math.sqrt(rank) if said.root else rank)


def _number(scale: Scale) -> float:
    return scale.alpha / scale.divisor


def _is_one(said: Declared, ranks: Iterable[int]) -> bool:
    """Tell whether a scale is 1 for layers of these ranks, whatever their names."""
    same = all(said.alpha == (math.sqrt(rank) if said.root else rank) for rank in ranks)
    return same and not said.alphas


def _by_pattern(patterns: Mapping[str, Any], layer: str, otherwise: Any, place: str) -> Any:
    found = (value for pattern, value in patterns.items() if _matches(pattern, layer, place))
    return next(found, otherwise)


def _matches(pattern: str, layer: str, place: str) -> bool:
    """Tell whether PEFT takes a pattern for a layer's."""
    try:
        return re.match(rf"(.*\.)?({pattern})$", layer) is not None
    except re.error:
        raise ConfigError(f"{place}: expected a pattern of layers, found {pattern!r}") from None


def _in_entry(name: str, text: str) -> Iterator[Declared]:
    """Yield what an entry of a header says of the scale, if it is PEFT's configuration."""
    value = _value(text)
    if isinstance(value, dict):
        for part in PARTS:
            if f"{part}lora_alpha" in value:
                own = {key.removeprefix(part): each for key, each in value.items()}
                yield _of_peft(name, own)
                return


def _in_numbers(header: Mapping[str, str]) -> Iterator[Declared]:
    """Yield what single entries of a header say of the scale."""
    for part, name in itertools.product(PARTS, ALPHAS):
        if f"{part}{name}" in header:
            own = {key.removeprefix(part): _value(text) for key, text in header.items()}
            rank = next((own[key] for key in RANKS if key in own), None)
            yield _of_peft(f"{part}{name}", {**own, "r": rank, "lora_alpha": own[name]})
    if header.get(TRAINED, "None") != "None":
        yield _of_peft(TRAINED, {"lora_alpha": _value(header[TRAINED])})
    for name, text in sorted(header.items()):
        if NOTE.fullmatch(name) and _value(text) != 1:
            raise ConfigError(
                f"its header says {name}: {text}, which its tensors may hold or not; expected "
                "alphas as tensors, and `weight` for the adapter's strength"
            )


def _value(text: str) -> Any:
    """Return what a text in a header means: headers hold nothing but texts."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except (ValueError, RecursionError):
        return text


def _of_peft(place: str, given: Mapping[str, Any]) -> Declared:
    """Return what PEFT's configuration says of the scale."""
    kind, begun = given.get("peft_type"), given.get("init_lora_weights")
    for key in MORE:
        if given.get(key):
            raise ConfigError(f"{place}: expected a plain LoRA, found {key}")
    if kind not in (None, "LORA") or begun not in UNCHANGED:
        what = f"init_lora_weights {begun!r}" if kind in (None, "LORA") else f"peft_type {kind!r}"
        raise ConfigError(f"{place}: expected a LoRA on the model's own weights, found {what}")
    rank = given.get("r")
    alpha: Any = given.get("lora_alpha")
    ranks, alphas = (given.get(f"{name}_pattern") or {} for name in ("rank", "alpha"))
    if not all(isinstance(each, dict) for each in (ranks, alphas)):
        raise ConfigError(f"{place}: expected rank_pattern and alpha_pattern with names of layers")
    numbers = [alpha, *([] if rank is None else [rank]), *ranks.values(), *alphas.values()]
    if not all(type(each) in (int, float) and math.isfinite(each) and each for each in numbers):
        raise ConfigError(f"{place}: expected numbers for alpha and rank, found {numbers}")
    return Declared(place, rank, alpha, ranks, alphas, bool(given.get("use_rslora")))
