"""Rubrics: what is asked, and how a score follows from what is given."""

import itertools
import math
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lockstep import records
from lockstep.benchmark.categories import CATEGORIES
from lockstep.errors import RubricError
from lockstep.records import Sample
from lockstep.rubrics import combine
from lockstep.rubrics.combine import combined, uncertainty
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.rubric import ANCHORS, Rubric, read_rubric
from tests.conftest import ROOT

FOLDER = ROOT / "config" / "rubrics"
RUBRIC = read_rubric(FOLDER / "physical.yaml")
VIESCORE = read_rubric(FOLDER / "viescore.yaml")
SHIPPED = [*CATEGORIES, "viescore"]

values = st.floats(0, 10)


def changed(**fields):
    """Return the rubric of physical edits with other fields."""
    return Rubric.model_validate({**RUBRIC.model_dump(), **fields})


def criteria(*weights):
    anchors = dict.fromkeys(sorted(ANCHORS), "x")
    return [
        {"name": f"c{'abcdefgh'[n]}", "weight": weight, "question": "q", "anchors": anchors}
        for n, weight in enumerate(weights)
    ]


def given_to(rubric, *numbers):
    return dict(zip(rubric.names, numbers, strict=True))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_rubrics_ask_for_all_that_they_score(name, sample):
    rubric = read_rubric(FOLDER / f"{name}.yaml")
    assert rubric.category == (None if name == "viescore" else name)
    prompt = rubric.prompt(sample)
    assert sample.instruction in prompt
    if name != "viescore":
        assert sample.description in prompt
        assert sample.rationale in prompt
    for criterion in rubric.criteria:
        assert f"{criterion.name}: {criterion.question}" in prompt
        for value, meaning in criterion.anchors.items():
            assert f"  {value} = {meaning}\n" in prompt
    assert prompt.endswith(rubric.example)
    assert "reason" in prompt
    short = rubric.prompt(sample, reasoned=False)
    assert "reason" not in short
    assert short.endswith(f"Reply with one JSON object and nothing else:\n{rubric.example}")


@pytest.mark.parametrize("name", SHIPPED)
def test_an_untouched_copy_is_low_and_a_perfect_edit_ten(name):
    rubric = read_rubric(FOLDER / f"{name}.yaml")
    # nothing that was asked for, all else as good as in the source
    asked = {"viescore": ["editing_success"]}.get(name, rubric.names[:2])
    copy = {criterion: 0 if criterion in asked else 10 for criterion in rubric.names}
    assert combine.score(rubric, copy) <= 1
    assert combine.score(rubric, dict.fromkeys(rubric.names, 10)) == 10
    assert combine.score(rubric, dict.fromkeys(rubric.names, 0)) == 0


def test_the_weighted_mean_by_hand():
    rubric = changed(criteria=criteria(3, 1), caps=())
    assert combine.score(rubric, {"ca": 8, "cb": 4}) == 7


def test_the_geometric_mean_by_hand():
    rubric = changed(criteria=criteria(1, 1), combine="geometric_mean", caps=())
    assert combine.score(rubric, {"ca": 9, "cb": 4}) == pytest.approx(6)
    assert combine.score(rubric, {"ca": 10, "cb": 0}) == 0
    assert combine.score(rubric, {"ca": 10, "cb": 10}) == 10
    heavy = changed(criteria=criteria(3, 1), combine="geometric_mean", caps=())
    assert combine.score(heavy, {"ca": 9, "cb": 4}) == pytest.approx((9**3 * 4) ** 0.25)


@pytest.mark.parametrize("how", ["weighted_mean", "geometric_mean"])
def test_equal_values_are_the_score_whatever_the_weights(how):
    for weights in itertools.product((0.1, 0.3, 0.7, 0.9, 2), repeat=3):
        for value in range(11):
            assert combined(how, [(value, weight) for weight in weights]) == value


def test_the_minimum_knows_no_weights():
    rubric = changed(criteria=criteria(1, 100), combine="min", caps=())
    assert combine.score(rubric, {"ca": 2, "cb": 9}) == 2


def test_viescore_is_the_root_of_the_aspects_least_values():
    assert combine.score(VIESCORE, given_to(VIESCORE, 4, 9, 9, 6)) == pytest.approx(
        math.sqrt(4 * 6)
    )
    assert combine.score(VIESCORE, given_to(VIESCORE, 9, 0, 10, 10)) == 0


def test_a_cap_holds_below_its_value_and_the_lowest_counts():
    caps = [
        {"criterion": "ca", "below": 5, "score": 3},
        {"criterion": "ca", "below": 3, "score": 1},
    ]
    rubric = changed(criteria=criteria(1, 9), caps=caps)
    found = [combine.score(rubric, {"ca": value, "cb": 10}) for value in (0, 2, 3, 4, 5)]
    assert found == [1, 1, 3, 3, 9.5]
    assert combine.score(rubric, {"ca": 4, "cb": 0}) == pytest.approx(0.4)


