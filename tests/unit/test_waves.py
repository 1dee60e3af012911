"""The barrier, with processes that live, finish, die and join late."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import plan, records
from lockstep.editing.waves import Barrier, host

SPAWN = multiprocessing.get_context("fork")


def work(folder, shard, shards, waves, options, die_at=None, late=0.0, item=0.02):
    """Pass a shard's waves and write down when each began and ended."""
    time.sleep(late)
    given_options = {"run": "r", "expected": range(shards), "slots": shards, "join_timeout": 10}
    with (
        Barrier(folder, shard, shards, **{**given_options, **options}) as barrier,
        open(folder / f"log-{shard}-{late}.jsonl", "w", buffering=1) as log,
    ):
        barrier.ready()
        for wave in range(barrier.first_wave, waves):
            barrier.wait(wave)
            log.write(json.dumps(["start", shard, wave, time.monotonic()]) + "\n")
            if wave == die_at:
                os._exit(9)
            time.sleep(item * (1 + shard))
            log.write(json.dumps(["end", shard, wave, time.monotonic()]) + "\n")
            barrier.finish(wave)


def run(folder, jobs, limit=120):
    folder.mkdir(parents=True, exist_ok=True)
    processes = [SPAWN.Process(target=work, args=(folder, *args), kwargs=kw) for args, kw in jobs]
    for process in processes:
        process.start()
    deadline = time.monotonic() + limit
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
    assert not hung, "a shard waits for ever"
    events = []
    for path in folder.glob("log-*.jsonl"):
        events += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(events, key=lambda event: event[3])


def largest_lead(events):
    """Return how many images the fastest shard was ever ahead of the slowest."""
    done = dict.fromkeys({event[1] for event in events}, 0)
    lead = 0
    for kind, shard, wave, _ in events:
        if kind == "end":
            done[shard] = wave + 1
            lead = max(lead, max(done.values()) - min(done.values()))
    return lead


def starts(events, wave):
    return [event[3] for event in events if event[0] == "start" and event[2] == wave]


def ends(events, wave):
    return [event[3] for event in events if event[0] == "end" and event[2] == wave]


def test_a_wave_starts_when_all_have_finished_the_last(tmp_path):
    events = run(tmp_path, [((k, 4, 5, {}), {}) for k in range(4)])
    for wave in range(1, 5):
        assert min(starts(events, wave)) >= max(ends(events, wave - 1))
    assert largest_lead(events) == 1


def test_a_lead_of_waves_is_allowed_and_no_more(tmp_path):
    events = run(tmp_path, [((k, 2, 8, {"lead": 2}), {"item": 0.01 + 0.1 * k}) for k in range(2)])
    assert largest_lead(events) == 3


def test_without_sync_nothing_waits(tmp_path):
    events = run(tmp_path, [((k, 2, 6, {"sync": False}), {"item": 0.1 * k}) for k in range(2)])
    assert largest_lead(events) > 3


def test_the_first_wave_waits_for_a_shard_that_starts_late(tmp_path):
    jobs = [((k, 2, 2, {}), {"late": 0.5 * k}) for k in range(2)]
    events = run(tmp_path, jobs)
    first = starts(events, 0)
    assert max(first) - min(first) < 0.3


def test_the_second_wave_waits_for_a_shard_that_begins_with_it(tmp_path):
    # the category's first sample goes to shard 2, as shards 0 and 1 still edit the last category's
    jobs = [((k, 3, 3, {"first": 2}), {"late": 0.0 if k == 2 else 0.6}) for k in range(3)]
    events = run(tmp_path, jobs)
    (alone,) = starts(events, 0)
    assert min(starts(events, 1)) - alone > 0.4
    for wave in (1, 2):
        assert len(starts(events, wave)) == 3
        assert min(starts(events, wave)) >= max(ends(events, wave - 1))


def test_a_peer_at_work_is_waited_for_however_long_its_first_edit_takes(tmp_path):
    jobs = [((k, 2, 2, {"first": 1, "join_timeout": 0.2}), {"item": 0.4}) for k in range(2)]
    events = run(tmp_path, jobs)
    assert min(starts(events, 1)) >= max(ends(events, 0))


def test_nobody_waits_for_a_process_that_has_no_slot(tmp_path):
    run(tmp_path, [((0, 6, 3, {"slots": 1, "join_timeout": 600}), {})])


def test_nobody_waits_for_a_shard_that_has_nothing_to_do(tmp_path):
    options = {"expected": {0, 1}, "join_timeout": 600}
    run(tmp_path, [((k, 3, 3, options), {}) for k in range(2)])


def test_a_shard_that_never_comes_costs_the_timeout_once(tmp_path):
    began = time.monotonic()
    events = run(tmp_path, [((k, 3, 4, {"join_timeout": 1.0}), {}) for k in range(2)])
    assert time.monotonic() - began >= 1
    assert starts(events, 3)[0] - starts(events, 0)[0] < 3, "each wave cost it"
    assert largest_lead(events) == 1


