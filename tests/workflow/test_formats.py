"""Other people's benchmarks, the whole way."""

import json
from pathlib import Path

import pytest

from tests import formats
from tests.workflow.conftest import ROOT, Workflow, configuration

FRAMES = "temporal_prediction"
"""A category of KRIS-Bench whose samples have three source images and a reference."""


@pytest.fixture(scope="module")
def kris(tmp_path_factory, models) -> Workflow:
    """A finished run with an editor that takes several images and one that does not."""
    folder = tmp_path_factory.mktemp("kris") / "work"
    made = formats.kris(folder, 5)
    config = configuration(models)
    small = config["editors"][0]
    config["editors"] = [small, {**small, "name": "plus", "model": str(models / "plus")}]
    config["benchmark"] = {**made.settings, "categories": [FRAMES]}
    config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "kris")
    config["devices"]["device_ids"] = [0]
    workflow = Workflow(folder, config)
    workflow.output = workflow.run()
    return workflow


def test_an_editor_that_takes_one_image_skips_samples_of_several(kris):
    (skipped,) = kris.records("edits")
    assert skipped["status"] == "skipped"
    assert skipped["error"] == "found 3 source images, but QwenImageEditPipeline takes one"
    (score,) = kris.records("scores")
    assert (score["status"], score["score"]) == ("skipped", None)
    row = kris.report()["editors"]["small"]["categories"][FRAMES]
    assert (row["count"], row["failed"], row["skipped"]) == (0, 0, 1)
    (told,) = kris.report()["skipped"]
    assert (told["editor"], told["category"], told["ids"]) == ("small", FRAMES, [skipped["id"]])
    assert told["reason"] == skipped["error"]
    assert "1 of 1 sample skipped, small takes one source image" in kris.output


def test_an_editor_that_takes_several_images_gets_them_all_and_the_judge_a_reference(kris):
    (edit,) = kris.records("edits", editor="plus")
    (score,) = kris.records("scores", editor="plus")
    assert (edit["status"], score["status"]) == ("ok", "ok")
    # each image is 16 tokens or more to the tiny judge; three sources, a reference and the edit
    assert score["prompt_tokens"] > 5 * 16


def test_the_benchmarks_own_numbers_stand_beside_the_report(kris):
    (score,) = kris.records("scores", editor="plus")
    values = list(score["criteria"].values())
    assert all(1 <= value <= 5 for value in values)
    assert all(len(shares) == 5 for shares in score["probabilities"].values())
    numbers = json.loads((kris.results / "report" / "protocol.json").read_text())
    expected = 25 * (sum(values) / 3 - 1)
    assert numbers["plus"]["groups"]["factual temporal"]["score"] == pytest.approx(expected)
    nothing = {"score": None, "ci95": {}, "count": 0, "failed": 0}
    assert numbers["small"]["categories"][FRAMES] == nothing
    text = (kris.results / "report" / "protocol.md").read_text(encoding="utf-8")
    assert text.startswith("# KRIS-Bench\n")


def test_a_category_of_another_benchmark_is_a_target(kris):
    assert "Nothing to be done" in kris.run("-n", FRAMES)


def test_no_finished_run_leaves_anything_outside_its_results(kris):
    there = {path.name for path in Path(kris.folder).iterdir()}
    assert there <= {"KRIS_Bench", "results", "config.yaml", ".snakemake"}
