"""Instructions that are rewritten before the editor sees them: by a server, or from a file."""

import io
import json
import math
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lockstep import layout, records
from lockstep.config.load import load_config
from lockstep.devices import device
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editing.rewriting import rewrite
from lockstep.editing.shard import Shard, edit_shard
from lockstep.editors import keys
from lockstep.editors.identity import IdentitySettings
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.editors.precomputed import PrecomputedEditorSettings
from lockstep.editors.rewriting import table
from lockstep.errors import ConfigError, DamagedError, ServerError
from lockstep.figures import served
from lockstep.foreign import transport
from lockstep.jobs import ahead, provenance
from lockstep.jobs.ahead import Planned
from lockstep.jobs.run import in_memory
from lockstep.jobs.types import EditJob
from lockstep.judges import keys as judge_keys
from lockstep.judges.protocol import Judgement
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import EditRecord, RewriteRecord
from lockstep.report import comparisons
from lockstep.report.terms import Terms
from lockstep.scoring import anchors
from tests.conftest import ROOT, make_sample
from tests.fake_server import REPLY, answer, edit_as_asked, problem
from tests.score_job import Job as ScoreJob

PROMPT = "Say it better: {instruction}"
DEVICES = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))
REFUSED = problem(400, code="content_policy_violation")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)


def better(body):
    """Rewrite as a model does: another text for another instruction."""
    told = body["messages"][0]["content"]
    told = told if isinstance(told, str) else told[-1]["text"]
    return answer(told.removeprefix("Say it better: ").upper() + "\n")


def by_sample(answers):
    """Answer by the number of the sample that a request asks for."""

    def give(body):
        number = int(re.search("Do number ([0-9]+)", body["messages"][0]["content"])[1])
        return answers.get(number) or better(body)

    return give


class Job:
    """The samples of a category, whose instructions are rewritten for an editor."""

    def __init__(self, folder, count, rewriter, name="e", instructions=None):
        folder.mkdir(exist_ok=True)
        self.work = folder
        self.results = folder / "results"
        self.manifest = layout.manifest(self.results, "physical")
        told = instructions or [f"Do number {i}." for i in range(count)]
        made = [make_sample(folder, f"s{i}", index=i, instruction=t) for i, t in enumerate(told)]
        records.write_records(self.manifest, made)
        self.of(rewriter, name)

    def of(self, rewriter, name="e"):
        self.folder = layout.folder(self.results, name, "physical")
        self.editor = PrecomputedEditorSettings(
            type="precomputed", name=name, folder="images", rewrite=rewriter
        )
        return self

    def run(self):
        rewrite(self.editor, self.manifest, self.folder, io.StringIO())
        return records.read_records(layout.rewritten(self.folder), RewriteRecord)


def chat(server, **given):
    given = {"attempts": 1, "prompt": PROMPT, **given}
    return {"type": "openai", "model": "m/words", "url": server.url, **given}


def test_a_server_is_asked_once_for_each_instruction_and_its_texts_are_kept(serve, tmp_path):
    server = serve(better)
    job = Job(tmp_path, 0, chat(server), instructions=["Melt it.", "Dry it.", "Melt it."])
    found = job.run()
    assert [(r.id, r.status, r.instruction, r.rewritten) for r in found] == [
        ("s0", "ok", "Melt it.", "MELT IT."),
        ("s1", "ok", "Dry it.", "DRY IT."),
        ("s2", "ok", "Melt it.", "MELT IT."),
    ]
    assert {(r.prompt_tokens, r.reply_tokens) for r in found} == {(100, 20)}
    assert found[0].versions["served model"] == "judge-2026-11-01"
    # two samples ask the same
    assert len(server.requests) == 2
    body = next(b for _, _, b in server.requests if "Melt" in str(b))
    assert body == {
        "model": "m/words",
        "messages": [{"role": "user", "content": "Say it better: Melt it."}],
        "max_tokens": 512,
        "temperature": 0,
        "seed": 0,
    }
    before = layout.rewritten(job.folder).read_bytes()
    assert job.run() == found
    assert layout.rewritten(job.folder).read_bytes() == before
    # another editor with the same rewriter, at another address, does not pay again
    moved = {**chat(server), "url": "http://127.0.0.1:9/v1", "concurrency": 3, "timeout": 9}
    assert [r.rewritten for r in job.of(moved, "f").run()] == [r.rewritten for r in found]
    assert len(server.requests) == 2
    # another prompt, or another model, is another rewriter
    for count, change in ((4, {"prompt": "Say it well: {instruction}"}), (6, {"revision": "2"})):
        job.of(chat(server, **change), "g").run()
        assert len(server.requests) == count