@given(st.lists(values, min_size=4, max_size=4), st.integers(0, 3), st.floats(0, 10))
@pytest.mark.parametrize("rubric", [RUBRIC, VIESCORE], ids=["physical", "viescore"])
def test_a_score_lies_on_the_scale_and_no_better_value_lowers_it(rubric, found, place, more):
    score = combine.score(rubric, given_to(rubric, *found))
    assert 0 <= score <= 10
    found[place] = max(found[place], more)
    assert combine.score(rubric, given_to(rubric, *found)) >= score - 1e-9


def test_the_expected_score_of_sure_values_is_their_score():
    sure = [0.0] * 11
    sure[7] = 1.0
    probabilities = dict.fromkeys(RUBRIC.names, sure)
    assert combine.expected_score(RUBRIC, probabilities) == 7
    # half 6, half 10; what is put on valid values need not sum to 1
    torn = [0.0] * 6 + [0.2, 0, 0, 0, 0.2]
    weight = {c.name: c.weight for c in RUBRIC.criteria}
    expected = 7 + (8 - 7) * weight["physics"] / sum(weight.values())
    assert combine.expected_score(RUBRIC, {**probabilities, "physics": torn}) == pytest.approx(
        expected
    )
    # each least value is 10 in a quarter of all cases, else 6
    every = (10 + 2 * 3 * math.sqrt(60) + 9 * 6) / 16
    found = combine.expected_score(VIESCORE, dict.fromkeys(VIESCORE.names, torn))
    assert found == pytest.approx(every, abs=0.005)


def test_the_expected_score_does_not_jump_where_the_mean_passes_a_cap():
    # half of what is given as 2 and half as 10 is 6 on the mean, above both caps
    torn = [0.0] * 2 + [0.5] + [0.0] * 7 + [0.5]
    sure = [0.0] * 10 + [1.0]
    probabilities = {**dict.fromkeys(RUBRIC.names, sure), "instruction_following": torn}
    assert combine.expected_score(RUBRIC, probabilities) == 5.5


def torn_about_the_action(doubt):
    """Return the probabilities of a judge that is unsure whether the action was done at all."""
    sure = [0.0] * 7 + [1.0] + [0.0] * 3
    return {
        "instruction_following": [0, doubt, 0, 0, 0, 0, 0, 0, 1 - doubt, 0, 0],
        "physics": [0, 0, 0, 0, 0.8, 0.2, 0, 0, 0, 0, 0],
        "preservation": sure,
        "quality": sure,
    }


def score_of_means(probabilities):
    return combine.score(
        RUBRIC, {name: sum(v * p for v, p in enumerate(own)) for name, own in probabilities.items()}
    )


def test_the_expected_score_is_not_the_score_of_the_mean_values():
    torn = torn_about_the_action(0.28)
    assert round(score_of_means(torn), 2) == 5.59
    assert combine.expected_score(RUBRIC, torn) == 4.73
    # the mean passes the caps and the doubt does not, so the score of means is too high each time
    for percent in range(24, 34):
        torn = torn_about_the_action(percent / 100)
        assert 0.7 < score_of_means(torn) - combine.expected_score(RUBRIC, torn) < 1.2


def by_brute_force(rubric, probabilities, tags=()):
    """Return the expected score by adding up all combinations of values, one after the other."""
    total = 0.0
    for values in itertools.product(rubric.reply.values, repeat=len(rubric.names)):
        places = [rubric.reply.values.index(value) for value in values]
        share = math.prod(
            probabilities[name][place] / sum(probabilities[name])
            for name, place in zip(rubric.names, places, strict=True)
        )
        total += share * combine.score(rubric, dict(zip(rubric.names, values, strict=True)), tags)
    return total


