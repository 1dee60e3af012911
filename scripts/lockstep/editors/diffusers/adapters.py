"""LoRA adapters: checked against the model before it is loaded, then added to its weights.

diffusers and PEFT warn about keys that fit nothing and go on, so that an adapter may do less than
its name says, or nothing. Here such a file is refused.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import diffusers
import safetensors
import torch
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from lockstep.editors.diffusers import Adapter, DiffusersSettings
from lockstep.editors.diffusers.pipelines import Index, Pipeline, denoiser_name, empty_denoiser
from lockstep.errors import ConfigError, one_sentence
from lockstep.models import adapter_scale, fingerprints
from lockstep.models.adapter_scale import Scale
from lockstep.models.weights import Tensor, read_header

log = logging.getLogger(__name__)

Weights = Mapping[str, torch.Tensor]

DROPPED = ("dora_scale", "magnitude", "lokr_", "hada_")
"""Parts of keys of kinds of adapters that diffusers reads as a LoRA without them, or not at all."""

FORMATS = {torch.float32, torch.bfloat16, torch.float16}
"""Number formats of adapters."""

FAINT = 0.5
"""Share of the change that rounding leaves below which there is a warning."""

NOTHING = 0.01
"""Share of the change that rounding leaves below which the adapters are refused."""


class Checked(NamedTuple):
    """An adapter that fits its model."""

    file: str
    layers: tuple[str, ...]
    """Names of those that it changes."""
    scales: Mapping[str, Scale]
    """Of its layers; empty where the tensors hold them."""


class _Change(NamedTuple):
    """What an adapter adds to a weight: `up @ down`, times its weight."""

    down: torch.Tensor
    up: torch.Tensor


def check(
    settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline], index: Index
) -> list[Checked]:
    """Return the adapters after looking whether each fits the model and changes it.

    Raises:
        ConfigError: if one is not there, is no LoRA, does not fit, or changes nothing.
    """
    part = denoiser_name(index)
    if part is None or not hasattr(kind, "load_lora_weights"):
        raise ConfigError(f"editors: {settings.name}: adapters: {kind.__name__} takes none")
    denoiser = empty_denoiser(settings, index)
    checked = []
    for number, adapter in enumerate(settings.adapters):
        try:
            file = _file(adapter)
            # a sentence of its own for a file that is none
            read_header(file)
            changes = _changes(kind, part, file)
            _check_fit(changes, denoiser)
            checked.append(Checked(file, tuple(changes), _scales(adapter, file, changes)))
        except ConfigError as error:
            where = f"editors: {settings.name}: adapters[{number}]: "
            path = "" if str(error).startswith(adapter.path) else f"{adapter.path}: "
            raise ConfigError(f"{where}{path}{error}") from None
    return checked


def fuse(
    pipeline: Pipeline,
    settings: DiffusersSettings,
    checked: list[Checked],
) -> None:
    """Add adapters to a pipeline's weights, as W + weight · alpha / rank · up @ down each.

    Nothing of PEFT stays behind.

    Raises:
        ConfigError: if their change is lost in rounding, or a file changed since it was hashed.
    """
    names = [f"adapter{number}" for number in range(len(checked))]
    with warnings.catch_warnings():
        # several adapters are what is meant
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        for name, adapter in zip(names, checked, strict=True):
            # tensors alone: diffusers would take the header's scale beside that of the tensors
            pipeline.load_lora_weights(load_file(adapter.file), adapter_name=name)
    strengths = [adapter.weight for adapter in settings.adapters]
    pipeline.set_adapters(names, strengths)
    denoiser = getattr(pipeline, str(denoiser_name(pipeline.components)))
    for name, adapter, strength in zip(names, checked, strengths, strict=True):
        for layer, scale in adapter.scales.items():
            scaling = denoiser.get_submodule(layer).scaling
            scaling[name] = strength * scale.alpha / scale.divisor
    left = _merge(denoiser)
    pipeline.unload_lora_weights()
    where = f"editors: {settings.name}: adapters"
    if left < NOTHING:
        raise ConfigError(f"{where}: rounding to {settings.dtype} leaves nothing of their change")
    for file in filter(None, (adapter.file for adapter in settings.adapters)):
        if not _is_unchanged(file):
            raise ConfigError(f"{where}: {file} changed during the run, run it again")
    level = logging.WARNING if left < FAINT else logging.INFO
    log.log(
        level,
        "adapters fused: %d; rounding to %s left %.0f%% of their change",
        len(checked),
        settings.dtype,
        100 * left,
    )


def _file(adapter: Adapter) -> str:
    """Return the path of an adapter's file, from the hub if it must be."""
    if adapter.file is not None:
        return adapter.file
    try:
        return hf_hub_download(adapter.path, str(adapter.weight_name), revision=adapter.revision)
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ConfigError(f"cannot load {adapter.weight_name} ({one_sentence(error)})") from None


