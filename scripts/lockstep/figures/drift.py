"""How well the devices kept step: time worked, waited and loaded, drift, stragglers.

Pure functions over the records of edits. Nothing here reads a file, and nothing is drawn.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import fsum
from statistics import fmean
from sys import intern
from typing import Any, NamedTuple

from lockstep.records import SERVER, EditRecord


class _Timed(NamedTuple):
    """What is looked at of a record, which takes a tenth of its memory."""

    id: str
    category: str
    run: str | None
    device: str
    status: str
    wave: int
    started: float
    edit_seconds: float
    wait_seconds: float
    load_seconds: float | None
    temperature: int | None
    throttled: tuple[str, ...]


class _Edit(NamedTuple):
    record: _Timed
    start: float
    """Seconds on the timeline."""
    end: float
    """Seconds on the timeline."""


def measure(edits: Iterable[EditRecord], margin: float) -> dict[str, Any]:
    """Measure how one editor's devices kept step.

    Of each category only the run that made most of its edits is looked at, since times of several
    runs tell nothing together. Records that do not say when they began and how long they took, and
    edits of a server, are left out; a failed edit is work like any other.

    All times are seconds. The timeline begins at 0 with the first run's first job; runs follow
    each other without the time between them.

    Args:
        edits: all records of the editor, over its categories, in any order.
        margin: share by which a device may be slower than its peers; 0.1 is 10%.

    Returns:
        what can be written as JSON:

        - `runs`: category → name of its run, or None where records name none
        - `edits`, `other_runs`: edits of these runs, and edits of other runs that are left out
        - `seconds`: length of the timeline
        - `devices`: name → `work`, `wait`, `load` (seconds), `waited` (wait / (work + wait + load))
        - `cost`: time waited / time worked, as `first_wave` (waits for others that load),
          `later_waves` and `total`; None without work
        - `largest_drift`: images, and `drift`: category → images; see `curve`
        - `stragglers`: name → `waves` (those with at least two devices), `last` (how many of them
          the device ended after all others), `lag` (mean seconds behind the mean end of the
          others, over the waves that it was last in, or None), `edit_seconds` (mean over its
          successful edits, or None), `temperature` (highest, °C, or None), `throttled` (reason →
          edits). Without lockstep the lags add up from wave to wave.
        - `margin`, and `slow`: name → share by which the device's mean edit takes longer than its
          peers', for those above the margin
        - `timeline`: blocks of `device`, `kind` (work, wait or load), `start`, `seconds`, `wave`
          (None for load), `category`, ordered by start
        - `curve`: points of `category`, `seconds`, `images`: from that time on the fastest device
          has finished so many images more than the slowest, of those that still have work in the
          category. A sample that was in the cache counts as finished at some time between the
          edits around it, and only what is certain counts as drift.
    """
    told = [t for r in edits if (t := _timed(r)) is not None]
    runs = _runs(told)
    kept = [r for r in told if r.run == runs[r.category]]
    laid = _lay(kept)
    timeline = _timeline(laid)
    categories = defaultdict(list)
    for edit in laid:
        categories[edit.record.category].append(edit)
    points = [point for own in categories.values() for point in _curve(own)]
    drift = {
        category: max(images for name, _, images in points if name == category)
        for category in categories
    }
    names = sorted({r.device for r in kept}, key=_natural)
    return {
        "runs": runs,
        "edits": len(kept),
        "other_runs": len(told) - len(kept),
        "seconds": _rounded(
            max((block["start"] + block["seconds"] for block in timeline), default=0)
        ),
        "devices": _times(names, timeline),
        "cost": _cost(kept),
        "largest_drift": max(drift.values(), default=0),
        "drift": drift,
        "stragglers": _stragglers(names, laid),
        "margin": margin,
        "slow": _slow(names, list(categories.values()), margin),
        "timeline": timeline,
        "curve": [
            {"category": category, "seconds": _rounded(seconds), "images": images}
            for category, seconds, images in points
        ],
    }


def _timed(r: EditRecord) -> _Timed | None:
    # a server works on several at a time, and keeps step with nobody
    if r.started is None or r.edit_seconds is None or r.device == SERVER:
        return None
    telemetry = r.telemetry
    return _Timed(
        id=r.id,
        category=intern(r.category),
        run=None if r.run is None else intern(r.run),
        device=intern(r.device),
        status=intern(r.status),
        wave=r.wave,
        started=r.started,
        edit_seconds=r.edit_seconds,
        wait_seconds=r.wait_seconds,
        load_seconds=r.load_seconds,
        temperature=None if telemetry is None else telemetry.temperature,
        throttled=() if telemetry is None else tuple(map(intern, telemetry.throttled)),
    )


def _rounded(seconds: float) -> float:
    return round(seconds, 4)


def _natural(name: str) -> list[Any]:
    """Return a sorting key that puts gpu2 before gpu10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _runs(edits: Sequence[_Timed]) -> dict[str, str | None]:
    """Return category → run with most edits, the later one of equals; in order of time."""
    sizes: Counter[tuple[str, str | None]] = Counter((r.category, r.run) for r in edits)
    latest: dict[tuple[str, str | None], float] = {}
    for r in edits:
        key = r.category, r.run
        latest[key] = max(latest.get(key, r.started), r.started)
    best: dict[str, str | None] = {}
    for category, run in sorted(sizes, key=lambda key: (sizes[key], latest[key])):
        best[category] = run
    return dict(sorted(best.items(), key=lambda item: latest[item]))


