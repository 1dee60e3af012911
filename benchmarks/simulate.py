"""Simulate edit waves on 6 to 1,024 devices: what keeping step costs, and what drift it saves.

    python benchmarks/simulate.py --devices 6 64 1024 --plot docs/simulate.svg
    python benchmarks/simulate.py --speeds 1 1 0.6 0.3
    python benchmarks/simulate.py --records results/{editor}/{category}/edits

The model: an item takes `item seconds × slowness of its device`. Slowness is lognormal over
devices and constant during a run; item seconds are `base` × lognormal noise, independent from item
to item. Not modelled: loading, the few milliseconds of a release, a device that slows down for a
while (its items are then not independent), and a device that dies.
"""

import argparse
import heapq
import io
import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockstep import plan, records

Policy = int | Literal["free", "queue"]
"""`max_wave_lead` (0: lockstep), or `devices.schedule`: free or queue."""

POLICIES: dict[Policy, str] = {
    0: "lockstep",
    1: "max_wave_lead 1",
    2: "max_wave_lead 2",
    4: "max_wave_lead 4",
    8: "max_wave_lead 8",
    "free": "free running",
    "queue": "queue",
}

COLORS = ("#1b3a5c", "#c6dbef", "#9ecae1", "#6baed6", "#3182bd", "#08519c", "#d1495b")
WIDTHS = (2.0, 9.5, 7.5, 5.5, 3.6, 1.4, 2.0)
"""Of each policy's line: those that coincide stay visible, one inside the other."""


class Model(NamedTuple):
    """How long edits take. The defaults are from four H200, 20 images each, 4 steps without CFG."""

    base: float = 2.09
    """Seconds of an item on a device of slowness 1: the mean of 2.03, 2.07, 2.13 and 2.13 s."""
    speed_spread: float = 0.024
    """Standard deviation of log slowness over devices: that of the four means (ddof 1)."""
    noise: float = 0.02
    """Standard deviation of log item seconds. With it, four such devices and 20 waves pay 1.2%
    for lockstep on average; measured were 0.9 to 1.4%."""


class Outcome(NamedTuple):
    """What a policy makes of given items on given devices."""

    makespan: float
    """Seconds from the start until the last item is finished."""
    over_ideal: float
    """Makespan / ideal; the ideal is Σ items / Σ 1/slowness, which work that could be cut into
    pieces of any size would take. Only a policy that shares work can come near it."""
    drift: int
    """Largest difference, at any time, of finished images between two devices that both still
    have work."""
    idle: float
    """Share of devices × makespan in which a device does not work."""


class Run(NamedTuple):
    """A recorded run, as the simulation takes it."""

    items: NDArray[np.float64]
    """Seconds of each sample on a device of slowness 1; 0 where the cache had it."""
    slowness: NDArray[np.float64]
    """Of each device, their geometric mean being 1."""
    model: Model
    """Estimated from the items that were not cached."""
    makespan: float
    """Measured seconds from the first item's start until the last one's end."""


def simulate(items: NDArray, slowness: NDArray, policy: Policy) -> Outcome:
    """Run items, in their order, on devices.

    Item i belongs to device i mod n. Except in the queue that device runs it, so no policy ends
    before the device with the most work; lockstep takes the sum over waves of the slowest item.

    Args:
        items: shape [samples], seconds on a device of slowness 1.
        slowness: shape [devices], factor on the seconds of every item.
    """
    if policy == "queue":
        finish, busy = _queue(items, slowness)
    else:
        finish, busy = _waves(items, slowness, policy)
    makespan = float(np.nanmax(finish))
    return Outcome(
        makespan=makespan,
        over_ideal=makespan / float(items.sum() / (1 / slowness).sum()),
        drift=_drift(finish),
        idle=1 - busy / (makespan * len(slowness)),
    )


def _waves(items: NDArray, slowness: NDArray, lead: Policy) -> tuple[NDArray, float]:
    """Return finish times, shape [waves, devices] with NaN where no item is, and seconds worked.

    A device starts wave w when it has finished its own wave w−1 and all have finished w−1−lead.
    """
    count = len(slowness)
    waves = math.ceil(len(items) / count)
    padded = np.full(waves * count, np.nan)
    padded[: len(items)] = items
    seconds = padded.reshape(waves, count) * slowness
    if lead == "free":
        return np.cumsum(seconds, axis=0), float(np.nansum(seconds))
    finish = np.empty_like(seconds)
    own = np.zeros(count)
    for wave in range(waves):
        gate = finish[wave - 1 - lead].max() if wave > lead else 0.0
        own = finish[wave] = np.maximum(own, gate) + seconds[wave]
    return finish, float(np.nansum(seconds))


