"""What a worker does before its job has come, and what a run loads before its first job."""

import json
import os
import socket
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest

from lockstep import records
from lockstep.devices import stopping
from lockstep.devices.device import Device
from lockstep.errors import EditError, SharedError
from lockstep.jobs import ahead, early, run, sockets, unix, worker, workers
from lockstep.jobs.ahead import Planned
from lockstep.jobs.types import EditJob, Request, ScoreJob
from tests.unit.test_hosts import settings as in_run  # noqa: F401

ORDER = ("physical", "social", "causal")
SCORES = [Planned("score", "e", key) for key in ORDER]


@pytest.fixture
def settings(in_run, tmp_path, monkeypatch):  # noqa: F811
    settings = in_run
    monkeypatch.setenv("LOCKSTEP_SLOTS", "1")
    # so that what a test announces is taken back
    monkeypatch.setenv(ahead.PLAN, "{}")
    records.write_json(tmp_path / "results/manifest/counts.json", dict.fromkeys(ORDER, 3))
    for category in ORDER:
        records.write_text(tmp_path / f"results/manifest/{category}.jsonl", "")
    ahead.announce([Planned(stage, "e", key) for stage in ("edit", "score") for key in ORDER])
    return settings


def edit_job(settings, category="physical", devices=1):
    log = f"{settings.results}/logs/edit/e/{category}/shard-0-of-{devices}.log"
    return EditJob(
        **settings.for_jobs(),
        editor=settings.editors[0],
        category=category,
        seed=settings.seed,
        slots=1,
        run="r",
        first=3 * ORDER.index(category),
        devices=tuple(Device("cpu", str(k)) for k in range(devices)),
        shard=0,
        log=log,
    )


def score_job(settings, category="physical"):
    return ScoreJob(
        **settings.for_jobs(),
        judge=settings.judge,
        editor="e",
        category=category,
        seed=settings.seed,
        rubric=settings.judge.rubric_file(category),
        devices=(Device("cpu", "0"),),
        shard=0,
        log=f"{settings.results}/logs/score/e/{category}/shard-0-of-1.log",
    )


def test_a_job_knows_those_that_its_worker_does_next(settings):
    assert ahead.later(edit_job(settings)) == [edit_job(settings, key) for key in ORDER[1:]]
    assert ahead.later(score_job(settings)) == [score_job(settings, key) for key in ORDER[1:]]
    assert not ahead.later(edit_job(settings, "causal"))


def test_only_what_the_run_does_is_done_ahead(settings, monkeypatch):
    ahead.announce([Planned("edit", "e", key) for key in ("physical", "causal")])
    assert ahead.later(edit_job(settings)) == [edit_job(settings, "causal")]
    # another model
    ahead.announce([Planned("edit", name, "physical") for name in ("e", "f")])
    assert not ahead.later(edit_job(settings))
    # the turn of another device
    ahead.announce([Planned("edit", "e", key) for key in ORDER])
    assert not ahead.later(edit_job(settings, devices=2))
    monkeypatch.delenv(ahead.PLAN)
    assert not ahead.later(edit_job(settings))


def test_the_last_job_of_a_model_is_known_where_another_models_come_next(settings):
    assert not ahead.is_last(edit_job(settings))
    assert ahead.is_last(edit_job(settings, "causal"))
    assert not ahead.is_last(score_job(settings, "causal"))
    # nothing comes next, or nobody knows what
    ahead.announce([Planned("edit", "e", "causal")])
    assert not ahead.is_last(edit_job(settings, "causal"))


def test_a_model_is_needed_until_the_last_checkpoint_that_shares_it(settings):
    planned = [Planned("edit", name, key) for name in ("e", "f", "g") for key in ORDER]
    ahead.announce(planned, {"e": "run", "f": "run", "g": "g"})
    assert not ahead.is_last(edit_job(settings, "causal"))
    ahead.announce(planned, {"e": "run", "f": "f", "g": "g"})
    assert ahead.is_last(edit_job(settings, "causal"))