def _lay(edits: Sequence[_Timed]) -> list[_Edit]:
    """Place edits on one timeline, run after run; in order of their start."""
    by_run = defaultdict(list)
    for r in sorted(edits, key=lambda r: (r.started, r.device, r.id)):
        by_run[r.run].append(r)
    laid: list[_Edit] = []
    end = 0.0
    # in the order in which they began
    for own in by_run.values():
        zero = min(r.started - r.wait_seconds - (r.load_seconds or 0) for r in own) - end
        for r in own:
            start = r.started - zero
            laid.append(_Edit(r, start, start + r.edit_seconds))
        end = max(edit.end for edit in laid)
    return laid


def _timeline(edits: Sequence[_Edit]) -> list[dict[str, Any]]:
    blocks: list[tuple[float, float, str, int | None, _Timed]] = []
    loaded = set()
    for r, start, _ in edits:
        waiting = start - r.wait_seconds
        # every record of a job carries the job's time to load, which came before its first wait
        job = r.run, r.category, r.device, r.load_seconds
        if r.load_seconds and job not in loaded:
            loaded.add(job)
            blocks.append((waiting - r.load_seconds, r.load_seconds, "load", None, r))
        if r.wait_seconds:
            blocks.append((waiting, r.wait_seconds, "wait", r.wave, r))
        blocks.append((start, r.edit_seconds, "work", r.wave, r))
    blocks.sort(key=lambda block: (block[0], block[4].device, block[2]))
    return [
        {
            "device": r.device,
            "kind": kind,
            "start": _rounded(start),
            "seconds": _rounded(seconds),
            "wave": wave,
            "category": r.category,
        }
        for start, seconds, kind, wave, r in blocks
    ]


