"""What the configuration says of images, in real runs."""

import json

import pytest
from PIL import Image

from lockstep import records
from lockstep.foreign import images
from tests.workflow.conftest import make

EDITOR = "control"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory, models):
    """Six samples of one category, at least one of them transparent, with the source as edit."""
    workflow = make(
        tmp_path_factory.mktemp("images") / "work",
        models,
        per_category=6,
        benchmark={"path": "benchmark.json", "categories": ["physical"]},
        editors=[{"name": EDITOR, "type": "identity"}],
    )
    workflow.run(*edits())
    return workflow


def edits():
    return [f"results/{EDITOR}/physical/edits/shard-{k}-of-2.jsonl" for k in range(2)]


def by_id(workflow):
    return {record["id"]: record for record in workflow.records("edits", editor=EDITOR)}


def samples(workflow):
    return records.read_manifest(workflow.results / "manifest" / "physical.jsonl")


def test_another_background_redoes_transparent_samples_and_no_others(workflow, tmp_path):
    changed = workflow.copy(tmp_path / "work")
    changed.config["benchmark"]["background"] = "lime"
    changed.run(*edits())
    found = by_id(changed)
    transparent = {sample.id for sample in samples(changed) if sample.transparent}
    assert 0 < len(transparent) < 6
    assert {name for name, record in found.items() if not record["cached"]} == transparent
    for sample in samples(changed):
        record = found[sample.id]
        assert record["background"] == ("#00ff00" if sample.transparent else None)
        with Image.open(changed.results / EDITOR / "physical" / record["image"]) as image:
            assert image.tobytes() == images.open_rgb(sample.image, "#00ff00").tobytes()


def test_edits_of_the_source_s_size_are_written_in_it(workflow, models, tmp_path):
    changed = workflow.copy(tmp_path / "work")
    (editor,) = changed.config["editors"]
    folder = tmp_path / "finished"
    folder.mkdir()
    for sample in samples(changed):
        Image.new("RGB", (40, 40), "red").save(folder / f"{sample.id}.png")
    editor |= {"type": "precomputed", "folder": str(folder), "size": "source"}
    changed.run(*edits())
    for sample in samples(changed):
        record = by_id(changed)[sample.id]
        shown = images.open_rgb(sample.image).size
        assert (record["width"], record["height"]) == shown
        assert (record["native_width"], record["native_height"]) == (40, 40)
        path = changed.results / EDITOR / "physical" / record["image"]
        with Image.open(path) as image:
            assert image.size == shown
        assert records.read_provenance(path)["editor"]["resize_filter"] == "lanczos"
    before = json.dumps(by_id(changed), sort_keys=True)
    editor["resize_filter"] = "bicubic"
    changed.run(*edits())
    assert not any(record["cached"] for record in by_id(changed).values())
    assert json.dumps(by_id(changed), sort_keys=True) != before


def test_the_report_shows_transparent_images_on_the_background(finished):
    page = (finished.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "--paper: #ffffff;" in page
