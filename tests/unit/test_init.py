"""`init`: a configuration for whatever it is pointed at."""

import json
import os
from pathlib import Path

import pytest

from lockstep.benchmark.intake import prepare
from lockstep.commands.doctor import examine
from lockstep.commands.init import init
from lockstep.config import load
from lockstep.devices import device
from lockstep.errors import LockstepError
from tests import formats

OWN = {
    "re_edit": ("config/rubrics", None),
    "gedit": ("config/rubrics/gedit", None),
    "imgedit": ("config/rubrics/imgedit", None),
    "kris": ("config/rubrics/kris", None),
    "rise": ("config/rubrics/rise", None),
    "uniredit": ("config/rubrics/uniredit", ["viewpoint", "sokoban"]),
    "table": ("config/rubrics/viescore.yaml", ["室内", "outdoor"]),
}
"""Rubrics and categories of each format that `formats` makes."""


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "visible_gpus", list)
    return tmp_path


def gpus(monkeypatch, count, total):
    monkeypatch.setattr(device, "visible_gpus", lambda: [str(n) for n in range(count)])
    monkeypatch.setattr(device, "model", lambda _: "NVIDIA H200")
    monkeypatch.setattr(device, "memory", lambda _: (0, total))


def begin(path, output=None):
    """Return what is printed, and the configuration as a run reads it."""
    printed = "\n".join(init(Path(path), None if output is None else Path(output)))
    (file,) = [f for f in Path().glob("*.yaml") if output is None or str(f) == output]
    assert f"written    {file}\n" in printed
    # the default rubrics lie beside the workflow
    return printed, load.of_file(file), file.read_text(encoding="utf-8")


def refused(path, output=None):
    before = sorted(Path().rglob("*"))
    with pytest.raises(LockstepError) as raised:
        list(init(Path(path), None if output is None else Path(output)))
    assert sorted(Path().rglob("*")) == before
    said = str(raised.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("count", [0, 2])
def test_each_format_gives_a_configuration_that_can_be_read(work, monkeypatch, name, count):
    made = getattr(formats, name)(Path("b"), 40)
    gpus(monkeypatch, count, 141 * 10**9)
    rubrics, categories = OWN[name]
    printed, settings, text = begin(made.settings["path"])
    assert settings.benchmark.path == made.settings["path"]
    assert f"{made.samples} samples" in printed
    if categories is not None:
        assert list(settings.benchmark.categories) == categories
    for category in settings.benchmark.categories:
        assert any(line.split()[1:2] == [category] for line in printed.splitlines())
    if count:
        assert settings.judge.rubrics.endswith(rubrics)
        assert settings.editors[0].preset.startswith("qwen-image-edit")
        assert settings.devices.device_ids == "auto"
        assert "2 × NVIDIA H200, 141 GB" in text
        assert settings.benchmark.limit is None
    else:
        assert settings.devices.accelerator == "cpu"
        assert Path(settings.editors[0].model).is_dir()
        assert settings.benchmark.limit == 2
        assert "scores of other images mean nothing" in text


def test_only_what_a_benchmark_needs_is_set(work):
    made = formats.re_edit(Path("b"), 10)
    assert [line for line in begin(made.settings["path"])[2].splitlines() if line[:3] == "  p"] == [
        "  path: b/benchmark.json"
    ]
    for key in ("images", "categories", "language", "format", "intersection", "strict"):
        assert f"\n  {key}:" not in Path("benchmark.yaml").read_text(encoding="utf-8")


def test_categories_without_samples_are_left_out(work):
    made = formats.re_edit(Path("b"), 2)
    _, settings, _ = begin(made.settings["path"])
    assert list(settings.benchmark.categories) == ["physical", "environmental"]


def test_several_source_images_get_an_editor_that_takes_them(work, monkeypatch):
    gpus(monkeypatch, 1, 141 * 10**9)
    made = formats.kris(Path("b"), 10)
    _, settings, _ = begin(made.settings["path"])
    assert settings.editors[0].preset == "qwen-image-edit-2511-lightning-4"


@pytest.mark.parametrize(
    ("total", "offload"),
    [(80, "none"), (51, "model"), (25, "group"), (16, "sequential"), (0, None)],
)
def test_small_gpus_get_offload(work, monkeypatch, total, offload):
    gpus(monkeypatch, 1, total * 10**9)
    _, settings, text = begin(formats.table(Path("b")).settings["path"])
    assert settings.editors[0].offload == (offload or "none")
    assert ("offload: " in text) == (offload not in ("none", None))


@pytest.mark.parametrize("archive", ["tar", "zip"])
def test_images_in_an_archive_are_found(work, archive):
    made = formats.imgedit(Path("b"), 9, archive=archive)
    printed, settings, _ = begin(made.settings["path"])
    assert settings.benchmark.images == made.settings["images"]
    assert f"images     {made.settings['images']}" in printed


def test_images_in_a_folder_beside_a_table_are_found(work):
    made = formats.table(Path("b"))
    Path("b/pictures").mkdir()
    for image in sorted(Path("b").rglob("*.png")):
        target = Path("b/pictures") / image.relative_to("b")
        target.parent.mkdir(exist_ok=True, parents=True)
        image.rename(target)
    _, settings, _ = begin(made.settings["path"])
    assert settings.benchmark.images == "b/pictures"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "folder"])
