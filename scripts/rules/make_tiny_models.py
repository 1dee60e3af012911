"""Make the tiny models and the small benchmark of the demo."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep.demo import tiny
from lockstep.jobs.joblog import job_log

with job_log(snakemake.log[0]):
    tiny.make_benchmark(Path(snakemake.output.benchmark))
    tiny.make_editor(Path(snakemake.output.editor[0]).parent)
    tiny.make_judge(Path(snakemake.output.judge[0]).parent)
