"""The whole way, as users walk it."""

import json
import os
import re
import signal
import subprocess
import time
import zipfile

import pytest
from PIL import Image

from lockstep import layout, records
from lockstep.devices.settings import DeviceSettings
from tests import ready_snakemake
from tests.conftest import ROOT
from tests.workflow.conftest import EDITOR, configuration, environment, judge_by_files, make

CATEGORIES = {
    "physical": "物理",
    "environmental": "环境",
    "social": "社会",
    "causal": "因果",
    "referential": "指代",
}
NO_MODEL = {"edit": "nothing to edit, no model is loaded", "score": "nothing to judge, no model"}


def pixels(workflow, editor=EDITOR):
    """Return id → hash of the pixels of every edited image."""
    paths = (workflow.results / editor).glob("*/images/*.png")
    hashes = {}
    for path in paths:
        with Image.open(path) as image:
            hashes[path.stem] = records.pixels_sha256(image)
    return hashes


def scores(workflow):
    return {r["id"]: (r["score"], r["criteria"], r["reply"]) for r in workflow.records("scores")}


def test_a_full_run_edits_and_scores_every_sample(finished):
    report = finished.report()
    rows = report["editors"][EDITOR]["categories"]
    assert set(rows) == set(CATEGORIES)
    for row in rows.values():
        assert (row["count"], row["failed"], row["coverage"]) == (2, 0, 1.0)
        assert 0 <= row["min"] <= row["mean"] <= row["max"] <= 10
    assert report["editors"][EDITOR]["overall"]["micro"]["count"] == 10
    step = report["editors"][EDITOR]["lockstep"]
    assert (step["edits"], step["other_runs"], step["largest_drift"]) == (10, 0, 0)
    assert set(step["devices"]) == {"cpu0", "cpu1"}
    # models were loaded before the jobs came
    assert all(times["work"] > 0 == times["load"] for times in step["devices"].values())
    assert set(step["runs"]) == set(CATEGORIES)
    assert len(set(step["runs"].values())) == 1
    assert report["random_weights"] == [EDITOR, "the judge"]
    folder = finished.results / "report"
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("> **Random weights")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(chinese in page for chinese in CATEGORIES.values())
    assert len(list((folder / "thumbs").rglob("*.jpg"))) == 20
    assert "max_reasoning_tokens: 24" in (folder / "config.yaml").read_text(encoding="utf-8")


def test_a_run_says_what_it_does_in_one_line_a_job(finished):
    lines = finished.output.splitlines()
    # 2 devices × 5 categories × (edit + score) + 5 tables + prepare + report + all
    assert "28 jobs: 1 prepare, 10 edit, 10 score, 5 tabulate, 1 report, 1 all" in lines
    jobs = [line for line in lines if " done, " in line]
    assert len(jobs) == 28
    assert jobs[-1].endswith(
        "report ready: results/report/report.html [28 done, 0 running, 0 waiting]"
    )
    plan = "plan of small: 10 samples in 5 categories, 2 devices, in lockstep, 5 waves"
    assert [line.strip() for line in lines if "lockstep" in line] == [plan]
    assert "physical: samples: 2, devices: 2, in lockstep, waves: 1" in finished.logs(
        "edit/**/*.log"
    )


def test_the_log_of_a_job_tells_what_it_loaded_and_how_long_each_edit_took(finished):
    loaded = finished.logs("workers/cpu0.log")
    assert "loading side by side with other devices" in loaded
    assert "loaded QwenImageEditPipeline from" in loaded
    text = finished.logs("edit/*/physical/shard-0-of-2.log")
    for part in (
        "0 of 1 samples are in the cache",
        "the model is on cpu0 already",
        "00000_物理_easy ok in ",
        "[SYNC] wave 1/1 done in ",
        "slowest cpu",
        "peak host memory",
    ):
        assert part in text


def test_each_device_loads_the_editor_and_the_judge_once(finished):
    for k in range(2):
        own = finished.logs(f"workers/cpu{k}.log")
        for stage, model in (("edit", "QwenImageEdit"), ("score", "Qwen3VL")):
            logs = finished.logs(f"{stage}/**/shard-{k}-of-2.log")
            assert (own + logs).count(f"loaded {model}") == 1
        # the last wave of a category may have made all that a shard of the next one needs
        edit = finished.logs(f"edit/**/shard-{k}-of-2.log")
        assert edit.count("already") + edit.count("no model is loaded") == 5


