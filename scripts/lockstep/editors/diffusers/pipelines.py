"""What can be told of a pipeline before its weights are loaded: its class, call and scheduler."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import diffusers

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.errors import ConfigError, suggest

Index = Mapping[str, Any]
"""What model_index.json says: the pipeline's class, and the library and class of each part."""

Pipeline = Any
"""A pipeline of diffusers; to type checkers its classes are the stand-ins for a missing torch."""

QWEN_IMAGE_EDIT: tuple[type[Pipeline], ...] = (
    diffusers.QwenImageEditPipeline,
    diffusers.QwenImageEditPlusPipeline,
)
"""Pipelines that are known well enough for more than a call."""

SEVERAL = ("QwenImageEditPlusPipeline", "Flux2Pipeline", "Flux2KleinPipeline")
"""Pipelines that take several source images of one sample; others take a list for a batch."""

DENOISERS = ("transformer", "unet")
"""Names of the part that denoises."""


def pipeline_class(settings: DiffusersSettings, index: Index) -> type[diffusers.DiffusionPipeline]:
    """Return the class of the configured pipeline, which takes all that it will be called with.

    Raises:
        ConfigError: if there is no such class, or it takes no image and prompt, or does not take
            an argument that the configuration gives.
    """
    name = settings.pipeline or index["_class_name"]
    kind = _named(settings, "pipeline", name, diffusers.DiffusionPipeline)
    takes = _arguments(kind.__call__)
    for needed in ("image", "prompt", "generator"):
        if needed not in takes:
            raise ConfigError(
                f"editors: {settings.name}: pipeline: {name} takes no {needed}, "
                "accepted is one that edits an image by a prompt"
            )
    given = call_arguments(settings)
    for argument in given:
        if argument not in takes:
            raise ConfigError(_surplus(settings, argument, name, takes))
    # the configuration has looked at a scale that it gives; this one is the pipeline's own
    scale = takes["true_cfg_scale"].default if "true_cfg_scale" in takes else 1
    if scale > 1 and not {"true_cfg_scale", "negative_prompt"} & given.keys():
        raise ConfigError(
            f"editors: {settings.name}: negative_prompt: found null, but {name} guides by "
            f"{scale:g} of itself, which without one is switched off; accepted is any text, a "
            "space being neutral, or true_cfg_scale: 1"
        )
    if settings.pass_size and not {"width", "height"} <= takes.keys():
        raise ConfigError(
            f"editors: {settings.name}: pass_size: found true, but {name} takes no width and height"
        )
    return kind


def call_arguments(settings: DiffusersSettings) -> dict[str, Any]:
    """Return the arguments of the pipeline's call that are the same for all samples."""
    guided = settings.true_cfg_scale is None or settings.true_cfg_scale > 1
    named = {
        "num_inference_steps": settings.num_inference_steps,
        "true_cfg_scale": settings.true_cfg_scale,
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
    kind = _named(settings, "scheduler.class", name, diffusers.SchedulerMixin)
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


def _named(settings: DiffusersSettings, key: str, name: Any, base: type) -> Any:
    """Return a class of diffusers by its name."""
    where = f"editors: {settings.name}: {key}: found {name!r}"
    if not isinstance(name, str):
        raise ConfigError(f"{where}, accepted is a class of diffusers, not code of the model's own")
    kind = getattr(diffusers, name, None) if name in dir(diffusers) else None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        ending = "Pipeline" if base is diffusers.DiffusionPipeline else "Scheduler"
        known = [word for word in dir(diffusers) if word.endswith(ending)]
        raise ConfigError(f"{where}{suggest(name, known)}, accepted is such a class of diffusers")
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
        f"editors: {settings.name}: {argument}: found {getattr(settings, argument)!r}, "
        f"but {pipeline} takes no such argument, accepted is null"
    )
