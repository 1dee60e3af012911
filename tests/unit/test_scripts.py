"""The process that forks scripts of rules, and the jobs' own processes, which hand theirs over."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lockstep.jobs import SCRIPTS, handover, scripts, unix
from tests.unit.test_forker import LONG, PROMPTLY, engine
from tests.workflow.conftest import until

__all__ = ["engine"]

LIBRARY = Path(scripts.__file__).parents[2]


@pytest.fixture
def forker(engine, tmp_path, monkeypatch):
    """The process of a run that forks scripts."""
    monkeypatch.setenv(SCRIPTS, "")
    scripts.begin(SimpleNamespace(cluster=None, results=str(tmp_path)), ["a.py", "b.py"])
    path = Path(os.environ[SCRIPTS])
    # it names itself before it listens
    until(lambda: psutil.Process(listening(path)).name() == unix.SCRIPT, LONG)
    return psutil.Process(listening(path))


def listening(path):
    with unix.try_connect(path) as connection:
        return unix.process_of(connection)


def script(folder, text, before=""):
    path = folder / "script.py"
    first = f"import os, signal, sys, time; sys.path.append({str(LIBRARY)!r})"
    given = "from lockstep.jobs.handover import hand_over"
    path.write_text(f"{first}\n{given}\n{before}\nhand_over()\n{text}\n")
    return [sys.executable, str(path)]


def gone(pid):
    """Tell whether a process has ended, though perhaps nobody has asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def done(command, **how):
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, **how)


def begun(command):
    """Start a job whose script prints its process, and return both."""
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return job, int(job.stdout.readline())


PRINTED = "print(os.getpid(), os.getppid(), flush=True)"


def test_a_script_has_what_its_job_has(forker, tmp_path):
    text = """
import threading
print(os.getppid(), os.getcwd(), os.environ["OWN"], sys.argv[1:], __name__)
print(threading.active_count())
print(sys.stdin.read(), file=sys.stderr)
assert "LOCKSTEP_SCRIPTS" not in os.environ and "PATH" not in os.environ
"""
    (tmp_path / "elsewhere").mkdir()
    env = {"OWN": "物理", SCRIPTS: os.environ[SCRIPTS], "PYTHONUTF8": "1"}
    how = {"cwd": tmp_path / "elsewhere", "env": env, "input": "heard"}
    found = done([*script(tmp_path, text), "--x", "1"], **how)
    # the thread beside it watches the job
    told = f"{forker.pid} {tmp_path / 'elsewhere'} 物理 ['--x', '1'] __main__\n2\n"
    assert (found.returncode, found.stdout, found.stderr) == (0, told, "heard\n")
    # and the next one knows nothing of it
    found = done(script(tmp_path, "print(os.getcwd(), 'OWN' in os.environ, sys.argv[1:])"))
    assert found.stdout == f"{os.getcwd()} False []\n"


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('a sentence')", 1, "a sentence\n"),
        ("os._exit(5)", 5, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
        ("import nothing_of_this_name", 1, "No module named 'nothing_of_this_name'\n"),
    ],
)
def test_a_job_ends_as_its_script_ends(forker, tmp_path, text, status, told):
    found = done(script(tmp_path, text))
    assert found.returncode == status
    assert found.stderr.endswith(told) and bool(found.stderr) == bool(told)
    assert forker.is_running()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_script(forker, tmp_path, number):
    text = (
        f"signal.signal({int(number)}, lambda n, _: sys.exit(40 + n))\n{PRINTED}\ntime.sleep(600)"
    )
    command = script(tmp_path, text.replace("os.getpid(), os.getppid()", "os.getpid()"))
    job, _ = begun(command)
    job.send_signal(number)
    assert job.wait(PROMPTLY) == 40 + number


def test_a_script_is_as_deaf_to_ctrl_c_as_its_job(forker, tmp_path):
    text = "print(1, flush=True)\nsys.stdin.read()\nsys.exit(6)"
    job = subprocess.Popen(
        script(tmp_path, text),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    job.stdout.readline()
    job.send_signal(signal.SIGINT)
    # the signal has had its time to be passed on
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.3)
    job.stdin.close()
    assert job.wait(PROMPTLY) == 6


def test_a_script_that_fails_ends_what_it_has_begun(forker, tmp_path):
    text = """
import atexit, multiprocessing, threading
atexit.register(print, "at its end")
threading.Thread(target=lambda: (time.sleep(0.3), print("saved", flush=True))).start()
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(15,), daemon=True)
process.start()
print(process.pid, flush=True)
sys.exit(3)
"""
    job, pid = begun(script(tmp_path, text))
    assert (job.stdout.read(), job.wait()) == ("saved\nat its end\n", 3)
    assert gone(pid)


