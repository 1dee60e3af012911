"""Read the benchmark and write a manifest per category."""

from lockstep.jobs.handover import hand_over

hand_over()

from pathlib import Path

from lockstep import layout, records
from lockstep.benchmark import intake
from lockstep.config.load import of_job
from lockstep.jobs import allocation, due, plans, provenance
from lockstep.jobs.joblog import job_log
from lockstep.records import notes, progress

with job_log(snakemake.log[0]) as terminal:
    settings = of_job(snakemake.config)
    folder = Path(snakemake.output.rejected).parent
    work = progress.Work("prepare")
    with notes.noted(provenance.prepared(settings)), progress.reported(work):
        counts = intake.prepare(settings.benchmark, folder, snakemake.threads)
    listed = ", ".join(f"{count} {category}" for category, count in counts.samples.items())
    print(f"prepare: {listed}, {counts.rejected} rejected", file=terminal)
    if left_out := intake.not_configured(counts.left_out):
        print(f"  {left_out}", file=terminal)
    listed = layout.rejected_log(folder.parent)
    records.write_bytes(listed, Path(snakemake.output.rejected).read_bytes())
    intake.check_left(counts, settings.benchmark, listed)
    if settings.report.human_files:
        # it takes pandas
        from lockstep.figures import human_files

        human_files.check(settings, map(Path, snakemake.output.manifests))
    devices = len(allocation.planned(settings))
    for sentence in (*plans.lines(settings, devices, counts.samples), *due.of_samples(settings)):
        print(f"  {sentence}", file=terminal)
    if counts.rejected:
        print(f"  the reasons are in {snakemake.output.rejected}", file=terminal)
