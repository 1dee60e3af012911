"""Editors in the configuration: presets, and one clear sentence for each mistake."""

import math

import pytest

from lockstep.config.load import PRESETS, load_config
from lockstep.editors.diffusers import Adapter, DiffusersSettings, Lossy
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.errors import ConfigError
from tests.conftest import ROOT

SERVED = ["gpt-image", "qwen-image-edit-2511-served"]
NAMES = sorted({path.stem for path in PRESETS.glob("*.yaml")} - set(SERVED))
JUDGE = {"type": "qwen3_vl", "model": "Qwen/Qwen3-VL-8B-Instruct"}


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(**editor):
    given = {"name": "a", **editor}
    data = {
        "benchmark": {"path": "README.md", "format": "re-edit"},
        "editors": [given],
        "judge": JUDGE,
    }
    return load_config(data, "c.yaml").editors[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_valid(name):
    if name.startswith("flux-3"):
        with pytest.raises(ConfigError, match=r"found the hub id .*, since the parts of a modular"):
            load(preset=name)
        return
    editor = load(preset=name)
    assert isinstance(editor, DiffusersSettings)
    assert editor.model.count("/") == 1
    assert editor.lossy == Lossy(), "nothing lossy unasked"


@pytest.mark.parametrize("name", SERVED)
def test_every_preset_of_a_server_is_valid(name):
    own = load(preset=name)
    assert isinstance(own, OpenAIImagesSettings)
    # a further field leaves those of the preset
    more = load(preset=name, request={"quality": "high"})
    assert more.request == {**own.request, "quality": "high"}


@pytest.mark.parametrize(
    ("name", "steps", "scale"),
    [
        ("qwen-image-edit", 50, 4.0),
        ("qwen-image-edit-2509", 40, 4.0),
        ("qwen-image-edit-2511", 40, 4.0),
        ("qwen-image-edit-lightning-8", 8, 1.0),
        ("qwen-image-edit-lightning-4", 4, 1.0),
        ("qwen-image-edit-2509-lightning-8", 8, 1.0),
        ("qwen-image-edit-2509-lightning-4", 4, 1.0),
        ("qwen-image-edit-2511-lightning-4", 4, 1.0),
        ("flux-kontext", 28, None),
        ("instruct-pix2pix", 100, None),
        ("firered-image-edit", 40, 4.0),
        ("qwen-image-2.1", None, 1.0),
    ],
)
def test_the_presets_run_as_the_models_authors_do(name, steps, scale):
    editor = load(preset=name)
    assert (editor.num_inference_steps, editor.true_cfg_scale) == (steps, scale)
    if "lightning" in name:
        (adapter,) = editor.adapters
        assert f"{steps}steps" in adapter.weight_name
        shift = math.exp(editor.scheduler["base_shift"])
        assert shift == pytest.approx(3)
        assert editor.scheduler["max_shift"] == editor.scheduler["base_shift"]
        assert editor.scheduler["shift_terminal"] is None


def test_every_preset_fits_the_pipeline_that_it_is_for(models):
    """The tiny models' pipelines are the presets' own, so what those do not take would show."""
    from lockstep.editors.diffusers import pipelines

    classes = {
        "flux": ("FluxKontextPipeline", "FlowMatchEulerDiscreteScheduler"),
        "instruct": ("StableDiffusionInstructPix2PixPipeline", "PNDMScheduler"),
        "qwen": ("QwenImageEditPipeline", "FlowMatchEulerDiscreteScheduler"),
    }
    # the others run in theirs, in test_presets.py
    for name in [n for n in NAMES if n.startswith(("flux-kontext", "instruct", "qwen-image-edit"))]:
        pipeline, scheduler = classes[name.split("-")[0]]
        if "25" in name:
            pipeline = "QwenImageEditPlusPipeline"
        index = {"_class_name": pipeline, "scheduler": ["diffusers", scheduler]}
        editor = load(preset=name)
        assert pipelines.pipeline_class(editor, index).__name__ == pipeline
        pipelines.check_scheduler(editor, index)


def test_call_arguments_beside_a_preset_replace_its_own_one_by_one():
    editor = load(preset="flux-kontext", call={"max_sequence_length": 256})
    assert editor.call == {"guidance_scale": 2.5, "max_sequence_length": 256}
    editor = load(preset="flux-kontext", call={"guidance_scale": 3})
    assert editor.call == {"guidance_scale": 3}
    editor = load(preset="qwen-image-edit-lightning-8", adapters=[])
    assert editor.adapters == ()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"negative_prompt": None},
            "editors[0]: expected a negative_prompt (a space is neutral) beside true_cfg_scale 4,",
        ),
        (
            {"negative_prompt": ""},
            'editors[0].negative_prompt: expected at least 1 character, found ""',
        ),
        (
            {"true_cfg_scale": 0.5},
            "editors[0].true_cfg_scale: expected greater than or equal to 1, found 0.5",
        ),
        (
            {"call": {"prompt": "x"}},
            "editors[0].call: found 'prompt', which is the sample's instruction",
        ),
        (
            {"call": {"true_cfg_scale": 4}},
            "editors[0].call: found 'true_cfg_scale', which has a key of its own",
        ),
        ({"offload": "modle"}, "editors[0].offload: expected 'none'"),
        (
            {"device_map": "balanced"},
            "editors[0].device_map: found an unknown key; expected one of ",
        ),
        (
            {"adapters": [{"path": "owner/name", "weihgt": 1}]},
            "editors[0].adapters[0].weihgt: found an unknown key (did you mean 'weight'?); "
            "expected one of path, weight_name, revision, weight",
        ),
        (
            {"adapters": [{"path": "no.safetensors"}]},
            "editors[0].adapters[0].path: found no file 'no.safetensors'",
        ),
        (
            {"adapters": [{"path": "./no", "weight_name": "a.safetensors"}]},
            "editors[0].adapters[0].path: found no file 'no/a.safetensors'",
        ),
        (
            {"adapters": [{"path": "owner/name"}]},
            "editors[0].adapters[0]: expected a .safetensors file, a folder with one, or "
            "owner/name with weight_name, found no file 'owner/name'",
        ),
        (
            {"adapters": [{"path": "./README.md"}]},
            "editors[0].adapters[0]: expected a .safetensors file, found './README.md'",
        ),
        (
            {"adapters": [{"path": "owner/name", "weight_name": "a.bin"}]},
            "editors[0].adapters[0]: expected a .safetensors file, found 'a.bin'",
        ),
        (
            {"adapters": [{"path": "./docs"}]},
            "editors[0].adapters[0]: expected one .safetensors file in './docs', or the",
        ),
        (
            {"adapters": [{"path": "a.safetensors", "weight": 0}]},
            "editors[0].adapters[0]: found weight 0, which changes nothing",
        ),
        (
            {"num_inference_steps": 10**9},
            "editors[0].num_inference_steps: expected less than or equal to",
        ),
        ({"lossy": {"cach": 1}}, "editors[0].lossy.cach: found an unknown key (did you mean"),
        ({"lossy": {"cache": "tea"}}, "editors[0].lossy.cache: expected 'first"),
        ({"lossy": {"cache": "mag"}}, "editors[0].lossy: found cache mag without mag_ratios"),
        (
            {"lossy": {"cache": "taylorseer", "threshold": 1}},
            "editors[0].lossy: expected interval with cache taylorseer, found threshold",
        ),
        (
            {"lossy": {"interval": 2}},
            "editors[0].lossy: expected a cache beside interval, found none",
        ),
        (
            {"lossy": {"cache": "mag", "mag_ratios": [1]}, "num_inference_steps": None},
            "editors[0]: found lossy.cache mag without num_inference_steps",
        ),
        (
            {"lossy": {"fp8": True}, "optimize": False},
            "editors[0]: expected optimize: true and offload: none beside lossy.fp8, found opt",
        ),
        (
            {"lossy": {"fp8": True}, "offload": "group"},
            "editors[0]: expected optimize: true and offload: none beside lossy.fp8, found off",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence(given, sentence):
    with pytest.raises(ConfigError) as error:
        load(type="diffusers", model="owner/name", **given)
    text = str(error.value)
    assert text.startswith(f"c.yaml: {sentence.split(':')[0]}")
    assert sentence in text
    assert "\n" not in text


def test_an_adapter_is_a_file_or_in_a_folder_or_on_a_hub(tmp_path):
    (tmp_path / "a.safetensors").touch()

    def file(**given):
        return Adapter(**given).file

    assert file(path=str(tmp_path)) == str(tmp_path / "a.safetensors")
    assert file(path="loras/a.safetensors") == "loras/a.safetensors"
    assert file(path="owner/name", weight_name="a.safetensors") is None
    (tmp_path / "b.safetensors").touch()
    assert file(path=str(tmp_path), weight_name="b.safetensors") == str(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"or the weight_name of one, found 2"):
        file(path=str(tmp_path))


@pytest.mark.parametrize(
    "editor",
    [
        {"type": "diffusers", "model": "a/b", "call": {"x": math.inf}},
        {"type": "command", "command": "true", "version": "1", "arguments": {"x": math.inf}},
        {"preset": "gpt-image", "request": {"x": math.inf}},
    ],
)
def test_a_number_without_end_is_one_sentence_where_any_value_may_stand(editor):
    with pytest.raises(
        ConfigError, match=r"^c\.yaml: editors\[0\]\.[a-z]+\.x: expected a finite n"
    ):
        load(**editor)
