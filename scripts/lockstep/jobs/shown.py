"""What is shown of a run while it goes on: on a terminal, in a log, and in a file."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from lockstep import layout, records
from lockstep.errors import counted
from lockstep.foreign import media
from lockstep.jobs.board import Board, Job
from lockstep.jobs.left import Left, left, models, others, pace
from lockstep.records.progress import Report

DOES = {
    "prepare": "reading",
    "rewrite": "rewriting",
    "edit": "editing",
    "score": "judging",
    "pairs": "comparing",
    "anchors": "judging anchors",
}
"""What a job does, by its stage."""


@dataclass(frozen=True)
class Count:
    """How many edits or judgements of this run have an outcome."""

    done: int
    of: int | None
    """Of all in this run; None as long as nobody knows."""
    failed: int


@dataclass(frozen=True)
class Row:
    """What a device does, or a job without one."""

    device: str
    """Its name, or those of several, joined by +; empty of a job without any."""
    does: str
    """idle, loading, editing, judging, …; of a job without a device what it is called."""
    editor: str
    category: str
    judge: str
    sample: str
    done: int
    of: int
    """Samples or judgements of the job in hand."""
    seconds: float | None
    """Seconds an item in this job so far; None before the second one."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    state: str
    """running, finished, failed or interrupted."""
    process: int
    """Number of the process that writes this."""
    began: float
    updated: float
    """Unix times."""
    edits: Count
    judgements: Count
    jobs: dict[str, int]
    """Number of jobs that are done, running, waiting and failed."""
    seconds_left: float | None
    """None as long as there is no ground for it."""
    assumed: list[str]
    """Editors and judges whose pace is taken from others, or from an earlier run."""
    devices: list[Row]
    paces: dict[str, dict[str, float]]
    """Seconds an item of each editor and judge, and seconds of each other script's jobs."""


def progress(board: Board, now: float, state: str = "running") -> Progress:
    """Return how far a run is.

    Args:
        now: a Unix time.
    """
    seconds, assumed = left(board, now) if state == "running" else Left(None)
    jobs = list(board.jobs.values())
    kinds = ("done", "running", "waiting", "failed")
    return Progress(
        state=state,
        process=os.getpid(),
        began=round(board.began, 1),
        updated=round(now, 1),
        edits=_count(board, "edit"),
        judgements=_count(board, "score"),
        jobs={kind: sum(job.state == kind for job in jobs) for kind in kinds},
        seconds_left=None if seconds is None else round(seconds, 1),
        assumed=[name or "judge" for name in assumed],
        devices=list(_rows(board)),
        paces=_paces(board),
    )


def write(board: Board, found: Progress) -> None:
    """Write the file for those who watch from elsewhere; a full disk stops no run for it."""
    with contextlib.suppress(OSError):
        records.write_json(layout.progress(board.results), asdict(found), durable=False)


def spoken(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def line(found: Progress) -> str:
    """Return the line on the whole run."""
    parts = []
    for noun, count in (("edit", found.edits), ("judgement", found.judgements)):
        if count.of != 0:
            of = f"… {noun}s" if count.of is None else counted(count.of, noun)
            parts.append(f"{count.done} of {of}")
    failed = found.edits.failed + found.judgements.failed
    parts.append(f"{failed} failed")
    seconds = found.seconds_left
    parts.append("… left" if seconds is None else f"about {spoken(seconds)} left")
    return ", ".join(parts)


def _count(board: Board, stage: str) -> Count:
    own = [job for job in board.jobs.values() if job.work.stage == stage]
    totals = [board.total(job) for job in own]
    reports = [job.report for job in own if job.report is not None]
    return Count(
        done=sum(report.done for report in reports if report is not None),
        of=None if None in totals else sum(total for total in totals if total is not None),
        failed=sum(report.failed for report in reports),
    )


def _rows(board: Board) -> Iterable[Row]:
    told: set[str] = set()
    for report in board.running():
        own = report.work
        told |= set(own.device.split("+"))
        made = report.made - report.first_made
        does = {"loading": "loading", "loaded": "idle"}.get(report.state, DOES[own.stage])
        if own.stage == "prepare":
            read = f", {counted(report.made, 'sample')}" if report.made else ""
            does = f"{media.line(board.message(report)) or does}{read}"
        yield Row(
            device=own.device,
            does=does,
            editor=own.editor,
            category=own.category,
            judge=own.judge,
            sample=media.line(report.sample),
            done=report.done,
            of=report.total,
            seconds=round((report.last - report.first) / made, 2) if made > 0 else _whole(report),
        )
    for device in board.devices:
        if device not in told:
            yield Row(device, "idle", "", "", "", "", 0, 0, None)
    for job in _silent(board):
        yield Row("", media.line(job.message), "", "", "", "", 0, 0, None)


def _whole(report: Report) -> float | None:
    """Return the seconds an item of a job whose only items came together."""
    if report.made < 2 or not report.since:
        return None
    return round((report.last - report.since) / report.made, 2)


def _silent(board: Board) -> Iterable[Job]:
    """Yield jobs that run and have reported nothing."""
    for job in board.jobs.values():
        if job.state == "running" and job.planned.script and job.planned.work is None:
            yield job


def _paces(board: Board) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {"edit": {}, "score": {}}
    for (kind, name), jobs in models(board).items():
        if (own := pace(jobs)) is not None:
            found[kind][name] = round(own.item, 4)
    kept = {kind: {**board.earlier.get(kind, {}), **own} for kind, own in found.items()}
    taken = {script: round(seconds, 2) for script, seconds in others(board).items() if script}
    return {**kept, "jobs": {**board.earlier.get("jobs", {}), **taken}}
