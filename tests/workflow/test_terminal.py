"""A run in a terminal, as a person sees it."""

import json
import re

from tests.pseudo_terminal import Terminal
from tests.workflow.conftest import judge_by_files, make

JOB = r"\d\d:\d\d:\d\d [a-z][^:]*( in [\d.]+ s)?"
DEVICE = r"cpu[01] +(idle|loading|editing|judging)(  .*)?"
KNOWN = [
    "Using workflow specific profile .*",
    r"\d+ jobs: .*",
    "prepare: .* rejected",
    "  .*",
    r"plan of \w+: \d+ samples in 2 categories, 2 devices, in lockstep, \d+ waves",
    f"({JOB})",
    f"({DEVICE})",
    "device  does .*",
    r"\d+ of (\d+|…) edits, \d+ of (\d+|…) judgements, \d+ failed, (… left|about \d+ \w+ left)",
    r"\d+ of (\d+|…) edits, \d+ failed, (… left|about \d+ \w+ left)",
    "(tabulating|writing|reading) .*",
    r"\d\d:\d\d:\d\d report ready: results/report/report.html",
    "Elapsed time: .*",
    "stopping; an image in hand is saved first",
    "interrupted, run again to go on",
    r"\^C",
]
"""Lines of a run, each whole."""

ONCE = r"\d\d:\d\d:\d\d|cpu\d +(?:idle|loading|editing|judging)|edits,"


def check(picture):
    for line in filter(None, picture.lines):
        text = line.replace("\0", "")
        assert any(re.fullmatch(one, text) for one in KNOWN), f"{text!r} in\n{picture.text}"
        assert len(re.findall(ONCE, text)) <= 1, picture.text


def test_a_run_on_two_slots_is_shown_by_one_display_and_can_be_interrupted(tmp_path, models):
    # so many that the run is not over before Ctrl-C comes
    workflow = make(tmp_path, models, 8)
    workflow.config["benchmark"]["categories"] = ["physical", "social"]
    judge_by_files(workflow)
    environment = {**workflow.environment(), "TERM": "xterm", "PYTHONUTF8": "1"}
    environment.pop("COLUMNS")
    # the lines of this run are short
    terminal = Terminal(workflow.command(), environment, 120)
    pressed = False
    for picture in terminal.pictures(240):
        check(picture)
        if not pressed and re.search(r"cpu0 +(loading|editing)", picture.text):
            terminal.press(b"\x03")
            pressed = True
    assert pressed
    assert terminal.status != 0
    written = picture.text.split("\n")
    assert written[picture.cursor[0] - 1] == "interrupted, run again to go on"
    assert (picture.cursor[1], picture.hidden) == (0, False)
    told = json.loads((workflow.results / "progress.json").read_text(encoding="utf-8"))
    assert (told["state"], told["seconds_left"], told["jobs"]["failed"]) == ("interrupted", None, 0)

    terminal = Terminal(workflow.command(), environment, 200)
    seen, wide = set(), True
    for number, picture in enumerate(terminal.pictures(240)):
        check(picture)
        seen |= set(re.findall(r"cpu\d +([a-z]+)", picture.text))
        if number % 25 == 24:
            wide = not wide
            terminal.resize(200 if wide else 120)
    assert terminal.status == 0, picture.text
    assert {"loading", "editing", "judging"} <= seen
    assert "cpu0" not in picture.text.replace("  cpu0     ", "")
    assert (picture.cursor[1], picture.hidden) == (0, False)
    told = json.loads((workflow.results / "progress.json").read_text(encoding="utf-8"))
    assert told["state"] == "finished"
    assert told["edits"] == {"done": 16, "of": 16, "failed": 0}
    assert told["judgements"] == {"done": 16, "of": 16, "failed": 0}


def test_a_quiet_run_draws_nothing_and_writes_its_progress(tmp_path, models):
    workflow = make(tmp_path, models, 1)
    workflow.config["benchmark"]["categories"] = ["physical"]
    workflow.config["editors"] = [{"name": "same", "type": "identity"}]
    judge_by_files(workflow)
    terminal = Terminal(workflow.command("--quiet"), {**workflow.environment(), "TERM": "xterm"})
    pictures = list(terminal.pictures(240))
    assert terminal.status == 0, pictures[-1].text
    assert b"\x1b[2K" not in terminal.raw
    assert "edits," not in pictures[-1].text
    told = json.loads((workflow.results / "progress.json").read_text(encoding="utf-8"))
    assert (told["state"], told["edits"]["done"], told["judgements"]["done"]) == ("finished", 1, 1)
