"""Shared folders: links, pipes and names of others have nothing else read or written."""

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile

import filelock
import pytest

from lockstep import records
from lockstep.editing import waves
from lockstep.errors import ConfigError, DamagedError
from lockstep.figures import tables
from lockstep.jobs import joblog, sockets
from lockstep.jobs.verify import verify
from lockstep.records import EditRecord, Sample, ScoreRecord, notes, recovery
from tests.conftest import make_sample


@pytest.fixture
def victim(tmp_path):
    """Return a file outside of every folder of ours, which stays as it is."""
    path = tmp_path / "victim"
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"


@pytest.fixture
def host_folder(tmp_path, monkeypatch):
    """Return where this user's folder on this host belongs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / f"lockstep-{os.getuid()}"


def test_this_users_folder_is_made_for_this_user_alone(host_folder):
    assert records.host_folder() == host_folder
    assert stat.S_IMODE(host_folder.stat().st_mode) == 0o700
    assert records.host_folder() == host_folder
    assert sockets.folder() == host_folder / "workers"


def a_link(path, victim):
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)


def a_dangling_link(path, victim):
    path.symlink_to(path.parent / "nothing")


def a_link_to_a_file(path, victim):
    path.symlink_to(victim)


def a_file(path, victim):
    path.write_text("")


def a_readable_folder(path, victim):
    path.mkdir()
    path.chmod(0o755)


def a_pipe(path, victim):
    os.mkfifo(path)


PLACES = [a_link, a_dangling_link, a_link_to_a_file, a_file, a_readable_folder, a_pipe]


@pytest.mark.parametrize("make", PLACES)
@pytest.mark.parametrize("deeper", [False, True], ids=["host", "sockets"])
def test_anything_else_in_its_place_is_one_sentence(host_folder, victim, make, deeper):
    if deeper:
        host_folder.mkdir(mode=0o700)
    path = host_folder / "workers" if deeper else host_folder
    make(path, victim)
    with pytest.raises(ConfigError, match="expected a folder of this user alone, found a ") as told:
        sockets.folder()
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)


@pytest.mark.skipif(os.getuid() != 0, reason="takes root")
def test_a_folder_of_another_user_is_refused(host_folder):
    host_folder.mkdir(mode=0o700)
    os.chown(host_folder, 12345, 12345)
    with pytest.raises(ConfigError, match="a folder that others own"):
        records.host_folder()


WRITERS = {
    "bytes": lambda path: records.write_bytes(path, b"x"),
    "text": lambda path: records.write_text(path, "x"),
    "json": lambda path: records.write_json(path, 1),
    "records": lambda path: records.write_records(path, []),
}


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_takes_the_place_of_a_link_and_leaves_what_it_led_to(tmp_path, victim, write):
    path = tmp_path / "results" / "x"
    path.parent.mkdir()
    path.symlink_to(victim)
    WRITERS[write](path)
    assert not path.is_symlink()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("make", [a_link_to_a_file, a_link, a_pipe, a_dangling_link])
def test_a_log_is_written_to_no_link_and_waits_for_no_pipe(tmp_path, victim, make):
    path = tmp_path / "logs" / "x.log"
    path.parent.mkdir()
    make(path, victim)
    with pytest.raises(ConfigError, match=r"x\.log: expected a log file, found"):
        joblog._opened(path)
    code = f"from lockstep.jobs.joblog import job_log\nwith job_log({str(path)!r}): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


def test_a_lock_is_taken_on_no_link(tmp_path, victim):
    (tmp_path / "waves").mkdir()
    (tmp_path / "waves" / "shard-0-of-1.lock").symlink_to(victim)
    with pytest.raises(OSError), waves.Barrier(tmp_path / "waves", 0, 1, "run", [], 1):
        pass
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises((ConfigError, OSError, filelock.Timeout)):
        recovery.hold(tmp_path)


def test_a_folder_of_results_that_leads_out_of_itself_is_one_sentence(tmp_path, victim):
    results = tmp_path / "results"
    (results / "e" / "c").mkdir(parents=True)
    (results / "e" / "c" / "inside").symlink_to(results / "e")
    (tmp_path / "also").symlink_to(results)
    for folder in (results, tmp_path / "also", tmp_path / "none"):
        recovery.check_tree(folder)
    for name, target in (("table.csv", victim), ("images", tmp_path), ("x", "../../../victim")):
        link = results / "e" / "c" / name
        link.symlink_to(target)
        with pytest.raises(ConfigError, match=f"{name}: .*found a link that leads out of it"):
            recovery.check_tree(results)
        with pytest.raises(ConfigError, match=f"{name}: "):
            list(verify(results))
        link.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(results / "e" / "socket"))
    with pytest.raises(ConfigError, match="socket: expected files and folders"):
        recovery.check_tree(results)


OUT = ["../x", "/etc/passwd", "a/../../x", "", "..", None]


@pytest.mark.parametrize("name", OUT)
def test_no_record_leads_out_of_its_folder(tmp_path, name):
    with pytest.raises(DamagedError):
        records.below(tmp_path, name)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".", ".."])
@pytest.mark.parametrize("kind", [Sample, EditRecord, ScoreRecord])
def test_no_id_in_a_record_or_table_is_a_path(tmp_path, kind, name):
    if kind is Sample:
        good = make_sample(tmp_path)
    elif kind is EditRecord:
        good = kind(id="a", category="c", key="", status="ok", seed=1, wave=0, shard=0, device="d")
    else:
        good = kind(id="a", category="c", status="ok")
    path = tmp_path / "r.jsonl"
    records.write_records(path, [good.model_copy(update={"id": name})])
    with pytest.raises(DamagedError, match="found a broken line 1"):
        records.read_records(path, kind)
    if name:
        (tmp_path / "table.csv").write_text(f'"id","score"\n"{name}",1\n')
        with pytest.raises(DamagedError, match="expected a name without folders"):
            tables.read_table(tmp_path / "table.csv")


def test_a_note_of_others_has_no_file_outside_read(tmp_path, victim):
    note = tmp_path / "results" / "provenance" / "x.json"
    note.parent.mkdir(parents=True)
    files = {"../victim": "", "/dev/zero": "", "gone": "x"}
    note.write_text(json.dumps({"made_of": {}, "files": files}))
    faults = [fault for fault in verify(tmp_path / "results") if fault is not None]
    assert [fault.what.split(" in a")[0] for fault in faults][:2] == [
        f"{tmp_path / 'results'}: expected a path below it",
    ] * 2
    assert notes.sha256("/dev/zero") == ""
