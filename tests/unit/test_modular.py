"""Modular pipelines of diffusers: parts on the disk, no code of a model's own, the same edits."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch

from lockstep.editors.diffusers import Adapter, DiffusersSettings, editor, modular
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.editors.protocol import Told
from lockstep.errors import ConfigError
from lockstep.jobs import provenance
from lockstep.models import fingerprints
from tests import tiny_presets
from tests.conftest import make_sample
from tests.unit.test_presets import settings

UPSAMPLER = ("prompt_upsampler", "prompt_upsampler_processor")
WITHOUT = dict.fromkeys(UPSAMPLER)


@pytest.fixture(scope="module")
def flux3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modular") / "flux3"
    tiny_presets.flux3(folder)
    return folder


@pytest.fixture
def own(flux3, tmp_path):
    """Return a copy of the tiny FLUX.3 that a test may change."""
    return Path(shutil.copytree(flux3, tmp_path / "flux3"))


@pytest.fixture(autouse=True)
def nothing_remembered():
    fingerprints.folder_hashes.cache_clear()


def klein(folder, **given):
    made = settings("flux-3-klein-base", folder, **given)
    # tokens are those of the upsampler
    return made.model_copy(update={"call": {}}) if made.components == WITHOUT else made


def edited(given, sample):
    model = DiffusersEditor(given, "cpu")
    return model.edit(model.prepare(sample), sample, seed=1)


def change(folder, part, **of_spec):
    """Change where an index says that a part lies."""
    path = folder / "modular_model_index.json"
    index = json.loads(path.read_text())
    index[part][2].update(of_spec)
    path.write_text(json.dumps(index))


def elsewhere(folder, place):
    """Move the upsampler out of a model's folder and return where its parts are."""
    for part in UPSAMPLER:
        change(folder, part, pretrained_model_name_or_path="org/upsampler")
        shutil.move(folder / part, place / part)
    return {part: str(place / part) for part in UPSAMPLER}


@pytest.mark.parametrize(
    ("kind", "sigmas", "given"),
    [
        ("QwenImage21TurboModularPipeline", [1.0, 0.5], {}),
        (
            "QwenImage21ModularPipeline",
            None,
            {"num_inference_steps": 2, "true_cfg_scale": 3.0, "negative_prompt": "blur"},
        ),
    ],
)
def test_blocks_edit_as_the_plain_pipeline_of_the_same_weights(kind, sigmas, given, tmp_path):
    tiny_presets.qwen_image_21(tmp_path / "model", sample_sigmas=sigmas)
    sample = make_sample(tmp_path)
    plain, blocks = (
        settings("qwen-image-2.1", tmp_path / "model", pipeline=name, **given)
        for name in ("QwenImage21Pipeline", kind)
    )
    if kind == "QwenImage21TurboModularPipeline":
        blocks = blocks.model_copy(update={"true_cfg_scale": None, "negative_prompt": None})
    assert edited(blocks, sample).tobytes() == edited(plain, sample).tobytes()


def test_guidance_is_a_parts_and_the_seed_decides(flux3, sample):
    one, again, other = (
        edited(klein(flux3, components=WITHOUT, true_cfg_scale=scale), sample)
        for scale in (4.0, 4.0, 6.0)
    )
    assert one.tobytes() == again.tobytes() != other.tobytes()


def test_a_pipeline_that_rewrites_says_what_it_made_of_the_instruction(flux3, sample):
    made = edited(klein(flux3), sample)
    assert isinstance(made, Told)
    assert made.record["rewritten"] not in ("", sample.instruction)
    plain = edited(klein(flux3, components=WITHOUT), sample)
    assert plain.tobytes() != made.image.tobytes()


def test_parts_may_lie_in_folders_of_their_own(own, flux3, tmp_path, sample):
    given = klein(own, components=elsewhere(own, tmp_path))
    assert not list(given.missing(()))
    assert edited(given, sample).image.tobytes() == edited(klein(flux3), sample).image.tobytes()


def test_a_part_that_the_index_does_not_name_may_be_given(flux3, tmp_path, sample):
    tiny_presets.flux3(tmp_path / "bare", upsampler=False)
    index = tmp_path / "bare" / "modular_model_index.json"
    named = json.loads(index.read_text())
    index.write_text(json.dumps({k: v for k, v in named.items() if k not in UPSAMPLER}))
    with pytest.raises(ConfigError, match="has no prompt_upsampler; expected a folder for it"):
        edited(klein(tmp_path / "bare"), sample)
    parts = {part: str(flux3 / part) for part in UPSAMPLER}
    assert isinstance(edited(klein(tmp_path / "bare", components=parts), sample), Told)


