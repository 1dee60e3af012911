"""Files of weights: whole ones that the model takes all of, and nothing else."""

import json
import shutil
import struct
from pathlib import Path
from unittest import mock

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lockstep.demo.tiny import make_editor
from lockstep.editors.diffusers import DiffusersSettings, loading, reading
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.errors import ConfigError
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.models import weights
from lockstep.models.weights import read_header, read_metadata
from tests.unit import test_config

PARTS = {
    "transformer": ("transformer_blocks.0.attn.to_q.weight", "transformer_blocks"),
    "text_encoder": ("model.layers.0.self_attn.q_proj.weight", "model.layers"),
    "vae": ("decoder.conv_in.weight", "decoder"),
}
"""A weight of each part of the tiny editor."""


def editor(folder, **given):
    given = {"num_inference_steps": 2, "dtype": "float32", **given}
    settings = DiffusersSettings(name="tiny", type="diffusers", model=str(folder), **given)
    return DiffusersEditor(settings, "cpu")


def judge(folder):
    return Qwen3VLJudge(Qwen3VLSettings(type="qwen3_vl", model=str(folder), dtype="float32"), "cpu")


def changed(folder: Path, change) -> Path:
    """Rewrite the weights in a folder by what a function makes of their tensors."""
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path, metadata={"format": "pt"})
    return path


def copy(models, name, folder):
    shutil.copytree(models / name, folder / name)
    return folder / name


def deeper(tensors, layer):
    """Add a layer beyond those that the configuration counts."""
    own = {name: value for name, value in tensors.items() if ".0." in name and layer in name}
    tensors |= {name.replace(".0.", ".9.", 1): value.clone() for name, value in own.items()}


# --- missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_weights_is_known_before_it_is_loaded(models, tmp_path, part):
    folder = copy(models, "editor", tmp_path)
    weights.check_model(folder)
    for path in (folder / part).glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ConfigError, match=f"{part}: expected .* found no weights"):
        weights.check_model(folder)
    # torch's own format, in parts
    (folder / part / "pytorch_model.bin.index.json").write_text("{}", encoding="utf-8")
    weights.check_model(folder)


# --- surplus -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_weights_that_no_part_of_an_editor_takes_are_refused(models, tmp_path, part):
    folder = copy(models, "editor", tmp_path)

    def added(tensors):
        tensors["some.thing.else"] = torch.ones(2)

    changed(folder / part, added)
    with pytest.raises(ConfigError) as error:
        editor(folder)
    assert str(error.value).startswith(f"editors: tiny: {folder}/{part}: found weights that ")
    assert "does not take, some.thing.else, which look like those of another model" in str(
        error.value
    )


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_layers_beyond_the_configuration_are_refused_and_not_dropped(models, tmp_path, part):
    folder = copy(models, "editor", tmp_path)
    changed(folder / part, lambda tensors: deeper(tensors, "layers" if "text" in part else "attn"))
    with pytest.raises(ConfigError, match="look like more layers than its configuration counts"):
        editor(folder)


def test_a_judge_with_weights_that_it_does_not_take_is_refused(models, tmp_path):
    folder = copy(models, "judge", tmp_path)
    changed(folder, lambda tensors: deeper(tensors, "language_model.layers"))
    with pytest.raises(ConfigError) as error:
        judge(folder)
    assert f"judge: {folder}: found weights that Qwen3VLForConditionalGeneration does not" in str(
        error.value
    )
    assert "and 8 more, which look like more layers than its configuration" in str(error.value)


@pytest.mark.parametrize("name", ["editor", "judge"])
def test_a_weight_of_another_shape_is_named(models, tmp_path, name):
    folder = copy(models, name, tmp_path)

    def narrow(tensors):
        own = next(key for key in tensors if key.endswith("0.self_attn.q_proj.weight"))
        tensors[own] = tensors[own][:1].clone()

    changed(folder / "text_encoder" if name == "editor" else folder, narrow)
    with pytest.raises(ConfigError, match=r"found no fitting weights for model.*0\.self_attn\.q_"):
        {"editor": editor, "judge": judge}[name](folder)


