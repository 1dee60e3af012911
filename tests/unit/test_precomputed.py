"""Editors and judges that need no model."""

import os

import pytest
from PIL import Image, PngImagePlugin

from lockstep import records
from lockstep.editors import keys as editor_keys
from lockstep.editors.identity import IdentitySettings
from lockstep.editors.precomputed import PrecomputedEditorSettings
from lockstep.errors import EditError
from lockstep.foreign.images import open_rgb
from lockstep.judges import keys as judge_keys
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.protocol import Judgement, Pair

IDENTITY = IdentitySettings(name="i", type="identity")


def edited(settings, sample):
    editor = settings.load("cpu")
    return editor.edit(editor.prepare(sample), sample, 1)


@pytest.fixture
def settings(tmp_path):
    return PrecomputedEditorSettings(name="p", type="precomputed", folder=str(tmp_path))


def test_precomputed_images_are_found_by_id_and_hashed(tmp_path, sample, settings):
    assert editor_keys.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"an image a with one of the suffixes .*, found none"):
        edited(settings, sample)
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.webp")
    assert edited(settings, sample).size == (4, 4)
    assert editor_keys.identity(settings, sample)["file_sha256"]


def test_a_finished_image_is_laid_on_the_background_if_it_is_transparent(
    tmp_path, sample, settings
):
    green = sample.model_copy(update={"background": "#00ff00"})
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert editor_keys.identity(settings, green) == editor_keys.identity(settings, sample)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert editor_keys.identity(settings, green) != editor_keys.identity(settings, sample)
    assert edited(settings, green).getpixel((0, 0)) == (0, 255, 0)


def test_a_finished_image_that_is_none_fails_by_itself(tmp_path, sample, settings):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert editor_keys.identity(settings, sample)["file_sha256"]
    with pytest.raises(
        EditError, match=r"a\.webp: expected a still image, found an animation of 2 pictures"
    ):
        edited(settings, sample)
    (tmp_path / "a.webp").write_bytes(b"no image")
    assert editor_keys.identity(settings, sample)["file_sha256"]
    with pytest.raises(EditError, match=r"a\.webp: expected PNG, .*, found 8 bytes that are no"):
        edited(settings, sample)
    # as one that may not be read, before any edit begins
    (tmp_path / "a.webp").unlink()
    (tmp_path / "a.webp").mkdir()
    assert editor_keys.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"a\.webp: expected a file, found none .*directory"):
        edited(settings, sample)
    (tmp_path / "a.webp").rmdir()
    os.mkfifo(tmp_path / "a.webp")
    assert editor_keys.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"a\.webp', which is no file"):
        edited(settings, sample)


def test_a_text_of_any_length_in_a_finished_image_is_passed_over(tmp_path, sample, settings):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "x" * 2**25, zip=True)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png", pnginfo=notes)
    assert edited(settings, sample).getpixel((0, 0)) == (255, 0, 0)


def test_a_finished_image_is_decoded_apart_and_in_bounds(tmp_path, sample, settings):
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    with pytest.raises(EditError, match=r"expected up to 64,000,000 pixels .* 9000×9000 pixels"):
        edited(settings, sample)
    large = sample.model_copy(update={"width": 9000, "height": 9000})
    assert edited(settings, large).size == (9000, 9000)


@pytest.mark.parametrize("name", ["a.PNG", "A.png", "Ａ.Png"])
def test_a_finished_image_is_found_whatever_the_case_of_its_name(tmp_path, sample, settings, name):
    Image.new("RGB", (4, 4), "red").save(tmp_path / name, "PNG")
    assert editor_keys.identity(settings, sample)["file_sha256"]
    assert edited(settings, sample).getpixel((0, 0)) == (255, 0, 0)


def test_of_two_finished_images_of_a_sample_none_is_guessed(tmp_path, sample, settings):
    for name in ("a.png", "a.JPG"):
        Image.new("RGB", (4, 4), "red").save(tmp_path / name)
    assert editor_keys.identity(settings, sample)["file_sha256"] is None
    with pytest.raises(EditError, match=r"expected one file of sample 'a' in .*, found a.JPG and"):
        edited(settings, sample)
    (tmp_path / "a.JPG").unlink()
    (tmp_path / "A.jpg").touch()
    # the name that has exactly the id is the one
    assert edited(settings, sample).size == (4, 4)


def test_the_identity_editor_returns_the_source(sample):
    assert edited(IDENTITY, sample).tobytes() == open_rgb(sample.image).tobytes()


def test_the_size_policy_is_part_of_every_editor_s_identity(sample, settings):
    for given in (settings, IDENTITY):
        native = editor_keys.identity(given, sample)
        assert native["size_policy"] == "native"
        assert "resize_filter" not in native
        source = editor_keys.identity(given.model_copy(update={"size": "source"}), sample)
        assert (source["size_policy"], source["resize_filter"]) == ("source", "lanczos")


def judged(folder, name="é"):
    settings = PrecomputedJudgeSettings(type="precomputed", folder=str(folder))
    pair = Pair(name, "e", source=None, edited=None, rubric=None, prompt="")
    (judgement,) = settings.load("cpu").judge([pair])
    return judgement


@pytest.mark.parametrize("name", ["é.txt", "e\u0301.txt", "É.txt"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_finished_reply_is_found_in_any_form_of_its_name(tmp_path, name, start):
    records.write_text(tmp_path / "e" / name, start + "the reply")
    assert judged(tmp_path) == Judgement("the reply")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "expected a text file"),
        ({"é.TXT": b"x"}, "expected the suffix .txt, found .TXT"),
        ({"É.txt": b"x", "e\u0301.txt": b"y"}, "expected one file of sample 'é' in"),
        (
            {"é.txt": b"\xff\xfe\xff"},
            "reply of 'é' (expected text in UTF-8, found another",
        ),
        ({"é.txt": bytes(2**20 + 1)}, "expected up to 1,048,576 bytes in 'é.txt', found 1,048,577"),
    ],
)
def test_a_finished_reply_that_cannot_be_read_is_told(tmp_path, files, sentence):
    for name, data in files.items():
        records.write_bytes(tmp_path / "e" / name, data)
    judgement = judged(tmp_path)
    assert judgement.reply is None
    assert sentence in judgement.error


def test_a_folder_in_the_place_of_a_reply_fails_that_sample_alone(tmp_path):
    (tmp_path / "e" / "é.txt").mkdir(parents=True)
    assert "found no readable reply" in judged(tmp_path).error


def test_replies_with_names_in_another_writing_are_part_of_what_decides(tmp_path):
    before = {}
    for text in ("a", "b"):
        folder = tmp_path / text / "e"
        folder.mkdir(parents=True)
        with open(os.fsencode(folder) + b"/" + "球.txt".encode("gbk"), "w") as file:
            file.write(text)
        assert judged(tmp_path / text, "球").reply == text
        settings = PrecomputedJudgeSettings(type="precomputed", folder=str(tmp_path / text))
        before[text] = judge_keys.identity(settings)
    assert before["a"] != before["b"]
