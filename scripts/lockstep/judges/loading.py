"""Models of transformers and their processors, loaded whole or refused in one sentence."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from lockstep.config.section import is_folder
from lockstep.errors import ConfigError, one_sentence
from lockstep.models.weights import check_model, check_taken

# its bars would fill the log
transformers.utils.logging.disable_progress_bar()


def config_of(
    model: str, revision: str | None, kinds: Sequence[Any], does: str
) -> transformers.PreTrainedConfig:
    """Return a model's configuration, if transformers has classes for its type.

    Args:
        model: folder or hub id.
        kinds: classes that must know it, such as `AutoModelForImageTextToText`.
        does: what such a model does.

    Raises:
        ConfigError: if one of them does not.
    """
    with _told(model):
        _check_files(model)
        config: Any = transformers.AutoConfig.from_pretrained(
            model, revision=revision, trust_remote_code=False
        )
    known = all(type(config) in kind._model_mapping for kind in kinds)
    if known and not config.is_encoder_decoder:
        return config
    raise ConfigError(
        f"judge: {model}: expected a model that {does} ({kinds[0].__name__} of transformers "
        f"{transformers.__version__}), found model type {config.model_type!r}"
    )


def load(
    model: str,
    revision: str | None,
    dtype: str,
    kind: Any,
    torch_device: str,
    device_map: Callable[[], str | dict[str, Any]] | None = None,
) -> tuple[Any, Any]:
    """Return a model's processor and the model.

    Args:
        kind: class of transformers that loads it.
        torch_device: cpu or cuda.
        device_map: returns which device holds which module; None puts all on one.

    Raises:
        ConfigError: if the model cannot be found, or is none that it can be.
    """
    if torch_device == "cpu":
        # with more threads the order of sums, and so the last bits, depends on their number
        torch.set_num_threads(1)
    with _told(model):
        _check_files(model)
        processor = transformers.AutoProcessor.from_pretrained(model, revision=revision)
        loaded, info = kind.from_pretrained(
            model,
            revision=revision,
            dtype=getattr(torch, dtype),
            device_map=torch_device if device_map is None else device_map(),
            output_loading_info=True,
            # what has another shape is told with what is missing
            ignore_mismatched_sizes=True,
        )
    check_taken(f"judge: {model}", loaded, info)
    return processor, loaded.eval()


def _check_files(model: str) -> None:
    if is_folder(model):
        try:
            check_model(model)
        except ConfigError as error:
            raise ConfigError(f"judge: {error}") from None


@contextmanager
def _told(model: str) -> Iterator[None]:
    """Say in one sentence why a model cannot be loaded."""
    try:
        yield
    except torch.AcceleratorError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"judge: cannot load {model!r} ({one_sentence(error)})") from None
