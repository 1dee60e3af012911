"""Documents: each link leads somewhere, and the default format is as the README tells."""

import base64
import json
import re

import pytest

from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.records import Rejected, read_manifest, read_records
from tests import documents
from tests.conftest import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "config")
    for path in (ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_file_and_a_heading(page):
    for link in documents.links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), link
        if anchor:
            name = str(target.resolve().relative_to(ROOT))
            assert anchor in documents.anchors(name), f"{link}: {sorted(documents.anchors(name))}"


def test_the_index_lists_every_page():
    listed = {link.partition("#")[0] for link in documents.links("docs/README.md")}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= listed


def shown_item():
    (block,) = (block for block in documents.blocks("README.md") if block.language == "json")
    (item,) = json.loads(block.text)
    return item


def told_fields():
    """Return what the README's table says of each field: whether it is needed."""
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", documents.read("README.md"), re.MULTILINE)
    return {name: needed == "yes" for name, needed in rows}


def read(tmp_path, *items, **settings):
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(items), encoding="utf-8")
    own = BenchmarkSettings(path=str(path), categories=("physical",), **settings)
    intake.prepare(own, tmp_path / "manifest")
    samples = read_manifest(tmp_path / "manifest" / "physical.jsonl")
    return samples, read_records(tmp_path / "manifest" / "rejected.jsonl", Rejected)


@pytest.mark.parametrize(("language", "suffix"), [("en", "_en"), ("zh", "")])
def test_the_readmes_item_is_read_with_every_field(tmp_path, language, suffix):
    item = shown_item()
    (sample,), rejected = read(tmp_path, item, language=language)
    assert not rejected
    assert sample.id == "table"
    assert sample.instruction == item[f"edit_instruction{suffix}"]
    assert sample.description == item[f"original_description{suffix}"]
    assert sample.rationale == item[f"rationale_short{suffix}"]
    assert (list(sample.tags), sample.difficulty) == (item["tags"], item["difficulty"])
    assert sample.source_seed == item["seed"]
    with open(sample.image, "rb") as file:
        assert file.read() == base64.b64decode(item["src_img_b64"])


@pytest.mark.parametrize("field", told_fields())
def test_the_readme_says_which_fields_are_needed(tmp_path, field):
    item = shown_item()
    del item[field]
    samples, rejected = read(tmp_path, item)
    assert bool(rejected) == told_fields()[field]
    if rejected:
        assert f"{field}: expected " in rejected[0].reason
        assert "found no such field" in rejected[0].reason
    assert len(samples) + len(rejected) == 1


def test_the_readme_names_every_field_and_no_other():
    english = {name for name in shown_item() if f"{name}_en" not in shown_item()}
    assert set(told_fields()) == english
