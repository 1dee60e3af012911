"""Make an anchor set of a finished run."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep.config.load import of_job
from lockstep.jobs import provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes
from lockstep.scoring import anchors

with job_log(snakemake.log[0]):
    folder = Path(snakemake.output[0]).parent
    settings = of_job(snakemake.config)
    manifests = list(map(Path, snakemake.input.manifests))
    editors = [editor.name for editor in settings.editors]
    with notes.noted(provenance.collected(settings)):
        which = settings.judge.instruction_shown
        anchors.collect(manifests, editors, folder.parent, folder, which)
