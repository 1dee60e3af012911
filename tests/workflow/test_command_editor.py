"""Editors that are programs of their own, in real runs: whatever is killed, and when."""

import json
import os
import sys

import psutil
import pytest
from PIL import Image, ImageOps

from lockstep.foreign.images import open_rgb
from tests.workflow.conftest import judge_by_files, make, until
from tests.workflow.test_documents import blocks

EDITOR = "mine"
EDITS = [f"results/{EDITOR}/physical/edits/shard-{k}-of-2.jsonl" for k in range(2)]
LONG = 60
PROMPTLY = 10

(EXAMPLE,) = blocks("docs/own_editor.md", "python")

WATCHED = """
import os, time
from pathlib import Path

def mark(*words):
    with open("journal", "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

mark("start", os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"] or "-")
"""
HOLDING = """        mark("edit", os.getpid(), request["id"])
        while Path("held " + request["id"]).exists(): time.sleep(0.01)
        if Path("deadly " + request["id"]).exists(): os._exit(9)
"""
"""What the page's example does beside editing: write what it does, wait, and die."""


def program():
    first, rest = EXAMPLE.split("    try:\n")
    return WATCHED + first + "    try:\n" + HOLDING + rest


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Six samples with ids of all kinds, in a folder of a name that is hard to write."""
    folder = tmp_path_factory.mktemp("prepared") / "工作 a'b"
    workflow = make(
        folder,
        folder,
        per_category=6,
        benchmark={"path": "benchmark.json", "categories": ["物理"], "language": "zh"},
        editors=[
            {
                "name": EDITOR,
                "type": "command",
                "command": f"{sys.executable} 'my edit.py'",
                "version": "1",
                "arguments": {"steps": 3},
            }
        ],
    )
    path = folder / "benchmark.json"
    items = json.loads(path.read_text(encoding="utf-8"))
    for item in items:
        item["original_image_path"] = item["original_image_path"].replace("_", " ")
    path.write_text(json.dumps(items), encoding="utf-8")
    (folder / "my edit.py").write_text(program(), encoding="utf-8")
    judge_by_files(workflow)
    workflow.run("results/manifest/physical.jsonl")
    return workflow


@pytest.fixture
def workflow(prepared, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    workflow = prepared.copy(tmp_path / prepared.folder.name)
    yield workflow
    until(lambda: not running(workflow), PROMPTLY, lambda: str(running(workflow)))
    assert not list(tmp_path.glob("temporary/lockstep-*/exchange-*"))
    assert not list(workflow.results.rglob(".*.tmp"))


def running(workflow):
    """Return all processes in the workflow's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.cwd() == str(workflow.folder) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def journal(workflow, word):
    path = workflow.folder / "journal"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [rest for first, *rest in map(str.split, lines) if first == word]


