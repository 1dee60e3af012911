"""What the settings of all editors share."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from lockstep.config.section import Name, Seconds, Section
from lockstep.editors.protocol import Editor
from lockstep.editors.rewriting import ChatRewriteSettings, Rewriter
from lockstep.models.backend import BackendSettings, Usage
from lockstep.models.served_settings import ServedSettings
from lockstep.records import EditRecord, Sample


class Series(Section):
    """The training run that an editor is a checkpoint of."""

    name: Name = Field(description="Name of all its checkpoints together; also a target.")
    step: NonNegativeInt = Field(description="Step of the training.")


class FurtherSeed(Section):
    """Which of several seeds a sample an editor edits with; the first one needs no word."""

    editor: Name = Field(description="Name of the same editor with the first seed.")
    number: PositiveInt = Field(description="Number of the seed; the first seed is 0.")


class EditorSettings(BackendSettings):
    """What all editors share."""

    neutral: ClassVar[frozenset[str]] = frozenset({"name", "preset", "rewrite", "further_seed"})
    copies_source: ClassVar[bool] = False
    """Whether it returns the source: the control that a judge must score low."""
    elsewhere: ClassVar[bool] = False
    """Whether software edits that is not in this environment: a program's, or a server's."""
    name: Name = Field(description="Name in paths, targets and tables.")
    preset: str | None = Field(
        None,
        description="File in config/editors/ without .yaml. Keys beside it replace those of the "
        "preset; `call`, `request` and `scheduler` are replaced key by key.",
    )
    size: Literal["native", "source"] = Field(
        "native",
        description="Size of the edited image: native keeps the size that the model returns, "
        "source resizes to the source image as a viewer shows it.",
    )
    resize_filter: Literal["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"] = Field(
        "lanczos", description="Filter for resizing to the source's size."
    )
    rewrite: Rewriter | None = Field(
        None,
        # an editor without one is what it was
        exclude_if=lambda given: given is None,
        description="Rewriter of the instructions, before the editor sees them; null leaves them "
        "unchanged.",
    )
    further_seed: FurtherSeed | None = Field(
        None,
        exclude_if=lambda given: given is None,
        description="Which of several seeds the editor uses. Set by `seeds_per_sample`, not by "
        "hand.",
    )

    @model_validator(mode="after")
    def _of_its_own(self) -> Self:
        if self.rewrite is not None and self.copies_source:
            raise ValueError("found rewrite, which an editor that reads no instruction ignores")
        if isinstance(self.rewrite, ChatRewriteSettings):
            self.rewrite.belongs_to(self.name)
        return self

    @property
    def together(self) -> int:
        """How many devices one job of it takes."""
        return 1

    @property
    def member(self) -> Series | None:
        """Place in a training run; None of what is no checkpoint of one."""
        return getattr(self, "series", None)

    @property
    def seed_number(self) -> int:
        """Which of a sample's seeds it edits with, from 0."""
        return 0 if self.further_seed is None else self.further_seed.number

    @property
    def first_seed(self) -> str:
        """Name of the same editor with the first seed."""
        return self.name if self.further_seed is None else self.further_seed.editor

    @property
    def held(self) -> Self:
        if self.further_seed is None:
            return self
        # one model edits with all seeds
        return self.model_copy(update={"name": self.first_seed, "further_seed": None})

    def with_seed(self, number: int) -> Self | None:
        """Return this editor with another seed; None of one whose edits no seed changes.

        Args:
            number: of the seed, from 0, which is the editor itself.
        """
        if not number:
            return self
        further = FurtherSeed(editor=self.name, number=number)
        return self.model_copy(
            update={"name": f"{self.name}-seed{number}", "further_seed": further}
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


class DeviceEditorSettings(EditorSettings):
    """What all editors share that run on devices."""

    on_device: ClassVar[bool] = True
    neutral: ClassVar[frozenset[str]] = EditorSettings.neutral | {"gpus_per_editor"}
    gpus_per_editor: PositiveInt = Field(
        1,
        description="Number of GPUs that one model or program uses together, neighbours in "
        "`device_ids`.",
    )

    @property
    def together(self) -> int:
        return self.gpus_per_editor


class ServedEditorSettings(ServedSettings, EditorSettings):
    """What all editors behind a server share."""

    elsewhere: ClassVar[bool] = True
    neutral: ClassVar[frozenset[str]] = (
        EditorSettings.neutral | ServedSettings.neutral | {"image_price", "max_requests"}
    )
    concurrency: PositiveInt = Field(
        4,
        le=10_000,
        description="Requests at the same time, of all jobs and editors at one address.",
    )
    timeout: Seconds = Field(
        600.0, description="Seconds that one try may take, up to the last byte of the answer."
    )
    image_price: NonNegativeFloat | None = Field(
        None, description="Price of an edited image, in the currency of the other prices."
    )
    max_requests: PositiveInt | None = Field(
        None,
        description="Most requests of this editor over all runs into one results folder, repeated "
        "tries included. Then its jobs stop.",
    )

    @property
    def option(self) -> str:
        return f"editors.{self.name}"

    def price(self, usage: Usage, images: int) -> float | None:
        of_tokens = super().price(usage, images)
        if self.image_price is None:
            return of_tokens
        return (of_tokens or 0) + images * self.image_price
