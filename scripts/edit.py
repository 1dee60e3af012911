"""Edit one shard of a category on one device."""

import os
from pathlib import Path

from lockstep import device
from lockstep.config import load_config
from lockstep.editing import Shard, edit_shard
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    edit_shard(
        settings,
        settings.editor(snakemake.wildcards.editor),
        manifest=Path(snakemake.input.manifest),
        folder=Path(snakemake.output[0]).parents[1],
        shard=Shard(
            number=int(snakemake.wildcards.shard),
            devices=device.devices(settings.devices),
            slots=int(os.environ["LOCKSTEP_SLOTS"]),
            run=os.environ["LOCKSTEP_RUN"],
        ),
        terminal=terminal,
    )