def test_a_rewriter_that_sees_the_source_is_asked_again_for_another_source(serve, tmp_path):
    server = serve(better)
    job = Job(tmp_path, 0, chat(server, image=True), instructions=["Melt it."])
    assert job.run()[0].rewritten == "MELT IT."
    ((_, _, body),) = server.requests
    image, text = body["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "Say it better: Melt it."}
    made = make_sample(tmp_path, "s0", instruction="Melt it.", image_sha256="1" * 64)
    records.write_records(job.manifest, [made])
    job.run()
    assert len(server.requests) == 2
    # one that does not see it asks for the text alone
    job.of(chat(server)).run()
    records.write_records(job.manifest, [made.model_copy(update={"image_sha256": "2" * 64})])
    job.run()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"GIF89a"),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
    ],
)
def test_a_source_that_cannot_be_shown_costs_one_sample(serve, tmp_path, spoil):
    server = serve(better)
    job = Job(tmp_path, 3, chat(server, image=True))
    spoil(Path(records.read_manifest(job.manifest)[1].image))
    found = job.run()
    assert [r.status for r in found] == ["ok", "rewrite_failed", "ok"]
    assert found[1].error.startswith("rewriting 's1' failed: expected ")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (REFUSED, "the server's content filter refused to rewrite ("),
        (answer("no", refusal="no"), "the server's content filter refused to rewrite (no)"),
        (answer(""), "rewriting 's1' failed: expected a reply, found none; leave more room "),
        (answer("  \n"), "(editors.e.rewrite.max_tokens) or have the server not reason by itself"),
        (answer("Mel", reason="length"), "cut off, expected a shorter one (editors.e.rewrite.max_"),
        (answer("<think>Hm.</think>Melt."), "expected a reply without its reasoning, found </thi"),
        (answer("a" * 20_001), "reply: expected a text of up to 20,000 characters, found 20,001"),
        (answer("a\x00b"), "reply: expected characters that can be shown, found U+0000"),
        (answer(body="{}"), "rewriting 's1' failed: expected a chat completion, found"),
        (problem(400, message="too long"), "the server answered 400"),
    ],
)
def test_one_instruction_that_is_not_rewritten_costs_one_sample(serve, tmp_path, given, sentence):
    server = serve(by_sample({1: given}))
    job = Job(tmp_path, 3, chat(server, max_failed_share=0.5))
    found = job.run()
    assert [r.status for r in found] == ["ok", "rewrite_failed", "ok"]
    assert sentence in found[1].error
    assert found[1].rewritten is None
    # the next run asks for that one alone
    server.answers = [better]
    assert [r.rewritten for r in job.run()] == [f"DO NUMBER {i}." for i in range(3)]
    assert len(server.requests) == 4


def test_a_failure_that_all_share_stops_and_a_resumed_run_asks_for_the_rest(serve, tmp_path):
    server = serve(by_sample({i: problem(400, message="no") for i in range(10, 40)}))
    job = Job(tmp_path, 40, chat(server, concurrency=1))
    with pytest.raises(ServerError, match=r"^editors\.e\.rewrite: expected .* found 5 of 15"):
        job.run()
    assert not layout.rewritten(job.folder).exists()
    kept = len(list(layout.rewrite(job.results, "x").parent.glob("*.json")))
    assert kept == 10
    sent = len(server.requests)
    server.answers = [better]
    assert {r.status for r in job.run()} == {"ok"}
    assert len(server.requests) - sent == 40 - kept

    server.answers = [problem(401, message="no key")]
    job.of(chat(server, revision="2"))
    with pytest.raises(ServerError, match=r"editors\.e\.rewrite: the server answered 401"):
        job.run()


def test_a_budget_holds_over_all_runs(serve, tmp_path):
    server = serve(better)
    job = Job(tmp_path, 5, chat(server, max_requests=3, concurrency=1))
    for _ in range(2):
        with pytest.raises(ServerError, match=r"editors\.e\.rewrite\.max_requests: found all 3 re"):
            job.run()
    assert len(server.requests) == 3
    job.of(chat(server, max_requests=5))
    assert {r.status for r in job.run()} == {"ok"}
    assert len(server.requests) == 5


