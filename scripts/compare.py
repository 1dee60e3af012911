"""Compare runs, results of colleagues and published scores."""

from pathlib import Path

from lockstep import provenance
from lockstep.config import Compare, Report
from lockstep.joblog import job_log
from lockstep.report.compare import write_comparison

with job_log(snakemake.log[0]):
    folder = Path(snakemake.output[0]).parent
    compare = Compare.model_validate(snakemake.params.compare)
    report = Report.model_validate(snakemake.params.report)
    files = snakemake.params.files
    with provenance.noted(provenance.compared(folder.parent, compare, report, files)):
        write_comparison(compare, report, files, folder)
