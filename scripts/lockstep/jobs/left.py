"""How long a run still takes, by what its jobs took so far.

Each editor and each judge has a pace of its own: seconds an item, and seconds from a job's last
item to the next job's first. Neither has the time in which a model is loaded; that counts once for
each model that is still to be loaded.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from lockstep.jobs.board import Board, Job
from lockstep.records.progress import Report

JUDGED, JUDGED_MOST = 0.08, 0.25
"""Part of an edit's time, and seconds at most, that a judgement is taken to need, as long as none
has been made: judges differ less than editors do (docs/speed.md has some of both)."""

BETWEEN = 1.5
"""Seconds between two jobs of a device, as long as nobody knows."""

OTHERS = {"write_report": 3.0, "": 0.0}
"""Seconds of jobs without a device, by their scripts, as long as nobody knows."""

OTHER = 1.0
"""Seconds of any other such job."""

GROUND = 2
"""Items of one model that must have been made before anything is said."""


class Pace(NamedTuple):
    """What a model takes."""

    item: float
    """Seconds an item."""
    job: float | None
    """Seconds between two of its jobs; None as long as nobody knows."""
    shorter: float | None
    """A tenth of them are shorter: in the shorter ones no device waited for another."""
    items: int
    """Items that this is known from; 0 where an earlier run knows it, or nobody."""


class Left(NamedTuple):
    """How long a run still takes."""

    seconds: float | None
    """None as long as there is no ground for it."""
    assumed: tuple[str, ...] = ()
    """Of which editors and judges no item has been made yet; "" is the first judge."""


Model = tuple[str, str]


def left(board: Board, now: float) -> Left:
    """Return how long a run still takes.

    Args:
        now: a Unix time.
    """
    groups = models(board)
    measured = {model: found for model, jobs in groups.items() if (found := pace(jobs))}
    if not board.counts() or max((own.items for own in measured.values()), default=0) < GROUND:
        return Left(None)
    shorter = [own.shorter for own in measured.values() if own.shorter is not None]
    between = min(shorter, default=BETWEEN)
    loading = _loading(groups)
    seconds, assumed = 0.0, []
    for model, jobs in groups.items():
        ahead = [job for job in jobs if _is_ahead(board, job)]
        if not ahead:
            continue
        own = measured.get(model)
        if own is None:
            own = _guessed(board, model, measured)
            if not _is_light(board, model):
                assumed.append(model[1])
            if own is None:
                return Left(None)
        gap = between if own.job is None else own.job
        each = [_of_job(board, job, own.item, gap, now) for job in ahead]
        seconds += max(sum(each) / _at_once(board, model), *each)
        if not _is_light(board, model):
            seconds += _until_loaded(jobs, loading, now)
    # a machine that is slow between jobs is slow in those without a device
    slow = max(1.0, between / BETWEEN)
    return Left(seconds + _others(board, seconds, slow, now), tuple(assumed))


def models(board: Board) -> dict[Model, list[Job]]:
    """Return the jobs that edit and judge, by what has a pace of its own."""
    found = defaultdict(list)
    for job in board.jobs.values():
        if job.work.stage in ("edit", "score"):
            found[job.model].append(job)
    return dict(found)


def pace(jobs: Iterable[Job]) -> Pace | None:
    """Return what items of these jobs took; None as long as none was made."""
    rows: dict[str, list[tuple[Report, bool]]] = defaultdict(list)
    for job in jobs:
        if (own := job.report) is not None and own.made and own.since:
            rows[own.work.device or str(own.work.shard)].append((own, bool(job.loading)))
    seconds, items, gaps, cold = 0.0, 0, [], []
    for reports in rows.values():
        reports.sort(key=lambda each: each[0].since)
        for number, (own, has_loaded) in enumerate(reports):
            # the first items of a process take longer
            if number and not has_loaded:
                seconds, items = seconds + own.last - own.since, items + own.made
            else:
                seconds += own.last - own.first
                items += own.made - own.first_made
                cold.append(((own.first - own.since) / own.first_made, own.first_made))
        gaps += [max(0.0, b.since - a.last) for (a, _), (b, _) in pairwise(reports)]
    if not cold:
        return None
    if not items:
        return Pace(fmean(each for each, _ in cold), None, None, sum(count for _, count in cold))
    return Pace(
        seconds / items,
        fmean(gaps) if gaps else None,
        sorted(gaps)[len(gaps) // 10] if gaps else None,
        items,
    )


def _is_ahead(board: Board, job: Job) -> bool:
    total = board.total(job)
    if job.state == "done" or total == 0:
        return False
    return job.report is None or total is None or job.report.done < total


def _of_job(board: Board, job: Job, item: float, gap: float, now: float) -> float:
    """Return the seconds that a job still takes, once it is its turn."""
    total, report = board.total(job) or 0, job.report
    if report is None:
        return gap + total * item
    if not report.since:
        return total * item
    # of the items in hand, which a batch has several of, some time has gone by
    in_hand = min(report.first_made or total, total - report.done) * item
    gone = min(now - (report.last or report.since), in_hand)
    return (total - report.done) * item - gone


def _guessed(board: Board, model: Model, measured: Mapping[Model, Pace]) -> Pace | None:
    """Return what a model may take that has made nothing yet; None where there is no ground."""
    kind, name = model
    if _is_light(board, model):
        return Pace(0.0, None, None, 0)
    known = board.earlier.get(kind, {}).get(name)
    if isinstance(known, int | float):
        return Pace(float(known), None, None, 0)
    edits = [
        own.item for one, own in measured.items() if one[0] == "edit" and not _is_light(board, one)
    ]
    if not edits:
        return None
    mean = fmean(edits)
    return Pace(min(mean * JUDGED, JUDGED_MOST) if kind == "score" else mean, None, None, 0)


def _is_light(board: Board, model: Model) -> bool:
    """Tell whether a kind of editor or judge runs no model."""
    kind, name = model
    settings = board.settings
    own = settings.editor(name) if kind == "edit" else settings.each_judge[name]
    return not (own.on_device or own.served)


def _at_once(board: Board, model: Model) -> int:
    """Return how many jobs of a model run at a time."""
    kind, name = model
    settings = board.settings
    own = settings.editor(name) if kind == "edit" else settings.each_judge[name]
    return max(1, board.slots // own.together)


def _until_loaded(jobs: Sequence[Job], loading: float, now: float) -> float:
    """Return the seconds until a model is loaded, 0 where it is.

    Args:
        loading: seconds in which a model is loaded.
    """
    reports = [job.report for job in jobs if job.report is not None]
    if any(job.loading for job in jobs) or any(report.since for report in reports):
        return 0.0
    begun = min((report.at for report in reports if report.state == "loading"), default=now)
    return loading - min(loading, now - begun)


def _loading(groups: Mapping[Model, Sequence[Job]]) -> float:
    """Return the seconds in which a model was loaded, of those that were."""
    found = [job.loading for jobs in groups.values() for job in jobs if job.loading]
    return fmean(found) if found else 0.0


def others(board: Board) -> dict[str, float]:
    """Return the mean seconds of jobs without a device that have ended, by their scripts."""
    found = defaultdict(list)
    for job in board.jobs.values():
        if job.work.stage not in ("edit", "score") and job.state == "done":
            found[job.planned.script].append(job.ended - job.began)
    return {script: fmean(took) for script, took in found.items()}


def _others(board: Board, seconds: float, slow: float, now: float) -> float:
    """Return what jobs without a device add to the time that those on devices take.

    Args:
        slow: how many times slower than others this machine is.
    """
    known = {script: took * slow for script, took in OTHERS.items()}
    known |= board.earlier.get("jobs", {}) | others(board)
    cores = len(os.sched_getaffinity(0))
    beside = longest = last = 0.0
    for job in board.jobs.values():
        if job.work.stage in ("edit", "score") or job.state == "done":
            continue
        took = known.get(job.planned.script, OTHER * slow)
        took -= min(took, now - job.began) if job.state == "running" else 0.0
        if job.planned.script == "write_report":
            last += took
        else:
            beside, longest = beside + took / cores, max(longest, took)
    # a core that no device keeps busy makes tables meanwhile, but for those of the last scores
    alone = beside if cores <= board.slots else beside - seconds
    return last + max(longest, alone)
