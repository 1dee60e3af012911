"""Score one shard of a category on one device."""

from pathlib import Path

from lockstep import allocation, jobs
from lockstep.config import load_config
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    jobs.run(
        "score",
        settings,
        allocation.of_job(settings, int(snakemake.wildcards.shard), settings.judge.on_device),
        shard=int(snakemake.wildcards.shard),
        log=snakemake.log[0],
        terminal=terminal,
        manifest=snakemake.input.manifest,
        edits=snakemake.input.edits,
        rubric=snakemake.input.rubric,
        folder=str(Path(snakemake.output[0]).parents[1]),
    )
