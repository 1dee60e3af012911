"""Judge the anchor set again."""

from lockstep.jobs.handover import hand_over

hand_over()

from lockstep.config.load import of_job
from lockstep.jobs import allocation, run
from lockstep.jobs.joblog import job_log
from lockstep.jobs.types import AnchorJob

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    judge = settings.judge
    job = AnchorJob(
        **settings.for_jobs(),
        judge=judge,
        rubrics={key: judge.rubric_file(key) for key in settings.benchmark.categories},
        devices=allocation.of_job(settings, 0, judge.together, judge.on_device),
        shard=0,
        log=snakemake.log[0],
    )
    run.run(job, terminal)
