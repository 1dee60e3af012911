"""The processes that hold models: what needs no model to be tested."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from lockstep import records
from lockstep.config.run import Config
from lockstep.devices.device import Device
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.errors import ConfigError, WorkerError
from lockstep.jobs import run, sockets, unix, workers
from lockstep.jobs.types import AnchorJob, EditJob, Job, ScoreJob
from lockstep.jobs.worker import Client, Worker

SETTINGS = {
    "benchmark": {"path": "benchmark.json"},
    "editors": [{"name": "e", "type": "diffusers", "model": "some/model"}],
    "judge": {"type": "qwen3_vl", "model": "some/judge"},
    "devices": {"device_ids": [0], "heartbeat_timeout": 0.3},
}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LOCKSTEP_RUN", "abcdef0123")
    monkeypatch.setenv("LOCKSTEP_STARTER", str(os.getpid()))
    return Config.model_validate({**SETTINGS, "results": str(tmp_path / "results")})


def wanted(settings, slots, key="key", kind="cpu"):
    devices = [Device(kind, slot) for slot in slots]
    return workers.Wanted(devices, key, "e", settings.devices, Path(settings.results))


def test_a_model_in_memory_is_known_by_its_settings_its_weights_and_the_code(tmp_path, monkeypatch):
    editor = DiffusersSettings(name="e", type="diffusers", model=str(tmp_path / "model"))
    weights = tmp_path / "model" / "model.safetensors"
    records.write_text(weights, "1")
    first = run.model_key(editor)
    assert run.model_key(editor) == first
    keys = {first, run.model_key(editor.model_copy(update={"num_inference_steps": 4}))}
    # as many bytes, at the same place
    records.write_text(weights, "2")
    keys.add(run.model_key(editor))
    records.write_text(tmp_path / "library" / "code.py", "1")
    monkeypatch.setattr(run, "LIBRARY", tmp_path / "library")
    keys.add(run.model_key(editor))
    records.write_text(tmp_path / "library" / "code.py", "2")
    keys.add(run.model_key(editor))
    assert len(keys) == 5


def test_what_is_sent_to_a_worker_is_the_job_to_the_letter(settings):
    common = {**settings.for_jobs(), "devices": (Device("cuda", "0", "a"),), "shard": 0, "log": "l"}
    judging = {**common, "judge": settings.judge}
    jobs = [
        EditJob(
            **common,
            editor=settings.editors[0],
            category="physical",
            seed=1,
            slots=1,
            run="r",
            first=0,
        ),
        ScoreJob(**judging, editor="e", category="physical", seed=1, rubric="r.yaml"),
        AnchorJob(**judging, rubrics={"physical": "r.yaml"}),
    ]
    for job in jobs:
        assert TypeAdapter(Job).validate_json(job.model_dump_json()) == job


def test_the_folder_of_sockets_is_this_users_alone(settings, tmp_path):
    folder = sockets.folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o755)
    with pytest.raises(ConfigError, match="expected a folder of this user alone"):
        records.host_folder()


def test_a_socket_has_a_short_name_whatever_the_length_of_its_own_and_its_folders(
    settings, tmp_path, monkeypatch
):
    long = tmp_path / ("x" * 120)
    for module in (sockets, workers):
        monkeypatch.setattr(module, "folder", lambda: long)
    long.mkdir()
    path = workers._path(
        wanted(settings, "", "01234567")._replace(
            devices=[Device("cuda", f"GPU-{k:08}-61d1") for k in range(8)]
        )
    )
    assert len(path.name) > 107
    with socket.socket(socket.AF_UNIX) as listener:
        unix.bind(listener, path)
        listener.listen()
        (found,) = sockets.known()
        connection = unix.try_connect(found.path)
        assert unix.process_of(connection) == os.getpid()
        connection.close()


def test_a_host_says_what_it_is_before_it_gives_signs_of_life(tmp_path, monkeypatch):
    say = Client.say

    def say_slowly(client, message, flags=0):
        if message:
            time.sleep(0.1)
        say(client, message, flags)

    monkeypatch.setattr(Client, "say", say_slowly)
    monkeypatch.setattr(sockets, "BEAT", 0.01)
    with socket.socket(socket.AF_UNIX) as listener:
        unix.bind(listener, tmp_path / "a.sock")
        listener.listen()
        host = Worker(listener, {"key": "key", "name": "e"})
        for work in (host._listen, host._beat):
            threading.Thread(target=work, daemon=True).start()
        with unix.try_connect(tmp_path / "a.sock") as connection:
            assert sockets.greeting(connection, patience=10)["key"] == "key"


def test_a_host_that_is_silent_from_its_start_is_ended_with_a_sentence(
    settings, tmp_path, monkeypatch
):
    starting = tmp_path / "starting"
    starting.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 60\n")
    starting.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(starting))
    with (
        open(os.devnull, "w") as terminal,
        pytest.raises(
            WorkerError, match=r"gpu0: found no sign of life of process \d+, .* ended it"
        ),
    ):
        workers.run("{}", wanted(settings, "0", kind="cuda"), terminal)
    _, status = os.waitpid(int((tmp_path / "pid").read_text()), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.parametrize(("kind", "name"), [("cuda", "gpu0"), ("cpu", "cpu0")])
def test_a_host_that_dies_at_its_start_is_named_with_its_log(settings, monkeypatch, kind, name):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    sentence = rf"{name}: found .* dead at its start .*/workers/{name}.log"
    with open(os.devnull, "w") as terminal, pytest.raises(WorkerError, match=sentence):
        workers.run("{}", wanted(settings, "0", kind=kind), terminal)
    assert not workers.listed()


def test_a_host_takes_its_devices_from_those_that_hold_them_and_lets_others_stand_by(
    settings, monkeypatch
):
    asked = []

    def pretend(slots, key, holds, starter=0):
        path = workers._path(wanted(settings, slots, key, "cuda"))
        path = path.with_name(path.name.replace(str(os.getpid()), str(starter or os.getpid())))
        listener = socket.socket(socket.AF_UNIX)
        unix.bind(listener, path)
        listener.listen()

        def answer():
            with listener.accept()[0] as connection:
                greeting = {"key": key, "pid": 1, "holds": holds}
                connection.sendall(json.dumps(greeting).encode() + b"\n")
                if line := connection.recv(100):
                    asked.append((key, line))

        threading.Thread(target=answer, daemon=True).start()

    monkeypatch.setattr(sockets, "_wait", lambda pid: None)
    for slots, key, holds in (("0", "edit0", True), ("1", "edit1", True), ("2", "edit2", True)):
        pretend(slots, key, holds)
    pretend("1", "later", False)
    pretend("1", "alien", True, starter=1)
    pretend("01", "judge", False)
    connection, _ = workers._connected(wanted(settings, "01", "judge", "cuda"))
    connection.close()
    assert sorted(asked) == [(f"edit{k}", b'{"kind": "stop"}\n') for k in (0, 1)]


def test_only_what_runs_that_are_over_left_is_swept(settings):
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = sockets.folder() / f"{gone.pid}-abcdef01-gpu0-01234567.sock"
    own = sockets.folder() / f"{os.getpid()}-abcdef01-gpu0-01234567.sock"
    for path in (left, own):
        with socket.socket(socket.AF_UNIX) as listener:
            unix.bind(listener, path)
    workers.sweep()
    assert not left.exists()
    assert own.exists()


def test_a_host_in_a_container_whose_run_cannot_be_seen_from_here_is_left_alone(settings):
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = sockets.folder() / f"{gone.pid}-abcdef01-gpu0-01234567.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        unix.bind(listener, path)
        listener.listen()

        def answer():
            with listener.accept()[0] as connection:
                connection.sendall(b'{"key": "key"}\n')

        threading.Thread(target=answer, daemon=True).start()
        workers.sweep()
        assert path.exists()


def test_a_program_of_another_checkout_is_known_for_a_host(settings):
    code = workers.CODE.replace("scripts", "elsewhere")
    waits = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", code]
    with subprocess.Popen(waits, start_new_session=True, stdout=subprocess.PIPE) as host:
        # the kernel shows its command line a moment after its start
        host.stdout.readline()
        sockets.kill(host.pid)
        assert host.wait() == -signal.SIGKILL


def test_hosts_are_found_while_the_disk_of_temporary_files_is_full(settings, tmp_path, monkeypatch):
    known = sockets.folder()
    # tempfile takes another folder then
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    assert sockets.folder() == known


def test_a_host_that_a_run_starts_while_others_are_stopped_is_found_afterwards(
    settings, monkeypatch
):
    path = workers._path(wanted(settings, "0"))
    with socket.socket(socket.AF_UNIX) as old, socket.socket(socket.AF_UNIX) as new:

        def listen(listener):
            unix.bind(listener, path)
            listener.listen()

        listen(old)

        def end(connections, *_):
            connections[0].close()
            # its job is tried again at once, while the host of another device takes its time
            listen(new)

        monkeypatch.setattr(workers, "end_each", end)
        assert workers.stop() == 1
        with unix.try_connect(path) as connection:
            assert unix.process_of(connection) == os.getpid()


def test_a_program_of_others_is_never_killed_for_a_host(settings):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    sockets.kill(other.pid)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_silence_is_told_from_an_end():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{}\n{"begun": true}\n')
        found = sockets.messages(ours, patience=0.2)
        assert next(found) == {"begun": True}
        with pytest.raises(workers.Silent):
            next(found)
    ours, theirs = socket.socketpair()
    with ours:
        threading.Timer(0.1, theirs.close).start()
        assert list(sockets.messages(ours, patience=5)) == []
