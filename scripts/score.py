"""Score one shard of a category on its device or devices."""

from pathlib import Path

from lockstep import allocation, jobs
from lockstep.config import of_job
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    judge = settings.judge
    jobs.run(
        "score",
        settings,
        allocation.of_job(
            settings, int(snakemake.wildcards.shard), judge.on_device, judge.gpus_per_judge
        ),
        shard=int(snakemake.wildcards.shard),
        log=snakemake.log[0],
        terminal=terminal,
        manifest=snakemake.input.manifest,
        edits=list(snakemake.input.edits),
        rubric=judge.rubric_file(snakemake.wildcards.category),
        folder=str(Path(snakemake.output[0]).parents[1]),
    )
