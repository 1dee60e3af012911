"""Compare runs, results of colleagues and published scores."""

from pathlib import Path

from lockstep.config import Compare, Report
from lockstep.joblog import job_log
from lockstep.report.compare import write_comparison

with job_log(snakemake.log[0]):
    write_comparison(
        Compare.model_validate(snakemake.params.compare),
        Report.model_validate(snakemake.params.report),
        snakemake.params.files,
        Path(snakemake.output[0]).parent,
    )
