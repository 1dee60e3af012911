"""Who rates what, a page that tells no editor, and what comes back."""

import itertools
import json
import re
from collections import Counter

import pytest

from lockstep import layout, records
from lockstep.config.rating import RatingSettings
from lockstep.errors import ConfigError
from lockstep.figures import human_files
from lockstep.report import language
from lockstep.report.rating.answers import read_answers, write_answers
from lockstep.report.rating.page import VOTES, write_rating
from lockstep.report.rating.plan import choose, deal
from lockstep.rubrics.rubric import read_rubric
from tests.browser.conftest import made_up
from tests.conftest import ROOT

EDITORS = ("alpha", "beta", "gamma")
PRESENT = {
    (category, f"{category[0]}{number}"): EDITORS
    for category in ("causal", "social")
    for number in range(30)
}


def settings(**given):
    return RatingSettings.model_validate(given)


@pytest.mark.parametrize(("overlap", "count"), [(0, 0), (0.1, 3), (0.2, 6), (0.33, 10), (1, 30)])
def test_raters_share_the_stated_part_and_each_other_item_has_one_rater(overlap, count):
    given = settings(raters=["a", "b", "c"], overlap=overlap, items=30)
    items = choose(PRESENT, given)
    orders, shared = deal(items, given)
    assert len(shared) == count
    for one, other in itertools.combinations(orders.values(), 2):
        assert set(one) & set(other) == set(shared)
    assert set().union(*orders.values()) == set(items)
    loads = [len(own) for own in orders.values()]
    assert max(loads) - min(loads) <= 1
    assert all(len(set(own)) == len(own) for own in orders.values())


def test_the_same_seed_gives_the_same_plan_and_another_one_another():
    def planned(seed, present):
        given = settings(raters=2, items=30, seed=seed)
        return deal(choose(present, given), given)

    assert planned(1, PRESENT) == planned(1, PRESENT)
    assert planned(1, PRESENT) != planned(2, PRESENT)
    orders = planned(1, PRESENT).orders
    assert orders["rater-1"] != sorted(orders["rater-1"])


def test_each_rater_sees_about_as_much_of_every_editor_and_category():
    given = settings(raters=3, items=None)
    items = choose(PRESENT, given)
    assert len(items) == 180
    for own in deal(items, given).orders.values():
        counts = Counter(item.editors for item in own)
        assert max(counts.values()) - min(counts.values()) <= 12
    some = Counter(item.category for item in choose(PRESENT, settings(items=30)))
    assert some == {"causal": 15, "social": 15}


def test_pairs_connect_all_editors_and_either_is_shown_first():
    given = settings(mode="pairs", items=30)
    pairs = [item.editors for item in choose(PRESENT, given)]
    assert len(pairs) == 30
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(pair) for pair in itertools.combinations(EDITORS, 2)
    }
    assert {pair[0] for pair in pairs} == {pair[1] for pair in pairs} == set(EDITORS)


@pytest.mark.parametrize("mode", ["criteria", "pairs"])
def test_nothing_to_rate_is_a_sentence(mode):
    present = {} if mode == "criteria" else {("causal", "c0"): ("alpha",)}
    with pytest.raises(ConfigError, match=r"rating.mode: \w+: expected .* found none"):
        choose(present, settings(mode=mode))


@pytest.mark.parametrize(
    "raters", [[], ["a", "a"], ["Ann", "b", "ann "], 0, ["a,b"], ['"'], ["=a"], ["../a"]]
)
def test_raters_that_are_none_are_refused(raters):
    with pytest.raises(ValueError, match="raters"):
        settings(raters=raters)


@pytest.fixture
def written(tmp_path):
    def write(**rating):
        made, *_ = made_up.make_results(tmp_path, 20, side=32, rating=rating)
        keys = made.benchmark.named
        rubrics = {key: read_rubric(ROOT / made.judge.rubric_file(key)) for key in keys}
        write_rating(made, rubrics)
        return layout.rating(tmp_path)

    return write


@pytest.mark.parametrize("mode", ["criteria", "pairs"])
def test_neither_the_page_nor_its_images_tell_an_editor(written, mode):
    page, plan = written(mode=mode, items=10)
    told = page.read_bytes()
    files = list((page.parent / "images").iterdir())
    assert files
    for editor in made_up.EDITORS:
        assert editor.encode() in plan.read_bytes()
        assert editor.encode() not in told
        for file in files:
            assert editor not in file.name
            assert editor.encode() not in file.read_bytes()
    for file in files:
        assert re.fullmatch(r"[0-9a-f]{15}\.png", file.name)
        # no chunk that says how it was made
        assert records.PROVENANCE.encode() not in file.read_bytes()
        assert not file.is_symlink()
    assert not any(
        item["id"].encode() in told for item in records.read_json(plan)["items"].values()
    )


def test_a_plan_made_again_keeps_its_codes_and_images(written):
    page, plan = written(items=6)
    before, images = (
        plan.read_bytes(),
        {p: p.stat().st_mtime_ns for p in page.parent.rglob("*.png")},
    )
    written(items=6)
    assert plan.read_bytes() == before
    codes = set(records.read_json(plan)["items"])
    written(items=8)
    assert codes < set(records.read_json(plan)["items"])
    written(items=6)
    assert images.keys() == set(page.parent.rglob("*.png"))


