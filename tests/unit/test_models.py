"""Editor and judge on the tiny models: the real classes, the real code."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from lockstep import config, editors, judges
from lockstep.editors.diffusers import DiffusersEditor
from lockstep.errors import ConfigError, DeviceError, EditError, OutOfMemory
from lockstep.images import open_rgb
from lockstep.judges import Pair
from lockstep.judges.qwen3_vl import Qwen3VLJudge
from lockstep.models import model_identity
from lockstep.rubric import parse_reply, read_rubric
from tests.conftest import ROOT, make_sample

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")


def editor(models, name="editor", **settings):
    given = {"num_inference_steps": 2, "dtype": "float32"}
    return config.DiffusersEditor(
        name="tiny", type="diffusers", model=str(models / name), **{**given, **settings}
    )


@pytest.fixture(scope="module")
def loaded(models):
    return DiffusersEditor(editor(models), "cpu")


@pytest.fixture
def calls(loaded, monkeypatch):
    """Replace the pipeline's call by one that writes down its arguments."""
    seen = []

    class Pipeline:
        image_processor = loaded._pipeline.image_processor

        def __call__(self, **kwargs):
            seen.append(kwargs)
            if isinstance(self.result, BaseException):
                raise self.result
            return type("Output", (), {"images": [self.result]})

    Pipeline.result = np.zeros((8, 8, 3), dtype=np.float32)
    monkeypatch.setattr(loaded, "_pipeline", Pipeline())
    return seen


@pytest.mark.parametrize("name", ["editor", "plus"])
def test_an_edit_depends_on_sample_and_seed_and_on_nothing_else(models, name, tmp_path):
    model = DiffusersEditor(editor(models, name), "cpu")
    sample = make_sample(tmp_path)
    first = model.edit(sample, 1)
    other = model.edit(sample.model_copy(update={"instruction": "Paint it red."}), 1)
    again = model.edit(sample, 1)
    assert (first.mode, first.size) == ("RGB", (1248, 832))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert first.tobytes() != model.edit(sample, 2).tobytes()


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


def test_guidance_is_on_exactly_when_asked_for(models, loaded, calls, sample):
    loaded.edit(sample, 7)
    assert (calls[0]["true_cfg_scale"], calls[0]["negative_prompt"]) == (4.0, " ")
    assert calls[0]["num_inference_steps"] == 2
    assert calls[0]["generator"].initial_seed() == 7
    loaded._settings = editor(models, true_cfg_scale=1.0)
    try:
        loaded.edit(sample, 7)
    finally:
        loaded._settings = editor(models)
    assert calls[1]["negative_prompt"] is None


def test_an_edit_of_no_numbers_is_a_failure_and_no_black_image(loaded, calls, sample):
    type(loaded._pipeline).result = np.full((8, 8, 3), np.nan, dtype=np.float32)
    with pytest.raises(EditError, match="no numbers"):
        loaded.edit(sample, 1)


def test_out_of_memory_costs_a_sample_and_a_broken_device_the_job(loaded, calls, sample):
    type(loaded._pipeline).result = torch.OutOfMemoryError("too large")
    with pytest.raises(EditError, match="out of memory"):
        loaded.edit(sample, 1)
    type(loaded._pipeline).result = torch.AcceleratorError("an illegal memory access")
    with pytest.raises(DeviceError, match="the device failed"):
        loaded.edit(sample, 1)


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"editors: tiny: cannot load"):
        DiffusersEditor(editor(tmp_path, "none"), "cpu")


def without_a_tensor(folder):
    """Rewrite a safetensors file without one of its weights."""
    from safetensors.torch import load_file, save_file

    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    name = sorted(key for key in tensors if key.endswith("weight"))[-1]
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("part", ["transformer", "text_encoder", "vae"])
def test_an_editor_with_missing_weights_is_refused_and_not_random(models, tmp_path, part):
    import shutil

    shutil.copytree(models / "editor", tmp_path / "broken")
    name = without_a_tensor(tmp_path / "broken" / part)
    with pytest.raises(ConfigError, match=rf"broken/{part}: found no fitting weights for .*"):
        DiffusersEditor(editor(tmp_path, "broken"), "cpu")
    assert name


def test_a_judge_with_missing_weights_is_refused_and_not_random(models, tmp_path):
    import shutil

    shutil.copytree(models / "judge", tmp_path / "judge")
    without_a_tensor(tmp_path / "judge")
    with pytest.raises(ConfigError, match=r"judge: .*: found no fitting weights for"):
        Qwen3VLJudge(judge_settings(tmp_path), RUBRIC, "cpu")


def test_a_cut_off_model_is_one_clear_error(models, tmp_path):
    import shutil

    shutil.copytree(models / "judge", tmp_path / "judge")
    path = tmp_path / "judge" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="judge: cannot load"):
        Qwen3VLJudge(judge_settings(tmp_path), RUBRIC, "cpu")


def test_all_that_decides_what_a_model_gives_is_watched(models):
    from lockstep.models import model_files

    names = {str(p.relative_to(models / "editor")) for p in model_files(str(models / "editor"))}
    assert {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "processor/chat_template.jinja",
        "tokenizer/tokenizer.json",
        "transformer/diffusion_pytorch_model.safetensors",
    } <= names
    assert "RANDOM_WEIGHTS" not in names


