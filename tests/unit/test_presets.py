"""Presets of pipelines of diffusers, each in its real class with tiny random weights."""

import importlib
import json
import re
from types import SimpleNamespace
from unittest import mock

import diffusers
import pytest
import torch
from diffusers.pipelines.chronoedit import pipeline_chronoedit
from PIL import Image

from lockstep.config.load import PRESETS
from lockstep.editors.diffusers import DiffusersSettings, pipelines, prompts
from lockstep.editors.diffusers import editor as module
from lockstep.editors.diffusers.arriving import opaque
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.editors.protocol import Told
from lockstep.errors import ConfigError, EditError, SkipError
from lockstep.foreign.yaml_files import read_yaml
from tests import tiny_presets
from tests.conftest import make_sample

MODELS = {
    "bria-fibo-edit": tiny_presets.bria_fibo_edit,
    "chronoedit": tiny_presets.chronoedit,
    "dreamlite": tiny_presets.dreamlite,
    "dreamlite-mobile": tiny_presets.dreamlite_mobile,
    "flux-2-dev": tiny_presets.flux2_dev,
    "flux-2-klein": tiny_presets.flux2_klein,
    "flux-2-klein-base": tiny_presets.flux2_klein_base,
    "flux-2-klein-kv": tiny_presets.flux2_klein_kv,
    "flux-3-klein": tiny_presets.flux3_klein,
    "flux-3-klein-base": tiny_presets.flux3,
    "glm-image": tiny_presets.glm_image,
    "joyimage-edit": tiny_presets.joyimage_edit,
    "joyimage-edit-plus": tiny_presets.joyimage_edit_plus,
    "kandinsky-5-i2i": tiny_presets.kandinsky_5_i2i,
    "longcat-image-edit": tiny_presets.longcat_image_edit,
    "omnigen": tiny_presets.omnigen,
    "qwen-image-2.1": tiny_presets.qwen_image_21,
    "qwen-image-2.1-turbo": tiny_presets.qwen_image_21_turbo,
    "z-image-omni": tiny_presets.z_image_omni,
}

SEVERAL = {
    "bria-fibo-edit",
    "flux-2-dev",
    "flux-2-klein",
    "flux-2-klein-base",
    "flux-2-klein-kv",
    "flux-3-klein",
    "flux-3-klein-base",
    "glm-image",
    "joyimage-edit-plus",
    "omnigen",
    "qwen-image-2.1",
    "qwen-image-2.1-turbo",
    "z-image-omni",
}
"""Presets whose pipelines take several source images of one sample."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the folder of a preset's tiny model, written once."""
    folder = tmp_path_factory.mktemp("presets")

    def written(name):
        if not (folder / name).exists():
            MODELS[name](folder / name)
        return folder / name

    return written


@pytest.fixture
def quick(monkeypatch):
    """Let pipelines that edit at one megapixel whatever the source do so at its size."""
    joyimage = importlib.import_module("diffusers.pipelines.joyimage.image_processor")
    monkeypatch.setattr(joyimage, "find_best_bucket", lambda *_: (64, 96))
    longcat = "diffusers.pipelines.longcat_image.pipeline_longcat_image_edit"
    monkeypatch.setattr(
        importlib.import_module(longcat), "calculate_dimensions", lambda *_: (96, 64)
    )


@pytest.fixture
def ftfy(monkeypatch):
    """Let ChronoEdit's pipeline believe that ftfy is there, and leave texts as they are."""
    given = SimpleNamespace(fix_text=str)
    monkeypatch.setattr(pipeline_chronoedit, "ftfy", given, raising=False)


def settings(name, folder, **given):
    """Return a preset's settings for another model, with few steps."""
    preset = read_yaml(PRESETS / f"{name}.yaml", ConfigError)
    preset.pop("revision", None)
    small = {
        "qwen-image-2.1": {"output_resolution": 128},
        "qwen-image-2.1-turbo": {"output_resolution": 128},
        "flux-3-klein": {"max_new_tokens": 4},
        "flux-3-klein-base": {"max_new_tokens": 4},
        "bria-fibo-edit": {"_auto_resize": False},
    }
    if preset["num_inference_steps"] is not None:
        preset["num_inference_steps"] = 2
    if preset["dtype"] == "bfloat16" and name != "z-image-omni":
        preset["dtype"] = "float32"
    call = preset.pop("call", {}) | small.get(name, {}) | given.pop("call", {})
    return DiffusersSettings(name="tiny", **preset | {"model": str(folder), "call": call} | given)


