"""Compare the judges of a run, and sum them up."""

from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import judges
from lockstep.jobs import several
from lockstep.jobs.joblog import job_log
from lockstep.records import notes

with job_log(snakemake.log[0]) as terminal:
    settings, devices = of_job(snakemake.config), snakemake.params.devices
    results, keys = Path(settings.results), settings.benchmark.categories
    files = {
        editor.name: {
            key: [
                layout.table(results, editor.name, key),
                *(
                    several.scores(settings, folder, editor.name, key, devices)
                    for folder in several.beside(settings)
                ),
            ]
            for key in keys
        }
        for editor in settings.editors
    }
    notes.check(several.judged(settings, devices))
    with notes.noted(several.compared(settings, devices)):
        frame = judges.scores([str(judge.name) for judge in settings.judges], files)
        rows = judges.compared(frame, settings.report.ensemble)
        records.write_json(snakemake.output[0], rows)
        records.write_text(snakemake.output[1], judges.to_csv(frame, settings.report.ensemble))
    print(judges.sentence(rows[-1]), file=terminal)
