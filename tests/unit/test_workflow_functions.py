"""What the rules compute, without a workflow engine."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lockstep import workflow
from lockstep.config import load
from lockstep.demo import files, tiny
from lockstep.demo.files import TINY_EDITOR, TINY_FILES, TINY_JUDGE
from lockstep.editors.identity import IdentitySettings
from lockstep.errors import ConfigError, DeviceError, LockstepError
from lockstep.jobs import allocation, stale
from lockstep.models.fingerprints import RANDOM
from lockstep.records import recovery
from tests.conftest import ROOT

QWEN = {"type": "qwen3_vl", "model": "results/tiny/qwen3-vl"}
SERVER = {"type": "openai", "model": "m", "url": "http://127.0.0.1:9/v1", "concurrency": 5}
FILES = {"type": "precomputed", "folder": "replies"}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "benchmark.json"
    tiny.make_benchmark(path, per_category=1)
    return path


@pytest.fixture
def data(benchmark, tmp_path, monkeypatch):
    """A configuration of two editors, two categories and four CPU slots."""
    monkeypatch.chdir(tmp_path)
    return {
        "benchmark": {"path": str(benchmark), "categories": ["physical", "social"]},
        "editors": [{"name": "a", "type": "identity"}, {"name": "b", "type": "identity"}],
        "judge": {**QWEN, "rubrics": str(ROOT / "config" / "rubrics")},
        "devices": {"accelerator": "cpu", "device_ids": [0, 1, 2, 3]},
    }


def run_of(data, **judge):
    rubrics = data["judge"]["rubrics"]
    return workflow.of_job({**data, "judge": {**data["judge"], **judge, "rubrics": rubrics}})


def judged_by(data, judge):
    return workflow.of_job({**data, "judge": {**judge, "rubrics": data["judge"]["rubrics"]}})


def asked(claims, shard, attempt=1, editor="a"):
    """Return what a job of a shard claims, as the engine finds it."""
    wildcards = SimpleNamespace(shard=str(shard), editor=editor)
    found = {}
    for name, value in claims.items():
        if callable(value):
            value = value(wildcards) if name.startswith("gpu") else value(wildcards, attempt)
        if value is not None:
            found[name] = value
    return found


def test_each_edit_job_claims_its_own_device(data):
    claims = workflow.claims(run_of(data))
    assert [asked(claims.edit, k) for k in range(4)] == [{f"gpu{k}": 1, "gpu": 1} for k in range(4)]
    assert (claims.table, claims.cpu, claims.group) == ({}, {}, None)


def test_a_judge_over_two_devices_claims_both_and_judges_the_edits_of_both(data):
    run = run_of(data, gpus_per_judge=2)
    claims = workflow.claims(run)
    # its place in the list of devices
    assert asked(claims.judge, 1) == {"gpu2": 1, "gpu3": 1, "gpu": 2}
    assert asked(claims.anchors, 0) == {"gpu0": 1, "gpu1": 1, "gpu": 2}
    assert run.shards("a", "") == 2
    edits = "results/a/physical/edits"
    expected = [f"{edits}/shard-2-of-4.jsonl", f"{edits}/shard-3-of-4.jsonl"]
    assert run.judged("a", "physical", 1) == expected
    assert len(run.edits("a", "physical")) == 4
    scores = "results/a/physical/scores"
    expected = [f"{scores}/shard-0-of-2.jsonl", f"{scores}/shard-1-of-2.jsonl"]
    assert run.scores("a", "physical") == expected


LARGE = {"name": "large", "type": "command", "command": "edit", "version": "1"}


@pytest.mark.parametrize(
    ("editor", "judge", "edits", "claimed", "scores", "judged", "judging"),
    [
        # the judge of edits from two devices takes one of them
        (2, 1, 2, {"gpu2": 1, "gpu3": 1, "gpu": 2}, 2, [1], {"gpu2": 1, "gpu": 1}),
        (1, 2, 4, {"gpu1": 1, "gpu": 1}, 2, [2, 3], {"gpu2": 1, "gpu3": 1, "gpu": 2}),
        (2, 4, 2, {"gpu2": 1, "gpu3": 1, "gpu": 2}, 1, None, None),
        (4, 2, 1, None, 1, None, None),
    ],
)
def test_an_editor_over_several_devices_claims_all(
    data, editor, judge, edits, claimed, scores, judged, judging
):
    editors = [*data["editors"], {**LARGE, "gpus_per_editor": editor}]
    run = run_of({**data, "editors": editors}, gpus_per_judge=judge)
    assert len(run.edits("large", "physical")) == edits
    assert len(run.scores("large", "physical")) == scores
    claims = workflow.claims(run)
    if claimed is not None:
        assert asked(claims.edit, 1, editor="large") == claimed
    if judging is not None:
        assert asked(claims.judge, 1, editor="large") == judging
        paths = run.edits("large", "physical")
        assert run.judged("large", "physical", 1) == [paths[k] for k in judged]
    # the others' shards stay as they are
    assert len(run.edits("a", "physical")) == 4
    expected = [n for n in (edits, scores, 4, 4 // judge)]
    assert run.counts == sorted(set(expected))


def test_devices_that_make_no_whole_editors_are_refused(data):
    editors = [{**LARGE, "gpus_per_editor": 3}]
    sentence = r"large: gpus_per_editor: expected 1 or 2 or 4, or .*, found 3 with 4 devices"
    with pytest.raises(DeviceError, match=sentence):
        run_of({**data, "editors": editors})
    run = run_of({**data, "editors": [{**LARGE, "gpus_per_editor": 4}]})
    with pytest.raises(DeviceError, match=r"at least 4 \(editors: large: gpus_per_editor\)"):
        list(workflow.checked(run, "c.yaml", {"gpu": 2}, dry=False))


def test_devices_that_make_no_whole_judges_are_refused(data):
    with pytest.raises(DeviceError, match=r"gpus_per_judge: expected .*, found 3 with 4 devices"):
        run_of(data, gpus_per_judge=3)


def test_a_server_gets_no_more_requests_than_it_may(data):
    run = judged_by(data, SERVER)
    assert workflow.claims(run).judge == workflow.claims(run).anchors == {"requests": 1}
    gpus = dict.fromkeys(("gpu0", "gpu1", "gpu2", "gpu3"), 1)
    assert workflow.limits(run) == {"requests": 5, **gpus}


EDITING = {"type": "openai_images", "model": "m", "url": "http://127.0.0.1:9/v1"}


def claimed_by(run, editor, shard, attempt=1):
    """Return what an edit job claims where an editor is behind a server."""
    wildcards = SimpleNamespace(editor=editor, shard=str(shard))
    asked = {n: value(wildcards, attempt) for n, value in workflow.claims(run).edit.items()}
    return {name: value for name, value in asked.items() if value is not None}


def test_an_editor_behind_a_server_claims_requests_and_the_others_devices(data):
    served = [{"name": name, "concurrency": n, **EDITING} for name, n in (("x", 8), ("y", 12))]
    elsewhere = {"name": "z", **EDITING, "url": "http://127.0.0.1:8/v1"}
    run = run_of({**data, "editors": [*data["editors"], *served, elsewhere]})
    assert claimed_by(run, "a", 2) == {"gpu2": 1, "gpu": 1}
    # two editors at one address share its requests
    assert claimed_by(run, "x", 2) == {"requests0": 2}
    assert claimed_by(run, "y", 2) == {"requests0": 3}
    assert claimed_by(run, "z", 2) == {"requests1": 1}
    gpus = dict.fromkeys(("gpu0", "gpu1", "gpu2", "gpu3"), 1)
    assert workflow.limits(run) == {"requests0": 12, "requests1": 4, **gpus}
    with pytest.raises(DeviceError, match="--resources requests0=9: expected concurrency"):
        allocation.check_limits({"requests0": 9}, (1, ""))


def asked_to_rewrite(run, editor):
    """Return what a job claims that rewrites an editor's instructions."""
    given, claims = SimpleNamespace(editor=editor), workflow.claims(run).rewrite
    found = {name: own(given) if callable(own) else own for name, own in claims.items()}
    return {name: value for name, value in found.items() if value is not None}


