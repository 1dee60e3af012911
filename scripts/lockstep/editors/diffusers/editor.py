"""Any diffusers pipeline that edits an image by a prompt, one image at a time."""

import contextlib
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError

from lockstep.editors.diffusers import (
    DiffusersSettings,
    blocks,
    lossy,
    modular,
    pipelines,
    qwen_image,
    spreading,
)
from lockstep.editors.diffusers.arriving import Arriving, opaque
from lockstep.editors.diffusers.loading import load_parts, part_class
from lockstep.editors.diffusers.prompts import CutWatch, formed, refuse_longer, tokenizers
from lockstep.editors.protocol import Told
from lockstep.errors import ConfigError, DeviceError, EditError, SkipError, one_sentence
from lockstep.foreign.images import open_rgb
from lockstep.foreign.plain_text import speller
from lockstep.records import Sample

if TYPE_CHECKING:
    from lockstep.editors.diffusers.series import Kept

log = logging.getLogger(__name__)

# parts that are handed over, it cannot tell from ones of another kind, and shows them whole
logging.getLogger("diffusers.pipelines.pipeline_loading_utils").setLevel(logging.ERROR)
# their bars would fill the log
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()


FEW_STEPS = {"num_inference_steps": 2}


@dataclass
class _Prepared:
    """A sample, ready for the device."""

    given: dict[str, Any]
    """Arguments of the pipeline's call."""
    inputs: qwen_image.Prepared | None = None
    """For the text encoder, where it is called apart."""
    encoded: dict[str, Any] | None = None
    """What the text encoder has made of them, where it was called ahead."""


