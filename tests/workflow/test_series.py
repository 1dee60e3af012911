"""A training run's checkpoints in real runs: one load a device, only what is new redone."""

import shutil

import pytest
from PIL import Image

from tests import tiny_editors
from tests.workflow.conftest import configuration, judge_by_files, make, misfits

PATTERN = "ckpts/step-*.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, models):
    """A run of two checkpoints and one that is half written, on two CPU slots."""
    folder = tmp_path_factory.mktemp("series") / "work"
    two = {"path": "benchmark.json", "categories": ["physical", "social"]}
    workflow = make(folder, models, per_category=2, benchmark=two)
    for seed, step in enumerate(("010", "020", "030")):
        path = folder / "ckpts" / f"step-{step}.safetensors"
        tiny_editors.make_adapter(path, models / "editor", seed=seed)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    base = configuration(models)["editors"][0]
    # members are not known to who writes the replies, so their names are
    workflow.config["editors"] = [{"name": f"run-{step}"} for step in ("010", "020", "030")]
    workflow.config["editors"].append({"name": "alone"})
    judge_by_files(workflow)
    workflow.config["editors"] = [{**base, "name": "run", "checkpoints": PATTERN}]
    workflow.output = workflow.run("--cores", "2")
    workflow.whole = whole
    return workflow


def states(workflow):
    return {
        str(path.relative_to(workflow.results)): path.stat().st_mtime_ns
        for path in sorted(workflow.results.rglob("run-*/*/images/*.png"))
    }


def test_the_base_is_loaded_once_a_device_for_all_checkpoints(trained):
    logs = trained.logs("edit/**/*.log") + trained.logs("workers/*.log")
    assert logs.count("loaded QwenImageEditPipeline") == 2
    assert logs.count("took the next checkpoint, run-020, in ") == 2
    assert "left out ckpts/step-030.safetensors, which may still be written" in trained.output
    assert len(states(trained)) == 8


def test_a_series_is_a_target(trained):
    assert "4 tabulate" in trained.run("-n", "run", "--forcerun", "tabulate")


def test_the_report_has_the_series(trained):
    (run,) = trained.report()["series"]
    assert [step["step"] for step in run["steps"]] == [10, 20]
    assert run["best"] == run["earliest"] == "run-010"
    assert [row["editor"] for row in trained.report()["leaderboard"]] == ["run-010"]


def test_a_finished_checkpoint_is_edited_and_judged_and_nothing_else(trained, tmp_path):
    workflow = trained.copy(tmp_path / "work")
    before = states(workflow)
    (workflow.folder / "ckpts" / "step-030.safetensors").write_bytes(trained.whole)
    output = workflow.run("--cores", "2")
    after = states(workflow)
    new = after.keys() - before.keys()
    assert {name.split("/")[0] for name in new} == {"run-030"} and len(new) == 4
    assert {name: after[name] for name in before} == before
    for kind in ("edit", "score"):
        redone = {line for line in output.splitlines() if f"{kind}ing " in line}
        assert not [line for line in redone if "run-010" in line or "run-020" in line]
    assert [step["step"] for step in workflow.report()["series"][0]["steps"]] == [10, 20, 30]
    # one that is gone leaves the report, and its results stay
    (workflow.folder / "ckpts" / "step-010.safetensors").unlink()
    workflow.run("--cores", "2")
    assert [step["step"] for step in workflow.report()["series"][0]["steps"]] == [20, 30]
    assert states(workflow) == after


def test_a_checkpoint_in_a_series_has_the_bits_of_one_alone(trained, tmp_path, models):
    workflow = trained.copy(tmp_path / "work")
    shutil.rmtree(workflow.results)
    (editor,) = workflow.config["editors"]
    del editor["checkpoints"]
    path = str(workflow.folder / "ckpts" / "step-020.safetensors")
    workflow.config["editors"] = [{**editor, "name": "alone", "adapters": [{"path": path}]}]
    workflow.run("alone", "--cores", "2")
    for image in sorted((workflow.results / "alone").rglob("*.png")):
        own = trained.results / "run-020" / image.relative_to(workflow.results / "alone")
        assert pixels(own) == pixels(image)
    one = {record["id"]: record["key"] for record in trained.records("edits", editor="run-020")}
    alone = workflow.records("edits", editor="alone")
    assert one == {record["id"]: record["key"] for record in alone}


def pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def test_nothing_is_stale_after_a_run(trained, monkeypatch):
    monkeypatch.setenv("LOCKSTEP_CHECKPOINTS", "{}")
    assert misfits(trained, monkeypatch) == {}
