"""Editors: one protocol, a module for each backend.

An editor turns a sample and a seed into an image and raises if it cannot; it neither knows shards
nor writes files. Importing this package imports no torch.
"""

from typing import Any, Protocol

from PIL import Image

from lockstep import config
from lockstep.editors import precomputed
from lockstep.models import model_identity
from lockstep.records import Sample

SEMANTICS = 1
"""Raised by hand when code changes the pixels that the same settings give."""


class Editor(Protocol):
    def edit(self, sample: Sample, seed: int) -> Image.Image:
        """Return the edited image as 8-bit RGB.

        Raises:
            EditError: if this sample cannot be edited.
            DeviceError: if the device cannot go on at all.
        """


def identity(settings: config.AnyEditor, sample: Sample) -> dict[str, Any]:
    """Return everything of an editor that decides a sample's pixels, for the edit key."""
    common = {"type": settings.type, "semantics": SEMANTICS}
    match settings:
        case config.DiffusersEditor():
            return {
                **common,
                **model_identity(settings.model, settings.revision),
                "dtype": settings.dtype,
                "num_inference_steps": settings.num_inference_steps,
                "true_cfg_scale": settings.true_cfg_scale,
                "negative_prompt": settings.negative_prompt,
                "size_policy": "native",
            }
        case config.PrecomputedEditor():
            return {**common, "file_sha256": precomputed.file_sha256(settings.folder, sample)}
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
            from lockstep.editors.diffusers import DiffusersEditor

            return DiffusersEditor(settings, torch_device)
        case config.PrecomputedEditor():
            return precomputed.PrecomputedEditor(settings.folder)
        case config.IdentityEditor():
            return precomputed.IdentityEditor()
