"""Read the benchmark and write a manifest per category."""

from pathlib import Path

from lockstep import benchmark, config, provenance
from lockstep.joblog import job_log

with job_log(snakemake.log[0]) as terminal:
    settings = config.of_job(snakemake.config)
    with provenance.noted(provenance.prepared(settings)):
        counts = benchmark.prepare(settings.benchmark, Path(snakemake.output.rejected).parent)
    listed = ", ".join(f"{count} {category}" for category, count in counts.samples.items())
    print(f"prepare: {listed}, {counts.rejected} rejected", file=terminal)
    if counts.left_out:
        listed = ", ".join(f"{count} {name}" for name, count in counts.left_out.items())
        print(f"  not configured, left out: {listed}", file=terminal)
    benchmark.check_left(counts, settings.benchmark)
    if counts.rejected:
        print(f"  the reasons are in {snakemake.output.rejected}", file=terminal)
