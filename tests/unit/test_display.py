"""The display of a run in a terminal, as a person sees it."""

import os
import re
import sys

import pytest
from rich.console import Console

import snakemake_logger_plugin_lockstep as plugin
from snakemake_logger_plugin_lockstep import display
from tests.conftest import ROOT
from tests.pseudo_terminal import Terminal

RUN = """
import os, subprocess, sys, time
from pathlib import Path
import yaml
from lockstep import layout, records
from lockstep.config.load import load_config
from lockstep.devices.device import Device
from lockstep.jobs import board
from lockstep.records import progress
from lockstep.records.progress import Report, Work
from snakemake_logger_plugin_lockstep.display import Display, can_draw

how, results = sys.argv[1], Path(sys.argv[2])
data = yaml.safe_load(Path("config/demo.yaml").read_text())
settings = load_config({**data, "results": str(results)}, "test")
keys = list(settings.benchmark.named)
records.write_json(layout.counts(results), dict.fromkeys(keys, 60))
os.environ["LOCKSTEP_SLOTS"] = "6"
jobs = {}
for script in ("edit_shard", "score_shard"):
    for key in keys:
        for k in range(6):
            own = {"editor": "final", "category": key, "shard": str(k), "shards": "6"}
            jobs[len(jobs)] = (f"{script}.py", own)
board.begin(settings, [Device("cuda", str(k)) for k in range(6)], jobs)
display = Display(can_draw(sys.stderr), speaks=True, colors="NO_COLOR" not in os.environ)
display.start()
names = {"physical": "00012_物理_easy", "social": "00016_社会_a_sample_with_a_name_that_is_long"}
number = 0
for key in keys:
    for done in range(1, 11):
        for k in range(6):
            work = Work("edit", "final", key, "", k, f"gpu{k}")
            now = time.time()
            report = Report(work, "working", 10, done, made=done, sample=names.get(key, f"s{done}"))
            report.since = report.first = now - done
            report.first_made, report.last = 1, now
            progress._send(report)
        time.sleep(0.03)
        if how == "killed" and key == keys[1]:
            time.sleep(0.5)
            os.kill(os.getpid(), 9)
        if how == "raises" and key == keys[1]:
            import atexit
            atexit.register(display.stop, False)
            raise SystemExit("ERR of a script")
    for k in range(6):
        with display.lock:
            board.current.begins(number, time.time(), "job")
            board.current.ends(number, time.time())
        number += 1
        print(f"job {number} has ended", file=sys.stderr if number % 2 else sys.stdout)
    # jobs are processes, and may write a line in pieces
    pieces = "printf 'job of '; sleep 0.05; echo 'a child'; printf %0150d 0 | tr 0 x; echo"
    subprocess.run(["sh", "-c", pieces], stdout=2)
display.stop(False)
print("END")
"""


def shown_by(tmp_path, how="ends", columns=80, sizes=(), **variables):
    """Return all pictures of a run of six devices, and the terminal."""
    script = tmp_path / "run.py"
    script.write_text(RUN, encoding="utf-8")
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    environment |= {"TMPDIR": str(tmp_path), **variables}
    # the workflow engine's process runs in the folder of the configuration
    command = ["sh", "-c", f"cd {ROOT} && exec {sys.executable} {script} {how} {tmp_path}/results"]
    terminal = Terminal(command, environment, columns)
    pictures, sizes = [], list(sizes)
    for picture in terminal.pictures(60):
        pictures.append(picture)
        if sizes and len(pictures) % 8 == 0:
            terminal.resize(sizes.pop(0))
    return pictures, terminal


WRAPPED = re.compile(r"[\w ,…]{1,30}left")
"""End of the line on the run, where it is too long."""

MARKS = ("gpu", "device  ", "edits,", "job ", "xx", "ERR", "END")
"""Each text on the screen has one of these, once."""


