"""Runs of a workflow that includes ours as a module, where nothing of ours begins a run."""

import os
from pathlib import Path

from lockstep import records
from lockstep.jobs import RUN, workers
from lockstep.records import recovery

BY_JOBS = "LOCKSTEP_BY_JOBS"
"""Environment variable that is 1 where jobs hold the results, as no process of ours does."""

RESULTS = "LOCKSTEP_RESULTS"
"""Environment variable with the folder of results."""


def take_over() -> None:
    """Hold the results for this job's run until this process ends, where nobody does for all.

    The first of its jobs removes what earlier runs have left.

    Raises:
        ConfigError: if another run holds them.
    """
    if os.environ.get(BY_JOBS) == "1":
        results = Path(os.environ[RESULTS])
        recovery.share(results, os.environ[RUN], lambda: _sweep(results))


def _sweep(results: Path) -> None:
    workers.sweep()
    records.sweep(results)
