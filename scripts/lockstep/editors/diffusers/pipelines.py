"""What can be told of a pipeline before its weights are loaded: its class, call and scheduler."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast, get_args, get_origin, get_type_hints

import accelerate
import diffusers
import torch
from PIL import Image

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers.modular import Part
from lockstep.errors import ConfigError, counted, suggest

Index = Mapping[str, Any]
"""What model_index.json says: the pipeline's class, and the library and class of each part."""

Pipeline = Any
"""A pipeline of diffusers; to type checkers its classes are the stand-ins for a missing torch."""

QWEN_IMAGE_EDIT: tuple[type[Pipeline], ...] = (
    diffusers.QwenImageEditPipeline,
    diffusers.QwenImageEditPlusPipeline,
)
"""Pipelines that are known well enough for more than a call."""

IMAGE_ARGUMENTS = ("image", "images", "input_images")
"""Names of the argument that takes the source."""

SEVERAL = (
    *("GlmImagePipeline", "QwenImage21Pipeline", "QwenImageEditPlusPipeline"),
    *("Flux3ModularPipeline", "Flux3DistilledModularPipeline"),
    *("QwenImage21ModularPipeline", "QwenImage21TurboModularPipeline"),
    "QwenImageEditPlusModularPipeline",
)
"""Pipelines that take several source images of a sample, and whose signature could mean a batch."""

REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "BriaFiboEditPipeline": {"prompt_form": "json"},
    "GlmImagePipeline": {"pass_size": True},
    "OmniGenPipeline": {"prompt_form": "tagged"},
    "ZImageOmniPipeline": {"dtype": "bfloat16"},
}
"""Settings without which a pipeline fails at every edit."""

GUIDED_BY_WEIGHTS = (
    "Flux2Pipeline",
    "FluxKontextPipeline",
    "QwenImageEditPipeline",
    "QwenImageEditPlusPipeline",
)
"""Pipelines whose `guidance_scale` reaches nothing but the transformer's guidance embedding."""

UNREAD = {
    "DreamLiteMobilePipeline": ("guidance_scale", "image_guidance_scale", "max_sequence_length"),
    "DreamLitePipeline": ("max_sequence_length",),
}
"""Arguments that a pipeline takes and ignores when it edits."""

RESULTS = {
    "images": "images",
    "image": "image",
    "first_frame": "frames",
    "last_frame": "frames",
}
"""Fields of a pipeline's output, by what `result` says."""

DENOISERS = ("transformer", "unet")
"""Names of the part that denoises."""


def pipeline_class(settings: DiffusersSettings, index: Index) -> type[diffusers.DiffusionPipeline]:
    """Return the class of the configured pipeline, which takes all that it will be called with.

    Raises:
        ConfigError: if there is no such class, or it takes no image and prompt, or does not take
            an argument that the configuration gives.
    """
    name = settings.pipeline or index["_class_name"]
    kind = named_class(settings, "pipeline", name, diffusers.DiffusionPipeline)
    check_call(settings, kind, _arguments(kind.__call__), index, _outputs(kind))
    return kind


def check_call(
    settings: DiffusersSettings,
    kind: type[Any],
    takes: Mapping[str, inspect.Parameter],
    index: Index,
    outputs: Collection[str],
    guider: bool = False,
) -> None:
    """Refuse a pipeline that takes no image and prompt, or not all that it will be called with.

    Args:
        takes: arguments of its call.
        outputs: fields of what it returns; none where that is not known.
        guider: whether a part of it takes the guidance scale.

    Raises:
        ConfigError: saying what is accepted.
    """
    name = kind.__name__
    _check_image_argument(settings, name, takes)
    for needed in ("prompt", "generator"):
        if needed not in takes:
            raise ConfigError(
                f"editors: {settings.name}: pipeline: expected one that edits an image by a "
                f"prompt, found {name}, which takes no {needed}"
            )
    _check_result(settings, name, outputs)
    _check_required(settings, kind)
    given = call_arguments(settings, guider)
    for argument in given:
        if argument not in takes:
            raise ConfigError(_surplus(settings, argument, name, takes))
    # the configuration has looked at a scale that it gives; this one is the pipeline's own
    scale = takes["true_cfg_scale"].default if "true_cfg_scale" in takes else 1
    if scale > 1 and not {"true_cfg_scale", "negative_prompt"} & given.keys():
        raise ConfigError(
            f"editors: {settings.name}: negative_prompt: expected a text (a space is neutral), or "
            f"true_cfg_scale: 1, found null, which switches off the guidance of {scale:g} that "
            f"{name} has by default"
        )
    if settings.pass_size and not {"width", "height"} <= takes.keys():
        raise ConfigError(
            f"editors: {settings.name}: pass_size: found true, but {name} takes no width and height"
        )
    _check_ignored(settings, kind, index)


