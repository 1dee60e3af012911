"""What the settings of all editors share."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from lockstep.config.section import Name
from lockstep.editors.protocol import Editor
from lockstep.models.backend import BackendSettings
from lockstep.records import EditRecord, Sample


class EditorSettings(BackendSettings):
    """What all editors share."""

    neutral: ClassVar[frozenset[str]] = frozenset({"name", "preset"})
    copies_source: ClassVar[bool] = False
    """Whether it returns the source: the control that a judge must score low."""
    name: Name = Field(description="Name in paths, targets and tables.")
    preset: str | None = Field(
        None,
        description="File in config/editors/ without .yaml; keys given beside it win, "
        "those of `call` and `scheduler` one by one.",
    )
    size: Literal["native", "source"] = Field(
        "native",
        description="Size of the edited image: what the model returns, or the source's as a "
        "viewer shows it.",
    )
    resize_filter: Literal["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"] = Field(
        "lanczos", description="How an image is brought to the source's size."
    )

    def identity(self, sample: Sample) -> dict[str, Any]:
        """Return what decides a sample's pixels beside its source, instruction, seed and size."""
        raise NotImplementedError

    def refuses(self, record: EditRecord) -> str | None:
        """Return why an edit that is there counts as failed; None where it does not."""
        return None

    def load(self, torch_device: str) -> Editor:
        """Load the editor.

        Args:
            torch_device: cpu or cuda, as `pinning.pin` returns it.

        Raises:
            ConfigError: if its model cannot be found.
        """
        raise NotImplementedError