class DiffusersEditor:
    """A pipeline that takes an image and a prompt.

    Args:
        settings: model and call arguments.
        torch_device: cpu or cuda.

    Raises:
        ConfigError: if the model cannot be found, or the settings do not fit it.
    """

    def __init__(self, settings: DiffusersSettings, torch_device: str) -> None:
        self._settings = settings
        self._device = torch_device
        self._following: _Prepared | None = None
        """The sample that was prepared last, and is edited after the one in hand."""
        self._kept: Kept = {}
        """Weights of the base model, where adapters are replaced."""
        self._rewritten: str | None = None
        """What the pipeline itself made of the last instruction, where it rewrites."""
        if torch_device == "cpu":
            # with more threads the order of sums, and so the last bits, depends on their number
            torch.set_num_threads(1)
        began = time.monotonic()
        try:
            self._pipeline = _pipeline(settings, torch_device, self._kept)
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            raise ConfigError(
                f"editors: {settings.name}: cannot load {settings.model!r} ({one_sentence(error)})"
            ) from None
        self._spell = speller(part for _, part in tokenizers(self._pipeline))
        guider = blocks.GUIDER in self._pipeline.components
        self._arguments = pipelines.call_arguments(settings, guider)
        self._several = pipelines.takes_several(settings, type(self._pipeline))
        qwen = isinstance(self._pipeline, pipelines.QWEN_IMAGE_EDIT)
        self._fast = qwen and settings.optimized
        log.info(
            "loaded %s from %s on %s in %.1f s",
            type(self._pipeline).__name__,
            settings.model,
            torch.cuda.get_device_name() if torch_device == "cuda" else "cpu",
            time.monotonic() - began,
        )
        # Qwen-Image-Edit cuts nothing
        self._cuts = (
            None if qwen else CutWatch(self._pipeline, settings.negative_prompt, settings.call)
        )
        denoiser = pipelines.denoiser_name(self._pipeline.components)
        if self._cuts is not None and settings.on_cut == "fail" and denoiser is not None:
            # as soon as all encoders have read the prompt
            getattr(self._pipeline, denoiser).register_forward_pre_hook(self._stop_if_cut)
        if self._fast and torch_device == "cuda":
            self._warm_up()

    def take(self, settings: DiffusersSettings) -> None:
        """Become another checkpoint on the same base model.

        Raises:
            ConfigError: if it does not fit; the editor is not to be used then.
        """
        if settings.adapters == self._settings.adapters:
            return
        from lockstep.editors.diffusers import series

        began = time.monotonic()
        series.take(self._pipeline, settings, self._kept)
        self._settings = settings
        log.info("took the next checkpoint, %s, in %.1f s", settings.name, time.monotonic() - began)

    def _warm_up(self) -> None:
        """Have kernels compiled and memory taken before the first sample comes.

        For pipelines that we know alone: what torch compiles for others depends on the sizes that
        it has seen, and so would their last bits.
        """
        began = time.monotonic()
        prompts = ["Nothing.", self._arguments.get("negative_prompt")]
        source = Image.new("RGB", (1024, 1024), "gray")
        inputs = qwen_image.prepare(self._pipeline, [source], [p for p in prompts if p is not None])
        arguments = self._arguments
        # two steps run all that more of them do
        self._arguments = {**arguments, **({} if "sigmas" in arguments else FEW_STEPS)}
        try:
            self._image(_Prepared({"image": inputs.images}, inputs), "no sample", seed=0)
            log.info("warmed up in %.1f s", time.monotonic() - began)
        except EditError as error:
            # smaller samples may do
            log.warning("not warmed up: %s", error)
        finally:
            self._arguments = arguments

    def prepare(self, sample: Sample) -> _Prepared:
        if sample.more and not self._several:
            raise SkipError(
                f"found {1 + len(sample.more)} source images, "
                f"but {type(self._pipeline).__name__} takes one"
            )
        paths = [sample.image, *(picture.image for picture in sample.more)]
        sources = [
            _scaled_down(open_rgb(path, sample.background), self._settings.max_input_pixels)
            for path in paths
        ]
        first = sources[0]
        size = _passed_size(first, self._settings.size_multiple) if self._settings.pass_size else {}
        prompt = self._spell(sample.instruction)
        if not self._fast:
            given = sources if self._several else first
            prompt = formed(prompt, self._settings.prompt_form, len(sources))
            refuse_longer(self._pipeline, prompt)
            return _Prepared({self._settings.image_argument: given, "prompt": prompt, **size})
        prompts = [prompt, self._arguments.get("negative_prompt")]
        inputs = qwen_image.prepare(self._pipeline, sources, [p for p in prompts if p is not None])
        self._following = _Prepared({"image": inputs.images, **size}, inputs)
        return self._following

    def edit(self, prepared: _Prepared, sample: Sample, seed: int) -> Image.Image | Told:
        if self._cuts is not None:
            self._cuts.begin(prepared.given["prompt"])
        image = opaque(self._image(prepared, sample.id, seed), sample.background)
        if self._device == "cuda":
            log.info("peak device memory %.1f GiB", torch.cuda.max_memory_allocated() / 2**30)
        told = {} if self._rewritten is None else {"rewritten": self._rewritten}
        if self._cuts is not None and (cut := self._cuts.said()) is not None:
            log.warning("%s: the prompt was %s", sample.id, cut)
            told["prompt_cut"] = cut
        return Told(image, told) if told else image

    def _stop_if_cut(self, *_: Any) -> None:
        if self._cuts is not None and (cut := self._cuts.said()) is not None:
            raise EditError(f"the prompt was {cut}")

    def _image(self, prepared: _Prepared, name: str, seed: int) -> Image.Image:
        given = self._arguments | prepared.given
        lossy.forget(self._pipeline)
        try:
            if prepared.inputs is not None:
                given |= prepared.encoded or qwen_image.encode(self._pipeline, prepared.inputs)
                given.pop("negative_prompt", None)
            # what some pipelines draw beside the generator's numbers
            torch.manual_seed(seed)
            result = self._pipeline(
                # on the CPU, so that every kind of device starts from the same noise
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="pt",
                **given,
            )
            self._rewritten = blocks.rewritten(result, given)
            arriving = Arriving(result, self._settings.result, name)
            self._encode_following(prepared)
            return arriving.image()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise EditError(f"out of memory on the device ({one_sentence(error)})") from None
        except torch.AcceleratorError as error:
            raise DeviceError(f"the device failed ({one_sentence(error)})") from error
        except (ValueError, RuntimeError) as error:
            if self._cuts is None or (cut := self._cuts.said()) is None:
                raise
            raise EditError(
                f"the prompt was {cut}, and the pipeline failed ({one_sentence(error)})"
            ) from error

    def _encode_following(self, prepared: _Prepared) -> None:
        """Give the device the next sample's prompts, so that it works while this one is stored."""
        following, self._following = self._following, None
        if following is None or following is prepared or following.inputs is None:
            return
        # without the memory, its own edit says so
        with contextlib.suppress(torch.OutOfMemoryError):
            following.encoded = qwen_image.encode(self._pipeline, following.inputs)


def _scaled_down(source: Image.Image, max_pixels: int | None) -> Image.Image:
    """Return an image with at most a number of pixels, in its proportions."""
    if max_pixels is None or source.width * source.height <= max_pixels:
        return source
    scale = math.sqrt(max_pixels / (source.width * source.height))
    size = (max(1, int(source.width * scale)), max(1, int(source.height * scale)))
    return source.resize(size, Image.Resampling.LANCZOS)