def test_the_edits_of_a_category_ran_side_by_side_and_before_all_scoring(finished):
    edits = finished.records("edits")
    for category in CATEGORIES:
        first, second = (r for r in edits if r["category"] == category)
        assert first["device"] != second["device"]
        # each began before the other had ended
        assert abs(first["started"] - second["started"]) < first["edit_seconds"] + 2
    logs = finished.results / "logs"
    edited = max(path.stat().st_mtime for path in logs.glob("edit/*/*/*.log"))
    judged = min(
        path.stat().st_mtime for path in (finished.results / EDITOR).glob("*/judgements/*")
    )
    assert edited < judged


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run("-n")


def test_snakemake_that_starts_without_its_imports_is_the_same(finished):
    """As most runs of these tests do."""
    for arguments in (["-n"], ["--list"], ["-n", "nothing"]):
        done = subprocess.run(
            finished.command(*arguments), capture_output=True, text=True, env=environment()
        )
        given = finished.command(*arguments)[3:]
        status, printed = ready_snakemake.run(given, environment(), finished.timeout)
        assert status == done.returncode
        assert sorted(printed.splitlines()) == sorted((done.stdout + done.stderr).splitlines())


def test_a_deleted_category_is_all_that_is_redone(finished, tmp_path):
    import shutil

    workflow = finished.copy(tmp_path / "work")
    before = pixels(workflow)
    untouched = {
        path: path.stat().st_mtime_ns
        for path in (workflow.results / EDITOR).rglob("*")
        if path.is_file() and "causal" not in path.parts
    }
    shutil.rmtree(workflow.results / EDITOR / "causal")
    plan = workflow.run("-n", "causal")
    assert "6 jobs: 2 edit, 2 score, 1 tabulate, 1 causal" in plan
    workflow.run("因果")
    assert all(not r["cached"] for r in workflow.records("edits", "causal"))
    assert pixels(workflow) == before
    assert scores(workflow) == scores(finished)
    assert untouched == {path: path.stat().st_mtime_ns for path in untouched}


