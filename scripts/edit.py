"""Edit one shard of a category on one device."""

import os
from pathlib import Path

from lockstep import allocation, jobs, plan, records
from lockstep.config import of_job
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    jobs.run(
        "edit",
        settings,
        allocation.of_job(settings, int(snakemake.wildcards.shard)),
        shard=int(snakemake.wildcards.shard),
        log=snakemake.log[0],
        terminal=terminal,
        editor=snakemake.wildcards.editor,
        manifest=snakemake.input.manifest,
        folder=str(Path(snakemake.output[0]).parents[1]),
        slots=int(os.environ["LOCKSTEP_SLOTS"]),
        run=os.environ["LOCKSTEP_RUN"],
        first=plan.place(records.read_json(snakemake.input.counts), snakemake.wildcards.category),
    )