SCALES = {
    ".weight_scale": torch.ones(1),
    ".scale_weight": torch.ones(1),
    ".weight_scale_inv": torch.ones(1, 1),
    ".input_scale": torch.ones(1),
    ".comfy_quant": torch.ones(4, dtype=torch.uint8),
    ".weight.absmax": torch.ones(4),
    ".weight.quant_state.bitsandbytes__nf4": torch.ones(4, dtype=torch.uint8),
    ".SCB": torch.ones(4),
}


@pytest.mark.parametrize("suffix", SCALES)
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.bfloat16])
def test_scales_that_nobody_would_apply_are_refused(models, tmp_path, suffix, kind):
    """Weights in eight bits with a scale of their own are thousands of times too large without."""
    folder = copy(models, "editor", tmp_path)
    name = PARTS["transformer"][0]

    def quantised(tensors):
        tensors[name] = (tensors[name] * 100).to(kind)
        tensors[name.removesuffix(".weight") + suffix] = SCALES[suffix].clone()

    changed(folder / "transformer", quantised)
    with pytest.raises(ConfigError, match=r"transformer: found .*scales of quantised weights"):
        editor(folder)
    if kind != torch.bfloat16:
        with pytest.raises(ConfigError, match=r"no quantization_config in its config\.json"):
            weights.check_model(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_weights_in_integers_without_scales_are_refused(models, tmp_path, kind):
    folder = copy(models, "judge", tmp_path)

    def quantised(tensors):
        name = "model.language_model.layers.0.mlp.up_proj.weight"
        tensors[name] = (tensors[name] * 100).to(kind)

    changed(folder, quantised)
    sentence = f"{folder}: found weights in integers .*, model.language_model.layers.0.mlp.up_proj"
    with pytest.raises(ConfigError, match=sentence):
        judge(folder)


def test_an_adapter_that_is_not_merged_is_told(models, tmp_path):
    folder = copy(models, "judge", tmp_path)

    def added(tensors):
        tensors["model.language_model.layers.0.mlp.up_proj.lora_A.weight"] = torch.ones(2, 32)

    changed(folder, added)
    with pytest.raises(ConfigError, match="look like an adapter that is not merged"):
        judge(folder)


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_the_fast_way_of_loading_refuses_surplus_too(models, tmp_path, part):
    folder = copy(models, "editor", tmp_path) / part
    kind = {
        "transformer": diffusers.QwenImageTransformer2DModel,
        "text_encoder": transformers.Qwen2_5_VLForConditionalGeneration,
    }[part]
    from_pretrained = kind.from_pretrained.__func__
    to = torch.nn.Module.to

    def on_cpu(cls, *args, **given):
        return from_pretrained(cls, *args, **{**given, "device_map": None})

    def read(folder, files, dtype):
        return {name: value for path in files for name, value in load_file(path).items()}

    def load():
        with (
            mock.patch.object(kind, "from_pretrained", classmethod(on_cpu)),
            mock.patch.object(loading.reading, "tensors", side_effect=read) as reading,
            mock.patch.object(torch.nn.Module, "to", lambda self, *_: to(self, "cpu")),
        ):
            loaded = loading.load_part(kind, folder, torch.float32, "cuda")
        assert reading.called
        return loaded

    weights.check_taken("it", *load())

    def added(tensors):
        tensors["more.weight"] = torch.ones(2)

    changed(folder, added)
    with pytest.raises(ConfigError, match=f"it: found weights that {kind.__name__} does not take"):
        weights.check_taken("it", *load())


def test_a_quantised_part_is_left_to_the_library_that_knows_how(models, tmp_path):
    folder = copy(models, "editor", tmp_path)
    path = folder / "transformer" / "config.json"
    described = json.loads(path.read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    path.write_text(json.dumps(described))
    changed(
        folder / "transformer", lambda tensors: tensors.update({"a.weight_scale": torch.ones(1)})
    )
    weights.check_model(folder)
    with pytest.raises(ConfigError, match="quantised weights with optimize: true"):
        editor(folder)


# --- what published files hold and models do not take ---------------------------------------------


def test_names_of_published_checkpoints_are_taken(models, tmp_path):
    """Qwen2.5-VL's are those of an earlier release, and files of old hold what is computed now."""
    folder = copy(models, "editor", tmp_path)

    def earlier(tensors):
        names = {name: name for name in tensors}
        for name in tensors:
            names[name] = name.replace("model.visual.", "visual.").replace(
                "model.language_model.", "model."
            )
        found = {names[name]: value for name, value in tensors.items()}
        assert any(name.startswith("visual.") for name in found)
        assert any(name.startswith("model.layers.") for name in found)
        assert "lm_head.weight" in found
        return found | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}

    changed(folder / "text_encoder", earlier)
    editor(folder)

    folder = copy(models, "pix2pix", tmp_path)
    free = {"true_cfg_scale": None, "negative_prompt": None}

    def old(tensors):
        prefix = "text_model." if any(name.startswith("text_model.") for name in tensors) else ""
        tensors[f"{prefix}embeddings.position_ids"] = torch.arange(77)[None]

    changed(folder / "text_encoder", old)
    editor(folder, **free)

    folder = copy(models, "flux", tmp_path)

    def whole(tensors):
        """Leave a T5 its decoder, as checkpoints of the whole model do."""
        tensors["decoder.block.0.layer.0.SelfAttention.q.weight"] = torch.ones(4, 4)
        tensors["lm_head.weight"] = torch.ones(4, 4)

    changed(folder / "text_encoder_2", whole)
    editor(folder, **free)


def test_tied_weights_may_be_there_twice_or_once(models, tmp_path):
    folder = copy(models, "judge", tmp_path)
    path = folder / "config.json"
    described = json.loads(path.read_text())
    described["tie_word_embeddings"] = described["text_config"]["tie_word_embeddings"] = True
    path.write_text(json.dumps(described))

    def tied(tensors):
        tensors["lm_head.weight"] = tensors["model.language_model.embed_tokens.weight"].clone()

    changed(folder, tied)
    judge(folder)

    def once(tensors):
        del tensors["lm_head.weight"]

    changed(folder, once)
    judge(folder)


# --- files that are no weights ------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9876543\n"


def pointer(path):
    path.write_text(POINTER)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_in_its_header(path):
    path.write_bytes(path.read_bytes()[:100])


def empty(path):
    path.write_bytes(b"")


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def folder_instead(path):
    path.unlink()
    path.mkdir()


def dangling(path):
    path.unlink()
    path.symlink_to(path.parent / "gone")


def web_page(path):
    path.write_text("<!DOCTYPE html><html>Sign in</html>")


def another_kind(path):
    path.write_bytes(struct.pack("<Q", 4) + b"1234")


BROKEN = [
    (pointer, "found a Git LFS pointer, expected the file that it stands for"),
    (cut, "expected the .* bytes that its header tells of, found .*; it may have been cut off"),
    (cut_in_its_header, "expected a whole safetensors file, found 100 bytes"),
    (empty, "expected a whole safetensors file, found 0 bytes"),
    (longer, "expected the .* bytes that its header tells of, found"),
    (folder_instead, "expected a file, found a folder"),
    (dangling, "found a link that leads to no file"),
    (web_page, "found a web page"),
    (another_kind, "expected safetensors, found a file of another kind"),
]


@pytest.mark.parametrize(
    ("spoil", "sentence"), BROKEN, ids=lambda given: getattr(given, "__name__", "")
)
@pytest.mark.parametrize(("name", "part"), [("editor", "text_encoder"), ("judge", "")])
def test_weights_that_are_no_whole_file_are_named(models, tmp_path, spoil, sentence, name, part):
    folder = copy(models, name, tmp_path)
    (path,) = (folder / part).glob("*.safetensors")
    spoil(path)
    for check in (weights.check_model, {"editor": editor, "judge": judge}[name]):
        with pytest.raises(ConfigError, match=f"{path}: {sentence}"):
            check(folder)


def in_shards(folder):
    """Split a part's weights into two files with an index, and return that."""
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    path.unlink()
    places = {}
    for number, name in enumerate(sorted(tensors)):
        places[name] = f"{path.stem}-0000{number % 2 + 1}-of-00002.safetensors"
    for shard in set(places.values()):
        own = {name: tensors[name] for name, place in places.items() if place == shard}
        save_file(own, folder / shard, metadata={"format": "pt"})
    index = folder / f"{path.stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def rewritten(change):
    def spoil(index):
        given = json.loads(index.read_text())
        index.write_text(json.dumps(change(given) or given))

    return spoil


def shard_of(index, number):
    return sorted(index.parent.glob("*-of-00002.safetensors"))[number]


def forget_a_weight(given):
    given["weight_map"].popitem()


def name_too_much(given):
    given["weight_map"]["gone.weight"] = next(iter(given["weight_map"].values()))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda index: None, None),
        (pointer, "index.json: found a Git LFS pointer"),
        (lambda index: index.write_text('{"weight_map": {"a"'), "index.json: expected valid JSON"),
        (lambda index: index.write_text("[]"), "index.json: expected a JSON object"),
        (
            lambda index: index.write_text("{}"),
            "index.json: expected the index of a model's weights, found no",
        ),
        (rewritten(lambda _: {"weight_map": {"a": 1}}), "expected a file's name for each weight"),
        (
            lambda index: shard_of(index, 1).unlink(),
            "index.json: expected all 2 files .*, found no file for 1, .*-00002-of-00002",
        ),
        (
            lambda index: cut(shard_of(index, 0)),
            "-00001-of-00002.safetensors: expected the .* bytes",
        ),
        (lambda index: pointer(shard_of(index, 1)), "-00002-of-00002.safetensors: found a Git LFS"),
        (rewritten(forget_a_weight), "found weights that .*index.json does not place there"),
        (rewritten(name_too_much), "-of-00002.safetensors: expected all .*, found no gone.wei"),
    ],
)
def test_an_index_and_its_files_must_agree(models, tmp_path, spoil, sentence):
    for name, part, load in [("editor", "vae", editor), ("judge", "", judge)]:
        folder = copy(models, name, tmp_path)
        spoil(in_shards(folder / part))
        for check in (weights.check_model, load):
            if sentence is None:
                check(folder)
                continue
            with pytest.raises(ConfigError, match=sentence):
                check(folder)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("editor", "model_index.json"),
        ("editor", "transformer/config.json"),
        ("editor", "scheduler/scheduler_config.json"),
        ("editor", "tokenizer/tokenizer_config.json"),
        ("judge", "config.json"),
        ("judge", "preprocessor_config.json"),
    ],
)
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (pointer, "found a Git LFS pointer"),
        (cut, "expected valid JSON, found another text; the file may"),
        (empty, "expected valid JSON"),
        (folder_instead, "expected a file, found a folder"),
    ],
)
def test_settings_that_are_no_whole_file_are_named(models, tmp_path, name, file, spoil, sentence):
    folder = copy(models, name, tmp_path)
    if not (folder / file).exists():
        file = "processor_config.json"
    spoil(folder / file)
    with pytest.raises(ConfigError, match=f"{folder / file}: {sentence}"):
        weights.check_model(folder)