def test_a_readme_in_a_models_folder_changes_nothing(models, tmp_path):
    import shutil

    shutil.copytree(models / "judge", tmp_path / "judge")
    (tmp_path / "judge" / "README.md").write_text("hello")
    own = model_identity(str(models / "judge"), None)
    assert model_identity(str(tmp_path / "judge"), None) == own
    (tmp_path / "judge" / "chat_template.jinja").write_text("hello")
    from lockstep import models as models_module

    models_module._fingerprint.cache_clear()
    assert model_identity(str(tmp_path / "judge"), None) != own


def test_the_hash_of_a_large_file_is_remembered_until_it_changes(tmp_path, monkeypatch):
    from lockstep import models as models_module
    from lockstep import records

    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path / "host")
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(models_module, "LARGE", 10)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a" * 20)
    first = models_module._file_sha256(path)
    assert first == records.sha256(b"a" * 20)
    (note,) = (p for p in (tmp_path / "host").iterdir() if p.suffix != ".lock")
    note.write_text("remembered")
    assert models_module._file_sha256(path) == "remembered"
    path.write_bytes(b"b" * 21)
    assert models_module._file_sha256(path) == records.sha256(b"b" * 21)


def test_the_identity_of_an_editor_follows_its_weights_and_not_their_place(
    models, tmp_path, sample
):
    import shutil

    from lockstep import models as models_module

    copy = tmp_path / "copy"
    shutil.copytree(models / "editor", copy)
    own = editors.identity(editor(models), sample)
    assert editors.identity(editor(tmp_path, "copy"), sample) == own
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    models_module._fingerprint.cache_clear()
    assert editors.identity(editor(tmp_path, "copy"), sample) != own
    assert model_identity("owner/name", "v1") == {"model": "owner/name", "revision": "v1"}


def test_precomputed_images_are_found_by_id_and_hashed(tmp_path, sample):
    settings = config.PrecomputedEditor(name="p", type="precomputed", folder=str(tmp_path))
    model = editors.load_editor(settings, "cpu")
    assert editors.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"found no image of sample 'a', accepted is a with one of"):
        model.edit(sample, 1)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.webp")
    assert model.edit(sample, 1).size == (4, 4)
    assert editors.identity(settings, sample)["file_sha256"]


def test_the_identity_editor_returns_the_source(sample):
    settings = config.IdentityEditor(name="i", type="identity")
    edited = editors.load_editor(settings, "cpu").edit(sample, 1)
    assert edited.tobytes() == open_rgb(sample.image).tobytes()


@pytest.fixture(scope="module")
def judge(models):
    return Qwen3VLJudge(judge_settings(models), RUBRIC, "cpu")


def judge_settings(models, **settings):
    given = {"dtype": "float32", "max_reasoning_tokens": 16, "min_schema_mass": 0.0}
    return config.Judge(type="qwen3_vl", model=str(models / "judge"), **{**given, **settings})


def pairs(folder, count=5):
    return [
        Pair(
            source=Image.new("RGB", (64 + 30 * i, 80), (i * 40, 9, 9)),
            edited=Image.new("RGB", (128, 64 + 10 * i), (0, i * 20, 255)),
            prompt=RUBRIC.prompt(make_sample(folder, f"p{i}", instruction="Let go! " * (i + 1))),
        )
        for i in range(count)
    ]


def test_a_judgement_is_a_valid_score_even_from_random_weights(judge, tmp_path):
    for judgement in judge.judge(pairs(tmp_path, 3)):
        scores = parse_reply(judgement.reply, RUBRIC)
        assert set(scores.criteria) == {criterion.name for criterion in RUBRIC.criteria}
        assert 0 <= judgement.schema_mass < 0.9, "random weights would not have said so"


def test_judgements_depend_on_neither_batch_nor_order(judge, tmp_path):
    given = pairs(tmp_path)
    alone = [judge.judge([pair])[0] for pair in given]
    assert judge.judge(given) == alone
    assert judge.judge(given[::-1])[::-1] == alone
    assert judge.judge(given[:2]) + judge.judge(given[2:]) == alone
    assert len({judgement.reply for judgement in alone}) > 1


def test_out_of_memory_of_a_judge_is_told_from_other_failures(judge, monkeypatch, tmp_path):
    def fail(error):
        def generate(*_, **__):
            raise error

        monkeypatch.setattr(judge._model, "generate", generate)

    fail(torch.OutOfMemoryError("too large"))
    with pytest.raises(OutOfMemory):
        judge.judge(pairs(tmp_path, 1))
    fail(torch.AcceleratorError("an illegal memory access"))
    with pytest.raises(DeviceError):
        judge.judge(pairs(tmp_path, 1))


def test_the_identity_of_a_judge_leaves_the_batch_out(models):
    own = judges.identity(judge_settings(models))
    assert judges.identity(judge_settings(models, batch_size=9)) == own
    assert judges.identity(judge_settings(models, use_batch_inference=False)) == own
    assert judges.identity(judge_settings(models, max_reasoning_tokens=9)) != own


def test_models_log_what_they_loaded(models, caplog):
    with caplog.at_level(logging.INFO):
        DiffusersEditor(editor(models), "cpu")
    assert "loaded QwenImageEditPipeline from" in caplog.text
