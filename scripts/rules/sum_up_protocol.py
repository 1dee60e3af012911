"""Sum all editors up as the benchmark's own protocol does."""

from lockstep.jobs.handover import hand_over

hand_over()

from collections import defaultdict
from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import published, tables
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.rubric import read_rubric

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    frames = defaultdict(dict)
    for path in map(Path, snakemake.input.tables):
        _, editor, category = layout.of_table(path)
        frames[editor][category] = tables.read_table(path)
    used = read_protocol(Path(snakemake.input.protocol))
    keys = settings.benchmark.categories
    rubrics = {key: read_rubric(Path(used.rubric_file(key))) for key in keys}
    with notes.noted(provenance.summed_up(settings, rubrics)):
        numbers = {name: published.aggregate(used, own, rubrics) for name, own in frames.items()}
        records.write_json(snakemake.output[0], numbers)
        records.write_text(snakemake.output[1], published.markdown(numbers))
