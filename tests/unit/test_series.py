"""Checkpoints of a training run: found, named by their steps, and edited with one after another."""

import hashlib
import logging
import os
import shutil

import pytest
import torch

from lockstep.config import series as found
from lockstep.config.load import load_config, of_job
from lockstep.editors import keys
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers import series as changing
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.errors import ConfigError
from lockstep.jobs.run import model_key
from tests import tiny_editors
from tests.conftest import ROOT

STEPS = ("050", "100", "200")


@pytest.fixture(scope="module")
def checkpoints(models, tmp_path_factory):
    """Folder with three LoRA files, the last of more layers' changes than the others."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed, step in enumerate(STEPS):
        path = folder / f"step-{step}.safetensors"
        tiny_editors.make_adapter(path, models / "editor", rank=2 + seed, seed=seed)
    return folder


@pytest.fixture
def folder(checkpoints, tmp_path, monkeypatch):
    """A copy of them in a working folder; what a run finds is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(found.FOUND, "{}")
    return shutil.copytree(checkpoints, tmp_path / "ckpts")


def config(models, pattern="ckpts/step-*.safetensors", **given):
    editor = {"name": "run", "type": "diffusers", "model": str(models / "editor"), **given}
    return {
        "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
        "editors": [{"name": "control", "type": "identity"}, {**editor, "checkpoints": pattern}],
        "judge": {
            "type": "qwen3_vl",
            "model": "Qwen/Qwen3-VL-8B-Instruct",
            "rubrics": str(ROOT / "config" / "rubrics"),
        },
    }


def names(settings):
    return [editor.name for editor in settings.editors]


def test_a_series_is_an_editor_for_each_checkpoint_in_the_order_of_their_steps(models, folder):
    (folder / "step-200.safetensors").rename(folder / "step-1000.safetensors")
    own = {"path": str(folder / "step-050.safetensors"), "weight": 0.5}
    settings = load_config(config(models, adapters=[own]), "c.yaml")
    assert names(settings) == ["control", "run-050", "run-100", "run-1000"]
    assert settings.series == {"run": ["run-050", "run-100", "run-1000"]}
    last = settings.editors[-1]
    assert last.series.step == 1000
    assert [(adapter.path, adapter.weight) for adapter in last.adapters] == [
        (own["path"], 0.5),
        ("ckpts/step-1000.safetensors", 1.0),
    ]


def test_a_checkpoint_has_the_key_of_the_same_editor_without_a_series(models, folder, sample):
    member = load_config(config(models), "c.yaml").editors[1]
    alone = DiffusersSettings(
        name="other",
        type="diffusers",
        model=str(models / "editor"),
        adapters=[{"path": str(folder / "step-050.safetensors")}],
    )
    assert keys.identity(member, sample) == keys.identity(alone, sample)


