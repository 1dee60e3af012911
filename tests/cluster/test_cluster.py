"""Real runs on a real Slurm: `make test-cluster`."""

import csv
from collections import Counter

import pytest

from tests.cluster.conftest import ClusterWorkflow
from tests.cluster.slurm import jobs, tell
from tests.workflow.conftest import EDITOR, until


def edits_by_wave(run):
    waves = {}
    for record in run.records("edits"):
        waves.setdefault(record["wave"], []).append(record)
    return waves


def assert_all_edited(run, samples):
    records = run.records("edits")
    assert len(records) == samples
    assert {record["status"] for record in records} == {"ok"}, run.said()
    assert (run.results / "report" / "report.html").exists()


def finish(process, run):
    assert process.wait(timeout=run.timeout) == 0, run.printed() + run.said()


def lost(run):
    """Return how many edits each shard made once more."""
    shards = {record["id"]: record["shard"] for record in run.records("edits")}
    again = Counter(run.edited())
    return Counter({shards[sample]: count - 1 for sample, count in again.items() if count > 1})


def test_the_results_are_those_of_one_machine_to_the_bit(demo):
    for category in ("physical", "social"):
        tables = []
        for run in demo.values():
            path = run.results / EDITOR / category / "table.csv"
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
            tables.append(rows)
        assert tables[0] == tables[1]
    for kind, keys in (
        ("edits", ("id", "key", "status", "pixels_sha256", "seed", "wave", "shard")),
        ("scores", ("id", "key", "status", "score", "reply", "probabilities", "schema_mass")),
    ):
        found = [
            sorted(tuple(str(record[key]) for key in keys) for record in run.records(kind))
            for run in demo.values()
        ]
        assert len(found[0]) == 4
        assert found[0] == found[1]


def test_a_category_is_one_job_and_the_report_is_one(demo):
    output = demo["slurm"].output
    assert output.count("has been submitted with SLURM jobid") == 4, output  # prepare, 2, report
    assert "report ready" in output
    assert {r["device"] for r in demo["slurm"].records("edits")} == {"large:cpu0", "large:cpu1"}


def test_the_shards_of_an_allocation_run_at_once_on_the_devices_that_it_has(make_run):
    # who came first has the first two of the node's GPUs
    blocker = tell(
        "sbatch", "--parsable", "-w", "large", "--gpus=2", "--output=/dev/null", "--wrap=sleep 600"
    ).strip()
    run = make_run(0.5, 8, shards=2)
    try:
        run.run()
    finally:
        tell("scancel", blocker)
    assert_all_edited(run, 8)
    devices = {(r["shard"], r["device"]) for r in run.records("edits")}
    assert devices == {(0, "large:gpu2"), (1, "large:gpu3")}
    for edits in edits_by_wave(run).values():
        ends = [r["started"] + r["edit_seconds"] for r in edits]
        assert max(r["started"] for r in edits) < min(ends)


def test_jobs_of_their_own_keep_step_over_nodes_that_differ(make_run):
    run = make_run(0.5, 18, shards=6, allocation="shard")
    for node in ("large", "small"):
        tell("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    process = run.start()
    until(lambda: "PENDING" in jobs().values(), 120, run.printed)
    for node in ("large", "small"):
        tell("scontrol", "update", f"NodeName={node}", "State=RESUME")
    finish(process, run)
    assert_all_edited(run, 18)
    devices = {r["shard"]: r["device"] for r in run.records("edits")}
    assert sorted(devices.values()) == [
        *(f"large:gpu{k}" for k in range(4)),
        *("small:gpu0", "small:gpu1"),
    ]
    for edits in edits_by_wave(run).values():
        ends = [r["started"] + r["edit_seconds"] for r in edits]
        assert len(edits) == 6
        assert max(r["started"] for r in edits) < min(ends) + 0.5


@pytest.mark.parametrize("how", ["scancel", "scontrol requeue"])
def test_a_job_that_is_stopped_loses_the_item_in_hand_at_most(make_run, how):
    run = make_run(1.0, 12, shards=2)
    process = run.start()
    until(lambda: len(run.edited()) >= 4, 180, run.printed)
    (job,) = [number for number, state in jobs().items() if state == "RUNNING"]
    tell(*how.split(), job)
    finish(process, run)
    assert_all_edited(run, 12)
    assert all(count <= 1 for count in lost(run).values()), run.edited()


def test_a_time_limit_costs_one_item_and_the_retry_has_more_time(make_run):
    run = make_run(4.0, 25, shards=1, allocation="shard", partition="spare", runtime=1)
    finish(run.start(), run)
    assert_all_edited(run, 25)
    assert lost(run).total() <= 1, run.edited()
    assert "DUE TO TIME LIMIT" in run.said()


def test_a_second_run_with_other_settings_on_the_same_results_is_told_who_holds_them(make_run):
    run = make_run(1.0, 8, shards=2)
    process = run.start()
    until(run.edited, 180, run.printed)
    # in a working folder of its own, where Snakemake's own lock holds nobody back
    other = ClusterWorkflow(run.folder / "other", {**run.config, "seed": 5})
    other.config["results"] = str(run.results)
    path = str(run.folder / "benchmark.json")
    other.config["benchmark"] = {**run.config["benchmark"], "path": path}
    other.folder.mkdir()
    before = set(jobs())
    printed = other.run(check=False)
    assert f"found it in use by process {process.pid} of " in printed
    assert "Traceback" not in printed
    assert set(jobs()) <= before, "it has submitted a job"
    finish(process, run)
    assert_all_edited(run, 8)