def test_a_rewriter_claims_its_whole_server_and_no_device(data):
    chat = {"type": "openai", "model": "w", "prompt": "{instruction}", "concurrency": 3}
    at = {"x": "http://127.0.0.1:9/v1", "y": "http://127.0.0.1:8/v1"}
    finished = {"type": "precomputed", "folder": "f"}
    told = [{"name": f"{n}-told", **finished, "rewrite": {**chat, "url": at[n]}} for n in at]
    data = {**data, "editors": [*data["editors"], {"name": "x", **EDITING}, *told]}
    on_cpu = {"slurm_account": "us", "slurm_partition": "cpus"}
    for run, more in ((run_of(data), {}), (on_cluster(data, QWEN), on_cpu)):
        limits = {name: n for name, n in workflow.limits(run).items() if "requests" in name}
        # the editor and a rewriter share the first address
        assert limits == {"requests0": 4, "requests1": 3}

        assert asked_to_rewrite(run, "x-told") == {"requests0": 4, **more}
        assert asked_to_rewrite(run, "y-told") == {"requests1": 3, **more}
        assert run.rewritten("x-told", "physical") == ["results/x-told/physical/rewritten.jsonl"]
        assert run.rewritten("x", "physical") == []
        # before any edit
        assert run.priority("rewrite", "y-told", "social") > run.priority("edit", "a", "physical")