def _queue(items: NDArray, slowness: NDArray) -> tuple[NDArray, float]:
    """Return what `_waves` does, where a free device takes the next item.

    Its own come first, from the front; then the last one of the device that has most left.
    """
    count = len(slowness)
    left = [deque(items[device::count].tolist()) for device in range(count)]
    taken: list[list[float]] = [[] for _ in left]
    free = [(0.0, device) for device in range(count)]
    factors = slowness.tolist()
    busy = 0.0
    while free:
        now, device = heapq.heappop(free)
        if own := left[device]:
            item = own.popleft()
        elif most := max(left, key=len):
            item = most.pop()
        else:
            continue
        seconds = item * factors[device]
        busy += seconds
        taken[device].append(now + seconds)
        heapq.heappush(free, (now + seconds, device))
    return np.array(list(itertools.zip_longest(*taken, fillvalue=math.nan))), busy


def _drift(finish: NDArray) -> int:
    """Return the largest difference of finished images between devices that still have work.

    It is reached when a device that is to have a further item finishes one. The fewest finished
    images at that time are the first row that some device has yet to finish.
    """
    leaders = np.where(np.isnan(finish[1:]), np.inf, finish[:-1]).min(axis=1)
    all_finished = np.maximum.accumulate(np.nanmax(finish, axis=1))
    fewest = np.searchsorted(all_finished, leaders, side="right")
    return int((np.arange(1, len(finish)) - fewest).max(initial=0))


