"""How a job's process ends."""

import errno
import os
import subprocess
import sys
import tempfile

import pytest

from lockstep.jobs import joblog

JOB = """
import atexit, os, sys
from lockstep.errors import ConfigError
from lockstep.jobs.joblog import job_log
atexit.register(os.abort)
with job_log("job.log") as terminal:
    print("to the terminal", file=terminal)
    sys.stdout.write("to the log")
    {last}
"""


@pytest.mark.parametrize(("last", "done"), [("pass", True), ("1 / 0", False)])
def test_a_job_that_is_done_does_not_fail_as_its_libraries_end(tmp_path, last, done):
    job = [sys.executable, "-c", JOB.format(last=last)]
    ended = subprocess.run(job, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode == 0) == done
    assert ended.stderr.startswith("to the terminal\n" + ("" if done else "Error: "))
    log = (tmp_path / "job.log").read_text()
    assert "to the log" in log
    assert ("finished in" in log) == done


@pytest.mark.parametrize(("kind", "tries"), [("ConfigError", 1), ("DeviceError", 2)])
def test_what_no_other_try_would_help_is_told_once_a_run(tmp_path, monkeypatch, kind, tries):
    def told(run, last=f"raise {kind}('a.csv: no')", **variables):
        code = JOB.format(last=last).replace("atexit.register(os.abort)", "")
        job = [sys.executable, "-c", code.replace("import ConfigError", f"import {kind}")]
        own = {**os.environ, "LOCKSTEP_RUN": run, **variables}
        ended = subprocess.run(job, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=own)
        return ended.returncode, ended.stderr.count("Error: a.csv: no")

    assert told("one") == (1, 1)
    # as the workflow engine does
    (tmp_path / "job.log").unlink()
    assert told("one") == (1, tries - 1)
    assert "a.csv: no" in (tmp_path / "job.log").read_text()
    # the workflow engine may say it itself, once for all shards
    log = tmp_path / "job.log"
    assert told("four", LOCKSTEP_TELLS="1") == (1, tries - 1)
    with monkeypatch.context() as environment:
        environment.setenv("LOCKSTEP_RUN", "four")
        assert joblog.reason(log) == ("a.csv: no" if tries == 1 else None)
    # the next run looks again, and finds it mended
    assert told("two") == (1, 1)
    assert told("three", "pass") == (0, 0)


DIARY = """
import logging, os
from lockstep.jobs.joblog import Diary, written_to
with written_to("worker.log"):
    logging.info("the worker's")
    diary = Diary("worker.log")
    logging.info("begun")
    os.system("echo by the engine > job.log")
    diary.hand_over("job.log")
    logging.info("gone on")
    os.system("echo by a library")
with written_to("worker.log"):
    logging.info("idle")
"""


def test_a_job_that_was_begun_before_it_came_has_all_that_was_logged_for_it(tmp_path):
    subprocess.run([sys.executable, "-c", DIARY], cwd=tmp_path, check=True)

    def said(name):
        return [line.split(" ", 1)[-1] for line in (tmp_path / name).read_text().splitlines()]

    assert said("job.log") == ["the engine", "begun", "gone on", "a library"]
    assert said("worker.log") == ["the worker's", "begun", "idle"]


def test_a_job_goes_on_when_its_terminal_has_gone(tmp_path):
    ours, theirs = os.openpty()
    os.close(ours)
    job = [sys.executable, "-c", JOB.format(last="pass")]
    assert subprocess.run(job, cwd=tmp_path, stderr=theirs).returncode == 0
    os.close(theirs)
    assert "finished in" in (tmp_path / "job.log").read_text()


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_job_without_standard_streams_does_its_work(tmp_path, closed):
    job = JOB.format(last="print('to the log too', file=sys.stderr)")
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, job]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    log = (tmp_path / "job.log").read_text()
    assert "to the log" in log and "to the log too" in log and "finished in" in log


def test_a_full_disk_is_named_also_where_the_error_names_none(tmp_path, monkeypatch):
    monkeypatch.setattr(joblog, "LITTLE", 2**63)
    told = joblog._sentence(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "x.log")
    assert told.startswith(f"No space left on device ({tmp_path}, {tempfile.gettempdir()}); ")
    monkeypatch.setattr(joblog, "LITTLE", 0)
    told = joblog._sentence(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "x.log")
    assert told.startswith("No space left on device; ")
