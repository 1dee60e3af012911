"""How alike edits are to their sources, as models with local weights tell."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from lockstep import layout, records
from lockstep.config.load import load_config
from lockstep.config.metrics import MetricsSettings
from lockstep.errors import ConfigError, DamagedError
from lockstep.figures import measuring, preservation, similarity, tables
from lockstep.models import encoders
from lockstep.records import EditRecord
from lockstep.rubrics.rubric import read_rubric
from tests import tiny_encoders
from tests.conftest import ROOT, make_sample
from tests.unit.test_preservation import edit

INSTRUCTION = "Let go of the ball."
MAKERS = {
    "clip": tiny_encoders.make_clip,
    "dino": tiny_encoders.make_dino,
    "lpips": tiny_encoders.make_alexnet,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {name: str(make(folder / name)) for name, make in MAKERS.items()}


@pytest.fixture
def copied(made, tmp_path) -> dict[str, str]:
    """Return folders of models that a test may change."""
    for name, folder in made.items():
        shutil.copytree(folder, tmp_path / name)
    return {name: str(tmp_path / name) for name in made}


def picture(seed=0, size=(96, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def told(name, folder, source, edited, instruction=INSTRUCTION):
    return similarity._loaded(name, str(folder), 1)(source, edited, instruction)


@pytest.mark.parametrize("name", MAKERS)
def test_an_edit_that_is_its_source_is_as_alike_as_can_be(made, name):
    same = told(name, made[name], picture(), picture().copy()).numbers
    other = told(name, made[name], picture(), picture(1)).numbers
    number = {"clip": "clip_similarity", "dino": "dino_similarity", "lpips": "lpips"}[name]
    assert same[number] == pytest.approx(0 if name == "lpips" else 1, abs=1e-6)
    assert (other[number] > 1e-4) if name == "lpips" else (other[number] < 1 - 1e-5)


def test_clip_is_told_as_its_own_logits_tell_it(made):
    model = transformers.CLIPModel.from_pretrained(made["clip"]).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(made["clip"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(made["clip"])
    source, edited = picture(), picture(1)
    text = tokenizer([INSTRUCTION], return_tensors="pt")
    with torch.inference_mode():
        seen = model(**text, **prepare([source, edited], return_tensors="pt"))
        logits = seen.logits_per_image / model.logit_scale.exp()
    one, other = seen.image_embeds.double()
    found = told("clip", made["clip"], source, edited).numbers
    assert found["clip_text"] == pytest.approx(logits[1, 0].item(), abs=1e-5)
    assert found["clip_similarity"] == pytest.approx((one @ other).item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters", "DINOv3ViT", "ViT"])
def test_every_kind_of_dino_is_told_by_its_class_token(tmp_path, kind):
    folder = tiny_encoders.make_dino(tmp_path, kind)
    encoders.check_encoder("dino", str(folder))
    model = transformers.AutoModel.from_pretrained(folder).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = prepare([picture(), picture(1)], return_tensors="pt")
        one, other = model(**inputs).last_hidden_state[:, 0].double()
    expected = (one @ other / one.norm() / other.norm()).item()
    found = told("dino", folder, picture(), picture(1)).numbers
    assert found == {"dino_similarity": pytest.approx(expected, abs=1e-5)}


def test_lpips_is_that_of_its_authors(made):
    """Zhang et al. 2018, equation 1, with the heads that torchmetrics ships."""
    import torchmetrics.functional.image.lpips as package
    from torchvision.models import AlexNet

    with torch.device("meta"):
        features = AlexNet().features
    held = load_file(Path(made["lpips"], "alexnet.safetensors"))
    held = {key.removeprefix("features."): value for key, value in held.items()}
    features.load_state_dict(held, assign=True)
    path = Path(package.__file__).parent / "lpips_models" / "alex.pth"
    heads = torch.load(path, map_location="cpu")
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).view(
        2, 1, 3, 1, 1
    )
    layers = []
    with torch.inference_mode():
        for own in (picture(), picture(1)):
            pixels = torch.from_numpy(np.array(own)).permute(2, 0, 1)[None] / 127.5 - 1
            seen, layer = [], (pixels - shift) / scale
            for number, part in enumerate(features):
                layer = part(layer)
                if number in (1, 4, 7, 9, 11):
                    seen.append(layer / layer.norm(dim=1, keepdim=True).clamp(min=1e-10))
            layers.append(seen)
        apart = [(one - other) ** 2 for one, other in zip(*layers, strict=True)]
        weighted = ((heads[f"lin{k}.model.1.weight"] * own).sum(1) for k, own in enumerate(apart))
        expected = sum(own.mean().item() for own in weighted)
    found = told("lpips", made["lpips"], picture(), picture(1)).numbers["lpips"]
    assert found == pytest.approx(expected, rel=1e-4)


class RunsCode:
    """Makes a folder when it is read back."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_weights_of_torch_are_taken_too_and_only_weights(tmp_path):
    folder = tiny_encoders.make_alexnet(tmp_path / "one", "alexnet.pth")
    other = tiny_encoders.make_alexnet(tmp_path / "other")
    pair = (picture(), picture(1))
    assert told("lpips", folder, *pair) == told("lpips", other, *pair)
    torch.save({"features.0.weight": RunsCode(tmp_path / "ran")}, folder / "alexnet.pth")
    with pytest.raises(ConfigError, match=r"alexnet\.pth: expected weights of torchvision's Alex"):
        told("lpips", folder, *pair)
    assert not (tmp_path / "ran").exists()


