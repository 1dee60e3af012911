"""Each published format gives samples with all that its files say."""

import json
import math
from pathlib import Path

import pytest

from lockstep import records
from lockstep.benchmark import detect, intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config.load import load_config
from lockstep.errors import ConfigError
from lockstep.records import Rejected
from tests import formats


def prepare(tmp_path, made, **settings):
    """Return the samples by id, and the rejected ones."""
    found = BenchmarkSettings(**{**made.settings, **settings})
    counts = intake.prepare(found, tmp_path / "manifest")
    manifests = [tmp_path / "manifest" / f"{category}.jsonl" for category in found.categories]
    samples = [sample for path in manifests for sample in records.read_manifest(path)]
    assert len(samples) == sum(counts.samples.values())
    rejected = records.read_records(tmp_path / "manifest" / "rejected.jsonl", Rejected)
    return {sample.id: sample for sample in samples}, rejected


VARIANTS = [
    *((name, {}) for name in formats.MAKERS),
    ("re-edit", {"english": True}),
    ("gedit", {"saved": True}),
    ("imgedit", {"archive": "tar"}),
    ("imgedit", {"archive": "zip"}),
    ("table", {"form": "jsonl"}),
    ("table", {"form": "parquet"}),
    ("table", {"form": "folder"}),
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=str)
def test_each_format_is_told_by_itself_and_read_whole(tmp_path, name, variant):
    made = formats.MAKERS[name](tmp_path / "b", 8, **variant)
    assert detect.detect(made.settings["path"]) == name
    samples, rejected = prepare(tmp_path, made)
    assert rejected == []
    assert len(samples) == made.samples
    for sample in samples.values():
        assert sample.instruction
        with open(sample.image, "rb") as file:
            assert records.sha256(file.read()) == sample.image_sha256


def test_gedit_gives_the_configured_language_and_its_intersection(tmp_path):
    made = formats.gedit(tmp_path / "b", 4)
    samples, _ = prepare(tmp_path, made, language="zh", intersection=True)
    assert [sample.instruction for sample in samples.values()] == ["做0", "做2"]


def test_kris_gives_all_source_images_references_and_explanations(tmp_path):
    samples, _ = prepare(tmp_path, formats.kris(tmp_path / "b", 10))
    several = samples["multi-element_composition_1"]
    assert len(several.more) == 1
    assert several.more[0].sha256 == records.sha256(formats.draw(1))
    assert samples["viewpoint_change_2"].reference.sha256 == records.sha256(formats.draw(4 * 6 + 3))
    assert samples["physics_1"].rationale == "Ice floats."
    assert samples["color_change_1"].reference is None
    frames = samples["temporal_prediction_1"]
    assert len(frames.more) == 2
    assert frames.reference is not None


def test_rise_gives_references_as_texts_and_as_images(tmp_path):
    samples, _ = prepare(tmp_path, formats.rise(tmp_path / "b", 4))
    temporal, _, spatial, logical = samples.values()
    assert temporal.expected == "A rotten, blackened banana."
    assert spatial.reference.sha256 == records.sha256(formats.draw(5))
    assert logical.expected == "Seven."
    assert logical.tags == ["Life Progression"]


@pytest.mark.parametrize(
    ("given", "tagged"),
    [("a.png", True), (False, True), (True, True), (None, False), (math.nan, False)],
)
def test_rise_marks_what_is_judged_beside_the_source_as_its_authors_do(tmp_path, given, tagged):
    made = formats.rise(tmp_path / "b", 4)
    path = Path(made.settings["path"])
    first, *others = json.loads(path.read_text(encoding="utf-8"))
    first["reasoning_img"] = given
    path.write_text(json.dumps([first, *others]), encoding="utf-8")
    samples, _ = prepare(tmp_path, made)
    tags = [sample.tags for sample in samples.values()]
    assert ["reasoning_img" in own for own in tags] == [tagged, False, False, False]


def test_uniredit_tells_the_editor_the_rules(tmp_path):
    samples, _ = prepare(tmp_path, formats.uniredit(tmp_path / "b", 2))
    game = samples["sokoban_1"]
    assert game.instruction == "A box can be pushed, not pulled. Make move 1."
    assert game.expected == "The box is on its goal."
    assert game.reference.sha256 == records.sha256(formats.draw(3))


def test_a_table_must_name_its_categories_and_is_asked_for_them(tmp_path):
    made = formats.table(tmp_path / "b", 4)
    with pytest.raises(ValueError, match=r"the first items have \['室内', 'outdoor'\]"):
        BenchmarkSettings(path=made.settings["path"])
    samples, _ = prepare(tmp_path, made, categories=("室内",))
    assert {sample.category for sample in samples.values()} == {"室内"}


@pytest.mark.parametrize("name", ["table", "uniredit", "gedit"])
def test_a_benchmark_without_a_path_is_a_mistake_in_the_configuration(name):
    given = {
        "benchmark": {"format": name},
        "editors": [{"name": "control", "type": "identity"}],
        "judge": {"type": "qwen3_vl", "model": "a/b"},
    }
    with pytest.raises(ConfigError, match=r"benchmark\.path: ") as error:
        load_config(given, "c.yaml")
    assert "categories" not in str(error.value)


@pytest.mark.parametrize("name", ["all", "rejected", "report", "../x", "a b", ".", ""])
def test_no_category_can_take_a_name_that_the_workflow_uses(tmp_path, name):
    made = formats.table(tmp_path / "b", 1)
    with pytest.raises(ValueError, match=r"expected letters, digits, .*, found "):
        BenchmarkSettings(path=made.settings["path"], categories=[name])


def test_a_file_of_no_known_format_is_a_mistake_in_the_configuration(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1}]')
    given = {
        "benchmark": {"path": str(path)},
        "editors": [{"name": "control", "type": "identity"}],
        "judge": {"type": "qwen3_vl", "model": "a/b"},
    }
    with pytest.raises(ConfigError, match=r"found no known format \(its first item has a\)"):
        load_config(given, "c.yaml")