def test_a_kept_text_that_somebody_wrote_into_is_asked_for_again(serve, tmp_path):
    server = serve(better)
    job = Job(tmp_path, 1, chat(server))
    (found,) = job.run()
    path = layout.rewrite(job.results, found.key)
    for text in ("{", "", found.model_copy(update={"key": "other"}).model_dump_json()):
        path.write_text(text)
        assert [r.rewritten for r in job.run()] == ["DO NUMBER 0."]
    assert len(server.requests) == 4


def write(path, rows):
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return {"type": "file", "path": str(path)}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("column", ["rewritten", "instruction"])
def test_a_file_gives_the_text_of_each_id(tmp_path, suffix, column):
    rows = [{"id": f"S{i}", column: f"In other words {i}."} for i in (1, 0, 7)]
    found = Job(tmp_path, 2, write(tmp_path / f"texts{suffix}", rows)).run()
    assert [(r.id, r.rewritten, r.key) for r in found] == [
        ("s0", "In other words 0.", None),
        ("s1", "In other words 1.", None),
    ]


def test_a_file_may_be_what_a_run_wrote_or_an_object_by_id(serve, tmp_path):
    by_server = Job(tmp_path, 3, chat(serve(by_sample({1: REFUSED}))))
    first = by_server.run()
    copy = tmp_path / "kept.jsonl"
    copy.write_bytes(layout.rewritten(by_server.folder).read_bytes())
    again = by_server.of({"type": "file", "path": str(copy)}, "f").run()
    assert [r.rewritten for r in again] == [r.rewritten for r in first]
    assert "line 2: sample 's1': rewritten: expected a text, found nothing" in again[1].error

    write(tmp_path / "by_id.json", {"s0": "First.", "s1": 3, "s2": "Third."})
    by_id = by_server.of({"type": "file", "path": str(tmp_path / "by_id.json")}, "g").run()
    assert [r.rewritten for r in by_id] == ["First.", None, "Third."]
    assert "item 2: sample 's1': value of an id: expected a text, found 3" in by_id[1].error


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"id": "x", "rewritten": "a"}, "found no rewritten instruction of sample 's1'"),
        (
            {"id": "s1", "rewritten": ""},
            "line 2: sample 's1': rewritten: expected a text, found an",
        ),
        ({"id": "s1", "rewritten": 5}, "line 2: sample 's1': rewritten: expected a text, found 5"),
        ({"id": "s1", "rewritten": ["a"]}, "rewritten: expected a text, found ['a']"),
        ({"id": "s1", "rewritten": "a" * 20_001}, "expected a text of up to 20,000 characters"),
        ({"id": "s1", "rewritten": "a\x07"}, "expected characters that can be shown, found U+0007"),
        ({"id": "s1"}, "line 2: sample 's1': rewritten: expected a text, found no such field"),
        ({"id": "S2", "rewritten": "a"}, "found no rewritten instruction of sample 's1'"),
    ],
)
def test_one_bad_row_of_a_file_costs_one_sample(tmp_path, row, sentence):
    rows = [{"id": "s0", "rewritten": "a"}, row]
    found = Job(tmp_path, 2, write(tmp_path / "texts.jsonl", rows)).run()
    assert [r.status for r in found] == ["ok", "rewrite_failed"]
    assert sentence in found[1].error
    assert "'s1'" in found[1].error


