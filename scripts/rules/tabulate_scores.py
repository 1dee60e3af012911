"""Write the table and the summary of one editor and category."""

from lockstep.jobs.handover import hand_over

hand_over()

import os
from pathlib import Path

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.figures import measuring, similarity, tables
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import alike, notes
from lockstep.report import thumbnails
from lockstep.rubrics.rubric import SCALE, read_rubric

with job_log(snakemake.log[0]):
    settings = of_job(snakemake.config)
    editor, category = snakemake.wildcards.editor, snakemake.wildcards.category
    rubric = read_rubric(Path(settings.judge.rubric_file(category)))
    edits, scores = snakemake.input.edits, snakemake.input.scores
    folder = Path(snakemake.output.table).parent
    provenance.check_scored(settings, editor, category, len(edits), rubric)
    with notes.noted(provenance.tabulated(settings, editor, category, len(edits), rubric)):
        manifest, half = Path(snakemake.input.manifest), max(1, len(os.sched_getaffinity(0)) // 2)
        preserved = measuring.preserved(manifest, edits, folder, half)
        similar = similarity.similar(manifest, edits, folder, settings.metrics.models, half)
        frame = tables.table(manifest, edits, scores, rubric, folder, preserved, similar)
        edited = frame[["id", "status", "error"]].itertuples(index=False, name=None)
        alike.check_edits(str(folder), edited)
        records.write_text(snakemake.output.table, tables.to_csv(frame))
        threshold = settings.report.threshold_on(SCALE)
        summary = tables.summary(frame, edits, scores, rubric, threshold)
        records.write_json(snakemake.output.summary, summary)
    # while other categories are judged
    report = layout.report(Path(settings.results), (), ())[0].parent
    thumbnails.make_ahead(frame, editor, report, settings.benchmark.background)
