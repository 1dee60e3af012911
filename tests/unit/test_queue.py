"""A queue of samples for devices of unequal speed: who takes what, and whatever dies meanwhile."""

import fcntl
import multiprocessing
import time
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from lockstep import plan, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editing import shard as editing_shard
from lockstep.editing.waves import Barrier
from lockstep.editors.identity import IdentitySettings
from lockstep.errors import DeviceError, EditError, SkipError
from lockstep.figures import drift
from lockstep.records import EditRecord
from tests.unit.test_editing import EDITOR, manifest

PROCESSES = multiprocessing.get_context("fork")
SOON = 60
"""Seconds after which a test gives up on another process."""


class Editor:
    """Makes pixels of a sample's seed, after it has written down what it begins with.

    Args:
        during: called with the sample's number before it answers.
    """

    def __init__(self, folder, shard, during):
        self._folder, self._shard, self._during = folder, shard, during

    def prepare(self, sample):
        return None

    def edit(self, prepared, sample, seed):
        with open(self._folder / f"begun-{sample.index}", "a") as file:
            file.write(f"{self._shard}\n")
        self._during(sample.index)
        return Image.new("RGB", (8, 8), (seed % 251, seed % 241, seed % 239))


def begun(folder, number):
    """Return the shards that have begun to edit a sample, in order."""
    path = folder / f"begun-{number}"
    return list(map(int, path.read_text().split())) if path.exists() else []


