"""Editors whose instructions are rewritten, as the workflow runs them."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.fake_server import answer, edit_as_asked, problem
from tests.workflow.conftest import EDITOR, judge_by_files, make, until

KEY = "sk-very-secret-0123456789"
SAMPLES = 6
PROMPT = "Say it better: {instruction}"


def better(body):
    """Rewrite as a model does, another text for another instruction, or edit as one does."""
    if "messages" not in body:
        return edit_as_asked(body)
    told = body["messages"][0]["content"][-1]["text"]
    return answer(told.removeprefix("Say it better: ").upper())


@pytest.fixture
def workflow(serve, tmp_path, models, monkeypatch):
    """An editor, and the same with a rewriter behind a server."""
    monkeypatch.setenv("WORDS_KEY", KEY)
    made = make(
        tmp_path / "work",
        models,
        per_category=SAMPLES // 2,
        benchmark={"path": "benchmark.json", "categories": ["physical", "social"]},
    )
    server = made.server = serve(better)
    (direct,) = made.config["editors"]
    rewriter = {"type": "openai", "model": "m/words", "url": server.url, "prompt": PROMPT}
    # with its source, since samples of this benchmark have instructions in common
    rewriter |= {"image": True, "concurrency": 2, "max_failed_share": 0.5}
    rewriter["api_key_variable"] = "WORDS_KEY"
    made.config["editors"].append({**direct, "name": "told", "rewrite": rewriter})
    judge_by_files(made)
    return made


def served(workflow, *categories):
    """Leave one editor, with the rewriter, that needs no model here, and maybe one category."""
    if categories:
        workflow.config["benchmark"]["categories"] = list(categories)
    rewriter = workflow.config["editors"][1]["rewrite"]
    editor = {"type": "openai_images", "url": workflow.server.url, "model": "m/edit"}
    workflow.config["editors"] = [{"name": "told", **editor, "rewrite": rewriter}]
    return rewriter


def asked(server):
    """Return how many instructions a server was asked for."""
    return sum("messages" in body for _, _, body in server.requests)


def told(workflow, editor="told"):
    """Return the records of an editor's rewritten instructions, by id."""
    paths = (workflow.results / editor).glob("*/rewritten.jsonl")
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return {record["id"]: record for record in map(json.loads, lines)}


def edits(workflow, editor="told"):
    return {record["id"]: record for record in workflow.records("edits", editor=editor)}


def test_direct_and_rewritten_stand_side_by_side(workflow):
    server = workflow.server
    printed = workflow.run()
    assert asked(server) == SAMPLES
    texts = told(workflow)
    assert {r["rewritten"] for r in texts.values()} == {
        r["instruction"].upper() for r in texts.values()
    }
    assert {i: r["rewritten"] for i, r in edits(workflow).items()} == {
        i: r["rewritten"] for i, r in texts.items()
    }
    plain = edits(workflow, EDITOR)
    assert {r["rewritten"] for r in plain.values()} == {None}
    assert {i: r["key"] for i, r in plain.items()} != {
        i: r["key"] for i, r in edits(workflow).items()
    }
    # twins share one model on each device
    logs = workflow.logs("edit/**/*.log") + workflow.logs("workers/*.log")
    assert len(re.findall("loaded QwenImageEditPipeline", logs)) == 2

    report = workflow.report()
    (twins,) = report["twins"]
    assert (twins["rewritten"], twins["direct"]) == ("told", EDITOR)
    assert (twins["difference"]["count"], twins["difference"]["difference"]) == (SAMPLES, 0)
    assert report["editors"][EDITOR]["rewriting"] is None
    assert report["editors"]["told"]["rewriting"] | {"models": []} == {
        "by": "m/words",
        "rewritten": SAMPLES,
        "failed": 0,
        "requests": SAMPLES,
        "input_tokens": 100 * SAMPLES,
        "output_tokens": 20 * SAMPLES,
        "price": None,
        "models": [],
    }
    folder = workflow.results / "report"
    assert "Direct and rewritten instructions" in (folder / "report.md").read_text(encoding="utf-8")
    assert "m/words" in (folder / "report.html").read_text(encoding="utf-8")
    one = next(iter(texts.values()))["rewritten"]
    shown = "".join(path.read_text(encoding="utf-8") for path in folder.glob("data/details-*.js"))
    assert one.split(".")[0] in shown
    table = (workflow.results / "told" / "physical" / "table.csv").read_text(encoding="utf-8")
    assert '"instruction","rewritten"' in table.splitlines()[0]

    # how it is asked decides nothing, and an editor with the same rewriter pays nothing
    rewriter = workflow.config["editors"][1]["rewrite"]
    rewriter |= {"concurrency": 3, "timeout": 99, "max_requests": 100}
    assert "Nothing to be done" in workflow.run("-n", "physical", "social")
    editors = workflow.config["editors"]
    served(workflow)
    third = {**workflow.config["editors"][0], "name": "third"}
    workflow.config["editors"] = [*editors, third]
    judge_by_files(workflow)
    workflow.run()
    assert asked(server) == SAMPLES
    assert told(workflow, "third").keys() == texts.keys()
    assert len(workflow.report()["twins"]) == 1

    written = b"".join(p.read_bytes() for p in workflow.folder.rglob("*") if p.is_file())
    assert KEY.encode() not in written
    assert KEY not in printed