def test_a_shard_that_dies_is_not_waited_for_and_its_retry_catches_up(tmp_path):
    waves = 20
    jobs = [((k, 3, waves, {}), {"item": 0.03}) for k in range(2)]
    dying = ((2, 3, waves, {}), {"die_at": 3, "item": 0.03})
    retry = ((2, 3, waves, {}), {"late": 1.0, "item": 0.001})
    events = run(tmp_path, [*jobs, dying, retry])
    assert [wave for kind, shard, wave, _ in events if shard == 0 and kind == "end"] == list(
        range(waves)
    )
    caught_up = [e for e in events if e[1] == 2 and e[0] == "end"][3:]
    assert [wave for _, _, wave, _ in caught_up] == list(range(waves))


def test_what_another_run_left_behind_is_not_trusted(tmp_path):
    run(tmp_path, [((k, 2, 2, {"run": "old"}), {}) for k in range(2)])
    for path in tmp_path.glob("log-*"):
        path.unlink()
    events = run(tmp_path, [((k, 2, 3, {}), {"late": 0.4 * k}) for k in range(2)])
    first = starts(events, 0)
    assert max(first) - min(first) < 0.3


@settings(max_examples=8)
@given(
    shards=st.integers(1, 5),
    samples=st.integers(0, 12),
    lead=st.integers(0, 2),
    first=st.integers(0, 4),
)
def test_no_deadlock_and_no_larger_lead_whatever_the_shape(
    tmp_path_factory, shards, samples, lead, first
):
    folder = tmp_path_factory.mktemp("waves")
    options = {"lead": lead, "first": first}
    jobs = []
    for k in range(shards):
        waves = plan.first_wave(k, shards, first)
        waves += len(plan.shard_indices(samples, k, shards, first))
        jobs.append(((k, shards, waves, options), {"item": 0.004}))
    events = run(folder, jobs)
    assert sum(event[0] == "end" for event in events) == samples
    # waves that all shards have work in
    base = int(first % shards > 0)
    whole = range(base, (first % shards + samples) // shards)
    full = [[kind, k, wave - base, time] for kind, k, wave, time in events if wave in whole]
    if full:
        assert largest_lead(full) <= lead + 1


def test_a_peer_that_holds_a_lock_but_wrote_no_state_counts_as_loading(tmp_path):
    # a kill between taking the lock and the first write must not look like an end
    with Barrier(tmp_path, 1, 2, "r", [0, 1], 2) as peer:
        (tmp_path / "shard-1-of-2.json").unlink()
        with Barrier(tmp_path, 0, 2, "r", [0, 1], 2, join_timeout=0.3) as own:
            own.ready()
            assert own.wait(0) >= 0.3
        peer.ready()


def state_of(folder, shard, shards, **changes):
    """Write what a shard on another host would have published."""
    state = {
        "run": "r",
        "host": "elsewhere",
        "device": "gpu9",
        "finished": 0,
        "done": False,
        "seconds": None,
        "beats": 0,
    }
    records.write_json(folder / f"shard-{shard}-of-{shards}.json", {**state, **changes})


def test_a_peer_on_another_host_lives_as_long_as_its_heart_beats(tmp_path):
    own = {"join_timeout": 10, "heartbeat_timeout": 0.6}
    with Barrier(tmp_path, 0, 2, "r", [0, 1], 2, **own) as barrier:
        state_of(tmp_path, 1, 2)
        barrier.ready()
        assert barrier.wait(0) < 0.5
        barrier.finish(0)
        beating = threading.Event()

        def beat():
            for beats in range(1, 6):
                time.sleep(0.3)
                state_of(tmp_path, 1, 2, beats=beats)
            beating.set()

        threading.Thread(target=beat).start()
        # it has not finished wave 0 and lives for 1.5 s, then is silent for 0.6 s
        assert 1.5 < barrier.wait(1) < 4
        assert beating.is_set()


def test_a_heart_goes_on_after_a_beat_that_could_not_be_written(tmp_path):
    with Barrier(tmp_path, 0, 2, "r", [0, 1], 2, heartbeat_timeout=0.3):
        with mock.patch("lockstep.records.atomic", side_effect=OSError(116, "Stale file handle")):
            time.sleep(0.2)
        path = tmp_path / "shard-0-of-2.json"
        before = records.read_json(path)["beats"]
        time.sleep(0.2)
        assert records.read_json(path)["beats"] > before


def test_a_peer_on_another_host_releases_by_its_state(tmp_path):
    with Barrier(tmp_path, 0, 2, "r", [0, 1], 2, heartbeat_timeout=30) as barrier:
        state_of(tmp_path, 1, 2)
        barrier.ready()
        barrier.wait(0)
        barrier.finish(0)
        threading.Timer(0.3, state_of, (tmp_path, 1, 2), {"finished": 1}).start()
        assert 0.2 < barrier.wait(1) < 3
        barrier.finish(1)
        threading.Timer(0.3, state_of, (tmp_path, 1, 2), {"finished": 1, "done": True}).start()
        assert 0.2 < barrier.wait(2) < 3


def test_the_slowest_of_a_wave_is_named(tmp_path):
    with Barrier(tmp_path, 0, 3, "r", [0, 1, 2], 3, device="gpu0") as barrier:
        state_of(tmp_path, 1, 3, finished=1, seconds=2.5, device="gpu1")
        state_of(tmp_path, 2, 3, finished=1, seconds=2.1, device="gpu2")
        barrier.ready()
        assert barrier.slowest(0, 2.3) == ("gpu1", pytest.approx(0.3))
        assert barrier.slowest(0, 4.3) == ("gpu0", pytest.approx(2.0))


def test_without_notice_of_changes_looking_now_and_then_still_works(tmp_path, monkeypatch):
    def refuse():
        raise OSError(24, "too many watches")

    monkeypatch.setattr("inotify_simple.INotify", refuse)
    events = run(tmp_path, [((k, 3, 4, {}), {}) for k in range(3)])
    assert largest_lead(events) == 1


def test_locks_are_looked_at_as_nfs_allows(tmp_path, monkeypatch):
    flock = fcntl.flock

    def on_nfs(file, operation):
        # flock(2): for an exclusive lock the file must be open for writing
        if operation & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & 3 == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", on_nfs)
    events = run(tmp_path, [((k, 3, 4, {}), {}) for k in range(3)])
    assert len(ends(events, 3)) == 3


@pytest.mark.parametrize("content", ["", "{", '{"run": 1}'])
def test_a_broken_state_file_stops_nobody(tmp_path, content):
    (tmp_path / "shard-1-of-2.lock").touch()
    (tmp_path / "shard-1-of-2.json").write_text(content)
    with Barrier(tmp_path, 0, 2, "r", [0], 2, join_timeout=5) as own:
        own.ready()
        assert own.wait(0) < 1


def begin_and_stay(folder, shard, waves):
    """Pass so many waves, then stay alive."""
    with Barrier(folder, shard, 2, "r", [0, 1], 2, heartbeat_timeout=0.6) as barrier:
        barrier.ready()
        for wave in range(waves):
            barrier.finish(wave)
        time.sleep(600)


@pytest.mark.parametrize("waves", [0, 3])
def test_a_stopped_peer_is_not_waited_for_until_it_goes_on(tmp_path, caplog, waves):
    peer = SPAWN.Process(target=begin_and_stay, args=(tmp_path, 1, waves))
    peer.start()
    try:
        with Barrier(
            tmp_path, 0, 2, "r", [0, 1], 2, join_timeout=1e6, heartbeat_timeout=0.6
        ) as own:
            while (state := own._look(1)).finished != waves:
                time.sleep(0.01)
            assert state.alive
            os.kill(peer.pid, signal.SIGSTOP)
            own.ready()

            def go_on():
                for wave in range(waves + 1):
                    own.wait(wave)
                    own.finish(wave)
                own.wait(waves + 1)

            going = threading.Thread(target=go_on, daemon=True)
            going.start()
            going.join(60)
            assert not going.is_alive(), "waits for a stopped peer"
            assert f"going on without shard 1: process {peer.pid} is stopped" in caplog.text
            os.kill(peer.pid, signal.SIGCONT)
            while not own._look(1).alive:
                time.sleep(0.01)
    finally:
        peer.kill()
        peer.join()


def test_a_silent_peer_that_runs_is_waited_for(tmp_path):
    (tmp_path / "shard-1-of-2.lock").touch()
    with (
        open(tmp_path / "shard-1-of-2.lock") as lock,
        Barrier(tmp_path, 0, 2, "r", [0, 1], 2, heartbeat_timeout=0.05) as own,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = {"run": "r", "host": host(), "finished": 1, "done": False, "device": "d"}
        state |= {"seconds": None, "pid": os.getpid()}
        (tmp_path / "shard-1-of-2.json").write_text(json.dumps(state))
        for _ in range(5):
            assert own._look(1).alive
            time.sleep(0.05)


@pytest.mark.parametrize("editors", [1, 2])
def test_two_runs_that_each_hold_a_lock_of_the_other_do_not_wait_for_each_other(tmp_path, editors):
    def pass_waves(run, shard):
        for editor in range(editors):
            folder = tmp_path / f"{editor}"
            with Barrier(
                folder, shard, 2, run, [0, 1], 2, join_timeout=1e6, heartbeat_timeout=0.3
            ) as barrier:
                both.wait()
                barrier.ready()
                for wave in range(3):
                    barrier.wait(wave)
                    barrier.finish(wave)
                both.wait()

    both = threading.Barrier(2, timeout=60)
    runs = [
        threading.Thread(target=pass_waves, args=(run, shard), daemon=True)
        for shard, run in enumerate(("one", "other"))
    ]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join(120)
    assert not any(thread.is_alive() for thread in runs), "each waits for the other"
    assert not both.broken
