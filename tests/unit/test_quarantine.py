"""Images that are made to harm their decoder end it, and nothing else."""

import io
import os
import signal

import pytest
from PIL import Image

from lockstep.errors import SampleError
from lockstep.foreign import quarantine
from lockstep.foreign.images import verify_image
from lockstep.foreign.quarantine import Quarantine
from tests import formats
from tests.unit.test_hostile import scans

GOOD = formats.draw(0)


def slow(mode="L"):
    """Return a JPEG whose scans are few enough, and its picture so large that they take long."""
    return scans(100, Image.new(mode, (6000, 6000)))


def test_answers_are_those_of_the_decoder_in_the_order_of_the_questions():
    given = [GOOD, b"no image", formats.draw(1, form="JPEG"), GOOD[:200]]
    apart = Quarantine()
    for data in given:
        apart.ask(data, 10**6)
    for data in given:
        try:
            expected = verify_image(data, 10**6)
        except SampleError as error:
            with pytest.raises(SampleError) as found:
                apart.answer()
            assert str(found.value) == str(error)
        else:
            assert apart.answer() == expected


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_that_takes_too_long_is_ended_and_the_others_go_on(monkeypatch, mode):
    monkeypatch.setattr(quarantine, "SECONDS", 0.5)
    apart = Quarantine()
    for data in (GOOD, slow(mode), GOOD, GOOD):
        apart.ask(data)
    assert apart.answer().width == 96
    with pytest.raises(SampleError, match=r"expected an image that decodes within 0.5 s, found"):
        apart.answer()
    assert [apart.answer().width for _ in range(2)] == [96, 96]
    apart.ask(GOOD)
    assert apart.answer().width == 96


def test_who_allows_more_pixels_allows_more_time():
    assert quarantine._seconds(1) == quarantine._seconds(64_000_000) == quarantine.SECONDS
    assert quarantine._seconds(65_000_000) == 2 * quarantine.SECONDS


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_decoder_that_somebody_ends_is_no_fault_of_the_image(number):
    apart = Quarantine()
    apart.ask(GOOD)
    apart.answer()
    os.kill(apart._process.pid, number)
    apart.ask(GOOD)
    assert apart.answer().width == 96


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_asked_to_end_keeps_its_decoder(number):
    apart = Quarantine()
    apart.ask(GOOD)
    apart.answer()
    os.kill(apart._process.pid, number)
    apart.ask(GOOD)
    first = apart._process.pid
    assert apart.answer().width == 96
    assert apart._process.pid == first


def test_an_image_that_ends_its_decoder_each_time_is_told(monkeypatch):
    code = "import os, sys; sys.stdin.buffer.read(24); os.kill(os.getpid(), 11)"
    apart = Quarantine()
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "CODE", code)
        apart.ask(GOOD)
        with pytest.raises(SampleError, match=r"found one that ends its decoder \(code -11\)"):
            apart.answer()
    apart.ask(GOOD)
    assert apart.answer().width == 96


def test_an_image_that_takes_too_much_memory_is_told(monkeypatch):
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(buffer, "PNG")
    little = "from lockstep.foreign import quarantine as q; q.MEMORY, q.PER_PIXEL = 90_000_000, 0; "
    code = quarantine.CODE.replace(quarantine.MAIN, little + quarantine.MAIN)
    monkeypatch.setattr(quarantine, "CODE", code)
    apart = Quarantine()
    apart.ask(buffer.getvalue())
    with pytest.raises(SampleError, match="decodes in the memory that its pixels need"):
        apart.answer()


def test_a_limit_of_the_system_on_memory_stays(monkeypatch):
    limited = "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**31, 2**31)); "
    code = quarantine.CODE.replace(quarantine.MAIN, limited + quarantine.MAIN)
    monkeypatch.setattr(quarantine, "CODE", code)
    apart = Quarantine()
    for max_pixels in (1_000_000, 10**9, 1_000_000):
        apart.ask(GOOD, max_pixels)
        assert apart.answer().width == 96


def test_the_decoder_ends_with_who_asked():
    apart = Quarantine()
    apart.ask(GOOD)
    apart.answer()
    process = apart._process
    del apart
    assert process.returncode == -signal.SIGKILL