def loaded(name, tiny, **given):
    model = DiffusersEditor(settings(name, tiny(name), **given), "cpu")
    if name == "kandinsky-5-i2i":
        model._pipeline.resolutions = [(96, 64)]
    return model


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_preset_edits_in_its_real_class(name, tiny, quick, ftfy, tmp_path):
    model = loaded(name, tiny)
    sample = make_sample(tmp_path)
    made = (model.edit(model.prepare(sample), sample, seed=1) for _ in range(2))
    first, again = (each.image if isinstance(each, Told) else each for each in made)
    assert first.mode == "RGB"
    assert len(first.getcolors(first.width * first.height)) > 100
    assert first.tobytes() == again.tobytes(), "the seed decides all that is drawn"


@pytest.mark.parametrize(
    "name",
    [
        "dreamlite",
        "joyimage-edit",
        "joyimage-edit-plus",
        "kandinsky-5-i2i",
        "longcat-image-edit",
        "qwen-image-2.1",
    ],
)
def test_image_tokens_reach_the_text_encoders_that_see_the_source(name, tiny, quick, sample):
    """Without their kinds the positions are one-dimensional, and the embeddings others."""
    model = loaded(name, tiny)
    encoder = model._pipeline.text_encoder
    seen = []
    encoder.register_forward_pre_hook(lambda _, args, given: seen.append(given), with_kwargs=True)
    model.edit(model.prepare(sample), sample, seed=1)
    assert seen
    for given in seen:
        image_tokens = given["input_ids"] == encoder.config.image_token_id
        assert image_tokens.any()
        assert torch.equal(given["mm_token_type_ids"].bool(), image_tokens)
        names = ("input_ids", "image_grid_thw", "attention_mask", "mm_token_type_ids")
        positions, _ = encoder.model.get_rope_index(**{key: given[key] for key in names})
        assert not torch.equal(positions[0], positions[1])


def test_there_is_a_tiny_model_for_every_new_pipeline():
    known = {"flux-kontext", "instruct-pix2pix", "firered-image-edit", "gpt-image"}
    presets = {path.stem for path in PRESETS.glob("*.yaml")}
    assert presets - known - set(MODELS) == {n for n in presets if n.startswith("qwen-image-edit")}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_several_sources_reach_the_pipelines_that_take_them(name, tiny, ftfy, tmp_path):
    given = settings(name, tiny(name))
    kind = getattr(diffusers, given.pipeline)
    assert pipelines.takes_several(given, kind) == (name in SEVERAL)
    if name not in ("omnigen", "flux-2-klein", "dreamlite"):
        return
    model = loaded(name, tiny)
    sample = make_sample(tmp_path)
    pair = sample.model_copy(update={"more": (sample,)})
    if name == "dreamlite":
        with pytest.raises(SkipError, match="found 2 source images, but DreamLitePipeline takes"):
            model.prepare(pair)
        return
    one, two = (model.edit(model.prepare(each), each, seed=1) for each in (sample, pair))
    assert one.tobytes() != two.tobytes()


@pytest.mark.parametrize(
    ("instruction", "prompt"),
    [
        ('Let "go".', {"edit_instruction": 'Let "go".'}),
        ("[1]", {"edit_instruction": "[1]"}),
        ('{"edit_instruction": "a", "b": 1}', {"edit_instruction": "a", "b": 1}),
        ('{"instruction": 1}', {"edit_instruction": '{"instruction": 1}'}),
        ("[" * 100_000, {"edit_instruction": "[" * 100_000}),
    ],
)
def test_an_instruction_becomes_json_unless_it_is_such_an_object(instruction, prompt):
    assert json.loads(prompts.formed(instruction, "json", 1)) == prompt