def test_the_judge_loads_during_the_last_edit_job_alone(settings):
    judge = settings.judge
    assert ahead.first_score(edit_job(settings), judge) is None
    first = ahead.first_score(edit_job(settings, "causal"), judge)
    assert (first.category, first.editor, first.shard) == ("physical", "e", 0)
    ahead.announce([Planned("edit", "e", "causal")])
    assert ahead.first_score(edit_job(settings, "causal"), judge) is None
    # another editor has edited, and this one has not
    ahead.announce([Planned("edit", "f", "causal"), Planned("edit", "e", "causal"), *SCORES])
    assert ahead.first_score(edit_job(settings, "causal"), judge) is None


def test_editors_that_need_no_device_do_not_keep_the_judge_waiting(settings):
    planned = [Planned("edit", name, key) for name in ("e", "served") for key in ORDER]
    ahead.announce([*planned, *SCORES])
    last = edit_job(settings, "causal")
    assert ahead.first_score(last, settings.judge) is None
    ahead.announce([*planned, *SCORES], elsewhere=["served"])
    assert ahead.first_score(last, settings.judge).category == "physical"


def test_edits_are_judged_ahead_once_this_run_has_made_them(settings):
    job = score_job(settings)
    assert not ahead.is_ready(job)
    (path,) = job.edits
    records.write_text(path, "")
    assert ahead.is_ready(job)
    os.utime(path, (1, 1))
    assert not ahead.is_ready(job)
    # none that this run makes
    ahead.announce([Planned("score", "e", "physical")])
    assert ahead.is_ready(job)


@pytest.fixture
def serving(settings, tmp_path, monkeypatch):
    """A worker in a thread, whose jobs a test holds up and lets go."""
    monkeypatch.setattr(worker, "written_to", lambda *_, **__: nullcontext())
    monkeypatch.setattr(worker, "Diary", mock.Mock())
    stopping.forget()
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        unix.bind(listener, path)
        given = {"key": "k", "name": "e", "imports": "", "load": None, "idle_timeout": 10}
        given |= {"log": str(tmp_path / "w.log"), "devices": [], "compile_cache": ""}
        served = Serving(worker.Worker(listener, given), path)
        served.worker._model = "a model"
        monkeypatch.setattr(run, "run_here", served.run_here)
        thread = threading.Thread(target=served.worker.serve, daemon=True)
        thread.start()
        until(lambda: unix.try_connect(path))
        yield served
        served.held.clear()
        served.worker.leave("the test is over")
        thread.join(10)
        stopping.forget()


class Serving:
    def __init__(self, served, path):
        self.worker, self.path = served, path
        self.begun, self.written = [], []
        self.held = set()
        """Categories whose work goes on until a test lets it go."""
        self.error = None

    def run_here(self, job, terminal, loaded, later, claimed):
        self.begun.append(job.category)
        while job.category in self.held:
            time.sleep(0.01)
            stopping.check()
        if self.error and job.category == "social":
            raise self.error
        claimed()
        self.written.append(job.category)

    @contextmanager
    def asked(self, job):
        """Yield what the worker says to a job."""
        with unix.try_connect(self.path) as connection, open(os.devnull, "w") as terminal:
            assert sockets.greeting(connection, 10)
            request = Request(job=job, later=ahead.later(job), last=ahead.is_last(job))
            line = request.model_dump_json().encode() + b"\n"
            socket.send_fds(connection, [line], [terminal.fileno()])
            yield lambda: list(sockets.messages(connection, 10))

    def until(self, category):
        until(lambda: category in self.begun)