def test_a_part_on_a_hub_is_a_sentence_before_any_weights_are_loaded(own, tmp_path):
    elsewhere(own, tmp_path)
    (lacking,) = klein(own).missing(())
    assert lacking.field == "model"
    assert lacking.sentence == (
        f"{own}/modular_model_index.json: prompt_upsampler: found 'org/upsampler' (subfolder "
        "'prompt_upsampler'), which is not in the model's folder; expected it there, or in "
        "components a folder for prompt_upsampler, or null to leave it out"
    )
    refused = pytest.raises(ConfigError, match="org/upsampler")
    with mock.patch.object(editor, "load_parts") as load, refused:
        DiffusersEditor(klein(own), "cpu")
    assert not load.called
    assert not list(klein(own, components=WITHOUT).missing(()))


def test_the_key_is_of_all_parts_and_of_the_index(own, tmp_path, sample):
    parts = elsewhere(own, tmp_path)

    def key(folder=own, **components):
        fingerprints.folder_hashes.cache_clear()
        given = klein(folder, components=components or parts)
        state = provenance.of_backend(given)
        return json.dumps(given.identity(sample), sort_keys=True), state

    first = key()
    assert key(**WITHOUT)[0] != first[0]
    assert key(**WITHOUT)[1] != first[1]
    copy = shutil.copytree(own, tmp_path / "copy")
    there = {
        part: str(shutil.copytree(place, tmp_path / f"c-{part}")) for part, place in parts.items()
    }
    assert key(copy, **there) == first, "a copy elsewhere is the same model"
    (tmp_path / "prompt_upsampler_processor" / "chat_template.jinja").write_text("{{ 1 }}")
    second = key()
    assert second[0] != first[0]
    assert second[1] != first[1]
    change(own, "vae", revision="main")
    assert key()[0] != second[0]


def test_adapters_are_fused_into_a_denoiser_in_another_folder(own, tmp_path, sample):
    layer = "transformer_blocks.0.attn.to_out"
    from safetensors.torch import save_file

    plain = DiffusersEditor(klein(own, components=WITHOUT), "cpu")
    denoiser = plain._pipeline.transformer
    layer = next(
        n for n, m in denoiser.named_modules() if isinstance(m, torch.nn.Linear) and ".attn" in n
    )
    outputs, inputs = denoiser.get_submodule(layer).weight.shape
    matrices = {"A": torch.ones(1, inputs), "B": torch.ones(outputs, 1)}
    path = tmp_path / "a.safetensors"
    save_file({f"transformer.{layer}.lora_{k}.weight": m for k, m in matrices.items()}, path)
    change(own, "transformer", pretrained_model_name_or_path="org/denoiser")
    shutil.move(own / "transformer", tmp_path / "denoiser")
    given = {"components": {**WITHOUT, "transformer": str(tmp_path / "denoiser")}, "call": {}}
    with_it, without = (
        DiffusersEditor(klein(own).model_copy(update={**given, "adapters": adapters}), "cpu")
        for adapters in ((Adapter(path=str(path)),), ())
    )
    added = with_it._pipeline.transformer.get_submodule(layer).weight - (
        without._pipeline.transformer.get_submodule(layer).weight
    )
    torch.testing.assert_close(added, torch.ones_like(added))


def test_old_keys_have_nothing_of_components(models, sample):
    plain = DiffusersSettings(name="a", type="diffusers", model=str(models / "editor"))
    assert "components" not in plain.identity(sample)