def test_folders_are_checkpoints_and_a_whole_model_takes_the_place_of_the_base(models, folder):
    (folder / "checkpoint-5").mkdir()
    (folder / "step-050.safetensors").rename(folder / "checkpoint-5" / "lora.safetensors")
    (folder / "checkpoint-6").symlink_to(models / "plus")
    first, second = load_config(config(models, "ckpts/checkpoint-*/"), "c.yaml").editors[1:]
    assert (first.model, first.adapters[0].path) == (str(models / "editor"), "ckpts/checkpoint-5")
    assert (second.model, second.adapters) == ("ckpts/checkpoint-6", ())
    # a file below a folder of a step has that step
    settings = load_config(config(models, "ckpts/*-5/lora.safetensors"), "c.yaml")
    assert names(settings) == ["control", "run-5"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def begun(path):
    path.unlink()
    path.mkdir()


def empty(path):
    path.write_bytes(b"")


def piped(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [cut, begun, empty, piped])
def test_a_checkpoint_that_is_being_written_is_left_out_and_named(models, folder, spoil):
    spoil(folder / "step-200.safetensors")
    said = []
    settings = load_config(config(models), "c.yaml", say=said.append)
    assert names(settings) == ["control", "run-050", "run-100"]
    (sentence,) = said
    assert sentence.startswith(
        "checkpoints: left out ckpts/step-200.safetensors, which may still be written: expected "
    )


@pytest.mark.parametrize(
    ("rename", "sentence"),
    [
        ({"050": "step-0100"}, "expected one checkpoint of each step, found ckpts/step-0100"),
        ({"050": "step-last"}, "expected the step's number in 'step-last.safetensors'"),
        (
            {step: f"other-{step}" for step in STEPS},
            "expected a pattern of finished checkpoints, found none at 'ckpts/",
        ),
        ({"050": "step-" + 70 * "0"}, "editors[1].name: expected at most 64 characters"),
    ],
)
def test_a_series_without_clear_steps_is_one_sentence(models, folder, rename, sentence):
    for step, name in rename.items():
        (folder / f"step-{step}.safetensors").rename(folder / f"{name}.safetensors")
    with pytest.raises(ConfigError) as error:
        load_config(config(models), "c.yaml")
    assert sentence in str(error.value)
    assert str(error.value).count("\n") == 0


def test_a_folder_in_the_place_of_a_pattern_is_told_how_to_name_its_files(models, folder):
    with pytest.raises(ConfigError) as error:
        load_config(config(models, "ckpts"), "c.yaml")
    assert "expected a pattern of finished checkpoints, such as 'ckpts/step-*." in str(error.value)


def test_a_mistake_that_all_checkpoints_share_is_said_once_where_it_was_made(models, folder):
    with pytest.raises(ConfigError) as error:
        load_config(config(models, num_inference_steps=0), "c.yaml")
    assert str(error.value) == (
        "c.yaml: editors[1].num_inference_steps: expected greater than 0, found 0"
    )
    data = config(models)
    data["editors"].append({**data["editors"][1], "name": "b", "model": "./nowhere"})
    with pytest.raises(ConfigError, match=r"editors\[2\].model: found no file 'nowhere/model"):
        load_config(data, "c.yaml")


def test_a_name_is_that_of_an_editor_or_of_a_series(models, folder):
    data = config(models)
    data["editors"][0]["name"] = "run"
    with pytest.raises(ConfigError, match="expected each name once, found 'run' twice"):
        load_config(data, "c.yaml")


def test_jobs_take_the_checkpoints_that_their_run_began_with(models, folder):
    data = config(models)
    load_config(data, "c.yaml")
    shutil.copy(folder / "step-200.safetensors", folder / "step-300.safetensors")
    assert names(of_job(data))[-1] == "run-200"
    assert names(load_config(data, "c.yaml"))[-1] == "run-300"


def member(models, checkpoints, step, **given):
    return DiffusersSettings(
        name=f"run-{step}",
        type="diffusers",
        dtype=given.pop("dtype", "float32"),
        model=str(models / given.pop("base", "editor")),
        num_inference_steps=2,
        adapters=[{"path": str(checkpoints / f"step-{step}.safetensors")}],
        series={"name": "run", "step": int(step)},
        **given,
    )


def edited(editor, sample):
    return editor.edit(editor.prepare(sample), sample, 1).tobytes()


def hashes(editor):
    state = editor._pipeline.transformer.state_dict()
    return {
        name: hashlib.sha256(value.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, value in state.items()
    }


@pytest.mark.parametrize(("optimize", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_checkpoint_taken_next_gives_the_bits_of_one_loaded_alone(
    models, checkpoints, sample, optimize, dtype, caplog
):
    caplog.set_level(logging.INFO)
    given = {"optimize": optimize, "dtype": dtype, "true_cfg_scale": 1}
    alone = {}
    for step in ("050", "200"):
        fresh = DiffusersEditor(member(models, checkpoints, step, **given), "cpu")
        alone[step] = hashes(fresh), edited(fresh, sample)
    assert len({pixels for _, pixels in alone.values()}) == 2
    caplog.clear()
    editor = DiffusersEditor(member(models, checkpoints, "050", **given), "cpu")
    places = [value.data_ptr() for value in editor._pipeline.transformer.state_dict().values()]
    for step in ("050", "200", "050"):
        editor.take(member(models, checkpoints, step, **given))
        assert (hashes(editor), edited(editor, sample)) == alone[step]
    after = [value.data_ptr() for value in editor._pipeline.transformer.state_dict().values()]
    assert after == places
    told = [record.message for record in caplog.records]
    assert sum(line.startswith("loaded QwenImageEditPipeline") for line in told) == 1
    assert sum(line.startswith("took the next checkpoint, run-") for line in told) == 2
    # and below them all lies the base, to the bit
    changing.restore(editor._pipeline, editor._kept)
    base = member(models, checkpoints, "050", **given).held
    assert hashes(editor) == hashes(DiffusersEditor(base, "cpu"))


def test_checkpoints_share_a_model_in_memory_unless_their_base_or_settings_differ(
    models, checkpoints
):
    first, second = (member(models, checkpoints, step) for step in STEPS[:2])
    assert model_key(first.held) == model_key(second.held)
    assert first.held.held == first.held
    for change in ({"num_inference_steps": 3}, {"base": "plus"}, {"dtype": "bfloat16"}):
        given = {"num_inference_steps": 2} | change
        other = member(models, checkpoints, "100", base=given.pop("base", "editor"))
        other = other.model_copy(update=given)
        assert model_key(other.held) != model_key(first.held), change
    # these keep no weights that could be changed in their places
    for change in ({"offload": "model"}, {"lossy": {"fp8": True}}):
        kept = member(models, checkpoints, "100", **change)
        assert kept.held is kept