def takes_several(settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline]) -> bool:
    """Tell whether a pipeline takes several source images of one sample, as a list.

    Others take a list for a batch. An argument whose type names lists of PIL images but no tensors
    is for several images of one sample, in all pipelines of diffusers 0.42.
    """
    if settings.image_argument != "image" or kind.__name__ in SEVERAL:
        return True
    taken = _arguments(kind.__call__).get("image")
    kinds = () if taken is None else get_args(taken.annotation)
    lists = [each for each in kinds if get_origin(each) is list]
    pictures = any(Image.Image in get_args(each) for each in lists)
    return pictures and torch.Tensor not in kinds


def _check_image_argument(settings: DiffusersSettings, name: str, takes: Collection[str]) -> None:
    """Refuse a pipeline that takes no image, takes it by another name, or needs a mask too."""
    argument, where = settings.image_argument, f"editors: {settings.name}: "
    if argument not in takes:
        other = next((word for word in IMAGE_ARGUMENTS if word in takes), None)
        if other is not None:
            raise ConfigError(
                f"{where}image_argument: found {argument!r}, but {name} takes {other!r}"
            )
        raise ConfigError(
            f"{where}pipeline: expected one that edits an image by a prompt, "
            f"found {name}, which takes no image"
        )
    mask = next((word for word in ("mask_image", "control_image") if word in takes), None)
    if mask is not None:
        raise ConfigError(
            f"{where}pipeline: expected one that edits an image by a prompt alone, "
            f"found {name}, which needs a {mask}"
        )


def _outputs(kind: type[diffusers.DiffusionPipeline]) -> set[str]:
    """Return the fields of a pipeline's output, where they are declared."""
    try:
        declared = get_args(get_type_hints(kind.__call__).get("return"))
    except (NameError, TypeError):
        return set()
    outputs = [each for each in declared if dataclasses.is_dataclass(each)]
    return {field.name for each in outputs for field in dataclasses.fields(each)}


def _check_result(settings: DiffusersSettings, name: str, fields: Collection[str]) -> None:
    """Refuse a field that the pipeline's output does not have, where that is known."""
    if fields and RESULTS[settings.result] not in fields:
        fitting = [word for word, field in RESULTS.items() if field in fields]
        expected = f"; expected {' or '.join(fitting)}" if fitting else ", which are no images"
        raise ConfigError(
            f"editors: {settings.name}: result: found {settings.result!r}, "
            f"but {name} returns {', '.join(sorted(fields))}{expected}"
        )


def _check_required(settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline]) -> None:
    """Refuse settings with which a pipeline fails at every edit, and a package that it lacks."""
    where = f"editors: {settings.name}: "
    for field, needed in REQUIRED.get(kind.__name__, {}).items():
        if (found := getattr(settings, field)) != needed:
            raise ConfigError(
                f"{where}{field}: found {json.dumps(found)}, "
                f"but {kind.__name__} needs {json.dumps(needed)}"
            )
    clean = getattr(sys.modules[kind.__module__], "prompt_clean", str)
    try:
        clean("a")
    except NameError as error:
        raise ConfigError(
            f"{where}pipeline: {kind.__name__} needs the package {error.name}, "
            f"found none; expected it in the environment (pip install {error.name})"
        ) from None


def _check_ignored(
    settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline], index: Index
) -> None:
    """Refuse arguments that the model's own configuration overrides, or the pipeline ignores."""
    where, call = f"editors: {settings.name}: ", settings.call
    steps, sigmas = settings.num_inference_steps, index.get("sample_sigmas")
    if sigmas and "sigmas" not in call and steps not in (None, len(sigmas)):
        raise ConfigError(
            f"{where}num_inference_steps: found {steps}, but the model sets its own "
            f"{counted(len(sigmas), 'step')} (sample_sigmas in its index); "
            f"expected null, {len(sigmas)} or call.sigmas"
        )
    scale = call.get("guidance_scale")
    guided = isinstance(scale, int | float) and scale > 1
    if guided and index.get("is_distilled"):
        raise ConfigError(
            f"{where}call.guidance_scale: found {scale:g}, but the model is distilled "
            "(is_distilled in its index) and ignores it; expected 1"
        )
    if guided and kind.__name__ in GUIDED_BY_WEIGHTS and not _embeds_guidance(settings, index):
        raise ConfigError(
            f"{where}call.guidance_scale: found {scale:g}, but the model's transformer has no "
            "guidance_embeds and ignores it; expected no such key"
        )
    unread = UNREAD.get(kind.__name__, ())
    if kind.__name__ == "ChronoEditPipeline" and not call.get("enable_temporal_reasoning"):
        unread = ("num_frames", "num_temporal_reasoning_steps")
    for argument in call:
        if argument in unread and call[argument]:
            raise ConfigError(
                f"{where}call.{argument}: found {call[argument]!r}, which {kind.__name__} "
                "ignores here; expected no such key"
            )


