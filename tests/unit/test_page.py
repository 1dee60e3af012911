"""What the report's page is made of; how it behaves is tested in a browser."""

import csv
import importlib.util
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import zipfile
from html import unescape
from pathlib import Path

import pandas as pd
import psutil
import pytest
from PIL import Image

from lockstep.config.run import Config
from lockstep.figures.apart import begun
from lockstep.figures.tables import read_table
from lockstep.records import Picture
from lockstep.report import asked, bundle, charts, gallery, numbers, page, write
from lockstep.report.series import Place
from lockstep.report.sheets import CELL, GAP, sheet, worst
from lockstep.report.thumbnails import SIDE, make_ahead, make_thumbnails
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("page_benchmark", ROOT / "benchmarks" / "page.py")
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)
EDITORS = list(made_up.EDITORS)
PLACES = {editor: Place(number, True, editor) for number, editor in enumerate(EDITORS)}
MORE = [Picture(image="images/more.png", sha256="0" * 64, width=1, height=1)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a written report of 60 samples, of which one editor skips three."""
    folder = tmp_path_factory.mktemp("results")

    def change(number):
        return {"more": MORE} if number % 20 == 5 else {}

    nothing = {"true_cfg_scale": None, "negative_prompt": None}
    model = {"type": "diffusers", "model": "owner/name", **nothing}
    editors = [{"name": name, **model} for name in EDITORS]
    given = made_up.make_results(folder, 60, side=32, change=change, editors=editors)
    write.write_report(*given, threads=2)
    return folder / "report"


def script(folder, name):
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    start = f'lockstep.receive("{name}",'
    assert text.startswith(start) and text.endswith(");\n")
    return json.loads(text[len(start) : -3])


def test_the_index_and_the_details_hold_every_sample_once(written):
    index = script(written, "index")
    assert len(set(index["id"])) == len(index["id"]) == 60
    assert [editor["name"] for editor in index["editors"]] == EDITORS
    details = [one for n in range(2) for one in script(written, f"details-{n}")]
    assert len(details) == 60 == len(script(written, "texts-0"))
    for number, one in enumerate(details):
        assert (written / one["source"].replace("%23", "#")).exists()
        for editor, edit in zip(index["editors"], one["edits"], strict=True):
            scored = editor["status"][number] == "0"
            assert scored == bool(edit["criteria"]) == (editor["score"][number] is not None)
            assert (edit["edited"] is not None) == (editor["pictured"][number] == "1")


def test_samples_are_those_of_any_editor_in_the_tables_order(monkeypatch):
    monkeypatch.setattr(gallery, "TEXTS", 2)

    def frame(ids):
        return pd.DataFrame({"id": list(ids), "said": [*ids.upper()]}, dtype=str)

    frames = {
        "one": {"a": frame("xyz"), "b": frame("u")},
        "two": {"a": frame("wxz"), "c": frame("")},
    }
    samples = gallery.Samples(frames)
    assert len(samples) == 5
    for _ in range(2):
        found = [(list(own), {row["id"] for row in own.values()}) for own in samples]
        assert found == [
            *((["one", "two"], {"x"}), (["one"], {"y"}), (["one", "two"], {"z"})),
            *((["two"], {"w"}), (["one"], {"u"})),
        ]
    assert {row["said"] for own in samples for row in own.values()} == {*"XYZWU"}


def frames_of(root):
    return {
        editor: {c: read_table(root / editor / c / "table.csv") for c in made_up.CATEGORIES}
        for editor in EDITORS
    }


def test_scripts_say_the_same_however_many_samples_are_in_memory_at_a_time(written, monkeypatch):
    root = written.parent
    frames = frames_of(root)

    def made():
        scripts = gallery.scripts(
            gallery.Samples(frames),
            EDITORS,
            lambda some: {gallery.source_thumbnail(own[EDITORS[0]]) for own in some[::2]},
            lambda path, thumbnail: thumbnail,
            PLACES,
            asked.of_results(root, frames),
        )
        found = {name: json.loads(text[text.index(b",") + 1 : -3]) for name, text in scripts}
        index = found.pop("data/index.js")
        words = [
            [[one["lines"][line] for line in own[0]["prompt"]] for own in editors if own]
            for part in range(math.ceil(60 / index["details"]))
            for one in [found.pop(f"data/asked-{part}.js")]
            for editors in one["samples"]
        ]
        told = [
            [one for part in range(count) for one in found.pop(f"data/{kind}-{part}.js")]
            for kind, count in (
                ("texts", math.ceil(60 / index.pop("texts"))),
                ("details", math.ceil(60 / index.pop("details"))),
            )
        ]
        assert not found
        return index, told, words

    whole = made()
    monkeypatch.setattr(gallery, "TEXTS", 14)
    monkeypatch.setattr(gallery, "DETAILS", 7)
    index, *told = made()
    # which is every second sample of those in memory
    assert index["pictured"].count("1") == 4 * 7 + 2
    told, words = told
    assert [len(part) for part in (*told, words)] == [60, 60, 60]
    one, another = {**index, "pictured": ""}, {**whole[0], "pictured": ""}
    assert (one, told, words) == (another, *whole[1:])


def test_scripts_of_samples_that_are_gone_go(tmp_path):
    given = made_up.make_results(tmp_path, 60, side=32)
    write.write_report(*given)
    assert (tmp_path / "report" / "data" / "details-1.js").exists()
    write.write_report(*made_up.make_results(tmp_path, 10, side=32))
    assert not (tmp_path / "report" / "data" / "details-1.js").exists()
    assert len(script(tmp_path / "report", "index")["id"]) == 10


def test_charts_stand_in_csvs(written):
    numbers = json.loads((written / "report.json").read_text(encoding="utf-8"))
    with open(written / "means.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3
    for row in rows:
        own = numbers["editors"][row["editor"]]
        told = (
            own["overall"]["micro"]
            if row["group"] == "overall"
            else own["categories"][row["group"]]
        )
        assert float(row["mean"]) == told["mean"]
        ends = [float(row[end]) if row[end] else None for end in ("low", "high")]
        assert ends == (told["ci95"] or [None, None])
    for category in made_up.CATEGORIES:
        with open(written / f"distribution-{category}.csv", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        for editor in EDITORS:
            own = sum(int(row["samples"]) for row in found if row["editor"] == editor)
            assert own == numbers["editors"][editor]["categories"][category]["count"]


def test_the_highest_score_is_in_the_last_bin():
    chart = charts.distribution("c", {"e": [10.0, 0.0]}, (0.0, 10.0))
    assert [row["samples"] for row in chart.rows] == [1, *[0] * 18, 1]


def test_a_chart_of_nothing_is_drawn():
    assert "<svg" in charts.distribution("c", {"e": []}, (0.0, 10.0)).svg
    assert "<svg" in charts.criteria("c", {"e": {"quality": None}}, (0.0, 10.0)).svg


def test_the_longest_names_leave_room_for_a_chart():
    name = "a" * 64
    chart = charts.criteria("c", {"e": {name: 5.0}}, (0.0, 10.0))
    assert chart.rows[0]["criterion"] == name
    assert re.search(r">(a{35}…)<", chart.svg)


def test_thumbnails_are_made_once_and_again_for_another_image(tmp_path):
    image, small = tmp_path / "a.png", tmp_path / "thumbs" / "a.jpg"
    Image.new("RGB", (800, 400), "red").save(image)
    assert make_thumbnails([(image, small)], "#ffffff", 1) == {small}
    with Image.open(small) as made:
        assert made.size == (SIDE, SIDE // 2)
    before = small.stat().st_ino
    make_thumbnails([(image, small)], "#ffffff", 1)
    assert small.stat().st_ino == before
    Image.new("RGB", (400, 800), "red").save(image)
    # an older one too: it may have been copied there
    os.utime(image, ns=(1, 1))
    make_thumbnails([(image, small)], "#ffffff", 1)
    with Image.open(small) as made:
        assert made.size == (SIDE // 2, SIDE)


def test_another_background_makes_the_thumbnail_of_a_transparent_image_anew(tmp_path):
    image, small = tmp_path / "a.png", tmp_path / "thumbs" / "a.jpg"
    Image.new("RGBA", (40, 40)).save(image)
    for background, colour in (("#ffffff", (255,) * 3), ("#000000", (0,) * 3)):
        make_thumbnails([(image, small)], background, 1)
        with Image.open(small) as thumbnail:
            assert thumbnail.getpixel((0, 0)) == colour


def test_a_broken_image_has_no_thumbnail_and_stops_nothing(tmp_path):
    broken, good = tmp_path / "broken.png", tmp_path / "good.png"
    broken.write_bytes(b"no image")
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(good)
    wanted = [(path, tmp_path / "thumbs" / f"{path.stem}.jpg") for path in (broken, good)]
    wanted.append((tmp_path / "gone.png", tmp_path / "thumbs" / "gone.jpg"))
    assert make_thumbnails(wanted, "#00ff00", 2) == {tmp_path / "thumbs" / "good.jpg"}
    with Image.open(tmp_path / "thumbs" / "good.jpg") as made:
        assert made.getpixel((5, 5))[1] > 250


def test_skipped_samples_are_listed_with_their_reason_and_are_no_failures(written):
    told = json.loads((written / "report.json").read_text(encoding="utf-8"))
    (editor,) = made_up.ONE_IMAGE
    assert {own["editor"] for own in told["skipped"]} == {editor}
    assert {own["reason"] for own in told["skipped"]} == {"expected one source image, found 2"}
    ids = [name for own in told["skipped"] for name in own["ids"]]
    assert [name[:5] for name in sorted(ids)] == ["00005", "00025", "00045"]
    assert told["editors"][editor]["overall"]["micro"]["skipped"] == 3
    text = (written / "report.md").read_text(encoding="utf-8")
    failed, _, skipped = text.partition("## Skipped samples")
    assert all(name in skipped and name not in failed for name in ids)
    assert skipped.count("| expected one source image, found 2 |") == len(told["skipped"])
    html = (written / "report.html").read_text(encoding="utf-8")
    failed, _, skipped = html.partition('<h2 id="skipped">')
    assert all(f"<bdi>{name}</bdi>" in skipped and name not in failed for name in ids)


def test_what_models_told_is_shown_of_the_editors_that_they_were_asked_of(written):
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    first, *others = (own["preservation"] for own in report["editors"].values())
    assert not any("lpips" in own["distribution"] for own in others)
    median = f"{first['distribution']['dino_similarity']['median']:.3f}"
    for name in ("report.html", "report.md"):
        text = (written / name).read_text(encoding="utf-8")
        assert "CLIP" in text and "LPIPS" in text
        assert median in text.split("DINO", 1)[1]
    (kept, other, _) = (
        [edit["kept"] for edit in own if edit and edit["kept"]]
        for own in zip(*(row["edits"] for row in script(written, "details-0")), strict=True)
    )
    assert all(0 <= own["lpips"] <= 1 for own in kept)
    assert any("clip_text_cut" in own for own in kept) and first["clip_text_cut"] > 0
    assert not any("lpips" in own for own in other)


def test_an_editor_that_takes_no_sample_is_in_the_headline_all_the_same(tmp_path):
    write.write_report(*made_up.make_results(tmp_path, 5, 32, change=lambda _: {"more": MORE}))
    told = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    (editor,) = made_up.ONE_IMAGE
    assert told["complete"] and editor not in {row["editor"] for row in told["leaderboard"]}
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    headline = html[: html.index("</table>")]
    assert re.search(rf"<td>–</td><th [^>]*>[^>]*></i>{editor}<", headline)


def test_what_was_edited_before_is_shown_nowhere_once_it_is_gone(tmp_path):
    image = tmp_path / "a.png"
    Image.new("RGB", (20, 10), "red").save(image)
    row = {"id": "a", "category": "physical", "score": 1.0, "status": "ok", "edited": str(image)}
    small = tmp_path / gallery.edit_thumbnail(row, "e")

    def middle(**changes):
        with Image.open(
            io.BytesIO(sheet(worst(pd.DataFrame([row | changes])), "e", tmp_path))
        ) as made:
            return made.getpixel((GAP + CELL // 2, GAP + CELL // 2))

    make_thumbnails([(image, small)], "#ffffff", 1)
    assert middle()[1] < 50
    assert middle(status="edit_failed", score=None, edited=None)[1] > 200
    image.write_bytes(b"broken")
    make_thumbnails([(image, small)], "#ffffff", 1)
    assert not small.exists()


def test_a_bundle_has_the_thumbnail_of_an_image_that_is_gone(tmp_path):
    made_up.make_results(tmp_path, 5, side=32)
    frames = {
        editor: {
            key: read_table(tmp_path / editor / key / "table.csv") for key in made_up.CATEGORIES
        }
        for editor in EDITORS
    }
    wanted = list(gallery.images_of(gallery.Samples(frames), tmp_path / "report"))
    make_thumbnails(wanted, "#ffffff", 1)
    gone, small = wanted[-1]
    gone.unlink()
    bundle.write_bundle(frames, tmp_path / "report", [], "#ffffff", tmp_path / "a.zip", 1, PLACES)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        names = packed.namelist()
    name = f"{bundle.FOLDER}/{small.relative_to(tmp_path / 'report').as_posix()}"
    assert name in names and name.replace("thumbs", "images") not in names
    assert sum("/images/" in name for name in names) == len(wanted) - 1


def test_a_contact_sheet_has_no_place_for_skipped_samples(tmp_path):
    row = {"id": "a", "category": "physical", "score": None}
    rows = [{**row, "status": status} for status in ("edit_failed", *["skipped"] * 8)]
    with Image.open(io.BytesIO(sheet(worst(pd.DataFrame(rows)), None, tmp_path))) as made:
        # one line of cells, not two
        assert made.height < 2 * CELL


def test_failures_are_grouped_by_reason_whatever_the_sample():
    def sample(number):
        error = f"e: found no image of sample {number!r}" if number < "c" else None
        row = {"id": number, "error": error, "status": "edit_failed" if error else "ok"}
        return {"e": row}

    found = page._failures({"editors": {}}, [sample(number) for number in "abc"])
    (reason,) = found["reasons"]
    assert (reason["count"], reason["ids"], reason["error"]) == (
        2,
        ["a", "b"],
        "e: found no image of sample '…'",
    )
    assert found["total"] == 2


def test_the_page_and_the_text_list_the_same_reasons_of_failures(written):
    html = (written / "report.html").read_text(encoding="utf-8")
    text = (written / "report.md").read_text(encoding="utf-8")
    _, _, own = text.partition("\n## Failures\n")
    own, _, _ = own.partition("\n## ")
    reasons = re.findall(r'<p class="message" dir="auto">([^<]*)</p>', unescape(html))
    counts = re.findall(r"</strong> (\d+) × ", html)
    listed = re.findall(r"^\| [^|]* \| (\d+) \| (?:edit failed|judge failed): (.*?) \|", own, re.M)
    assert listed
    assert listed == list(zip(counts, reasons, strict=False))[: len(listed)]


def test_the_configuration_beside_the_report_is_one(written):
    import yaml

    plain = yaml.safe_load((written / "config.yaml").read_text(encoding="utf-8"))
    again = Config.model_validate_json(json.dumps(plain))
    told = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert again.model_dump(mode="json") == told["settings"]
    assert {editor.negative_prompt for editor in again.editors} == {None}
    assert tuple(script(written, "index")["statuses"]) == gallery.STATUSES


def contents(folder):
    files = filter(Path.is_file, folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_report_is_the_same_with_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(numbers.time, "strftime", lambda form: "then")
    given = made_up.make_results(tmp_path, 15, 32)
    found = []
    for threads in (1, 2, 9):
        write.write_report(*given, threads=threads)
        found.append(contents(tmp_path / "report"))
        shutil.rmtree(tmp_path / "report")
    assert found[0] == found[1] == found[2]


def test_thumbnails_that_are_made_with_a_table_are_those_of_the_report(tmp_path):
    *given, folder = made_up.make_results(tmp_path, 15, 32)
    for editor, tables in given[1].items():
        for path in tables.values():
            make_ahead(read_table(path), editor, folder, given[0].benchmark.background)
    ahead = {path: path.stat().st_ino for path in (folder / "thumbs").rglob("*.jpg")}
    write.write_report(*given, folder)
    assert ahead == {path: path.stat().st_ino for path in (folder / "thumbs").rglob("*.jpg")}
    assert len(ahead) > 15


@pytest.mark.parametrize("processes", [1, 2])
def test_what_fails_apart_fails_where_it_is_asked_for(processes):
    result = begun(processes, int, "no number")
    with pytest.raises(ValueError, match="no number"):
        result()
    assert begun(processes, int, "5")() == 5


def test_a_part_that_is_killed_is_told():
    with pytest.raises(RuntimeError, match="_exit ended with code 3"):
        begun(2, os._exit, 3)()


def test_no_part_outlives_a_report_that_is_killed():
    code = (
        "import time; from lockstep.figures.apart import begun; "
        "parts = [begun(2, bytes, 10**7) for _ in range(2)]; print('begun', flush=True); "
        "time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert job.stdout.readline() == b"begun\n"
    parts = psutil.Process(job.pid).children()
    job.kill()
    job.wait()
    job.stdout.close()
    _, alive = psutil.wait_procs(parts, timeout=15)
    for process in alive:
        process.kill()
    assert len(parts) == 2 and not alive


def test_what_was_asked_is_each_line_once_and_reads_as_it_was(written):
    frames = frames_of(written.parent)
    find, samples = asked.of_results(written.parent, frames), list(gallery.Samples(frames))[:50]
    made = asked.exchanges(samples, EDITORS, find)
    assert len(set(made["lines"])) == len(made["lines"])
    seen = []
    for own, found in zip(samples, made["samples"], strict=True):
        for editor, judgements in zip(EDITORS, found, strict=True):
            row = own[editor]
            record = find(editor, row["category"], row["id"])
            assert bool(judgements) == (record is not None) == (row["judge"] is not None)
            for one, kept in zip(judgements, record.judgements if record else [], strict=True):
                for name in asked.TEXTS:
                    text = one[name] and "\n".join(made["lines"][place] for place in one[name])
                    assert text == getattr(kept, name)
                seen.append(kept.prompt)
    assert len(seen) > 100
    assert len(json.dumps(made)) < sum(map(len, seen)) / 4, "samples share what they were asked"


def test_of_a_run_that_did_not_record_it_nothing_is_known(written):
    frames = {EDITORS[0]: {"other": pd.DataFrame()}}
    assert asked.of_results(written.parent, frames)(EDITORS[0], "other", "x") is None