def write(path, **value):
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("part", "of_spec", "sentence"),
    [
        ("vae", {"type_hint": ["evil", "Vae"]}, "vae: found the class 'Vae' of 'evil', expected"),
        ("vae", {"type_hint": ["diffusers", "AutoModel"]}, "found the class 'AutoModel'"),
        ("vae", {"type_hint": None}, "vae: found the class None of None, expected one of"),
        ("vae", {"type_hint": ["diffusers", "Vae"]}, "'Vae', which diffusers does not have"),
        ("vae", {"subfolder": "../vae"}, "vae: found '"),
        ("vae", {"subfolder": ".hidden"}, "which is not in the model's folder"),
        ("vae", {"subfolder": ""}, "which is not in the model's folder"),
        ("vae", {"variant": "fp16"}, "vae: found the variant 'fp16', expected weights without one"),
    ],
)
def test_what_an_index_may_not_say(part, of_spec, sentence, own, tmp_path):
    shutil.copytree(own / "vae", tmp_path / "vae")
    shutil.copytree(own / "vae", own / ".hidden")
    change(own, part, **of_spec)
    with pytest.raises(ConfigError) as error:
        DiffusersEditor(klein(own), "cpu")
    assert str(error.value).startswith("editors: tiny: ")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"offload": "model"}, "offload: found 'model' with a modular pipeline of diffusers"),
        ({"gpus_per_editor": 2}, "gpus_per_editor: found 2 with a modular pipeline"),
        ({"model": "org/flux-3"}, "model: found the hub id 'org/flux-3'; expected a folder"),
        ({"components": {"vea": None}}, "components.vea: Flux3AutoBlocks has no such part (did"),
        ({"components": {"vae": None}}, "result: found 'images', but Flux3ModularPipeline returns"),
        ({"components": {"vae": "nowhere"}}, "components.vae: found no folder 'nowhere'"),
        (
            {"pipeline": "Flux4ModularPipeline"},
            "pipeline of diffusers, found 'Flux4ModularPipeline'",
        ),
        ({"pipeline": "Krea2ModularPipeline"}, "Krea2ModularPipeline, which takes no image"),
        ({"call": {"guidance_scale": 2.0}}, "Flux3ModularPipeline takes no such argument"),
        ({"scheduler": {"shift": 2.0, "shfit": 1.0}}, "scheduler.shfit: FlowMatchEuler"),
        (
            {"pipeline": "Flux3DistilledModularPipeline"},
            "expected null, because Flux3DistilledModularPipeline takes no such argument",
        ),
    ],
)
def test_a_trap_of_settings_is_a_sentence_before_weights_load(given, sentence, flux3):
    with mock.patch.object(editor, "load_parts") as load, pytest.raises(ConfigError) as error:
        DiffusersEditor(klein(flux3).model_copy(update=given), "cpu")
    assert sentence in str(error.value)
    assert not load.called


def test_components_are_for_modular_pipelines(models):
    given = DiffusersSettings(
        name="a", type="diffusers", model=str(models / "editor"), components={"vae": "a"}
    )
    (lacking,) = given.missing(())
    assert lacking == (
        "components",
        "found 'vae', but the pipeline is not modular; expected no such key",
    )


def test_code_of_a_models_own_is_not_run(own, tmp_path):
    write(own / "modular_config.json", auto_map={"ModularPipelineBlocks": "block.Own"})
    (own / "block.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (lacking,) = klein(own).missing(())
    assert "found blocks that are code of the model's own, which is not run" in lacking.sentence
    (own / "modular_config.json").unlink()
    # a processor that is code
    for name in ("processor_config.json", "tokenizer_config.json"):
        found = json.loads((own / "tokenizer" / name).read_text())
        found |= {"processor_class": "Own", "auto_map": {"AutoProcessor": "block.Own"}}
        write(own / "tokenizer" / name, **found)
    (own / "tokenizer" / "block.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change(own, "tokenizer", type_hint=["transformers", "AutoProcessor"])
    with pytest.raises(ConfigError, match="cannot load the tokenizer"):
        DiffusersEditor(klein(own, components=WITHOUT), "cpu")
    assert not (tmp_path / "ran").exists()


def test_blocks_that_diffusers_does_not_have_are_refused(own):
    path = own / "modular_model_index.json"
    index = json.loads(path.read_text())
    write(path, **index | {"_blocks_class_name": "OwnBlocks"})
    with pytest.raises(ConfigError, match="found the blocks 'OwnBlocks', expected some of diff"):
        DiffusersEditor(klein(own), "cpu")
    write(path, **index | {"_blocks_class_name": "SequentialPipelineBlocks"})
    DiffusersEditor(klein(own), "cpu")


def test_a_modular_index_alone_is_enough(flux3):
    assert modular.is_modular(klein(flux3).model_copy(update={"pipeline": None}))
    DiffusersEditor(klein(flux3, components=WITHOUT).model_copy(update={"pipeline": None}), "cpu")