def draw(
    model: Model, samples: int, devices: int, random: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Draw items and slowness from the model."""
    slowness = np.exp(random.normal(0, model.speed_spread, devices))
    return model.base * np.exp(random.normal(0, model.noise, samples)), slowness


def read_run(folder: Path) -> Run:
    """Read a category's edit records and estimate its devices.

    An item's seconds reach from its start to the device's arrival at the next barrier (the next
    start minus its wait), so that they hold the writing of the image; for the last item of a
    device and before a cached one they are `edit_seconds`.

    Args:
        folder: the category's folder, or `edits` in it.

    Raises:
        ValueError: without records, or if they are not those of one run over all shards, each of
            which edited its own samples.
    """
    folder = Path(folder) if Path(folder).name == "edits" else Path(folder) / "edits"
    found = sorted(folder.glob("shard-*.jsonl"))
    # a record that came from the cache may name the shard that once made it
    paths = [folder / plan.shard_file(shard, len(found)) for shard in range(len(found))]
    if set(paths) != set(found):
        raise ValueError(f"{folder} has not the shards 0 to n−1 of one run")
    # with fewer samples than devices some shards are empty
    shards = [shard for path in paths if (shard := records.read_records(path, records.Record))]
    if not shards:
        raise ValueError(f"{folder} has no edit records")
    lengths = [len(shard) for shard in shards]
    if max(lengths) - min(lengths) > 1:
        raise ValueError(f"{folder} has shards of {lengths} records: some are missing")
    for number, shard in enumerate(shards):
        if other := next((r for r in shard if not r.cached and r.shard != number), None):
            raise ValueError(
                f"{folder}: expected a run whose schedule is lockstep or free, found one where "
                f"{other.device} edited {other.id} of shard {number}"
            )
    begins = [_first_wave(shard) for shard in shards]
    waves = max(begin + length for begin, length in zip(begins, lengths, strict=True))
    seconds = np.full((waves, len(shards)), np.nan)
    for device, (begin, shard) in enumerate(zip(begins, shards, strict=True)):
        # a device that begins with the second wave spends no time in the first
        seconds[:begin, device] = 0.0
        seconds[begin : begin + len(shard), device] = _item_seconds(shard)
    model, slowness = _estimate(seconds)
    items = (seconds / slowness).ravel()
    fresh = [record for shard in shards for record in shard if not record.cached]
    first = min(record.started for record in fresh)
    last = max(record.started + record.edit_seconds for record in fresh)
    return Run(items[: np.flatnonzero(~np.isnan(items))[-1] + 1], slowness, model, last - first)


def _first_wave(shard: Sequence[records.Record]) -> int:
    """Return the wave of a shard's first item; one from the cache may name another run's."""
    return next((r.wave - place for place, r in enumerate(shard) if not r.cached), 0)


def _item_seconds(shard: Sequence[records.Record]) -> list[float]:
    """Return the seconds that a shard was away from the barrier for each item."""
    seconds = []
    for record, after in itertools.zip_longest(shard, shard[1:]):
        away = 0.0 if record.cached else record.edit_seconds
        if after and not record.cached and not after.cached:
            away = max(away, after.started - after.wait_seconds - record.started)
        seconds.append(away)
    return seconds


def _estimate(seconds: NDArray) -> tuple[Model, NDArray]:
    """Estimate the model and each device's slowness from seconds, shape [waves, devices].

    The variance between device means is lessened by the part that noise alone gives them.

    Raises:
        ValueError: if a device has no item that was not cached.
    """
    worked = seconds > 0
    counts = worked.sum(axis=0)
    if not counts.all():
        raise ValueError("every item of a device was cached: nothing tells how fast it is")
    logs = np.log(np.where(worked, seconds, 1.0))
    means = logs.sum(axis=0) / counts
    residuals = (logs - means)[worked]
    freedom = max(1, len(residuals) - len(counts))
    noise = math.sqrt((residuals**2).sum() / freedom)
    between = means.var(ddof=1) if len(means) > 1 else 0.0
    spread = math.sqrt(max(0.0, between - noise**2 * (1 / counts).mean()))
    return Model(math.exp(means.mean()), spread, noise), np.exp(means - means.mean())


def predict(folder: Path, policy: Policy = 0) -> float:
    """Replay the durations of a run, in lockstep by default, and return its makespan in seconds."""
    run = read_run(folder)
    return simulate(run.items, run.slowness, policy).makespan


def compare(
    model: Model,
    devices: int,
    samples_per_device: int,
    repeats: int,
    seed: int = 0,
    slowness: NDArray | None = None,
) -> dict[Policy, Outcome]:
    """Return each policy's mean outcome over runs whose items and devices all policies share.

    Args:
        slowness: of the devices, shape [devices]; None draws it from the model.
    """
    random = np.random.default_rng([seed, devices])
    draws = [draw(model, samples_per_device * devices, devices, random) for _ in range(repeats)]
    if slowness is not None:
        draws = [(items, slowness) for items, _ in draws]
    return {
        policy: Outcome(*np.mean([simulate(*drawn, policy) for drawn in draws], axis=0))
        for policy in POLICIES
    }


def table(results: Iterable[tuple[str, dict[Policy, Outcome]]]) -> str:
    """Return Markdown, a row for each number of devices and policy; drift is in images."""
    lines = [
        "| devices | policy | makespan | over ideal | over free running | largest drift | idle |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for devices, outcomes in results:
        for policy, outcome in outcomes.items():
            over_free = outcome.makespan / outcomes["free"].makespan - 1
            lines.append(
                f"| {devices} | {POLICIES[policy]} | {outcome.makespan:.1f} s "
                f"| {outcome.over_ideal - 1:.1%} | {over_free:+.2%} "
                f"| {outcome.drift:.1f} | {outcome.idle:.1%} |"
            )
    return "\n".join(lines)


def plot(results: dict[int, dict[Policy, Outcome]], path: Path) -> None:
    """Draw makespan over ideal against the number of devices, as SVG that is always the same."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "lockstep", "font.size": 10})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    for (policy, label), color, width in zip(POLICIES.items(), COLORS, WIDTHS, strict=True):
        over = [100 * (outcomes[policy].over_ideal - 1) for outcomes in results.values()]
        axes.plot(list(results), over, color=color, linewidth=width, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(results), [f"{count:,}" for count in results])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("devices")
    axes.set_ylabel("makespan over ideal, %")
    axes.grid(axis="y", color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    records.write_bytes(path, drawn.getvalue())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, default = parser.add_argument, Model()
    add("--devices", type=int, nargs="+", default=[6, 64, 1024])
    add(
        "--speeds",
        type=float,
        nargs="+",
        help="of devices that are compared in place of drawn ones",
    )
    add("--samples-per-device", type=int, default=45)
    add("--base", type=float, help=f"seconds of an item ({default.base})")
    add("--speed-spread", type=float, help=f"sd of log slowness ({default.speed_spread})")
    add("--noise", type=float, help=f"sd of log item seconds ({default.noise})")
    add("--repeats", type=int, default=20)
    add("--records", type=Path, help="a run's edit records, replayed; the model comes from them")
    add("--plot", type=Path, help="SVG to draw, with the powers of two between the devices")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    model, rows = Model(), []
    if options.records:
        try:
            run = read_run(options.records)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        model = run.model
        outcomes = {policy: simulate(run.items, run.slowness, policy) for policy in POLICIES}
        print(f"Measured {run.makespan:.2f} s; replayed in lockstep {outcomes[0].makespan:.2f} s.")
        rows.append((f"{len(run.slowness)}, replayed", outcomes))
    asked = {name: getattr(options, name) for name in Model._fields}
    model = model._replace(**{name: value for name, value in asked.items() if value is not None})
    spread = "" if options.speeds else f"speed spread {model.speed_spread:.1%}, "
    print(
        f"{options.samples_per_device} items a device of {model.base:.3f} s, {spread}"
        f"noise {model.noise:.1%}, mean of {options.repeats} runs.\n"
    )
    if options.speeds:
        slowness = 1 / np.array(options.speeds)
        given = (len(slowness), options.samples_per_device, options.repeats)
        speeds = ", ".join(f"{speed:g}" for speed in options.speeds)
        outcomes = compare(model, *given, slowness=slowness)
        print(table([*rows, (f"{len(slowness)} of speed {speeds}", outcomes)]))
        return
    counts = set(options.devices)
    if options.plot:
        counts |= {2**k for k in range(1, 20) if min(counts) < 2**k < max(counts)}
    results = {
        count: compare(model, count, options.samples_per_device, options.repeats)
        for count in sorted(counts)
    }
    rows += [(f"{count:,}", results[count]) for count in options.devices]
    print(table(rows))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