def _is_unchanged(file: str) -> bool:
    """Tell whether an adapter is what its key was made of."""
    same = fingerprints.adapter_sha256(file) == fingerprints.file_sha256(file)
    return same and adapter_scale.identity(file) == adapter_scale.identity.__wrapped__(file)


def _scales(adapter: Adapter, file: str, changes: Mapping[str, _Change]) -> Mapping[str, Scale]:
    """Return the scales of an adapter's layers, as far as its tensors do not hold them."""
    tensors = read_header(file)
    alphas = adapter_scale.has_alphas(tensors)
    said = adapter_scale.declared(file, _beside(adapter, file, alphas), alphas)
    if alphas:
        _check_alike(file, tensors, said)
        return {}
    return adapter_scale.scales(said, {name: len(each.down) for name, each in changes.items()})


def _beside(adapter: Adapter, file: str, alphas: bool) -> Path | None:
    """Return PEFT's configuration of an adapter, from the hub if it must be."""
    if adapter.file is not None:
        return adapter_scale.beside(file)
    if alphas:
        return None
    name = str(PurePosixPath(str(adapter.weight_name)).with_name(adapter_scale.BESIDE))
    try:
        return Path(hf_hub_download(adapter.path, name, revision=adapter.revision))
    except LocalEntryNotFoundError:
        raise ConfigError(
            f"cannot ask the hub for {name}, which may hold the scale of {adapter.weight_name}; "
            "expected a hub that answers, or the adapter in a folder"
        ) from None
    except EntryNotFoundError:
        return None


def _check_alike(
    file: str, tensors: Mapping[str, Tensor], said: Sequence[adapter_scale.Declared]
) -> None:
    """Refuse an adapter whose tensors hold other scales than another place tells of."""
    ranks, found = {}, {}
    with safetensors.safe_open(file, framework="pt") as stored:
        for name, tensor in tensors.items():
            layer = adapter_scale.DOWN.split(name)[0].rstrip(".")
            if adapter_scale.DOWN.search(name) and f"{layer}.alpha" in tensors:
                ranks[layer] = tensor.shape[0]
                found[layer] = float(stored.get_tensor(f"{layer}.alpha")) / tensor.shape[0]
    for layer, scale in adapter_scale.scales(said, ranks).items():
        if not math.isclose(scale.alpha / scale.divisor, found[layer], rel_tol=1e-3):
            places = " and ".join(each.place for each in said)
            raise ConfigError(f"its alphas and {places} tell of different scales, expected one")


def _changes(kind: type[diffusers.DiffusionPipeline], part: str, file: str) -> dict[str, _Change]:
    """Read an adapter as diffusers does, and return its change of each of the denoiser's layers."""
    weights = {}
    for key, value in _state_dict(kind, file).items():
        if not key.startswith(f"{part}."):
            raise _unreadable(f"{key} belongs to no {part}")
        weights[key.removeprefix(f"{part}.")] = value
    if not any(".lora_A" in key for key in weights):
        weights = convert_unet_state_dict_to_peft(weights)
    changes = {}
    for key in weights:
        layer, _, rest = key.rpartition(".lora_")
        if rest not in ("A.weight", "B.weight"):
            raise _unreadable(f"{key} is no part of a LoRA")
        down, up = (weights.get(f"{layer}.lora_{side}.weight") for side in "AB")
        if down is None or up is None:
            raise _unreadable(f"{layer} has only one of its two matrices")
        changes[layer] = _Change(down, up)
    return changes


