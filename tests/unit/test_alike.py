"""Failures that all samples share end their job; those of single samples never do."""

from unittest import mock

import pytest
from PIL import Image

from lockstep import records
from lockstep.devices.device import Device
from lockstep.errors import EditError, SharedError
from lockstep.judges import keys
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.protocol import Judgement
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import alike
from lockstep.records.alike import FEW, Watch
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import judgements
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging
from tests.conftest import ROOT, make_sample
from tests.unit.test_editing import edit, manifest
from tests.unit.test_stages import FakeEditor, running

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
REPLY = "{" + ", ".join(f'"{name}": 7' for name in RUBRIC.names) + "}"


WRONG = TypeError("'str' object is not a number")


def failing(*numbers, error=WRONG):
    """Return an editor that fails samples of these numbers."""

    def fail(number):
        if number in numbers:
            raise error(number) if callable(error) else error

    return FakeEditor(edit=fail)


def edited(editor):
    return [number for kind, number in editor.calls if kind == "edit"]


def test_edits_that_fail_alike_from_the_first_end_their_job(tmp_path):
    manifest(tmp_path, 9)
    editor = failing(*range(9))
    sentence = f"{FEW} samples in a row failed alike .*: TypeError: 'str' object is not a number"
    with running(editor), pytest.raises(SharedError, match=sentence):
        edit(tmp_path)
    assert edited(editor) == list(range(FEW))
    assert not list((tmp_path / "physical").glob("edits/*.jsonl"))


def test_numbers_in_an_error_do_not_keep_it_from_being_alike(tmp_path):
    manifest(tmp_path, 9)
    editor = failing(
        *range(9), error=lambda number: EditError(f"out of memory, tried {1.5 * number} GiB")
    )
    with running(editor), pytest.raises(SharedError, match="out of memory"):
        edit(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        (range(1, 9), TypeError("all but the first")),
        (range(FEW - 1), TypeError("too few")),
        (range(9), lambda number: EditError(f"folder: found no image of sample 's{number}'")),
        (range(9), lambda number: EditError("even" if number % 2 else "odd")),
    ],
    ids=["one succeeded", "too few", "each names its sample", "not alike"],
)
def test_failures_of_single_samples_never_end_a_job(tmp_path, numbers, error):
    manifest(tmp_path, 9)
    editor = failing(*numbers, error=error)
    with running(editor):
        found = edit(tmp_path)
    assert [r.status == "edit_failed" for r in found] == [number in numbers for number in range(9)]


def test_what_is_in_the_cache_has_succeeded(tmp_path):
    manifest(tmp_path, 9)
    with running(failing(*range(1, 9), error=lambda number: EditError(f"of 's{number}'"))):
        edit(tmp_path)
    editor = failing(*range(9))
    with running(editor):
        found = edit(tmp_path)
    assert [record.status for record in found] == ["ok", *["edit_failed"] * 8]
    assert edited(editor) == list(range(1, 9))


def test_a_job_with_fewer_samples_than_a_few_goes_on(tmp_path):
    manifest(tmp_path, FEW - 1)
    with running(failing(*range(9))):
        found = edit(tmp_path)
    assert {record.status for record in found} == {"edit_failed"}


def test_edits_of_many_small_shards_that_all_failed_alike_make_no_table():
    failed = [(f"s{i}", "edit_failed", f"TypeError: {i} too many") for i in range(FEW)]
    sentence = (
        f"e/physical: all {FEW} edits failed alike: TypeError: .*--forcerun edit` to the command"
    )
    with pytest.raises(SharedError, match=sentence):
        alike.check_edits("e/physical", failed)
    own = [(name, status, f"no image of {name!r}") for name, status, _ in failed]
    for fine in (
        failed[1:],
        own,
        [*failed, ("x", "ok", None)],
        [*failed, ("x", "edit_failed", "another")],
        [(name, "judge_failed", "refused") for name, *_ in failed],
        [],
    ):
        alike.check_edits("e/physical", fine)


