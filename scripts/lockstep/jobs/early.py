"""Models that are loaded before the first job, while samples are still prepared."""

import os
from collections.abc import Sequence
from pathlib import Path

from lockstep import layout
from lockstep.config.run import Config
from lockstep.devices.device import Device
from lockstep.jobs import RUN, run, workers
from lockstep.jobs.ahead import SLOTS, Planned
from lockstep.jobs.types import EditJob


def load(settings: Config, devices: Sequence[Device], first: Planned) -> None:
    """Let all devices load the editor that they need first.

    Where images of it are there already, perhaps none is missing, and its job will see.

    Args:
        first: what is edited first.
    """
    editor = settings.editor(first.editor)
    images = layout.edited_images(
        layout.folder(Path(settings.results), first.editor, first.category)
    )
    if (
        not (editor.on_device and settings.devices.resident and workers.in_run())
        or settings.cluster is not None
        or int(os.environ[SLOTS]) < len(devices)
        or any(images.glob("*.png"))
    ):
        return
    for shard in range(len(devices) // editor.together):
        job = EditJob(
            **settings.for_jobs(),
            editor=editor,
            category=first.category,
            seed=settings.seed,
            slots=len(devices),
            run=os.environ[RUN],
            first=0,
            devices=tuple(devices),
            shard=shard,
            log="",
        )
        run.stand_by(job)