def until(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def image(folder, number):
    return folder / "physical" / "images" / f"s{number}.png"


def edit(folder, shard, shards, during=lambda number: None, schedule="queue", label=None):
    """Edit a shard in this process and return its records."""
    settings = DeviceSettings(accelerator="cpu", schedule=schedule, heartbeat_timeout=5)
    devices = [Device("cpu", str(k), label and f"{label}{k}") for k in range(shards)]
    job = editing_shard.Shard(shard, devices, slots=shards, run="run")
    with (
        mock.patch.object(IdentitySettings, "load", lambda *_: Editor(folder, shard, during)),
        open("/dev/null", "w") as nowhere,
    ):
        given = (EDITOR, folder / "physical.jsonl", folder / "physical", job, nowhere)
        editing_shard.edit_shard(*given, seed=0, settings=settings)
    return written(folder, shard, shards)


def written(folder, shard, shards):
    path = folder / "physical" / "edits" / plan.shard_file(shard, shards)
    return records.read_records(path, EditRecord)


class Started:
    """A shard in a process of its own."""

    def __init__(self, folder, shard, shards, during=lambda number: None):
        self._process = PROCESSES.Process(target=edit, args=(folder, shard, shards, during))
        self._process.start()

    def kill(self):
        self._process.kill()
        self._process.join(SOON)

    def end(self):
        """Wait for its end and return its exit code."""
        self._process.join(SOON)
        if self._process.is_alive():
            self._process.kill()
            pytest.fail("a shard waits for ever")
        return self._process.exitcode


@pytest.fixture
def started(tmp_path):
    """Return a function that starts shards of a category; none outlives the test."""
    processes = []

    def start(shard, shards, during=lambda number: None, folder=tmp_path):
        processes.append(Started(folder, shard, shards, during))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def hold(*numbers):
    """Return what never ends the edits of some samples."""
    return lambda number: time.sleep(10 * SOON) if number in numbers else None


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_slow_device_does_less_and_all_bits_are_those_of_lockstep(tmp_path, started, shards):
    samples = 9
    for name in ("lockstep", "queue"):
        (tmp_path / name).mkdir()
        manifest(tmp_path / name, samples)
    expected = {r.id: r for r in edit(tmp_path / "lockstep", 0, 1, schedule="lockstep")}
    folder, slow = tmp_path / "queue", shards - 1
    own = plan.shard_indices(samples, slow, shards)

    def slowly(number):
        # its first edit takes as long as all that others can do
        if number == own[0] and shards > 1:
            until(lambda: all(image(folder, i).exists() for i in range(samples) if i != number))

    jobs = [started(slow, shards, slowly, folder)]
    until(lambda: begun(folder, own[0]))
    jobs += [started(k, shards, folder=folder) for k in range(slow)]
    assert [job.end() for job in jobs] == [0] * shards
    for shard in range(shards):
        part = plan.shard_indices(samples, shard, shards)
        found = written(folder, shard, shards)
        assert [record.id for record in found] == [f"s{i}" for i in part]
        for index, record in zip(part, found, strict=True):
            same = expected[record.id]
            assert (record.key, record.seed) == (same.key, same.seed)
            assert record.pixels_sha256 == same.pixels_sha256
            # each is edited once, and its record says by which device
            (maker,) = begun(folder, index)
            assert (record.shard, record.device) == (maker, f"cpu{maker}")
            assert (record.status, record.wait_seconds) == ("ok", 0.0)
            # a shard that begins late may find that others have done its part
            assert not record.cached or shard != slow
            if shard == slow and shards > 1:
                assert (maker == slow) == (index == own[0])
    # the report's figures are those of devices, whoever's the samples were
    found = drift.measure((r for k in range(shards) for r in written(folder, k, shards)), 0.1)
    makers = [f"cpu{begun(folder, i)[0]}" for i in range(samples)]
    work = [block["device"] for block in found["timeline"] if block["kind"] == "work"]
    assert (found["edits"], found["cost"]["total"]) == (samples, 0)
    assert sorted(work) == sorted(makers)
    # each counts the waves of its own, and the slow one never gets beyond its first
    waves = [(block["device"], block["wave"]) for block in found["timeline"]]
    assert len(set(waves)) == len(waves)
    if shards > 1:
        assert makers.count(f"cpu{slow}") == 1
        assert found["largest_drift"] >= (samples - 1) // (shards - 1) - 1


def test_no_two_edit_the_same_sample_however_many_are_free(tmp_path, started):
    samples, shards = 120, 4
    manifest(tmp_path, samples)
    owner = started(0, shards, lambda number: until(lambda: number or (tmp_path / "go").exists()))
    until(lambda: begun(tmp_path, 0))
    # thirty of their own, then all of the first one's at once
    assert [job.end() for job in [started(k, shards) for k in range(1, shards)]] == [0] * 3
    (tmp_path / "go").touch()
    assert owner.end() == 0
    assert [len(begun(tmp_path, i)) for i in range(samples)] == [1] * samples
    assert [r.status for r in written(tmp_path, 0, shards)] == ["ok"] * 30


def test_a_second_run_finds_all_in_the_cache(tmp_path):
    manifest(tmp_path, 4)
    first = edit(tmp_path, 0, 1)
    assert [r.cached for r in first] == [False] * 4
    again = edit(tmp_path, 0, 1)
    assert again == [record.model_copy(update={"cached": True}) for record in first]
    assert [begun(tmp_path, i) for i in range(4)] == [[0]] * 4


def test_a_thief_killed_in_mid_edit_costs_that_edit(tmp_path, started):
    manifest(tmp_path, 6)

    def wait_for_the_thief(number):
        if number == 0:
            until(lambda: (tmp_path / "go").exists())

    owner = started(0, 2, wait_for_the_thief)
    until(lambda: begun(tmp_path, 0))
    thief = started(1, 2, hold(2))
    # it has done its own part and the owner's last sample, and edits the one before
    until(lambda: begun(tmp_path, 2) and image(tmp_path, 4).exists())
    thief.kill()
    (tmp_path / "go").touch()
    assert owner.end() == 0
    found = written(tmp_path, 0, 2)
    assert [(r.id, r.status, r.shard) for r in found] == [
        ("s0", "ok", 0),
        ("s2", "ok", 0),
        ("s4", "ok", 1),
    ]
    assert [begun(tmp_path, i) for i in (0, 2, 4)] == [[0], [1, 0], [1]]


def test_what_a_thief_has_in_hand_is_waited_for_and_taken_over_when_it_dies(tmp_path, started):
    manifest(tmp_path, 4)
    owner = started(0, 2, lambda number: until(lambda: number or begun(tmp_path, 2)))
    until(lambda: begun(tmp_path, 0))
    thief = started(1, 2, hold(2))
    until(lambda: image(tmp_path, 0).exists())
    time.sleep(1)
    # the owner has nothing else to do, and neither edits it as well nor leaves
    assert begun(tmp_path, 2) == [1]
    assert not list((tmp_path / "physical").glob("edits/*"))
    thief.kill()
    assert owner.end() == 0
    assert [(r.status, r.shard) for r in written(tmp_path, 0, 2)] == [("ok", 0)] * 2
    assert begun(tmp_path, 2) == [1, 0]


def test_a_shard_ends_as_soon_as_all_of_its_own_is_saved(tmp_path, started):
    manifest(tmp_path, 9)
    owner = started(0, 3, lambda number: until(lambda: number or begun(tmp_path, 5)))
    until(lambda: begun(tmp_path, 0))
    # it takes the last of the third shard, then the owner's last, and does not end the next one
    started(1, 3, hold(5))
    assert owner.end() == 0
    makers = [0, 1, 0, 0, 1, 1, 1, 1, 1]
    assert [begun(tmp_path, i) for i in range(9)] == [[maker] for maker in makers]
    found = [(r.id, r.shard, r.cached) for r in written(tmp_path, 0, 3)]
    assert found == [("s0", 0, False), ("s3", 0, False), ("s6", 1, False)]


def test_an_owner_killed_in_mid_edit_costs_that_edit(tmp_path, started):
    manifest(tmp_path, 6)
    owner = started(0, 2, hold(0))
    until(lambda: begun(tmp_path, 0))
    owner.kill()
    assert started(1, 2).end() == 0
    # what the owner had in hand is its own to do again
    assert [begun(tmp_path, i) for i in range(6)] == [[0], [1], [1], [1], [1], [1]]
    found = edit(tmp_path, 0, 2)
    assert [(r.status, r.shard, r.cached) for r in found] == [
        ("ok", 0, False),
        ("ok", 1, True),
        ("ok", 1, True),
    ]
    assert [begun(tmp_path, i) for i in range(6)] == [[0, 0], [1], [1], [1], [1], [1]]


@pytest.mark.parametrize(("error", "status"), [(EditError, "edit_failed"), (SkipError, "skipped")])
def test_a_taken_sample_that_fails_is_in_its_owners_record_and_not_tried_again(
    tmp_path, started, error, status
):
    manifest(tmp_path, 6)

    def fail(number):
        if number == 3:
            raise error("not this one")

    owner = started(0, 3, lambda number: until(lambda: number or (tmp_path / "go").exists()))
    until(lambda: begun(tmp_path, 0))
    # both have done their own and would take it
    assert [job.end() for job in [started(k, 3, fail) for k in (1, 2)]] == [0, 0]
    (tmp_path / "go").touch()
    assert owner.end() == 0
    (thief,) = begun(tmp_path, 3)
    first, record = written(tmp_path, 0, 3)
    assert (first.status, first.shard) == ("ok", 0)
    assert (record.status, record.error, record.image) == (status, "not this one", None)
    assert (record.id, record.shard, record.device) == ("s3", thief, f"cpu{thief}")


def test_failures_of_a_shard_that_died_are_tried_again(tmp_path, started):
    manifest(tmp_path, 6)

    def sick(number):
        if number == 4:
            raise EditError("sick")
        hold(2)(number)

    owner = started(0, 2, lambda number: until(lambda: number or (tmp_path / "go").exists()))
    until(lambda: begun(tmp_path, 0))
    thief = started(1, 2, sick)
    until(lambda: begun(tmp_path, 2))
    thief.kill()
    (tmp_path / "go").touch()
    assert owner.end() == 0
    assert [(r.status, r.shard) for r in written(tmp_path, 0, 2)] == [("ok", 0)] * 3
    assert [begun(tmp_path, i) for i in (0, 2, 4)] == [[0], [1, 0], [1, 0]]


def test_a_shard_that_has_not_begun_has_its_samples_done_and_loads_nothing(tmp_path):
    manifest(tmp_path, 5)
    assert [r.id for r in edit(tmp_path, 0, 2)] == ["s0", "s2", "s4"]
    assert [begun(tmp_path, i) for i in range(5)] == [[0]] * 5
    with mock.patch.object(IdentitySettings, "load", side_effect=AssertionError):
        found = edit_without_model(tmp_path, 1, 2)
    assert [(r.id, r.shard, r.cached) for r in found] == [("s1", 0, True), ("s3", 0, True)]


def edit_without_model(folder, shard, shards):
    settings = DeviceSettings(accelerator="cpu", schedule="queue")
    devices = [Device("cpu", str(k)) for k in range(shards)]
    job = editing_shard.Shard(shard, devices, slots=shards, run="run")
    with open("/dev/null", "w") as nowhere:
        given = (EDITOR, folder / "physical.jsonl", folder / "physical", job, nowhere)
        editing_shard.edit_shard(*given, seed=0, settings=settings)
    return written(folder, shard, shards)


def test_on_a_cluster_a_shard_that_has_not_begun_keeps_its_samples(tmp_path):
    manifest(tmp_path, 4)
    edit(tmp_path, 0, 2, label="node:gpu")
    assert [begun(tmp_path, i) for i in range(4)] == [[0], [], [0], []]


@pytest.mark.parametrize("state", [{"host": "elsewhere"}, {"done": True}])
def test_samples_of_a_shard_on_another_host_or_at_its_end_are_not_taken(tmp_path, state):
    manifest(tmp_path, 4)
    waves = tmp_path / "physical" / "waves"
    with Barrier(waves, 1, 2, "run", [0, 1], 2):
        path = waves / "shard-1-of-2.json"
        records.write_json(path, {**records.read_json(path), **state})
        edit(tmp_path, 0, 2)
    assert [begun(tmp_path, i) for i in range(4)] == [[0], [], [0], []]


def test_a_shard_that_ended_badly_has_its_samples_done(tmp_path, started):
    manifest(tmp_path, 4)

    def gone(number):
        raise DeviceError("gone")

    assert started(1, 2, gone).end() == 1
    edit(tmp_path, 0, 2)
    # that the device failed at belongs to the next try of its shard
    assert [begun(tmp_path, i) for i in range(4)] == [[0], [1], [0], [0]]
    assert [r.status for r in edit(tmp_path, 1, 2)] == ["ok", "ok"]


def test_an_image_with_the_right_key_and_other_pixels_is_made_again(tmp_path):
    manifest(tmp_path, 2)
    first = edit(tmp_path, 0, 1)
    path = image(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-20])
    again = edit(tmp_path, 0, 1)
    assert [r.cached for r in again] == [True, False]
    assert again[1].pixels_sha256 == first[1].pixels_sha256
    assert records.read_provenance(path)["key"] == first[1].key


