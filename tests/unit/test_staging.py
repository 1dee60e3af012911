"""Copies of model folders on a node's own disk."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lockstep import records
from lockstep.config.cluster import ClusterSettings
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.models import fingerprints, staging


@pytest.fixture
def editor(tmp_path):
    model = tmp_path / "shared" / "model"
    (model / "part").mkdir(parents=True)
    (model / "part" / "weights.safetensors").write_bytes(b"one")
    (model / "link.json").symlink_to(model / "part" / "weights.safetensors")
    return DiffusersSettings(name="e", type="diffusers", model=str(model))


def cluster(folder):
    return ClusterSettings(shards=2, node_local=str(folder))


def test_the_jobs_of_a_node_make_one_copy(editor, tmp_path, monkeypatch):
    made = []

    def copy_folder(source, target, copy=records.copy_folder):
        made.append(target)
        time.sleep(0.05)
        copy(source, target)

    monkeypatch.setattr("lockstep.records.copy_folder", copy_folder)
    monkeypatch.setenv("JOB", "17")
    with ThreadPoolExecutor(4) as pool:
        given = cluster(tmp_path / "scratch-${JOB}")
        near = set(pool.map(lambda _: staging.nearby(editor, given.node_local).model, range(4)))
    (copy,) = map(Path, near)
    assert len(made) == 1
    assert copy.parent == tmp_path / "scratch-17"
    assert (copy / "link.json").read_bytes() == b"one"
    assert not (copy / "link.json").is_symlink()


def test_another_model_at_the_same_place_is_another_copy(editor, tmp_path):
    before = staging.nearby(editor, str(tmp_path / "scratch")).model
    weights = Path(editor.model) / "part" / "weights.safetensors"
    weights.write_bytes(b"two")
    os.utime(weights, ns=(1, 1))
    # each job looks at the files once
    fingerprints.folder_state.cache_clear()
    after = staging.nearby(editor, str(tmp_path / "scratch")).model
    assert (Path(before) / "link.json").read_bytes() == b"one"
    assert (Path(after) / "link.json").read_bytes() == b"two"


def test_parts_that_lie_elsewhere_are_copied_too(editor, tmp_path):
    part = str(Path(editor.model) / "part")
    whole = editor.model_copy(update={"components": {"text_encoder": part, "vae": None}})
    near = staging.nearby(whole, str(tmp_path / "scratch")).components
    assert Path(near["text_encoder"]).parent == tmp_path / "scratch"
    assert (Path(near["text_encoder"]) / "weights.safetensors").read_bytes() == b"one"
    assert near["vae"] is None


def test_a_disk_that_cannot_take_it_leaves_the_original(editor, tmp_path, caplog):
    (tmp_path / "scratch").write_text("no folder")
    assert staging.nearby(editor, str(tmp_path / "scratch")) == editor
    assert "no copy on this node" in caplog.text


def test_hub_ids_and_configurations_without_the_key_stay(editor, tmp_path):
    hub = DiffusersSettings(name="e", type="diffusers", model="owner/name")
    assert staging.nearby(hub, str(tmp_path / "scratch")) == hub
    assert staging.nearby(editor, None) is editor
    assert not (tmp_path / "scratch").exists()