def ids(workflow):
    lines = (workflow.results / "manifest" / "physical.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["id"] for line in lines.splitlines()]


def begun(workflow, sample):
    """Return the program that edits a sample, if one does."""
    found = [int(pid) for pid, edited in journal(workflow, "edit") if edited == sample]
    return found[-1] if found else None


def images(workflow):
    folder = workflow.results / EDITOR / "physical" / "images"
    return {path.stem: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def start(workflow):
    """Start a run whose third sample is held; return it, and the program that holds it."""
    sample = ids(workflow)[2]
    held = workflow.folder / f"held {sample}"
    held.touch()
    run = workflow.start(*EDITS)
    pid = until(lambda: begun(workflow, sample), LONG, workflow.printed)
    # the other device has done its part of the wave
    until(lambda: len(images(workflow)) == 3, LONG, workflow.printed)
    return run, held, psutil.Process(pid)


def assert_complete(workflow, again=()):
    """All are edited, rightly, and each was asked once but for some."""
    edits = workflow.records("edits", "physical", editor=EDITOR)
    found = {record["id"]: record for record in edits}
    assert sorted(found) == sorted(ids(workflow)) == sorted(images(workflow))
    assert {record["status"] for record in found.values()} == {"ok"}
    asked = [edited for _, edited in journal(workflow, "edit") if edited in found]
    assert sorted(asked) == sorted([*ids(workflow), *again])
    for line in (workflow.results / "manifest" / "physical.jsonl").read_text().splitlines():
        sample = json.loads(line)
        source = open_rgb(workflow.results / "manifest" / sample["image"])
        with Image.open(
            workflow.results / EDITOR / "physical" / found[sample["id"]]["image"]
        ) as image:
            assert image.tobytes() == ImageOps.mirror(source).tobytes()


def test_the_pages_example_edits_in_lockstep_and_stays_from_category_to_category(workflow):
    assert not any(map(str.isascii, ids(workflow)))
    workflow.config["benchmark"]["categories"] = ["物理", "环境"]
    workflow.run()
    assert_complete(workflow)
    assert len(journal(workflow, "edit")) == 12
    assert [device for _, device in journal(workflow, "start")] == ["-", "-"]
    found = workflow.records("edits", "physical", editor=EDITOR)
    places = [(wave, shard) for wave in range(3) for shard in range(2)]
    assert sorted((r["wave"], r["shard"]) for r in found) == places
    assert "[SYNC] wave 3/3" in workflow.logs("edit/**/*.log")
    assert workflow.report()["editors"][EDITOR]["overall"]["micro"]["coverage"] == 1
    # a file that is touched is the same one, another argument is another editor
    os.utime(workflow.folder / "my edit.py")
    assert "Nothing to be done" in workflow.run("-n")
    workflow.config["editors"][0]["arguments"] = {"steps": 4}
    workflow.run(*EDITS)
    assert_complete(workflow, again=ids(workflow))


def test_kills_of_program_worker_and_run_lose_and_double_nothing(workflow):
    run, held, first = start(workflow)
    sample = ids(workflow)[2]
    kept = images(workflow)

    def another(than):
        return until(lambda: (p := begun(workflow, sample)) != than.pid and p, LONG, run_log)

    def run_log():
        return workflow.printed() + workflow.logs()

    first.kill()
    second = psutil.Process(another(first))
    assert "FAILED" not in workflow.printed()
    assert "attempt 1 of 2: expected an answer, found the program ended with" in workflow.logs()
    guard = second.parent()
    assert "guard.py" in " ".join(guard.cmdline())
    guard.parent().kill()
    until(lambda: not second.is_running() and not guard.is_running(), PROMPTLY)
    third = psutil.Process(another(second))
    assert workflow.printed().count("FAILED editing physical") == 1
    run.kill()
    run.wait()
    until(lambda: not running(workflow), PROMPTLY, lambda: str(running(workflow)))
    assert not third.is_running()
    held.unlink()
    workflow.run(*EDITS, "--unlock")
    workflow.run(*EDITS)
    assert_complete(workflow, again=[sample] * 3)
    assert kept.items() <= images(workflow).items()


def test_a_program_that_hangs_or_dies_at_one_sample_fails_that_one(workflow):
    deadly, held = ids(workflow)[:2]
    (workflow.folder / f"deadly {deadly}").touch()
    (workflow.folder / f"held {held}").touch()
    workflow.config["editors"][0] |= {"timeout": 3, "attempts": 1}
    workflow.run("--until", "edit")
    found = {r["id"]: r for r in workflow.records("edits", editor=EDITOR)}
    failed = {name: r["error"] for name, r in found.items() if r["status"] == "edit_failed"}
    assert sorted(failed) == sorted([deadly, held])
    assert failed[deadly].startswith("expected an answer, found the program ended with code 9")
    assert failed[held].startswith("expected an answer within 3 s, found none")
    for path in workflow.folder.glob("held *"):
        path.unlink()
    for path in workflow.folder.glob("deadly *"):
        path.unlink()
    workflow.run(*EDITS, "--forcerun", "edit")
    assert_complete(workflow, again=[deadly, held])


def test_a_program_that_dies_at_each_sample_stops_the_run_with_one_sentence(workflow):
    for sample in ids(workflow):
        (workflow.folder / f"deadly {sample}").touch()
    printed = workflow.run(*EDITS, "--retries", "0", check=False)
    assert "failed alike and none succeeded, so the others are not tried: " in printed
    assert "found the program ended with code 9" in printed
    assert "Traceback" not in printed


def test_a_program_that_does_not_start_stops_the_run_with_the_end_of_what_it_printed(workflow):
    path = workflow.folder / "my edit.py"
    path.write_text("import no_such_model\n", encoding="utf-8")
    printed = workflow.run(*EDITS, "--retries", "0", check=False)
    sentence = (
        'mine: expected a line {"ready": true}, found the program ended with code 1; it said last: '
    )
    # of all shards together
    assert printed.count(sentence) == printed.count("\nError: ") == 1
    assert printed.count("FAILED editing physical with mine, shard ") == 1
    assert "FAILED editing physical with mine: 2 shards alike" in printed
    assert workflow.logs("edit/**/*.log").count(sentence) == 2
    assert "No module named 'no_such_model'" in printed
    assert "Traceback" not in printed.replace("Traceback (most recent call last): / ", "")
    assert not images(workflow)