def test_an_id_that_is_there_twice_has_no_text(tmp_path):
    rows = [{"id": name, "rewritten": name} for name in ("s0", "s1", "S1", "s2")]
    found = Job(tmp_path, 3, write(tmp_path / "texts.jsonl", rows)).run()
    assert [r.rewritten for r in found] == ["s0", None, "s2"]
    said = "line 3: expected each id once, found 'S1' a second time, after line 2"
    assert said in found[1].error


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("t.jsonl", '{"id": "s0", "rewritten": "a"}\n{', "line 2: found a broken line"),
        ("t.jsonl", "[]\n", "line 1: expected an object, found []"),
        ("t.jsonl", '{"rewritten": "a"}\n', "expected the columns id and rewritten (or instructi"),
        ("t.jsonl", '{"id": "s0", "text": "a"}\n', "(or instruction), found id, text"),
        ("t.jsonl", '{"id": "s0", "id": "s1", "rewritten": "a"}', "expected each key once, found"),
        ("t.jsonl", '{"id": true, "rewritten": "a"}', "line 1: id: expected a text, found True"),
        ("t.json", '{"s0": "a"', "found broken JSON after 1 item "),
        ("t.json", "[3]", "item 1: expected an object, found 3"),
        ("t.json", '[{"id": "s0", "rewritten": "a", "id": "b"}]', "expected each key once"),
        ("t.json", '"a"', "found broken JSON after 0 items"),
        ("t.json", "{}", "expected rewritten instructions, found none"),
        ("t.csv", "id,rewritten\n", "expected rewritten instructions, found none"),
        ("t.csv", "id,rewritten\ns0,a,b\n", "line 2: expected 2 cells, found 3"),
        ("t.txt", "s0 a", "expected a file of kind .csv, .json, .jsonl, .parquet"),
    ],
)
def test_a_file_that_is_none_is_one_sentence_before_any_edit(tmp_path, name, text, sentence):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        table.read_texts(str(path))
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(path))
    with pytest.raises(ConfigError, match=r"c\.yaml: editors\[0\]\.rewrite\.path: "):
        load(rewrite={"type": "file", "path": str(path)})


def test_a_file_of_other_samples_stops_the_run(tmp_path):
    job = Job(tmp_path, 2, write(tmp_path / "t.jsonl", [{"id": "x", "rewritten": "a"}]))
    with pytest.raises(ConfigError, match="such as 's0', found none of the 2 in category 'physic"):
        job.run()


def load(**given):
    files = {"type": "precomputed", "folder": str(ROOT / "docs")}
    editor = {"name": "e", **({} if "type" in given else files), **given}
    data = {
        "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
        "editors": [editor],
        "judge": {"type": "qwen3_vl", "model": "a/b", "rubrics": str(ROOT / "config/rubrics")},
    }
    return load_config(data, "c.yaml").editors[0]


CHAT = {"type": "openai", "model": "m", "url": "http://localhost:1/v1", "prompt": PROMPT}


@pytest.mark.parametrize(
    ("rewriter", "sentence"),
    [
        (
            {"type": "opena"},
            "editors[0].rewrite.type: found 'opena' (did you mean 'openai'?)",
        ),
        ({}, "editors[0].rewrite.type: found nothing; expected one of openai, file"),
        ({"type": "file"}, "editors[0].rewrite.path: expected a value, found nothing"),
        ({"type": "file", "path": "/none.csv"}, "rewrite.path: expected a file, found none at '/n"),
        ({"type": "file", "path": "/tmp"}, "rewrite.path: expected a file, found none at '/tmp'"),
        (
            {"type": "file", "path": "a", "prompt": "b"},
            "editors[0].rewrite.prompt: found an unknown key; expected one of type, path",
        ),
        ({**CHAT, "promt": "a"}, "rewrite.promt: found an unknown key (did you mean 'prompt'?)"),
        (
            {**CHAT, "prompt": "Say it."},
            "expected a text with {instruction} in it, found 'Say it.'",
        ),
        ({**CHAT, "url": "there"}, "editors[0].rewrite.url: expected an address such as http://"),
        (
            {**CHAT, "request": {"a": [{"temperature": math.nan}]}},
            "editors[0].rewrite.request.a[0].temperature: expected a finite number, found nan",
        ),
        ("file", "editors[0].rewrite: expected"),
    ],
)
def test_a_mistake_in_a_rewriter_is_one_sentence(rewriter, sentence):
    with pytest.raises(ConfigError) as error:
        load(rewrite=rewriter)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["editor", "rewriter"])
def test_a_key_in_the_place_of_its_variable_is_not_shown(place):
    secret = {"api_key_variable": "sk-very-secret"}
    editor = {"type": "openai_images", "model": "m", "url": "http://localhost:1/v1"}
    given = secret if place == "editor" else {"rewrite": {**CHAT, **secret}}
    with pytest.raises(ConfigError, match="expected a variable's name") as error:
        load_config(
            {
                "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
                "editors": [{"name": "e", **editor, **given}],
                "judge": {"type": "qwen3_vl", "model": "a/b"},
            },
            "c.yaml",
        )
    assert "secret" not in str(error.value)


def test_what_reads_no_instruction_takes_no_rewriter():
    with pytest.raises(ValueError, match="found rewrite, which an editor that reads no instructi"):
        IdentitySettings(type="identity", name="e", rewrite=CHAT)


