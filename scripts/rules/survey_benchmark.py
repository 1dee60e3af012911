"""Say what the benchmark holds, and write nothing."""

from lockstep.jobs.handover import hand_over

hand_over()

from lockstep.config.load import of_job
from lockstep.figures import survey
from lockstep.jobs import allocation
from lockstep.jobs.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    found = survey.survey(settings.benchmark)
    for line in survey.lines(found, settings, len(allocation.planned(settings))):
        print(line, file=terminal)
