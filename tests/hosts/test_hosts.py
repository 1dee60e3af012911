"""The processes that hold models, and whatever can happen to them; `make hosts` runs it.

An edit takes as long as a test wants: in place of the sample's source image stands a pipe, which
the host reads until it is killed or the image comes.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lockstep.jobs.sockets import FORKER, WORKER
from lockstep.jobs.unix import bind
from tests.workflow.conftest import EDITOR, environment, make, until
from tests.workflow.test_resume import EDITOR as CONTROL
from tests.workflow.test_resume import Held, HeldDisk, alive, children, is_edit_job

PROMPTLY = 10
"""Seconds within which nothing is left of a run that is over."""

LONG = 120
"""Seconds in which a model is loaded and a sample edited, on a busy machine."""

FOLDER = f"results/{EDITOR}/physical"
LOADED = "loaded QwenImageEditPipeline"
AHEAD = "begins before the job has come"


def workflow_of(folder, models, devices=(0,), **given):
    return make(
        folder,
        models,
        per_category=4,
        benchmark={"path": "benchmark.json", "categories": ["物理"]},
        devices={"accelerator": "cpu", "device_ids": list(devices), **given},
    )


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Keep hosts of other runs on this machine out of sight."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, models):
    """Four samples for one CPU slot, nothing edited yet."""
    workflow = workflow_of(tmp_path_factory.mktemp("prepared") / "work", models)
    workflow.run("results/manifest/physical.jsonl")
    return workflow


@pytest.fixture
def workflow(prepared, tmp_path, apart):
    workflow = prepared.copy(tmp_path / "work")
    yield workflow
    # whatever a test did, nothing is left of it
    assert not until_gone(workflow)
    assert not held_locks(workflow)
    assert not sockets(workflow)


def edits(workflow):
    shards = len(workflow.config["devices"]["device_ids"])
    return [f"{FOLDER}/edits/shard-{k}-of-{shards}.jsonl" for k in range(shards)]


def processes(workflow):
    """Return all that runs in the workflow's folder: Snakemake, jobs, hosts."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(workflow.folder) and process.pid != os.getpid():
                found.append(process)
    return alive(found)


def hosts(workflow):
    return called(WORKER, workflow)


def forkers(workflow):
    return called(FORKER, workflow)


def called(name, workflow):
    found = []
    for process in processes(workflow):
        with contextlib.suppress(psutil.Error):
            if process.name() == name:
                found.append(process)
    return found


def hosts_started(workflow):
    return workflow.logs("workers/*.log").count("is the worker of small on cpu0")


def until_gone(workflow):
    with contextlib.suppress(AssertionError):
        until(lambda: not processes(workflow), PROMPTLY)
    return processes(workflow)


def held_locks(workflow):
    """Return the locks in the results that some process holds, by what the kernel lists."""
    inodes = {path.stat().st_ino: path for path in workflow.results.rglob("*.lock")}
    lines = Path("/proc/locks").read_text().splitlines()
    held = {int(line.split()[5].split(":")[-1]) for line in lines if "->" not in line}
    return [path for inode, path in inodes.items() if inode in held]


def folder_of_sockets():
    return Path(os.environ["TMPDIR"]) / f"lockstep-{os.getuid()}" / "workers"


def sockets(workflow):
    """Return the sockets of hosts of the run that a test has started, and of its forker."""
    started = getattr(workflow, "started", None)
    return list(folder_of_sockets().glob(f"{started}-*"))


def start(workflow, *arguments):
    """Start a run whose second edit is held; return it, the held sample and the one host."""
    held = Held(workflow, 1)
    run = workflow.start(*edits(workflow), *arguments)
    workflow.started = run.pid
    until(held.in_hand, LONG, workflow.printed)
    until(lambda: len(images(workflow)) == 1, LONG, workflow.printed)
    (host,) = hosts(workflow)
    return run, held, host


def images(workflow):
    return {p: p.stat().st_mtime_ns for p in (workflow.folder / FOLDER / "images").glob("*.png")}


def assert_complete(workflow, kept):
    """All four are edited, and what was there already is as it was."""
    found = workflow.records("edits")
    assert [record["status"] for record in found] == ["ok"] * 4
    assert kept.items() <= images(workflow).items()
    assert not list(workflow.results.rglob(".*.tmp"))


