"""Who holds a folder of results."""

import subprocess
import sys

import pytest

import snakemake_logger_plugin_lockstep
from lockstep.errors import ConfigError
from lockstep.records import recovery

JOB = """
import sys
from pathlib import Path
from lockstep.records import recovery
recovery.PATIENCE = 0.2
recovery.share(Path(sys.argv[1]), sys.argv[2], lambda: print("swept", flush=True))
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def job(tmp_path):
    """Start jobs of a run; they hold the folder until their input ends."""
    jobs = []

    def start(run):
        command = [sys.executable, "-c", JOB, str(tmp_path), run]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        jobs.append(subprocess.Popen(command, text=True, **pipes))
        return jobs[-1]

    yield start
    for process in jobs:
        process.kill()
        process.communicate()


def test_jobs_of_one_run_hold_a_folder_together_and_the_first_sweeps(job):
    first = job("one")
    assert [first.stdout.readline() for _ in range(2)] == ["swept\n", "holds\n"]
    second = job("one")
    assert second.stdout.readline() == "holds\n"
    # with the first gone it goes on holding
    first.communicate()
    other = job("two")
    assert "in use by run one of" in other.communicate()[1]
    second.communicate()
    assert job("two").stdout.readline() == "swept\n"


def test_a_whole_run_and_the_jobs_of_a_module_keep_each_other_out(job, tmp_path, monkeypatch):
    held = job("one")
    assert held.stdout.readline() == "swept\n" and held.stdout.readline() == "holds\n"
    with pytest.raises(ConfigError, match="in use by run one of"):
        recovery.hold(tmp_path)
    held.communicate()
    monkeypatch.setattr(recovery, "PATIENCE", 0.2)
    with recovery.hold(tmp_path), pytest.raises(ConfigError, match="in use by process"):
        recovery.share(tmp_path, "one", lambda: pytest.fail("swept"))


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / recovery.LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="expected a file system with locks"):
        recovery.share(tmp_path / "results", "one", lambda: None)
    assert not (tmp_path / "elsewhere").exists()


def test_a_killed_run_is_not_said_to_hold_its_results(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_RESULTS", str(tmp_path))
    with recovery.hold(tmp_path):
        assert "in use by process" in snakemake_logger_plugin_lockstep._held()
    assert (tmp_path / recovery.HOLDER).is_file()
    assert snakemake_logger_plugin_lockstep._held() is None
