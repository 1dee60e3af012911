"""The diffusers editor on the tiny models: the real classes, the real code."""

import json
import logging
import math
import shutil
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lockstep.editors import keys
from lockstep.editors.diffusers import DiffusersSettings, Lossy, loading
from lockstep.editors.diffusers import editor as module
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.editors.diffusers.loading import load_part
from lockstep.errors import ConfigError, DeviceError, EditError
from lockstep.foreign.images import open_rgb
from lockstep.models.weights import weight_files
from tests import tiny_editors
from tests.conftest import make_sample, without_a_tensor

OTHER = {"true_cfg_scale": None, "negative_prompt": None}
"""Settings of pipelines with a guidance of their own."""
FLUX = {**OTHER, "call": {"guidance_scale": 2.5, "max_area": 64 * 64, "_auto_resize": False}}
SMALL = {"call": {"width": 64, "height": 64}}
PIX2PIX = {**OTHER, "call": {"guidance_scale": 7.5, "image_guidance_scale": 1.5}}


def settings(models, name="editor", **given):
    given = {"num_inference_steps": 2, "dtype": "float32", **given}
    return DiffusersSettings(name="tiny", type="diffusers", model=str(models / name), **given)


def edit(model, sample, seed=1):
    return model.edit(model.prepare(sample), sample, seed)


@pytest.fixture(scope="module")
def loaded(models):
    return DiffusersEditor(settings(models), "cpu")


@pytest.fixture
def answer(loaded, monkeypatch):
    """Replace the pipeline's call by one that returns or raises what the test says."""

    def replace(result):
        def call(*_, **__):
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(type(loaded._pipeline), "__call__", call)

    return replace


def output(**fields):
    return type("Output", (), fields)()


@pytest.mark.parametrize("name", ["editor", "plus", "2511"])
def test_an_edit_depends_on_sample_and_seed_and_on_nothing_else(models, name, tmp_path):
    model = DiffusersEditor(settings(models, name), "cpu")
    sample = make_sample(tmp_path)
    first = edit(model, sample)
    other = edit(model, sample.model_copy(update={"instruction": "Paint it red."}))
    again = edit(model, sample)
    assert (first.mode, first.size) == ("RGB", (1248, 832))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.tobytes() != edit(model, sample, seed=2).tobytes()


def test_what_is_encoded_ahead_and_a_warm_up_change_no_bit(models, tmp_path):
    model = DiffusersEditor(settings(models), "cpu")
    first, second = make_sample(tmp_path), make_sample(tmp_path, "b", instruction="Paint it red.")
    alone = [edit(model, sample).tobytes() for sample in (first, second)]
    arguments = model._arguments
    model._warm_up()
    assert model._arguments == arguments
    prepared = [model.prepare(sample) for sample in (first, second)]
    assert model.edit(prepared[0], first, 1).tobytes() == alone[0]
    assert prepared[0].encoded is None and prepared[1].encoded is not None
    assert model.edit(prepared[1], second, 1).tobytes() == alone[1]
    # one that is edited by itself takes nothing of another's
    model.prepare(second)
    assert edit(model, first).tobytes() == alone[0]


def test_pipelines_of_other_families_edit(models, tmp_path):
    sample = make_sample(tmp_path)
    for name, given, size in [
        ("flux", {**FLUX, "pass_size": True}, (64, 48)),
        ("flux", FLUX, (64, 64)),
        ("pix2pix", PIX2PIX, (96, 64)),
        ("pix2pix", {**PIX2PIX, "max_input_pixels": 24 * 16}, (24, 16)),
    ]:
        model = DiffusersEditor(settings(models, name, **given), "cpu")
        first = edit(model, sample)
        assert (first.mode, first.size) == ("RGB", size)
        assert first.tobytes() == edit(model, sample).tobytes()
        assert first.tobytes() != edit(model, sample, seed=2).tobytes()