def test_a_script_ends_with_its_job(forker, tmp_path):
    job, pid = begun(script(tmp_path, "print(os.getpid(), flush=True)\ntime.sleep(600)"))
    assert psutil.Process(pid).parent() == forker
    job.kill()
    until(lambda: gone(pid), PROMPTLY)


def test_a_job_does_its_script_itself_if_the_other_process_dies(forker, tmp_path):
    wait = f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)"
    job, pid = begun(script(tmp_path, f"print(os.getpid(), flush=True)\n{wait}\nsys.exit(6)"))
    forker.kill()
    # what was begun is ended first
    assert int(job.stdout.readline()) == job.pid
    assert gone(pid)
    (tmp_path / "go").touch()
    assert job.wait(PROMPTLY) == 6


@pytest.mark.parametrize(
    "before", ["sys.prefix = 'elsewhere'", "os.environ['LOCKSTEP_SCRIPTS'] += 'x'", "os.close(0)"]
)
def test_a_job_does_its_script_itself(forker, tmp_path, before):
    text = "print(os.getpid() == int(sys.argv[1]))"
    command = " ".join([*script(tmp_path, text, before), "$$"])
    found = done(["bash", "-c", f"exec {command}"])
    assert (found.returncode, found.stdout) == (0, "True\n")


def test_no_script_begins_for_a_job_that_has_not_waited(forker, tmp_path):
    command = script(tmp_path, f"open({str(tmp_path / 'done')!r}, 'w')")
    told = {"argv": command[1:], "cwd": ".", "environ": dict(os.environ)}
    with unix.try_connect(Path(os.environ[SCRIPTS])) as connection:
        line = json.dumps({**told, "where": handover.where()}).encode() + b"\n"
        unix.send(connection, line, (0, 1, 2))
        pid = json.loads(connection.recv(100))["pid"]
        connection.shutdown(socket.SHUT_RDWR)
    until(lambda: gone(pid), PROMPTLY)
    assert not (tmp_path / "done").exists()


GARBAGE = [b"", b"{}\n", b'{"where": []}\n', b"no end", b"xx\n", b"[]\n"]


@pytest.mark.parametrize("line", GARBAGE)
def test_who_asks_for_no_script_gets_none(forker, tmp_path, line):
    with unix.try_connect(Path(os.environ[SCRIPTS])) as connection:
        if line:
            unix.send(connection, line, (0, 1, 2))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert not gone(forker.pid) and listening(Path(os.environ[SCRIPTS])) == forker.pid
    assert done(script(tmp_path, "sys.exit(3)")).returncode == 3


def test_one_that_hangs_is_ended_by_the_first_job_that_waits_for_it(forker, tmp_path):
    forker.suspend()
    impatient = "from lockstep.jobs import handover; handover.PATIENCE = 0.5"
    found = done(script(tmp_path, "sys.exit(3)", impatient))
    assert found.returncode == 3
    until(lambda: gone(forker.pid), PROMPTLY)


def test_it_ends_with_its_run(engine, forker):
    engine.kill()
    until(lambda: gone(forker.pid), PROMPTLY)


def test_a_run_of_one_job_has_none(engine, tmp_path, monkeypatch):
    monkeypatch.delenv(SCRIPTS, raising=False)
    scripts.begin(SimpleNamespace(cluster=None, results=str(tmp_path)), ["a.py"])
    scripts.begin(SimpleNamespace(cluster={}, results=str(tmp_path)), ["a.py", "b.py"])
    assert SCRIPTS not in os.environ


RULES = sorted(scripts.FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_rule_hands_its_script_over_first(path):
    _, given, call, *rest = ast.parse(path.read_text()).body
    assert ast.unparse(given) == "from lockstep.jobs.handover import hand_over"
    assert ast.unparse(call) == "hand_over()" and rest


def test_handing_over_imports_little():
    code = "import sys; from lockstep.jobs import handover; print(*sys.modules)"
    names = done([sys.executable, "-c", code]).stdout.split()
    ours = {"lockstep", "lockstep.jobs", "lockstep.jobs.handover", "lockstep.jobs.unix"}
    assert {name for name in names if name.startswith("lockstep")} == ours
    assert not {"numpy", "pydantic", "psutil", "yaml"} & set(names)


def test_nothing_that_is_imported_for_scripts_starts_a_thread():
    code = f"""
import os, threading
from pathlib import Path
from lockstep.jobs import scripts
for path in {list(map(str, RULES))}:
    scripts._import(path)
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
print(threading.active_count(), *sorted(names)[:-1])
"""
    found = done([sys.executable, "-c", code], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    # Arrow's allocator takes care of forks itself
    assert found.stdout in ("1\n", "1 jemalloc_bg_thd\n"), found
