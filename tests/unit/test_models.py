"""Models on disk, the judge and the editors without a model: the real classes, the real code."""

from lockstep.models import fingerprints as models_module
from lockstep.models.fingerprints import model_identity


def test_all_that_decides_what_a_model_gives_is_watched(models):
    from lockstep.models.fingerprints import model_files

    names = {str(p.relative_to(models / "editor")) for p in model_files(str(models / "editor"))}
    assert {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "processor/chat_template.jinja",
        "tokenizer/tokenizer.json",
        "transformer/diffusion_pytorch_model.safetensors",
    } <= names
    assert "RANDOM_WEIGHTS" not in names


def test_a_part_behind_a_link_decides_what_a_model_is(tmp_path):
    """A checkpoint is often a folder of links to parts; another part must not pass for this one."""
    folder = tmp_path / "model"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    # back to itself, which has no end
    (folder / "again").symlink_to(folder)

    def known(part):
        (folder / "transformer").unlink(missing_ok=True)
        (folder / "transformer").symlink_to(tmp_path / part)
        models_module.folder_hashes.cache_clear()
        models_module.folder_state.cache_clear()
        names = [str(path.relative_to(folder)) for path in models_module.model_files(str(folder))]
        assert names == ["model_index.json", "transformer/model.safetensors"]
        return model_identity(str(folder), None)["fingerprint"], models_module.folder_state(folder)

    # one that leads nowhere is for whoever loads the model to tell of
    (folder / "gone.json").symlink_to(tmp_path / "gone")
    assert models_module.files_state([str(folder / "gone.json")]) == [[]]
    (folder / "gone.json").unlink()
    first, second = known("one"), known("two")
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert known("one") == first


def test_a_readme_in_a_models_folder_changes_nothing(models, tmp_path):
    import shutil

    shutil.copytree(models / "judge", tmp_path / "judge")
    (tmp_path / "judge" / "README.md").write_text("hello")
    own = model_identity(str(models / "judge"), None)
    assert model_identity(str(tmp_path / "judge"), None) == own
    (tmp_path / "judge" / "chat_template.jinja").write_text("hello")
    models_module.folder_hashes.cache_clear()
    assert model_identity(str(tmp_path / "judge"), None) != own


def test_the_hash_of_a_large_file_is_remembered_until_it_changes(tmp_path, monkeypatch):
    from lockstep import records

    monkeypatch.setattr("lockstep.records.host_folder", lambda: tmp_path / "host")
    (tmp_path / "host").mkdir()
    monkeypatch.setattr(models_module, "LARGE", 10)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a" * 20)
    first = models_module.file_sha256(path)
    assert first == records.sha256(b"a" * 20)
    (note,) = (p for p in (tmp_path / "host").iterdir() if p.suffix != ".lock")
    note.write_text("remembered")
    assert models_module.file_sha256(path) == "remembered"
    path.write_bytes(b"b" * 21)
    assert models_module.file_sha256(path) == records.sha256(b"b" * 21)


def test_a_folder_of_the_same_name_elsewhere_is_another(tmp_path, monkeypatch):
    states = []
    for place in ("one", "two"):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model" / "config.json").write_text(place)
        monkeypatch.chdir(tmp_path / place)
        states.append((models_module.folder_state("model"), models_module.folder_hashes("model")))
    assert states[0][0] != states[1][0]
    assert states[0][1] != states[1][1]
