"""Say what the benchmark holds, and write nothing."""

from lockstep import device, survey
from lockstep.config import load_config
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = load_config(snakemake.config, source="configuration")
    found = survey.survey(settings.benchmark)
    for line in survey.lines(found, settings, len(device.devices(settings.devices))):
        print(line, file=terminal)