def texts(line):
    """Return the number of texts that are in a line."""
    line = re.sub("x{2,}", "xx", line)
    return sum(line.count(mark) for mark in MARKS)


@pytest.mark.parametrize("columns, sizes", [(80, []), (200, [80, 200, 60]), (40, [200])])
def test_no_line_ever_holds_two_texts(tmp_path, columns, sizes):
    pictures, terminal = shown_by(tmp_path, columns=columns, sizes=sizes)
    assert terminal.status == 0
    assert len(pictures) > 10
    for picture in pictures:
        for line in filter(None, picture.lines):
            assert texts(line) <= 1, picture.text
            # a picture that is on its way when the window becomes narrower is wrapped
            assert texts(line) == 1 or sizes or WRAPPED.fullmatch(line), picture.text
    assert any(picture.text.count("gpu") == 6 for picture in pictures)


def test_columns_fit_where_names_have_double_width(tmp_path):
    pictures, _ = shown_by(tmp_path)
    seen = 0
    for picture in pictures:
        rows = [line for line in picture.lines if "物" in line or "社" in line]
        assert len({line.index(" of ") for line in rows}) <= 1, picture.text
        assert all(len(line) < 80 for line in rows)
        seen += len(rows)
    assert seen > 10


@pytest.mark.parametrize("how", ["ends", "raises", "killed"])
def test_the_terminal_is_left_clean(tmp_path, how):
    pictures, terminal = shown_by(tmp_path, how)
    last = pictures[-1]
    assert terminal.status == {"ends": 0, "raises": 1, "killed": -9}[how]
    assert not last.hidden
    line, column = last.cursor
    assert column == 0
    assert not last.lines[line]
    if how != "killed":
        assert "edits," not in last.text
        assert last.lines[line - 1] == {"ends": "END", "raises": "ERR of a script"}[how]


def test_every_line_that_was_printed_is_there_whole(tmp_path):
    _, terminal = shown_by(tmp_path)
    kept = [*terminal.screen.history.top, *(terminal.screen.buffer[y] for y in range(30))]
    lines = ["".join(row[x].data for x in range(80)).rstrip() for row in kept]
    assert [line for line in lines if line.endswith("has ended")] == [
        f"job {number} has ended" for number in range(1, 31)
    ]
    assert lines.count("job of a child") == 5
    assert sum(set(line) == {"x"} for line in lines) == 10


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_in_which_nothing_can_be_redrawn_gets_plain_lines(tmp_path, variables):
    pictures, terminal = shown_by(tmp_path, **variables)
    assert b"\x1b" not in terminal.raw
    assert "gpu" not in pictures[-1].text
    assert "job 30 has ended" in pictures[-1].text


def test_a_terminal_that_tells_no_size_is_not_one_in_which_nothing_fits():
    master, slave = os.openpty()
    try:
        assert tuple(os.get_terminal_size(slave)) == (0, 0)
        console = Console()
        display._size(console, slave)
        assert tuple(console.size) == (80, 24)
    finally:
        os.close(master)
        os.close(slave)


def test_no_color_has_no_colors(tmp_path):
    _, terminal = shown_by(tmp_path, NO_COLOR="1")
    assert b"gpu" in terminal.raw
    assert not re.search(rb"\x1b\[[\d;]*3\d[;\d]*m", terminal.raw)


def test_a_script_that_fails_is_said_to_in_its_own_words_alone():
    script = f"{ROOT}/.snakemake/scripts/tmpqgfc0udw.edit_shard.py"
    failed = (
        f'RuleException:\nCalledProcessError in file "{ROOT}/rules/edit.smk", line 26:\n'
        f"Command 'set -euo pipefail;  python {script}' "
    )
    for end in ("returned non-zero exit status 1.", "died with <Signals.SIGINT: 2>."):
        assert plugin.OF_SCRIPT.fullmatch(failed + end)
    assert not plugin.OF_SCRIPT.fullmatch(failed.replace("/scripts/", "/other/"))