def test_settings_without_a_rewriter_are_what_they_were():
    assert "rewrite" not in load().model_dump(mode="json")
    assert load(rewrite=CHAT).model_dump(mode="json")["rewrite"]["model"] == "m"


def test_a_missing_key_names_the_editor_whose_rewriter_it_is(monkeypatch):
    monkeypatch.delenv("WORDS_KEY", raising=False)
    rewriter = load(rewrite={**CHAT, "api_key_variable": "WORDS_KEY"}).rewrite
    with pytest.raises(ConfigError, match=r"^editors\.e\.rewrite\.api_key_variable: expected"):
        rewriter.check_environment(reach=False)


class Edits(Job):
    """The same, and the edits of an editor behind a server."""

    def __init__(self, folder, count, server, rewriter, **given):
        super().__init__(folder, count, rewriter)
        self.server = server
        self.given = {"attempts": 1, "request": {"seed": None}, **given}
        self.of(rewriter)

    def of(self, rewriter, name="e"):
        super().of(rewriter, name)
        if hasattr(self, "server"):
            self.editor = OpenAIImagesSettings(
                type="openai_images",
                name=name,
                model="m",
                url=self.server.url,
                rewrite=rewriter,
                **self.given,
            )
        return self

    def edit(self):
        shard = Shard(0, [Device("cuda", "0")], slots=1, run="now")
        terminal = io.StringIO()
        edit_shard(
            *(self.editor, self.manifest, self.folder, shard, terminal),
            seed=1,
            settings=DeviceSettings(),
        )
        path = layout.shard(self.folder, "edits", 0, 1)
        return records.read_records(path, EditRecord)


def texts(job, **changes):
    """Write a file with a text for each of three samples, some of them changed."""
    told = {f"s{i}": f"In other words {i}." for i in range(3)} | changes
    return write(job, [{"id": name, "rewritten": text} for name, text in told.items()])


def test_an_editor_is_told_what_the_rewriter_gave_and_one_change_redoes_one_edit(serve, tmp_path):
    server = serve(edit_as_asked)
    job = Edits(tmp_path, 3, server, None)
    direct = job.of(None, "direct").edit()
    assert {record.rewritten for record in direct} == {None}
    path = tmp_path / "texts.jsonl"
    job.of(texts(path)).run()
    found = job.edit()
    asked = {body["prompt"] for _, _, body in server.requests[3:]}
    assert asked == {f"In other words {i}." for i in range(3)}
    assert [r.rewritten for r in found] == [f"In other words {i}." for i in range(3)]
    # the key is that of a sample with the text for instruction, so that of the direct twin stays
    sample = records.read_manifest(job.manifest)[0]
    identity = keys.identity(job.editor, sample)
    assert direct[0].key == records.edit_key(sample, identity, direct[0].seed)
    told = sample.model_copy(update={"instruction": "In other words 0."})
    assert found[0].key == records.edit_key(told, identity, direct[0].seed)

    texts(path, s1="In yet other words.")
    job.run()
    changed = job.edit()
    assert [r.cached for r in changed] == [True, False, True]
    assert changed[1].rewritten == "In yet other words."
    assert len(server.requests) == 7
    # without the rewriter what it left is gone, and instructions count again
    plain = job.of(None).edit()
    assert [r.key for r in plain] == [r.key for r in direct]
    assert not layout.rewritten(job.folder).exists()


def test_a_sample_without_a_rewritten_instruction_is_a_failed_edit(serve, tmp_path):
    server = serve(edit_as_asked)
    job = Edits(tmp_path, 3, server, None)
    job.of(texts(tmp_path / "texts.jsonl", s0="", s1=""))
    job.run()
    found = job.edit()
    assert [r.status for r in found] == ["edit_failed", "edit_failed", "ok"]
    assert "line 1: sample 's0': rewritten: expected a text, found an empty text" in found[0].error
    assert (found[0].image, found[0].rewritten, found[0].cached) == (None, None, False)
    assert len(server.requests) == 1
    # an image of the plain instruction does not pass for that sample's edit
    job.of(None).edit()
    job.of(texts(tmp_path / "texts.jsonl", s0="", s1="")).run()
    assert [r.status for r in job.edit()] == ["edit_failed", "edit_failed", "ok"]


