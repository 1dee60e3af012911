"""LoRA adapters: what they add to the weights, and which are refused."""

import json
import logging
import shutil
from unittest import mock

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from lockstep.editors import keys
from lockstep.editors.diffusers import DiffusersSettings, adapters
from lockstep.editors.diffusers import editor as module
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.errors import ConfigError
from lockstep.models import adapter_scale
from lockstep.models import fingerprints as models_module
from tests import tiny_editors

QUERY = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def adapter(models, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapters") / "a.safetensors"
    tiny_editors.make_adapter(path, models / "editor", rank=2, alpha=4.0)
    return path


def settings(models, *adapters, name="editor", **given):
    given = {"num_inference_steps": 2, "dtype": "float32", **given}
    return DiffusersSettings(
        name="tiny", type="diffusers", model=str(models / name), adapters=adapters, **given
    )


def weights(settings):
    """Return the weights of a loaded editor's denoiser; the fast code would lay them out anew."""
    given = settings.model_copy(update={"optimize": False})
    return DiffusersEditor(given, "cpu")._pipeline.transformer.state_dict()


def change(path, layer, alpha, rank=2):
    stored = load_file(path)
    up, down = (stored[f"{layer}.lora_{side}.weight"] for side in ("up", "down"))
    return alpha / rank * up @ down


def test_an_adapter_changes_what_the_editor_gives(models, adapter, sample):
    def edit(*adapters):
        model = DiffusersEditor(settings(models, *adapters), "cpu")
        return model.edit(model.prepare(sample), sample, 1).tobytes()

    assert edit({"path": str(adapter)}) != edit()


def test_adapters_are_added_to_the_weights_by_their_factors(models, adapter, tmp_path):
    other = tmp_path / "b.safetensors"
    tiny_editors.make_adapter(other, models / "editor", rank=3, alpha=1.5, seed=1)
    before = weights(settings(models))
    given = [{"path": str(adapter), "weight": 0.5}, {"path": str(other), "weight": -2.0}]
    after = weights(settings(models, *given))
    assert before.keys() == after.keys(), "nothing of PEFT stays behind"
    changed = set()
    for name in before:
        layer = name.removesuffix(".weight")
        if f"{layer}.lora_up.weight" in load_file(adapter):
            added = 0.5 * change(adapter, layer, 4.0) - 2 * change(other, layer, 1.5, rank=3)
            torch.testing.assert_close(after[name], before[name] + added)
            changed.add(name)
        else:
            assert torch.equal(after[name], before[name]), name
    assert len(changed) == 28


def test_an_adapter_in_the_layout_of_diffusers_is_read_too(models, adapter, tmp_path):
    stored = load_file(adapter)
    layers = {key.removesuffix(".alpha") for key in stored if key.endswith(".alpha")}
    sides = {"down": "A", "up": "B"}
    renamed = {
        f"transformer.{layer}.lora_{sides[side]}.weight": stored[f"{layer}.lora_{side}.weight"]
        for layer in layers
        for side in sides
    }
    save_file(renamed, tmp_path / "b.safetensors")
    given = {"path": str(tmp_path / "b.safetensors"), "weight": 2.0}
    expected = weights(settings(models, {"path": str(adapter)}))
    for name, value in weights(settings(models, given)).items():
        torch.testing.assert_close(value, expected[name])


def test_adapters_of_other_families_are_read(models, tmp_path, sample):
    free = {"true_cfg_scale": None, "negative_prompt": None}
    for name, layer, part in [
        ("flux", "transformer.single_transformer_blocks.0.attn.to_q", "transformer"),
        ("pix2pix", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "unet"),
    ]:
        before = DiffusersEditor(settings(models, name=name, **free), "cpu")._pipeline
        layer = layer.removeprefix(f"{part}.")
        weight = getattr(before, part).get_submodule(layer).weight
        down, up = torch.ones(1, weight.shape[1]), torch.ones(weight.shape[0], 1)
        path = tmp_path / f"{name}.safetensors"
        stored = {"lora_A": down, "lora_B": up}
        save_file({f"{part}.{layer}.{key}.weight": value for key, value in stored.items()}, path)
        after = DiffusersEditor(settings(models, {"path": str(path)}, name=name, **free), "cpu")
        after = getattr(after._pipeline, part).get_submodule(layer).weight
        torch.testing.assert_close(after, weight + 1)


def test_alphas_that_diffusers_would_mix_up_are_refused_and_others_count(models, tmp_path):
    """It gives the most frequent alpha to a UNet's attention, and to layers that have none."""
    free = {"true_cfg_scale": None, "negative_prompt": None}
    path = tmp_path / "a.safetensors"

    def unet(*adapters):
        return DiffusersEditor(
            settings(models, *adapters, name="pix2pix", **free), "cpu"
        )._pipeline.unet

    before = unet()
    layers = [name for name, _ in before.named_modules() if name.endswith("to_q")]
    assert len(layers) > 2

    def fused(alphas):
        stored = {}
        for name, alpha in zip(layers, alphas, strict=True):
            own = with_layer({}, f"lora_unet_{name.replace('.', '_')}", down=(2, 16), up=(16, 2))
            own = {key: value for key, value in own.items() if alpha or not key.endswith("alpha")}
            stored |= {
                key: torch.tensor(alpha) if value.ndim == 0 else value for key, value in own.items()
            }
        models_module.adapter_sha256.cache_clear()
        save_file(stored, path)
        return unet({"path": str(path)})

    after = fused([4.0] * len(layers))
    for name in layers:
        change = after.get_submodule(name).weight - before.get_submodule(name).weight
        torch.testing.assert_close(change, torch.full((16, 16), 4.0))
    few = len(layers) - 1
    for alphas, found in [
        ([4.0] * few + [1.0], f"{few + 1} of {few + 1} layers have 2 different alphas"),
        ([4.0] * few + [None], f"{few} of {few + 1} layers have 1 different alphas"),
    ]:
        with pytest.raises(ConfigError, match=f"{found}, which diffusers would mix up"):
            fused(alphas)


def test_what_rounding_leaves_of_an_adapter_is_told(models, adapter, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        weights(settings(models, {"path": str(adapter)}, dtype="bfloat16"))
        weights(settings(models, {"path": str(adapter), "weight": 1e-5}, dtype="bfloat16"))
    told = [record for record in caplog.records if "rounding to bfloat16 left" in record.message]
    assert [record.levelname for record in told] == ["INFO", "WARNING"]
    assert "adapters fused: 1; rounding to bfloat16 left 100% of their change" in told[0].message
    with pytest.raises(ConfigError, match="rounding to bfloat16 leaves nothing"):
        weights(settings(models, {"path": str(adapter), "weight": 1e-7}, dtype="bfloat16"))


def without_alphas(stored):
    return {key: value for key, value in stored.items() if not key.endswith(".alpha")}


def with_layer(stored, name, down=(2, 32), up=(32, 2)):
    own = {"lora_down.weight": torch.ones(down), "lora_up.weight": torch.ones(up)}
    own["alpha"] = torch.tensor(1.0)
    return stored | {f"{name}.{key}": value for key, value in own.items()}


def diffusers_layout(matrix):
    sides = {"A": matrix, "B": matrix.clone().t().contiguous()}
    return {f"transformer.{QUERY}.lora_{side}.weight": value for side, value in sides.items()}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda stored: with_layer(stored, "transformer_blocks.7.attn.to_q"),
            "found 1 of 29 layers that fit nothing in QwenImageTransformer2DModel, "
            "such as transformer_blocks.7.attn.to_q",
        ),
        (lambda stored: with_layer(stored, QUERY, down=(2, 64)), f"such as {QUERY}"),
        (lambda stored: with_layer(stored, QUERY, up=(64, 2)), f"such as {QUERY}"),
        (lambda stored: with_layer(stored, QUERY, up=(32, 3)), f"such as {QUERY}"),
        (lambda stored: with_layer(stored, "transformer_blocks.0.attn"), "0.attn"),
        # without them diffusers takes no key for the transformer's, and only warns
        (without_alphas, "transformer_blocks.0.attn.add_k_proj.lora_down.weight belongs to no"),
        (lambda stored: stored | {"text_encoder.x": torch.ones(1)}, "expected a LoRA in a"),
        (lambda stored: stored | {f"{QUERY}.dora_scale": torch.ones(1)}, "dora_scale is no part"),
        (lambda stored: {k: v for k, v in stored.items() if k != f"{QUERY}.lora_up.weight"}, ""),
        (
            lambda stored: {k: v * 0 if "lora_up" in k else v for k, v in stored.items()},
            "all that it adds is zero, so it changes nothing",
        ),
        (
            lambda stored: stored | {f"{QUERY}.lora_up.weight": torch.full((32, 2), torch.nan)},
            f"{QUERY} holds values that are no numbers",
        ),
        (lambda stored: {}, "it changes nothing"),
        (
            lambda stored: stored | {f"{QUERY}.alpha": torch.ones(2)},
            "diffusers cannot read it (RuntimeError: a Tensor with 2 elements",
        ),
        (lambda stored: diffusers_layout(torch.ones(2)), f"such as {QUERY}"),
        (
            lambda stored: diffusers_layout(torch.ones(2, 32).to(torch.float8_e4m3fn)),
            f"{QUERY}: expected numbers of kind float32, bfloat16 or float16, found torch.float8",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_before_weights_are_loaded(
    models, adapter, tmp_path, spoil, sentence
):
    path = tmp_path / "spoiled.safetensors"
    save_file(spoil(load_file(adapter)), path)
    with mock.patch.object(module, "_load") as load, pytest.raises(ConfigError) as error:
        DiffusersEditor(settings(models, {"path": str(adapter)}, {"path": str(path)}), "cpu")
    assert str(error.value).startswith(f"editors: tiny: adapters[1]: {path}: ")
    assert sentence in str(error.value)
    assert not load.called


def test_a_file_that_is_cut_off_is_refused(models, adapter, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(adapter.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"adapters\[0\]: .*cut.safetensors: expected .*, found"):
        DiffusersEditor(settings(models, {"path": str(path)}), "cpu")


def test_a_model_that_takes_no_adapters_says_so(models, adapter):
    with (
        mock.patch.object(adapters, "denoiser_name", return_value=None),
        pytest.raises(ConfigError, match="adapters: QwenImageEditPipeline takes none"),
    ):
        DiffusersEditor(settings(models, {"path": str(adapter)}), "cpu")


def test_an_adapter_of_a_hub_is_fetched_by_name_and_revision(models, adapter):
    given = {"path": "owner/name", "weight_name": "sub/a.safetensors", "revision": "v1"}
    with mock.patch.object(adapters, "hf_hub_download", return_value=str(adapter)) as download:
        DiffusersEditor(settings(models, given), "cpu")
    download.assert_called_once_with("owner/name", "sub/a.safetensors", revision="v1")
    missing = mock.patch.object(adapters, "hf_hub_download", side_effect=OSError("no such file"))
    with missing, pytest.raises(ConfigError, match=r"cannot load sub/a.safetensors \(OSError: no"):
        DiffusersEditor(settings(models, given), "cpu")


def test_an_adapter_is_named_by_its_contents_or_its_place_on_a_hub(
    models, adapter, tmp_path, sample
):
    def identity(*adapters):
        return keys.identity(settings(models, *adapters), sample)

    own = identity({"path": str(adapter)})
    shutil.copy(adapter, tmp_path / "copy.safetensors")
    assert identity({"path": str(tmp_path)}) == own, "a folder with one is that file"
    assert identity({"path": str(adapter), "weight": 2.0}) != own
    assert identity() != own
    hub = {"path": "owner/name", "weight_name": "a.safetensors"}
    assert identity(hub) != identity({**hub, "revision": "v1"})


def test_an_adapter_that_changes_during_the_run_ends_it(models, adapter, tmp_path, sample):
    """Images would be kept under the key of another."""
    path = tmp_path / "a.safetensors"
    shutil.copy(adapter, path)
    given = settings(models, {"path": str(path)})
    keys.identity(given, sample)
    tiny_editors.make_adapter(path, models / "editor", seed=1)
    with pytest.raises(ConfigError, match="changed during the run, run it again"):
        DiffusersEditor(given, "cpu")


# --- scales outside the tensors ----------------------------------------------------------------

KEY = "transformer_blocks.1.attn.to_k"
LAYERS = {QUERY: 2, KEY: 4}
"""Layers of an adapter without alphas, and their ranks."""


def plain_adapter(folder, header=None, beside=None, alphas=None):
    """Write an adapter in the layout of diffusers, with what is said of its scale elsewhere."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    stored = {}
    for layer, rank in LAYERS.items():
        for side, shape in {"A": (rank, 32), "B": (32, rank)}.items():
            name = f"transformer.{layer}.lora_{side}.weight"
            stored[name] = torch.randn(shape, generator=generator)
    named = {f"{layer}.alpha": torch.tensor(value) for layer, value in (alphas or {}).items()}
    if named:
        stored = {name.removeprefix("transformer."): value for name, value in stored.items()}
    path = folder / "lora.safetensors"
    save_file(stored | named, path, metadata={"format": "pt", **(header or {})})
    if beside is not None:
        (folder / "adapter_config.json").write_text(json.dumps(beside))
    models_module.adapter_sha256.cache_clear()
    adapter_scale.identity.cache_clear()
    return path


def fused(models, path, before, weight=1.0):
    """Return what was added to each layer, as a multiple of B A."""
    after = weights(settings(models, {"path": str(path), "weight": weight}))
    stored = load_file(path)
    found = []
    for layer in LAYERS:
        matrices = {side: stored[f"transformer.{layer}.lora_{side}.weight"] for side in "AB"}
        product = matrices["B"] @ matrices["A"]
        added = after[f"{layer}.weight"] - before[f"{layer}.weight"]
        factor = (added * product).sum() / product.square().sum()
        torch.testing.assert_close(added, factor * product, rtol=1e-3, atol=1e-4)
        found.append(float(factor))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{layer}.weight" for layer in LAYERS}
    return found


PEFT = {"peft_type": "LORA", "r": 2, "rank_pattern": {KEY: 4}, "lora_alpha": 8}
DIFFUSERS = {f"transformer.{name}": value for name, value in PEFT.items()}


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ({}, [1, 1]),
        ({"beside": PEFT}, [4, 2]),
        ({"beside": {**PEFT, "alpha_pattern": {"1.attn.to_k": 1}}}, [4, 0.25]),
        ({"beside": {**PEFT, "alpha_pattern": {r".*\.1\.attn\.to_k": 1}}}, [4, 0.25]),
        ({"beside": {**PEFT, "use_rslora": True}}, [8 / 2**0.5, 4]),
        ({"beside": {**PEFT, "init_lora_weights": "gaussian", "use_dora": False}}, [4, 2]),
        ({"header": {"lora_adapter_metadata": json.dumps(DIFFUSERS)}}, [4, 2]),
        ({"header": {"lora_adapter_metadata": json.dumps(PEFT)}}, [4, 2]),
        (
            {"header": {"lora_adapter_metadata": json.dumps(DIFFUSERS | {"transformer.new": 1})}},
            [4, 2],
        ),
        ({"header": {"peft_config": json.dumps(PEFT)}}, [4, 2]),
        ({"header": {"alpha": "8"}}, [4, 2]),
        ({"header": {"network_alpha": "1.0"}}, [0.5, 0.25]),
        ({"header": {"transformer.lora_alpha": "8"}}, [4, 2]),
        ({"header": {"lora_alpha": "8", "use_rslora": "True"}}, [8 / 2**0.5, 4]),
        ({"header": {"alpha": "8"}, "beside": PEFT}, [4, 2]),
        ({"header": {"ss_network_alpha": "None", "lora_scale": "1.0"}}, [1, 1]),
        ({"header": {"ss_scale_weight_norms": "2.0", "ss_guidance_scale": "3.5"}}, [1, 1]),
    ],
    ids=str,
)
def test_a_scale_outside_the_tensors_is_applied(models, tmp_path, places, expected):
    before = weights(settings(models))
    path = plain_adapter(tmp_path / "a", **places)
    assert fused(models, path, before) == pytest.approx(expected, rel=1e-4)
    half = [value / -2 for value in expected]
    assert fused(models, path, before, weight=-0.5) == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ({"beside": {**PEFT, "r": 16}}, f"adapter_config.json: expected rank 16 of {QUERY}, found"),
        ({"beside": {"r": 2, "lora_alpha": 8}}, f"expected rank 2 of {KEY}, found 4; it may be"),
        ({"beside": {**PEFT, "alpha_pattern": {"to_x": 1}}}, "'to_x' names none of its layers"),
        ({"beside": {**PEFT, "alpha_pattern": {"(": 1}}}, "expected a pattern of layers, found"),
        ({"beside": {**PEFT, "alpha_pattern": [1]}}, "expected rank_pattern and alpha_pattern"),
        ({"beside": {**PEFT, "lora_alpha": "8"}}, "expected numbers for alpha and rank, found"),
        ({"beside": {"r": 2}}, "adapter_config.json: expected numbers for alpha and rank"),
        ({"beside": {**PEFT, "use_dora": True}}, "expected a plain LoRA, found use_dora"),
        ({"beside": {**PEFT, "layer_replication": [[0, 1]]}}, "found layer_replication"),
        ({"beside": {**PEFT, "init_lora_weights": "pissa"}}, "found init_lora_weights 'pissa'"),
        ({"beside": {**PEFT, "peft_type": "LOHA"}}, "found peft_type 'LOHA'"),
        ({"beside": [1]}, "adapter_config.json: expected a JSON object"),
        ({"beside": PEFT, "header": {"alpha": "4"}}, "adapter_config.json and alpha tell of diff"),
        ({"header": {"alpha": "many"}}, "alpha: expected numbers for alpha and rank"),
        ({"header": {"ss_network_alpha": "1"}}, "its header says ss_network_alpha: 1 for rank 2"),
        ({"header": {"lora_scale": "0.25"}}, "its header says lora_scale: 0.25"),
        ({"header": {"transformer.scaling": "2"}}, "its header says transformer.scaling: 2"),
        (
            {"beside": PEFT, "alphas": {QUERY: 8.0, KEY: 4.0}},
            "its alphas and adapter_config.json tell of different scales",
        ),
        (
            {
                "header": {"lora_adapter_metadata": json.dumps(DIFFUSERS)},
                "alphas": {QUERY: 1.0, KEY: 1.0},
            },
            "its alphas and lora_adapter_metadata tell of different scales",
        ),
    ],
    ids=str,
)
def test_a_scale_that_is_not_clear_is_refused(models, tmp_path, places, sentence):
    path = plain_adapter(tmp_path / "a", **places)
    with mock.patch.object(module, "_load") as load, pytest.raises(ConfigError) as error:
        DiffusersEditor(settings(models, {"path": str(path)}), "cpu")
    assert str(error.value).startswith(f"editors: tiny: adapters[0]: {tmp_path}/a/")
    assert sentence in str(error.value)
    assert not load.called


def test_alphas_among_the_tensors_win_over_notes_and_count_once(models, tmp_path):
    before = weights(settings(models))
    alphas = {QUERY: 8.0, KEY: 8.0}
    bare = weights(settings(models, {"path": str(plain_adapter(tmp_path / "a", alphas=alphas))}))
    for number, places in enumerate(
        [
            {"header": {"alpha": "3", "ss_network_alpha": "Dynamic", "lora_scale": "2"}},
            {"header": {"lora_adapter_metadata": json.dumps(DIFFUSERS)}},
            {"beside": PEFT},
        ]
    ):
        path = plain_adapter(tmp_path / str(number), alphas=alphas, **places)
        after = weights(settings(models, {"path": str(path)}))
        assert all(torch.equal(bare[name], after[name]) for name in before)
    assert not torch.equal(bare[f"{QUERY}.weight"], before[f"{QUERY}.weight"])


def test_a_scale_beside_the_file_is_part_of_its_name_where_it_decides(models, tmp_path, sample):
    def identity(**places):
        path = plain_adapter(tmp_path / "a", **places)
        own = keys.identity(settings(models, {"path": str(path)}), sample)
        (tmp_path / "a" / "adapter_config.json").unlink(missing_ok=True)
        return own["adapters"][0]

    plain = identity()
    assert plain.keys() == {"sha256", "weight"}
    found = [
        identity(beside=PEFT),
        identity(beside={**PEFT, "lora_alpha": 4}),
        identity(beside={**PEFT, "use_rslora": True}),
        identity(beside={**PEFT, "alpha_pattern": {KEY: 1}}),
    ]
    assert all(own.pop("sha256") == plain["sha256"] for own in found)
    assert len({json.dumps(own) for own in found}) == 4
    assert "scale" in identity(header={"alpha": "8"})
    diffusers_own = {"lora_adapter_metadata": json.dumps(DIFFUSERS)}
    alphas = {QUERY: 8.0, KEY: 8.0}
    for same in ({"header": diffusers_own}, {"alphas": alphas, "beside": PEFT}):
        assert identity(**same).keys() == {"sha256", "weight"}, "it was right before"


def test_a_configuration_that_changes_during_the_run_ends_it(models, tmp_path, sample):
    path = plain_adapter(tmp_path / "a", beside=PEFT)
    given = settings(models, {"path": str(path)})
    keys.identity(given, sample)
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({**PEFT, "lora_alpha": 1}))
    with pytest.raises(ConfigError, match="changed during the run, run it again"):
        DiffusersEditor(given, "cpu")
    assert adapter_scale.beside(path) == tmp_path / "a" / "adapter_config.json"


def test_an_adapter_of_a_hub_has_its_configuration_there(models, tmp_path):
    path = plain_adapter(tmp_path / "a")
    (tmp_path / "c.json").write_text(json.dumps(PEFT))
    before = weights(settings(models))

    def hub(answer):
        def download(repository, name, revision):
            assert (repository, revision) == ("owner/name", "v1")
            if name == "sub/lora.safetensors":
                return str(path)
            assert name == "sub/adapter_config.json"
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        given = {"path": "owner/name", "weight_name": "sub/lora.safetensors", "revision": "v1"}
        with mock.patch.object(adapters, "hf_hub_download", side_effect=download):
            after = weights(settings(models, given))
        return (after[f"{QUERY}.weight"] - before[f"{QUERY}.weight"]).norm()

    bare = hub(EntryNotFoundError("none"))
    torch.testing.assert_close(hub(tmp_path / "c.json"), 4 * bare)
    with pytest.raises(ConfigError, match=r"cannot ask the hub for sub/adapter_config.json"):
        hub(LocalEntryNotFoundError("no network"))