def test_a_part_that_is_not_there_is_named(models, tmp_path):
    folder = copy(models, "editor", tmp_path)
    shutil.rmtree(folder / "vae")
    with pytest.raises(ConfigError, match=f"{folder}: found no folder 'vae', which model_index"):
        weights.check_model(folder)


def test_a_large_tokenizer_that_is_cut_is_named(models, tmp_path):
    folder = copy(models, "judge", tmp_path)
    path = folder / "tokenizer.json"
    path.write_text(" " * weights.SMALL + path.read_text() + "\n")
    weights.check_model(folder)
    path.write_text(" " * weights.SMALL + '{"model": {"vocab": {"a')
    with pytest.raises(ConfigError, match=f"{path}: expected valid JSON"):
        weights.check_model(folder)


def test_files_that_nobody_reads_are_left_alone(models, tmp_path):
    """Whoever fetches what is needed leaves pointers in the place of the rest."""
    folder = copy(models, "editor", tmp_path)
    pointer(folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors")
    pointer(folder / "transformer" / "diffusion_pytorch_model.fp16.safetensors.index.json")
    pointer(folder / "all_in_one.safetensors")
    pointer(folder / "transformer" / "diffusion_pytorch_model.bin")
    (folder / "notes").mkdir()
    pointer(folder / "notes" / "model.safetensors")
    weights.check_model(folder)
    editor(folder)


def test_pickled_weights_that_are_a_pointer_are_named(models, tmp_path):
    folder = copy(models, "pix2pix", tmp_path)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    pointer(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"unet/diffusion_pytorch_model.bin: found a Git LFS"):
        weights.check_model(folder)


# --- the judge's template -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (None, "expected the model's own chat template"),
        ("{{ messages[0]['content'][0]['text'] }}", "leaves out the user's text"),
        (
            "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}"
            "{% endfor %}",
            "leaves out images",
        ),
        ("{{ raise_exception('no system text') }}", "cannot be used .*no system text"),
        ("{% for %}", "cannot be used"),
    ],
)
def test_a_judge_without_a_fitting_chat_template_is_refused(models, tmp_path, template, sentence):
    folder = copy(models, "judge", tmp_path)
    path = folder / "chat_template.jinja"
    if template is None:
        path.unlink()
    else:
        path.write_text(template)
    with pytest.raises(ConfigError, match=rf"judge: {folder}: .*{sentence}"):
        judge(folder)