def test_a_table_of_any_kind_and_its_folder(work, form):
    made = formats.table(Path("own"), form=form)
    printed, _, text = begin("own")
    assert "columns    category, " in printed
    assert "categories: [室内, outdoor]" in text
    assert made.samples == 4


def test_columns_are_told_and_chinese_instructions_are_found(work):
    formats.table(Path("own"))
    path = Path("own/table.csv")
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    rows = [f"{row},zh,x" for row in rows]
    path.write_text("\n".join([f"{head},language,notes", *rows]), encoding="utf-8")
    printed, settings, _ = begin(path)
    assert settings.benchmark.language == "zh"
    assert "\nnot read   notes\n" in printed


def test_rows_in_another_language_are_told_and_rejected_by_nobody(work):
    formats.table(Path("own"))
    path = Path("own/table.csv")
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    rows = [f"{row},{'zh' if number < 2 else 'en'}" for number, row in enumerate(rows)]
    path.write_text("\n".join([f"{head},language", *rows]), encoding="utf-8")
    printed, settings, _ = begin(path)
    assert "\nleft out   2 rows in zh\n" in printed
    counts = prepare(settings.benchmark, Path("manifest"), 1)
    assert sum(counts.samples.values()) == len(rows) - 2
    assert (counts.left_out, counts.rejected) == ({"rows in zh": 2}, 0)
    told = [found.text for found in examine(Path("table.yaml"))]
    assert "not configured, left out: 2 rows in zh" in told


def test_the_words_of_the_workflows_own_categories_get_their_rubrics(work, monkeypatch):
    gpus(monkeypatch, 1, 141 * 10**9)
    formats.table(Path("own"))
    path = Path("own/table.csv")
    text = path.read_text(encoding="utf-8").replace("室内", "physical").replace("outdoor", "causal")
    path.write_text(text, encoding="utf-8")
    printed, settings, _ = begin(path)
    assert settings.judge.rubrics.endswith("config/rubrics")
    assert "physical  " in printed and "causal.yaml" in printed


def test_missing_images_are_counted(work):
    formats.table(Path("own"), 6)
    min(Path("own").rglob("*.png")).unlink()
    printed, _, _ = begin("own")
    assert "table, 5 samples" in printed
    assert (
        "rejected   1 of 6 samples cannot be used:\n"
        "           1 for a reason such as: item 1 ('t0'): image: found no file '" in printed
    )
    for image in sorted(Path("own").rglob("*.png"))[:3]:
        image.unlink()
    assert "warning    a run would stop: " in begin("own", "again.yaml")[0]
    for image in Path("own").rglob("*.png"):
        image.unlink()
    Path("table.yaml").unlink()
    said = refused("own")
    assert "found no sample that can be used, 6 are rejected" in said


def test_an_id_that_stands_twice_is_told(work):
    formats.table(Path("own"), 4)
    path = Path("own/table.csv")
    path.write_text(path.read_text(encoding="utf-8").replace("t3", "T0"), encoding="utf-8")
    printed, _, _ = begin(path)
    said = "1 for a reason such as: item 4 ('T0'): expected each id once, found 'T0' a second time"
    assert said in printed


def test_a_folder_of_images_gets_a_table_to_fill_in(work):
    for name in ("cat.png", "city/street.png", "city/cat.png"):
        path = Path("my photos") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(formats.draw(1))
    # a file of something else is no benchmark
    Path("my photos/notes.json").write_text("{}", encoding="utf-8")
    printed = "\n".join(init(Path("my photos"), None))
    table = Path("my photos/metadata.csv")
    assert "3 images, and no table" in printed
    assert "python -m lockstep init 'my photos'" in printed
    assert not list(Path().glob("*.yaml"))
    assert table.read_text(encoding="utf-8") == (
        "id,category,image,instruction\n"
        "cat,my_photos,cat.png,\n"
        "city_cat,city,city/cat.png,\n"
        "street,city,city/street.png,\n"
    )
    # what is not filled in is told
    assert "instruction: expected a text, found nothing" in refused("my photos")
    filled = table.read_text(encoding="utf-8").replace(",\n", ",Make it snow.\n")
    table.write_text(filled, encoding="utf-8")
    _, settings, _ = begin("my photos")
    assert list(settings.benchmark.categories) == ["my_photos", "city"]
    assert settings.results == "results/my_photos"