def _embeds_guidance(settings: DiffusersSettings, index: Index) -> bool:
    """Tell whether a model's transformer takes guidance as one of its inputs."""
    if "transformer" not in index:
        return True
    kind = getattr(diffusers, index["transformer"][1])
    described = _described(settings, "transformer", index)
    default = _arguments(kind.__init__)["guidance_embeds"].default
    return bool(described.get("guidance_embeds", default))


def call_arguments(settings: DiffusersSettings, guider: bool = False) -> dict[str, Any]:
    """Return the arguments of the pipeline's call that are the same for all samples.

    Args:
        guider: whether a part of the pipeline takes the guidance scale.
    """
    guided = settings.true_cfg_scale is None or settings.true_cfg_scale > 1
    named = {
        "num_inference_steps": settings.num_inference_steps,
        "true_cfg_scale": None if guider else settings.true_cfg_scale,
        # with it and without guidance the pipelines warn at every call
        "negative_prompt": settings.negative_prompt if guided else None,
    }
    return {key: value for key, value in named.items() if value is not None} | settings.call


def check_scheduler(settings: DiffusersSettings, index: Index) -> None:
    """Refuse a scheduler that is none, or keys that it does not have.

    Raises:
        ConfigError: naming close ones.
    """
    if not settings.scheduler:
        return
    if "scheduler" not in index:
        raise ConfigError(f"editors: {settings.name}: scheduler: {settings.model!r} has none")
    name = settings.scheduler.get("class", index["scheduler"][1])
    kind = named_class(settings, "scheduler.class", name, diffusers.SchedulerMixin)
    keys = _arguments(kind.__init__)
    for key in settings.scheduler:
        if key not in keys and key != "class":
            raise ConfigError(
                f"editors: {settings.name}: scheduler.{key}: {name} has no such key"
                f"{suggest(key, keys)}"
            )


def set_scheduler(pipeline: Pipeline, changes: Mapping[str, Any]) -> None:
    """Give a pipeline a scheduler with some keys of its configuration changed."""
    if changes:
        own = dict(changes)
        name = own.pop("class", type(pipeline.scheduler).__name__)
        pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **own)


def denoiser_name(parts: Mapping[str, Any]) -> str | None:
    """Return the name of the part that denoises; None where none is known."""
    return next((name for name in DENOISERS if name in parts), None)


def empty_denoiser(settings: DiffusersSettings, index: Index) -> torch.nn.Module:
    """Return a model's denoiser with shapes alone."""
    part = str(denoiser_name(index))
    kind = getattr(diffusers, index[part][1])
    described = _described(settings, part, index)
    with accelerate.init_empty_weights():
        empty: torch.nn.Module = kind.from_config(described)
    return empty


def _described(settings: DiffusersSettings, part: str, index: Index) -> Mapping[str, Any]:
    """Return the configuration of a part, from the hub if it must be."""
    found, kind = index[part], getattr(diffusers, index[part][1])
    if isinstance(found, Part):
        described = kind.load_config(found.folder)
    else:
        described = kind.load_config(settings.model, subfolder=part, revision=settings.revision)
    return cast(Mapping[str, Any], described)


def named_class(settings: DiffusersSettings, key: str, name: Any, base: type) -> Any:
    """Return a class of diffusers by its name.

    Raises:
        ConfigError: if it is none, or not of a base class.
    """
    where = f"editors: {settings.name}: {key}: expected"
    if not isinstance(name, str):
        raise ConfigError(f"{where} a class of diffusers, found code of the model's own: {name!r}")
    kind = getattr(diffusers, name, None) if name in dir(diffusers) else None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        ending = "Scheduler" if base is diffusers.SchedulerMixin else "Pipeline"
        known = [word for word in dir(diffusers) if word.endswith(ending)]
        raise ConfigError(
            f"{where} a {ending.lower()} of diffusers, found {name!r}{suggest(name, known)}"
        )
    return kind


def _arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what a function takes by name; what it takes in `**kwargs` it may well ignore."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in variable and name != "self"
    }


def _surplus(
    settings: DiffusersSettings, argument: str, pipeline: str, takes: Mapping[str, Any]
) -> str:
    if argument in settings.call:
        return (
            f"editors: {settings.name}: call.{argument}: {pipeline} takes no such argument"
            f"{suggest(argument, takes)}"
        )
    return (
        f"editors: {settings.name}: {argument}: expected null, because {pipeline} takes no such "
        f"argument, found {getattr(settings, argument)!r}"
    )