def test_a_judges_template_is_looked_for_where_it_may_be(models, tmp_path):
    folder = copy(models, "judge", tmp_path)
    weights.check_judge(folder)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=f"{folder}: expected chat_template.jinja in it"):
        weights.check_judge(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    weights.check_judge(folder)
    judge(folder)


def test_broken_files_are_known_before_the_first_edit(models, tmp_path):
    folder, own = copy(models, "judge", tmp_path), copy(models, "editor", tmp_path)
    lora = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(2)}, lora)
    diffusion = {"name": "e", "type": "diffusers", "model": str(own)}
    given = {
        "judge": {"model": str(folder)},
        "editors": [{**diffusion, "adapters": [{"path": str(lora)}]}],
    }
    test_config.load(**given)
    for path, key in [
        (folder / "model.safetensors", "judge.model"),
        (own / "vae" / "diffusion_pytorch_model.safetensors", r"editors\[0\].model"),
        (lora, r"editors\[0\].adapters\[0\].path"),
    ]:
        whole = path.read_bytes()
        pointer(path)
        with pytest.raises(ConfigError, match=f"c.yaml: {key}: {path}: found a Git LFS pointer"):
            test_config.load(**given)
        path.write_bytes(whole)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"judge\.model: .*, found no chat template"):
        test_config.load(**given)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "data_offsets": [0, 4]}},
        {"a": {"shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": {"dtype": "F32", "shape": "11", "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": ["x", 4]}},
        {"a": [1], "__metadata__": {}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": ["x"]},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"x": 1}},
        [],
    ],
)
def test_a_header_with_other_fields_is_no_safetensors(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    for read in (read_header, read_metadata):
        with pytest.raises(ConfigError, match="expected safetensors, found a file of another kind"):
            read(path)


def test_weights_of_known_pipelines_are_read_once_while_others_are_imported(tmp_path, monkeypatch):
    make_editor(tmp_path / "model")
    folder, read = tmp_path / "model", []
    monkeypatch.setattr(reading, "_read", lambda files, dtype: read.append(files) or {})
    parts = ("text_encoder", "transformer", "vae")
    with reading.ahead(str(folder), torch.float32, "cuda"):
        for part in parts:
            files = weights.weight_files(folder / part)
            assert reading.tensors(folder / part, files, torch.float32) == {}
    assert sorted(read) == [weights.weight_files(folder / part) for part in parts]
    # what nobody asked for is not kept, and what is asked for again is read again
    with reading.ahead(str(folder), torch.float32, "cuda"):
        pass
    assert not reading._begun
    files = weights.weight_files(folder / "vae")
    reading.tensors(folder / "vae", files, torch.float32)
    assert read[-1] == files


def test_nothing_is_read_ahead_that_may_be_loaded_in_another_way(tmp_path, monkeypatch):
    make_editor(tmp_path / "model")
    folder, read = tmp_path / "model", []
    monkeypatch.setattr(reading, "_read", lambda files, dtype: read.append(files) or {})
    with reading.ahead(str(folder), torch.float32, "cpu"):
        pass
    with reading.ahead("some/model", torch.float32, "cuda"):
        pass
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with reading.ahead(str(folder), torch.float32, "cuda"):
        pass
    assert not read
