"""The report of a run that is not finished."""

import json
import shutil
import subprocess
import sys

from PIL import Image

from lockstep.records import recovery
from tests.workflow.conftest import EDITOR, judge_by_files, make


def state(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    # the page of what is there may share thumbnails with the report
    own = (path for path in files if "report-partial" not in path.parts)
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in own}


def test_a_partial_report_shows_what_is_there_and_disturbs_nothing(tmp_path):
    workflow = make(tmp_path / "work", tmp_path, per_category=4)
    workflow.config["benchmark"]["categories"] = ["physical"]
    workflow.config["devices"]["device_ids"] = [0]
    workflow.config["editors"] = [
        {"name": EDITOR, "type": "precomputed", "folder": "edits"},
        {"name": "copy", "type": "identity"},
    ]
    judge_by_files(workflow)
    for path in (workflow.folder / "replies" / EDITOR).iterdir():
        image = workflow.folder / "edits" / f"{path.stem}.png"
        image.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), "red").save(image)
    workflow.run(EDITOR)
    # as while a job edits: its records are not there yet, images and judgements are
    physical = workflow.results / EDITOR / "physical"
    for kind in ("edits", "scores", "asked"):
        shutil.rmtree(physical / kind, ignore_errors=True)
    min((physical / "images").glob("*.png")).unlink()
    # another process holds the results
    lock = recovery.hold(workflow.results)
    before = state(workflow.results)
    command = [sys.executable, "-m", "lockstep", "report", "--partial", "--directory"]
    given = [str(workflow.folder), "--configfile", str(workflow.folder / "config.yaml")]
    for _ in range(2):
        # the second one replaces the first
        done = subprocess.run([*command, *given], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [
            f"{EDITOR}: 3 of 4 edits, 3 of 4 scores",
            "copy: 0 of 4 edits, 0 of 4 scores",
            "results/report-partial/report.html",
        ]
    mine = workflow.folder / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for place, expected, found in (
        (mine, "a new folder or ", "a folder with something else"),
        (mine / "notes.txt", "a new folder or ", "a file"),
        (mine / "notes.txt" / "page", "a place for a folder", "none ("),
    ):
        words = [*command, *given, "--output", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: {place}: expected {expected}")
        assert f"found {found}" in done.stderr
    assert (mine / "notes.txt").read_text() == "mine"
    assert state(workflow.results) == before
    lock.release()
    folder = workflow.results / "report-partial"
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert told["leaderboard"] == []
    assert [(own["editor"], own["edits"], own["scores"]) for own in told["partial"]] == [
        (EDITOR, 3, 3),
        ("copy", 0, 0),
    ]
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("> **PARTIAL: ")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{EDITOR} 1 of 4 edits and 1 of 4 scores" in page
    micro = {name: own["overall"]["micro"] for name, own in told["editors"].items()}
    assert [(own["count"], own["failed"]) for own in micro.values()] == [(3, 0), (0, 0)]
    assert "Nothing failed." in page and "status=missing" in page
    assert [path.name for path in workflow.results.glob(".report*")] == []
    # samples of another configuration are none of this one
    workflow.config["benchmark"]["limit"] = 2
    workflow.command()
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Error: results: expected the samples of this configuration (man")
    assert "found those of another configuration; they are there once" in done.stderr
    del workflow.config["benchmark"]["limit"]
    # the run goes on as if nothing had been
    workflow.run()
    assert [row["editor"] for row in workflow.report()["leaderboard"]] == [EDITOR]
    assert workflow.report()["partial"] == []
