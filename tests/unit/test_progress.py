"""How far a run is: reports of jobs, what is made of them, and how long the run still takes."""

import json
import os
import random
import re
import socket
import time
from dataclasses import asdict
from itertools import product

import pytest
import yaml

from lockstep import layout, plan, records
from lockstep.config.load import load_config
from lockstep.devices.device import Device
from lockstep.jobs import board, shown
from lockstep.jobs.left import left
from lockstep.records import progress
from lockstep.records.progress import Report, Work
from tests.conftest import ROOT

CATEGORIES = ("physical", "environmental", "social", "causal", "referential")


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Begin a run of the demo's configuration and return its board."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(progress.SOCKET, raising=False)
    monkeypatch.setattr(progress, "_sender", None)
    data = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))

    def begun(devices=2, samples=8, scripts=("edit_shard", "score_shard"), **changes):
        results = tmp_path / "results"
        settings = load_config({**data, **changes, "results": str(results)}, "test")
        records.write_json(layout.counts(results), dict.fromkeys(CATEGORIES, samples))
        monkeypatch.setenv("LOCKSTEP_SLOTS", str(devices))
        names = [editor.name for editor in settings.editors]
        shards = [{"shard": str(k), "shards": str(devices)} for k in range(devices)]
        jobs = {}
        for script, editor, category in product(scripts, names, CATEGORIES):
            for own in shards:
                given = {"editor": editor, "category": category, **own}
                jobs[len(jobs)] = (f"scripts/rules/{script}.py", given)
            if script == scripts[-1]:
                jobs[len(jobs)] = ("scripts/rules/tabulate_scores.py", given)
        jobs[len(jobs)] = ("scripts/rules/write_report.py", {})
        board.begin(settings, [Device("cuda", str(k)) for k in range(devices)], jobs)
        return board.current

    yield begun
    board.end()


def test_what_a_job_reports_is_heard(begin):
    run = begin()
    with progress.reported(Work("edit", "final", "social", "", 1, "gpu1")):
        with progress.loading():
            assert board.heard(run)
            (row,) = shown.progress(run, time.time()).devices[:1]
            assert (row.device, row.does, row.editor) == ("gpu1", "loading", "final")
        progress.expect(4, cached=1)
        progress.working()
        progress.take("00016_社会_medium")
        progress.note(failed=1)
    board.heard(run)
    found = shown.progress(run, time.time())
    (row, idle) = found.devices
    assert (row.does, row.category, row.sample) == ("editing", "social", "00016_社会_medium")
    assert (row.done, row.of, idle.device, idle.does) == (2, 4, "gpu0", "idle")
    # 3 editors × 5 categories × 8 samples, each edit judged, and once with another's instruction
    assert (found.edits.done, found.edits.of, found.edits.failed) == (2, 120, 1)
    assert (found.judgements.done, found.judgements.of) == (0, 240)
    assert re.match(r"2 of 120 edits, 0 of 240 judgements, 1 failed, … left", shown.line(found))


def test_the_last_report_of_a_job_arrives_where_many_came_at_once(begin):
    run = begin()
    with progress.reported(Work("edit", "final", "social", "", 0, "gpu0")):
        progress.expect(200, cached=0)
        for _ in range(200):
            progress.note()
        heard = board.heard(run)
    # the queue of a socket is short
    assert heard < 200
    board.heard(run)
    assert run.jobs[4].report.done == 200


@pytest.mark.parametrize("how", ["unset", "gone", "full", "closed"])
def test_a_job_that_nobody_hears_goes_on(begin, monkeypatch, how, tmp_path):
    begin()
    monkeypatch.setattr(progress, "WHOLE", 0.01)
    if how == "unset":
        monkeypatch.delenv(progress.SOCKET)
    if how == "gone":
        monkeypatch.setenv(progress.SOCKET, str(tmp_path / "none" / "x.sock"))
    if how == "closed":
        board.current.listener.close()
    with progress.reported(Work("edit", "final", "social")):
        for _ in range(2000 if how == "full" else 2):
            progress.note()
    monkeypatch.setenv(progress.SOCKET, os.environ.get(progress.SOCKET, str(tmp_path / "gone")))


