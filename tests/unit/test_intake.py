"""Any number of processes that decode images writes the same bytes and tells the same."""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import BenchmarkError
from lockstep.foreign import quarantine
from tests import formats
from tests.unit.test_hostile import scans

SLOW = scans(100, Image.new("L", (6000, 6000)))


@pytest.fixture(autouse=True)
def many_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def draw(number):
    """Return an image of which the earlier ones take longer, so that they would come in last."""
    return formats.draw(number, (1200, 900) if number % 4 == 0 else (96, 64))


def harmful(number):
    return {3: b"no image", 5: draw(5)[:2000], 6: SLOW, 9: draw(8)}.get(number) or draw(number)


def as_it_is(folder):
    pass


def broken_behind(folder):
    path = folder / "benchmark.json"
    path.write_bytes(path.read_bytes()[:-40])


def twice(folder):
    path = folder / "benchmark.json"
    path.write_text(path.read_text().replace("/00010_", "/00002_").replace("/00007_", "/00006_"))


CASES = {
    "good": ("re-edit", {}, draw, {}, as_it_is),
    "bad images": ("re-edit", {}, harmful, {}, as_it_is),
    "ids twice": ("re-edit", {}, harmful, {}, twice),
    "a limit": ("re-edit", {}, harmful, {"limit": 2}, as_it_is),
    "a limit before it is broken": ("re-edit", {}, draw, {"limit": 2}, broken_behind),
    "strict": ("re-edit", {}, harmful, {"strict": True}, broken_behind),
    "broken": ("re-edit", {}, draw, {}, broken_behind),
    "categories left out": ("re-edit", {}, draw, {"categories": ["causal", "social"]}, as_it_is),
    "several sources": ("kris", {}, harmful, {}, as_it_is),
    "references": ("uniredit", {}, harmful, {}, as_it_is),
    "parquet": ("gedit", {}, harmful, {}, as_it_is),
    "zip": ("imgedit", {"archive": "zip"}, harmful, {}, as_it_is),
    "tar": ("imgedit", {"archive": "tar"}, harmful, {"limit": 1}, as_it_is),
}


def prepared(settings, folder, processes):
    """Return all that a run says and writes."""
    try:
        said = repr(intake.prepare(settings, folder, processes))
    except BenchmarkError as error:
        said = str(error)
    paths = filter(Path.is_file, folder.rglob("*"))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}
    shutil.rmtree(folder)
    return said, files


@pytest.mark.parametrize("case", CASES)
def test_bytes_and_messages_are_those_of_one_sample_after_the_other(case, tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "SECONDS", 0.3)
    name, variant, images, settings, change = CASES[case]
    made = formats.MAKERS[name](tmp_path / "given", 16, draw=images, **variant)
    change(tmp_path / "given")
    settings = BenchmarkSettings(**made.settings, **settings)
    with monkeypatch.context() as patched:
        patched.setattr(intake, "AHEAD", 0)
        expected = prepared(settings, tmp_path / "manifest", 1)
    assert expected[1]
    for processes in (1, 2, 5):
        assert prepared(settings, tmp_path / "manifest", processes) == expected


def test_no_more_processes_than_processors_and_than_are_allowed(monkeypatch):
    settings = BenchmarkSettings(path="benchmark.json", format="re-edit")
    assert intake.Intake(settings, None).processes == 8
    assert intake._processes(16) == 8
    assert intake._processes(3) == 3


def test_memory_is_bounded_whatever_the_size_of_images(tmp_path, monkeypatch):
    most = []
    begin = intake.Intake.begin

    def watched(own, position, item):
        waiting = begin(own, position, item)
        most.append(own.holds([waiting] * 2))
        return waiting

    monkeypatch.setattr(intake.Intake, "begin", watched)
    monkeypatch.setattr(intake, "AHEAD_BYTES", 2000)
    made = formats.re_edit(tmp_path / "given", 8, draw=lambda n: draw(n) + bytes(3000))
    intake.prepare(BenchmarkSettings(**made.settings), tmp_path / "manifest", 2)
    assert all(most)


def test_the_run_hears_how_far_it_is_and_a_log_says_so_now_and_then(tmp_path, monkeypatch, caplog):
    made = formats.re_edit(tmp_path / "given", 6)
    settings, heard = BenchmarkSettings(**made.settings), []
    monkeypatch.setattr(intake.progress, "note", heard.append)
    caplog.set_level(logging.INFO, "lockstep.benchmark.intake")
    intake.prepare(settings, tmp_path / "manifest", 2)
    assert not caplog.messages
    monkeypatch.setattr(intake, "EVERY", 0)
    monkeypatch.setattr(intake, "OFTEN", 0)
    heard.clear()
    intake.prepare(settings, tmp_path / "manifest", 2)
    assert sum(heard) == 6
    assert caplog.messages == [f"{number} samples read" for number in range(1, 7)]


def test_no_decoder_outlives_a_job_that_is_killed(tmp_path):
    image = scans(100, Image.new("L", (2000, 2000)))
    made = formats.re_edit(tmp_path / "given", 8, draw=lambda number: image + bytes([number]))
    code = (
        "from lockstep.benchmark import intake, settings; import os; "
        "os.sched_getaffinity = lambda pid: {0, 1, 2}; "
        f"own = settings.BenchmarkSettings(path={made.settings['path']!r}); "
        f"intake.prepare(own, {str(tmp_path / 'manifest')!r})"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    decoders = []
    while len(decoders) < 3 and job.poll() is None:
        decoders = psutil.Process(job.pid).children()
        time.sleep(0.01)
    assert len(decoders) == 3
    job.kill()
    job.wait()
    _, alive = psutil.wait_procs(decoders, timeout=60)
    assert not alive