def test_a_category_without_a_sample_that_can_be_used_is_left_out_and_stops_no_run(work):
    formats.table(Path("own"), 8)
    table = Path("own/table.csv")
    with table.open("a", encoding="utf-8") as file:
        file.write("z,attic,Tidy up.,missing.png\n")
    printed, settings, _ = begin("own")
    assert "\nleft out   attic\n" in printed and "1 of 9 samples cannot be used" in printed
    assert "attic" not in settings.benchmark.categories
    # the configuration does not name it
    assert "a run would stop" not in printed


def test_each_image_of_a_folder_gets_an_id_of_its_own(work):
    names = ["A.png", "a.jpg", "a.png", "b/a.jpg", "b/a.png", "b_a.png", "c/A.PNG", "c/a.png"]
    for name in names:
        path = Path("photos") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(formats.draw(1))
    list(init(Path("photos"), None))
    table = Path("photos/metadata.csv")
    filled = table.read_text(encoding="utf-8").replace(",\n", ",Make it snow.\n")
    table.write_text(filled, encoding="utf-8")
    printed, _, _ = begin("photos")
    assert f"table, {len(names)} samples" in printed and "rejected" not in printed


def test_a_file_that_is_there_stays(work):
    made = formats.table(Path("own"))
    Path("table.yaml").write_text("mine", encoding="utf-8")
    assert refused(made.settings["path"]).startswith("table.yaml: expected no such file, found one")
    assert Path("table.yaml").read_text(encoding="utf-8") == "mine"
    begin(made.settings["path"], "other.yaml")
    assert "results: results/other\n" in Path("other.yaml").read_text(encoding="utf-8")


def test_what_is_no_benchmark_is_one_sentence(work):
    formats.table(Path("photos"))
    assert refused("fotos") == "found no file or folder 'fotos' (did you mean 'photos'?)"
    Path("empty").mkdir()
    assert "empty: expected a benchmark or images (.png, " in refused("empty")
    Path("x.csv").write_text("id,image,prompt\na,a.png,b\n", encoding="utf-8")
    assert refused("x.csv") == (
        "x.csv: expected a column for each of id, category, image and instruction, found no "
        "category, instruction among id, image, prompt; rename or add columns"
    )
    Path("x.json").write_text(json.dumps([{"a": 1}]), encoding="utf-8")
    assert "x.json: found no known format (its first item has a)" in refused("x.json")
    Path("x.txt").write_text("x", encoding="utf-8")
    assert "found no JSON and the kind '.txt'" in refused("x.txt")
    os.mkfifo("pipe.csv")
    assert refused("pipe.csv") == "pipe.csv: expected a file or a folder, found neither"
    Path("two").mkdir()
    for name in ("one.json", "two.json"):
        made = formats.re_edit(Path("made"))
        Path("two", name).write_bytes(Path(made.settings["path"]).read_bytes())
    assert refused("two") == "two: expected the path of one benchmark, found one.json, two.json"


def test_what_cannot_be_written_is_one_sentence(work):
    formats.table(Path("own"))
    Path("file").touch()
    said = refused("own", "file/own.yaml")
    assert said.startswith("file: expected a path that this user can read and write, found none (")
    Path("own/table.csv").write_text("id,category,image,instruction\na,,b,c\n", encoding="utf-8")
    assert refused("own") == "own/table.csv: expected a category in each row, found none"


def test_a_category_that_no_folder_can_have_is_one_sentence(work):
    formats.table(Path("own"))
    path = Path("own/table.csv")
    text = path.read_text(encoding="utf-8").replace("outdoor", "out of doors")
    path.write_text(text, encoding="utf-8")
    said = refused(path)
    assert said.startswith("own/table.csv: categories: expected letters, digits")
    assert "'out of doors'" in said


def test_names_of_editors_give_way_to_categories(work):
    formats.table(Path("own"))
    path = Path("own/table.csv")
    text = path.read_text(encoding="utf-8").replace("outdoor", "control")
    path.write_text(text, encoding="utf-8")
    _, settings, _ = begin(path)
    assert [editor.name for editor in settings.editors] == ["small", "control-editor"]


@pytest.mark.parametrize("name", ["yes", "1", "1e5", "null", "2026-01-01", "照片"])
def test_any_name_is_written_as_a_text(work, name):
    formats.table(Path(name))
    path = Path(name) / "table.csv"
    text = path.read_text(encoding="utf-8").replace("outdoor", name)
    path.write_text(text, encoding="utf-8")
    path.rename(Path(name) / "metadata.csv")
    _, settings, _ = begin(name)
    assert name in settings.benchmark.categories
    assert (settings.benchmark.path, settings.results) == (name, f"results/{name}")


@pytest.mark.parametrize("count", [0, 2])
def test_the_lines_fit_a_terminal(work, monkeypatch, count):
    gpus(monkeypatch, count, 25 * 10**9)
    made = formats.kris(Path("b"), 20)
    printed, _, text = begin(made.settings["path"])
    assert max(map(len, text.splitlines())) <= 100
    own = [line for line in printed.splitlines() if "/" not in line]
    assert max(map(len, own)) <= 80
