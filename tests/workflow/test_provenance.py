"""Results belong to what made them, whatever folder they are used from."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from PIL import Image, PngImagePlugin

from lockstep import layout, records
from lockstep.records import notes, recovery
from tests.conftest import ROOT
from tests.workflow.conftest import EDITOR, Workflow, make, misfits

CATEGORIES = ("physical", "environmental", "social", "causal", "referential")


def of(stage, category="*", count=2):
    """Return the outputs of a stage as a run names them."""
    keys = CATEGORIES if category == "*" else [category]
    files = ["table.csv"] if stage == "table" else []
    files = files or [f"{stage}/shard-{k}-of-{count}.jsonl" for k in range(count)]
    return {f"{EDITOR}/{key}/{file}" for key in keys for file in files}


def test_finished_results_fit(finished, monkeypatch):
    assert misfits(finished, monkeypatch) == {}


CHANGES = {
    "judge": ({"judge": {"mode": "score_only"}}, "scores", "made-with-another-judge"),
    "steps": ({"editor": {"num_inference_steps": 3}}, "edits", "made-with-another-editor"),
    "size": ({"editor": {"size": "source"}}, "edits", "made-with-another-editor"),
    "seed": ({"seed": 7}, "edits", "made-with-another-seed"),
    "threshold": ({"report": {"threshold": 3}}, "table", "made-with-another-configuration"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_settings_are_told_from_those_that_made_an_output(
    finished, tmp_path, monkeypatch, name
):
    change, stage, reason = CHANGES[name]
    workflow = Workflow(finished.folder, json.loads(json.dumps(finished.config)))
    for key, value in change.items():
        place = workflow.config["editors"][0] if key == "editor" else workflow.config
        if key == "editor":
            place.update(value)
        elif isinstance(value, dict):
            place.setdefault(key, {}).update(value)
        else:
            place[key] = value
    found = misfits(workflow, monkeypatch)
    report = {"report/report.html": "made-with-another-configuration"}
    assert found == {**dict.fromkeys(of(stage), reason), **report}


def test_a_page_to_rate_of_other_settings_is_made_anew(finished, tmp_path, monkeypatch):
    workflow = finished.copy(tmp_path / "work")
    workflow.run("rating")
    assert misfits(workflow, monkeypatch) == {}
    workflow.config["rating"] = {"raters": ["Ann"]}
    made = misfits(workflow, monkeypatch)
    assert made["rating/rating.html"] == "made-with-another-configuration"
    workflow.run("rating")
    _, plan = layout.rating(workflow.results)
    assert list(records.read_json(plan)["raters"]) == ["Ann"]


def test_what_decides_nothing_changes_nothing_but_the_report(finished, monkeypatch):
    workflow = Workflow(finished.folder, json.loads(json.dumps(finished.config)))
    workflow.config["judge"]["batch_size"] = 1
    workflow.config["devices"]["max_wave_lead"] = 1
    workflow.config["report"] = {"title": "Another"}
    found = misfits(workflow, monkeypatch)
    assert found == {"report/report.html": "made-with-another-configuration"}


def test_another_model_at_the_same_place_is_another(finished, tmp_path, monkeypatch, models):
    workflow = Workflow(finished.folder, json.loads(json.dumps(finished.config)))
    for kind, place in (("editor", workflow.config["editors"][0]), ("judge", None)):
        copy = tmp_path / kind
        shutil.copytree(models / kind, copy)
        place = workflow.config["judge"] if place is None else place
        place["model"] = str(copy)
    assert "manifest/counts.json" not in misfits(workflow, monkeypatch)
    moved = misfits(workflow, monkeypatch)
    assert not moved.keys() & (of("edits") | of("scores")), "a copy with its times is the same"
    weights = next((tmp_path / "judge").glob("*.safetensors"))
    os.utime(weights, (1, 1))
    found = misfits(workflow, monkeypatch)
    assert {found[path] for path in of("scores")} == {"made-with-another-judge"}
    assert not found.keys() & of("edits")


def test_a_note_of_another_version_with_parts_that_nobody_knows_is_one(
    finished, tmp_path, monkeypatch
):
    workflow = finished.copy(tmp_path / "work")
    for path in (workflow.results / "provenance").rglob("*.json"):
        note = json.loads(path.read_text(encoding="utf-8"))
        note["made_of"]["adapters"] = "x"
        path.write_text(json.dumps(note), encoding="utf-8")
    assert set(misfits(workflow, monkeypatch).values()) == {"made-by-another-version"}


def lose(pattern):
    def change(results):
        found = sorted(results.glob(pattern))
        assert found
        found[0].unlink()

    return change


def write(name, text):
    return lambda results: (results / name).write_text(text, encoding="utf-8")


def exaggerate(results):
    path = results / EDITOR / "causal" / "table.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = lines[0].split(",").index('"score"')
    cells = lines[1].split(",")
    cells[place] = "500"
    path.write_text("".join([lines[0], ",".join(cells), *lines[2:]]), encoding="utf-8")


def repaint(results):
    path = sorted((results / EDITOR / "causal" / "images").glob("*.png"))[0]
    Image.new("RGB", (8, 8)).save(path)


def repaint_in_the_same_size(results):
    path = sorted((results / EDITOR / "causal" / "images").glob("*.png"))[0]
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (1, 1))


DAMAGES = {
    "an edited image is lost": (
        lose(f"{EDITOR}/causal/images/*.png"),
        {f"{EDITOR}/causal/edits": notes.LOST},
    ),
    "an edited image is another": (repaint, {f"{EDITOR}/causal/edits": notes.LOST}),
    "an edited image has another time": (
        repaint_in_the_same_size,
        {f"{EDITOR}/causal/edits": notes.LOST},
    ),
    "a script of the page is lost": (
        lose("report/data/details-*.js"),
        {"report": notes.LOST},
    ),
    "a script of the page is another": (
        write("report/data/texts-0.js", "//"),
        {"report": notes.ALTERED},
    ),
    "a main table is lost": (lose("report/scores.csv"), {"report": notes.LOST}),
    "a source image is lost": (lose("manifest/images/*"), {"manifest": notes.LOST}),
    "an editor's folder is lost": (
        lambda results: shutil.rmtree(results / EDITOR),
        {f"{EDITOR}/{category}": notes.LOST for category in CATEGORIES},
    ),
    "a score is off the scale": (exaggerate, {f"{EDITOR}/causal/table": notes.ALTERED}),
    "counts are a list": (write("manifest/counts.json", "[]"), {"manifest": notes.ALTERED}),
    "counts are a word": (write("manifest/counts.json", "no"), {"manifest": notes.ALTERED}),
    "the report is cut off": (write("report/report.json", "{"), {"report": notes.ALTERED}),
    "the notes are lost": (
        lambda results: shutil.rmtree(results / "provenance"),
        {"manifest": notes.UNKNOWN, "report": notes.UNKNOWN},
    ),
    "a note is none": (
        write(f"provenance/{EDITOR}/causal/table.csv.json", "[1]"),
        {f"{EDITOR}/causal/table": notes.UNKNOWN},
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_lost_and_altered_files_are_noticed(finished, tmp_path, monkeypatch, name):
    workflow = finished.copy(tmp_path / "work")
    change, expected = DAMAGES[name]
    change(workflow.results)
    found = misfits(workflow, monkeypatch)
    for start, reason in expected.items():
        reasons = {found[path] for path in found if path.startswith(start)}
        assert reasons == {reason}, found


def test_results_are_known_without_snakemakes_notes_in_another_working_folder(finished, tmp_path):
    shutil.copytree(finished.results, tmp_path / "moved")
    workflow = Workflow(tmp_path / "elsewhere", json.loads(json.dumps(finished.config)))
    workflow.folder.mkdir()
    shutil.copy2(finished.folder / "benchmark.json", workflow.folder)
    workflow.config["results"] = str(tmp_path / "moved")
    planned = workflow.run("-n")
    assert "7 jobs: 5 tabulate, 1 report, 1 all" in planned
    assert "made in another place" in planned
    workflow.config["judge"]["mode"] = "score_only"
    planned = workflow.run("physical", "-n")
    assert "2 score, 1 tabulate" in planned
    assert "made with another judge" in planned
    workflow.run("physical")
    found = workflow.records("scores", "physical")
    assert {record["judge"]["mode"] for record in found} == {"score_only"}
    assert "Nothing to be done" in workflow.run("physical", "-n")


def test_a_rubric_that_changed_for_a_while_leaves_no_scores_under_its_name(
    finished, tmp_path, monkeypatch
):
    workflow = finished.copy(tmp_path / "work")
    shutil.copytree(ROOT / "config" / "rubrics", workflow.folder / "rubrics")
    workflow.config["judge"]["rubrics"] = "rubrics"
    path = workflow.folder / "rubrics" / "physical.yaml"
    before = path.read_text(encoding="utf-8")
    shard = f"results/{EDITOR}/physical/scores/shard-0-of-2.jsonl"
    path.write_text(before.replace("Was the", "Was really the"), encoding="utf-8")
    workflow.run(shard)
    path.write_text(before, encoding="utf-8")
    found = misfits(workflow, monkeypatch)
    assert found[f"{EDITOR}/physical/scores/shard-0-of-2.jsonl"] == "made-with-another-rubric"
    # a job that is made to go on with them refuses
    table = f"results/{EDITOR}/physical/table.csv"
    output = workflow.run(table, "--allowed-rules", "tabulate", "--force", check=False)
    assert "found it made with another rubric" in output + workflow.logs("tabulate/**/*.log")
    assert "edit" not in workflow.run("physical", "-n").split("jobs: ")[1].splitlines()[0]
    workflow.run("physical")
    assert misfits(workflow, monkeypatch).keys() == {"report/report.html"}


def test_of_two_runs_on_one_folder_of_results_the_second_is_told_who_holds_it(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    held = recovery.hold(workflow.results)
    try:
        shutil.rmtree(workflow.results / "report")
        output = workflow.run(check=False)
        assert "found it in use by process" in output
        assert "Traceback" not in output
        assert "writing the report" in workflow.run("-n")
        workflow.run("--dag")
    finally:
        held.release()
    workflow.run()


def test_of_two_runs_begun_at_once_with_other_settings_one_does_all_and_one_is_told(
    finished, tmp_path
):
    runs = []
    for number in range(2):
        workflow = finished.copy(tmp_path / f"{number}")
        shutil.rmtree(workflow.results)
        # each in a working folder of its own, where Snakemake's own lock holds nobody back
        workflow.config |= {"results": str(tmp_path / "shared"), "seed": number}
        other = {**workflow.config["editors"][0], "name": "other"}
        workflow.config["editors"] = [*workflow.config["editors"], other]
        runs.append(workflow)
    started = [workflow.start("physical") for workflow in runs]
    codes = [process.wait(timeout=Workflow.timeout) for process in started]
    assert sorted(map(bool, codes)) == [False, True], [run.printed() for run in runs]
    (done, told) = sorted(runs, key=lambda run: codes[runs.index(run)])
    # that of the other may not have said who it is yet
    assert "found it in use by" in told.printed()
    assert "Traceback" not in told.printed()
    for editor in (EDITOR, "other"):
        edits = done.records("edits", "physical", editor)
        assert edits and {edit["status"] for edit in edits} == {"ok"}


def test_a_setting_of_yaml_is_no_other_for_being_written_otherwise(finished, monkeypatch):
    workflow = Workflow(finished.folder, yaml.safe_load(yaml.safe_dump(finished.config)))
    workflow.config["devices"]["device_ids"] = ["0", "1"]
    assert not misfits(workflow, monkeypatch).keys() & (of("edits") | of("scores"))


def test_verify_reads_everything_and_finds_what_a_start_does_not(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    assert _verify(workflow)[0] == 0
    image = sorted((workflow.results / EDITOR / "causal" / "images").glob("*.png"))[0]
    source = sorted((workflow.results / "manifest" / "images").iterdir())[0]
    flip_last_pixel(image)
    source.write_bytes(source.read_bytes() + b" ")
    (workflow.results / EDITOR / "social" / "table.csv").unlink()
    code, printed = _verify(workflow)
    assert code == 1
    lines = {line.rpartition(": ")[2] for line in printed.splitlines() if ": " in line}
    assert {"is lost", "is no complete edit with its own pixels"} <= lines
    assert f"{source.name}: is not the image of sample" in printed
    assert "3 of them not what was written" in printed
    code, printed = _verify(workflow, "nowhere")
    assert code == 1
    assert printed.startswith("Error: nowhere: expected a folder of results")


def _verify(workflow, *arguments):
    command = [sys.executable, "-m", "lockstep", "verify", *(arguments or ["results"])]
    done = subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def flip_last_pixel(path):
    """Replace pixels under the provenance that a file keeps."""
    with Image.open(path) as image:
        text = PngImagePlugin.PngInfo()
        text.add_itxt(records.PROVENANCE, image.info[records.PROVENANCE])
        pixels = image.copy()
    pixels.putpixel((0, 0), tuple(255 - value for value in pixels.getpixel((0, 0))))
    pixels.save(path, "PNG", pnginfo=text)


def test_replaced_pixels_are_no_cached_edit_and_are_not_judged(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    image = sorted((workflow.results / EDITOR / "causal" / "images").glob("*.png"))[0]
    before = image.read_bytes()
    flip_last_pixel(image)
    assert records.read_provenance(image) is None
    workflow.run("causal", "--forcerun", "edit")
    found = {record["id"]: record["cached"] for record in workflow.records("edits", "causal")}
    assert found.pop(image.stem) is False
    assert all(found.values())
    assert records.read_provenance(image)["key"] in before.decode("latin-1")


def test_a_folder_where_an_image_belongs_and_foreign_provenance_are_no_edit(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    first, second = sorted((workflow.results / EDITOR / "causal" / "images").glob("*.png"))
    first.unlink()
    first.mkdir()
    (first / "kept").write_text("somebody's")
    text = PngImagePlugin.PngInfo()
    text.add_text(records.PROVENANCE, "[1]")
    Image.new("RGB", (8, 8)).save(second, pnginfo=text)
    workflow.run("causal")
    found = workflow.records("edits", "causal")
    assert [(record["status"], record["cached"]) for record in found] == [("ok", False)] * 2
    assert [path.read_text() for path in first.parent.glob("*/kept")] == ["somebody's"]


def test_what_is_no_longer_part_of_the_run_leaves_the_report(finished, tmp_path):
    workflow = finished.copy(tmp_path / "work")
    workflow.config["benchmark"]["categories"] = ["physical", "social"]
    workflow.run()
    report = workflow.results / "report"
    names = {path.stem for path in report.rglob("*") if path.is_file()}
    assert not [name for name in names if "causal" in name or "因果" in name]
    assert list((report / "thumbs").rglob("*.jpg"))
    assert (workflow.results / EDITOR / "causal" / "table.csv").is_file()


def test_images_that_the_benchmark_names_are_known_by_size_and_time(models, tmp_path, monkeypatch):
    workflow = make(tmp_path / "work", models, per_category=1)
    images = workflow.folder / "pictures"
    images.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), (name == "a.png" and "red") or "blue").save(images / name)
    rows = "id,category,instruction,image\n"
    rows += "".join(f"{n},物理,Do it.,{n}.png\n" for n in ("a", "b", "c"))
    (workflow.folder / "table.csv").write_text(rows, encoding="utf-8")
    workflow.config["benchmark"] = {
        "path": "table.csv",
        "format": "table",
        "images": "pictures",
        "categories": ["物理"],
    }
    workflow.config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "viescore.yaml")
    prepare = "results/manifest/物理.jsonl"
    workflow.run(prepare)
    assert misfits(workflow, monkeypatch) == {}
    counts = "manifest/counts.json"
    # one that was not there has come
    Image.new("RGB", (40, 30)).save(images / "c.png")
    assert misfits(workflow, monkeypatch) == {counts: notes.LOST}
    workflow.run(prepare)
    assert misfits(workflow, monkeypatch) == {}
    assert len((workflow.folder / prepare).read_text(encoding="utf-8").splitlines()) == 3
    Image.new("RGB", (41, 30), "green").save(images / "a.png")
    assert misfits(workflow, monkeypatch) == {counts: notes.LOST}
    assert "a file is lost or changed" in workflow.run(prepare, "-n")