def test_the_file_that_torchvision_gives_is_the_one_that_is_asked_for(tmp_path):
    from torchvision.models import AlexNet_Weights

    name = Path(AlexNet_Weights.IMAGENET1K_V1.url).name
    with pytest.raises(ConfigError, match=f"expected torchvision's {name}"):
        encoders.check_encoder("lpips", str(tmp_path))
    tiny_encoders.make_alexnet(tmp_path, name)
    with pytest.raises(ConfigError, match=r"whose SHA-256 begins with 7be5be79, .*, found \w{8}"):
        encoders.check_encoder("lpips", str(tmp_path))
    digest = records.sha256((tmp_path / name).read_bytes())
    (tmp_path / name).rename(tmp_path / f"alexnet-owt-{digest[:8]}.pth")
    encoders.check_encoder("lpips", str(tmp_path))


@pytest.mark.parametrize("size", [(1, 1), (30, 200), (31, 200), (200, 31), (3, 900)])
def test_small_and_narrow_images_have_what_can_be_told(made, size):
    pair = (picture(size=size), picture(1, size=(64, 64)))
    assert ("lpips" in told("lpips", made["lpips"], *pair).numbers) == (min(size) >= 31)
    for name in ("clip", "dino"):
        assert all(map(np.isfinite, told(name, made[name], *pair).numbers.values()))


def test_an_instruction_that_clip_cuts_is_said(made):
    long = "Let go of the ball. " * 20
    found = told("clip", made["clip"], picture(), picture(1), long)
    count = len(transformers.AutoTokenizer.from_pretrained(made["clip"])(long)["input_ids"])
    assert found.clip_text_cut == f"cut after 77 of {count} tokens"
    assert told("clip", made["clip"], picture(), picture(1)).clip_text_cut is None


@pytest.fixture
def place(tmp_path):
    """Return a manifest of three samples, the first shard's records and the category's folder."""
    samples = [make_sample(tmp_path, name, index=n) for n, name in enumerate("abc")]
    folder = tmp_path / "results" / "editor" / "physical"
    edits = [
        edit(folder, own, Image.open(own.image).rotate(5 * n), own.id)
        for n, own in enumerate(samples)
    ]
    manifest, shard = tmp_path / "physical.jsonl", layout.shard(folder, "edits", 0, 1)
    records.write_records(manifest, samples)
    records.write_records(shard, edits)
    return manifest, [shard], folder


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, str]]:
    """Return what is measured from here on: measure and instruction."""
    seen: list[tuple[str, str]] = []
    loaded = similarity._loaded

    def watched(name, folder, threads):
        tell = loaded(name, folder, threads)
        return lambda *of: seen.append((name, of[2])) or tell(*of)

    monkeypatch.setattr(similarity, "_loaded", watched)
    return seen


