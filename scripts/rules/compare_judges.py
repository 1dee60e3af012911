"""Compare the judges of a run, and sum them up."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import judges
from lockstep.jobs import several
from lockstep.jobs.joblog import job_log
from lockstep.records import notes

with job_log(snakemake.log[0]) as terminal:
    settings, devices = of_job(snakemake.config), snakemake.params.devices
    results, ensemble = Path(settings.results), settings.report.ensemble
    names = [str(judge.name) for judge in settings.judges]

    def files(editor, category):
        folders = several.beside(settings)
        beside = [several.scores(settings, own, editor, category, devices) for own in folders]
        return layout.table(results, editor, category), beside

    keys, editors = settings.benchmark.categories, [editor.name for editor in settings.editors]
    notes.check(several.judged(settings, devices))
    with notes.noted(several.compared(settings, devices)):
        of_editors = {editor: {key: files(editor, key) for key in keys} for editor in editors}
        frame = judges.scores(names, of_editors)
        rows = judges.compared(names, frame, ensemble, settings.report.min_coverage)
        records.write_json(snakemake.output[0], rows)
        records.write_text(snakemake.output[1], judges.to_csv(names, frame, ensemble))
    print(judges.sentence(rows[-1]), file=terminal)
