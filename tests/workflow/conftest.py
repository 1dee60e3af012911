"""Real Snakemake runs on the tiny models."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockstep.benchmark.categories import category_key
from lockstep.config.load import load_config
from lockstep.demo import tiny
from lockstep.jobs import stale
from lockstep.rubrics.rubric import read_rubric
from tests import ready_snakemake
from tests.conftest import ROOT, once

EDITOR = "small"


class Workflow:
    """A working folder with a benchmark and a configuration, and what a run left in it."""

    timeout = 240
    """Seconds that a run may take."""

    def __init__(self, folder: Path, config: dict):
        self.folder = folder
        self.config = config
        self.variables: dict[str, str] = {}
        """Further environment variables of its runs."""

    @property
    def results(self) -> Path:
        return self.folder / self.config["results"]

    def command(self, *arguments: str) -> list[str]:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config, allow_unicode=True), encoding="utf-8")
        snakefile = str(ROOT / "Snakefile")
        # targets come first: --configfile takes all that follows it
        return [
            *(sys.executable, "-m", "snakemake", *arguments),
            *("--snakefile", snakefile, "--directory", str(self.folder)),
            *("--configfile", str(path)),
        ]

    def environment(self) -> dict[str, str]:
        return {**environment(), **self.variables}

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run Snakemake and return all that it prints."""
        # `python -m snakemake` comes first
        given = self.command(*arguments)[3:]
        status, printed = ready_snakemake.run(given, self.environment(), self.timeout)
        assert not check or status == 0, printed + self.logs()
        return printed

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake as the leader of a process group; what it prints goes to run.log."""
        with open(self.folder / "run.log", "w", encoding="utf-8") as file:
            return subprocess.Popen(
                self.command(*arguments),
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,
                # a shell starts what it sends to the background deaf to Ctrl-C
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def printed(self) -> str:
        """Return what the run that `start` began has printed."""
        return (self.folder / "run.log").read_text(encoding="utf-8")

    def logs(self, pattern: str = "**/*.log") -> str:
        found = sorted((self.results / "logs").glob(pattern))
        return "\n".join(f"== {path}\n{path.read_text(encoding='utf-8')}" for path in found)

    def records(self, kind: str, category: str = "*", editor: str = EDITOR) -> list[dict]:
        """Return the records of the current shards: kind is edits or scores."""
        cluster = self.config.get("cluster")
        shards = cluster["shards"] if cluster else len(self.config["devices"]["device_ids"])
        paths = (self.results / editor).glob(f"{category}/{kind}/shard-*-of-{shards}.jsonl")
        return [
            json.loads(line)
            for path in sorted(paths)
            for line in path.read_text(encoding="utf-8").splitlines()
        ]

    def report(self) -> dict:
        return json.loads((self.results / "report" / "report.json").read_text(encoding="utf-8"))

    def copy(self, folder: Path) -> "Workflow":
        """Return a copy of the whole folder, times and Snakemake's notes included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workflow(folder, json.loads(json.dumps(self.config)))


def misfits(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what a run would find not to fit, by path below the results, with the reason."""
    monkeypatch.chdir(workflow.folder)
    settings = load_config(workflow.config, "config.yaml")
    rubrics = {
        key: read_rubric(Path(settings.judge.rubric_file(key)))
        for key in settings.benchmark.categories
    }
    shards = len(settings.devices.device_ids)
    found = stale.stale(settings, shards, rubrics)
    return {str(path.relative_to(settings.results)): reason for path, reason in found.items()}


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str] = str) -> Any:
    """Return what a condition gives as soon as that is true; fail with `what()` after a time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s\n{what()}"
        time.sleep(0.01)
    return value


def environment() -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSTEP_")}
    return {**given, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def configuration(models: Path, **changes) -> dict:
    config = {
        "results": "results",
        "benchmark": {"path": "benchmark.json"},
        "editors": [
            {
                "name": EDITOR,
                "type": "diffusers",
                "model": str(models / "editor"),
                "dtype": "float32",
                "num_inference_steps": 2,
                # it reads its source at one megapixel, whatever its own pixels
                "call": {"width": 256, "height": 256},
            }
        ],
        "judge": {
            "type": "qwen3_vl",
            "model": str(models / "judge"),
            "dtype": "float32",
            "rubrics": str(ROOT / "config" / "rubrics"),
            "max_reasoning_tokens": 24,
            "min_schema_mass": 0,
        },
        "devices": {"accelerator": "cpu", "device_ids": [0, 1]},
    }
    return {**config, **changes}


def make(folder: Path, models: Path, per_category: int, **changes) -> Workflow:
    folder.mkdir(parents=True, exist_ok=True)
    tiny.make_benchmark(folder / "benchmark.json", per_category=per_category)
    return Workflow(folder, configuration(models, **changes))


def judge_by_files(workflow: Workflow) -> None:
    """Take finished replies for judge, for each editor and sample, where no model is needed.

    The i-th sample has 5 + i mod 4 for each criterion.
    """
    path = workflow.folder / workflow.config["benchmark"]["path"]
    for number, item in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        rubric = ROOT / "config" / "rubrics" / f"{category_key(item['subset'])}.yaml"
        reply = json.dumps(dict.fromkeys(read_rubric(rubric).names, 5 + number % 4))
        for editor in workflow.config["editors"]:
            folder = workflow.folder / "replies" / editor["name"]
            folder.mkdir(parents=True, exist_ok=True)
            sample = Path(item["original_image_path"]).stem
            (folder / f"{sample}.txt").write_text(reply, encoding="utf-8")
    rubrics = workflow.config["judge"]["rubrics"]
    workflow.config["judge"] = {"type": "precomputed", "folder": "replies", "rubrics": rubrics}


@pytest.fixture(scope="session")
def finished(tmp_path_factory, models) -> Workflow:
    """A finished run of all five categories on two CPU slots; tests work on copies."""

    def run(folder: Path) -> Workflow:
        workflow = make(folder / "work", models, per_category=2)
        workflow.output = workflow.run()
        return workflow

    made = once(tmp_path_factory, "finished", run)
    # a dry run of one process writes where another one may copy
    workflow = made.copy(tmp_path_factory.mktemp("finished") / "work")
    workflow.output = made.output
    return workflow