def test_a_host_killed_in_mid_edit_costs_that_edit_and_the_retry_starts_another(workflow):
    run, held, host = start(workflow)
    kept = images(workflow)
    held.release()
    host.kill()
    run.wait(LONG)
    assert run.returncode == 0, workflow.printed()
    printed = workflow.printed()
    assert printed.count("found the process that holds its model dead before the job was done") == 1
    assert printed.count("FAILED editing physical") == 1
    assert "Traceback" not in printed + workflow.logs()
    assert_complete(workflow, kept)
    assert hosts_started(workflow) == 2


def test_a_host_that_hangs_is_ended_with_a_sentence_and_the_retry_starts_another(workflow):
    workflow.config["devices"]["heartbeat_timeout"] = 3
    run, held, host = start(workflow)
    kept = images(workflow)
    held.release()
    host.suspend()
    until(lambda: not alive([host]), PROMPTLY, workflow.printed)
    run.wait(LONG)
    assert run.returncode == 0, workflow.printed()
    sentence = f"cpu0: found no sign of life of process {host.pid}, which holds its model, for 3 s"
    assert workflow.printed().count(sentence) == 1
    assert_complete(workflow, kept)


def test_a_host_whose_job_is_killed_finishes_its_edit_and_stays_for_the_retry(workflow):
    run, held, _ = start(workflow)
    kept = images(workflow)
    (job,) = {p.pid: p for p in children(run) if is_edit_job(p)}.values()
    job.kill()
    # the edit in hand is not lost, and no further one is begun before the retry
    until(lambda: "FAILED editing physical" in workflow.printed(), PROMPTLY, workflow.printed)
    held.give()
    run.wait(LONG)
    assert run.returncode == 0, workflow.printed()
    assert_complete(workflow, kept)
    assert [record["cached"] for record in workflow.records("edits")] == [True, True, False, False]
    assert "the model is on cpu0 already" in workflow.logs("edit/**/*.log")
    assert hosts_started(workflow) == 1


def test_nothing_is_left_of_a_run_whose_snakemake_is_killed(workflow):
    run, held, _ = start(workflow)
    kept = images(workflow)
    run.kill()
    run.wait()
    assert not until_gone(workflow)
    assert not held_locks(workflow)
    held.release()
    workflow.run(*edits(workflow), "--unlock")
    workflow.run(*edits(workflow))
    assert_complete(workflow, kept)


def test_ctrl_c_leaves_nothing(workflow):
    run, held, _ = start(workflow)
    kept = images(workflow)
    os.killpg(run.pid, signal.SIGINT)
    run.wait(PROMPTLY)
    assert not until_gone(workflow)
    assert not held_locks(workflow)
    assert "Traceback" not in workflow.printed()
    held.release()
    workflow.run(*edits(workflow))
    assert_complete(workflow, kept)


def test_a_host_that_hangs_when_its_run_is_killed_is_ended_by_the_next_run(workflow):
    run, held, host = start(workflow)
    kept = images(workflow)
    host.suspend()
    run.kill()
    run.wait()
    held.release()
    workflow.run(*edits(workflow), "--unlock")
    workflow.run(*edits(workflow))
    assert not alive([host])
    assert_complete(workflow, kept)


def test_sigterm_lets_a_host_finish_its_edit(workflow):
    run, held, host = start(workflow)
    kept = images(workflow)
    host.terminate()
    held.give()
    until(lambda: not alive([host]), PROMPTLY, workflow.printed)
    assert len(images(workflow)) == 2
    run.wait(LONG)
    assert run.returncode == 0, workflow.printed()
    assert "stopped, it got SIGTERM; what is finished is kept" in workflow.printed()
    assert_complete(workflow, kept)
    assert [record["cached"] for record in workflow.records("edits")] == [True, True, False, False]


def test_sockets_of_dead_hosts_are_removed_and_in_nobodys_way(workflow):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for folder in (folder_of_sockets().parent, folder_of_sockets()):
        folder.mkdir(mode=0o700)
    left = folder_of_sockets() / f"{gone.pid}-abcdef01-cpu0-01234567.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        bind(listener, left)
    workflow.run(*edits(workflow))
    assert not left.exists()
    assert_complete(workflow, {})


