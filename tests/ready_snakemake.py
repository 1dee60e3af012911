"""Snakemake in a process of its own, without its imports: they take longer than most plans.

A process that has imported Snakemake and what the Snakefile imports waits for what is to be run. It
forks, and the child does what `python -m snakemake` does, from its arguments to the interpreter's
end. Whoever looks for signals, terminals or process groups starts Snakemake itself.
"""

import atexit
import contextlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTED = [
    "snakemake.cli",
    "snakemake.profiles",
    "snakemake.report.html_reporter",
    "snakemake.storage",
    "smart_open",
    "snakemake_logger_plugin_lockstep.display",
    "lockstep.workflow",
    "lockstep.config.checks",
    "lockstep.demo.files",
    "lockstep.editors.command",
    "lockstep.editors.diffusers",
    "lockstep.editors.identity",
    "lockstep.editors.openai_images",
    "lockstep.editors.precomputed",
    "lockstep.jobs.paired",
    "lockstep.jobs.several",
    "lockstep.jobs.stale",
    "lockstep.jobs.takeover",
    "lockstep.jobs.workers",
    "lockstep.judges.openai_api",
    "lockstep.judges.precomputed",
    "lockstep.judges.qwen3_vl",
    "lockstep.judges.reward",
    "lockstep.report.language",
]
AT_START = ("PYTHONPATH", "PATH", "HOME")
"""What an interpreter and imports look at: with other values nothing is ready."""


class Ready:
    """The process that forks; it ends with the process of tests that started it."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ready_snakemake"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # one without threads can be forked
            env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.end)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        # it may have been killed
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def run(
        self, arguments: list[str], environment: dict[str, str], timeout: float, folder: str
    ) -> tuple[int, str]:
        """Run Snakemake and return its status and all that it prints."""
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as printed:
            request = {"arguments": arguments, "environment": environment, "folder": folder}
            request["to"] = printed.name
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            child = self._answer(timeout)
            try:
                status = self._answer(timeout)
            except subprocess.TimeoutExpired:
                os.kill(child, 9)
                self._answer(timeout)
                raise
            return status, printed.read()

    def _answer(self, timeout: float) -> int:
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("snakemake", timeout)
        line = self._process.stdout.readline()
        assert line, "the process that forks Snakemake has ended"
        return int(line)


@cache
def ready() -> Ready:
    return Ready()


def run(
    arguments: Iterable[str],
    environment: dict[str, str],
    timeout: float,
    folder: str | Path | None = None,
) -> tuple[int, str]:
    """Run `python -m snakemake` with arguments and return its status and all that it prints.

    Args:
        timeout: in seconds.
        folder: in which it runs; that of the tests if None.
    """
    if ready().ended():
        ready.cache_clear()
    own, folder, arguments = ready(), str(folder or os.getcwd()), list(map(str, arguments))
    if any(environment.get(name) != own.environment.get(name) for name in AT_START):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=timeout,
            cwd=folder,
        )
        return done.returncode, done.stdout
    return own.run(arguments, environment, timeout, folder)


def main() -> None:
    for name in IMPORTED:
        __import__(name)
    # unbuffered: a child inherits nothing of the next request
    while line := os.read(0, 2**20):
        while not line.endswith(b"\n"):
            line += os.read(0, 2**20)
        child = os.fork()
        if not child:
            break
        os.write(1, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    else:
        return
    begin(json.loads(line))


def begin(request: dict) -> None:
    """Become Snakemake."""
    printed = os.open(request["to"], os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for own, there in ((nothing, 0), (printed, 1), (printed, 2)):
        os.dup2(own, there)
    for own in (nothing, printed):
        os.close(own)
    os.environ.clear()
    os.environ.update(request["environment"])
    # it may have looked for the other one's
    tempfile.tempdir = None
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    # a module that is run finds what lies in its working folder
    sys.path[0] = request["folder"]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
