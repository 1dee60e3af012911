"""The edit job: the cache, and failures that peers must not wait for."""

import multiprocessing
import shutil
import time
from typing import ClassVar
from unittest import mock

import pytest
from PIL import Image

from lockstep import plan, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editing import shard as editing_shard
from lockstep.editing.waves import Barrier
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.identity import IdentitySettings
from lockstep.editors.precomputed import PrecomputedEditorSettings
from lockstep.errors import ConfigError, DeviceError
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.models import fingerprints
from lockstep.records import EditRecord
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import replies
from lockstep.scoring import shard as scoring_shard
from tests.conftest import ROOT, make_sample

PROCESSES = multiprocessing.get_context("fork")
EDITOR = IdentitySettings(name="control", type="identity")


def manifest(folder, count):
    source = make_sample(folder)
    samples = [
        source.model_copy(update={"id": f"s{i}", "image": "a-source.png", "index": i})
        for i in range(count)
    ]
    records.write_records(folder / "physical.jsonl", samples)
    return folder / "physical.jsonl"


def edit(folder, shard=0, shards=1, run="run", editor=EDITOR, **devices):
    settings = DeviceSettings(accelerator="cpu", **devices)
    slots = [Device("cpu", str(k)) for k in range(shards)]
    job = editing_shard.Shard(shard, slots, slots=shards, run=run)
    with open("/dev/null", "w") as nowhere:
        editing_shard.edit_shard(
            editor,
            folder / "physical.jsonl",
            folder / "physical",
            job,
            nowhere,
            seed=0,
            settings=settings,
        )
    path = folder / "physical" / "edits" / plan.shard_file(shard, shards)
    return records.read_records(path, EditRecord)


def test_an_edit_is_kept_under_its_key_and_says_what_made_it(tmp_path):
    manifest(tmp_path, 2)
    first = edit(tmp_path)
    assert [record.cached for record in first] == [False, False]
    again = edit(tmp_path, run="later")
    assert [record.cached for record in again] == [True, True]
    assert again == [record.model_copy(update={"cached": True}) for record in first]
    provenance = records.read_provenance(tmp_path / "physical" / first[0].image)
    assert provenance["instruction"] == "Let go of the ball."
    assert provenance["editor"]["type"] == "identity"
    assert provenance["versions"]["pillow"]


class Elsewhere(IdentitySettings):
    elsewhere: ClassVar[bool] = True


def test_software_that_did_not_edit_does_not_stand_in_records(tmp_path):
    manifest(tmp_path, 1)
    (record,) = edit(tmp_path, editor=Elsewhere(name="control", type="identity"))
    assert record.versions == {}


def test_a_model_whose_files_changed_while_it_was_loaded_edits_nothing(models, tmp_path):
    manifest(tmp_path, 1)
    model = shutil.copytree(models / "editor", tmp_path / "model")
    given = DiffusersSettings(name="e", type="diffusers", model=str(model), dtype="float32")
    fingerprints.folder_hashes.cache_clear()

    def load(*_):
        (model / "scheduler" / "scheduler_config.json").write_text("{}")
        return mock.Mock()

    changed = r"model/scheduler/scheduler_config.json changed during the run, run it again"
    with mock.patch.object(DiffusersSettings, "load", load), pytest.raises(ConfigError) as error:
        edit(tmp_path, editor=given)
    assert str(error.value).endswith(changed)


def test_records_of_another_number_of_shards_are_forgotten(tmp_path):
    manifest(tmp_path, 3)
    edit(tmp_path)
    edit(tmp_path, 0, 2, enable_batch_sync=False)
    left = sorted(path.name for path in (tmp_path / "physical").glob("*/*.jsonl"))
    assert left == ["shard-0-of-2.jsonl"]


def test_an_image_of_another_edit_is_not_judged(tmp_path):
    manifest(tmp_path, 1)
    (record,) = edit(tmp_path)
    path = tmp_path / "physical" / record.image
    (sample,) = records.read_manifest(tmp_path / "physical.jsonl")
    rubric = read_rubric(ROOT / "config/rubrics/physical.yaml")
    judge = Qwen3VLSettings(type="qwen3_vl", model="a/b")
    job = replies.Judging(judge, {}, rubric, "e")

    def wanted():
        return scoring_shard._wanted(record, [sample], 0, job, tmp_path / "physical", 0)

    assert len(wanted().items) == 1
    records.save_edit(path, Image.new("RGB", (4, 4)), {"key": "another"})
    found = wanted()
    assert (found.items, found.record.status, found.record.score) == ([], "missing", None)
    assert "found another edit" in found.record.error
    path.write_bytes(path.read_bytes()[:50])
    assert "found no complete edit" in wanted().record.error


def test_a_disk_that_takes_no_image_ends_the_job_and_fails_no_sample(tmp_path):
    manifest(tmp_path, 2)
    full = OSError(28, "No space left on device")
    with (
        mock.patch("lockstep.records.save_edit", side_effect=full),
        pytest.raises(OSError, match="No space left"),
    ):
        edit(tmp_path)
    assert not list((tmp_path / "physical").glob("edits/*"))


def test_a_failed_edit_leaves_no_image_behind(tmp_path):
    manifest(tmp_path, 1)
    edit(tmp_path)
    broken = PrecomputedEditorSettings(name="p", type="precomputed", folder=str(tmp_path))
    (record,) = edit(tmp_path, editor=broken)
    assert (record.status, record.image) == ("edit_failed", None)
    assert not list((tmp_path / "physical" / "images").iterdir())


def test_what_an_orphan_finishes_meanwhile_is_not_done_again(tmp_path):
    orphan, own = tmp_path / "orphan", tmp_path / "own"
    for folder in (orphan, own):
        folder.mkdir()
        manifest(folder, 3)
    edit(orphan)
    with Barrier(own / "physical" / "waves", 0, 1, "earlier", [0], 1):
        # a forked process would inherit the lock that it waits for
        late = multiprocessing.get_context("spawn").Process(target=edit, args=(own,), daemon=True)
        late.start()
        time.sleep(3)
        assert late.is_alive()
        shutil.copytree(orphan / "physical" / "images", own / "physical" / "images")
    late.join(20)
    found = records.read_records(own / "physical/edits/shard-0-of-1.jsonl", EditRecord)
    assert [record.cached for record in found] == [True] * 3


def test_a_shard_that_cannot_have_its_device_is_not_waited_for(tmp_path):
    manifest(tmp_path, 6)

    def fails():
        with (
            mock.patch.object(IdentitySettings, "on_device", True),
            mock.patch("lockstep.devices.pinning.pin", side_effect=DeviceError("in use")),
        ):
            edit(tmp_path, 1, 2, join_timeout=600)

    broken = PROCESSES.Process(target=fails)
    broken.start()
    began = time.monotonic()
    assert len(edit(tmp_path, 0, 2, join_timeout=600)) == 3
    assert time.monotonic() - began < 300
    broken.join()
    assert broken.exitcode == 1


def test_a_shard_without_a_sample_is_not_waited_for(tmp_path):
    manifest(tmp_path, 1)
    began = time.monotonic()
    assert len(edit(tmp_path, 0, 2, join_timeout=600)) == 1
    assert time.monotonic() - began < 300
