"""How a job's process ends."""

import os
import subprocess
import sys

import pytest

JOB = """
import atexit, os, sys
from lockstep.errors import ConfigError
from lockstep.joblog import job_log
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


def test_a_job_goes_on_when_its_terminal_has_gone(tmp_path):
    ours, theirs = os.openpty()
    os.close(ours)
    job = [sys.executable, "-c", JOB.format(last="pass")]
    assert subprocess.run(job, cwd=tmp_path, stderr=theirs).returncode == 0
    os.close(theirs)
    assert "finished in" in (tmp_path / "job.log").read_text()