def test_without_a_job_in_hand_nothing_is_said(begin):
    run = begin()
    progress.expect(1, 0)
    progress.take("a")
    progress.note()
    with progress.loading():
        progress.working()
    assert board.heard(run) == 0


def test_what_is_no_report_changes_nothing(begin):
    run = begin()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        for text in ("", "{", "[]", '{"work": 1}', '{"work": ["edit"], "other": 1}', "null"):
            stranger.sendto(text.encode(), os.environ[progress.SOCKET])
    board.heard(run)
    assert all(job.report is None for job in run.jobs.values())


def test_a_job_that_could_not_report_is_counted_by_its_records(begin):
    run = begin()
    folder = layout.folder(run.results, "final", "physical")
    lines = [
        records.EditRecord(
            id=str(k), category="physical", status=status, error=None, seed=1, wave=k, shard=0,
            device="gpu0", key="k", edit_seconds=1.0,
        )
        for k, status in enumerate(["ok", "ok", "edit_failed", "ok"])
    ]  # fmt: skip
    records.write_records(layout.shard(folder, "edits", 0, 2), lines)
    run.begins(0, 1.0, "editing physical")
    run.ends(0, 2.0)
    found = shown.progress(run, 3.0)
    assert (found.edits.done, found.edits.failed) == (4, 1)


def test_a_model_that_loads_ahead_hides_no_work(begin):
    run = begin()
    run.hear(Report(Work("edit", "early", "social", "", 0, "gpu0"), "working", total=4))
    run.hear(Report(Work("score", "final", "physical", "", 0, "gpu0"), "loading"))
    (row, _) = shown.progress(run, 1.0).devices
    assert row.does == "editing"