def test_an_image_of_other_settings_does_not_pass_for_one_that_another_shard_made(tmp_path):
    manifest(tmp_path, 2)
    image(tmp_path, 1).parent.mkdir(parents=True)
    records.save_edit(image(tmp_path, 1), Image.new("RGB", (4, 4)), {"key": "another"})
    assert [r.cached for r in edit(tmp_path, 0, 2)] == [False]
    assert begun(tmp_path, 1) == [0]


def test_who_was_stopped_while_it_chose_keeps_nobody_for_ever(tmp_path, started):
    manifest(tmp_path, 2)
    # another process that holds the lock and does not go on
    (tmp_path / "physical" / "waves").mkdir(parents=True)
    with (
        mock.patch("lockstep.editing.order.PATIENCE", 0.1),
        open(tmp_path / "physical" / "waves" / "queue.lock", "w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [r.status for r in edit(tmp_path, 0, 1)] == ["ok", "ok"]


def test_a_thief_prepares_what_no_other_is_about_to_edit(tmp_path):
    """While it edits; two that look at the same shard's end prepare different samples."""
    manifest(tmp_path, 8)
    prepared = []
    waves = tmp_path / "physical" / "waves"

    class Preparing(Editor):
        def prepare(self, sample):
            prepared.append(sample.index)

    following = {0: 2, 2: 4, 4: 6, 6: 5, 5: 3, 3: 7}

    def wait_for_the_next(number):
        if number in following:
            until(lambda: following[number] in prepared)

    with Barrier(waves, 1, 2, "run", [0, 1], 2) as peer:
        # the other shard is about to edit its last
        peer.publish(next="s7", front=1)
        with mock.patch(f"{__name__}.Editor", Preparing):
            edit(tmp_path, 0, 2, wait_for_the_next)
    assert prepared == [0, 2, 4, 6, 5, 3, 7]
    assert Path(tmp_path / "begun-7").exists()
