"""Write the report over all editors and categories."""

from collections import defaultdict
from pathlib import Path

from lockstep.config import of_job
from lockstep.joblog import job_log
from lockstep.report import write_report


def by_editor(paths):
    """Return editor → category → file of paths that end in editor/category/file."""
    files = defaultdict(dict)
    for path in map(Path, paths):
        files[path.parents[1].name][path.parent.name] = path
    return files


def edits_by_editor(paths):
    """Return editor → category → files of paths that end in editor/category/edits/file."""
    files = defaultdict(lambda: defaultdict(list))
    for path in map(Path, paths):
        files[path.parents[2].name][path.parents[1].name].append(path)
    return files


with job_log(snakemake.log[0]):
    write_report(
        of_job(snakemake.config),
        by_editor(snakemake.input.tables),
        by_editor(snakemake.input.summaries),
        edits_by_editor(snakemake.input.edits),
        Path(snakemake.input.rejected),
        {"anchors": snakemake.input.anchors, "agreement": snakemake.input.agreement},
        Path(snakemake.output[0]).parent,
        snakemake.threads,
    )