def test_tags_stand_before_an_instruction():
    tags = "<img><|image_1|></img> <img><|image_2|></img>"
    assert prompts.formed("Go.", "tagged", 2) == f"{tags} Go."
    assert prompts.formed("Go.", "plain", 2) == "Go."


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("omnigen", {"image_argument": "image"}, "image_argument: found 'image', but "
         "OmniGenPipeline takes 'input_images'"),
        ("joyimage-edit-plus", {"image_argument": "image"}, "JoyImageEditPlusPipeline takes "
         "'images'"),
        ("dreamlite", {"image_argument": "images"}, "found 'images', but DreamLitePipeline takes "
         "'image'"),
        ("longcat-image-edit", {"pipeline": "LongCatImagePipeline"}, "found "
         "LongCatImagePipeline, which takes no image"),
        ("flux-2-klein", {"pipeline": "Flux2KleinInpaintPipeline"}, "needs a mask_image"),
        ("chronoedit", {"result": "images"}, "result: found 'images', but ChronoEditPipeline "
         "returns frames; expected first_frame or last_frame"),
        ("kandinsky-5-i2i", {"result": "images"}, "KandinskyImagePipelineOutput"),
        ("glm-image", {"result": "image"}, "returns images; expected images"),
        ("bria-fibo-edit", {"prompt_form": "plain"}, 'prompt_form: found "plain", but '
         'BriaFiboEditPipeline needs "json"'),
        ("omnigen", {"prompt_form": "plain"}, 'but OmniGenPipeline needs "tagged"'),
        ("glm-image", {"pass_size": False, "size_multiple": 1}, "pass_size: found false, but "
         "GlmImagePipeline needs true"),
        ("z-image-omni", {"dtype": "float32"}, 'dtype: found "float32", but ZImageOmniPipeline'),
        ("flux-2-klein", {"call": {"guidance_scale": 4}}, "call.guidance_scale: found 4, but the "
         "model is distilled (is_distilled in its index) and ignores it; expected 1"),
        ("flux-2-klein-kv", {"call": {"guidance_scale": 4}}, "call.guidance_scale: "
         "Flux2KleinKVPipeline takes no such argument"),
        ("flux-2-klein", {"true_cfg_scale": 4.0, "negative_prompt": " "}, "true_cfg_scale: "
         "expected null, because Flux2KleinPipeline takes no such argument, found 4.0"),
        ("flux-2-dev", {"negative_prompt": " "}, "negative_prompt: expected null, because Flux2Pi"),
        ("dreamlite-mobile", {"call": {"guidance_scale": 3.5}}, "call.guidance_scale: found 3.5, "
         "which DreamLiteMobilePipeline ignores here"),
        ("chronoedit", {"call": {"num_frames": 29}}, "call.num_frames: found 29, which "
         "ChronoEditPipeline ignores here"),
    ],
)  # fmt: skip
def test_a_trap_is_a_sentence_before_any_weights_are_loaded(name, given, sentence, tiny, ftfy):
    with mock.patch.object(module, "_load") as load, pytest.raises(ConfigError) as error:
        DiffusersEditor(settings(name, tiny(name), **given), "cpu")
    if sentence == "KandinskyImagePipelineOutput":
        sentence = "found 'images', but Kandinsky5I2IPipeline returns image; expected image"
    assert str(error.value).startswith("editors: tiny: ")
    assert sentence in str(error.value)
    assert not load.called


def test_a_package_that_a_pipeline_needs_is_asked_for(tiny):
    with pytest.raises(ConfigError, match="ChronoEditPipeline needs the package ftfy, found none"):
        DiffusersEditor(settings("chronoedit", tiny("chronoedit")), "cpu")


def test_steps_that_the_model_overrides_are_refused(tmp_path):
    tiny_presets.qwen_image_21(tmp_path, sample_sigmas=[1.0, 0.75, 0.5])
    with pytest.raises(ConfigError) as error:
        DiffusersEditor(settings("qwen-image-2.1", tmp_path, num_inference_steps=40), "cpu")
    assert str(error.value) == (
        "editors: tiny: num_inference_steps: found 40, but the model sets its own 3 steps "
        "(sample_sigmas in its index); expected null, 3 or call.sigmas"
    )
    for given in ({}, {"num_inference_steps": 3}, {"call": {"sigmas": [1.0, 0.5]}}):
        DiffusersEditor(settings("qwen-image-2.1", tmp_path, **given), "cpu")


def test_guidance_that_the_weights_do_not_take_is_refused(tmp_path):
    tiny_presets.flux2_dev(tmp_path, guidance_embeds=False)
    with pytest.raises(ConfigError, match="the model's transformer has no guidance_embeds"):
        DiffusersEditor(settings("flux-2-dev", tmp_path), "cpu")


def test_sigmas_and_other_steps_contradict_each_other(tmp_path):
    given = {"call": {"sigmas": [1.0, 0.5]}, "num_inference_steps": 40}
    with pytest.raises(ValueError, match=r"found num_inference_steps 40 beside call.sigmas of 2"):
        settings("qwen-image-2.1", tmp_path, **given)
    settings("qwen-image-2.1", tmp_path, **given | {"num_inference_steps": 2})


def test_older_keys_hold_where_new_settings_are_at_their_defaults(models, sample):
    plain = DiffusersSettings(name="a", type="diffusers", model=str(models / "editor"))
    new = {"image_argument", "prompt_form", "result", "size_multiple", "on_cut"}
    assert not new & plain.identity(sample).keys()
    other = plain.model_copy(update={"result": "last_frame", "on_cut": "fail"})
    assert other.identity(sample) == plain.identity(sample) | {"result": "last_frame"}


def test_what_is_transparent_in_an_edit_lies_on_the_sources_background():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert opaque(clear, "#00ff00").getpixel((0, 0)) == (0, 255, 0)