def test_on_a_cluster_an_editor_behind_a_server_goes_where_no_gpu_is(data):
    editors = [*data["editors"], {"name": "x", **EDITING}]
    run = on_cluster({**data, "editors": editors}, QWEN)
    expected = {"requests0": 1, "slurm_account": "us", "slurm_partition": "cpus"}
    assert claimed_by(run, "x", 2) == expected
    own = claimed_by(run, "a", 2, attempt=2)
    assert (own["gpu"], own["slurm_partition"], own["mem_mb"]) == (1, "gpus", 20_000)
    assert workflow.limits(run) == {"requests0": 4}


def test_finished_scores_claim_nothing(data):
    run = judged_by(data, FILES)
    assert workflow.claims(run).judge == workflow.claims(run).anchors == {}


CLUSTER = {"shards": 4, "account": "us", "partition": "gpus", "cpu_partition": "cpus", "memory": 10}


def on_cluster(data, judge, accelerator="cuda", **cluster):
    devices = {"accelerator": accelerator}
    changed = {**data, "devices": devices, "cluster": {**CLUSTER, **cluster}}
    return judged_by(changed, judge)


def test_on_a_cluster_no_job_claims_a_device_by_its_number(data):
    run = on_cluster(data, {**QWEN, "gpus_per_judge": 2}, gpu_model="h200")
    claims = workflow.claims(run)
    expected = {
        "slurm_account": "us",
        "slurm_partition": "gpus",
        "cpus_per_task": 8,
        "mem_mb": 20_000,
        "runtime": 480,
        "slurm_extra": "-N1",
        "gpu": 1,
    }
    first = {name: value for name, value in claims.edit.items() if name != "gpu_model"}
    assert claims.edit["gpu_model"] == "h200"
    assert asked(first, 3, attempt=2) == expected
    assert claims.judge["gpu"] == claims.anchors["gpu"] == 2
    assert claims.cpu == {"slurm_account": "us", "slurm_partition": "cpus"}
    # it is in one allocation with the edits, which have another partition
    assert asked(claims.table, 0) == {"slurm_account": "us", "runtime": 15}
    assert claims.group == "{editor}-{category}"
    assert workflow.limits(run) == {}


def test_an_allocation_of_each_shard_groups_nothing(data):
    claims = workflow.claims(on_cluster(data, QWEN, allocation="shard"))
    assert claims.group is None
    assert claims.table == claims.cpu


def test_on_a_cluster_without_gpus_none_is_asked_for(data):
    claims = workflow.claims(on_cluster(data, QWEN, accelerator="cpu"))
    assert "gpu" not in claims.edit and "gpu" not in claims.judge


@pytest.mark.parametrize(("judge", "requests"), [(SERVER, {"requests": 1}), (FILES, {})])
def test_on_a_cluster_a_judge_without_a_device_goes_where_others_do(data, judge, requests):
    claims = workflow.claims(on_cluster(data, judge))
    assert claims.judge == {**requests, "slurm_account": "us", "slurm_partition": "cpus"}


def test_all_edits_come_first_and_no_two_categories_at_the_same_time(data):
    run = run_of(data)
    order = [("a", "physical"), ("a", "social"), ("b", "physical"), ("b", "social")]
    found = [run.priority(stage, *names) for stage in ("edit", "score") for names in order]
    assert found == sorted(set(found), reverse=True)