def _state_dict(kind: type[diffusers.DiffusionPipeline], file: str) -> Weights:
    try:
        with safetensors.safe_open(file, framework="pt") as stored:
            keys = list(stored.keys())
        state = kind.lora_state_dict(file)
    except Exception as error:  # diffusers' conversions raise many kinds on what they do not know
        raise _unreadable(f"diffusers cannot read it ({one_sentence(error)})") from None
    # of what these keys say, diffusers would leave a part out
    for key in keys:
        if any(word in key for word in DROPPED):
            raise _unreadable(f"{key} is no part of a LoRA")
    if not isinstance(state, tuple):
        return state
    # some pipelines return the alphas beside the weights
    state, alphas = state
    if alphas:
        _check_alphas(alphas, len(state) // 2)
    return state


def _check_alphas(alphas: Mapping[str, float], layers: int) -> None:
    """Refuse alphas that diffusers would give to other layers.

    To the attention of a UNet, whose names it does not find again, and to layers that have none,
    whose alpha is their rank, it gives the most frequent one.
    """
    values = set(alphas.values())
    mixed = len(values) > 1 and any(".processor." in name for name in alphas)
    if mixed or len(alphas) < layers:
        raise _unreadable(
            f"{len(alphas)} of {layers} layers have {len(values)} different alphas, which "
            "diffusers would mix up"
        )


def _check_fit(changes: Mapping[str, _Change], denoiser: torch.nn.Module) -> None:
    layers = dict(denoiser.named_modules())
    unfit = [name for name, change in changes.items() if not _fits(change, layers.get(name))]
    if unfit:
        raise ConfigError(
            f"expected a LoRA of this model, found {len(unfit)} of {len(changes)} layers that fit "
            f"nothing in {type(denoiser).__name__}, such as {unfit[0]}"
        )
    for name, change in changes.items():
        if not {matrix.dtype for matrix in change} <= FORMATS:
            raise ConfigError(
                f"{name}: expected numbers of kind float32, bfloat16 or float16, "
                f"found {change.down.dtype}"
            )
        if not all(matrix.isfinite().all() for matrix in change):
            raise ConfigError(f"{name} holds values that are no numbers")
    if not any(change.down.any() and change.up.any() for change in changes.values()):
        raise ConfigError("all that it adds is zero, so it changes nothing")


def _fits(change: _Change, layer: torch.nn.Module | None) -> bool:
    if not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
        return False
    if min(change.down.ndim, change.up.ndim) < 2:
        return False
    outputs, inputs = layer.weight.shape[:2]
    down, up = change.down.shape, change.up.shape
    return (up[0], down[1]) == (outputs, inputs) and down[0] == up[1]


def _unreadable(reason: str) -> ConfigError:
    return ConfigError(f"expected a LoRA in a layout that diffusers reads, found that {reason}")


@torch.no_grad()
def _merge(denoiser: torch.nn.Module) -> float:
    """Merge the active adapters and return the share of their change that rounding leaves.

    It is the change's projection: ⟨W' − W, ΔW⟩ / ⟨ΔW, ΔW⟩, over all layers.
    """
    meant = left = 0.0
    layers: list[Any] = [part for part in denoiser.modules() if isinstance(part, BaseTunerLayer)]
    for layer in layers:
        weight = layer.get_base_layer().weight
        before = weight.clone()
        active = [name for name in layer.active_adapters if name in layer.lora_A]
        change: Any = sum(layer.get_delta_weight(name).float() for name in active)
        layer.merge()
        meant += change.square().sum().item()
        left += ((weight.float() - before.float()) * change).sum().item()
    return left / meant if meant else 0.0