def until(told):
    deadline = time.monotonic() + 30
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_next_job_finds_its_work_begun_and_writes_nothing_before_it_comes(settings, serving):
    with serving.asked(edit_job(settings)) as said:
        assert said()[-1] == {"done": True}
    serving.until("social")
    assert serving.written == ["physical"]
    with serving.asked(edit_job(settings, "social")) as said:
        assert said() == [{"begun": True}, {"done": True}]
    serving.until("causal")
    assert serving.begun == ["physical", "social", "causal"]
    assert serving.written == ["physical", "social"]


def test_a_worker_ends_after_the_last_job_of_its_model(settings, serving):
    with serving.asked(edit_job(settings, "causal")) as said:
        assert said()[-1] == {"done": True}
    until(lambda: serving.worker._leaving)


def test_work_for_a_job_that_comes_meanwhile_is_not_begun_again(settings, serving):
    serving.held.add("social")
    with serving.asked(edit_job(settings)) as said:
        said()
    serving.until("social")
    with serving.asked(edit_job(settings, "social")) as said:
        until(lambda: serving.worker._turn.client)
        serving.held.clear()
        assert said()[-1] == {"done": True}
    assert serving.begun.count("social") == 1


def test_another_job_than_the_one_begun_takes_its_place(settings, serving):
    serving.held.add("social")
    with serving.asked(edit_job(settings)) as said:
        said()
    serving.until("social")
    with serving.asked(edit_job(settings, "causal")) as said:
        assert said()[-1] == {"done": True}
    assert serving.written == ["physical", "causal"]


def test_a_job_is_told_why_its_work_failed_before_it_came(settings, serving):
    serving.error = EditError("all black")
    with serving.asked(edit_job(settings)) as said:
        said()
    serving.until("social")
    with serving.asked(edit_job(settings, "social")) as said:
        assert said()[-1] == {"error": "all black"}
    assert serving.written == ["physical"]


def test_a_job_is_told_that_no_other_try_would_help(settings, serving):
    serving.error = SharedError("all black")
    with serving.asked(edit_job(settings)) as said:
        said()
    serving.until("social")
    with serving.asked(edit_job(settings, "social")) as said:
        assert said()[-1] == {"error": "all black", "final": True}


def test_a_job_that_is_killed_ends_what_was_begun_for_it(settings, serving):
    serving.held.add("social")
    with serving.asked(edit_job(settings)) as said:
        said()
    serving.until("social")
    with serving.asked(edit_job(settings, "social")):
        until(lambda: serving.worker._turn.client)
    until(lambda: serving.worker._turn is None)
    serving.held.clear()
    with serving.asked(edit_job(settings, "social")) as said:
        assert said()[-1] == {"done": True}
    assert serving.begun.count("social") == 2
    assert serving.written == ["physical", "social"]


@pytest.fixture
def loading(settings, monkeypatch):
    asked = []
    monkeypatch.setattr(workers, "stand_by", lambda wanted, job: asked.append(job))
    return settings, asked


def test_devices_load_what_is_edited_first_unless_images_are_there(loading):
    settings, asked = loading
    devices = [Device("cpu", "0")]
    early.load(settings, devices, Planned("edit", "e", "physical"))
    (job,) = map(json.loads, asked)
    assert job["editor"]["name"] == "e" and job["shard"] == 0
    records.write_text(Path(settings.results) / "e/physical/images/a.png", "")
    early.load(settings, devices, Planned("edit", "e", "physical"))
    assert len(asked) == 1


def test_nothing_is_loaded_early_that_a_job_would_load_itself(loading, monkeypatch):
    settings, asked = loading
    first = Planned("edit", "e", "physical")
    # fewer slots than devices
    early.load(settings, [Device("cpu", str(k)) for k in range(2)], first)
    devices = settings.devices.model_copy(update={"resident": False})
    early.load(settings.model_copy(update={"devices": devices}), [Device("cpu", "0")], first)
    monkeypatch.delenv("LOCKSTEP_RUN")
    early.load(settings, [Device("cpu", "0")], first)
    assert not asked
