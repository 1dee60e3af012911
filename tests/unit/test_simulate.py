"""The simulator of edit waves, against its own rules and figures known otherwise."""

import importlib.util
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep import records
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("simulate", ROOT / "benchmarks" / "simulate.py")
simulator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(simulator)
simulate = simulator.simulate

SECONDS = st.floats(0.1, 10.0)
POLICIES = st.one_of(st.integers(0, 9), st.just("free"), st.just("queue"))


@st.composite
def work(draw):
    """Items and slowness; the last wave may be short, and devices more than items."""
    items = draw(st.lists(SECONDS, min_size=1, max_size=60))
    slowness = draw(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=8))
    return np.array(items), np.array(slowness)


def seconds(items, slowness):
    """Return seconds by wave and device, 0 where no item is."""
    waves = -(-len(items) // len(slowness))
    padded = np.zeros(waves * len(slowness))
    padded[: len(items)] = items
    return padded.reshape(waves, -1) * slowness


def test_a_tiny_run_gives_what_a_hand_computes():
    # device 0 needs 1, 1, 3, 1 s and device 1 needs 2, 2, 2, 2 s
    items, slowness = np.array([1, 1, 1, 1, 3, 1, 1, 1.0]), np.array([1, 2.0])
    outcome = {policy: simulate(items, slowness, policy) for policy in (0, 1, "free", "queue")}
    # work of 10 at a rate of 1 + 1/2
    ideal = 10 / 1.5
    # 2 + 2 + 3 + 2, of 18 device seconds 14 worked
    assert outcome[0] == pytest.approx((9, 9 / ideal, 1, 4 / 18))
    # device 0 starts its third item at 2, its fourth at 5, and ends at 6; device 1 ends at 8
    assert outcome[1] == pytest.approx((8, 8 / ideal, 1, 2 / 16))
    assert outcome["free"] == outcome[1]
    # as free running until 6, when both have done all their own but the last of device 1's, which
    # device 0 takes until 7: of 14 device seconds 13 worked
    assert outcome["queue"] == pytest.approx((7, 7 / ideal, 1, 1 / 14))


@given(work())
def test_lockstep_takes_the_slowest_item_of_each_wave(given_work):
    expected = seconds(*given_work).max(axis=1).sum()
    assert simulate(*given_work, 0).makespan == pytest.approx(expected)


@given(work())
def test_free_running_takes_the_device_with_the_most_work(given_work):
    expected = seconds(*given_work).sum(axis=0).max()
    assert simulate(*given_work, "free").makespan == pytest.approx(expected)


@given(work())
def test_more_lead_never_takes_longer(given_work):
    policies = [0, 1, 2, 3, 5, 8, 60, "free"]
    makespans = [simulate(*given_work, policy).makespan for policy in policies]
    for less, more in itertools.pairwise(makespans):
        assert more <= less * (1 + 1e-12)
    assert makespans[-2] == pytest.approx(makespans[-1])


@given(work())
def test_the_queue_ends_at_most_one_item_after_free_running(given_work):
    # until the last item starts no device was idle, and no policy is better than that
    items, slowness = given_work
    bound = simulate(*given_work, "free").makespan + items.max() * slowness.max()
    assert simulate(*given_work, "queue").makespan <= bound * (1 + 1e-12)


@given(work(), st.integers(0, 9))
def test_drift_is_at_most_one_image_above_the_lead(given_work, lead):
    assert simulate(*given_work, lead).drift <= lead + 1


@given(work(), POLICIES)
def test_no_policy_beats_the_ideal_and_idle_time_is_a_share(given_work, policy):
    outcome = simulate(*given_work, policy)
    assert outcome.over_ideal >= 1 - 1e-12
    assert -1e-12 <= outcome.idle < 1


@given(work(), POLICIES)
def test_drift_is_what_counting_at_every_moment_gives(given_work, policy):
    items, slowness = given_work
    if policy == "queue":
        finish, _ = simulator._queue(items, slowness)
    else:
        finish, _ = simulator._waves(items, slowness, policy)
    drift = 0
    for now in finish[~np.isnan(finish)]:
        finished = (finish <= now).sum(axis=0)
        at_work = finished < (~np.isnan(finish)).sum(axis=0)
        if at_work.any():
            drift = max(drift, np.ptp(finished[at_work]))
    assert simulate(items, slowness, policy).drift == drift


def test_the_defaults_give_the_cost_of_lockstep_that_was_measured():
    slowness = np.array([2.03, 2.07, 2.13, 2.13]) / simulator.Model().base
    random = np.random.default_rng(0)
    costs = []
    for _ in range(300):
        items, _ = simulator.draw(simulator.Model(), 80, 4, random)
        # the measured means hold the noise of 20 items
        waves = items.reshape(20, 4)
        items = (waves / np.exp(np.log(waves).mean(axis=0)) * simulator.Model().base).ravel()
        lockstep, free = (simulate(items, slowness, policy).makespan for policy in (0, "free"))
        costs.append(lockstep / free - 1)
    assert 0.009 <= np.mean(costs) <= 0.014


def write_run(folder, table, save=0.01, cached=()):
    """Write the records of a run in lockstep whose items take `table` seconds and a save."""
    start = 1_800_000_000.0
    shards = [[] for _ in table[0]]
    wait = [0.0] * len(table[0])
    for wave, row in enumerate(table):
        for shard, seconds in enumerate(row):
            hit = (wave, shard) in cached
            record = {
                "id": f"{wave}-{shard}",
                "wave": wave,
                "shard": shard,
                "device": f"cpu{shard}",
            }
            times = {"started": 5.0 if hit else start, "edit_seconds": seconds, "cached": hit}
            times["wait_seconds"] = wait[shard]
            shards[shard].append(records.Record(status="ok", **record, **times))
        spent = [
            0.0 if (wave, shard) in cached else seconds + save for shard, seconds in enumerate(row)
        ]
        wait = [max(spent) - s for s in spent]
        start += max(spent)
    for shard, written in enumerate(shards):
        path = folder / "edits" / f"shard-{shard}-of-{len(shards)}.jsonl"
        records.write_records(path, written)


def test_a_recorded_run_is_predicted_with_the_time_that_saving_takes(tmp_path):
    write_run(tmp_path, [[0.2, 0.3], [0.4, 0.1], [0.2, 0.25]])
    # 0.31 + 0.41 and the last wave without its save
    assert simulator.predict(tmp_path) == pytest.approx(0.31 + 0.41 + 0.25)
    assert simulator.predict(tmp_path / "edits") == simulator.predict(tmp_path)
    assert simulator.read_run(tmp_path).makespan == pytest.approx(0.31 + 0.41 + 0.25)
    assert simulator.predict(tmp_path, "free") == pytest.approx(0.21 + 0.41 + 0.2)


def test_a_device_that_begins_with_the_second_wave_is_not_waited_for_in_the_first(tmp_path):
    write_run(tmp_path, [[0.0, 0.3], [0.4, 0.1], [0.2, 0.25]])
    first = tmp_path / "edits" / "shard-0-of-2.jsonl"
    first.write_text("".join(first.read_text().splitlines(keepends=True)[1:]))
    assert simulator.predict(tmp_path) == pytest.approx(0.31 + 0.41 + 0.25)


def test_an_item_from_the_cache_takes_no_time(tmp_path):
    write_run(tmp_path, [[0.2, 0.3], [0.4, 0.1], [0.2, 0.25]], cached={(0, 1), (1, 0)})
    # beside a cached item only the edit itself is known
    assert simulator.predict(tmp_path) == pytest.approx(0.2 + 0.11 + 0.25)


def test_the_model_is_found_again_in_records(tmp_path):
    random = np.random.default_rng(1)
    model = simulator.Model(base=0.2, speed_spread=0.04, noise=0.02)
    items, slowness = simulator.draw(model, 40 * 60, 40, random)
    write_run(tmp_path, seconds(items, slowness).tolist(), save=0.0)
    found = simulator.read_run(tmp_path)
    assert found.model.base == pytest.approx(0.2, rel=0.02)
    assert found.model.speed_spread == pytest.approx(0.04, rel=0.4)
    assert found.model.noise == pytest.approx(0.02, rel=0.05)
    assert found.slowness / found.slowness[0] == pytest.approx(slowness / slowness[0], rel=0.02)


def test_a_folder_that_is_not_one_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no edit records"):
        simulator.predict(tmp_path)
    write_run(tmp_path, [[0.2, 0.3, 0.2]] * 3)
    write_run(tmp_path, [[0.2, 0.3]] * 4)
    with pytest.raises(ValueError, match="not the shards"):
        simulator.predict(tmp_path)
    for path in tmp_path.glob("edits/*-of-3.jsonl"):
        path.unlink()
    simulator.predict(tmp_path)
    whole = tmp_path / "edits" / "shard-0-of-2.jsonl"
    whole.write_text(whole.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="some are missing"):
        simulator.predict(tmp_path)
    (tmp_path / "edits" / "shard-0-of-2.jsonl").unlink()
    with pytest.raises(ValueError, match="not the shards"):
        simulator.predict(tmp_path)


def test_a_run_in_which_devices_shared_samples_is_refused(tmp_path):
    write_run(tmp_path, [[0.2, 0.3], [0.4, 0.1]])
    path = tmp_path / "edits" / "shard-1-of-2.jsonl"
    kept, taken = records.read_records(path, records.Record)
    taken = taken.model_copy(update={"shard": 0, "device": "cpu0"})
    records.write_records(path, [kept, taken])
    with pytest.raises(ValueError, match="lockstep or free, found one where cpu0 edited 1-1 of sh"):
        simulator.predict(tmp_path)


def test_devices_of_given_speeds_are_compared(monkeypatch, capsys):
    given_arguments = ["--speeds", "1", "0.5", "--repeats", "2", "--samples-per-device", "6"]
    given_arguments += ["--noise", "0", "--base", "1"]
    monkeypatch.setattr("sys.argv", ["simulate.py", *given_arguments])
    simulator.main()
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if "speed 1, 0" in line
    ]
    # 12 items of 1 and 2 s; in the queue the fast device does 8 of them
    found = {row[1]: row[2] for row in rows}
    assert (found["lockstep"], found["free running"], found["queue"]) == (
        "12.0 s",
        "12.0 s",
        "8.0 s",
    )


def test_the_command_prints_a_row_for_each_policy_and_draws_the_same_plot(
    tmp_path, monkeypatch, capsys
):
    write_run(tmp_path, [[0.2, 0.3], [0.4, 0.1]])
    printed = []
    for name in ("a.svg", "b.svg"):
        given_arguments = ["--devices", "2", "5", "--repeats", "2", "--samples-per-device", "3"]
        given_arguments += ["--records", str(tmp_path), "--plot", str(tmp_path / name)]
        monkeypatch.setattr("sys.argv", ["simulate.py", *given_arguments])
        simulator.main()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    rows = [line for line in printed[0].splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == (
        ["| 2, replayed"] * 7 + ["| 2"] * 7 + ["| 5"] * 7
    )
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
