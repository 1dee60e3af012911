"""Mistakes in a configuration, as a user meets them: told before any job starts."""

import json
import os
import subprocess
import time

import pytest
import yaml

from lockstep.demo import tiny
from tests import ready_snakemake
from tests.conftest import ROOT
from tests.fake_server import answer
from tests.unit.test_yaml_files import bomb
from tests.workflow.conftest import EDITOR, Workflow, environment, judge_by_files, make

CONTROL = [{"name": EDITOR, "type": "identity"}]


@pytest.fixture
def workflow(tmp_path):
    """A run without models: the source for edits, finished replies for judge."""
    made = make(tmp_path / "work", tmp_path, per_category=1, editors=CONTROL)
    made.config["devices"]["device_ids"] = [0]
    judge_by_files(made)
    return made


def refused(workflow, *arguments, sentence):
    """Check that a run says a sentence and starts nothing."""
    began = time.monotonic()
    printed = workflow.run(*arguments, check=False)
    assert sentence in printed
    assert "Traceback" not in printed
    assert not (workflow.results / "logs").exists()
    assert time.monotonic() - began < 60
    return printed


def run(workflow, path, *arguments):
    """Run with a configuration as it is written, and return what is printed."""
    command = workflow.command(*arguments)
    command[command.index("--configfile") + 1] = str(path)
    # `python -m snakemake` comes first
    return ready_snakemake.run(command[3:], environment(), 60)


@pytest.mark.parametrize("kind", ["list", "map", "merge"])
@pytest.mark.parametrize("profile", [None, "none"])
def test_a_yaml_bomb_is_an_error_and_not_a_hang(workflow, kind, profile):
    if profile and kind != "list":
        pytest.skip("without the profile Snakemake reads the file before anything of ours")
    path = workflow.folder / "bomb.yaml"
    path.write_text(bomb(kind), encoding="utf-8")
    code, printed = run(workflow, path, "-n", *(["--workflow-profile", profile] if profile else []))
    assert code == 1
    assert f"{path}: line 7: found aliases (*name) that stand for more than" in printed


@pytest.mark.parametrize("name", ["own.yaml", "config/config.yaml"])
def test_a_key_twice_is_told_with_its_line(workflow, name):
    path = workflow.folder / name
    path.parent.mkdir(exist_ok=True)
    text = yaml.safe_dump(workflow.config, sort_keys=False)
    lines = text.count("\n")
    path.write_text(text + "editors: []\n", encoding="utf-8")
    sentence = f"{name}: line {lines + 1}: expected each key once, found 'editors' twice"
    if name == "own.yaml":
        assert sentence in run(workflow, path, "-n")[1]
        return
    command = workflow.command("-n")
    done = subprocess.run(command[:-2], capture_output=True, text=True, env=environment())
    assert sentence in done.stdout + done.stderr


def test_nested_values_of_the_command_line_reach_a_server_as_from_a_file(serve, tmp_path):
    def judge(body):
        prompt = body["messages"][1]["content"][2]["text"]
        return answer(reply=prompt[prompt.rindex("{") :].replace("<0-10>", "7"))

    server = serve(judge)
    workflow = make(
        tmp_path / "work",
        tmp_path,
        per_category=1,
        editors=CONTROL,
        judge={
            "type": "openai",
            "url": server.url,
            "model": "some/judge",
            "rubrics": str(ROOT / "config" / "rubrics"),
        },
    )
    request = "{max_tokens: null, temperature: 0.2, a: {enable_thinking: false}, stop: ['null']}"
    workflow.run("physical", "--config", f"judge={{request: {request}}}")
    (body,) = (body for _, _, body in server.requests)
    assert "max_tokens" not in body
    assert (body["temperature"], body["a"], body["stop"]) == (
        0.2,
        {"enable_thinking": False},
        ["null"],
    )


def test_a_misspelt_folder_of_a_model_stops_a_run_and_is_said_in_a_dry_run(workflow):
    (workflow.folder / "models" / "judge").mkdir(parents=True)
    workflow.config["judge"] = {
        "type": "qwen3_vl",
        "model": "models/judeg",
        "rubrics": str(ROOT / "config" / "rubrics"),
    }
    sentence = "judge.model: found no folder 'models/judeg' in the folder 'models' (did you mean"
    printed = refused(workflow, "-n", sentence=sentence)
    assert "1 prepare, 5 edit" in printed
    refused(workflow, sentence=sentence)
    # what needs no model goes on
    assert sentence not in workflow.run("import")


