"""Write the report over all editors and categories."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout
from lockstep.config.load import of_job
from lockstep.figures import outcomes
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.report.write import write_report
from lockstep.rubrics.rubric import read_rubric

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    results, devices = Path(settings.results), snakemake.params.devices
    keys = settings.benchmark.categories
    rubrics = {key: read_rubric(Path(settings.judge.rubric_file(key))) for key in keys}
    tables, summaries, edits = {}, {}, {}
    for editor in settings.editors:
        name, shards = editor.name, devices // editor.together
        tables[name] = {key: layout.table(results, name, key) for key in keys}
        summaries[name] = {key: layout.summary(results, name, key) for key in keys}
        edits[name] = {key: layout.all_edits(results, name, key, shards) for key in keys}
    rejected, folder = Path(snakemake.input.rejected), Path(snakemake.output[0]).parent
    further = {key: snakemake.input[key] for key in ("anchors", "agreement", "arena", "judges")}
    provenance.check_tabulated(settings, devices, rubrics)
    controls = [editor.name for editor in settings.editors if editor.copies_source]
    failed = outcomes.told(tables, controls)
    with notes.noted(provenance.reported(settings, devices, rubrics)):
        given = (settings, tables, summaries, edits, rejected, further, folder)
        write_report(*given, snakemake.threads)
    for sentence in failed:
        print(sentence, file=terminal)