@pytest.mark.parametrize(("limits", "count"), [((), 4), ((2, None), 2), ((9, 3), 3), (("max",), 4)])
def test_as_many_shards_run_at_a_time_as_the_limits_allow(data, limits, count):
    assert workflow.slots(run_of(data), *limits) == count


def test_only_models_of_the_workflows_own_are_inputs(data):
    judge = run_of(data).whole.judge
    assert workflow.made_here(judge) == TINY_JUDGE
    for path in ("/data/results/tiny/qwen3-vl", "results/tiny/qwen3", "a/b"):
        assert workflow.made_here(judge.model_copy(update={"model": path})) == []
    assert workflow.made_here(IdentitySettings(name="control", type="identity")) == []
    assert set(TINY_EDITOR + TINY_JUDGE) < set(TINY_FILES)


def test_the_tiny_models_have_the_files_that_the_workflow_expects(models):
    """A file that is not listed would be made and forgotten; one too many fails the job."""
    for folder, name, listed in (
        ("editor", "qwen-image-edit", TINY_EDITOR),
        ("judge", "qwen3-vl", TINY_JUDGE),
    ):
        made = {
            str(path.relative_to(models / folder))
            for path in (models / folder).rglob("*")
            if path.is_file()
        }
        # the marker is no model's
        made.remove(RANDOM)
        assert {path.removeprefix(f"{files.TINY}/{name}/") for path in listed} == made


def test_code_that_a_rule_names_is_there():
    assert all(
        map(
            os.path.exists,
            workflow.library_files("demo/tiny.py", "demo/scenes.py", "demo/scenes.yaml"),
        )
    )
    prepare = (ROOT / "rules" / "prepare.smk").read_text(encoding="utf-8")
    assert 'library_files("demo/tiny.py", "demo/scenes.py", "demo/scenes.yaml")' in prepare


def test_jobs_have_stages_whatever_the_rules_are_called():
    scripts = ["/a/scripts/rules/edit_shard.py", "judge_anchors.py", "tabulate_scores.py"]
    assert workflow.stages_of(scripts) == {"edit", "anchors"}
    assert all((ROOT / "scripts" / "rules" / f"{name}.py").is_file() for name in workflow.STAGES)


def test_rubrics_are_looked_for_in_one_folder_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "config" / "rubrics").mkdir(parents=True)
    given = {"judge": {"type": "precomputed"}, "seed": 1}
    places = [first, "second"]
    found = load.with_rubrics(given, places)
    expected = str(second / "config" / "rubrics")
    assert found == {"judge": {"type": "precomputed", "rubrics": expected}, "seed": 1}
    (first / "config" / "rubrics").mkdir(parents=True)
    expected = str(first / "config" / "rubrics")
    assert load.with_rubrics(given, places)["judge"]["rubrics"] == expected
    # a configuration that works as it is stays as it is, and so do the keys of its results
    (tmp_path / "config" / "rubrics").mkdir(parents=True)
    assert load.with_rubrics(given, places) == given


@pytest.mark.parametrize(
    "judge",
    [None, "text", {"rubrics": 3}, {"rubrics": ""}, {"rubrics": "gone"}, {"rubrics": "/gone"}],
)
def test_a_mistake_is_left_for_the_configuration_to_tell(judge, tmp_path):
    assert load.with_rubrics({"judge": judge}, [tmp_path]) == {"judge": judge}
    assert load.with_rubrics({}, [tmp_path]) == {}


