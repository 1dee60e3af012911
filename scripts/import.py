"""Say what the benchmark holds, and write nothing."""

from lockstep import allocation, survey
from lockstep.config import load_config
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    found = survey.survey(settings.benchmark)
    for line in survey.lines(found, settings, len(allocation.planned(settings))):
        print(line, file=terminal)
