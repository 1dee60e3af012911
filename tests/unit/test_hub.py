"""Models that are named by a hub id, asked for before a job needs them."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lockstep.config import hub
from tests.conftest import ROOT

ANSWERS = {
    "some/there": (200, {}),
    "some/gone": (404, {"X-Error-Code": "RepoNotFound"}),
    "some/locked": (403, {"X-Error-Code": "GatedRepo"}),
    "some/other": (404, {"X-Error-Code": "EntryNotFound"}),
    "some/older": (404, {"X-Error-Code": "RevisionNotFound"}),
    "some/ill": (503, {}),
}


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        status, headers = ANSWERS["/".join(self.path.split("/")[1:3])]
        self.send_response(status)
        for name, value in {"ETag": '"0"', "X-Repo-Commit": "0" * 40, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


CODE = """
import json, sys
from lockstep.config import hub, load
given, stages = map(json.loads, sys.argv[1:])
print(json.dumps(hub.lacking(load.of_job(given), "c.yaml", stages)))
"""


def lacking(folder, address, stages=hub.STAGES, offline="", **changes):
    """Return what is lacking; huggingface_hub reads its settings when it is imported."""
    given = {
        "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
        "editors": [{"name": "control", "type": "identity"}],
        "judge": {"type": "qwen3_vl", "model": "some/there"},
        **changes,
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(given), json.dumps(stages)],
        env={
            **os.environ,
            **{"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": offline},
        },
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def editors(*models, **more):
    return [
        {"name": f"e{number}", "type": "diffusers", "model": model, **more}
        for number, model in enumerate(models)
    ]


def test_each_answer_of_the_hub_is_a_sentence(tmp_path, address):
    several = editors(*ANSWERS, "a b/c", "./here")
    several[4]["revision"] = "v2"
    several[7]["adapters"] = [{"path": "some/other", "weight_name": "a.safetensors"}]
    found = lacking(tmp_path, address, editors=several)
    parts = [
        ("editors[1].model: found no folder 'some/gone', no download", "the hub has no such model"),
        ("editors[2].model: found no folder 'some/locked'", "to those who were granted access"),
        ("editors[3].model: found no folder 'some/other'", "without a file 'model_index.json'"),
        ("editors[4].model: found no folder 'some/older'", "without the revision 'v2'"),
        ("editors[5].model: found no folder 'some/ill'", "the hub does not answer (HfHubHTTPErr"),
        ("editors[6].model: found no folder 'a b/c'", "it is no id of a model either"),
        ("editors[7].adapters[0].path: found no folder 'some/other'", "without a file 'a.safet"),
    ]
    assert len(found) == len(parts)
    for sentence, (start, reason) in zip(found, parts, strict=True):
        assert sentence.startswith(f"c.yaml: {start}")
        assert reason in sentence
        assert sentence.endswith("; expected a folder, or the id of a model on the hub")


def test_a_misspelt_folder_is_told_from_a_hub_id(tmp_path, address):
    (tmp_path / "some" / "judge").mkdir(parents=True)
    judge = {"type": "qwen3_vl", "model": "some/gone"}
    (sentence,) = lacking(tmp_path, address, judge=judge)
    assert "found no folder 'some/gone' in the folder 'some', no download" in sentence
    (sentence,) = lacking(tmp_path, address, judge={**judge, "model": "some/judeg"}, offline="1")
    assert "in the folder 'some' (did you mean 'judge'?)" in sentence
    assert "HF_HUB_OFFLINE" in sentence
    # the hub has it, whatever lies here
    assert lacking(tmp_path, address) == []
    assert lacking(tmp_path, address, judge={**judge, "model": "some/judge"}, offline="1") == []


def test_what_is_downloaded_is_not_asked_for(tmp_path):
    repository = tmp_path / "home" / "hub" / "models--some--there"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for offline in ("", "1"):
        assert lacking(tmp_path, "http://127.0.0.1:9", offline=offline) == []
    judge = {"type": "qwen3_vl", "model": "some/there", "revision": "v2"}
    (sentence,) = lacking(tmp_path, "http://127.0.0.1:9", judge=judge)
    assert "the hub does not answer (ConnectError" in sentence


def test_only_models_of_the_jobs_that_run_are_asked_for(tmp_path):
    judge = {"type": "qwen3_vl", "model": "some/gone"}
    given = {"editors": editors("some/locked"), "judge": judge, "offline": "1"}

    def keys(*stages):
        return [line.split(": ")[1] for line in lacking(tmp_path, "http://x", stages, **given)]

    assert keys("tabulate", "report", "prepare") == []
    assert keys("edit") == ["editors[0].model"]
    assert keys("score", "anchors") == ["judge.model"]
    assert keys(*hub.STAGES) == ["editors[0].model", "judge.model"]
