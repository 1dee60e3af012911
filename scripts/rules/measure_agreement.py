"""Compare the judge's scores with those of humans."""

from collections import defaultdict
from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures.agreement import agreement
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes

with job_log(snakemake.log[0]) as terminal:
    tables = defaultdict(dict)
    for path in map(Path, snakemake.input.tables):
        _, editor, category = layout.of_table(path)
        tables[editor][category] = path
    settings = of_job(snakemake.config)
    with notes.noted(provenance.agreed(settings)):
        rows = agreement(tables, Path(snakemake.input.humans))
        records.write_json(snakemake.output[0], rows)
    for row in rows:
        found = "–" if row["spearman"] is None else f"{row['spearman']:.2f}"
        whose = "" if row["editor"] is None else f" of {row['editor']}"
        print(f"{row['category']}{whose}: Spearman {found}, {row['count']} edits", file=terminal)