@pytest.mark.parametrize("schedule", ["lockstep", "queue"])
def test_in_waves_too_others_are_edited(tmp_path, monkeypatch, schedule):
    monkeypatch.chdir(tmp_path)
    job = Job(tmp_path, 6, texts(tmp_path / "texts.jsonl"))
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "images" / f"s{i}.png")
    job.run()
    found = []
    for number in range(2):
        devices = [Device("cpu", str(slot)) for slot in range(2)]
        shard = Shard(number, devices, slots=1, run="now")
        settings = DeviceSettings(accelerator="cpu", schedule=schedule, join_timeout=1)
        manifest, terminal = job.manifest, io.StringIO()
        edit_shard(*(job.editor, manifest, job.folder, shard, terminal), seed=1, settings=settings)
        found += records.read_records(layout.shard(job.folder, "edits", number, 2), EditRecord)
    told = {record.id: (record.status, record.rewritten) for record in found}
    assert told == {f"s{i}": ("ok", f"In other words {i}.") for i in range(3)} | {
        f"s{i}": ("edit_failed", None) for i in range(3, 6)
    }
    assert "edits failed" in terminal.getvalue()


def test_without_the_rewriters_records_nothing_is_edited(serve, tmp_path):
    job = Edits(tmp_path, 1, serve(edit_as_asked), None).of(texts(tmp_path / "t.jsonl"))
    with pytest.raises(DamagedError, match="expected rewritten instructions, found no file"):
        job.edit()


def test_a_note_tells_what_rewritten_instructions_and_edits_were_made_of(serve, tmp_path):
    server = serve(better)
    job = Edits(tmp_path, 2, server, None).of(chat(server))

    def notes():
        told = provenance.rewritten(job.results, job.editor, "physical").made_of
        edits = provenance.edited(job.results, 1, job.editor, "physical", 0, 1).made_of
        return told["rewriter"], edits["editor"], edits.get("rewritten")

    first = notes()
    job.of(chat(server, timeout=9, max_requests=3))
    assert notes() == first
    job.of(chat(server, max_tokens=9))
    assert notes()[0] != first[0]
    assert notes()[1:] == first[1:]
    job.run()
    assert notes()[2] != first[2]
    job.of(None)
    plain = provenance.edited(job.results, 1, job.editor, "physical", 0, 1).made_of
    assert plain["editor"] == first[1]
    assert "rewritten" not in plain


DIFFUSERS = {"type": "diffusers", "model": "a/b"}


def test_twins_share_a_model_and_others_do_not():
    direct, told, other = (
        load(**DIFFUSERS, **given)
        for given in ({}, {"name": "f", "rewrite": CHAT}, {"num_inference_steps": 4})
    )
    assert in_memory(direct.held) == in_memory(told.held)
    assert in_memory(direct.held) != in_memory(other.held)


def frame(scores):
    ids = [f"s{i}" for i in range(len(scores))]
    own = {"id": ids, "category": "c", "status": "ok", "instruction": "a", "judge": "j"}
    own["source"] = ids
    return pd.DataFrame({**own, "score": pd.array(scores, dtype="Float64")})


def test_the_report_finds_twins_and_tests_their_difference():
    editors = [
        load(name="direct", **DIFFUSERS),
        load(name="told", **DIFFUSERS, rewrite=CHAT),
        load(name="other", **DIFFUSERS, num_inference_steps=4, rewrite=CHAT),
    ]
    scores = [4.0, 5.0, 3.0, 6.0, 4.0, 5.0, 3.0, 6.0] * 10
    frames = {
        name: {"c": frame([score + more for score in scores])}
        for name, more in (("direct", 0), ("told", 2), ("other", 1))
    }
    headlines = {name: {"c": own["c"]["score"]} for name, own in frames.items()}
    terms = Terms(None, (0, 10), {}, {"aggregate": "micro", "protocol": None})
    (found,) = comparisons.twins(editors, frames, headlines, terms)
    assert (found["rewritten"], found["direct"]) == ("told", "direct")
    assert found["difference"]["difference"] == 2
    assert found["difference"]["count"] == 80
    assert found["difference"]["p_holm"] < 0.05