def test_image_tokens_reach_the_text_encoder(loaded, sample):
    """Without the hook the positions are one-dimensional, and the embeddings others."""
    pipeline = loaded._pipeline
    image = open_rgb(sample.image)
    inputs = pipeline.processor(
        text=[pipeline.prompt_template_encode.format("Let go.")],
        images=[image],
        return_tensors="pt",
    )
    encoder = pipeline.text_encoder
    image_tokens = (inputs["input_ids"] == encoder.config.image_token_id).int()
    positions, _ = encoder.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=image_tokens,
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    assert not torch.equal(positions[0], positions[1])

    def embed(**kwargs):
        given = {key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")}
        with torch.inference_mode():
            return encoder(
                **given,
                image_grid_thw=inputs["image_grid_thw"],
                output_hidden_states=True,
                **kwargs,
            ).hidden_states[-1]

    expected = embed(mm_token_type_ids=image_tokens)
    assert torch.equal(embed(), expected), "the hook gives what transformers computes by itself"
    hooks = dict(encoder._forward_pre_hooks)
    encoder._forward_pre_hooks.clear()
    try:
        without = embed()
    finally:
        encoder._forward_pre_hooks.update(hooks)
    assert not torch.allclose(without, expected)


@pytest.mark.parametrize(
    ("name", "optimize"), [("editor", True), ("plus", True), ("editor", False)]
)
def test_guidance_takes_two_forwards_a_step_and_none_takes_one(models, name, optimize, sample):
    for scale, forwards in [(4.0, 4), (1.0, 2)]:
        given = settings(models, name, true_cfg_scale=scale, optimize=optimize, **SMALL)
        model = DiffusersEditor(given, "cpu")
        seen = []
        model._pipeline.transformer.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        edit(model, sample)
        assert len(seen) == forwards


def test_a_safety_checkers_black_image_is_a_failure(sample, tmp_path):
    tiny_editors.make_instruct_pix2pix(tmp_path / "pix2pix", safety_checker=True)
    model = DiffusersEditor(settings(tmp_path, "pix2pix", **PIX2PIX), "cpu")
    with pytest.raises(EditError, match="the pipeline's safety checker withheld the image"):
        edit(model, sample)


def test_what_diffusers_loads_by_itself_lies_on_the_device_too(tmp_path):
    """A safety checker is a class of a pipeline's own; left on the CPU it fails every edit."""
    tiny_editors.make_instruct_pix2pix(tmp_path / "pix2pix", safety_checker=True)

    def on_device(kind, folder, dtype, torch_device, places):
        part, info = load_part(kind, folder, dtype, "cpu")
        return part.to(torch_device), info

    given = settings(tmp_path, "pix2pix", **PIX2PIX)
    kind = diffusers.StableDiffusionInstructPix2PixPipeline
    with mock.patch.object(loading, "load_part", on_device):
        pipeline = module._load(given, kind, kind.load_config(given.model), "meta", {})
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {part.device.type for part in parts} == {"meta"}
    assert pipeline.safety_checker in parts


def test_variants_beside_a_parts_weights_are_not_read(models, tmp_path):
    """They sort before what `from_pretrained` reads, and are other weights."""
    for part, name in [("unet", "diffusion_pytorch_model"), ("text_encoder", "model")]:
        folder = tmp_path / part
        shutil.copytree(models / "pix2pix" / part, folder)
        weights = folder / f"{name}.safetensors"
        for variant in ("fp16", "non_ema"):
            shutil.copy(weights, folder / f"{name}.{variant}.safetensors")
        assert weight_files(folder) == [weights]
        (folder / f"{name}.fp16.safetensors.index.json").write_text('{"weight_map": {"a": "b"}}')
        assert weight_files(folder) == [weights]
        weights.unlink()
        assert weight_files(folder) == []
        index = {"weight_map": {"a": "2-of-2", "b": "1-of-2", "c": "1-of-2"}}
        for shard, names in {"1-of-2": "bc", "2-of-2": "a"}.items():
            save_file({each: torch.zeros(1) for each in names}, folder / shard)
        (folder / f"{name}.safetensors.index.json").write_text(json.dumps(index))
        assert weight_files(folder) == [folder / "1-of-2", folder / "2-of-2"]


def test_a_part_that_transformers_has_renamed_is_loaded_and_an_unknown_one_told(models, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(models / "pix2pix", folder)
    index = json.loads((folder / "model_index.json").read_text())

    def load(**parts):
        (folder / "model_index.json").write_text(json.dumps(index | parts))
        return DiffusersEditor(settings(tmp_path, "old", **PIX2PIX), "cpu")

    load(feature_extractor=["transformers", "CLIPFeatureExtractor"])
    with pytest.raises(ConfigError, match=r"cannot load .*has no class `UNet9DConditionModel`"):
        load(unet=["diffusers", "UNet9DConditionModel"])


def test_an_edit_of_no_numbers_is_a_failure_and_no_black_image(loaded, answer, sample):
    answer(output(images=torch.full((1, 3, 8, 8), torch.nan)))
    with pytest.raises(EditError, match="no numbers"):
        edit(loaded, sample)


def test_a_pipeline_without_images_says_what_it_returned(loaded, answer, sample):
    answer(output(frames=[1]))
    with pytest.raises(EditError, match="returned no image but a Output"):
        edit(loaded, sample)


def test_out_of_memory_costs_a_sample_and_a_broken_device_the_job(loaded, answer, sample):
    answer(torch.OutOfMemoryError("too large"))
    with pytest.raises(EditError, match="out of memory"):
        edit(loaded, sample)
    answer(torch.AcceleratorError("an illegal memory access"))
    with pytest.raises(DeviceError, match="the device failed"):
        edit(loaded, sample)


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"editors: tiny: cannot load"):
        DiffusersEditor(settings(tmp_path, "none"), "cpu")


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_an_editor_with_missing_weights_is_refused_and_not_random(models, tmp_path, part):
    shutil.copytree(models / "editor", tmp_path / "broken")
    assert without_a_tensor(tmp_path / "broken" / part)
    with pytest.raises(ConfigError, match=rf"broken/{part}: found no fitting weights for .*"):
        DiffusersEditor(settings(tmp_path, "broken"), "cpu")


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        (
            "flux",
            {"pipeline": "FluxKontextPipelin"},
            "diffusers, found 'FluxKontextPipelin' (did you mean 'FluxKontextPipeline'?)",
        ),
        ("flux", {"pipeline": "UNet2DModel"}, "expected a pipeline of diffusers, found"),
        ("editor", {"pipeline": "QwenImagePipeline"}, "QwenImagePipeline, which takes no image"),
        (
            "flux",
            {**OTHER, "call": {"guidence_scale": 1}},
            "call.guidence_scale: FluxKontextPipeline takes no such argument "
            "(did you mean 'guidance_scale'?)",
        ),
        (
            "pix2pix",  # it takes any argument and ignores it
            {},
            "true_cfg_scale: expected null, because StableDiffusionInstructPix2PixPipeline takes "
            "no such argument, found 4.0",
        ),
        ("pix2pix", {**OTHER, "pass_size": True}, "takes no width and height"),
        (
            "editor",
            OTHER,
            "negative_prompt: expected a text (a space is neutral), or true_cfg_scale: 1, found "
            "null, which switches off the guidance of 4 that QwenImageEditPipeline has",
        ),
        (
            "editor",
            {"scheduler": {"base_shft": 1}},
            "scheduler.base_shft: FlowMatchEulerDiscreteScheduler has no such key "
            "(did you mean 'base_shift'?)",
        ),
        (
            "editor",
            {"scheduler": {"class": "EulerDiscretScheduler"}},
            "diffusers, found 'EulerDiscretScheduler' (did you mean 'EulerDiscreteScheduler'",
        ),
        (
            "flux",
            {**OTHER, "lossy": {"cache": "first_block"}},
            "cache: expected QwenImageEditPipeline or ",
        ),
        (
            "flux",
            {**OTHER, "lossy": {"fp8": True}},
            "found true with FluxKontextPipeline",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence_before_any_weights_are_loaded(
    models, name, given, sentence
):
    with mock.patch.object(module, "_load") as load, pytest.raises(ConfigError) as error:
        DiffusersEditor(settings(models, name, **given), "cpu")
    assert str(error.value).startswith("editors: tiny: ")
    assert sentence in str(error.value)
    assert not load.called


def test_a_pipeline_with_code_of_its_own_is_refused(models, tmp_path):
    shutil.copytree(models / "editor", tmp_path / "own")
    path = tmp_path / "own" / "model_index.json"
    index = json.loads(path.read_text()) | {"_class_name": ["pipeline", "MyPipeline"]}
    path.write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="a class of diffusers, found code of the model's own"):
        DiffusersEditor(settings(tmp_path, "own"), "cpu")


def test_the_scheduler_of_the_lightning_presets_shifts_by_three(models):
    log3 = math.log(3)
    changes = {"base_shift": log3, "max_shift": log3, "shift_terminal": None}
    model = DiffusersEditor(settings(models, scheduler=changes), "cpu")
    scheduler = model._pipeline.scheduler
    assert (scheduler.config.base_shift, scheduler.config.shift_terminal) == (log3, None)
    assert scheduler.config.base_image_seq_len == 256, "the others are the model's own"
    steps = np.linspace(1, 1 / 4, 4)
    scheduler.set_timesteps(sigmas=steps, mu=log3)
    shifted = 3 * steps / (1 + 2 * steps)
    assert np.allclose(scheduler.sigmas, [*shifted, 0])


def test_another_scheduler_can_be_named(models):
    given = {**PIX2PIX, "scheduler": {"class": "EulerAncestralDiscreteScheduler"}}
    model = DiffusersEditor(settings(models, "pix2pix", **given), "cpu")
    assert type(model._pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"


CACHES = {
    "first_block": {"threshold": 0.5},
    "taylorseer": {"interval": 3},
    "mag": {"threshold": 0.5, "mag_ratios": [1.0] * 8},
}


@pytest.mark.parametrize(
    ("cache", "name", "optimize"),
    [
        *((cache, name, True) for cache in CACHES for name in ("editor", "2511")),
        ("first_block", "editor", False),
    ],
)
def test_a_cache_skips_work_in_both_forwards_and_forgets_the_last_sample(
    models, cache, name, optimize, sample
):
    given = {"cache": cache, **CACHES[cache]}
    model = DiffusersEditor(
        settings(models, name, num_inference_steps=6, lossy=given, optimize=optimize, **SMALL),
        "cpu",
    )
    transformer = model._pipeline.transformer
    last = transformer.transformer_blocks[-1].img_mlp.net[2]
    forwards, computed = [], []
    transformer.register_forward_hook(lambda *_: forwards.append(1))
    last.register_forward_hook(lambda *_: computed.append(1))
    first = edit(model, sample)
    assert len(forwards) == 12
    assert 2 <= len(computed) < 12
    assert len(computed) % 2 == 0

    stop = transformer.register_forward_hook(mock.Mock(side_effect=RuntimeError("stopped")))
    with pytest.raises(RuntimeError, match="stopped"):
        edit(model, sample, seed=2)
    stop.remove()
    assert edit(model, sample).tobytes() == first.tobytes()


def test_nothing_lossy_runs_unasked(models):
    transformer = DiffusersEditor(settings(models), "cpu")._pipeline.transformer
    assert not transformer.is_cache_enabled
    assert {each.dtype for each in transformer.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "given"), [("editor", {}), ("2511", {"cache": "taylorseer", "interval": 2})]
)
def test_an_editor_in_eight_bits_edits_a_little_differently(models, name, given, sample):
    found = []
    for lossy in (given, {"fp8": True, **given}):
        model = DiffusersEditor(settings(models, name, lossy=lossy, **SMALL), "cpu")
        found.append(edit(model, sample))
        assert edit(model, sample).tobytes() == found[-1].tobytes()
    apart = np.subtract(*(np.asarray(image, np.int16) for image in found))
    assert 0 < np.abs(apart).mean() < 1


@pytest.mark.parametrize(
    ("capability", "dtype", "sentence"),
    [
        ((8, 6), "bfloat16", "expected a GPU of compute capability 8.9 or later, which"),
        ((9, 0), "float16", "expected dtype 'bfloat16' on a GPU, found 'float16'"),
    ],
)
def test_a_gpu_that_cannot_multiply_eight_bits_is_refused(models, capability, dtype, sentence):
    given = settings(models, lossy={"fp8": True}, dtype=dtype)
    with (
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        mock.patch.object(module, "_load") as load,
        pytest.raises(ConfigError) as error,
    ):
        DiffusersEditor(given, "cuda")
    assert f"editors: tiny: lossy.fp8: {sentence}" in str(error.value)
    assert not load.called


def test_the_identity_of_an_editor_follows_its_weights_and_not_their_place(
    models, tmp_path, sample
):
    from lockstep.models import fingerprints as models_module

    copy = tmp_path / "copy"
    shutil.copytree(models / "editor", copy)
    own = keys.identity(settings(models), sample)
    assert keys.identity(settings(tmp_path, "copy"), sample) == own
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    models_module.folder_hashes.cache_clear()
    assert keys.identity(settings(tmp_path, "copy"), sample) != own
    assert models_module.model_identity("owner/name", "v1") == {
        "model": "owner/name",
        "revision": "v1",
    }


def test_the_identity_of_an_editor_holds_what_decides_pixels_and_not_where_weights_lie(
    models, sample
):
    own = keys.identity(settings(models, optimize=False), sample)

    def identity(**given):
        return keys.identity(settings(models, **{"optimize": False, **given}), sample)

    assert identity(offload="model") == own
    assert identity(preset="qwen-image-edit") == own
    for given in [
        {"pipeline": "QwenImageEditPlusPipeline"},
        {"dtype": "bfloat16"},
        {"num_inference_steps": 3},
        {"true_cfg_scale": 2},
        {"negative_prompt": "blur"},
        {"call": {"max_sequence_length": 64}},
        {"pass_size": True},
        {"max_input_pixels": 99},
        {"scheduler": {"base_shift": 1}},
        {"optimize": True},
        {"lossy": {"cache": "first_block"}},
        {"size": "source"},
    ]:
        assert identity(**given) != own, given
    exact, eight_bits = identity(optimize=True), {"optimize": True, "lossy": {"fp8": True}}
    assert identity(**eight_bits) != exact
    assert exact["lossy"].keys() == Lossy.model_fields.keys()
    # what is offloaded cannot run the faster code
    assert keys.identity(settings(models, offload="group"), sample) == own


def test_offloading_leaves_the_weights_in_host_memory_until_they_are_needed(models):
    """What moves them is diffusers' own; here it is asked for what the setting says."""
    for offload, method in [
        ("model", "enable_model_cpu_offload"),
        ("group", "enable_group_offload"),
        ("sequential", "enable_sequential_cpu_offload"),
    ]:
        with (
            mock.patch.object(module, "_load", wraps=module._load) as load,
            mock.patch(f"diffusers.DiffusionPipeline.{method}") as enable,
            mock.patch.object(torch.cuda, "get_device_name", return_value="a GPU"),
        ):
            load.side_effect = lambda settings, kind, index, device, places: (
                mock.DEFAULT if device == "cpu" else pytest.fail(device)
            )
            DiffusersEditor(settings(models, offload=offload), "cuda")
        assert enable.call_count == 1


def test_models_log_what_they_loaded(models, caplog):
    with caplog.at_level(logging.INFO):
        DiffusersEditor(settings(models), "cpu")
    assert "loaded QwenImageEditPipeline from" in caplog.text


def test_a_source_is_scaled_down_in_its_proportions_and_never_up():
    wide = Image.new("RGB", (400, 100))
    assert module._scaled_down(wide, None) is wide
    assert module._scaled_down(wide, 40_000) is wide
    assert module._scaled_down(wide, 10_000).size == (200, 50)
    assert module._scaled_down(Image.new("RGB", (400, 1)), 10).size == (63, 1)
