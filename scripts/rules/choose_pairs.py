"""Choose the pairs of edits that a round compares."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import design
from lockstep.figures.arena import read_pairs
from lockstep.jobs import paired
from lockstep.jobs.joblog import job_log
from lockstep.records import notes

with job_log(snakemake.log[0]):
    settings = of_job(snakemake.config)
    category, number = snakemake.wildcards.category, int(snakemake.wildcards.round)
    place = (settings, category, number, snakemake.params.devices)
    earlier = read_pairs(list(map(Path, snakemake.input.earlier)))
    edits = paired.edits(settings, category, snakemake.params.devices)
    with notes.noted(paired.chosen(*place)):
        chosen = design.of_round(category, edits, earlier, number)
        path = layout.chosen_pairs(Path(settings.results), category, number)
        records.write_records(path, chosen)