def test_only_what_is_new_to_a_model_is_measured(place, copied, asked):
    manifest, edits, folder = place
    first = similarity.similar(*place, copied, 1)
    assert [name for name, _ in asked] == ["clip"] * 3 + ["dino"] * 3 + ["lpips"] * 3
    assert first["a"]["clip_similarity"] == first["a"]["dino_similarity"] == 1
    assert first["a"]["lpips"] == 0 and first["b"]["lpips"] > 0
    asked.clear()
    assert similarity.similar(*place, copied, 1) == first and not asked
    # another model, at the same place
    tiny_encoders.make_dino(Path(copied["dino"]), seed=1)
    _forget()
    second = similarity.similar(*place, copied, 1)
    assert [name for name, _ in asked] == ["dino"] * 3
    assert second["b"]["dino_similarity"] != first["b"]["dino_similarity"]
    assert second["b"]["clip_text"] == first["b"]["clip_text"]
    asked.clear()
    samples = records.read_manifest(manifest)
    samples = [own.model_copy(update={"instruction": f"{own.id}!"}) for own in samples]
    records.write_records(manifest, samples)
    similarity.similar(*place, copied, 1)
    assert asked == [("clip", "a!"), ("clip", "b!"), ("clip", "c!")]
    asked.clear()
    changed = records.read_records(edits[0], EditRecord)
    changed[1] = edit(folder, samples[1], picture(2), "b")
    records.write_records(edits[0], changed)
    similarity.similar(*place, copied, 1)
    assert [text for _, text in asked] == ["b!"] * 3


def _forget():
    from lockstep.models import fingerprints

    fingerprints.folder_hashes.cache_clear()


def test_a_moved_model_is_the_same(place, copied, asked, tmp_path):
    similarity.similar(*place, copied, 1)
    asked.clear()
    moved = {name: str(tmp_path / f"moved-{name}") for name in copied}
    for name, target in moved.items():
        shutil.move(copied[name], target)
    similarity.similar(*place, moved, 1)
    assert not asked


def test_what_was_measured_before_a_kill_is_kept(place, made, asked, monkeypatch):
    monkeypatch.setattr(similarity, "BATCH", 1)
    tell = similarity._finite

    def killed(*of):
        if len(asked) > 5:
            raise KeyboardInterrupt
        return tell(*of)

    monkeypatch.setattr(similarity, "_finite", killed)
    with pytest.raises(KeyboardInterrupt):
        similarity.similar(*place, made, 1)
    monkeypatch.setattr(similarity, "_finite", tell)
    asked.clear()
    similarity.similar(*place, made, 1)
    assert [name for name, _ in asked] == ["dino"] + ["lpips"] * 3


def test_nothing_is_asked_of_the_network(place, made, monkeypatch):
    def refuse(*of, **_):
        raise AssertionError(f"asked {of}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    assert len(similarity.similar(*place, made, 1)) == 3


def test_a_kept_number_of_another_name_is_refused(place, made):
    similarity.similar(*place, made, 1)
    path = layout.similarity(place[2])
    path.write_text(path.read_text(encoding="utf-8").replace('"lpips"', '"score"'))
    with pytest.raises(DamagedError, match=r"similarity\.jsonl"):
        similarity.similar(*place, made, 1)


def test_an_edit_whose_image_is_gone_has_no_numbers(place, made):
    layout.edited(place[2], "b").write_bytes(b"")
    assert sorted(similarity.similar(*place, made, 1)) == ["a", "c"]


def test_without_models_nothing_is_read_and_nothing_written(place):
    assert similarity.similar(*place, {}, 1) == {}
    assert not layout.similarity(place[2]).exists()


def test_a_model_that_gives_no_numbers_is_said(place, copied):
    path = Path(copied["dino"], "model.safetensors")
    held = load_file(path)
    save_file({key: value * float("nan") for key, value in held.items()}, path, {"format": "pt"})
    with pytest.raises(ConfigError, match="dino: expected a finite number from the model"):
        similarity.similar(*place, copied, 1)


def test_a_model_that_lacks_weights_is_said(place, copied):
    path = Path(copied["clip"], "model.safetensors")
    held = load_file(path)
    del held["visual_projection.weight"]
    save_file(held, path, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"no fitting weights for visual_projection\.weight"):
        similarity.similar(*place, copied, 1)


def test_tables_and_summaries_have_what_was_asked_for(place, made):
    manifest, edits, folder = place
    rubric = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")
    kept = measuring.preserved(manifest, edits, folder, 1)
    plain = tables.table(manifest, edits, [], rubric, folder, kept)
    assert plain["clip_similarity"].isna().all()
    assert "lpips" not in preservation.summarise(plain)["distribution"]
    found = similarity.similar(*place, made, 1)
    found["b"]["clip_text_cut"] = "cut after 77 of 78 tokens"
    frame = tables.table(manifest, edits, [], rubric, folder, kept, found)
    records.write_text(folder / "table.csv", tables.to_csv(frame))
    frame = tables.read_table(folder / "table.csv")
    assert frame["lpips"].tolist() == [found[name]["lpips"] for name in "abc"]
    assert frame["score"].isna().all()
    summary = preservation.summarise(frame)
    assert summary["clip_text_cut"] == 1
    assert summary["distribution"]["dino_similarity"]["high"] <= 1
    assert set(summary["distribution"]) >= {"clip_similarity", "clip_text", "lpips"}


BASE = {
    "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
    "editors": [{"name": "control", "type": "identity"}],
    "judge": {"type": "precomputed", "scores": str(ROOT / "README.md")},
}


def refused(name, folder) -> str:
    with pytest.raises(ConfigError) as error:
        load_config({**BASE, "metrics": {name: str(folder)}}, "c.yaml")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"c.yaml: metrics.{name}: ")
    return str(error.value)


