"""All kinds of editors in one run on the miniature's benchmark, killed at each of them in turn."""

import json
import os
import shutil
import signal
import sys
import time

import pytest
import yaml

from tests import tiny_presets
from tests.conftest import ROOT
from tests.fake_server import edit_as_asked
from tests.workflow.conftest import Workflow, until
from tests.workflow.test_documents import blocks

CATEGORIES = ["physical", "social"]
SAMPLES = 4

(EXAMPLE,) = blocks("docs/own_editor.md", "python")


@pytest.fixture
def workflow(serve, tmp_path):
    """A server, a program, the miniature, a preset with random weights, and finished images."""
    server = serve(edit_as_asked)
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    miniature = ROOT / "resources" / "miniature"
    (tmp_path / "edit.py").write_text(EXAMPLE, encoding="utf-8")
    tiny_presets.flux2_klein(tmp_path / "klein")
    served = {"name": "served", "type": "openai_images", "url": server.url, "model": "m"}
    own = {"name": "program", "type": "command", "command": [sys.executable, "edit.py"]}
    klein = {"name": "klein", "preset": "flux-2-klein", "model": str(tmp_path / "klein")}
    final = config["editors"][0] | {"model": str(miniature / "editor-final")}
    config["editors"] = [
        served | {"concurrency": 2},
        own | {"version": "1", "arguments": {"steps": 1}},
        final,
        klein | {"dtype": "float32", "num_inference_steps": 1},
    ]
    config["judge"] |= {"model": str(miniature / "judge"), "swapped_instruction": False}
    config["judge"]["rubrics"] = str(miniature / "rubrics")
    config["results"] = "results"
    path = str(miniature / "benchmark.json")
    config["benchmark"] |= {"path": path, "limit": SAMPLES // 2, "categories": CATEGORIES}
    (tmp_path / "finished").mkdir()
    made = Workflow(tmp_path, config)
    made.server = server
    made.run("results/manifest/physical.jsonl")
    for category in CATEGORIES:
        text = (made.results / "manifest" / f"{category}.jsonl").read_text(encoding="utf-8")
        for sample in map(json.loads, text.splitlines()):
            source = made.results / "manifest" / sample["image"]
            shutil.copy(source, tmp_path / "finished" / f"{sample['id']}{source.suffix}")
    finished = {"name": "finished", "type": "precomputed", "folder": "finished"}
    made.config["editors"].append(finished)
    return made


def outcome(workflow, editor):
    """Return what was made of each sample, whoever made it and when."""
    edits = workflow.records("edits", editor=editor)
    scores = {r["id"]: (r["status"], r["score"]) for r in workflow.records("scores", editor=editor)}
    return {r["id"]: (r["status"], r["key"], r["pixels_sha256"], scores[r["id"]]) for r in edits}


def images(workflow, editor):
    folder = workflow.results / editor
    return {path.stem: path.stat().st_mtime_ns for path in folder.glob("*/images/*.png")}


def test_a_run_killed_at_each_kind_of_editor_ends_as_one_that_never_was(workflow):
    names = [editor["name"] for editor in workflow.config["editors"]]
    workflow.server.delay = 0.3
    kept = {}
    for name in names:
        run = workflow.start()
        until(lambda name=name: images(workflow, name), 180, lambda: workflow.printed()[-3000:])
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        kept[name] = images(workflow, name)
        until(lambda: workflow.server.busy == 0, 30)
        # what the run held ends with it
        time.sleep(2)
        workflow.run("--unlock")
    workflow.run("--rerun-incomplete")
    for name in names:
        assert kept[name].items() <= images(workflow, name).items(), name
    resumed = {name: outcome(workflow, name) for name in names}
    assert {len(found) for found in resumed.values()} == {SAMPLES}
    assert {status for found in resumed.values() for status, *_ in found.values()} == {"ok"}
    # all but those under way at the kill were asked for once, and one again for the seed
    sent = len(workflow.server.requests)
    assert SAMPLES + 1 <= sent <= SAMPLES + 1 + 2
    assert set(workflow.report()["editors"]) == set(names)

    workflow.config["results"] = "whole"
    workflow.run()
    assert {name: outcome(workflow, name) for name in names} == resumed