def test_one_refusal_costs_one_sample_and_is_asked_for_again(workflow):
    served(workflow, "physical")
    samples = SAMPLES // 2
    refused = []

    def refuse(body):
        refused.append(body["messages"])
        return problem(400, code="content_policy_violation")

    workflow.server.answers = [refuse, better]
    printed = workflow.run()
    assert "1 of 3 rewritings failed: the server's content filter refused" in printed
    found = edits(workflow)
    (failed,) = [r for r in found.values() if r["status"] != "ok"]
    assert failed["status"] == "edit_failed"
    assert failed["error"].startswith("the server's content filter refused to rewrite (")
    numbers = workflow.report()["editors"]["told"]
    assert (numbers["rewriting"]["rewritten"], numbers["rewriting"]["failed"]) == (samples - 1, 1)
    assert numbers["overall"]["micro"]["failures"] == {"edit_failed": 1}
    workflow.run("physical", "--forcerun", "rewrite")
    assert asked(workflow.server) == samples + 1
    again = edits(workflow)
    assert {r["status"] for r in again.values()} == {"ok"}
    assert [i for i, r in again.items() if not r["cached"]] == [failed["id"]]
    assert len(refused) == 1


def test_a_file_of_texts_redoes_the_edits_of_the_texts_that_change(workflow):
    served(workflow, "physical")
    workflow.run("prepare")
    manifest = workflow.results / "manifest" / "physical.jsonl"
    ids = [json.loads(line)["id"] for line in manifest.open(encoding="utf-8")]
    texts = {name: f"In other words: {name}." for name in ids}
    path = workflow.folder / "texts.json"
    path.write_text(json.dumps(texts))
    workflow.config["editors"][0]["rewrite"] = {"type": "file", "path": "texts.json"}
    workflow.run()
    assert {i: r["rewritten"] for i, r in edits(workflow).items()} == texts
    texts[ids[0]] = "In yet other words."
    path.write_text(json.dumps(texts))
    assert "made with another rewriter" in workflow.run("-n", "physical")
    workflow.run("physical")
    assert [i for i, r in edits(workflow).items() if not r["cached"]] == [ids[0]]
    path.write_text("[")
    failed = workflow.run("-n", check=False)
    assert "editors[0].rewrite.path: texts.json: found broken JSON" in failed
    assert "Traceback" not in failed
    # without a rewriter the instructions count again
    del workflow.config["editors"][0]["rewrite"]
    workflow.run("physical")
    assert {r["rewritten"] for r in edits(workflow).values()} == {None}
    assert not told(workflow)
    assert not asked(workflow.server)


def test_a_killed_run_asks_again_only_for_what_was_under_way(workflow):
    served(workflow)
    server = workflow.server
    server.delay = 0.5
    process = workflow.start("physical", "social")
    kept = workflow.results / "rewrites"
    until(lambda: len(list(kept.glob("*.json"))) >= 2, 120, workflow.printed)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: server.busy == 0, 30)
    there = len(list(kept.glob("*.json")))
    sent = asked(server)
    server.delay = 0.0
    workflow.run("--unlock")
    workflow.run("physical", "social", "--rerun-incomplete")
    assert asked(server) - sent == SAMPLES - there
    # no more are lost than are under way at a time
    assert sent - there <= 2
    assert {r["status"] for r in edits(workflow).values()} == {"ok"}
    counted = workflow.results / "told" / "rewrite.count"
    assert counted.stat().st_size == asked(server)


def test_what_a_rewriter_needs_is_known_before_the_first_edit(workflow, monkeypatch):
    monkeypatch.delenv("WORDS_KEY")
    sentence = "editors.told.rewrite.api_key_variable: expected a variable of the environment"
    assert sentence in workflow.run(check=False)
    assert f"Before anything can be edited: config.yaml: {sentence}" in workflow.run("-n")
    monkeypatch.setenv("WORDS_KEY", KEY)
    rewriter = workflow.config["editors"][1]["rewrite"]
    rewriter["url"] = "http://127.0.0.1:9/v1"
    failed = workflow.run(check=False)
    assert "editors.told.rewrite.url: expected a server that is running" in failed
    assert "Traceback" not in failed
    assert not Path(workflow.results, EDITOR).exists()