def test_two_runs_at_once_on_one_device_have_hosts_of_their_own(prepared, workflow, tmp_path):
    other = prepared.copy(tmp_path / "other")
    first, held, host = start(workflow)
    second = other.start(*edits(other))
    assert second.wait(LONG) == 0, other.printed()
    assert alive([host])
    assert hosts_started(other) == 1
    held.give()
    assert first.wait(LONG) == 0, workflow.printed()
    assert_complete(workflow, {})
    assert_complete(other, {})
    assert not until_gone(other)
    assert hosts_started(workflow) == 1


def test_what_is_warm_can_be_listed_and_stopped(workflow):
    def command(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "lockstep", "workers", *arguments],
            capture_output=True,
            text=True,
            env=environment(),
            check=True,
        )
        return done.stdout

    run, held, host = start(workflow)
    line = rf"cpu0: small, works since \d\d:\d\d:\d\d \(process {host.pid}, of the run of process "
    assert re.search(line + rf"{run.pid}\)\n", command())
    held.give()
    assert "1 stopped" in command("--stop")
    assert not alive([host])
    assert run.wait(LONG) == 0, workflow.printed()
    assert "stopped, its device is wanted; what is finished is kept" in workflow.printed()
    assert command() == "nothing is warm\n"


def test_a_host_without_work_ends(models, tmp_path):
    """The editor that needs no host is held at its work; the judge stands by for nothing."""
    workflow = workflow_of(tmp_path / "work", models, idle_timeout=1)
    workflow.config["editors"].append({"name": CONTROL, "type": "identity"})
    workflow.run("results/manifest/physical.jsonl")
    HeldDisk(workflow, 0)
    run = workflow.start(
        *edits(workflow), *(path.replace(EDITOR, CONTROL) for path in edits(workflow))
    )
    (host,) = until(lambda: hosts(workflow), LONG, workflow.printed)
    until(lambda: not alive([host]), LONG, workflow.printed)
    assert "ends: its model is not needed any more" in workflow.logs("workers/cpu0.log")
    idle = "ends: idle for 1 s"
    until(lambda: idle in workflow.logs("workers/cpu0.log"), LONG, workflow.printed)
    assert run.poll() is None
    run.kill()
    run.wait()
    assert not until_gone(workflow)


def test_a_host_killed_while_it_loads_before_the_first_job_costs_nothing(workflow):
    run = workflow.start(*edits(workflow))
    workflow.started = run.pid
    until(lambda: hosts_started(workflow), LONG, workflow.printed)
    (host,) = hosts(workflow)
    host.kill()
    assert run.wait(LONG) == 0, workflow.printed()
    assert "FAILED" not in workflow.printed()
    assert_complete(workflow, {})


def test_a_run_killed_while_its_model_loads_leaves_nothing(workflow):
    run = workflow.start(*edits(workflow))
    workflow.started = run.pid
    until(lambda: hosts_started(workflow), LONG, workflow.printed)
    run.kill()
    run.wait()
    assert not until_gone(workflow)
    assert not images(workflow)
    workflow.run(*edits(workflow), "--unlock")
    workflow.run(*edits(workflow))
    assert_complete(workflow, {})


def test_a_forker_killed_while_it_imports_costs_nothing(workflow):
    run = workflow.start(*edits(workflow))
    workflow.started = run.pid
    (forker,) = until(lambda: forkers(workflow), LONG, workflow.printed)
    forker.kill()
    assert not hosts_started(workflow)
    assert run.wait(LONG) == 0, workflow.printed()
    assert "FAILED" not in workflow.printed()
    assert_complete(workflow, {})
    assert hosts_started(workflow) == 1


def test_a_forker_killed_in_mid_edit_costs_nothing(workflow):
    run, held, _ = start(workflow)
    (forker,) = forkers(workflow)
    forker.kill()
    held.give()
    assert run.wait(LONG) == 0, workflow.printed()
    assert "FAILED" not in workflow.printed()
    assert_complete(workflow, {})
    assert hosts_started(workflow) == 1


def test_a_forker_killed_with_its_host_costs_the_edit_in_hand_and_the_retry_starts_both(workflow):
    run, held, host = start(workflow)
    kept = images(workflow)
    held.release()
    for process in (*forkers(workflow), host):
        process.kill()
    assert run.wait(LONG) == 0, workflow.printed()
    assert workflow.printed().count("FAILED editing physical") == 1
    assert_complete(workflow, kept)
    assert workflow.logs("workers/forker.log").count("is the forker of the workers") == 2