def _times(names: Sequence[str], timeline: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seconds = defaultdict(list)
    for block in timeline:
        seconds[block["device"], block["kind"]].append(block["seconds"])
    devices = {}
    for name in names:
        times = {kind: _rounded(fsum(seconds[name, kind])) for kind in ("work", "wait", "load")}
        total = fsum(times.values())
        devices[name] = {**times, "waited": times["wait"] / total if total else None}
    return devices


def _cost(edits: Sequence[_Timed]) -> dict[str, float | None]:
    work = fsum(r.edit_seconds for r in edits)
    begin = {(r.category, r.device) for r in edits if r.wave == 0}
    # a device without a sample in the first wave begins with the second
    start = [r.wave == 0 or (r.wave == 1 and (r.category, r.device) not in begin) for r in edits]
    first = fsum(r.wait_seconds for r, starts in zip(edits, start, strict=True) if starts)
    later = fsum(r.wait_seconds for r, starts in zip(edits, start, strict=True) if not starts)
    parts = {"first_wave": first, "later_waves": later, "total": first + later}
    return {name: seconds / work if work else None for name, seconds in parts.items()}


def _curve(edits: Sequence[_Edit]) -> list[tuple[str, float, int]]:
    """Return one category's changes of drift as (category, seconds, images)."""
    order = sorted(edits, key=lambda edit: (edit.end, edit.record.wave))
    category = order[0].record.category
    waves = defaultdict(list)
    for edit in order:
        waves[edit.record.device].append(edit.record.wave)
    done = dict.fromkeys(waves, 0)
    points = [(category, min(edit.start for edit in edits), 0)]
    for end, ended in groupby(order, key=lambda edit: edit.end):
        for edit in ended:
            done[edit.record.device] += 1
        images = _spread(waves, done)
        if images != points[-1][2]:
            points.append((category, end, images))
    return points


def _spread(waves: dict[str, list[int]], done: dict[str, int]) -> int:
    """Return by how many images the devices that still have work are apart at least."""
    working = [(own, done[name]) for name, own in waves.items() if done[name] < len(own)]
    if not working:
        return 0
    # a device has finished the wave of its last edit, and not yet that of its next
    most = max(own[count - 1] + 1 if count else 0 for own, count in working)
    return max(0, most - min(own[count] for own, count in working))


def _stragglers(names: Sequence[str], edits: Sequence[_Edit]) -> dict[str, Any]:
    waves = defaultdict(list)
    for edit in edits:
        waves[edit.record.category, edit.record.wave].append((edit.record.device, edit.end))
    shared = [ends for ends in waves.values() if len(ends) > 1]
    taken = Counter(name for ends in shared for name, _ in ends)
    records = defaultdict(list)
    for edit in edits:
        records[edit.record.device].append(edit.record)
    lags = defaultdict(list)
    for ends in shared:
        latest = max(end for _, end in ends)
        # where all end at once nobody is last
        if latest == min(end for _, end in ends):
            continue
        for position, (name, end) in enumerate(ends):
            if end == latest:
                others = ends[:position] + ends[position + 1 :]
                lags[name].append(end - fmean(other for _, other in others))
    return {
        name: {
            "waves": taken[name],
            "last": len(lags[name]),
            "lag": _rounded(fmean(lags[name])) if lags[name] else None,
            **_health(records[name]),
        }
        for name in names
    }


def _health(edits: Sequence[_Timed]) -> dict[str, Any]:
    """Return one device's mean edit time, highest temperature and reasons of throttling."""
    # an edit that fails at once would make its device look fast
    seconds = [r.edit_seconds for r in edits if r.status == "ok"]
    return {
        "edit_seconds": _rounded(fmean(seconds)) if seconds else None,
        "temperature": max(
            (r.temperature for r in edits if r.temperature is not None), default=None
        ),
        "throttled": dict(sorted(Counter(kind for r in edits for kind in r.throttled).items())),
    }


def _slow(
    names: Sequence[str], categories: Sequence[Sequence[_Edit]], margin: float
) -> dict[str, float]:
    """Return device → share by which it is slower than its peers, where above the margin.

    Devices are compared within each category, weighted by their edits there: categories differ in
    the size of their images, and not every device need have worked on each.
    """
    own, peers = defaultdict(list), defaultdict(list)
    for edits in categories:
        records = defaultdict(list)
        for edit in edits:
            if edit.record.status == "ok":
                records[edit.record.device].append(edit.record)
        means = {name: fmean(r.edit_seconds for r in found) for name, found in records.items()}
        for name in means if len(means) > 1 else ():
            others = fmean(mean for other, mean in means.items() if other != name)
            own[name].append(means[name] * len(records[name]))
            peers[name].append(others * len(records[name]))
    excess = {name: fsum(own[name]) / fsum(peers[name]) - 1 for name in names if fsum(peers[name])}
    return {name: round(share, 4) for name, share in excess.items() if share > margin}
