"""Rate the editors by their comparisons in pairs."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures.arena import arena, failures, read_pairs
from lockstep.jobs import paired
from lockstep.jobs.joblog import job_log
from lockstep.records import notes

with job_log(snakemake.log[0]) as terminal:
    settings, devices = of_job(snakemake.config), snakemake.params.devices
    results, keys = Path(settings.results), settings.benchmark.categories
    count = paired.rounds(settings)
    tables = {e.name: {k: layout.table(results, e.name, k) for k in keys} for e in settings.editors}
    notes.check(paired.comparisons(settings, devices))
    with notes.noted(paired.summed_up(settings, devices)):
        pairs = {k: read_pairs(paired.earlier(settings, k, count, devices)) for k in keys}
        rows = arena(pairs, tables)
        records.write_json(snakemake.output[0], rows)
    if failed := failures([each for own in pairs.values() for each in own]):
        print(failed, file=terminal)
    for name, row in rows[-1]["editors"].items():
        print(f"{row['rank']}. {name}: {row['rating']:.0f}", file=terminal)
