"""`doctor`: every check before a run, each told in a line of its own."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml

from lockstep import layout, records
from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.commands import doctor, finding, weights
from lockstep.commands.finding import Finding
from lockstep.config import load
from lockstep.demo import tiny
from lockstep.devices import device
from lockstep.errors import BenchmarkError
from lockstep.jobs import provenance
from lockstep.models import sizes
from lockstep.records import EditRecord, recovery
from lockstep.report import fonts
from tests import fake_server
from tests.conftest import ROOT


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device, "visible_gpus", list)
    tiny.make_benchmark(tmp_path / "benchmark.json", per_category=2)
    return tmp_path


def given(**changes):
    own = {
        "results": "results",
        "benchmark": {"path": "benchmark.json"},
        "editors": [{"name": "copy", "type": "identity"}],
        "judge": {"type": "openai", "model": "m", "url": "http://127.0.0.1:9/v1"},
        "devices": {"accelerator": "cpu", "device_ids": [0, 1]},
    }
    return {**own, **changes}


def examined(settings):
    Path("own.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    before = sorted(Path().rglob("*"))
    found = list(doctor.examine(Path("own.yaml")))
    assert sorted(Path().rglob("*")) == before
    assert not any("\n" in own.text for own in found)
    return found


def told(found, state, name=None):
    return [own.text for own in found if own.state == state and name in (None, own.name)]


def test_the_demo_is_well(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(device, "visible_gpus", list)
    found = list(doctor.examine(Path("config/demo.yaml")))
    assert {own.state for own in found} == {"ok"}
    names = [
        *("configuration", "devices", "editor", "judge", "memory", "rubrics", "benchmark"),
        *("fonts", "results", "disk", "to do"),
    ]
    assert [name for name in dict.fromkeys(own.name for own in found) if name != "time"] == names
    assert "40 samples" in told(found, "ok", "benchmark")[0]
    assert "26 MB of weights as float32" in told(found, "ok", "editor")[0]


def test_every_mistake_of_a_configuration_comes_first_and_the_machine_is_asked_all_the_same(work):
    found = examined({**given(sead=1), "seeds_per_sample": 0})
    assert [own.name for own in found] == ["configuration", "configuration", "devices", "memory"]
    assert "own.yaml: sead: found an unknown key (did you mean 'seed'?)" in found[0].text + (
        found[1].text
    )
    (missing,) = told(doctor.examine(Path("none.yaml")), "error")
    assert missing.startswith("none.yaml: expected a configuration, found none")
    Path("own.yaml").write_text("a: [", encoding="utf-8")
    (broken,) = told(doctor.examine(Path("own.yaml")), "error")
    assert broken.startswith("own.yaml: line 1")


def test_a_benchmark_that_is_not_there_hides_no_other_fault(work):
    lost = {"path": "nowhere.csv"}
    found = examined(given(benchmark=lost, judge={"type": "precomputed", "folder": "none"}))
    assert told(found, "error") == [
        "judge.folder: found no file 'none/copy'",
        "benchmark.path: found no file 'nowhere.csv'",
    ]
    # without it nobody knows its format
    lost["categories"] = ["animals"]
    found = examined(given(benchmark=lost, sead=1))
    assert [text.partition(": found")[0] for text in told(found, "error")] == [
        "own.yaml: benchmark.path",
        "own.yaml: sead",
    ]


def test_each_of_several_faults_has_its_line(work, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    served = {"type": "openai_images", "url": "http://127.0.0.1:9/v1", "model": "x"}
    found = examined(
        given(
            benchmark={"path": "benchmark.json", "images": "nowhere"},
            editors=[
                {"name": "local", "type": "diffusers", "model": "/nowhere/model"},
                {"name": "made", "type": "precomputed", "folder": "/nowhere/edits"},
                {"name": "served", **served, "api_key_variable": "NO_SUCH_KEY"},
            ],
            judge={**given()["judge"], "rubrics": "/nowhere/rubric.yaml"},
            report={"human_scores": ["/nowhere/people.csv"]},
        )
    )
    assert [(own.name, own.text.partition(":")[0]) for own in found if own.state == "error"] == [
        ("editor", "editors[0].model"),
        ("editor", "editors[1].folder"),
        ("editor", "editors.served.api_key_variable"),
        ("judge", "judge.url"),
        ("rubrics", "judge.rubrics"),
        ("benchmark", "benchmark.images"),
        ("people", "report.human_scores"),
    ]
    assert not told(found, "ok", "to do")


def test_a_server_that_is_not_there_is_told(work):
    (fault,) = told(examined(given()), "error")
    assert fault.startswith("judge.url: expected a server that is running")


def test_a_server_that_has_nothing_to_do_may_be_down(work, monkeypatch):
    served = {"type": "openai_images", "url": "http://127.0.0.1:9/v1", "model": "x"}
    own = given(editors=[{"name": "served", **served}])
    monkeypatch.setattr(doctor.stale, "stale", lambda *_: {})
    asked = ("editors.served.url", "judge.url")

    def state():
        found = [own for own in examined(own) if "tried GET" in own.text]
        assert [key in each.text for key, each in zip(asked, found, strict=True)] == [True, True]
        return [own.state for own in found]

    assert state() == ["error", "error"]
    settings = load.typed(own, "own.yaml", ())
    for path in provenance.prepared(settings).files:
        records.write_bytes(path, b"")
    records.write_bytes(layout.counts(Path("results")), b"{}")
    folders = [layout.folder(Path("results"), "served", key) for key in settings.benchmark.named]
    for folder in folders:
        for kind in ("edits", "scores"):
            for shard in (0, 1):
                records.write_bytes(layout.shard(folder, kind, shard, 2), b"")
    assert state() == ["ok", "ok"]
    scores = layout.shard(folders[0], "scores", 1, 2)
    monkeypatch.setattr(doctor.stale, "stale", lambda *_: {scores: "made-with-another-judge"})
    assert state() == ["ok", "error"]
    layout.shard(folders[1], "edits", 0, 2).unlink()
    assert state() == ["error", "error"]


def test_a_server_that_lists_other_models_is_a_warning(work, serve):
    server = serve(fake_server.answer())
    own = {**given()["judge"], "url": server.url}
    # a server may list nothing
    assert {own.state for own in examined(given(judge=own))} == {"ok"}
    server.models = fake_server.answer(body=json.dumps({"data": [{"id": "other"}, {"id": "n"}]}))
    found = examined(given(judge=own))
    (warning,) = told(found, "warning")
    assert warning == "judge.model: expected a model that the server lists (other, n), found 'm'"
    server.models = fake_server.answer(body=json.dumps({"data": [{"id": "m"}]}))
    assert not told(examined(given(judge=own)), "warning")
    assert not server.requests


def test_a_disk_that_is_full_is_told(work, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    found = examined(given())
    assert told(found, "error", "disk") == [
        "results: 1.0 MB are free, the run adds about 32 MB at most; make room, or set `results` "
        "to another disk"
    ]
    assert "1.0 MB free for temporary files" in told(found, "warning", "disk")[0]


def test_room_is_reckoned_by_the_edits_that_are_there(work):
    image = layout.edited(layout.folder(Path("results"), "copy", "physical"), "a")
    records.write_bytes(image, bytes(5 * 10**6))
    # ten edits, and the sources
    assert "adds about 50 MB at most" in told(examined(given()), "ok", "disk")[0]


def with_model(**changes):
    model = ROOT / "resources" / "miniature" / "editor-final"
    editor = {"name": "small", "type": "diffusers", "model": str(model), "dtype": "float32"}
    return given(editors=[{**editor, **changes}])


@pytest.mark.parametrize(
    ("available", "total", "state"),
    [(10**9, 10**9, "ok"), (10**6, 10**9, "warning"), (10**6, 10**7, "error")],
)
def test_weights_that_do_not_fit_the_host_are_told(work, monkeypatch, available, total, state):
    memory = SimpleNamespace(available=available, total=total)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    # two slots hold a copy each
    assert "weights take 51 MB" in told(examined(with_model()), state, "memory")[0]


@pytest.mark.parametrize(
    ("used", "total", "state", "said"),
    [
        (0, 80e9, "ok", "2 × NVIDIA H200, 80 GB (gpu0, gpu1)"),
        (0, 27e6, "warning", "leaves little for the edit itself"),
        (79.99e9, 80e9, "warning", "of which 80 GB are in use; `python -m lockstep workers`"),
        (0, 20e6, "error", "gpu0 has 20 MB; expected offload, several GPUs together"),
    ],
)
def test_weights_that_do_not_fit_a_gpu_are_told(work, monkeypatch, used, total, state, said):
    monkeypatch.setattr(device, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(device, "model", lambda _: "NVIDIA H200")
    monkeypatch.setattr(device, "memory", lambda _: (int(used), int(total)))
    found = examined({**with_model(), "devices": {"accelerator": "cuda"}})
    assert [text for text in told(found, state) if said in text]
    if state == "error":
        small = {**with_model(offload="group"), "devices": {"accelerator": "cuda"}}
        assert not told(examined(small), "error", "memory")


def test_devices_that_cannot_be_are_told(work):
    found = examined(given(devices={"accelerator": "cuda"}))
    assert told(found, "error", "devices") == [
        "devices.accelerator: expected auto or cpu here, found no GPU"
    ]
    found = examined(given(devices={}))
    assert told(found, "warning", "devices") == [
        "found no GPU here, runs on CPU slots: cpu0, cpu1 (devices.accelerator: auto)"
    ]


def test_a_benchmark_is_looked_through(work):
    path = Path("benchmark.json")
    items = json.loads(path.read_text(encoding="utf-8"))
    items[0]["edit_instruction_en"] = ""
    own = items[0]["original_image_path"]
    path.write_text(json.dumps(items), encoding="utf-8")
    found = examined(given())
    assert "re-edit, 9 samples: 1 physical, 2 environmental" in told(found, "ok", "benchmark")[0]
    (warning,) = told(found, "warning", "benchmark")
    assert warning.startswith(
        f"benchmark.json: 1 sample cannot be used for a reason such as: item 1 ({own!r}): "
        "edit_instruction_en: expected an instruction, found an empty text"
    )
    # a run that takes none stops with the same sentence
    strict = {"path": "benchmark.json", "strict": True}
    (fault,) = told(examined(given(benchmark=strict)), "error", "benchmark")
    with pytest.raises(BenchmarkError) as stopped:
        intake.prepare(BenchmarkSettings.model_validate(strict), work / "manifest")
    assert fault == str(stopped.value)
    assert fault.startswith(f"benchmark.json: item 1 ({own!r}): edit_instruction_en: ")
    items[1]["edit_instruction_en"] = ""
    path.write_text(json.dumps(items), encoding="utf-8")
    (fault,) = told(examined(given()), "error", "benchmark")
    assert "found no sample of 'physical' that can be used" in fault


def test_people_who_rated_samples_that_the_benchmark_lacks_are_told(work):
    items = json.loads(Path("benchmark.json").read_text(encoding="utf-8"))
    own = Path(items[0]["original_image_path"]).stem
    for id, state in ((own, "ok"), ("nine", "error")):
        Path("people.csv").write_text(f"id,score\n{id},5\n", encoding="utf-8")
        found = examined(given(report={"human_scores": ["people.csv"]}))
        assert [own.state for own in found if own.name == "people"] == [state]
    # as a run does, which stops there
    (said,) = told(found, "error", "people")
    assert said.startswith("people.csv: line 2: id: expected samples of this run, found a row of")


def test_what_is_due_and_how_long_it_takes_are_told_by_earlier_runs_alone(work):
    found = examined(with_model())
    assert told(found, "ok", "to do") == [
        "10 edits are due, 0 are cached; the judge scores every edit"
    ]
    assert told(found, "ok", "time")[0].startswith("not known: small made no edit yet; ")
    edit = {"id": "a", "category": "physical", "key": "k", "status": "ok", "seed": 0, "wave": 0}
    edit |= {"shard": 0, "device": "cpu0", "edit_seconds": 12.0}
    path = layout.edits(Path("results"), "small", "physical", 0, 1)
    records.write_records(path, [EditRecord.model_validate(edit)])
    (time,) = told(examined(with_model()), "ok", "time")
    assert time.startswith("small: about 1 min 00 s of editing on 2 devices (5 waves of 12.00 s")


def test_finished_images_are_counted(work):
    made = {"name": "made", "type": "precomputed", "folder": "made"}
    Path("made").mkdir()
    items = json.loads(Path("benchmark.json").read_text(encoding="utf-8"))
    ids = [Path(item["original_image_path"]).stem for item in items]
    for sample in ids[1:]:
        (Path("made") / f"{sample}.png").touch()
    found = examined(given(editors=[made]))
    said = "made: {} of 10 samples have an image in made"
    assert told(found, "warning", "editor") == [said.format(9)]
    (Path("made") / f"{ids[0]}.webp").touch()
    assert said.format(10) in told(examined(given(editors=[made])), "ok", "editor")


def test_devices_of_a_cluster_are_not_looked_for_here(work):
    own = {**given(devices={}), "cluster": {"shards": 3}}
    found = examined(own)
    assert told(found, "ok", "devices") == ["3 of a cluster, which gives them to jobs"]
    # its nodes ask the server
    assert not told(found, "error")


def test_results_that_another_run_holds_are_told(work):
    Path("results").mkdir()
    lock = recovery.hold(Path("results"))
    assert "found it in use by" in told(examined(given()), "warning", "results")[0]
    lock.release()
    assert not told(examined(given()), "warning", "results")
    Path("results/link").symlink_to("/etc")
    assert "found a link that leads out of it" in told(examined(given()), "error", "results")[0]


def test_a_model_that_is_not_downloaded_or_in_part_is_told(work, monkeypatch):
    editor = {"name": "hub", "type": "diffusers", "model": "owner/name"}
    monkeypatch.setattr(doctor.hub, "lacking", lambda *_: [])
    found = examined(given(editors=[editor]))
    (warning,) = told(found, "warning", "editor")
    assert warning.startswith("hub: owner/name is not downloaded yet; the run downloads it to /")
    assert warning.endswith(" are free there)")
    cut = work / "cut"
    shutil.copytree(ROOT / "resources" / "miniature" / "editor-final", cut, symlinks=False)
    shutil.rmtree(cut / "vae")
    monkeypatch.setattr(sizes, "folder_of", lambda *_: cut)
    monkeypatch.setattr(weights, "offline", lambda: False)
    (warning,) = told(examined(given(editors=[editor])), "warning", "editor")
    assert "is downloaded in part" in warning and warning.endswith("; the run downloads the rest")
    monkeypatch.setattr(weights, "offline", lambda: True)
    (fault,) = told(examined(given(editors=[editor])), "error", "editor")
    assert fault.endswith("HF_HUB_OFFLINE keeps from asking the hub for the rest; unset it")


def test_chinese_needs_a_font_where_the_report_is_looked_at(work, monkeypatch):
    own = given(report={"language": "zh"})
    for there, state in ((True, "ok"), (False, "warning")):
        monkeypatch.setattr(fonts, "has_chinese", lambda there=there: there)
        assert "for Chinese" in told(examined(own), state, "fonts")[0]


def test_a_check_that_only_a_run_knows_is_told_all_the_same(work, monkeypatch, serve):
    own = given(judge={**given()["judge"], "url": serve(fake_server.answer()).url})
    monkeypatch.setattr(doctor.workflow, "checked", lambda *_, **__: iter(["own: something new"]))
    assert examined(own)[-1] == Finding("warning", "run", "own: something new")


def test_a_comparison_is_looked_at(work):
    Path("scores.csv").write_text("category,id,score\nphysical,a,5\n", encoding="utf-8")
    own = {"results": "results", "compare": {"sources": {"theirs": "scores.csv"}}}
    assert told(examined(own), "ok", "compare") == ["1 source with 1 file of scores"]
    own["compare"]["sources"]["ours"] = "nowhere.csv"
    assert "nowhere.csv" in told(examined(own), "error", "compare")[0]


def test_lines_are_aligned_and_fit_the_terminal():
    found = Finding("warning", "memory", "a long word " * 20)
    lines = finding.line(found, 80).splitlines()
    assert max(map(len, lines)) < 80
    assert lines[0].startswith("warning  memory         a long")
    assert {line[:24] for line in lines[1:]} == {" " * 24}
    assert finding.line(found, None).count("\n") == 0
    assert finding.summary([found, found]) == "0 ok, 2 warnings, no error"
