"""Score one shard of a category on its device or devices."""

from lockstep.config.load import of_job
from lockstep.jobs import allocation, run
from lockstep.jobs.joblog import job_log
from lockstep.jobs.types import ScoreJob

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    judge, shard = settings.judge, int(snakemake.wildcards.shard)
    job = ScoreJob(
        **settings.for_jobs(),
        judge=judge,
        editor=snakemake.wildcards.editor,
        category=snakemake.wildcards.category,
        seed=settings.seed,
        rubric=judge.rubric_file(snakemake.wildcards.category),
        devices=allocation.of_job(settings, shard, judge.on_device, judge.together),
        shard=shard,
        log=snakemake.log[0],
    )
    run.run(job, terminal)
