"""The report is the same to the byte whatever Python hashes texts to."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SEEDS = ("0", "1", "4242")

WRITE = """
import importlib.util, shutil, sys, time
from pathlib import Path

time.strftime = lambda *_: "2026-01-01 00:00:00 +0000"
from lockstep.config.report import CompareSettings, ReportSettings
from lockstep.report import write
from lockstep.benchmark import score_files
from lockstep.figures import stats
from lockstep.report.compare import write_comparison

stats.RESAMPLES = 99
root, results, folder = map(Path, sys.argv[1:])
spec = importlib.util.spec_from_file_location("page_benchmark", root / "benchmarks" / "page.py")
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)
names = ["zeta", "eta", "theta", "alpha"]
made_up.EDITORS = {"zeta": 5.0}
own = {"min_coverage": 0.0}
editors = [{"name": name, "type": "identity"} for name in names]
made, *tables, rejected, further, place = made_up.make_results(
    results, 20, side=16, editors=editors, report=own
)
# all are alike, so that only the configured order can tell them apart
for name in names[1:]:
    shutil.copytree(results / "zeta", results / name, dirs_exist_ok=True)
parts = [dict.fromkeys(names, files["zeta"]) for files in tables]
write.write_report(made, *parts, rejected, further, place, threads=1)
files = {"ours": score_files.source_files(str(results))}
shutil.move(place, folder / "report")
compare = CompareSettings(sources={"ours": str(results)})
write_comparison(compare, ReportSettings(**own), files, folder / "compare")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Reports of the same results by seed, each as its files' bytes."""
    found = {}
    for seed in SEEDS:
        folder = tmp_path_factory.mktemp("report")
        # the page names the folder of the results
        results = tmp_path_factory.getbasetemp() / "hashed"
        command = [sys.executable, "-c", WRITE, str(ROOT), str(results), str(folder)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, check=True)
        found[seed] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return found


def test_every_file_of_the_report_is_the_same(written):
    first = written[SEEDS[0]]
    assert {"report/report.json", "report/report.html", "compare/compare.json"} <= set(first)
    for seed in SEEDS[1:]:
        assert written[seed].keys() == first.keys()
        assert [name for name, data in written[seed].items() if data != first[name]] == []


def test_editors_of_one_rank_and_mean_stand_in_the_configured_order(written):
    report = json.loads(written[SEEDS[0]]["report/report.json"])
    ranked = [row["editor"] for row in report["leaderboard"]]
    assert ranked == list(report["editors"])