def test_a_forker_that_hangs_when_its_run_is_killed_is_ended_by_the_next_run(workflow):
    run = workflow.start(*edits(workflow))
    workflow.started = run.pid
    (forker,) = until(lambda: forkers(workflow), LONG, workflow.printed)
    forker.suspend()
    run.kill()
    run.wait()
    workflow.run(*edits(workflow), "--unlock")
    workflow.run(*edits(workflow))
    assert not alive([forker])
    assert_complete(workflow, {})


@pytest.fixture
def two_categories(models, tmp_path, apart):
    """Two samples of each of two categories for one CPU slot, nothing edited yet."""
    workflow = make(
        tmp_path / "work",
        models,
        per_category=2,
        benchmark={"path": "benchmark.json", "categories": ["物理", "环境"]},
        devices={"accelerator": "cpu", "device_ids": [0]},
    )
    workflow.run("results/manifest/physical.jsonl")
    yield workflow
    assert not until_gone(workflow)
    assert not held_locks(workflow)


def test_a_host_killed_in_an_edit_whose_job_has_not_come_costs_that_edit(two_categories):
    workflow = two_categories
    held = Held(workflow, 1, "environmental")
    run = workflow.start()
    until(held.in_hand, LONG, workflow.printed)
    made = lambda: list(workflow.results.glob(f"{EDITOR}/*/images/*.png"))  # noqa: E731
    until(lambda: len(made()) == 3, LONG, workflow.printed)
    assert AHEAD in workflow.logs("**/*.log")
    kept = {path: path.stat().st_mtime_ns for path in made()}
    held.release()
    for host in hosts(workflow):
        host.kill()
    assert run.wait(LONG) == 0, workflow.printed()
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in kept}.items()
    assert [record["status"] for record in workflow.records("scores")] == ["ok"] * 4


def test_a_judge_killed_in_a_batch_over_categories_costs_that_batch(two_categories):
    workflow = two_categories
    workflow.config["judge"]["batch_size"] = 3
    run = workflow.start("--retries", "2")
    judged = lambda: list(workflow.results.glob(f"{EDITOR}/*/judgements/*.json"))  # noqa: E731
    # both of the first category, and one of the next
    until(lambda: len(judged()) == 3, LONG, workflow.printed)
    for host in hosts(workflow):
        host.kill()
    kept = {path: path.stat().st_mtime_ns for path in judged()}
    assert {path.parents[1].name for path in kept} == {"physical", "environmental"}
    assert run.wait(LONG) == 0, workflow.printed()
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in judged()}.items()
    assert [record["status"] for record in workflow.records("scores")] == ["ok"] * 4


def test_three_categories_load_each_model_once_a_device_and_give_what_jobs_alone_give(
    models, tmp_path
):
    found = {}
    for resident in (True, False):
        devices = {"accelerator": "cpu", "device_ids": [0, 1], "resident": resident}
        workflow = make(
            tmp_path / f"{resident}",
            models,
            per_category=2,
            benchmark={"path": "benchmark.json", "categories": ["物理", "环境", "社会"]},
            devices=devices,
        )
        # six loads one after the other take their time on a busy machine
        assert workflow.start().wait(900) == 0, workflow.printed()
        for k in range(2):
            own = workflow.logs(f"workers/cpu{k}.log")
            log = own + workflow.logs(f"edit/**/shard-{k}-of-2.log")
            judged = own + workflow.logs(f"score/**/shard-{k}-of-2.log")
            assert log.count(LOADED) == (1 if resident else 3)
            assert judged.count("loaded Qwen3VL") == (1 if resident else 3)
            # all but the first one, or but two if the engine was quick
            edited = workflow.logs(f"edit/**/shard-{k}-of-2.log")
            assert edited.count(AHEAD) in ((1, 2) if resident else (0,))
        assert not until_gone(workflow)
        known = workflow.logs("workers/*.log")
        workflow.run()
        assert workflow.logs("workers/*.log") == known
        found[resident] = [
            {key: record[key] for key in DECIDED if key in record}
            for kind in ("edits", "scores")
            for record in workflow.records(kind)
        ]
    assert len(found[True]) == 12
    assert found[True] == found[False]


DECIDED = (
    *("id", "key", "status", "error", "pixels_sha256", "seed", "wave", "shard", "device"),
    *("score", "expected_score", "criteria", "reasoning", "reply", "probabilities", "schema_mass"),
)