def _passed_size(source: Image.Image, multiple: int) -> dict[str, int]:
    """Return a source's width and height for the call, rounded down to multiples."""
    width, height = (max(multiple, side // multiple * multiple) for side in source.size)
    return {"width": width, "height": height}


def _pipeline(settings: DiffusersSettings, torch_device: str, kept: "Kept") -> pipelines.Pipeline:
    """Return a pipeline that is ready to be called; what cannot be is told before it is loaded.

    Args:
        kept: where weights of the base model are kept, if adapters will be replaced.
    """
    own: blocks.Blocks | None = None
    if modular.is_modular(settings):
        own, index = blocks.check(settings)
        kind = own.kind
    else:
        index = diffusers.DiffusionPipeline.load_config(settings.model, revision=settings.revision)
        kind = pipelines.pipeline_class(settings, index)
        pipelines.check_scheduler(settings, index)
    lossy.check(settings, kind, torch_device)
    checked = []
    if settings.adapters:
        from lockstep.editors.diffusers import adapters, series

        checked = adapters.check(settings, kind, index)
    offload = settings.offload if torch_device == "cuda" else "none"
    places: spreading.Places = {}
    # slots of a CPU are one device
    if settings.together > 1 and torch_device == "cuda":
        empty = pipelines.empty_denoiser(settings, index)
        places = spreading.places(settings, _folder(settings, kind), empty)
    if own is None:
        where = torch_device if offload == "none" else "cpu"
        pipeline = _load(settings, kind, index, where, places)
    else:
        parts = load_parts(settings, kind, blocks.weighty(own), torch_device)
        pipeline = blocks.completed(settings, own, parts)
    pipeline.set_progress_bar_config(disable=True)
    pipelines.set_scheduler(pipeline, settings.scheduler)
    if settings.held.adapters != settings.adapters:
        series.keep(pipeline, checked, kept)
    if checked:
        adapters.fuse(pipeline, settings, checked)
    add_token_types(getattr(pipeline, "text_encoder", None))
    if places:
        spreading.spread(pipeline, settings, places)
    if settings.optimized:
        _optimize(pipeline, torch_device)
    lossy.enable(pipeline, settings)
    _offload(pipeline, offload)
    return pipeline


def _optimize(pipeline: pipelines.Pipeline, torch_device: str) -> None:
    """Make a pipeline faster in place, without changing what it computes."""
    if isinstance(pipeline, pipelines.QWEN_IMAGE_EDIT):
        qwen_image.optimize(pipeline)
        return
    name = pipelines.denoiser_name(pipeline.components)
    denoiser: Any = getattr(pipeline, name) if name else None
    if torch_device == "cuda" and getattr(denoiser, "_repeated_blocks", None):
        denoiser.compile_repeated_blocks()


def _offload(pipeline: pipelines.Pipeline, offload: str) -> None:
    """Keep weights in host memory until the GPU needs them."""
    match offload:
        case "model":
            pipeline.enable_model_cpu_offload()
        case "group":
            # by single layers, since only those of a denoiser lie in groups in every pipeline;
            # the next one is fetched while one computes
            pipeline.enable_group_offload(
                torch.device("cuda"), offload_type="leaf_level", use_stream=True
            )
        case "sequential":
            pipeline.enable_sequential_cpu_offload()


def _load(
    settings: DiffusersSettings,
    kind: type[diffusers.DiffusionPipeline],
    index: pipelines.Index,
    torch_device: str,
    places: spreading.Places,
) -> pipelines.Pipeline:
    """Load a pipeline part by part, so that each can say whether its weights were all there.

    Args:
        places: devices of the denoiser's modules, if it is on others than the rest.

    Raises:
        ConfigError: if weights are missing, which would leave them random, or not all are taken.
    """
    folder, dtype = _folder(settings, kind), getattr(torch, settings.dtype)
    kinds = {name: part_class(value) for name, value in index.items()}
    found = {name: (part, folder / name) for name, part in kinds.items() if part is not None}
    parts = load_parts(settings, kind, found, torch_device, places)
    pipeline = kind.from_pretrained(folder, dtype=dtype, **parts)
    for name, part in pipeline.components.items():
        # what diffusers has loaded by itself, such as a safety checker
        if isinstance(part, torch.nn.Module) and name not in parts:
            part.to(torch_device)
    return pipeline


def _folder(settings: DiffusersSettings, kind: type[diffusers.DiffusionPipeline]) -> Path:
    """Return the folder of a pipeline, from the hub if it must be."""
    if Path(settings.model).is_dir():
        return Path(settings.model)
    return Path(kind.download(settings.model, revision=settings.revision))


def add_token_types(text_encoder: transformers.PreTrainedModel | None) -> None:
    """Make a Qwen2.5-VL text encoder see which of its tokens are image tokens.

    Without `mm_token_type_ids` transformers falls back to one-dimensional positions, and the
    Qwen-Image-Edit pipelines of diffusers do not pass them (huggingface/diffusers issue 14194):
    the embeddings, and so the pixels, are wrong with no warning.
    """
    if not isinstance(text_encoder, transformers.Qwen2_5_VLForConditionalGeneration):
        return

    def before(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs.get("pixel_values") is not None and kwargs.get("mm_token_type_ids") is None:
            image_tokens = kwargs["input_ids"] == module.config.image_token_id
            kwargs["mm_token_type_ids"] = image_tokens.int()
        return args, kwargs

    text_encoder.register_forward_pre_hook(before, with_kwargs=True)
