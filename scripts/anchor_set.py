"""Make an anchor set of a finished run."""

from pathlib import Path

from lockstep import anchors
from lockstep.joblog import job_log

with job_log(snakemake.log[0]):
    folder = Path(snakemake.output[0]).parent
    manifests = list(map(Path, snakemake.input.manifests))
    anchors.collect(manifests, snakemake.params.editors, results=folder.parent, folder=folder)
