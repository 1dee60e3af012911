"""Make the tiny models and the small benchmark of the demo."""

from pathlib import Path

from lockstep import tiny
from lockstep.joblog import job_log

with job_log(snakemake.log[0]):
    outputs = [Path(path) for path in snakemake.output]
    tiny.make_benchmark(next(p for p in outputs if p.name == "benchmark.json"))
    tiny.make_editor(next(p.parent for p in outputs if p.name == "model_index.json"))
    tiny.make_judge(next(p.parent for p in outputs if p.name == "config.json"))
