"""Compare the judge's scores with those of humans."""

from lockstep.jobs.handover import hand_over

hand_over()

from collections import defaultdict
from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import human_files, people
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.rubrics.rubric import read_rubric

with job_log(snakemake.log[0]) as terminal:
    tables = defaultdict(dict)
    for path in map(Path, snakemake.input.tables):
        _, editor, category = layout.of_table(path)
        tables[editor][category] = path
    settings = of_job(snakemake.config)
    keys = settings.benchmark.categories
    rubrics = {key: read_rubric(Path(settings.judge.rubric_file(key)), key) for key in keys}
    with notes.noted(provenance.agreed(settings, rubrics)):
        given = human_files.of_run(settings, rubrics)
        found = people.agreement(tables, given, rubrics)
        records.write_json(snakemake.output[0], found)
    print("\n".join(people.lines(people.whole(found))), file=terminal)
