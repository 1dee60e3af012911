"""Preparing, editing and saving beside each other: what overlaps, and what no failure can lose."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager
from unittest import mock

import pytest
from PIL import Image

from lockstep import records
from lockstep.editing.background import background
from lockstep.editing.waves import Barrier
from lockstep.editors.identity import IdentitySettings
from lockstep.errors import DeviceError, EditError, SharedError
from lockstep.jobs.joblog import job_log
from lockstep.records import EditRecord
from tests.conftest import make_sample
from tests.unit.test_editing import EDITOR, edit, manifest

SOON = 20
"""Seconds after which a test gives up on what happens in another thread."""


class FakeEditor:
    """Writes down what it is asked for, and does as told before it answers."""

    def __init__(self, prepare=lambda number: None, edit=lambda number: None):
        self.calls = []
        self._prepare, self._edit = prepare, edit

    def prepare(self, sample):
        self.calls.append(("prepare", sample.index))
        self._prepare(sample.index)
        return f"prepared {sample.index}"

    def edit(self, prepared, sample, seed):
        assert prepared == f"prepared {sample.index}"
        self.calls.append(("edit", sample.index))
        self._edit(sample.index)
        return Image.new("RGB", (40, 20), (sample.index, 0, 0))


@contextmanager
def running(editor, before_save=lambda number: None):
    """Let jobs load this editor, and do as told before an image is written."""
    save = records.save_edit

    def slow_save(path, image, provenance):
        before_save(image.getpixel((0, 0))[0])
        return save(path, image, provenance)

    with (
        mock.patch.object(IdentitySettings, "load", return_value=editor),
        mock.patch("lockstep.records.save_edit", slow_save),
    ):
        yield


def saved(folder):
    """Return the numbers of the samples whose edits are there and whole."""
    paths = (folder / "physical" / "images").glob("*.png")
    return sorted(int(path.stem[1:]) for path in paths if records.read_provenance(path))


def wait_for(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- what overlaps ---------------------------------------------------------------------------


def test_the_next_sample_is_prepared_while_the_device_edits_and_no_further_one(tmp_path):
    manifest(tmp_path, 4)
    ahead = []

    def during(number):
        if number < 3:
            wait_for(lambda: ("prepare", number + 1) in editor.calls)
        time.sleep(0.05)
        ahead.append([n for kind, n in editor.calls if kind == "prepare"])

    editor = FakeEditor(edit=during)
    with running(editor):
        edit(tmp_path)
    assert ahead == [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_only_what_is_not_in_the_cache_is_prepared(tmp_path):
    manifest(tmp_path, 6)
    edit(tmp_path)
    for number in (1, 4):
        (tmp_path / "physical" / "images" / f"s{number}.png").unlink()
    editor = FakeEditor()
    with running(editor):
        found = edit(tmp_path)
    assert sorted(editor.calls) == [("edit", 1), ("edit", 4), ("prepare", 1), ("prepare", 4)]
    assert [r.cached for r in found] == [True, False, True, True, False, True]
    assert [r.id for r in found] == [f"s{i}" for i in range(6)]


def test_an_image_is_saved_while_the_device_edits_and_only_one_waits_for_it(tmp_path):
    manifest(tmp_path, 4)
    editor = FakeEditor()
    edits = []

    def during(number):
        if number == 0:
            # its saving ends only once the next edit is done, and no third one has begun
            wait_for(lambda: ("edit", 1) in editor.calls)
            time.sleep(0.2)
            edits.extend(n for kind, n in editor.calls if kind == "edit")

    with running(editor, during):
        found = edit(tmp_path)
    assert edits == [0, 1]
    assert [record.id for record in found] == ["s0", "s1", "s2", "s3"]
    assert saved(tmp_path) == [0, 1, 2, 3]


def test_a_wave_is_finished_when_its_edit_is_not_its_saving(tmp_path):
    manifest(tmp_path, 2)
    finished = []
    finish = Barrier.finish

    def note(self, wave, seconds):
        finish(self, wave, seconds)
        finished.append(wave)

    with (
        mock.patch.object(Barrier, "finish", note),
        running(FakeEditor(), lambda number: wait_for(lambda: number in finished)),
    ):
        assert len(edit(tmp_path)) == 2


def test_no_record_is_written_before_all_images_are(tmp_path):
    manifest(tmp_path, 3)
    written = []
    write = records.write_records

    def note(path, given):
        written.extend(saved(tmp_path))
        write(path, given)

    with (
        running(FakeEditor(), lambda number: time.sleep(0.1)),
        mock.patch("lockstep.records.write_records", note),
    ):
        edit(tmp_path)
    assert written == [0, 1, 2]


def test_times_say_what_took_the_device_and_what_kept_it_waiting(tmp_path):
    manifest(tmp_path, 3)
    slow = FakeEditor(
        prepare=lambda number: time.sleep(0.6 if number == 0 else 0),
        edit=lambda number: time.sleep(0.15),
    )
    with running(slow, lambda number: time.sleep(1.2 if number == 0 else 0)):
        found = edit(tmp_path)
    assert all(0.15 <= record.edit_seconds < 0.55 for record in found)
    # it is prepared from a moment before the device is free
    assert found[0].stall_seconds >= 0.5
    assert found[1].stall_seconds < 0.4
    # the second image could not be handed over before the first was saved
    assert found[2].stall_seconds >= 0.6


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(EditError("too long"), "too long"), (ValueError("what?"), "ValueError: what?")],
)
@pytest.mark.parametrize("stage", ["prepare", "edit"])
def test_a_sample_that_cannot_be_prepared_or_edited_fails_alone(tmp_path, stage, error, sentence):
    manifest(tmp_path, 5)

    def fail(number):
        if number in (1, 4):
            raise error

    with running(FakeEditor(**{stage: fail})):
        found = edit(tmp_path)
    assert [r.status for r in found] == ["ok", "edit_failed", "ok", "ok", "edit_failed"]
    assert [r.error for r in found] == [None, sentence, None, None, sentence]
    assert saved(tmp_path) == [0, 2, 3]


@pytest.mark.parametrize("stage", ["prepare", "edit"])
@pytest.mark.parametrize("error", [DeviceError("gone"), SharedError("all"), KeyboardInterrupt()])
def test_what_ends_a_job_waits_for_the_image_that_is_being_saved(tmp_path, stage, error):
    manifest(tmp_path, 4)
    begun = threading.Event()

    def fail(number):
        if number == 2:
            if stage == "edit":
                assert begun.wait(SOON)
            raise error

    def slow(number):
        if number == 1:
            begun.set()
            time.sleep(0.5)

    with running(FakeEditor(**{stage: fail}), slow), pytest.raises(type(error)):
        edit(tmp_path)
    assert saved(tmp_path) == [0, 1]
    assert not list(tmp_path.glob("physical/edits/*"))
    with running(FakeEditor()):
        assert [r.cached for r in edit(tmp_path)] == [True, True, False, False]


def test_an_image_that_cannot_be_saved_ends_the_job_before_another_edit(tmp_path):
    manifest(tmp_path, 6)
    failed = threading.Event()

    def full(number):
        if number == 1:
            failed.set()
            raise OSError(28, "No space left on device")

    def at_the_barrier(self, wave):
        if wave == 2:
            assert failed.wait(SOON)
            time.sleep(0.2)
        return 0.0

    editor = FakeEditor()
    with (
        running(editor, full),
        mock.patch.object(Barrier, "wait", at_the_barrier),
        pytest.raises(OSError, match="No space left"),
    ):
        edit(tmp_path)
    assert [n for kind, n in editor.calls if kind == "edit"] == [0, 1]
    assert saved(tmp_path) == [0]
    assert not list(tmp_path.glob("physical/edits/*"))
    with running(FakeEditor()):
        assert [r.cached for r in edit(tmp_path)] == [True] + [False] * 5


def test_the_last_image_that_cannot_be_saved_ends_the_job_too(tmp_path):
    manifest(tmp_path, 3)

    def full(number):
        if number == 2:
            raise OSError(28, "No space left on device")

    with running(FakeEditor(), full), pytest.raises(OSError, match="No space left"):
        edit(tmp_path)
    assert saved(tmp_path) == [0, 1]
    assert not list(tmp_path.glob("physical/edits/*"))


def job(folder, ready):
    """Edit in a process of its own, whose second image takes long to save."""
    editor = FakeEditor(edit=lambda number: time.sleep(SOON if number == 2 else 0))

    def slow(number):
        if number == 1:
            # the device is busy with the third meanwhile
            wait_for(lambda: ("edit", 2) in editor.calls)
            ready.set()
            time.sleep(0.5)

    # what a shell starts in the background is told to ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with job_log(folder / "job.log"), running(editor, slow):
        edit(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_costs_the_edit_in_hand_and_only_a_kill_the_image_being_saved(tmp_path, number):
    manifest(tmp_path, 4)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=job, args=(tmp_path, ready), daemon=True)
    process.start()
    assert ready.wait(3 * SOON)
    os.kill(process.pid, number)
    process.join(3 * SOON)
    assert process.exitcode not in (0, None)
    kept = [0] if number == signal.SIGKILL else [0, 1]
    assert saved(tmp_path) == kept
    # no half file passes for an image
    assert len(list((tmp_path / "physical" / "images").glob("*.png"))) == len(kept)
    assert not list(tmp_path.glob("physical/edits/*"))
    with running(FakeEditor()):
        assert [r.cached for r in edit(tmp_path)] == [i in kept for i in range(4)]
    assert not list((tmp_path / "physical" / "images").glob(".*"))


# --- sizes and backgrounds -------------------------------------------------------------------


def tall(folder):
    """Make the source one that a viewer turns: stored 96×64, shown 64×96."""
    manifest(folder, 2)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(folder / "a-source.png") as image:
        image.save(folder / "a-source.png", exif=exif)


def test_an_image_has_the_size_that_the_policy_says_and_its_record_says_how(tmp_path):
    tall(tmp_path)
    with running(FakeEditor()):
        (native, _) = edit(tmp_path)
        assert (native.width, native.height, native.size) == (40, 20, "native")
        assert native.resize_filter is None
        found = {}
        for resize_filter in ("lanczos", "nearest"):
            policy = {"size": "source", "resize_filter": resize_filter}
            (record, _) = edit(tmp_path, editor=EDITOR.model_copy(update=policy))
            assert (record.width, record.height) == (64, 96)
            assert (record.native_width, record.native_height) == (40, 20)
            assert (record.size, record.resize_filter) == ("source", resize_filter)
            found[record.key] = record
        assert len({native.key, *found}) == 3
    path = tmp_path / "physical" / record.image
    provenance = records.read_provenance(path)
    assert provenance["editor"]["size_policy"] == "source"
    assert provenance["editor"]["resize_filter"] == "nearest"
    with Image.open(path) as image:
        assert image.size == (64, 96)
        assert records.pixels_sha256(image) == record.pixels_sha256 == provenance["pixels_sha256"]


def test_a_filter_that_is_not_used_redoes_nothing(tmp_path):
    manifest(tmp_path, 2)
    edit(tmp_path)
    other = EDITOR.model_copy(update={"resize_filter": "box"})
    assert [record.cached for record in edit(tmp_path, editor=other)] == [True, True]


def test_another_background_redoes_transparent_images_only(tmp_path):
    make_sample(tmp_path)
    clear = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    source = make_sample(tmp_path)

    def run(background):
        opaque = {"id": "s0", "image": "a-source.png", "background": background}
        through = {"id": "s1", "image": "clear.png", "transparent": True, "index": 1}
        samples = [
            source.model_copy(update=opaque),
            source.model_copy(update={**opaque, **through}),
        ]
        records.write_records(tmp_path / "physical.jsonl", samples)
        return edit(tmp_path)

    run("#ffffff")
    found = run("#00ff00")
    assert [record.cached for record in found] == [True, False]
    assert [record.background for record in found] == [None, "#00ff00"]
    with Image.open(tmp_path / "physical" / found[1].image) as image:
        assert image.getpixel((0, 0)) == (0, 255, 0)
    assert (
        records.read_provenance(tmp_path / "physical" / found[1].image)["background"] == "#00ff00"
    )


# --- threads ---------------------------------------------------------------------------------


def test_calls_are_taken_one_after_the_other_and_raise_where_they_are_asked_for():
    done = []

    def call(number):
        if number == 2:
            raise KeyError(number)
        done.append(number)
        return number

    with background("test", patience=SOON) as submit:
        futures = [submit(lambda number=number: call(number)) for number in range(4)]
    assert done == [0, 1, 3]
    assert [future.exception() is None for future in futures] == [True, True, False, True]
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_what_takes_too_long_is_not_waited_for():
    release = threading.Event()
    # else a test that fails would never end
    timer = threading.Timer(120, release.set)
    timer.start()
    with background("test", patience=0.1) as submit:
        submit(release.wait)
    assert not release.is_set()
    timer.cancel()
    release.set()


def test_cached_records_are_those_of_the_first_edit(tmp_path):
    manifest(tmp_path, 2)
    with running(FakeEditor()):
        first = edit(tmp_path)
    again = records.read_records(tmp_path / "physical/edits/shard-0-of-1.jsonl", EditRecord)
    assert first == again
    assert edit(tmp_path) == [record.model_copy(update={"cached": True}) for record in first]
