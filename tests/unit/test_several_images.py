"""Samples with several source images or a reference: keys, prompts, and what the judge sees."""

import pytest
from PIL import Image

from lockstep import records
from lockstep.judges.protocol import Pair
from lockstep.records import Picture
from lockstep.records.keys import _reference, _source
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT

PICTURE = Picture(image="x.png", sha256="1" * 64, width=8, height=8)
RUBRIC = read_rubric(ROOT / "config" / "rubrics" / "viescore.yaml")


def keys(sample):
    return records.edit_key(sample, {}, 0), records.score_key(sample, "pixels", {}, {})


def with_(sample, **fields):
    return sample.model_copy(update=fields)


def test_every_source_image_decides_the_edit_and_the_score(sample):
    one = keys(with_(sample, more=[PICTURE]))
    other = keys(with_(sample, more=[PICTURE.model_copy(update={"sha256": "2" * 64})]))
    twice = keys(with_(sample, more=[PICTURE, PICTURE]))
    for kind in (0, 1):
        assert len({keys(sample)[kind], one[kind], other[kind], twice[kind]}) == 4


def test_a_reference_decides_the_score_and_not_the_edit(sample):
    edit, score = keys(with_(sample, reference=PICTURE))
    assert edit == keys(sample)[0]
    assert score != keys(sample)[1]


def test_the_background_counts_if_any_source_is_transparent(sample):
    clear = PICTURE.model_copy(update={"transparent": True})
    found = {keys(with_(sample, more=[clear], background=colour)) for colour in ("#000000", "#fff")}
    assert len(found) == 2


def test_a_plain_sample_keeps_its_keys(sample):
    """Edits of earlier versions stay what they are."""
    assert _source(sample) == {"image": sample.image_sha256}
    assert _reference(sample) == {}


@pytest.mark.parametrize(
    ("more", "reference", "told"),
    [
        (0, False, ""),
        (1, False, "source image 1, source image 2, the edited image."),
        (
            0,
            True,
            "the source image, a reference (what a correct edit looks like; it is not judged)",
        ),
        (2, True, "source image 3, a reference"),
    ],
)
def test_the_judge_is_told_what_each_image_is_in_the_order_in_which_it_sees_them(
    sample, more, reference, told
):
    given = with_(sample, more=[PICTURE] * more, reference=PICTURE if reference else None)
    prompt = RUBRIC.prompt(given)
    assert told in prompt
    assert prompt.startswith("You see, in this order: ") == bool(told)
    images = [Image.new("RGB", (n + 1, 1)) for n in range(5)]
    pair = Pair(
        id="a",
        editor="e",
        source=images[0],
        edited=images[4],
        rubric=RUBRIC,
        prompt=prompt,
        more=images[1 : 1 + more],
        reference=images[3] if reference else None,
    )
    seen = [image.width for image in pair.shown]
    assert seen == [1, *range(2, 2 + more), *([4] if reference else []), 5]
