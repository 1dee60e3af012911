"""Benchmarks of which nothing is left, and items with a key twice."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lockstep import records
from lockstep.benchmark import detect, intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config.load import load_config
from lockstep.errors import BenchmarkError, ConfigError
from lockstep.records import Rejected
from tests import formats
from tests.conftest import ROOT


def prepare(tmp_path, path, **settings):
    found = BenchmarkSettings(path=str(path), **settings)
    counts = intake.prepare(found, tmp_path / "manifest")
    rejected = records.read_records(tmp_path / "manifest" / "rejected.jsonl", Rejected)
    return counts, found, [reject.reason for reject in rejected]


def table(tmp_path, *rows):
    path = tmp_path / "t.csv"
    lines = ["id,category,image,instruction", *(f"{n},{row}" for n, row in enumerate(rows))]
    path.write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "there.png").write_bytes(formats.draw(0))
    return path


LISTED = Path("logs/rejected.jsonl")
GOOD = "cats,there.png,Do."
NO_FILE = ["cats,gone0.png,Do.", "cats,gone1.png,Do."]


@pytest.mark.parametrize(
    ("rows", "categories", "sentence"),
    [
        (
            [*NO_FILE, "cats,there.png,"],
            ["cats"],
            r"t\.csv: found no sample that can be used, 3 are rejected, 2 of them for a reason "
            r"such as: item 1 \('0'\): image: found no file 'gone0\.png'",
        ),
        (
            [GOOD, "dogs,there.png,", "dogs,gone.png,Do.", "dogs,there.png,"],
            ["cats", "dogs"],
            "found no sample of 'dogs' that can be used, 3 are rejected, 2 of them for a reason "
            r"such as: item 2 \('1'\): instruction: expected a text, found nothing.*"
            "benchmark.categories can leave it out",
        ),
        ([GOOD], ["cats", "cat"], r"found no sample of 'cat' \(benchmark\.categories\)"),
        ([GOOD], ["cat"], r"found no sample of 'cat' \(did you mean 'cats'\?\).*it has cats"),
    ],
)
def test_where_nothing_is_left_the_commonest_reason_is_told(tmp_path, rows, categories, sentence):
    counts, settings, _ = prepare(tmp_path, table(tmp_path, *rows), categories=categories)
    with pytest.raises(BenchmarkError, match=sentence) as error:
        intake.check_left(counts, settings, LISTED)
    assert "\n" not in str(error.value)


def test_what_is_left_is_enough(tmp_path):
    path = table(tmp_path, GOOD, GOOD, *NO_FILE)
    counts, settings, _ = prepare(tmp_path, path, categories=["cats"])
    intake.check_left(counts, settings, LISTED)
    assert counts.rejected == 2


def test_a_published_benchmark_may_lack_a_category_of_its_format(tmp_path):
    made = formats.re_edit(tmp_path / "b", 1)
    counts, settings, _ = prepare(tmp_path, made.settings["path"])
    assert 0 in counts.samples.values()
    intake.check_left(counts, settings, LISTED)


def doubled(path, field):
    """Write a field of the first item a second time, behind it."""
    text = path.read_text(encoding="utf-8")
    value = json.dumps("again")
    place = text.index("}")
    path.write_text(f'{text[:place]}, "{field}": {value}{text[place:]}', encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "file", "field"),
    [
        ("re_edit", "benchmark.json", "edit_instruction_en"),
        ("imgedit", "singleturn.json", "prompt"),
        ("kris", "annotation.json", "ins_en"),
        ("rise", "*.json", "instruction"),
        ("uniredit", "*.json", "instruction"),
    ],
)
def test_an_item_with_a_key_twice_is_rejected_in_every_format(tmp_path, name, file, field):
    made = getattr(formats, name)(tmp_path / "b", 5)
    path = sorted((tmp_path / "b").rglob(file))[0]
    own = {key: value for key, value in made.settings.items() if key != "path"}
    counts, _, reasons = prepare(tmp_path, made.settings["path"], **own)
    assert not reasons
    doubled(path, field)
    again, _, reasons = prepare(tmp_path, made.settings["path"], **own)
    assert reasons == [f"expected each field once, found '{field}' twice"]
    assert sum(again.samples.values()) == sum(counts.samples.values()) - 1


@pytest.mark.parametrize("value", ['{"bytes": 1, "bytes": 2}', '[{"path": 1, "path": 2}]'])
def test_a_key_twice_within_a_field_is_seen_too(tmp_path, value):
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"id": "a", "category": "c", "instruction": "x", "image": {value}}}')
    _, _, (reason,) = prepare(tmp_path, path, categories=["c"])
    assert reason.startswith("expected each field once, found '")
    assert "twice" in reason


def test_where_more_than_a_share_is_rejected_the_commonest_reason_is_told(tmp_path):
    path = table(tmp_path, GOOD, *NO_FILE, "cats,there.png,")
    counts, settings, _ = prepare(tmp_path, path, categories=["cats"])
    sentence = (
        r"t\.csv: expected at most 50% of the samples to be rejected "
        r"\(benchmark\.max_rejected_share\), found 75%: 3 are rejected, 2 of them for a reason "
        r"such as: item 2 \('1'\): image: found no file 'gone0\.png'"
        r".* \(all are listed in logs/rejected\.jsonl\)"
    )
    with pytest.raises(BenchmarkError, match=sentence):
        intake.check_left(counts, settings, LISTED)
    intake.check_left(counts, settings.model_copy(update={"max_rejected_share": 0.75}), LISTED)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("b.json", "", "expected at least one item, found an empty file"),
        ("b.json", "[]", "expected at least one item, found none"),
        (
            "b.json",
            '{"items": [{"subset": "物理"}]}',
            "expected a list of items, found one under the key 'items'",
        ),
    ],
)
def test_a_file_without_items_at_its_top_is_told_as_what_it_is(tmp_path, name, text, sentence):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValidationError, match=f"{name}: {sentence}"):
        BenchmarkSettings(path=str(path))


def test_a_category_that_a_table_lacks_is_told_before_it_is_read(tmp_path, monkeypatch):
    path = table(tmp_path, GOOD, "dogs,there.png,Do.")
    data = {
        "benchmark": {"path": str(path), "format": "table", "categories": ["cats", "dgos"]},
        "editors": [{"name": "e", "type": "identity"}],
        "judge": {"type": "precomputed", "folder": str(tmp_path)},
    }
    data["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "physical.yaml")
    sentence = r"found no sample of 'dgos' \(did you mean 'dogs'\?\); '.*t\.csv' has cats, dogs"
    with pytest.raises(ConfigError, match=rf"^c\.yaml: benchmark\.categories: {sentence}"):
        load_config(data, "c.yaml")
    # one with many items may have it further down
    monkeypatch.setattr(detect, "PEEKED", 1)
    assert detect.lacking_category(path, "table", ["dogs"]) is None


def test_a_format_that_is_not_the_files_is_told_before_it_is_read(tmp_path):
    made = formats.re_edit(tmp_path / "b", 1)
    for form in ("kris", "rise", "imgedit"):
        with pytest.raises(ValidationError, match=f"expected 're-edit', whose .* found '{form}'"):
            BenchmarkSettings(**made.settings | {"format": form})


def test_a_table_without_a_column_of_categories_is_told_before_it_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,kind,image,instruction\na,cats,a.png,Do.\n", encoding="utf-8")
    own = {"path": str(path), "format": "table", "categories": ["cats"]}
    with pytest.raises(ValidationError, match="expected a column 'category', found id, image, in"):
        BenchmarkSettings(**own)
    path.write_text(path.read_text().replace("kind", "category"))
    assert BenchmarkSettings(**own).categories == ("cats",)