def test_a_dry_run_says_what_would_stop_a_run_and_goes_on(data, monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    run = judged_by(data, {**SERVER, "api_key_variable": "NO_KEY"})

    def refuse(folder):
        raise ConfigError(f"results: expected a folder that this user can write, found '{folder}'")

    monkeypatch.setattr(recovery, "check_writable", refuse)
    said = list(workflow.checked(run, "c.yaml", {}, dry=True))
    assert said[0] == "results: expected a folder that this user can write, found 'results'"
    assert said[1].startswith("Before anything can be judged: c.yaml: judge.api_key_variable")
    with pytest.raises(ConfigError, match="that this user can write"):
        list(workflow.checked(run, "c.yaml", {}, dry=False))


def test_a_limit_that_would_not_hold_is_refused(data):
    with pytest.raises(DeviceError, match="gpu=1: expected at least 2"):
        list(workflow.checked(run_of(data, gpus_per_judge=2), "c.yaml", {"gpu": 1}, dry=False))


def test_that_no_gpu_was_found_is_said_once_all_is_well(data, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = judged_by({**data, "devices": {"accelerator": "auto"}}, FILES)
    (said,) = workflow.checked(run, "c.yaml", {}, dry=False)
    assert said.startswith("devices: found no GPU here, runs on CPU slots: cpu0")


@pytest.fixture
def begun(data, monkeypatch):
    """A run behind a server, and what its begin did."""
    done = []
    run = judged_by(data, SERVER)
    monkeypatch.setattr(
        type(run.whole.judge), "check_environment", lambda judge, reach: done.append(reach)
    )
    monkeypatch.setattr(workflow.workers, "sweep", lambda: done.append("workers"))
    return run, done


@pytest.mark.parametrize(
    ("scripts", "touches", "reached"),
    [
        (["score_shard.py"], False, [True]),
        (["judge_anchors.py"], False, [True]),
        (["score_shard.py"], True, []),
        (["edit_shard.py", "write_report.py"], False, []),
    ],
)
def test_a_run_begins_by_holding_its_results_and_sweeping(begun, scripts, touches, reached):
    run, done = begun
    left = run.results / f".{'0f' * 8}.tmp"
    left.parent.mkdir()
    left.touch()
    jobs = [(script, {"editor": run.editors[0], "category": "physical"}) for script in scripts]
    lock = workflow.begin(run, "c.yaml", jobs, only_touches=touches)
    assert lock.is_locked and not left.exists()
    assert done == ["workers", *reached]
    lock.release()


def test_a_run_sweeps_nothing_where_another_holds_the_results(begun):
    run, done = begun
    with recovery.hold(run.results):
        left = run.results / f".{'0f' * 8}.tmp"
        left.touch()
        with pytest.raises(ConfigError, match="in use by process"):
            workflow.begin(run, "c.yaml", [], only_touches=False)
        assert left.exists() and not done


def test_a_mark_is_newer_than_all_that_is_made_again(tmp_path):
    outputs = [tmp_path / "old", tmp_path / "ahead", tmp_path / "never-made"]
    for path, when in zip(outputs[:2], (0, time.time() + 0.9), strict=True):
        path.touch()
        os.utime(path, (when, when))
    mark = Path(stale.mark("made-with-another-seed", outputs, tmp_path / "because"))
    assert mark.stat().st_mtime > outputs[1].stat().st_mtime
    first = mark.read_bytes()
    stale.mark("made-with-another-seed", outputs, tmp_path / "because")
    assert mark.read_bytes() != first
    stale.check_clock(outputs, tmp_path)


def test_an_output_from_the_future_is_named(tmp_path):
    path = tmp_path / "table.csv"
    path.touch()
    os.utime(path, (time.time() + 60, time.time() + 60))
    with pytest.raises(LockstepError, match=r"table\.csv: found a time in the future"):
        stale.check_clock([path, tmp_path / "never-made"], tmp_path)


def test_a_configuration_without_a_benchmark_only_compares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("category,id,editor,score\nphysical,1,x,5\n")
    run = workflow.load({"compare": {"sources": {"a": "a.csv"}}}, "c.yaml")
    assert run.only_compares and (run.editors, run.categories) == ([], [])
    assert run.compared == {"a": ["a.csv"]}
    assert run.finished[0] == "results/compare/compare.md"
    assert list(workflow.checked(run, "c.yaml", {}, dry=False)) == []
    assert workflow.stale(run) == {}
    assert workflow.limits(run) == {} and workflow.claims(run).cpu == {}
    assert not Path("results").exists()


def test_a_comparison_makes_the_runs_own_tables_first(data):
    Path("a.csv").write_text("category,id,editor,score\nphysical,1,x,5\n")
    sources = {"ours": "results/", "theirs": "a.csv"}
    run = judged_by({**data, "compare": {"sources": sources}}, FILES)
    assert run.compared == {"ours": run.tables, "theirs": ["a.csv"]}
    assert run.tables[0] == "results/a/physical/table.csv" and len(run.tables) == 4
    assert run.finished == [*run.report, *run.protocol]


def test_only_the_runs_of_this_machine_know_its_devices(data):
    assert [d.name for d in run_of(data).devices] == ["cpu0", "cpu1", "cpu2", "cpu3"]
    assert [d.label for d in on_cluster(data, QWEN).devices] == [f"shard {k}" for k in range(4)]
    assert allocation.BEGUN_WITH not in os.environ