LONG = "Paint the ball red, " * 40
"""A prompt of 800 letters, each of which is a token to the tiny models."""


def cut_of(model, sample):
    prepared = model.prepare(sample)
    edited = model.edit(prepared, sample, seed=1)
    return edited.record["prompt_cut"] if isinstance(edited, Told) else None


@pytest.mark.parametrize(
    ("name", "encoder", "given"),
    [
        ("flux-2-dev", "Mistral3ForConditionalGeneration", {}),
        ("flux-2-klein", "Qwen3ForCausalLM", {}),
        ("z-image-omni", "Qwen3Model", {}),
        ("chronoedit", "UMT5EncoderModel", {}),
        ("bria-fibo-edit", "SmolLM3ForCausalLM", {"call": {"max_sequence_length": 512}}),
    ],
)
def test_a_cut_prompt_is_noticed_by_encoder(name, encoder, given, tiny, quick, ftfy, sample):
    model = loaded(name, tiny, **given)
    text = re.fullmatch(
        r"cut after 512 of (\d+) tokens \((\w+)\)",
        cut_of(model, sample.model_copy(update={"instruction": LONG})),
    )
    assert text[2] == encoder and 512 < int(text[1]) < 1000 + len(LONG)
    assert cut_of(model, sample) is None, "nothing of the last prompt remains"


def test_of_two_encoders_the_one_that_cuts_is_named(tiny, quick, models, sample):
    words = sample.model_copy(update={"instruction": "Let it go. " * 20})
    # 220 letters, of which those at a word's end and the spaces are one token
    model = loaded("kandinsky-5-i2i", tiny)
    assert re.fullmatch(r"cut after 77 of \d+ tokens \(CLIPTextModel\)", cut_of(model, words))
    both = words.model_copy(update={"instruction": "Let it go. " * 120})
    # what diffusers cuts of a longer one is the end of its template, the place of the image
    text = r"the prompt was cut after 1078 of \d+ tokens \(Qwen2_5_VLFor.*and the pipeline failed"
    with pytest.raises(EditError, match=text):
        cut_of(model, both)
    flux = {"call": {"max_area": 64 * 64, "_auto_resize": False}, "num_inference_steps": 1}
    given = settings("flux-kontext", models / "flux", **flux)
    cut = cut_of(DiffusersEditor(given, "cpu"), words)
    assert re.fullmatch(r"cut after 77 of \d+ tokens \(CLIPTextModel\)", cut)


@pytest.mark.parametrize("name", ["joyimage-edit", "joyimage-edit-plus"])
def test_a_prompt_that_loses_its_first_tokens_is_a_cut_one(name, tiny, quick, sample):
    model = loaded(name, tiny, call={"max_sequence_length": 256}, negative_prompt=LONG)
    text = re.fullmatch(
        r"cut to the last 256 of (\d+) tokens \(Qwen3VLForConditionalGeneration\)",
        cut_of(model, sample.model_copy(update={"instruction": LONG})),
    )
    assert 256 < int(text[1]) < 1000 + len(LONG)
    assert cut_of(model, sample) is None, "a negative prompt does not count"
    assert cut_of(loaded(name, tiny), sample.model_copy(update={"instruction": LONG})) is None


@pytest.mark.parametrize("name", ["omnigen", "qwen-image-2.1", "longcat-image-edit", "glm-image"])
def test_a_prompt_that_is_taken_whole_is_not_said_to_be_cut(name, tiny, quick, sample):
    model = loaded(name, tiny)
    assert cut_of(model, sample.model_copy(update={"instruction": LONG[:500]})) is None


def test_a_long_negative_prompt_is_no_cut_prompt(tiny, quick, sample):
    model = loaded("z-image-omni", tiny, negative_prompt=LONG)
    assert cut_of(model, sample) is None
    assert cut_of(model, sample.model_copy(update={"instruction": f"{LONG} Go."}))


def test_longcat_takes_so_many_tokens_and_says_so(tiny, quick, sample):
    model = loaded("longcat-image-edit", tiny)
    with pytest.raises(EditError, match="takes 512 tokens of an instruction, found 800"):
        model.prepare(sample.model_copy(update={"instruction": LONG}))


def test_on_cut_fail_fails_an_edit_before_it_is_denoised(tiny, sample):
    model = loaded("flux-2-klein", tiny, on_cut="fail")
    steps = []
    model._pipeline.transformer.register_forward_hook(lambda *_: steps.append(1))
    with pytest.raises(EditError, match=r"the prompt was cut after 512 of \d+ tokens \(Qwen3For"):
        cut_of(model, sample.model_copy(update={"instruction": LONG}))
    assert not steps
    assert cut_of(model, sample) is None
    assert steps