def test_what_raters_gave_comes_back_as_human_scores(written, tmp_path):
    _, plan = written(items=12, raters=["Ann", "Bo"], overlap=0.5)
    told = records.read_json(plan)
    lines = []
    criteria = dict.fromkeys(
        c["name"] for rubric in told["rubrics"].values() for c in rubric["criteria"]
    )
    for rater, codes in told["raters"].items():
        for code in codes:
            values = ["7.0" if rater == "Bo" else "7"] * len(criteria)
            lines.append(",".join([rater, code, *values]))
    file = tmp_path / "answers.csv"
    file.write_text("\ufeff" + "\r\n".join([",".join(["rater", "code", *criteria]), *lines]))
    answers = read_answers(plan, [file, file])
    assert len(answers.rows) == 18
    assert {row["score"] for row in answers.rows} == {7.0}
    assert answers.columns[:4] == ["editor", "category", "id", "rater"]
    assert answers.columns[-1] == "score"
    write_answers(answers, layout.ratings(plan))
    people = human_files.read_people(
        [layout.ratings(plan)], list(made_up.EDITORS), {}, ["score", *criteria]
    )
    assert set(people.scales) == {"score", *criteria}
    ratings = people.ratings
    assert set(ratings["score"]) == {7.0}
    edits = {(i["editors"][0], i["id"]) for i in told["items"].values()}
    assert set(zip(ratings["editor"], ratings["id"], strict=True)) == edits
    assert ratings["rater"].value_counts().to_dict() == {"Ann": 9, "Bo": 9}


def one_row(plan, tmp_path, **changes):
    told = records.read_json(plan)
    code = told["raters"]["rater-1"][0]
    rubric = told["rubrics"][told["items"][code]["category"]]
    row = {"rater": "rater-1", "code": code} | {c["name"]: "5" for c in rubric["criteria"]}
    row |= {name if name != "first" else list(row)[2]: value for name, value in changes.items()}
    file = tmp_path / f"answers-{len(list(tmp_path.glob('answers-*')))}.csv"
    file.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n", encoding="utf-8")
    return file


def test_an_item_with_an_answer_missing_is_left_out_and_counted(written, tmp_path):
    _, plan = written(items=3)
    answers = read_answers(plan, [one_row(plan, tmp_path, first="")])
    assert (answers.rows, answers.unfinished) == ([], 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"code": "i000"}, "line 2: code: expected one of .*plan.json, found 'i000'"),
        ({"first": "11"}, "line 2: .*: expected 0-10, found '11'"),
        ({"first": "5.5"}, "line 2: .*: expected 0-10, found '5.5'"),
        ({"first": "good"}, "line 2: .*: expected a number in plain digits"),
        ({"rater": ""}, "line 2: rater: expected a text"),
        ({"rater": "Rater-1"}, "line 2: rater: expected one of .*rater-1.*, found 'Rater-1'"),
    ],
)
def test_what_the_page_did_not_save_is_refused(written, tmp_path, changes, sentence):
    _, plan = written(items=3)
    with pytest.raises(ConfigError, match=sentence):
        read_answers(plan, [one_row(plan, tmp_path, **changes)])


@pytest.mark.parametrize("mode", ["criteria", "pairs"])
def test_a_file_of_other_columns_is_no_file_of_the_page(written, tmp_path, mode):
    _, plan = written(items=3, mode=mode)
    code = next(iter(records.read_json(plan)["items"]))
    file = tmp_path / "mine.csv"
    file.write_text(f"rater,code,criterion,value\nrater-1,{code},quality,5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.csv: line 2: expected a file that the page saved"):
        read_answers(plan, [file])


def test_two_answers_of_a_rater_to_an_item_are_refused(written, tmp_path):
    _, plan = written(items=3)
    files = [one_row(plan, tmp_path), one_row(plan, tmp_path, first="6")]
    with pytest.raises(ConfigError, match="expected one answer of 'rater-1'"):
        read_answers(plan, files)


@pytest.mark.parametrize("content", [None, "{}", "[]", "no"])
def test_a_plan_that_is_none_is_refused(tmp_path, content):
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    with pytest.raises(ConfigError, match=r"expected .*plan"):
        read_answers(plan, [])


BROKEN = {
    "mode": lambda told, item: told.update(mode="both"),
    "item": lambda told, item: told["items"].update(i1=5),
    "editors": lambda told, item: item.update(editors=[]),
    "pair": lambda told, item: told.update(mode="pairs"),
    "tags": lambda told, item: item.pop("tags"),
    "category": lambda told, item: item.update(category="elsewhere"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plan_with_something_else_in_it_is_refused(written, name):
    _, plan = written(items=3)
    told = records.read_json(plan)
    BROKEN[name](told, next(iter(told["items"].values())))
    plan.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="expected a plan of ratings, found another file"):
        read_answers(plan, [])


@pytest.mark.parametrize("value", [[5], {"a": 5}, True])
@pytest.mark.parametrize("mode", ["criteria", "pairs"])
def test_an_answer_that_is_no_text_and_no_number_is_refused(written, tmp_path, value, mode):
    _, plan = written(items=3, mode=mode)
    told = records.read_json(plan)
    code, item = next(iter(told["items"].items()))
    names = [own["name"] for own in told["rubrics"][item["category"]]["criteria"]]
    file = tmp_path / "answers.jsonl"
    file.write_text(
        json.dumps({"rater": "A", "code": code, **dict.fromkeys([*names, "vote"], value)})
    )
    with pytest.raises(ConfigError, match=r"line 1: \w+: expected .*, found"):
        read_answers(plan, [file])


def test_every_vote_has_a_text_on_the_page():
    assert set(VOTES) <= language.part("zh", "rating").keys()
