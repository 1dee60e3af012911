"""How far a run is: what its jobs report, and what the workflow engine says of them.

The process that executes the workflow binds a socket when the run begins; jobs on the same host
find it by an environment variable (`records.progress`). Who shows the run reads the board.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lockstep import layout, plan, records
from lockstep.config.run import Config
from lockstep.devices.device import Device
from lockstep.errors import ConfigError
from lockstep.jobs import unix
from lockstep.records import EditRecord, ScoreRecord
from lockstep.records.progress import SOCKET, Report, Work
from lockstep.rubrics.rubric import read_rubric

STAGES = {
    "prepare_manifests": "prepare",
    "rewrite_instructions": "rewrite",
    "edit_shard": "edit",
    "score_shard": "score",
    "judge_anchors": "anchors",
    "judge_pairs": "pairs",
}
"""Stages whose jobs report, by their scripts."""

LARGEST = 4096
"""Bytes of a report."""


class Planned(NamedTuple):
    """A job of the plan."""

    script: str
    """Name of its script; empty where it only names what others make."""
    work: Work | None
    """None of a job that reports nothing."""
    shards: int = 1
    """Jobs of its stage, editor, category and judge."""


@dataclass
class Job:
    """A job, and how far it is."""

    planned: Planned
    state: str = "waiting"
    """waiting, running, done or failed."""
    began: float = 0.0
    ended: float = 0.0
    """Unix times, 0 before."""
    report: Report | None = None
    loading: float = 0.0
    """Seconds that its model took to load, perhaps before the job began; 0 where it was there."""
    message: str = ""
    """What the workflow engine calls it."""

    @property
    def work(self) -> Work:
        return self.planned.work or Work(self.planned.script)

    @property
    def model(self) -> tuple[str, str]:
        """Stage and editor, or stage and judge: what has a pace of its own."""
        own = self.work
        return (own.stage, own.editor if own.stage == "edit" else own.judge)


@dataclass
class Board:
    """All jobs of a run, by the numbers that the workflow engine gives them."""

    settings: Config
    devices: Sequence[str]
    jobs: dict[int, Job]
    slots: int
    """Shards that can run at a time."""
    began: float
    """A Unix time."""
    earlier: dict[str, Any] = field(default_factory=dict)
    """What the last run in this folder has measured; empty where there was none."""
    listener: socket.socket | None = None
    executes: bool = False
    """Whether jobs run, so that this process holds the results."""
    succeeded: bool = False
    """Whether all jobs are done."""

    _counts: dict[str, int] = field(default_factory=dict)
    _asked: dict[tuple[str, str], int] = field(default_factory=dict)
    """Judgements of one edit, by judge and category."""
    _by_work: dict[Work, Job] = field(default_factory=dict)
    _on: dict[str, Report] = field(default_factory=dict)
    """The latest report of each device, or of each job without one."""

    def __post_init__(self) -> None:
        for job in self.jobs.values():
            self._by_work[_without_device(job.work)] = job

    @property
    def results(self) -> Path:
        return Path(self.settings.results)

    def hear(self, report: Report) -> None:
        """Take a report in; one of a job that is not in the plan is of nobody."""
        job = self._by_work.get(_without_device(report.work))
        if job is None or job.ended:
            return
        job.loading = job.loading or report.loading
        # a model may be loaded ahead of its job, beside one that is at work
        is_ahead = report.state in ("loading", "loaded") and not report.total
        if not is_ahead:
            job.report = report
        for name in report.work.device.split("+") if report.work.device else [_place(report.work)]:
            if not is_ahead or name not in self._on or self._on[name].work == report.work:
                self._on[name] = report

    def begins(self, number: int, now: float, message: str) -> None:
        """Note that the workflow engine starts a job, perhaps once more."""
        if (job := self.jobs.get(number)) is not None:
            self.executes = True
            if job.state == "failed":
                job.report = None
            job.state, job.began, job.ended = "running", now, 0.0
            job.message = message

    def ends(self, number: int, now: float, state: str = "done") -> None:
        """Note that a job has ended, or that it waits for the next run."""
        if (job := self.jobs.get(number)) is None:
            return
        heard(self)
        job.state, job.ended = state, now
        if state == "done" and (job.report is None or not job.report.total):
            job.report = self._outcome(job)
        own = _without_device(job.work)
        for name in [name for name, on in self._on.items() if _without_device(on.work) == own]:
            del self._on[name]

    def total(self, job: Job) -> int | None:
        """Return the items of a job; None as long as nobody knows."""
        if job.report is not None and (job.report.total or job.state == "done"):
            return job.report.total
        counts, own = self.counts(), job.work
        if own.stage not in ("edit", "score") or own.category not in counts:
            return None
        first = plan.place(counts, own.category)
        samples = counts[own.category]
        if own.stage == "edit":
            return len(plan.shard_indices(samples, own.shard, job.planned.shards, first))
        share = self.settings.share(own.editor, own.judge)
        shards = job.planned.shards * share
        parts = plan.edit_shards(own.shard, share)
        edits = sum(len(plan.shard_indices(samples, k, shards, first)) for k in parts)
        if (own.judge, own.category) not in self._asked:
            self._asked[own.judge, own.category] = self._each(own)
        return edits * self._asked[own.judge, own.category]

    def counts(self) -> dict[str, int]:
        """Return the samples of each category, nothing before they are read."""
        preparing = any(j.work.stage == "prepare" and j.state != "done" for j in self.jobs.values())
        if not self._counts and not preparing:
            with contextlib.suppress(OSError, ValueError):
                self._counts = records.read_json(layout.counts(self.results))
        return self._counts

    def running(self) -> Iterator[Report]:
        """Yield the latest report of each device that works, then those of jobs without one."""
        seen: list[Report] = []
        for name in [*self.devices, *sorted(self._on.keys() - set(self.devices))]:
            report = self._on.get(name)
            if report is not None and not any(report is other for other in seen):
                seen.append(report)
        yield from seen

    def message(self, report: Report) -> str:
        """Return what the workflow engine calls the job of a report."""
        return self._by_work[_without_device(report.work)].message

    def _each(self, own: Work) -> int:
        """Return the judgements of one edit; calls that others decide on count as made."""
        judge = self.settings.each_judge[own.judge]
        calls = 1
        if not judge.finished:
            calls = max(1, len(read_rubric(Path(judge.rubric_file(own.category))).calls))
        return calls * (judge.repeats + int(judge.swapped_instruction))

    def _outcome(self, job: Job) -> Report | None:
        """Return what a job that could not report has left in its records."""
        own, shards = job.work, job.planned.shards
        folder = layout.folder(self.results, own.editor, own.category)
        kind: type[EditRecord | ScoreRecord] = EditRecord
        if own.stage == "edit":
            path = layout.shard(folder, "edits", own.shard, shards)
        elif own.stage == "score":
            kind, path = ScoreRecord, layout.shard(folder, "scores", own.shard, shards, own.judge)
        else:
            return None
        try:
            status = [record.status for record in records.each_record([path], kind)]
        except (OSError, ValueError):
            return None
        total = len(status) if own.stage == "edit" else self.total(job) or len(status)
        failed = sum(one in ("edit_failed", "judge_failed") for one in status)
        if own.stage == "score":
            failed = status.count("judge_failed")
        return Report(own, "working", total=total, done=total, failed=failed)


def _without_device(work: Work) -> Work:
    return work._replace(device="")


def _place(work: Work) -> str:
    """Return what stands in for the device of a job without one."""
    return f"{work.stage} {work.editor} {work.category} {work.judge} {work.shard}"


current: Board | None = None
"""Of the run that this process executes."""


def begin(
    settings: Config,
    devices: Sequence[Device],
    jobs: Mapping[int, tuple[str | None, Mapping[str, str]]],
) -> None:
    """Let jobs of this process's run report, from now on.

    Args:
        jobs: script and wildcards of all jobs that are to run, by their numbers.
    """
    global current
    known = {number: Job(_planned(script, own)) for number, (script, own) in jobs.items()}
    slots = min(int(os.environ.get("LOCKSTEP_SLOTS") or len(devices)), len(devices))
    earlier: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        earlier = records.read_json(layout.progress(Path(settings.results))).get("paces") or {}
    names = [device.name for device in devices]
    current = Board(settings, names, known, slots, time.time(), earlier, _listener())


def _planned(script: str | None, wildcards: Mapping[str, str]) -> Planned:
    stem = Path(script).stem if script else ""
    if stem not in STAGES:
        return Planned(stem, None)
    editor, category, judge = (wildcards.get(name, "") for name in ("editor", "category", "judge"))
    work = Work(STAGES[stem], editor, category, judge, int(wildcards.get("shard") or 0))
    if stem == "judge_pairs":
        # rounds have categories in common
        work = work._replace(judge=f"round {wildcards.get('round', '0')}")
    return Planned(stem, work, int(wildcards.get("shards") or 1))


def _listener() -> socket.socket | None:
    """Return the socket of the run's reports; None where there can be none."""
    with contextlib.suppress(OSError, ConfigError):
        folder = records.own_folder(records.host_folder() / "progress")
        for old in folder.glob("*.sock"):
            if not os.path.exists(f"/proc/{old.stem}"):
                old.unlink(missing_ok=True)
        path = folder / f"{os.getpid()}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        unix.bind(listener, path)
        listener.setblocking(False)
        os.environ[SOCKET] = str(path)
        return listener
    return None


def succeeded() -> None:
    """Note that all jobs are done, those too whose end the workflow engine has not told."""
    if current is not None:
        current.succeeded = True
        for job in current.jobs.values():
            job.state = "done"


def heard(board: Board) -> int:
    """Take in all reports that have come, and return how many these are."""
    count = 0
    while board.listener is not None:
        try:
            data = board.listener.recv(LARGEST)
        except OSError:
            break
        with contextlib.suppress(ValueError, TypeError):
            given = json.loads(data)
            board.hear(Report(**{**given, "work": Work(*given["work"])}))
            count += 1
    return count


def end() -> None:
    """Let nobody report any more."""
    global current
    if current is not None and current.listener is not None:
        current.listener.close()
        Path(os.environ.pop(SOCKET)).unlink(missing_ok=True)
    current = None
