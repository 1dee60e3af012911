"""Compare one shard of a round's pairs of edits on its device or devices."""

from lockstep.jobs.handover import hand_over

hand_over()

from lockstep.config.load import of_job
from lockstep.jobs import allocation, paired, run
from lockstep.jobs.joblog import job_log
from lockstep.jobs.types import PairJob

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    judge, shard = settings.judge, int(snakemake.wildcards.shard)
    category = snakemake.wildcards.category
    edits = paired.edits(settings, category, snakemake.params.devices)
    job = PairJob(
        **settings.for_jobs(),
        judge=judge,
        category=category,
        round=int(snakemake.wildcards.round),
        edits={editor: tuple(map(str, paths)) for editor, paths in edits.items()},
        devices=allocation.of_job(
            settings, shard * judge.together, judge.together, judge.on_device
        ),
        shard=shard,
        log=snakemake.log[0],
    )
    run.run(job, terminal)