RULES = {
    "caps": {
        "caps": [
            {"criterion": "ca", "below": 4, "score": 3},
            {"criterion": "cb", "below": 3, "score": 1},
        ]
    },
    "penalties": {
        "penalties": [
            {"criterion": "ca", "below": 2, "factor": 0.5},
            {"criterion": "cc", "below": 3, "factor": 0.25},
        ]
    },
    "bounded": {"at_most": {"cb": "ca", "cc": "ca"}},
    "tagged": {"weights_of_tag": {"free": {"cb": 3, "cc": 1}}},
    "all": {
        "caps": [{"criterion": "cb", "below": 3, "score": 2}],
        "penalties": [{"criterion": "cc", "below": 2, "factor": 0.5}],
        "at_most": {"cc": "ca"},
        "weights_of_tag": {"free": {"ca": 3, "cc": 1}},
    },
}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("how", ["weighted_mean", "geometric_mean", "min"])
def test_the_expectation_is_that_of_all_combinations(how, rules, monkeypatch):
    reply = {"type": "integer", "minimum": 1, "maximum": 5}
    anchors = dict.fromkeys(range(1, 6), "x")
    own = [{**c, "anchors": anchors} for c in criteria(1, 2.5, 0.7)]
    rubric = changed(criteria=own, combine=how, reply=reply, **{"caps": (), **RULES[rules]})
    generator = random.Random(f"{how} {rules}")
    for tags in ((), ("free",)):
        # as far from each other as a judge's may be, and some of them 0
        probabilities = {
            name: [generator.random() ** 8 * generator.choice((0, 1, 1)) + 1e-9 for _ in range(5)]
            for name in rubric.names
        }
        expected = by_brute_force(rubric, probabilities, tags)
        shares = {
            name: dict(zip(rubric.reply.values, [p / sum(own) for p in own], strict=True))
            for name, own in probabilities.items()
        }
        for at_a_time in (10**6, 7):
            monkeypatch.setattr("lockstep.rubrics.combine.AT_A_TIME", at_a_time)
            assert combine.expectation(rubric, shares, tags) == pytest.approx(
                expected, abs=1e-9, rel=0
            )


@pytest.mark.parametrize("rubric", [RUBRIC, VIESCORE], ids=["physical", "viescore"])
def test_the_expectation_of_the_shipped_rubrics_is_that_of_all_combinations(rubric):
    generator = random.Random(0)
    probabilities = {}
    for name in rubric.names:
        probabilities[name] = [0.0] * 11
        for value in generator.sample(range(11), 4):
            probabilities[name][value] = generator.random()
    shares = {
        name: {value: p / sum(own) for value, p in enumerate(own)}
        for name, own in probabilities.items()
    }
    expected = by_brute_force_of_some(rubric, shares)
    assert combine.expectation(rubric, shares) == pytest.approx(expected, abs=1e-9, rel=0)
    assert combine.expected_score(rubric, probabilities) == round(expected, 2)


def by_brute_force_of_some(rubric, shares):
    """Return the sum over the combinations of the values that have a probability."""
    given = [[(v, p) for v, p in own.items() if p] for own in shares.values()]
    return math.fsum(
        math.prod(p for _, p in own) * combine.score(rubric, given_to(rubric, *(v for v, _ in own)))
        for own in itertools.product(*given)
    )


def test_equal_scores_are_equal_whatever_they_were_made_of():
    assert combined("geometric_mean", [(2, 1), (8, 1)]) == 4
    assert combined("weighted_mean", [(0.1, 1), (0.2, 1)]) == combined("min", [(0.15, 1)])
    assert combine.score(VIESCORE, given_to(VIESCORE, 2, 9, 8, 8)) == combine.score(
        VIESCORE, given_to(VIESCORE, 4, 4, 4, 4)
    )


def test_a_value_counts_no_more_than_that_of_the_criterion_it_is_bound_to():
    rubric = changed(criteria=criteria(1, 1), caps=(), at_most={"cb": "ca"})
    assert combine.score(rubric, {"ca": 2, "cb": 9}) == 2
    assert combine.score(rubric, {"ca": 9, "cb": 2}) == 5.5
    assert combine.counting(rubric, {"ca": 2, "cb": 9}) == {"ca": 2, "cb": 2}
    with pytest.raises(ValueError, match=r"at_most: expected one of .*, found 'cz'"):
        changed(criteria=criteria(1, 1), caps=(), at_most={"cb": "cz"})
    # a rubric that does not use it is the version that it was
    assert "at_most" not in RUBRIC.model_fields_set
    assert changed(at_most={}).sha256 == RUBRIC.sha256