def test_a_mistake_is_one_line_on_the_terminal(workflow):
    path = workflow.folder / "own.yaml"
    path.write_text(yaml.safe_dump(workflow.config), encoding="utf-8")
    for arguments, sentence in (
        (
            ("-n", "--config", "seed=abc"),
            'own.yaml + --config: seed: expected a whole number, found "',
        ),
        (("-n", "--config", "results"), "--config: expected KEY=VALUE, found 'results'"),
        (("phisical", "-n"), "found no target 'phisical' (did you mean 'physical'?); expected one"),
        (("agreement", "-n"), "target 'agreement': expected report.human_scores in the configurat"),
    ):
        code, printed = run(workflow, path, *arguments)
        lines = [line for line in printed.splitlines() if "profile profiles/" not in line]
        assert code == 1
        assert len(lines) == 1 and lines[0].startswith(f"Error: {sentence}"), printed
    code, printed = run(workflow, "physical", "-n")
    assert (code, "found no file 'physical'; what is to be made goes before" in printed) == (
        1,
        True,
    )


def test_a_dry_run_says_that_nothing_can_be_written(workflow):
    folder = workflow.folder / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    workflow.config["results"] = "closed/results"
    assert "found 'closed/results' not writable" in workflow.run("-n")


def test_a_plan_that_nobody_reads_on_is_no_error(workflow):
    # as `snakemake -n | head`
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as nobody:
        done = subprocess.run(
            workflow.command("-n"),
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            env=workflow.environment(),
            timeout=60,
        )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_dry_run_says_that_it_found_no_gpu(workflow, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    workflow.config["devices"] = {"device_ids": [0]}
    sentence = "devices: found no GPU here, runs on CPU slots: cpu0 (devices.accelerator: auto)"
    assert sentence in workflow.run("-n")
    workflow.config["devices"]["accelerator"] = "cpu"
    assert sentence not in workflow.run("-n")


@pytest.mark.parametrize("limit", ["gpus=2", "gpu=0"])
def test_a_limit_that_would_not_hold_stops_a_run(workflow, limit):
    refused(workflow, "--resources", limit, sentence=f"--resources {limit}: expected ")


def test_human_scores_are_read_before_the_first_edit(workflow):
    (workflow.folder / "humans.csv").write_text("name,score\na,1\n")
    workflow.config["report"] = {"human_scores": "humans.csv"}
    refused(workflow, sentence="humans.csv: expected the columns id, editor, score, found no 'id'")


def test_a_run_stops_where_all_samples_are_rejected(workflow):
    path = workflow.folder / "benchmark.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    for item in items[:2]:
        item["src_img_b64"] = "@@@"
    path.write_text(json.dumps(items), encoding="utf-8")
    printed = workflow.run("--retries", "0", check=False)
    assert "found no sample of 'physical' that can be used, 1 is rejected" in printed
    assert "src_img_b64: found bad base64" in printed
    for item in items:
        item["src_img_b64"] = "@@@"
    path.write_text(json.dumps(items), encoding="utf-8")
    printed = workflow.run("--retries", "0", check=False)
    assert "found no sample that can be used, 5 are rejected, 5 of them for a reason" in printed
    assert not list((workflow.results / "logs").glob("edit/**/*.log"))


def test_the_demos_models_edit_a_benchmark_of_ones_own_in_a_fresh_folder(tmp_path):
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    demo["benchmark"] = {"path": "own.json", "categories": ["physical"]}
    # the second is the first, earlier in its training
    del demo["editors"][1]
    for settings in (demo["editors"][0], demo["judge"]):
        settings["model"] = str(ROOT / settings["model"])
    demo["judge"]["rubrics"] = str(ROOT / demo["judge"]["rubrics"])
    demo["devices"]["device_ids"] = [0]
    workflow = Workflow(tmp_path / "fresh", {"results": "results", **demo})
    workflow.folder.mkdir()
    tiny.make_benchmark(workflow.folder / "own.json", per_category=1)
    workflow.run()
    for editor in workflow.report()["editors"].values():
        assert editor["overall"]["micro"]["count"] + editor["overall"]["micro"]["failed"] == 1
