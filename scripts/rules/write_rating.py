"""Write the page on which people rate edits, and its plan."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep.config.load import of_job
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.report.rating.page import write_rating
from lockstep.rubrics.rubric import read_rubric

with job_log(snakemake.log[0]):
    settings = of_job(snakemake.config)
    keys = settings.benchmark.categories
    rubrics = {key: read_rubric(Path(settings.judge.rubric_file(key))) for key in keys}
    with notes.noted(provenance.rated(settings, rubrics)):
        write_rating(settings, rubrics, snakemake.threads)