def test_the_uncertainty_is_the_mean_entropy():
    sure = (1.0, *[0.0] * 10)
    even = (1 / 11,) * 11
    two = (0.5, 0.5, *[0.0] * 9)
    assert uncertainty({"a": sure}) == 0
    assert uncertainty({"a": even}) == 1
    assert uncertainty({"a": two, "b": sure}) == pytest.approx(math.log(2) / math.log(11) / 2, 1e-2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "r.yaml: expected keys and values, found nothing"),
        ("[]", "r.yaml: expected keys and values, found []"),
        ("template: t\ncriteria: []\ncombine: min\n", "r.yaml: system: expected one, found none"),
    ],
)
def test_a_file_that_is_no_rubric_is_one_sentence_without_a_librarys_words(
    tmp_path, text, sentence
):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RubricError) as raised:
        read_rubric(path)
    assert str(raised.value) == f"{tmp_path}/{sentence}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: ", "wieght: ", "wieght"),
        ("weight: 3", "weight: -1", "weight"),
        ("name: quality", "name: score", "a column of the tables"),
        ("name: quality", "name: physics", "expected each criterion once"),
        ("      3: ", "      4: ", r"no anchor for \[3\]"),
        ("maximum: 10", "maximum: 101", "maximum"),
        ("{{ instruction }}", "{{ instruction", "template|expected"),
        ("category: physical", "category: [", "physical.yaml"),
        ("category: physical", "category: social", "expected the file's name"),
        ("{{ instruction }}", "{{ instrution }}", "template: found the variable 'instrution'"),
        ("Do not explain.", "{{ explanation }}", "found the variable 'explanation'"),
        ("Do not explain.", "{% if 0 %}{{ instruktion }}{% endif %}", "mean 'instruction'"),
        ("Do not explain.", "{{ criteria.x.y }}", "physical.yaml: template: .* has no attribute"),
        (
            "weight: 3",
            "weight: 3\n    weight: 4",
            "line [0-9]+: expected each key once",
        ),
        ("combine: weighted_mean", "combine: mean", "combine"),
        ("combine: weighted_mean", "# none", "combine: Field required"),
        ("criterion: instruction_following", "criterion: instruction", "found 'instruction'"),
        ("below: 3", "below: 0", "caps.0.below"),
        ("    weight: 3", "    aspect: a", "no combine_aspect"),
        ("combine: weighted_mean", "combine: min\ncombine_aspect: min", "aspects of some criteria"),
    ],
)
def test_a_broken_rubric_is_one_clear_error(tmp_path, old, new, message):
    text = (FOLDER / "physical.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "physical.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RubricError, match=message):
        read_rubric(path)


def test_a_text_in_another_encoding_is_one_clear_error(tmp_path):
    for name, read in (("physical.yaml", read_rubric), ("protocol.yaml", read_protocol)):
        (tmp_path / name).write_bytes("# 物理".encode("gb18030"))
        with pytest.raises(RubricError, match=f"{name}: expected UTF-8"):
            read(tmp_path / name)


def test_the_hash_follows_the_text_and_not_its_layout(tmp_path):
    text = (FOLDER / "physical.yaml").read_text(encoding="utf-8")
    path = tmp_path / "physical.yaml"
    path.write_text("# a comment\n" + text, encoding="utf-8")
    assert read_rubric(path).sha256 == RUBRIC.sha256
    path.write_text(yaml.safe_dump(yaml.safe_load(text)), encoding="utf-8")
    assert read_rubric(path).sha256 == RUBRIC.sha256
    path.write_text(text.replace("weight: 4", "weight: 6"), encoding="utf-8")
    assert read_rubric(path).sha256 != RUBRIC.sha256


def test_what_is_asked_follows_the_text_and_not_how_values_are_combined(sample):
    def asked(rubric):
        return rubric.asked(rubric.prompt(sample))

    own = asked(RUBRIC)
    assert asked(changed(combine="min", caps=())) == own
    assert asked(changed(system="x")) != own
    assert asked(changed(template=RUBRIC.template + "\n.")) != own
    # a judge in this process is given the names, also where the text does not say them
    short = changed(template="Judge it.")
    renamed = [{**c.model_dump(), "name": c.name + "_"} for c in RUBRIC.criteria]
    assert asked(changed(template="Judge it.", criteria=renamed, caps=())) != asked(short)


KEYS = {
    "physical": ("1828c7790d04f02f", "9ab6cfd421ed2f36", "bfe1529c53bd1759"),
    "viescore": ("fc80195085089ceb", "76d7d0d360fcafff", "733d18d165a904e6"),
    "imgedit/rubric": ("674df1223be868c3", "213b148013d9cd33", "ee78a0e5e86c7d04"),
    "rise/logical": ("f9516951a6332fcd", "400ba67e865dba00", "9c186b631b5f098a"),
    "miniature": ("3b42f7264dd4bf57", "afb518dda8e07a96", "afb518dda8e07a96"),
}
"""Of shipped rubrics: the version, and the score keys of one sample, reasoned and not."""


@pytest.mark.parametrize("name", KEYS)
def test_a_rubric_of_one_call_is_the_version_and_asks_what_it_always_did(name):
    path = FOLDER / f"{name}.yaml"
    if name == "miniature":
        path = ROOT / "resources/miniature/rubrics/causal.yaml"
    rubric = read_rubric(path)
    told = Sample(
        id="a",
        category="physical",
        image="x",
        image_sha256="0" * 64,
        width=96,
        height=64,
        instruction="Let go of the ball.",
        description="A ball.",
        rationale="It falls.",
        index=0,
    )
    keys = [
        records.score_key(
            told, "1" * 64, {"type": "x"}, rubric.asked(rubric.prompt(told, reasoned))
        )
        for reasoned in (True, False)
    ]
    assert tuple(known[:16] for known in (rubric.sha256, *keys)) == KEYS[name]
