"""Other people's benchmarks, the whole way."""

import json
from pathlib import Path

import pytest

from tests import formats
from tests.workflow.conftest import ROOT, Workflow, configuration


@pytest.fixture(scope="module")
def kris(tmp_path_factory, models) -> Workflow:
    """A finished run with an editor that takes several images and one that does not."""
    folder = tmp_path_factory.mktemp("kris") / "work"
    made = formats.kris(folder, 4)
    config = configuration(models)
    small = config["editors"][0]
    config["editors"] = [small, {**small, "name": "plus", "model": str(models / "plus")}]
    categories = ["multi-element_composition", "viewpoint_change"]
    config["benchmark"] = {**made.settings, "categories": categories}
    config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "kris")
    config["devices"]["device_ids"] = [0]
    workflow = Workflow(folder, config)
    workflow.output = workflow.run()
    return workflow


def test_an_editor_that_takes_one_image_skips_samples_of_several(kris):
    (skipped,) = kris.records("edits", "multi-element_composition")
    assert skipped["status"] == "skipped"
    assert skipped["error"] == "found 2 source images, but QwenImageEditPipeline takes one"
    (score,) = kris.records("scores", "multi-element_composition")
    assert (score["status"], score["score"]) == ("skipped", None)
    row = kris.report()["editors"]["small"]["categories"]["multi-element_composition"]
    assert (row["count"], row["failed"], row["status"]) == (0, 0, {"skipped": 1})
    assert "1 of 1 samples skipped, small takes one source image" in kris.output
    assert kris.report()["editors"]["small"]["overall"]["micro"]["coverage"] == 1.0


def test_an_editor_that_takes_several_images_gets_them_all(kris):
    for category in ("multi-element_composition", "viewpoint_change"):
        (edit,) = kris.records("edits", category, "plus")
        (score,) = kris.records("scores", category, "plus")
        assert (edit["status"], score["status"]) == ("ok", "ok")
    assert (
        "skipped" not in kris.logs("edit/plus/multi-element_composition/*.log").split("edited")[0]
    )


def test_the_benchmarks_own_numbers_stand_beside_the_report(kris):
    (score,) = kris.records("scores", "viewpoint_change", "plus")
    values = list(score["criteria"].values())
    assert all(1 <= value <= 5 for value in values)
    assert all(len(shares) == 5 for shares in score["probabilities"].values())
    numbers = json.loads((kris.results / "report" / "protocol.json").read_text())["plus"]
    expected = 25 * (sum(values) / 3 - 1)
    assert numbers["groups"]["factual spatial"]["score"] == pytest.approx(expected)
    small = json.loads((kris.results / "report" / "protocol.json").read_text())["small"]
    assert small["categories"]["multi-element_composition"] == {"score": None, "count": 0}
    text = (kris.results / "report" / "protocol.md").read_text(encoding="utf-8")
    assert text.startswith("# KRIS-Bench\n")


def test_a_category_of_another_benchmark_is_a_target(kris):
    assert "Nothing to be done" in kris.run("-n", "viewpoint_change")


def test_no_finished_run_leaves_anything_outside_its_results(kris):
    there = {path.name for path in Path(kris.folder).iterdir()}
    assert there <= {"KRIS_Bench", "results", "config.yaml", ".snakemake"}
