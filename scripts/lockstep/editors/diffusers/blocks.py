"""Modular pipelines of diffusers, made of blocks: which of them edit an image, and their parts.

No block and no part is code of a model's own, and nothing is asked of a hub.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
from diffusers.modular_pipelines.modular_pipeline import PipelineState

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers.modular import Part, lacking, read_index
from lockstep.editors.diffusers.pipelines import (
    Index,
    Pipeline,
    check_call,
    check_scheduler,
    named_class,
)
from lockstep.errors import ConfigError, one_sentence, suggest

GUIDER = "guider"
"""Part that guides where a pipeline's call takes no scale."""


class Blocks(NamedTuple):
    """A modular pipeline before its parts are loaded."""

    kind: type[Any]
    """Its class."""
    run: Any
    """Those of its blocks that run where it is given a prompt and an image."""
    parts: Mapping[str, Part]
    """Its parts that are loaded from files."""

    @property
    def takes(self) -> dict[str, inspect.Parameter]:
        """Arguments of its call by name."""
        return {
            given.name: inspect.Parameter(
                given.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=given.default,
                annotation=given.type_hint,
            )
            for given in self.run.inputs
            if given.name is not None
        }

    @property
    def guided(self) -> bool:
        """Whether a part of it guides."""
        return any(spec.name == GUIDER for spec in self.run.expected_components)


def check(settings: DiffusersSettings) -> tuple[Blocks, Index]:
    """Return a modular pipeline's blocks after looking whether it edits as the settings say.

    Raises:
        ConfigError: if it cannot, or one of its parts is nowhere.
    """
    for field, sentence in lacking(settings):
        raise ConfigError(f"editors: {settings.name}: {field}: {sentence}")
    index = read_index(settings.model, settings.components)
    kind = _class(settings, index)
    whole = getattr(diffusers, _blocks_name(settings, index, kind))()
    _check_names(settings, whole)
    left_out = {name for name, folder in settings.components.items() if folder is None}
    for name, block in list(whole.sub_blocks.items()):
        if left_out & {spec.name for spec in block.expected_components}:
            del whole.sub_blocks[name]
    run = whole.get_execution_blocks(prompt=True, image=True)
    blocks = Blocks(kind, run, {})
    outputs = {output.name for output in run.outputs}
    check_call(settings, kind, blocks.takes, index, outputs, blocks.guided)
    made = {
        spec.name: [spec.type_hint.__module__.split(".")[0], spec.type_hint.__name__]
        for spec in run.expected_components
        if spec.default_creation_method == "from_config"
    }
    check_scheduler(settings, {**made, **index})
    return blocks._replace(parts=_parts(settings, index, run)), index


def completed(
    settings: DiffusersSettings, blocks: Blocks, loaded: Mapping[str, torch.nn.Module]
) -> Pipeline:
    """Return a modular pipeline with all parts, those without weights loaded here.

    Args:
        loaded: parts with weights.

    Raises:
        ConfigError: if one cannot be loaded.
    """
    pipeline = blocks.kind(
        blocks=blocks.run, pretrained_model_name_or_path=settings.model, local_files_only=True
    )
    rest = {}
    for name, part in blocks.parts.items():
        if name not in loaded:
            kind = _part_class(part)
            # a processor may ask to run code of the model's own
            safe = {"trust_remote_code": False} if part.library == "transformers" else {}
            try:
                rest[name] = kind.from_pretrained(part.folder, local_files_only=True, **safe)
            except Exception as error:  # each class raises its own kinds
                raise ConfigError(
                    f"editors: {settings.name}: {part.folder}: cannot load the {name} "
                    f"({one_sentence(error)})"
                ) from None
    pipeline.update_components(**loaded, **rest)
    if blocks.guided and settings.true_cfg_scale is not None:
        own = pipeline.guider
        changed = type(own).from_config(own.config, guidance_scale=settings.true_cfg_scale)
        pipeline.guider = changed
    return pipeline


def rewritten(result: Any, given: Mapping[str, Any]) -> str | None:
    """Return what a modular pipeline made of its prompt before it encoded that, if anything."""
    if not isinstance(result, PipelineState):
        return None
    prompt = result.get("prompt")
    return prompt if isinstance(prompt, str) and prompt != given["prompt"] else None


def weighty(blocks: Blocks) -> dict[str, tuple[type[torch.nn.Module], Path]]:
    """Return class and folder of the parts that have weights."""
    kinds = {name: (_part_class(part), part.folder) for name, part in blocks.parts.items()}
    return {name: pair for name, pair in kinds.items() if issubclass(pair[0], torch.nn.Module)}


def _class(settings: DiffusersSettings, index: Index) -> type[Any]:
    name = settings.pipeline or index.get("_class_name")
    found: type[Any] = named_class(settings, "pipeline", name, diffusers.ModularPipeline)
    return found


def _blocks_name(settings: DiffusersSettings, index: Index, kind: type[Any]) -> str:
    """Return the class of a pipeline's blocks, that of its index where it names the same pipeline.

    Raises:
        ConfigError: if diffusers does not have them; it would take others in their place.
    """
    own = index.get("_blocks_class_name") if index.get("_class_name") == kind.__name__ else None
    found = (
        getattr(diffusers, own, None) if isinstance(own, str) and own in dir(diffusers) else None
    )
    if own is not None and found is None:
        raise ConfigError(
            f"editors: {settings.name}: {settings.model}: found the blocks {own!r}, "
            f"expected some of diffusers, such as {kind.default_blocks_name}"
        )
    # blocks without a name of their own were saved as those that all are made of
    plain = found is None or not getattr(found, "block_classes", None)
    if plain and kind.default_blocks_name is None:
        raise ConfigError(
            f"editors: {settings.name}: pipeline: found {kind.__name__}, which has no "
            "blocks of its own; expected one of a model"
        )
    return str(kind.default_blocks_name if plain else own)


def _check_names(settings: DiffusersSettings, whole: Any) -> None:
    known = {spec.name for spec in whole.expected_components}
    for name in settings.components:
        if name not in known:
            raise ConfigError(
                f"editors: {settings.name}: components.{name}: {type(whole).__name__} has no such "
                f"part{suggest(name, known)}"
            )


def _parts(settings: DiffusersSettings, index: Index, run: Any) -> dict[str, Part]:
    """Return the parts that blocks load from files, and where from."""
    found = {}
    for spec in run.expected_components:
        part, mapped = index.get(spec.name), settings.components.get(spec.name)
        if isinstance(part, Part):
            if _part_class(part) is None:
                raise ConfigError(
                    f"editors: {settings.name}: {settings.model}: {spec.name}: found the class "
                    f"{part.kind!r}, which {part.library} does not have"
                )
            found[spec.name] = part
        elif mapped is not None:
            library = spec.type_hint.__module__.split(".")[0]
            found[spec.name] = Part(library, spec.type_hint.__name__, Path(mapped))
        elif spec.default_creation_method == "from_pretrained":
            raise ConfigError(
                f"editors: {settings.name}: components: {settings.model} has no {spec.name}; "
                f"expected a folder for it ({spec.name}: …), or null to leave it out"
            )
    return found


def _part_class(part: Part) -> Any:
    """Return the class of a part; None where its library has none of that name."""
    library = {"diffusers": diffusers, "transformers": transformers}[part.library]
    return getattr(library, part.kind, None)
