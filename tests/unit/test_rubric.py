"""Rubrics, and what of a reply counts as a score."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.categories import CATEGORIES
from lockstep.errors import ReplyError, RubricError
from lockstep.rubric import parse_reply, read_rubric
from tests.conftest import ROOT

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
GOOD = {"instruction_following": 7, "physics": 3, "preservation": 10, "quality": 0}
OBJECT = json.dumps(GOOD)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_a_rubric(category, sample):
    rubric = read_rubric(ROOT / f"config/rubrics/{category}.yaml")
    assert rubric.category == category
    prompt = rubric.prompt(sample)
    for part in (sample.instruction, sample.description, sample.rationale):
        assert part in prompt
    for criterion in rubric.criteria:
        assert criterion.anchors[5] in prompt
        assert f'"{criterion.name}": <0-10>' in prompt


def test_the_score_is_the_weighted_mean():
    weights = {criterion.name: criterion.weight for criterion in RUBRIC.criteria}
    expected = sum(weights[name] * value for name, value in GOOD.items()) / sum(weights.values())
    assert RUBRIC.score(GOOD) == pytest.approx(expected)
    assert RUBRIC.score(dict.fromkeys(GOOD, 10)) == 10
    assert RUBRIC.score(dict.fromkeys(GOOD, 0)) == 0


@pytest.mark.parametrize(
    "reply",
    [
        OBJECT,
        f"The ball fell.\n{OBJECT}",
        f"The ball fell.\n```json\n{json.dumps(GOOD, indent=2)}\n```",
        f"{OBJECT}\nThat is all.",
        f"{OBJECT} {OBJECT}",
        f"A set {{1, 2}} of things. {OBJECT}",
    ],
)
def test_a_valid_object_is_a_score_whatever_stands_around_it(reply):
    assert parse_reply(reply, RUBRIC).criteria == GOOD


def test_the_text_before_the_object_is_the_reasoning():
    reply = f"The ball fell.\n```json\n{OBJECT}\n```"
    assert parse_reply(reply, RUBRIC).reasoning == "The ball fell."


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   ",
        "7",
        "Score: 85",
        "8/10",
        "on a 0-10 scale I give 7",
        "8.0 … 7.0 => 7.5",
        "I cannot help with that.",
        "null",
        "[]",
        "{}",
        "{" * 3000,
        OBJECT[:-1],
        OBJECT.replace("7", "7.0"),
        OBJECT.replace("7", "7.5"),
        OBJECT.replace("7", '"7"'),
        OBJECT.replace("7", "-3"),
        OBJECT.replace("7", "11"),
        OBJECT.replace("7", "true"),
        OBJECT.replace("7", "null"),
        OBJECT.replace("7", "NaN"),
        OBJECT.replace("7", "[7]"),
        OBJECT.replace("7", "1e400"),
        OBJECT.replace("7", "<0-10>"),
        OBJECT.replace("physics", "Physics"),
        OBJECT.replace("physics", "quality"),
        OBJECT.replace("}", ', "score": 9}'),
        json.dumps({k: v for k, v in GOOD.items() if k != "physics"}),
        json.dumps({"scores": GOOD}),
        json.dumps([GOOD, 1])[1:-1].replace('"', "'"),
        f"{OBJECT} or rather {OBJECT.replace('7', '8')}",
        f'Example: {OBJECT} my answer: {{"physics": 1}}',
        f"{OBJECT} Correction: {OBJECT.replace('7', '11')}",
        f'{{"physics": 1}} {OBJECT}',
        f"{OBJECT} {{}}",
    ],
)
def test_what_holds_no_valid_score_is_an_error_and_never_a_number(reply):
    with pytest.raises(ReplyError):
        parse_reply(reply, RUBRIC)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="{")))
def test_no_text_without_an_object_yields_a_score(reply):
    with pytest.raises(ReplyError):
        parse_reply(reply, RUBRIC)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "score", "x"]),
        st.one_of(st.integers(-5, 15), st.floats(), st.booleans(), st.text(), st.none()),
    )
)
def test_an_object_counts_exactly_if_it_is_complete_and_in_range(value):
    valid = set(value) == set(GOOD) and all(type(v) is int and 0 <= v <= 10 for v in value.values())
    if valid:
        assert parse_reply(json.dumps(value), RUBRIC).criteria == value
    else:
        with pytest.raises(ReplyError):
            parse_reply(json.dumps(value), RUBRIC)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: ", "wieght: ", "wieght"),
        ("name: quality", "name: score", "a column of the tables"),
        ("name: quality", "name: physics", "a criterion twice"),
        ("      5: ", "      6: ", "no anchor for"),
        ("maximum: 10", "maximum: 100", "maximum"),
        ("{{ instruction }}", "{{ instruction", "template|expected"),
        ("category: physical", "category: [", "physical.yaml"),
        ("category: physical", "category: social", "accepted is the file's name"),
        ("{{ instruction }}", "{{ instrution }}", "'instrution' is undefined"),
    ],
)
def test_a_broken_rubric_is_one_clear_error(tmp_path, old, new, message):
    text = (ROOT / "config/rubrics/physical.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "physical.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RubricError, match=message):
        read_rubric(path)


def test_the_hash_follows_the_text_and_not_its_layout(tmp_path):
    text = (ROOT / "config/rubrics/physical.yaml").read_text(encoding="utf-8")
    path = tmp_path / "physical.yaml"
    path.write_text("# a comment\n" + text, encoding="utf-8")
    assert read_rubric(path).sha256 == RUBRIC.sha256
    path.write_text(text.replace("weight: 4", "weight: 6"), encoding="utf-8")
    assert read_rubric(path).sha256 != RUBRIC.sha256
