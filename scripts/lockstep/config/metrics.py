"""What a user may have measured of edits beside the judge, by models on this machine."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from lockstep.config.section import PlainPath, Section
from lockstep.errors import ConfigError
from lockstep.models.backend import Lacking
from lockstep.models.encoders import check_encoder, encoder_files
from lockstep.models.fingerprints import state_of


class MetricsSettings(Section):
    """Models that measure how similar each edit is to its source. No score uses these numbers."""

    clip: PlainPath | None = Field(
        None,
        description="Folder of a CLIP model, for the similarity of the edit to its source and to "
        "its instruction. Nothing is downloaded.",
    )
    dino: PlainPath | None = Field(
        None,
        description="Folder of a DINO, DINOv2 or DINOv3 model, for the similarity of the edit to "
        "its source.",
    )
    lpips: PlainPath | None = Field(
        None,
        description="Folder with torchvision's weights of AlexNet (`alexnet-owt-7be5be79.pth`), "
        "for the LPIPS distance of the edit from its source.",
    )

    @property
    def models(self) -> dict[str, str]:
        """Folders of the models that are asked for, by measure."""
        return {name: str(folder) for name, folder in self if folder is not None}

    def missing(self) -> Iterator[Lacking]:
        """Yield each folder that does not hold its model."""
        for name, folder in self.models.items():
            try:
                check_encoder(name, folder)
            except ConfigError as error:
                yield Lacking(name, str(error))

    def state(self) -> list[Any]:
        """Return what changes when the models do, wherever they lie, without reading them."""
        return [
            [measure, name, *state_of(path)]
            for measure, folder in self.models.items()
            for name, path in encoder_files(measure, folder).items()
        ]
