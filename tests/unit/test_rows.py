"""Sequences on disk, and jobs whose memory does not grow with the number of samples."""

import base64
import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep import records
from lockstep.benchmark import intake
from lockstep.benchmark.items import Item
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.editing.waves import Barrier
from lockstep.errors import DamagedError
from lockstep.records.rows import aside, lines
from tests.unit.test_benchmark import encoded
from tests.unit.test_editing import edit, manifest


@given(st.lists(st.one_of(st.none(), st.binary(), st.text(), st.lists(st.integers()))))
def test_what_is_put_aside_comes_back_in_any_order(values):
    kept = aside(iter(values))
    assert list(kept) == values
    places = range(-len(values), len(values))
    assert [kept[place] for place in places] == [values[place] for place in places]
    assert (kept[1:], kept[::-2], kept[:-9]) == (values[1:], values[::-2], values[:-9])
    for outside in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            kept[outside]


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b""))))
def test_lines_are_those_of_the_file(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"".join(line + b"\n" for line in given))
    found = lines(path, lambda number, line: (number, line.rstrip(b"\n")))
    # whoever replaces the file leaves the one that is open
    records.write_bytes(path, b"another")
    assert list(found) == list(enumerate(given))


def test_several_threads_read_at_a_time():
    values = [str(number) * 1000 for number in range(300)]
    kept = aside(values)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(kept.__getitem__, range(300))) == values


def test_a_broken_line_is_told_when_it_is_read(tmp_path):
    path = manifest(tmp_path, 3)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + whole[1][:50] + b"\n" + whole[2])
    samples = records.read_manifest(path)
    assert (len(samples), samples[2].id) == (3, "s2")
    with pytest.raises(DamagedError, match=r"physical\.jsonl: found a broken line 2"):
        samples[1]


def living():
    """Return how many records there are in memory."""
    return sum(isinstance(value, records.Record) for value in gc.get_objects())


@pytest.mark.parametrize("cached", [False, True])
def test_an_edit_job_holds_a_few_records_at_a_time(tmp_path, monkeypatch, cached):
    manifest(tmp_path, 40)
    if cached:
        edit(tmp_path)
    # the last edit is missing, so that all waves are gone through
    (tmp_path / "physical" / "images" / "s39.png").unlink(missing_ok=True)
    held, others = [], living()
    finish = Barrier.finish

    def note(self, wave, seconds):
        if wave in (0, 20, 39):
            held.append(living())
        finish(self, wave, seconds)

    monkeypatch.setattr(Barrier, "finish", note)
    edit(tmp_path)
    assert len(held) == 3
    assert max(held) - others < 15


def test_ids_that_are_taken_do_not_lie_in_memory():
    settings = BenchmarkSettings(path="benchmark.json", format="re-edit")
    own = intake.Intake(settings, None)
    image = base64.b64decode(encoded(size=(2, 2)))

    def accept(numbers):
        for number in numbers:
            item = Item(f"{number:04}", "物理", "physical", "Let go.", [lambda: image])
            found = own.end(own.begin(number, item))
        return found

    accept(range(1000))
    tracemalloc.start()
    try:
        # Python keeps some freed objects for others of their kind
        accept(range(1000, 2000))
        before, _ = tracemalloc.get_traced_memory()
        accept(range(2000, 3000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 50_000
    assert "expected each id once, found '0000' a second time" in accept([0]).reason
