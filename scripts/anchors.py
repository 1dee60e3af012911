"""Judge the anchor set again."""

from pathlib import Path

from lockstep import allocation, jobs
from lockstep.config import of_job
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    judge = settings.judge
    jobs.run(
        "anchors",
        settings,
        allocation.of_job(settings, 0, judge.on_device, judge.gpus_per_judge),
        shard=0,
        log=snakemake.log[0],
        terminal=terminal,
        folder=str(Path(snakemake.input.anchors).parent),
        results=str(Path(snakemake.output[0]).parent),
    )
