"""Compare runs, results of colleagues and published scores."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep.config.report import CompareSettings, ReportSettings
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.report.compare import write_comparison

with job_log(snakemake.log[0]):
    folder = Path(snakemake.output[0]).parent
    compare = CompareSettings.model_validate(snakemake.params.compare)
    report = ReportSettings.model_validate(snakemake.params.report)
    files = snakemake.params.files
    with notes.noted(provenance.compared(folder.parent, compare, report, files)):
        write_comparison(compare, report, files, folder)
