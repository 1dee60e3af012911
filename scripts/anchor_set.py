"""Make an anchor set of a finished run."""

from pathlib import Path

from lockstep import anchors, provenance
from lockstep.config import of_job
from lockstep.joblog import job_log

with job_log(snakemake.log[0]):
    folder = Path(snakemake.output[0]).parent
    settings = of_job(snakemake.config)
    manifests = list(map(Path, snakemake.input.manifests))
    editors = [editor.name for editor in settings.editors]
    with provenance.noted(provenance.collected(settings)):
        anchors.collect(manifests, editors, results=folder.parent, folder=folder)