class Simulated:
    """A run on a clock of its own, in which each device does one job after the other in lockstep.

    Args:
        edit, judge: seconds an item of each editor, and of the judge.
        report: seconds that the report takes.
        spread: part by which an item's time varies.
    """

    def __init__(self, run, edit, judge, gap, load, batch, report, seed, spread=0.15):
        self.run, self.random = run, random.Random(seed)
        self.events = []
        devices, jobs = run.devices, run.jobs
        now = dict.fromkeys(range(len(devices)), 20.0)
        holds = dict.fromkeys(now)
        for number, job in jobs.items():
            own = job.work
            if own.stage not in ("edit", "score"):
                continue
            k = own.shard
            self.at(now[k], "begins", number)
            device = f"gpu{k}"
            base = own._replace(device=device)
            told = Report(base, "begun", total=run.total(job))
            model = own.editor if own.stage == "edit" else "judge"
            item = edit[own.editor] if own.stage == "edit" else judge
            now[k] += gap * self.random.uniform(0.7, 1.3)
            if holds[k] != model and item > 0.01:
                self.hear(now[k], told, state="loading")
                seconds = load * self.random.uniform(0.9, 1.1)
                now[k] += seconds
                told = self.hear(now[k], told, state="loaded", loading=seconds)
                holds[k] = model
            told = self.hear(now[k], told, state="working", since=now[k])
            step = 1 if own.stage == "edit" else batch
            for done in range(step, told.total + step, step):
                done = min(done, told.total)
                own_item = item * self.random.uniform(1 - spread, 1 + spread)
                now[k] += own_item * (done - told.done)
                first = {} if told.first else {"first": now[k], "first_made": done}
                told = self.hear(now[k], told, done=done, made=done, last=now[k], **first)
            self.at(now[k], "ends", number)
            if k == len(devices) - 1 and own.stage == "edit":
                # a wave ends with its slowest device
                now = dict.fromkeys(now, max(now.values()))
        self.end = max(now.values())
        cores = len(os.sched_getaffinity(0))
        tables = 1.0
        others = [n for n, job in jobs.items() if job.planned.script == "tabulate_scores"]
        for place, number in enumerate(others):
            begin = self.end + tables * (place // cores)
            self.at(begin, "begins", number)
            self.at(begin + tables, "ends", number)
        self.end += tables * -(-len(others) // cores)
        (last,) = [n for n, job in jobs.items() if job.planned.script == "write_report"]
        self.at(self.end, "begins", last)
        self.end += report
        self.at(self.end, "ends", last)
        self.events.sort(key=lambda event: event[0])

    def at(self, when, what, number):
        call = getattr(self.run, what)
        own = (number, self.run.began + when)
        self.events.append((when, lambda: call(*own, *(("",) if what == "begins" else ()))))

    def hear(self, when, report, **changes):
        times = {
            name: self.run.began + changes[name]
            for name in ("since", "first", "last")
            if name in changes
        }
        made = Report(**{**vars(report), **changes, **times, "at": self.run.began + when})
        self.events.append((when, lambda: self.run.hear(made)))
        return made

    def told(self, every):
        """Yield the time, and what is said to be left, every few seconds."""
        events = list(self.events)
        now = 0.0
        while now < self.end:
            while events and events[0][0] <= now:
                events.pop(0)[1]()
            yield now, left(self.run, self.run.began + now).seconds
            now += every


RUNS = {
    # seconds of what is built, on H200s (docs/speed.md): 4 steps, and a judge of batches
    "six": (6, 64, 54, {"final": 2.0, "early": 2.2, "identity": 0.002}, 0.17, 1.6, 18.0, 16, 3.5),
    # 50 steps
    "slow": (6, 64, 54, {"final": 20.0, "early": 20.0, "identity": 0.002}, 0.2, 2.0, 40.0, 16, 3.5),
    # the demo
    "two": (2, 2, 8, {"final": 0.6, "early": 0.6, "identity": 0.002}, 0.06, 1.6, 4.0, 4, 2.5),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_time_left_is_within_a_quarter_from_a_third_of_the_run_on(
    begin, name, seed, monkeypatch
):
    devices, cores, samples, *own = RUNS[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    run = begin(devices, samples)
    made = Simulated(run, *own, seed)
    said = []
    for now, seconds in made.told(made.end / 80):
        true = made.end - now
        if now < 20:
            assert seconds is None
        if now >= made.end / 3:
            # a few seconds are no quarter of what is left at the very end
            said.append(seconds)
            assert abs(seconds - true) <= max(0.25 * true, 4), (now, seconds, true, made.end)
    assert len(said) > 40


def test_nothing_is_said_before_there_is_ground_for_it(begin):
    run = begin()
    work = Work("edit", "final", "physical", "", 0, "gpu0")
    run.hear(Report(work, "working", total=4, since=1.0))
    assert left(run, 2.0).seconds is None
    run.hear(Report(work, "working", 4, 1, made=1, since=1.0, first=2.0, first_made=1, last=2.0))
    assert left(run, 2.0).seconds is None
    run.hear(Report(work, "working", 4, 3, made=3, since=1.0, first=2.0, first_made=1, last=4.0))
    # of the other editor with a model, and of the judge, nothing is known
    found = left(run, 4.0)
    assert found.seconds > 0
    assert found.assumed == ("early", "")


def test_the_file_is_whole_and_says_what_the_next_run_begins_with(begin):
    run = begin()
    work = Work("score", "final", "physical", "", 0, "gpu0")
    run.hear(Report(work, "working", 8, 4, made=4, since=1.0, first=2.0, first_made=1, last=5.0))
    shown.write(run, shown.progress(run, 6.0))
    text = layout.progress(run.results).read_text(encoding="utf-8")
    assert json.loads(text)["paces"]["score"] == {"": 1.0}
    assert begin().earlier["score"] == {"": 1.0}


def test_the_page_on_results_lists_the_fields_of_the_file(begin):
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = page.split("## How far a run is")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z_.]+)`", section, re.MULTILINE)
    found = asdict(shown.progress(begin(), 1.0))
    rows = [f"devices.{name}" for name in found["devices"][0]]
    assert sorted(listed) == sorted([*found, *rows])


def test_times_are_said_as_people_say_them():
    said = [shown.spoken(seconds) for seconds in (1, 44, 89, 91, 3000, 5400, 12000)]
    assert said == ["5 s", "45 s", "90 s", "2 min", "50 min", "1 h 30 min", "3 h 20 min"]


def test_shards_of_a_category_have_the_samples_that_edit_jobs_get(begin):
    run = begin(3, 8)
    totals = [run.total(run.jobs[n]) for n in range(6)]
    assert totals == [
        *(len(plan.shard_indices(8, k, 3, 0)) for k in range(3)),
        *(len(plan.shard_indices(8, k, 3, 8)) for k in range(3)),
    ]
