"""Edit one shard of a category on its device or devices."""

from lockstep.jobs.handover import hand_over

hand_over()

import os

from lockstep import plan, records
from lockstep.config.load import of_job
from lockstep.jobs import allocation, run
from lockstep.jobs.joblog import job_log
from lockstep.jobs.types import EditJob

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    shard, category = int(snakemake.wildcards.shard), snakemake.wildcards.category
    editor = settings.editor(snakemake.wildcards.editor)
    job = EditJob(
        **settings.for_jobs(),
        editor=editor,
        category=category,
        seed=settings.seed,
        devices=allocation.of_job(
            settings, shard * editor.together, editor.together, needed=not editor.served
        ),
        shard=shard,
        log=snakemake.log[0],
        slots=int(os.environ["LOCKSTEP_SLOTS"]),
        run=os.environ["LOCKSTEP_RUN"],
        first=plan.place(records.read_json(snakemake.input.counts), category),
    )
    run.run(job, terminal, settings.judge)
