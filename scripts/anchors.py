"""Judge the anchor set again."""

from pathlib import Path

from lockstep import anchors, device
from lockstep.config import load_config
from lockstep.joblog import job_log
from lockstep.judging import Place

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    devices = device.devices(settings.devices)
    anchors.score_anchors(
        settings,
        folder=Path(snakemake.input.anchors).parent,
        results=Path(snakemake.output[0]).parent,
        place=Place(devices, 0, f"score anchors {devices[0].name}", terminal),
    )