@pytest.mark.parametrize("name", MAKERS)
def test_a_hub_id_or_a_file_is_no_folder(name, tmp_path):
    (tmp_path / "file").touch()
    for given in ("openai/clip-vit-large-patch14", "/no/where", tmp_path / "file"):
        sentence = refused(name, given)
        assert f"which are not downloaded, found no folder {str(given)!r}" in sentence


LACKS = [
    ("clip", "config.json", "found no config.json"),
    (
        "clip",
        "preprocessor_config.json",
        "expected preprocessor_config.json or processor_config.json in",
    ),
    ("clip", "tokenizer.json", "expected tokenizer.json or vocab.json in"),
    ("clip", "model.safetensors", "found no weights"),
    ("dino", "config.json", "found no config.json"),
    ("dino", "preprocessor_config.json", "expected preprocessor_config.json in"),
    ("dino", "model.safetensors", "found no weights"),
    ("lpips", "alexnet.safetensors", "found no file of AlexNet"),
]


@pytest.mark.parametrize(("name", "file", "sentence"), LACKS)
def test_a_folder_that_lacks_a_file_is_said_before_anything_runs(copied, name, file, sentence):
    Path(copied[name], file).unlink()
    assert sentence in refused(name, copied[name])


def test_what_only_stands_for_a_file_of_weights_is_said(tmp_path):
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    path.mkdir()
    assert "expected a file, found a folder" in refused("lpips", tmp_path)
    path.rmdir()
    path.symlink_to("gone")
    assert "found a link that leads to no file" in refused("lpips", tmp_path)
    path.unlink()
    path.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    assert "found a Git LFS pointer" in refused("lpips", tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_a_cut_file_of_weights_is_said_before_anything_runs(copied, name):
    (path,) = Path(copied[name]).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8])
    assert "it may have been cut off" in refused(name, copied[name])


def test_a_model_of_another_type_is_said_before_anything_runs(made):
    assert "found a model of type 'dinov2'" in refused("clip", made["dino"])
    assert "expected a model of type dinov2 or dinov2_with_reg" in refused("dino", made["clip"])
    assert "found no file of AlexNet" in refused("lpips", made["clip"])


def test_a_configuration_with_models_loads_no_torch(made):
    code = (
        "import sys; from lockstep.config.load import load_config; "
        f"load_config({ ({**BASE, 'metrics': made})!r}, 'c.yaml').metrics.state(); "
        "import lockstep.figures.similarity; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_tables_are_made_again_exactly_when_a_model_changes(copied, tmp_path):
    before = MetricsSettings(**copied).state()
    moved = tmp_path / "moved"
    shutil.copytree(copied["clip"], moved)
    assert MetricsSettings(**{**copied, "clip": str(moved)}).state() == before
    tiny_encoders.make_clip(Path(copied["clip"]), seed=1)
    assert MetricsSettings(**copied).state() != before
    assert MetricsSettings().state() == []
