"""What forces a rerun: keys, and notes of settings and code, hold against each other."""

import pytest

from lockstep.editors import keys as editor_keys
from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.identity import IdentitySettings
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.editors.precomputed import PrecomputedEditorSettings
from lockstep.jobs import code, provenance
from lockstep.judges import keys as judge_keys
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.reward import RewardSettings

EDITORS = {
    DiffusersSettings: {
        "name": "other",
        "preset": "qwen-image-edit",
        "size": "source",
        "revision": "abc",
        "pipeline": "QwenImageEditPlusPipeline",
        "dtype": "float32",
        "num_inference_steps": 4,
        "true_cfg_scale": 1.0,
        "negative_prompt": "blurred",
        "call": {"guidance_scale": 1.0},
        "pass_size": True,
        "max_input_pixels": 1000,
        "scheduler": {"shift": 3.0},
        "optimize": False,
        "offload": "model",
        "lossy": {"cache": "first_block"},
        "model": "other/model",
        "adapters": [{"path": "some/adapter", "weight_name": "a.safetensors"}],
    },
    IdentitySettings: {"name": "other", "preset": "x", "size": "source", "resize_filter": "box"},
    OpenAIImagesSettings: {
        "name": "other",
        "size": "source",
        "model": "other",
        "revision": "abc",
        "request": {"steps": 4},
        "url": "http://127.0.0.1:8001/v1",
        "concurrency": 2,
        "attempts": 2,
        "image_price": 1.0,
        "max_requests": 9,
    },
}

JUDGES = {
    Qwen3VLSettings: {
        "model": "other/model",
        "revision": "abc",
        "dtype": "float32",
        "mode": "score_only",
        "max_reasoning_tokens": 8,
        "batch_size": 4,
        "use_batch_inference": False,
        "gpus_per_judge": 2,
    },
    RewardSettings: {
        "model": "other/model",
        "revision": "abc",
        "dtype": "float32",
        "outputs": {"quality": {"output": 1, "lowest": 0, "highest": 1}},
    },
    OpenAISettings: {
        "model": "other",
        "revision": "abc",
        "mode": "score_only",
        "max_reasoning_tokens": 8,
        "response_format": "json_schema",
        "request": {"top_p": 0.5},
        "url": "http://127.0.0.1:8001/v1",
        "concurrency": 2,
        "timeout": 5.0,
        "attempts": 2,
        "budget": 5.0,
    },
}

BASES = {
    DiffusersSettings: {"name": "e", "type": "diffusers", "model": "some/model"},
    IdentitySettings: {"name": "e", "type": "identity"},
    OpenAIImagesSettings: {
        "name": "e",
        "type": "openai_images",
        "model": "some",
        "url": "http://127.0.0.1:8000/v1",
    },
    Qwen3VLSettings: {"type": "qwen3_vl", "model": "some/model"},
    RewardSettings: {
        "type": "reward",
        "model": "some/model",
        "outputs": {"quality": {"output": 0, "lowest": 0, "highest": 1}},
    },
    OpenAISettings: {
        "type": "openai",
        "model": "some",
        "url": "http://127.0.0.1:8000/v1",
        "input_price": 1.0,
        "output_price": 1.0,
    },
}


def cases(kinds):
    return [(kind, field, value) for kind, own in kinds.items() for field, value in own.items()]


@pytest.mark.parametrize(("kind", "field", "value"), cases({**EDITORS, **JUDGES}))
def test_what_moves_a_key_has_its_job_run(kind, field, value, sample):
    """The other way round a job may run and find all of its items in the cache."""
    before, after = kind(**BASES[kind]), kind(**{**BASES[kind], field: value})
    if kind in EDITORS:
        moved = editor_keys.identity(before, sample) != editor_keys.identity(after, sample)
    else:
        moved = judge_keys.identity(before) != judge_keys.identity(after)
    runs = provenance.of_backend(before) != provenance.of_backend(after)
    assert runs or not moved
    assert runs == (field not in kind.neutral)


@pytest.mark.parametrize("kind", [*BASES, PrecomputedEditorSettings, PrecomputedJudgeSettings])
def test_neutral_fields_exist(kind):
    for name in kind.neutral | kind.places:
        assert name in kind.model_fields or hasattr(kind, name)


def names(*modules):
    return {str(path.relative_to(code.LIBRARY)) for path in code.deciding(*modules)}


def test_the_code_of_an_edit_is_what_its_imports_reach():
    found = names("editing.shard", "editors.diffusers")
    assert {
        "editing/stages.py",
        "editors/diffusers/editor.py",
        "editors/diffusers/qwen_image.py",
        "fast/kernels.py",
        "foreign/images.py",
        "foreign/plain_text.py",
        "models/weights.py",
        "plan.py",
        "records/keys.py",
    } <= found
    rooms = {name.split("/")[0] for name in found}
    assert not rooms & {"config", "devices", "jobs", "judges", "scoring", "report", "errors.py"}
    assert not any(name.endswith("settings.py") or name == "editing/waves.py" for name in found)


def test_each_backend_has_code_of_its_own():
    local = names("scoring.shard", "judges.qwen3_vl")
    served = names("scoring.shard", "judges.openai_api")
    assert "judges/qwen3_vl/decoding.py" in local - served
    assert "foreign/transport.py" in served - local


def test_neutral_modules_exist():
    for name in code.NEUTRAL:
        path = code.LIBRARY.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_another_line_of_code_is_another_version(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("from lockstep import b\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    monkeypatch.setattr(code, "LIBRARY", tmp_path)
    for function in (code.code, code._imports):
        function.cache_clear()
    first = code.code("a")
    (tmp_path / "b.py").write_text("x = 2\n")
    code.code.cache_clear()
    try:
        assert code.code("a") != first
    finally:
        for function in (code.code, code._imports):
            function.cache_clear()