# --- judgements -------------------------------------------------------------------------------


class FakeJudge:
    """Judges as told by number, and writes down what it was asked."""

    def __init__(self, answer):
        self.asked = []
        self._answer = answer

    def fitting(self):
        return 4

    def judge(self, pairs):
        self.asked += [pair.id for pair in pairs]
        return [self._answer(int(pair.id.removeprefix("s"))) for pair in pairs]


def judge(folder, answer, count=9, size=1, copies=1, settings=None):
    settings = settings or Qwen3VLSettings(
        type="qwen3_vl", model="a/b", batch_size=size, use_batch_inference=size > 1
    )
    source = make_sample(folder)
    edits = folder / "e.png"
    image = Image.new("RGB", (8, 8))
    image.save(edits)
    job = Judging(settings, keys.identity(settings), RUBRIC, "e")
    items = [
        judgements.item(
            job,
            source.model_copy(update={"id": f"s{number}"}),
            edits,
            records.pixels_sha256(image),
            folder / f"{number}-{copy}.json",
            seed=copy if copies > 1 else None,
        )
        for number in range(count)
        for copy in range(copies)
    ]
    fake = FakeJudge(answer)
    with (
        open("/dev/null", "w") as nowhere,
        mock.patch.object(judgements, "_judge_on") as on,
        mock.patch.object(judgements, "look_up", side_effect=lambda item: None),
    ):
        on.return_value.__enter__.return_value = fake
        place = Place([[Device("cpu", "0")]], 0, "score", nowhere)
        return fake, judgements.judge_missing(settings, items, place)


def raising(number):
    raise ValueError("this processor does not have a chat template")


@pytest.mark.parametrize("size", [1, 4])
def test_judgements_that_fail_alike_from_the_first_end_their_job(tmp_path, size):
    with pytest.raises(SharedError, match=r"failed alike .*: ValueError: this processor does not"):
        judge(tmp_path, raising, size=size)


def test_a_judge_that_gives_no_numbers_at_all_ends_its_job(tmp_path):
    def answer(number):
        return Judgement(None, error="the model gave no numbers, try another judge.dtype")

    with pytest.raises(SharedError, match="the model gave no numbers"):
        judge(tmp_path, answer, size=4)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(
    "answer",
    [
        lambda number: Judgement("no score at all"),
        lambda number: Judgement(REPLY) if number in (0, 3) else raising(number),
        lambda number: (
            Judgement(REPLY if number == 3 else None, "x" if number != 3 else None)
            if number
            else Judgement(REPLY)
        ),
    ],
    ids=["what it says", "one succeeded", "one in the batch succeeded"],
)
def test_a_judge_that_answers_goes_on(tmp_path, answer, size):
    fake, done = judge(tmp_path, answer, size=size)
    assert len(done) == 9
    assert set(fake.asked) == {f"s{number}" for number in range(9)}


def test_one_sample_that_is_judged_several_times_is_one(tmp_path):
    def answer(number):
        return Judgement(REPLY) if number else raising(number)

    _, done = judge(tmp_path, answer, copies=5)
    assert sum(record.status == "judge_failed" for record in done.values()) == 5


def test_a_file_that_lacks_samples_is_no_fault_of_all(tmp_path):
    settings = PrecomputedJudgeSettings(type="precomputed", folder="replies")

    def answer(number):
        return Judgement(None, error="found no row of this sample")

    _, done = judge(tmp_path, answer, settings=settings)
    assert {record.status for record in done.values()} == {"judge_failed"}


def test_a_sample_with_a_name_like_a_word_is_found_as_a_word():
    watch = Watch(succeeded=False)
    for sample in ("a", "b"):
        watch.failed(sample, "an abrupt end")
    with pytest.raises(SharedError):
        watch.failed("c", "an abrupt end")
    watch = Watch(succeeded=False)
    for sample in ("a.1", "(b", "c"):
        watch.failed(sample, f"no image {sample}.png")
