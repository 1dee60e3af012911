"""Ways to use the workflow from elsewhere: as a module, and from any working folder."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
import yaml

from lockstep import records
from lockstep.jobs import workers
from lockstep.records import recovery
from tests import ready_snakemake
from tests.conftest import ROOT
from tests.workflow.conftest import environment, judge_by_files, make

OUTER = f"""
configfile: "mine.yaml"

module lockstep:
    snakefile: "{ROOT / "Snakefile"}"
    config: config["lockstep"]

use rule * from lockstep{{renamed}}

rule mine:
    default_target: True
    input: "results/report/report.md"
    output: "mine.txt"
    shell: "wc -l < {{{{input}}}} > {{{{output}}}}"
{{hooks}}
"""
HOOKS = """
onstart:
    lockstep.onstart()

onsuccess:
    lockstep.onsuccess()

onerror:
    lockstep.onerror()
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two samples of one category with an editor and a judge that need no model, finished."""
    folder = tmp_path_factory.mktemp("scored")
    workflow = make(
        folder / "work",
        folder,
        per_category=2,
        benchmark={"path": "benchmark.json", "categories": ["物理"]},
        editors=[{"name": "control", "type": "identity"}],
    )
    judge_by_files(workflow)
    workflow.run()
    return workflow


def fresh(workflow, folder):
    """Return a copy of a workflow without results."""
    copy = workflow.copy(folder)
    shutil.rmtree(copy.results)
    shutil.rmtree(copy.folder / ".snakemake")
    return copy


def include(workflow, renamed="", hooks="", **values):
    """Let a workflow of one's own, with a configuration of its own, include ours as a module."""
    (workflow.folder / "Snakefile").write_text(OUTER.format(renamed=renamed, hooks=hooks))
    given = {"depth": 3, "lockstep": workflow.config, **values}
    (workflow.folder / "mine.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")


def snakemake(folder, *arguments, check=True, **variables):
    status, printed = ready_snakemake.run(arguments, {**environment(), **variables}, 240, folder)
    assert not check or status == 0, printed
    return printed


def leave(results, tmp_path):
    """Leave what a kill does: a file half written, and the socket of a process that has gone."""
    temporary = results / "manifest" / f".{'0f' * 8}.tmp"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text("half")
    folder = records.own_folder(tmp_path / f"lockstep-{os.getuid()}")
    path = records.own_folder(folder / "workers") / "4194304-abcdef01-cpu0-01234567.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        workers.bind(listener, path)
    return temporary, path


@pytest.mark.parametrize("renamed", ["", " as theirs_*"])
def test_a_module_runs_the_whole_way_and_its_first_job_sweeps(scored, tmp_path, renamed):
    workflow = fresh(scored, tmp_path / "work")
    include(workflow, renamed)
    left = leave(workflow.results, tmp_path)
    output = snakemake(workflow.folder, "--cores", "2", TMPDIR=str(tmp_path))
    assert (workflow.folder / "mine.txt").is_file()
    assert "Traceback" not in output
    assert [r["score"] for r in workflow.records("scores", editor="control")] == [
        r["score"] for r in scored.records("scores", editor="control")
    ]
    assert not any(path.exists() for path in left)
    assert (workflow.results / recovery.HOLDER).read_text().startswith("run ")
    assert "Nothing to be done" in snakemake(workflow.folder, "--cores", "2")


def test_who_includes_the_module_may_begin_its_runs_as_we_do(scored, tmp_path):
    workflow = fresh(scored, tmp_path / "work")
    include(workflow, hooks=HOOKS)
    left = leave(workflow.results, tmp_path)
    snakemake(workflow.folder, "--cores", "2", TMPDIR=str(tmp_path))
    assert (workflow.folder / "mine.txt").is_file()
    assert not any(path.exists() for path in left)
    assert (workflow.results / recovery.HOLDER).read_text().startswith("process ")


def test_jobs_of_a_module_leave_results_alone_that_another_run_holds(scored, tmp_path):
    workflow = fresh(scored, tmp_path / "work")
    include(workflow)
    with recovery.hold(workflow.results):
        output = snakemake(workflow.folder, "--cores", "2", "--retries", "0", check=False)
    assert "results: found it in use by process" in output
    assert not (workflow.results / "manifest").exists()


def test_a_module_has_no_prefix(scored, tmp_path):
    workflow = fresh(scored, tmp_path / "work")
    include(workflow)
    path = workflow.folder / "Snakefile"
    path.write_text(path.read_text().replace("    config:", '    prefix: "there"\n    config:'))
    output = snakemake(workflow.folder, "-n", check=False)
    assert "module: expected paths as they are, found a prefix" in output


