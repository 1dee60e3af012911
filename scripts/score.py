"""Score one shard of a category on one device."""

from pathlib import Path

from lockstep import device
from lockstep.config import load_config
from lockstep.joblog import job_log
from lockstep.scoring import score_shard

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    score_shard(
        settings,
        manifest=Path(snakemake.input.manifest),
        edits=Path(snakemake.input.edits),
        rubric_file=Path(snakemake.input.rubric),
        folder=Path(snakemake.output[0]).parents[1],
        devices=device.devices(settings.devices),
        shard=int(snakemake.wildcards.shard),
        terminal=terminal,
    )
