"""Score one shard of a category on its device or devices."""

from lockstep.jobs.handover import hand_over

hand_over()

from lockstep.config.load import of_job
from lockstep.jobs import allocation, run
from lockstep.jobs.joblog import job_log
from lockstep.jobs.types import ScoreJob

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    below, shard = snakemake.wildcards.get("judge", ""), int(snakemake.wildcards.shard)
    judge = settings.each_judge[below]
    editor = settings.editor(snakemake.wildcards.editor)
    first = shard * settings.share(editor.name, below) * editor.together
    job = ScoreJob(
        **settings.for_jobs(),
        judge=judge,
        editor=editor.name,
        edited_by=editor.together,
        category=snakemake.wildcards.category,
        seed=settings.seed,
        rubric=judge.rubric_file(snakemake.wildcards.category),
        devices=allocation.of_job(settings, first, judge.together, judge.on_device),
        shard=shard,
        log=snakemake.log[0],
        below=below,
    )
    run.run(job, terminal)