def state(folder):
    """Return path, time, kind and bytes of everything in a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else path.lstat().st_mode,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ["-n"],
        ["--dag"],
        ["--rulegraph"],
        ["--filegraph"],
        ["--report", "snakemake.html"],
        ["--unlock"],
        ["--list"],
        ["--list-rules"],
        ["--summary"],
        ["--lint"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_reading_the_snakefile_changes_nothing(scored, tmp_path, arguments, changed):
    workflow = scored.copy(tmp_path / "work")
    workflow.variables["TMPDIR"] = str(tmp_path)
    left = leave(workflow.results, tmp_path)
    # as a kill leaves records: of a job that had begun, and half of them
    damaged = workflow.results / "control" / "physical" / "scores" / "shard-0-of-2.jsonl"
    if changed:
        damaged.write_bytes(damaged.read_bytes()[:10])
        workflow.config["seed"] = 7
    before, sockets = state(workflow.results), state(left[1].parent)
    workflow.run(*arguments)
    assert state(workflow.results) == before
    assert state(left[1].parent) == sockets
    plans = not {"--unlock", "--list", "--list-rules", "--lint"} & {*arguments}
    marks = list((workflow.folder / ".snakemake" / "because").glob("*"))
    assert bool(marks) == (plans and changed)


def elsewhere(workflow, folder):
    """Return a copy whose configuration lies in one folder, while it runs in another one."""
    config = {**workflow.config, "judge": dict(workflow.config["judge"])}
    for section, key in (("benchmark", "path"), ("judge", "folder")):
        config[section] = {**config[section], key: str(workflow.folder / config[section][key])}
    beside, working = folder / "beside", folder / "working"
    beside.mkdir()
    working.mkdir()
    return config, beside / "mine.yaml", working


@pytest.mark.parametrize("rubrics", [None, "config/rubrics", "own", "own/physical.yaml"])
def test_rubrics_are_found_from_any_working_folder(scored, tmp_path, rubrics):
    config, path, working = elsewhere(scored, tmp_path)
    del config["judge"]["rubrics"]
    if rubrics:
        config["judge"]["rubrics"] = rubrics
        shutil.copytree(ROOT / "config" / "rubrics", path.parent / "own")
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    options = ["-s", str(ROOT / "Snakefile"), "--configfile", os.path.relpath(path, working)]
    snakemake(working, *options)
    assert (working / "results" / "report" / "report.html").is_file()
    assert "Nothing to be done" in snakemake(working, *options)


def test_the_working_folders_own_rubrics_come_first(scored, tmp_path):
    config, path, working = elsewhere(scored, tmp_path)
    config["judge"]["rubrics"] = "config/rubrics"
    (working / "config" / "rubrics").mkdir(parents=True)
    path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    options = ["-s", str(ROOT / "Snakefile"), "--configfile", str(path)]
    output = snakemake(working, *options, check=False)
    assert "judge.rubrics: found no file 'config/rubrics/physical.yaml'" in output


def test_snakemake_starts_with_the_scripts_on_the_import_path(tmp_path):
    assert snakemake(tmp_path, "--version", PYTHONPATH=str(ROOT / "scripts")).startswith("9.")


PROBE = """
import importlib, json, sys
found = {}
for name in ("tabulate", "report", "prepare", "edit", "score", "compare"):
    try:
        found[name] = str(importlib.import_module(name).__file__)
    except ModuleNotFoundError:
        found[name] = ""
with open(snakemake.output[0], "w") as file:
    json.dump([found, sys.path], file)
"""


def test_a_job_imports_none_of_our_scripts_by_the_name_of_a_package(tmp_path):
    scripts = tmp_path / "scripts" / "rules"
    shutil.copytree(ROOT / "scripts" / "rules", scripts)
    (scripts / "probe.py").write_text(PROBE)
    (tmp_path / "Snakefile").write_text(
        'rule probe:\n    output: "found.json"\n    script: "scripts/rules/probe.py"\n'
    )
    snakemake(tmp_path, "--cores", "1", PYTHONPATH=str(ROOT / "scripts"))
    found, path = records.read_json(tmp_path / "found.json")
    # as in our own jobs
    assert str(scripts) in path
    assert "tabulate" in found["tabulate"]
    assert not any(
        str(place) in file for file in found.values() for place in (ROOT / "scripts", scripts)
    )


def test_the_small_run_for_newcomers_is_planned(tmp_path):
    """`snakemake --directory .test`, as the workflow catalog has it."""
    own = shutil.copytree(ROOT / ".test" / "config", tmp_path / ".test" / "config").parents[1]
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    snakefile = str(ROOT / "Snakefile")
    printed = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "-s", snakefile, "--directory", own / ".test"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert printed.returncode == 0, printed.stderr
    assert "33 jobs: 1 prepare, 10 edit, 10 score, 10 tabulate, 1 report, 1 all" in printed.stdout