def test_a_changed_instruction_is_one_edit_and_one_judgement(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    before = pixels(workflow)
    path = workflow.folder / "benchmark.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    assert items[5]["subset"] == "社会"
    items[5]["edit_instruction_en"] = "Set the table for two."
    records.write_text(path, json.dumps(items))
    # put in its place, such a file may well be older than the edits
    os.utime(path, (10**9, 10**9))
    workflow.run()
    changed = "00005_社会_hard"
    assert [r["id"] for r in workflow.records("edits") if not r["cached"]] == [changed]
    assert [r["id"] for r in workflow.records("scores") if not r["cached"]] == [changed]
    after = pixels(workflow)
    assert {name for name in before if before[name] != after[name]} == {changed}
    texts = (workflow.results / "report" / "data" / "texts-0.js").read_text(encoding="utf-8")
    assert "Set the table for two." in texts
    loaded = [
        path
        for path in (workflow.results / "logs" / "edit").rglob("*.log")
        if "loaded" in path.read_text(encoding="utf-8").replace(NO_MODEL["edit"], "")
    ]
    assert len(loaded) == 1


def test_one_device_more_changes_no_result_and_loads_no_model(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    workflow.config["devices"]["device_ids"] = [0, 1, 2]
    workflow.run()
    assert len(workflow.records("edits")) == len(workflow.records("scores")) == 10
    for kind, text in NO_MODEL.items():
        logs = list((workflow.results / "logs" / kind).rglob("shard-*-of-3.log"))
        assert len(logs) == 15
        assert all(text in path.read_text(encoding="utf-8") for path in logs)
    assert workflow.report()["editors"] == finished.report()["editors"]


def test_a_change_of_the_rubric_edits_nothing(finished, tmp_path):
    import shutil

    workflow = finished.copy(tmp_path / "work")
    rubrics = workflow.folder / "rubrics"
    shutil.copytree(ROOT / "config" / "rubrics", rubrics)
    workflow.config["judge"]["rubrics"] = "rubrics"
    path = rubrics / "physical.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("Was the", "Was really the"))
    plan = workflow.run("-n")
    assert " edit" not in plan.split("jobs: ")[1].splitlines()[0]
    printed = workflow.run("physical")
    assert all(not r["cached"] for r in workflow.records("scores", "physical"))
    after = printed.partition("tables of physical ready")[2].splitlines()
    assert after[1].startswith("results/report/report.html was not renewed, so it shows earlier")


def test_forcing_a_category_looks_again_and_redoes_nothing(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    # the report shows the same tables
    assert "was not renewed" not in workflow.run("physical", "--forcerun", "edit")
    assert all(r["cached"] for r in workflow.records("edits", "physical"))
    assert all(r["cached"] for r in workflow.records("scores", "physical"))


def test_the_ways_to_look_at_the_plan(finished):
    rules = finished.run("--rulegraph")
    for rule in ("prepare", "edit", "score", "tabulate", "report"):
        assert f'"{rule}"' in rules
    assert finished.run("physical", "--dag").count("label") >= 7
    fewer = finished.run("-n", "--config", "benchmark={limit: 1}")
    assert "1 prepare, 10 edit" in fewer
    classic = finished.run("-n", "--forcerun", "report", "--workflow-profile", "none")
    assert "rule report" in classic or "Job " in classic


def test_snakemakes_own_report(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    workflow.run("--report", "report.zip")
    with zipfile.ZipFile(workflow.folder / "report.zip") as packed:
        names = "\n".join(packed.namelist())
    for category in CATEGORIES:
        for image in ("source", "edited"):
            assert f"{EDITOR}-{category}-{image}.jpg" in names
    assert "means.svg" in names and "scores.csv" in names


def test_the_report_is_packed_with_its_images_into_one_file(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    workflow.run("bundle", "rating")
    with zipfile.ZipFile(workflow.results / "report.zip") as packed:
        names = packed.namelist()
        assert packed.testzip() is None
        details = packed.read("lockstep-report/data/details-0.js").decode()
        page = packed.read("lockstep-report/report.html").decode()
    for link in re.findall(r'href="([\w.-]+)"', page):
        assert f"lockstep-report/{link}" in names
    assert "lockstep-report/report.html" in names
    for folder in ("thumbs/sources/", "thumbs/edits/", "images/sources/", "images/edits/"):
        assert sum(name.startswith(f"lockstep-report/{folder}") for name in names) == 10
    # nothing leads out of it
    assert "../" not in details
    page, plan = layout.rating(workflow.results)
    items = json.loads(plan.read_bytes())["items"]
    assert len(items) == 10
    assert all(code in page.read_text(encoding="utf-8") for code in items)


def test_the_report_tells_how_to_run_it_again(finished):
    page = (finished.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "snakemake --cores all --configfile results/report/config.yaml" in page
    command = finished.command("-n")
    command[command.index("--configfile") + 1] = "results/report/config.yaml"
    done = subprocess.run(
        command, cwd=finished.folder, capture_output=True, text=True, env=environment()
    )
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("benchmark={limmit: 2}", "benchmark.limmit: found an unknown key (did you mean 'limit'?)"),
        ("devices={device_ids: [1, 1]}", "device_ids: expected each device once, found 1 twice"),
        ("benchmark={path: gone.json}", "benchmark.path: found no file 'gone.json'"),
    ],
)
def test_a_mistake_in_the_configuration_is_a_sentence_in_a_dry_run_too(
    finished, tmp_path, options, sentence
):
    workflow = type(finished)(finished.folder, configuration(tmp_path))
    workflow.config = finished.config
    output = workflow.run("-n", "--config", options, check=False)
    assert sentence in output
    assert "Traceback" not in output


def test_results_are_the_same_for_one_two_and_three_devices(finished, models, tmp_path):
    """Fresh runs, and under Chinese paths."""
    expected = {name: value for name, value in pixels(finished).items() if "物理" in name}
    judged = {name: value for name, value in scores(finished).items() if "物理" in name}
    for devices, schedule in (([4], "lockstep"), ([2, 0, 1], "queue")):
        workflow = make(
            tmp_path / f"测试{len(devices)}",
            models,
            per_category=2,
            results="结果",
            devices={
                "accelerator": "cpu",
                "device_ids": devices,
                "schedule": schedule,
                # alone, a job loads its model itself
                "resident": len(devices) > 1,
            },
        )
        workflow.run("物理")
        assert pixels(workflow) == expected
        assert scores(workflow) == judged
        # in a queue a job may find that others have done its part
        assert schedule == "queue" or all(not r["cached"] for r in workflow.records("edits"))


def test_a_killed_run_resumes_without_redoing_what_was_finished(models, tmp_path):
    devices = {"accelerator": "cpu", "device_ids": [0]}
    workflow = make(tmp_path / "work", models, per_category=3, devices=devices)
    process = subprocess.Popen(
        workflow.command("physical"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    images = workflow.results / EDITOR / "physical" / "images"
    deadline = time.monotonic() + 200
    while not list(images.glob("*.png")):
        assert process.poll() is None and time.monotonic() < deadline, workflow.logs()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in images.glob("*.png")}
    assert 1 <= len(kept) < 3
    workflow.run("physical", "--unlock")
    workflow.run("physical")
    edits = workflow.records("edits", "physical")
    assert [r["status"] for r in edits] == ["ok"] * 3
    assert sum(r["cached"] for r in edits) == len(kept)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert len(workflow.records("scores", "physical")) == 3


def test_failures_are_counted_and_shown_and_never_scored(models, tmp_path):
    """Editors side by side; one image is missing, one sample is rejected."""
    workflow = make(tmp_path / "work", models, per_category=3)
    finished_images = workflow.folder / "finished"
    finished_images.mkdir()
    for name in ("00000_物理_easy", "00002_物理_hard"):
        Image.new("RGB", (64, 64), (9, 99, 199)).save(finished_images / f"{name}.png")
    path = workflow.folder / "benchmark.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    items.append({**items[0], "src_img_b64": "@@@", "original_image_path": "broken.png"})
    records.write_text(path, json.dumps(items))
    workflow.config["benchmark"]["categories"] = ["物理"]
    workflow.config["editors"] = [
        {"name": "finished", "type": "precomputed", "folder": "finished"},
        {"name": "control", "type": "identity"},
    ]
    judge_by_files(workflow)
    output = workflow.run()
    assert "prepare: 3 physical, 1 rejected" in output
    assert "physical cpu1: 1 of 1 edit failed: finished: expected an image" in output
    report = workflow.report()
    row = report["editors"]["finished"]["categories"]["physical"]
    assert (row["count"], row["failed"]) == (2, 1)
    assert row["coverage"] == pytest.approx(2 / 3)
    assert row["status"] == {"ok": 2, "edit_failed": 1}
    assert report["editors"]["control"]["categories"]["physical"]["coverage"] == 1
    assert report["rejected"]["count"] == 1
    (failed,) = (r for r in workflow.records("scores", editor="finished") if r["status"] != "ok")
    assert (failed["id"], failed["score"], failed["criteria"]) == ("00001_物理_medium", None, {})
    good = [r["score"] for r in workflow.records("scores", editor="finished") if r["score"]]
    assert row["mean"] == pytest.approx(sum(good) / 2)
    page = (workflow.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "finished: expected an image" in page
    assert "src_img_b64: found bad base64" in (workflow.results / "report/report.md").read_text()

    # the image turns up: what failed is retried, and only that
    Image.new("RGB", (64, 64)).save(finished_images / "00001_物理_medium.png")
    workflow.run()
    assert workflow.report()["editors"]["finished"]["categories"]["physical"]["coverage"] == 1
    assert sum(not r["cached"] for r in workflow.records("scores", editor="finished")) == 1


def test_with_fewer_slots_than_shards_nothing_waits_for_what_cannot_start(models, tmp_path):
    devices = {"accelerator": "cpu", "device_ids": [0, 1, 2]}
    workflow = make(tmp_path / "work", models, per_category=5, devices=devices)
    workflow.config["editors"] = [{"name": "control", "type": "identity"}]
    shards = [f"results/control/physical/edits/shard-{k}-of-3.jsonl" for k in range(3)]
    # one that waited would do so for longer than a run may take here
    assert DeviceSettings().join_timeout > workflow.timeout
    output = workflow.run(*shards, "--resources", "gpu=1")
    assert "; only 1 of 3 run at a time and keep step" in output
    assert len(workflow.records("edits", editor="control")) == 5


def test_a_model_that_cannot_be_loaded_fails_its_jobs_with_a_sentence(models, tmp_path):
    import shutil

    devices = {"accelerator": "cpu", "device_ids": [0]}
    workflow = make(tmp_path / "work", models, per_category=1, devices=devices)
    broken = workflow.folder / "broken"
    shutil.copytree(models / "editor", broken)
    described = broken / "transformer" / "config.json"
    own = json.loads(described.read_text(encoding="utf-8"))
    described.write_text(json.dumps({**own, "num_layers": own["num_layers"] + 1}))
    workflow.config["editors"][0]["model"] = "broken"
    output = workflow.run("physical", "--retries", "0", check=False)
    assert "Error: editors: small: broken/transformer: found no fitting weights for" in output
    assert "FAILED editing physical with small, shard 0" in output
    assert "Traceback" not in output


def test_an_error_that_all_samples_share_stops_before_all_were_tried(models, tmp_path):
    devices = {"accelerator": "cpu", "device_ids": [0]}
    workflow = make(tmp_path / "work", models, per_category=5, devices=devices)
    # its only step divides by what is left of the time, which is nothing
    workflow.config["editors"][0]["num_inference_steps"] = 1
    output = workflow.run("physical", "--retries", "0", check=False)
    assert "3 samples in a row failed alike and none succeeded, so the others are not" in output
    assert "the pipeline returned pixels that are no numbers" in output
    assert workflow.logs("edit/**/*.log").count("edit_failed") == 3
    assert "report ready" not in output
    assert "Traceback" not in output
