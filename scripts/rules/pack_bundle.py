"""Pack the report with copies of its images into one file to send."""

from lockstep.jobs.handover import hand_over

hand_over()

from collections import defaultdict
from pathlib import Path

from lockstep import layout, records
from lockstep.figures.tables import read_table
from lockstep.jobs.joblog import job_log
from lockstep.report.bundle import write_bundle
from lockstep.report.series import places

with job_log(snakemake.log[0]):
    frames = defaultdict(dict)
    for path in map(Path, snakemake.input.tables):
        results, editor, category = layout.of_table(path)
        frames[editor][category] = read_table(path)
    write_bundle(
        frames,
        Path(snakemake.input.files[0]).parent,
        [Path(path) for path in snakemake.input.files],
        snakemake.params.background,
        Path(snakemake.output[0]),
        snakemake.threads,
        places(records.read_json(layout.numbers(results))),
    )