def test_what_rewriting_came_to_counts_each_request_once(serve, tmp_path):
    server = serve(better)
    rewriter = chat(server, input_price=1000, output_price=10_000)
    job = Job(tmp_path, 0, rewriter, instructions=["Melt it.", "Dry it.", "Melt it."])
    found = served.rewriting(job.run(), job.editor.rewrite, 4)
    assert found == {
        "by": "m/words",
        "rewritten": 3,
        "failed": 0,
        "requests": 4,
        "input_tokens": 200,
        "output_tokens": 40,
        "price": pytest.approx(0.6),
        "models": ["judge-2026-11-01"],
    }
    by_file = Job(tmp_path, 2, texts(tmp_path / "texts.jsonl", s0=""))
    found = served.rewriting(by_file.run(), by_file.editor.rewrite, 0)
    assert (found["rewritten"], found["failed"], found["requests"]) == (1, 1, None)


def test_no_edit_begins_ahead_of_its_rewritten_instructions(serve, tmp_path, monkeypatch):
    monkeypatch.setenv(ahead.PLAN, "")
    job = Job(tmp_path, 1, texts(tmp_path / "t.jsonl"))
    edit = EditJob(
        results=str(job.results),
        settings=DeviceSettings(),
        devices=(Device("cpu", "0"),),
        shard=0,
        resident=True,
        log="",
        editor=load(folder="docs", rewrite=job.editor.rewrite.model_dump()),
        category="physical",
        seed=0,
        slots=1,
        run="now",
        first=0,
    )
    ahead.announce([Planned("edit", "e", "physical")])
    assert not ahead.is_ready(edit)
    job.run()
    assert ahead.is_ready(edit)
    # an earlier run's, which this one is about to replace
    os.utime(layout.rewritten(job.folder), (1, 1))
    assert ahead.is_ready(edit)
    ahead.announce([], rewriting=[Planned("rewrite", "e", "physical")])
    assert not ahead.is_ready(edit)
    job.run()
    assert ahead.is_ready(edit)


def test_paths_of_files_may_be_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts(Path("t.jsonl"))
    assert load(rewrite={"type": "file", "path": "./t.jsonl"}).rewrite.path == "t.jsonl"


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Return a function that judges two edits, the first of a rewritten instruction, anew."""
    job = ScoreJob(tmp_path, [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(2)])
    prompts = []

    class Judge:
        def fitting(self):
            return 1

        def judge(self, pairs):
            prompts.extend(pair.prompt.split("instruction:\n")[1] for pair in pairs)
            return [Judgement(REPLY) for _ in pairs]

    monkeypatch.setattr(Qwen3VLSettings, "load", lambda *_: Judge())
    monkeypatch.setattr(judge_keys, "identity", lambda _: {"model": "fake"})
    own = {"category": "physical", "instruction": "Do it."}
    told = RewriteRecord(id="s0", status="ok", rewritten="Do it well.", **own)
    lost = RewriteRecord(id="s1", status="rewrite_failed", error="no", **own)

    def run(rewritten=True, **given):
        if rewritten:
            records.write_records(layout.rewritten(job.category), [told, lost])
        prompts.clear()
        found = job.run(Qwen3VLSettings(type="qwen3_vl", model="a/b", **given), DEVICES)
        return [record.key for record in found.values()], list(prompts)

    run.job = job
    return run


def test_the_judge_sees_the_instruction_that_is_configured(judged):
    plain, prompts = judged(rewritten=False)
    assert [p.splitlines()[0] for p in prompts] == ["Do number 0.", "Do number 1."]
    # by default its own, under the keys that there were
    assert judged() == (plain, [])
    rewritten, prompts = judged(instruction_shown="rewritten")
    assert [p.splitlines()[0] for p in prompts] == ["Do it well."]
    assert rewritten[0] != plain[0]
    assert rewritten[1] == plain[1]
    both, prompts = judged(instruction_shown="both")
    assert prompts[0].startswith(
        "Do number 0.\n\nThe editor was told this in its place:\nDo it well.\n"
    )
    assert len({plain[0], rewritten[0], both[0]}) == 3
    # another sample's instruction is the one that is shown of that
    _, prompts = judged(instruction_shown="rewritten", swapped_instruction=True)
    assert "Do it well." in [p.splitlines()[0] for p in prompts]


def test_anchors_have_the_instruction_that_the_judge_saw(judged, tmp_path):
    judged(instruction_shown="rewritten")
    set_of = tmp_path / "anchor_set"
    for which, told in (("original", "Do number 0."), ("rewritten", "Do it well.")):
        anchors.collect([judged.job.manifest], ["e"], judged.job.folder, set_of, which)
        kept = records.read_records(set_of / "anchors.jsonl", anchors.Anchor)
        assert told in [anchor.instruction for anchor in kept]
