"""What a rater does with the page to rate, by keyboard alone, in a real browser."""

from pathlib import Path

import pytest

from lockstep import layout, records
from lockstep.figures import human_files, people
from lockstep.report.rating.answers import read_answers, write_answers
from lockstep.report.rating.page import write_rating
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import read_rubric
from tests.browser.conftest import made_up

EDITORS = list(made_up.EDITORS)


def written(folder: Path, **rating) -> Path:
    settings, *_ = made_up.make_results(folder, 30, side=128, rating=rating)
    keys = settings.benchmark.named
    rubrics = {key: read_rubric(Path(settings.judge.rubric_file(key))) for key in keys}
    write_rating(settings, rubrics, 2)
    return layout.rating(folder)[0]


@pytest.fixture
def start(browser, tmp_path):
    """Open a page to rate as a person's own browser does, which keeps what it was told."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, accept_downloads=True)
    complaints = []

    def opened(path: Path):
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    context.close()
    assert complaints == []


def rate(page, values) -> None:
    """Give an item's criteria their values and go on."""
    for value in values:
        for digit in str(value):
            page.keyboard.press(digit)
        page.keyboard.press("Enter")


def saved(page, path: Path) -> Path:
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    download.value.save_as(path)
    return path


def values_of(place: int, count: int) -> list[int]:
    return [(place + 3 * number) % 11 for number in range(count)]


def test_twenty_ratings_by_keyboard_outlive_a_closed_window_and_reach_the_report(tmp_path, start):
    path = written(tmp_path, items=20, raters=["Ann", "王芳"], overlap=1)
    plan = records.read_json(layout.rating(tmp_path)[1])
    codes = plan["raters"]["王芳"]
    counts = [len(plan["rubrics"][plan["items"][code]["category"]]["criteria"]) for code in codes]
    page = start(path)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    for place in range(9):
        rate(page, values_of(place, counts[place]))
    # in the middle of an item
    page.keyboard.press("1")
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    page.keyboard.press("4")
    page.close()

    page = start(path)
    assert page.inner_text("#rater") == "王芳"
    assert page.inner_text("#place") == "10 of 20"
    assert page.inner_text("#done") == "9 of 20 rated"
    assert page.locator(".answers [aria-pressed=true]").all_inner_texts() == ["10", "4"]
    page.keyboard.press("ArrowUp")
    for place in range(9, 20):
        rate(page, values_of(place, counts[place]))
    assert page.inner_text("#done") == "20 of 20 rated"
    assert "All 20 are rated" in page.inner_text("#note")
    file = saved(page, tmp_path / "answers.csv")

    answers = read_answers(layout.rating(tmp_path)[1], [file])
    assert answers.unfinished == 0
    given = {(row["editor"], row["id"]): row for row in answers.rows}
    for place, code in enumerate(codes):
        item = plan["items"][code]
        rubric = read_rubric(Path("config/rubrics") / f"{item['category']}.yaml")
        values = dict(zip(rubric.names, map(float, values_of(place, counts[place])), strict=True))
        row = given[item["editors"][0], item["id"]]
        assert {name: row[name] for name in rubric.names} == values
        assert row["score"] == combine.score(rubric, values, item["tags"])
    assert {row["rater"] for row in answers.rows} == {"王芳"}

    humans = layout.ratings(layout.rating(tmp_path)[1])
    write_answers(answers, humans)
    tables = {
        editor: {key: layout.table(tmp_path, editor, key) for key in made_up.CATEGORIES}
        for editor in EDITORS
    }
    rubrics = {
        key: read_rubric(Path("config/rubrics") / f"{key}.yaml") for key in made_up.CATEGORIES
    }
    columns = human_files.columns_of(rubrics)
    given = human_files.read_people([humans], EDITORS, {}, columns)
    (overall,) = [
        row
        for row in people.agreement(tables, given, rubrics)["agreement"]
        if (row["scale"], row["category"], row["editor"]) == ("score", "overall", None)
    ]
    assert 15 <= overall["count"] <= 20


def test_a_saved_file_comes_back_in_another_browser(tmp_path, start, browser):
    path = written(tmp_path, items=4, mode="pairs", language="zh")
    page = start(path)
    page.keyboard.press("Enter")
    assert page.inner_text("#place") == "第 1 项，共 4 项"
    for key in "214":
        rate(page, [key])
    file = saved(page, tmp_path / "rater-1.csv")
    other = browser.new_page()
    other.goto(path.as_uri())
    other.keyboard.press("Enter")
    other.set_input_files("#file", file)
    other.wait_for_function("document.getElementById('note').textContent.includes('3')")
    assert other.inner_text("#done") == "已评 3 / 4"
    assert other.inner_text("#place") == "第 4 项，共 4 项"
    rate(other, ["3"])
    again = saved(other, tmp_path / "again.csv")
    other.close()
    votes = [row["human_vote"] for row in read_answers(layout.rating(tmp_path)[1], [again]).rows]
    assert votes == ["rightvote", "leftvote", "bothbad_vote", "tievote"]


def test_the_wipe_and_the_list_of_keys_are_reached_by_keys(tmp_path, start):
    page = start(written(tmp_path, items=2))
    page.keyboard.press("Enter")
    shown = "document.querySelector('.wipe-box').style.getPropertyValue('--wipe')"
    assert page.evaluate(shown) == "50%"
    assert page.locator(".wipe-box").bounding_box()["width"] > 400
    page.keyboard.press("d")
    assert page.evaluate(shown) == "55%"
    page.keyboard.press(" ")
    assert page.evaluate(shown) == "100%"
    page.keyboard.press("s")
    assert page.locator("#stage figure").count() == 2
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("5")
    page.keyboard.press("Escape")
    assert page.locator(".answers [aria-pressed=true]").count() == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".answers [aria-pressed=true]").all_inner_texts() == ["1"]
    page.keyboard.press("Backspace")
    assert page.locator(".answers [aria-pressed=true]").count() == 0
