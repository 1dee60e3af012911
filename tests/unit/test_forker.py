"""The process that imports what workers of CPU slots need, and forks them."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.jobs import sockets, unix, workers
from lockstep.judges.qwen3_vl import LocalSettings
from lockstep.judges.reward import RewardSettings
from tests.workflow.conftest import until

LONG = 120
"""Seconds for a process to begin, on a busy machine."""

PROMPTLY = 10


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """The process that stands for Snakemake; nothing outlives it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LOCKSTEP_RUN", "abcdef0123")
    with subprocess.Popen(["sleep", "600"]) as process:
        monkeypatch.setenv("LOCKSTEP_STARTER", str(process.pid))
        yield process
        process.kill()
    until(lambda: not ours(tmp_path), PROMPTLY)


def ours(folder):
    """Return the processes of a test, which say so in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) and process.pid != os.getpid():
                found.append(process)
    return found


def wanted(folder, slot="0", imports=""):
    devices = DeviceSettings(heartbeat_timeout=LONG)
    return workers.Wanted([Device("cpu", slot)], "key", "e", devices, folder, imports)


def begun(own):
    """Let a worker stand by and return its process, once it has begun."""
    workers.stand_by(own)
    connection = workers._begun(workers._path(own))
    with connection:
        return psutil.Process(unix.process_of(connection))


def module(folder, monkeypatch, text):
    """Return the name of a module that a forker finds."""
    (folder / "to_import.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return "to_import"


def test_one_forker_forks_the_workers_of_a_run_and_ends_with_it(engine, tmp_path, monkeypatch):
    text = f"open({str(tmp_path / 'imported')!r}, 'a').write('once')"
    name = module(tmp_path, monkeypatch, text)
    first, second = (begun(wanted(tmp_path, slot, name)) for slot in "01")
    assert first.ppid() == second.ppid()
    forker = psutil.Process(first.ppid())
    names = [process.name() for process in (forker, first, second)]
    assert names == ["lockstep-forker", "lockstep-worker", "lockstep-worker"]
    assert (tmp_path / "imported").read_text() == "once"
    # it leads a group, so that nothing else dies with it
    assert os.getpgid(first.pid) == first.pid != os.getpgid(forker.pid)
    told = workers.listed()
    assert [line.split(":")[0] for line in told] == ["cpu0", "cpu1"]
    assert f"(process {first.pid}, of the run of process {engine.pid})" in told[0]
    workers.end_run()
    until(lambda: not ours(tmp_path), PROMPTLY)
    assert not list(sockets.folder().iterdir())


def test_two_that_come_at_once_have_one_forker(engine, tmp_path):
    own = wanted(tmp_path)
    second = threading.Thread(target=workers.stand_by, args=(own,))
    with sockets.one_at_a_time():
        second.start()
        second.join(1)
        assert second.is_alive()
        # what the first one has started meanwhile
        first = workers.listening(workers._forker())
    second.join(PROMPTLY)
    with first, first.accept()[0] as connection:
        line, (descriptor,) = unix.hear(connection)
    assert json.loads(line)["worker"]["key"] == "key"
    os.close(descriptor)
    assert not ours(tmp_path)


def test_workers_live_on_without_the_forker_and_the_next_one_has_another(engine, tmp_path):
    first = begun(wanted(tmp_path))
    forker = first.parent()
    forker.kill()
    forker.wait()
    second = begun(wanted(tmp_path, "1"))
    assert first.is_running()
    assert second.parent().name() == sockets.FORKER
    # dead workers are not left to be waited for
    second.kill()
    until(lambda: not second.is_running(), PROMPTLY)


def test_who_wants_a_worker_does_not_wait_for_imports(engine, tmp_path, monkeypatch):
    slow = wanted(tmp_path, imports=module(tmp_path, monkeypatch, "import time; time.sleep(600)"))
    workers.stand_by(slow)
    assert workers.listed() == [f"cpu0: begins (of the run of process {engine.pid})"]


def test_a_forker_ends_with_its_run_while_it_imports(engine, tmp_path, monkeypatch):
    begins = tmp_path / "begins"
    text = f"import time; open({str(begins)!r}, 'w'); time.sleep(600)"
    workers.stand_by(wanted(tmp_path, imports=module(tmp_path, monkeypatch, text)))
    until(begins.exists, LONG)
    engine.kill()
    engine.wait()
    until(lambda: not ours(tmp_path), PROMPTLY)


def test_a_worker_is_waited_for_until_its_forker_dies(engine, tmp_path, monkeypatch):
    begins = tmp_path / "begins"
    text = f"import time; open({str(begins)!r}, 'w'); time.sleep(600)"
    slow = wanted(tmp_path, imports=module(tmp_path, monkeypatch, text))
    workers.stand_by(slow)
    until(begins.exists, LONG)
    found = []
    waits = threading.Thread(target=lambda: found.append(workers._begun(workers._path(slow))))
    waits.start()
    waits.join(1)
    assert waits.is_alive()
    (forker,) = ours(tmp_path)
    forker.kill()
    waits.join(PROMPTLY)
    assert found == [None]


def test_a_forker_that_hangs_is_ended(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "IMPORTING", 1.0)
    begins = tmp_path / "begins"
    text = f"import time; open({str(begins)!r}, 'w'); time.sleep(600)"
    slow = wanted(tmp_path, imports=module(tmp_path, monkeypatch, text))
    workers.stand_by(slow)
    until(begins.exists, LONG)
    assert workers._begun(workers._path(slow)) is None
    until(lambda: not ours(tmp_path), PROMPTLY)


def test_what_cannot_be_imported_is_said_by_the_worker_as_ever(engine, tmp_path, monkeypatch):
    own = wanted(tmp_path, imports=module(tmp_path, monkeypatch, "import nothing_of_this_name"))
    workers.stand_by(own)
    log = Path(own.log)
    until(lambda: log.exists() and "ModuleNotFoundError" in log.read_text(), LONG)
    # the next one has the same forker
    assert begun(wanted(tmp_path, "1")).parent().name() == sockets.FORKER


def test_nothing_that_a_forker_imports_starts_a_thread():
    modules = {own.imports for own in (DiffusersSettings, LocalSettings, RewardSettings)}
    assert all(map(importlib.util.find_spec, modules))
    count = "import os, threading; print(threading.active_count(), *os.listdir('/proc/self/task'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(sorted(modules))}\n{count}"],
        capture_output=True,
        text=True,
        check=True,
        # its pool takes care of forks itself
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    threads, *tasks = done.stdout.splitlines()[-1].split()
    assert threads == "1" and len(tasks) == 1
