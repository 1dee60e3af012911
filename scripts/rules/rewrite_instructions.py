"""Rewrite the instructions of a category for an editor."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout
from lockstep.config.load import of_job
from lockstep.editing import rewriting
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes, progress

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    results, category = Path(settings.results), snakemake.wildcards.category
    editor = settings.editor(snakemake.wildcards.editor)
    work = progress.Work("rewrite", editor.name, category)
    with notes.noted(provenance.rewritten(results, editor, category)), progress.reported(work):
        folder = layout.folder(results, editor.name, category)
        rewriting.rewrite(editor, Path(snakemake.input.manifest), folder, terminal)
