"""Editors that need no model."""

import pytest
from PIL import Image, PngImagePlugin

from lockstep import config, editors
from lockstep.errors import EditError
from lockstep.images import open_rgb

IDENTITY = config.IdentityEditor(name="i", type="identity")


def edited(settings, sample):
    editor = editors.load_editor(settings, "cpu")
    return editor.edit(editor.prepare(sample), sample, 1)


@pytest.fixture
def settings(tmp_path):
    return config.PrecomputedEditor(name="p", type="precomputed", folder=str(tmp_path))


def test_precomputed_images_are_found_by_id_and_hashed(tmp_path, sample, settings):
    assert editors.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"found no image of sample 'a', accepted is a with one of"):
        edited(settings, sample)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.webp")
    assert edited(settings, sample).size == (4, 4)
    assert editors.identity(settings, sample)["file_sha256"]


def test_a_finished_image_is_laid_on_the_background_if_it_is_transparent(
    tmp_path, sample, settings
):
    green = sample.model_copy(update={"background": "#00ff00"})
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert editors.identity(settings, green) == editors.identity(settings, sample)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert editors.identity(settings, green) != editors.identity(settings, sample)
    assert edited(settings, green).getpixel((0, 0)) == (0, 255, 0)


def test_a_finished_image_that_is_none_fails_by_itself(tmp_path, sample, settings):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert editors.identity(settings, sample)["file_sha256"]
    with pytest.raises(EditError, match=r"a\.webp: found an animation of 2 pictures"):
        edited(settings, sample)
    (tmp_path / "a.webp").write_bytes(b"no image")
    assert editors.identity(settings, sample)["file_sha256"]
    with pytest.raises(Image.UnidentifiedImageError):
        edited(settings, sample)
    # as one that may not be read, before any edit begins
    (tmp_path / "a.webp").unlink()
    (tmp_path / "a.webp").mkdir()
    assert editors.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(IsADirectoryError):
        edited(settings, sample)
    (tmp_path / "a.webp").rmdir()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "x" * 2**21, zip=True)
    frames[0].save(tmp_path / "a.png", pnginfo=notes)
    assert editors.identity(settings, sample)["file_sha256"]
    with pytest.raises(ValueError, match="Decompressed data too large"):
        edited(settings, sample)


def test_the_identity_editor_returns_the_source(sample):
    assert edited(IDENTITY, sample).tobytes() == open_rgb(sample.image).tobytes()


def test_the_size_policy_is_part_of_every_editor_s_identity(sample, settings):
    for given in (settings, IDENTITY):
        native = editors.identity(given, sample)
        assert native["size_policy"] == "native"
        assert "resize_filter" not in native
        source = editors.identity(given.model_copy(update={"size": "source"}), sample)
        assert (source["size_policy"], source["resize_filter"]) == ("source", "lanczos")
