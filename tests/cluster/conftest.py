"""A Slurm for all tests, and workflows that run on it."""

from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.conftest import ROOT
from tests.workflow.conftest import Workflow, configuration, judge_by_files, make

NODE = Path(__file__).parent / "node"


class ClusterWorkflow(Workflow):
    """A workflow whose jobs go to Slurm."""

    timeout = 900
    seconds = 0.0
    """What an edit of the identity editor takes."""

    def command(self, *arguments: str) -> list[str]:
        profile = ["--profile", str(ROOT / "profiles" / "slurm")]
        # ask every few seconds, a test is shorter than a job
        return [
            *super().command(*arguments),
            *profile,
            "--slurm-init-seconds-before-status-checks=2",
        ]

    def environment(self) -> dict[str, str]:
        given = {"PYTHONPATH": str(NODE), "EDIT_SECONDS": str(self.seconds)}
        return {**super().environment(), **given, "EDITS": str(self.folder / "edits")}

    def edited(self) -> list[str]:
        """Return the ids of the samples in the order of their edits, over all tries of all jobs."""
        try:
            return (self.folder / "edits").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def said(self) -> str:
        """Return all that the jobs of the scheduler have printed, and our own logs."""
        paths = sorted((self.folder / ".snakemake" / "slurm_logs").rglob("*.log"))
        return "\n".join(path.read_text() for path in paths) + self.logs()


@pytest.fixture(scope="session")
def cluster():
    """Start Slurm; tests get its folder."""
    if reason := slurm.lacking():
        pytest.exit(f"tests/cluster: {reason}", returncode=1)
    with slurm.running() as folder:
        yield folder


@pytest.fixture
def make_run(cluster, tmp_path, models):
    """Make a workflow of the identity editor, whose edits take time and no model."""

    def build(seconds: float, samples: int, **asked) -> ClusterWorkflow:
        made = make(
            tmp_path,
            models,
            per_category=samples,
            editors=[{"name": "small", "type": "identity"}],
            devices={"accelerator": "cuda", "heartbeat_timeout": 20, "join_timeout": 120},
            cluster={"memory": 1, "cpus": 1, **asked},
        )
        made.config["benchmark"]["categories"] = ["physical"]
        judge_by_files(made)
        # a second run has another working folder
        made.config["judge"]["folder"] = str(made.folder / "replies")
        run = ClusterWorkflow(made.folder, made.config)
        run.seconds = seconds
        return run

    return build


@pytest.fixture(scope="session")
def demo(cluster, tmp_path_factory, models) -> dict[str, Workflow]:
    """Finished runs of the same tiny models: `here` without and `slurm` with the cluster."""
    folder = tmp_path_factory.mktemp("demo")
    here = make(folder / "here", models, per_category=2)
    here.config["benchmark"]["categories"] = ["physical", "social"]
    changes = {
        "devices": {"accelerator": "cpu"},
        "cluster": {"shards": 2, "memory": 2, "cpus": 2},
    }
    there = make(folder / "slurm", models, per_category=2)
    config = {**configuration(models, **changes), "benchmark": here.config["benchmark"]}
    slurm_run = ClusterWorkflow(there.folder, config)
    here.output, slurm_run.output = here.run(), slurm_run.run()
    return {"here": here, "slurm": slurm_run}
