"""Editors behind a server, as the workflow runs them."""

import os
import signal
from pathlib import Path

import pytest

from tests.fake_server import edit_as_asked, problem
from tests.workflow.conftest import judge_by_files, make, until

KEY = "sk-very-secret-0123456789"
SAMPLES = 6


@pytest.fixture
def workflow(serve, tmp_path, monkeypatch):
    """Two editors at one server, which differ in what they ask for."""
    monkeypatch.setenv("EDIT_KEY", KEY)
    server = serve(edit_as_asked)
    editors = [
        {
            "name": name,
            "type": "openai_images",
            "url": server.url,
            "model": "some/editor",
            "api_key_variable": "EDIT_KEY",
            "size": size,
            "concurrency": 4,
            "image_price": 0.25,
        }
        for name, size in (("served", "native"), ("sized", "source"))
    ]
    made = make(
        tmp_path / "work",
        Path("no models"),
        per_category=SAMPLES // 2,
        benchmark={"path": "benchmark.json", "categories": ["physical", "social"]},
        editors=[*editors, {"name": "control", "type": "identity"}],
    )
    judge_by_files(made)
    made.server = server
    return made


def edits(workflow, editor="served"):
    """Return what a run made of each sample, whoever made it and when."""
    return {
        record["id"]: (record["status"], record["key"], record["pixels_sha256"], record["served"])
        for record in workflow.records("edits", editor=editor)
    }


def test_two_editors_at_one_server_edit_without_a_device(workflow):
    # devices that are not there: none is claimed by what asks the server
    printed = workflow.run("--resources", "gpu=1")
    for name, size in (("served", None), ("sized", "256x256")):
        found = workflow.records("edits", editor=name)
        assert {(r["status"], r["device"], r["wait_seconds"]) for r in found} == {
            ("ok", "server", 0)
        }
        assert {r["served"]["seed"] for r in found} == {"honoured"}
        if size is None:
            assert {r["served"]["requested_size"] for r in found} == {None}
        else:
            assert all(r["served"]["requested_size"] for r in found)
    assert workflow.server.most <= 4
    # a repeated request of each editor
    assert len(workflow.server.requests) == 2 * (SAMPLES + 1)
    assert not list((workflow.results / "logs" / "workers").glob("*"))

    numbers = workflow.report()["editors"]
    assert numbers["served"]["lockstep"]["edits"] == 0
    assert numbers["control"]["served"] is None
    assert numbers["served"]["served"] == {
        "requests": SAMPLES + 1,
        "images": SAMPLES,
        "input_tokens": 100 * SAMPLES,
        "output_tokens": 20 * SAMPLES,
        "price": 0.25 * (SAMPLES + 1),
        "seed": "honoured",
        "models": [],
        "warnings": {},
    }
    page = (workflow.results / "report" / "report.html").read_text(encoding="utf-8")
    assert "The server honours seeds" in page

    # how it is asked decides no pixel; a further field does
    for editor in workflow.config["editors"][:2]:
        editor |= {"concurrency": 2, "max_requests": 100, "timeout": 99}
    assert "Nothing to be done" in workflow.run("-n", "physical", "social")
    workflow.config["editors"][1]["request"] = {"num_inference_steps": 4}
    workflow.run("physical", "social")
    assert len(workflow.server.requests) == 2 * (SAMPLES + 1) + SAMPLES + 1
    assert workflow.server.requests[-1][2]["num_inference_steps"] == "4"

    written = b"".join(p.read_bytes() for p in workflow.folder.rglob("*") if p.is_file())
    assert KEY.encode() not in written
    assert KEY not in printed


def test_a_killed_run_loses_what_is_under_way_and_a_resumed_one_doubles_nothing(workflow):
    workflow.config["editors"] = workflow.config["editors"][:1]
    server = workflow.server
    server.delay = 0.5
    process = workflow.start("physical", "social")
    saved = workflow.results / "served"
    until(lambda: len(list(saved.glob("*/images/*.png"))) >= 2, 120, workflow.printed)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: server.busy == 0, 30)
    kept = {path.stem for path in saved.glob("*/images/*.png")}
    sent = len(server.requests)
    assert len(kept) < SAMPLES
    server.delay = 0.0
    known = saved.joinpath("seed.json").exists()
    workflow.run("--unlock")
    workflow.run("physical", "social", "--rerun-incomplete")
    # what is kept is not asked for again, and one request is repeated for the seed
    assert len(server.requests) - sent == SAMPLES - len(kept) + (not known)
    # of those that were sent, no more were lost than are under way at a time
    assert sent - len(kept) <= 4
    resumed = edits(workflow)
    assert {status for status, *_ in resumed.values()} == {"ok"}

    # as if it had never been killed, with another number of jobs
    workflow.config["results"] = "whole"
    workflow.config["devices"]["device_ids"] = [0]
    workflow.run("physical", "social")
    assert edits(workflow) == resumed


def test_what_an_editor_needs_is_known_before_the_first_edit(workflow, monkeypatch):
    monkeypatch.delenv("EDIT_KEY")
    sentence = "editors.served.api_key_variable: expected a variable of the environment"
    assert sentence in workflow.run(check=False)
    assert f"Before anything can be edited: config.yaml: {sentence}" in workflow.run("-n")
    monkeypatch.setenv("EDIT_KEY", KEY)
    there = workflow.server.url
    for editor in workflow.config["editors"][:2]:
        editor["url"] = "http://127.0.0.1:9/v1"
    failed = workflow.run(check=False)
    assert "editors.served.url: expected a server that is running" in failed
    assert "Traceback" not in failed
    assert not (workflow.results / "control").exists()

    del workflow.config["editors"][1:]
    workflow.config["editors"][0]["url"] = there
    workflow.server.answers = [problem(401, message=f"no such key: {KEY}")]
    failed = workflow.run("physical", check=False)
    assert "editors.served: the server answered 401" in failed
    assert KEY not in failed
