"""Runs of which little or nothing succeeds, and mistakes that only a job can find."""

import json
import os

import pytest
from PIL import Image

from lockstep import records
from tests.workflow.conftest import judge_by_files, make


@pytest.fixture
def workflow(models, tmp_path):
    """Return a run of two finished edits of one category, on one slot and without a model."""
    devices = {"accelerator": "cpu", "device_ids": [0]}
    made = make(tmp_path / "work", models, per_category=2, devices=devices)
    finished = made.folder / "finished"
    finished.mkdir()
    for name in ("00000_物理_easy", "00001_物理_medium"):
        Image.new("RGB", (64, 64), (9, 99, 199)).save(finished / f"{name}.png")
    made.config["benchmark"]["categories"] = ["physical"]
    made.config["editors"] = [{"name": "own", "type": "precomputed", "folder": "finished"}]
    judge_by_files(made)
    return made


def lose(workflow, folder, *names):
    """Rename files, so that no sample finds its own."""
    for name in names or os.listdir(workflow.folder / folder):
        path = workflow.folder / folder / name
        path.rename(path.with_name(f"other-{name}"))


def test_a_run_whose_edits_all_failed_ends_with_their_reason_and_no_success(workflow):
    lose(workflow, "finished")
    output = workflow.run(check=False)
    assert "physical cpu0: 2 of 2 edits failed: " in output
    assert output.count("Error: expected at least one edit that succeeded, found none: 2 of 2") == 1
    assert "expected an image" in output.partition("found none: ")[2]
    assert "report ready" not in output and "Traceback" not in output
    assert output.count("FAILED writing the report") == 1
    assert "Trying to restart" not in output
    # it stays so
    assert "found none: 2 of 2 edits failed" in workflow.run(check=False)


def test_a_run_whose_judgements_all_failed_ends_with_their_reason_and_no_success(workflow):
    for path in (workflow.folder / "replies" / "own").iterdir():
        path.write_text("I cannot tell.", encoding="utf-8")
    output = workflow.run(check=False)
    assert "physical cpu0: 2 of 2 judgements failed: found no JSON object" in output
    assert "Error: expected at least one judgement that succeeded, found none: 2 of 2" in output
    assert "report ready" not in output


def test_one_sample_that_failed_stops_nothing_and_its_reason_is_told_at_the_end(workflow):
    lose(workflow, "finished", "00000_物理_easy.png")
    output = workflow.run()
    said = [line for line in output.splitlines() if "1 of 2 edits failed: finished: " in line]
    assert len(said) == 2 and "report ready" in output.rpartition(said[-1])[2]
    text = (workflow.results / "report" / "report.md").read_text(encoding="utf-8")
    _, _, failures = text.partition("## Failures")
    assert "| own | 1 | edit failed: finished: expected an image" in failures


def test_a_benchmark_of_which_too_little_is_left_is_told_once_with_all_its_reasons(workflow):
    path = workflow.folder / "benchmark.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    bad = [{**item, "src_img_b64": "@@@"} for item in items]
    records.write_text(path, json.dumps(bad))
    output = workflow.run(check=False)
    assert output.count("found no sample that can be used") == 1
    assert output.count("FAILED reading benchmark.json") == 1
    assert "(all are listed in results/logs/rejected.jsonl)" in output
    listed = (workflow.results / "logs" / "rejected.jsonl").read_text(encoding="utf-8")
    assert listed.count("bad base64") == 2


def test_people_who_rated_other_samples_are_told_before_anything_is_edited(workflow):
    path = workflow.folder / "humans.csv"
    path.write_text("id,score\n00000_物理_easy,5\nnine,5\n", encoding="utf-8")
    workflow.config["report"] = {"human_scores": "humans.csv"}
    sentence = "id: expected samples of this run, found a row of another ('nine' by 'own')"
    told = f"humans.csv: line 3: {sentence}"
    output = workflow.run(check=False)
    assert output.count(told) == 1
    assert output.count("FAILED") == 1 and not (workflow.results / "own").exists()
    workflow.config["report"] = {}
    workflow.run()
    # the benchmark is read now, so that a plan knows it
    workflow.config["report"] = {"human_scores": "humans.csv"}
    assert told in workflow.run("-n", check=False)
