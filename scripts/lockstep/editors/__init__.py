"""Editors: one protocol, a module for each backend.

An editor turns a sample and a seed into an image and raises if it cannot; it neither knows shards
nor writes files. Importing this package imports no torch.
"""

import logging
import time
from typing import Any, Protocol

from PIL import Image

from lockstep import config
from lockstep.editors import precomputed
from lockstep.models import adapter_identity, model_identity
from lockstep.plain_text import spelling
from lockstep.records import Sample

log = logging.getLogger(__name__)

SEMANTICS = 2
"""Raised by hand when code changes the pixels that the same settings give."""

APART = frozenset(
    {"name", "preset", "type", "size", "resize_filter", "offload", "optimize"}
    | {"model", "revision", "adapters"}
)
"""Settings of a diffusers editor that decide no pixels, or that its identity names otherwise."""


class Editor(Protocol):
    def prepare(self, sample: Sample) -> Any:
        """Return what `edit` takes of a sample: the work that needs no device.

        It may run in another thread while `edit` runs for another sample.

        Raises:
            EditError: if this sample cannot be edited.
        """

    def edit(self, prepared: Any, sample: Sample, seed: int) -> Image.Image:
        """Return the edited image as 8-bit RGB in host memory.

        Args:
            prepared: what `prepare` returned for this sample.

        Raises:
            EditError: if this sample cannot be edited.
            DeviceError: if the device cannot go on at all.
        """


def identity(settings: config.AnyEditor, sample: Sample) -> dict[str, Any]:
    """Return everything of an editor that decides a sample's pixels, for the edit key."""
    common = {"type": settings.type, "semantics": SEMANTICS, "size_policy": settings.size}
    if settings.size != "native":
        common["resize_filter"] = settings.resize_filter
    match settings:
        case config.DiffusersEditor():
            return {
                **common,
                **model_identity(settings.model, settings.revision),
                **settings.model_dump(mode="json", exclude=APART),
                "adapters": list(map(adapter_identity, settings.adapters)),
                "optimized": settings.optimized,
                **spelling(sample.instruction),
            }
        case config.PrecomputedEditor():
            return {**common, **precomputed.identity(settings.folder, sample)}
        case config.IdentityEditor():
            return common


def load_editor(settings: config.AnyEditor, torch_device: str) -> Editor:
    """Load an editor on a device.

    Args:
        torch_device: cpu or cuda, as `device.pin` returns it.

    Raises:
        ConfigError: if its model cannot be found.
    """
    match settings:
        case config.DiffusersEditor():
            began = time.monotonic()
            from lockstep.editors.diffusers import DiffusersEditor

            log.info("imports took %.1f s", time.monotonic() - began)
            return DiffusersEditor(settings, torch_device)
        case config.PrecomputedEditor():
            return precomputed.PrecomputedEditor(settings.folder)
        case config.IdentityEditor():
            return precomputed.IdentityEditor()
