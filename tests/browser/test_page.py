"""What a reader does with the report's page, in a real browser."""

import json
import math
import re
import statistics
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from lockstep import records
from lockstep.figures import tables
from lockstep.foreign import media
from lockstep.report import bundle, language, write
from lockstep.report.page import VIEWS
from lockstep.report.series import Place
from lockstep.rubrics.rubric import read_rubric
from tests.browser.conftest import made_up
from tests.conftest import ROOT

PAGE = 48
EDITORS = list(made_up.EDITORS)
PLACES = {editor: Place(number, True, editor) for number, editor in enumerate(EDITORS)}

HOSTILE = [
    "<script>window.harmed = 1</script>",
    "</script><script>window.harmed = 2</script>",
    '"><img src=x onerror="window.harmed = 3">',
    "' onmouseover='window.harmed = 4' x='",
    "{{ 7 * 7 }} ${7 * 7} `window.harmed = 5`",
    "\u202egnp.exe\u202c and \u2066isolated\u2069 marks",
    "line one\nline two\u2028line three",
    "&lt;b&gt; &amp; <b>bold</b>",
]
IDS = ["a'b", "a&b=c", "a+b c", "100%", "a#b?c", "a;b", "‮cba", "ünï物理"]


def page_of(folder: Path) -> Path:
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def samples(large) -> list[dict]:
    """Each sample with the row of each editor, in the page's order."""
    found: dict[str, dict] = {}
    for category in made_up.CATEGORIES:
        for sample in records.read_manifest(large / "manifest" / f"{category}.jsonl"):
            found[sample.id] = {"sample": sample, "rows": {}}
        for editor in EDITORS:
            frame = tables.read_table(large / editor / category / "table.csv")
            for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
                found[row["id"]]["rows"][editor] = row
    return list(found.values())


def ids(samples) -> list[str]:
    return [one["sample"].id for one in samples]


def values(one, key, editors=EDITORS) -> list[float]:
    return [one["rows"][e][key] for e in editors if one["rows"][e][key] is not None]


def test_every_view_opens_without_complaint_and_asks_for_nothing_outside(large, open_page):
    opened = open_page(page_of(large))
    assert opened.page.title() == "1,000 made-up samples"
    for key in VIEWS:
        name = language.plain("en", f"tabs.{key}")
        opened.follow(f"nav a[href='#{key}']")
        assert opened.page.inner_text(f"#{key} h1") in (name, opened.page.title())
        shown = opened.page.eval_on_selector_all(
            "[data-view]", "views => views.filter(view => !view.hidden).map(view => view.id)"
        )
        assert shown == [key]
    opened.follow("nav a[href='#samples']")
    opened.page.click("#cards .card >> nth=3")
    opened.page.wait_for_selector("#stage img")
    opened.page.wait_for_load_state("networkidle")
    assert len(opened.requests) > 50
    assert opened.outside(large) == []


def fits(status="", low=-1.0, high=11.0, editors=EDITORS):
    def test(one):
        return any(
            (
                not status
                or row["status"] == status
                or (status == "failed" and row["status"] != "ok")
            )
            and (low == -1.0 or (row["score"] is not None and low <= row["score"] <= high))
            for editor, row in one["rows"].items()
            if editor in editors
        )

    return test


def text(*words):
    def test(one):
        sample = one["sample"]
        errors = [row["error"] or "" for row in one["rows"].values()]
        whole = "\n".join([sample.id, sample.instruction, sample.rationale, *sample.tags, *errors])
        return all(word in whole.lower() for word in words)

    return test


def kept(test):
    return lambda one: any(row["copy_of_source"] and test(row) for row in one["rows"].values())


FILTERS = {
    "category=causal": lambda one: one["sample"].category == "causal",
    "difficulty=hard": lambda one: one["sample"].difficulty == "hard",
    "tag=多物体": lambda one: "多物体" in one["sample"].tags,
    "status=failed": fits("failed"),
    "status=judge_failed": fits("judge_failed"),
    f"status=edit_failed&editor={EDITORS[1]}": fits("edit_failed", editors=EDITORS[1:2]),
    "from=9": fits(low=9),
    f"from=2&to=3.5&editor={EDITORS[0]}": fits(low=2, high=3.5, editors=EDITORS[:1]),
    "from=8.2&to=8.3": fits(low=8.2, high=8.3),
    "kept=copy": kept(lambda row: row["copy_of_source"] != "no"),
    "kept=shifted": kept(
        lambda row: row["shift_x"] is not None and math.hypot(row["shift_x"], row["shift_y"]) > 1
    ),
    "kept=zoomed": kept(
        lambda row: row["zoom_percent"] is not None and abs(row["zoom_percent"]) > 0.5
    ),
    "kept=other_size": kept(lambda row: row["edited_width"] != row["source_width"]),
    "text=winter+SNOW": text("winter", "snow"),
    "text=松开": text("松开"),
    "text=blacked": text("blacked"),
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters_show_what_they_should(large, samples, open_page, query):
    opened = open_page(page_of(large), f"#samples?{query}")
    expected = ids(filter(FILTERS[query], samples))
    assert 0 < len(expected) < 1000
    opened.page.wait_for_function(
        "count => document.getElementById('found').textContent.startsWith(`${count} of`)",
        arg=len(expected),
    )
    assert opened.cards() == expected[:PAGE]


def negative_mean(one):
    return -statistics.fmean(values(one, "score"))


SORTS = {
    "lowest": (lambda one: statistics.fmean(values(one, "score")), 1),
    "highest": (negative_mean, 1),
    "uncertainty": (lambda one: -max(values(one, "uncertainty")), 1),
    "disagreement": (lambda one: min(values(one, "score")) - max(values(one, "score")), 2),
}


@pytest.mark.parametrize("sort", SORTS)
def test_sorts_show_what_they_should(large, samples, open_page, sort):
    key, needed = SORTS[sort]
    known = [one for one in samples if len(values(one, "score")) >= needed]
    expected = sorted(round(key(one), 4) for one in known)
    opened = open_page(page_of(large), "#samples")
    opened.page.select_option("select[name=sort]", sort)
    by_id = {one["sample"].id: one for one in samples}
    shown = [round(key(by_id[name]), 4) for name in opened.cards()]
    assert shown == pytest.approx(expected[:PAGE], abs=0.001)
    # what has nothing to sort by comes last
    opened.go(f"#samples?sort={sort}&page=21")
    last = opened.cards()[-1]
    assert by_id[last] not in known or len(known) == len(samples)


def test_pages_hold_all_samples_in_order(large, samples, open_page):
    opened = open_page(page_of(large), "#samples")
    seen = []
    while True:
        seen += opened.cards()
        onward = opened.page.locator(".pager").first.get_by_text("Page →")
        if onward.is_disabled():
            break
        onward.click()
    assert seen == ids(samples)


def test_filters_can_be_cleared_and_a_query_that_fits_nothing_says_so(large, open_page):
    opened = open_page(page_of(large), "#samples")
    opened.page.fill("input[name=text]", "no such words")
    assert opened.found().startswith("No sample fits")
    assert opened.cards() == []
    opened.page.click("#filters button[type=reset]")
    opened.page.wait_for_selector("#cards .card")
    assert opened.found().startswith("1,000 samples")
    assert opened.page.url.endswith("#samples")


def wiped(opened) -> tuple[str, float]:
    """Return how the edit is clipped, and where the line is in the picture, 0 to 1."""
    return opened.page.evaluate(
        """() => {
            const box = document.querySelector('.wipe-box').getBoundingClientRect();
            const line = document.querySelector('.line').getBoundingClientRect();
            const over = getComputedStyle(document.querySelector('.over'));
            return [over.clipPath, (line.x + line.width / 2 - box.x) / box.width];
        }"""
    )


def test_the_slider_wipes_between_source_and_edit(large, samples, open_page):
    opened = open_page(page_of(large), f"#samples?sample={ids(samples)[0]}")
    opened.page.wait_for_selector(".wipe-box img")
    clip, line = wiped(opened)
    assert "50%" in clip and line == pytest.approx(0.5, abs=0.01)
    box = opened.page.locator(".wipe-box").bounding_box()
    middle = box["y"] + box["height"] / 2
    opened.page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] * 0.2, middle, steps=5)
    opened.page.mouse.up()
    clip, line = wiped(opened)
    assert "20%" in clip and line == pytest.approx(0.2, abs=0.01)
    # by keyboard too, without leaving the sample
    opened.page.keyboard.press("ArrowRight")
    clip, line = wiped(opened)
    assert "21%" in clip and line == pytest.approx(0.21, abs=0.01)
    assert opened.page.inner_text("#viewer-title") == ids(samples)[0]
    # another editor's edit is under the same line
    opened.page.click(f"#viewer-editors >> text={EDITORS[2]}")
    assert "21%" in wiped(opened)[0]


def test_a_samples_link_opens_it_with_all_that_is_known_of_it(large, samples, open_page):
    one = samples[321]
    sample = one["sample"]
    opened = open_page(page_of(large), f"#samples?sample={sample.id}")
    opened.page.wait_for_selector("#facts h3")
    assert opened.page.inner_text("#viewer-title") == sample.id
    facts = opened.page.inner_text("#facts")
    for known in (sample.instruction, sample.rationale, sample.category, sample.difficulty):
        assert known in facts
    assert all(tag in facts for tag in sample.tags)
    for editor in EDITORS:
        row = one["rows"][editor]
        opened.page.click(f"#viewer-editors >> text={editor}")
        facts = opened.page.inner_text("#facts")
        if row["status"] == "ok":
            assert f"{row['score']:.2f}" in facts and row["reasoning"].strip() in facts
            assert row["judge"] in facts
        else:
            assert row["status"].replace("_", " ") in facts and row["error"] in facts
    link = opened.page.get_attribute("#viewer-link", "href")
    opened.go(link)
    opened.page.wait_for_selector("#facts h3")
    assert opened.page.inner_text("#viewer-title") == sample.id


def test_what_the_judge_was_asked_and_replied_is_there_when_it_is_opened(large, samples, open_page):
    one = next(one for one in samples[321:] if one["rows"][EDITORS[0]]["status"] == "ok")
    row = one["rows"][EDITORS[0]]
    opened = open_page(page_of(large), f"#samples?sample={one['sample'].id}")
    opened.page.click(f"#viewer-editors >> text={EDITORS[0]}")
    assert not opened.page.locator(".exchange pre").count()
    assert not any("asked-" in url for url in opened.requests), "loaded when it is opened"
    opened.page.click(".exchange summary")
    opened.page.wait_for_selector(".exchange pre")
    assert sum("asked-" in url for url in opened.requests) == 1
    system, shown, prompt, reply = opened.page.locator(".exchange pre").all_inner_texts()
    asked = read_rubric(ROOT / "config" / "rubrics" / f"{row['category']}.yaml")
    assert system.strip() == asked.system.strip() and shown.endswith("edited")
    assert prompt == asked.prompt(one["sample"])
    assert reply.startswith(row["reasoning"].strip()[:40]) and reply.endswith("}")
    assert opened.page.locator(".exchange h4").all_inner_texts() == [
        "System text",
        "Images",
        "Text",
        "Reply",
    ]
    # from the files alone: another editor's is loaded with it
    opened.page.click(f"#viewer-editors >> text={EDITORS[1]}")
    assert not opened.page.locator(".exchange pre").count()


def test_source_and_edits_stand_side_by_side(large, samples, open_page):
    opened = open_page(page_of(large), f"#samples?sample={ids(samples)[0]}")
    opened.page.wait_for_selector("#stage img")
    opened.page.click("text=Side by side")
    captions = opened.page.locator("#stage figcaption").all_inner_texts()
    assert captions[0] == "source"
    assert [caption.split()[0] for caption in captions[1:]] == EDITORS


def test_the_keyboard_does_it_all(large, samples, open_page):
    opened = open_page(page_of(large))
    keyboard = opened.page.keyboard
    keyboard.press("/")
    keyboard.type("winter")
    found = opened.cards()
    assert found == ids(filter(text("winter"), samples))[:PAGE]
    keyboard.press("Tab")
    opened.page.locator("#cards .card").first.focus()
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    opened.page.wait_for_selector("#stage img")
    title = opened.page.locator("#viewer-title")
    assert title.inner_text() == found[1]
    keyboard.press("ArrowRight")
    opened.page.wait_for_function(
        "id => location.hash.includes(encodeURIComponent(id))", arg=found[2]
    )
    assert title.inner_text() == found[2]
    keyboard.press("ArrowLeft")
    assert title.inner_text() == found[1]
    opened.page.wait_for_selector("#stage img")
    keyboard.press("2")
    assert (
        opened.page.locator("#viewer-editors [aria-pressed=true]")
        .inner_text()
        .startswith(EDITORS[1])
    )
    keyboard.press("s")
    assert opened.page.locator("#stage figure").count() == 4
    keyboard.press("Escape")
    assert not opened.page.locator("#viewer").is_visible()
    opened.page.wait_for_function("id => document.activeElement.dataset.id === id", arg=found[1])
    keyboard.press("n")
    assert opened.cards() != found
    keyboard.press("?")
    assert opened.page.locator("#keys").is_visible()


def test_a_failure_leads_to_its_samples(large, samples, open_page):
    opened = open_page(page_of(large), "#failures")
    assert opened.page.inner_text("#failures-title") == "Failures"
    total = sum(row["status"] != "ok" for one in samples for row in one["rows"].values())
    assert opened.page.inner_text("nav .count") == str(total)
    count = int(opened.page.locator("#failures table a").first.inner_text())
    opened.follow("#failures table a")
    assert opened.found().startswith(f"{count} of 1,000")
    opened.go("#failures")
    link = opened.page.locator(".reason .ids a").first
    name = link.inner_text()
    link.click()
    opened.page.wait_for_selector("#facts h3")
    assert opened.page.inner_text("#viewer-title") == name
    assert "failed" in opened.page.inner_text("#facts")


def test_skipped_samples_are_apart_from_failures(tmp_path, open_page):
    more = [records.Picture(image="images/x.png", sha256="0" * 64, width=1, height=1)]
    given = made_up.make_results(tmp_path, 150, change=lambda n: {"more": more} if n < 30 else {})
    write.write_report(*given)
    (editor,) = made_up.ONE_IMAGE
    opened = open_page(page_of(tmp_path))
    opened.follow("table.headline a[href='#skipped']")
    assert opened.page.locator("#skipped").is_visible()
    assert "30 samples were skipped" in opened.page.inner_text("#failures")
    assert Axe().run(opened.page).response["violations"] == []
    link = opened.page.locator("#skipped ~ .reason .ids a").first
    name = link.inner_text()
    link.click()
    opened.page.wait_for_selector("#facts h3")
    facts = opened.page.inner_text("#facts")
    assert opened.page.inner_text("#viewer-title") == name
    assert "skipped" in facts and "expected one source image, found 2" in facts
    opened.go(f"#samples?status=skipped&editor={editor}")
    assert opened.found().startswith("30 of 150")
    assert opened.page.locator("#cards .failed").count() == 0
    failed = opened.page.inner_text("nav .count")
    opened.go(f"#samples?status=failed&editor={editor}")
    assert int(opened.found().split()[0]) <= int(failed) < 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(large, samples, open_page, scheme):
    opened = open_page(page_of(large), color_scheme=scheme)
    places = [f"#{key}" for key in VIEWS] + [f"#samples?sample={ids(samples)[0]}"]
    for place in places:
        opened.go(place)
        if "sample=" in place:
            opened.page.wait_for_selector("#facts h3")
        found = Axe().run(opened.page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == [], place


def test_a_phone_shows_every_view_in_its_width(large, samples, open_page):
    opened = open_page(page_of(large), viewport={"width": 390, "height": 844}, has_touch=True)
    for place in [*(f"#{key}" for key in VIEWS), f"#samples?sample={ids(samples)[0]}"]:
        opened.go(place)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390, place
    opened.page.wait_for_selector("#facts h3")
    box = opened.page.locator(".wipe-box").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] > 300


def test_the_theme_can_be_chosen_and_is_kept(large, open_page):
    opened = open_page(page_of(large), color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.page.evaluate(ground)
    opened.page.click("#theme")
    opened.page.click("#theme")
    assert opened.page.inner_text("#theme") == "Theme: dark"
    dark = opened.page.evaluate(ground)
    assert dark != light
    opened.go()
    assert opened.page.evaluate(ground) == dark


@pytest.fixture(scope="module")
def with_control(tmp_path_factory) -> Path:
    """Results of which one editor returns the source, and below `zh` the same in Chinese."""
    folder = tmp_path_factory.mktemp("control")
    editors = [{"name": name, "type": "precomputed", "folder": "edits"} for name in EDITORS]
    editors[2] = {"name": EDITORS[2], "type": "identity"}
    for own, report in ((folder, {}), (folder / "zh", {"language": "zh"})):
        report = {"min_coverage": 0, **report}
        write.write_report(*made_up.make_results(own, 30, editors=editors, report=report))
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """Results whose every text is an attack, and whose ids are as odd as a file's name may be."""
    folder = tmp_path_factory.mktemp("hostile") / "a #1 100% 'f'"

    def change(number):
        attack = HOSTILE[number % len(HOSTILE)]
        return {
            "id": IDS[number] if number < len(IDS) else f"{number}",
            "instruction": attack,
            "rationale": attack,
            "tags": [attack],
            "difficulty": attack,
        }

    kept = made_up.FAILURES, made_up.JUDGE
    made_up.FAILURES = tuple((kind, HOSTILE[n]) for n, (kind, _) in enumerate(kept[0]))
    made_up.JUDGE = {**kept[1], "model": HOSTILE[0], "mode": HOSTILE[2]}
    try:
        given = made_up.make_results(
            folder, 400, change=change, report={"title": HOSTILE[1], "min_coverage": 1}
        )
    finally:
        made_up.FAILURES, made_up.JUDGE = kept
    write.write_report(*given)
    return folder


def test_html_in_texts_and_names_is_inert(hostile, open_page):
    opened = open_page(page_of(hostile))
    assert opened.page.title() == HOSTILE[1]
    assert opened.page.inner_text(".banner >> nth=0").startswith("INCOMPLETE")
    for key in VIEWS:
        opened.go(f"#{key}")
    for number, name in enumerate(IDS):
        opened.go("#samples?page=1")
        opened.page.fill("input[name=text]", name)
        opened.page.locator("#cards .card").first.wait_for()
        quoted = json.dumps(name, ensure_ascii=False)
        opened.page.click(f"#cards .card[data-id={quoted}]")
        opened.page.wait_for_selector("#facts h3")
        assert opened.page.text_content("#viewer-title") == name
        # what could turn a line around is shown as what it is
        assert opened.page.text_content("#facts .prose >> nth=0") == media.visible(HOSTILE[number])
        sizes = opened.page.eval_on_selector_all(
            "#stage img",
            "images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth)))",
        )
        assert sizes and all(sizes), name
    assert opened.page.evaluate("window.harmed") is None
    assert opened.page.locator("script").count() == 1
    assert opened.page.locator("[onerror], [onmouseover]").count() == 0
    assert opened.outside(hostile) == []


def test_the_bundle_opens_anywhere_with_all_its_images(hostile, tmp_path, open_page):
    made = hostile.parent / "report.zip"
    frames = {
        editor: {
            category: tables.read_table(hostile / editor / category / "table.csv")
            for category in made_up.CATEGORIES
        }
        for editor in EDITORS
    }
    folder = hostile / "report"
    files = [path for path in folder.iterdir() if path.is_file()]
    bundle.write_bundle(frames, folder, files, "#ffffff", made, 2, PLACES)
    with zipfile.ZipFile(made) as packed:
        packed.extractall(tmp_path)
    own = tmp_path / bundle.FOLDER
    opened = open_page(own / "report.html", "#samples")
    for name in IDS[:5]:
        opened.go("#samples?" + "sample=" + re.sub("[&+%#]", lambda m: f"%{ord(m[0]):02X}", name))
        opened.page.wait_for_selector("#stage img")
        sizes = opened.page.eval_on_selector_all(
            "#stage img",
            "images => Promise.all(images.map(i => i.decode().then(() => i.naturalWidth)))",
        )
        assert sizes == [64, 64], name
        assert "images/sources/" in opened.page.get_attribute("#stage img >> nth=0", "src")
    assert opened.outside(own) == []


def test_an_image_that_is_gone_is_said_to_be_gone(tmp_path, open_page):
    given = made_up.make_results(tmp_path, 10)
    gone, *_ = sorted((tmp_path / EDITORS[0] / "causal" / "images").glob("*.png"))
    gone.unlink()
    write.write_report(*given)
    opened = open_page(page_of(tmp_path), f"#samples?sample={gone.stem}")
    opened.page.wait_for_selector("#stage .nothing")
    assert "no image" in opened.page.inner_text("#stage .nothing")
    assert opened.page.locator("#stage img").count() == 1


def test_bars_are_full_at_the_highest_value_of_the_rubric(tmp_path, open_page):
    judge = {"type": "qwen3_vl", "model": "judge", "rubrics": str(ROOT / "config/rubrics/imgedit")}
    write.write_report(*made_up.make_results(tmp_path, 10, judge=judge))
    shares = {}
    opened = open_page(page_of(tmp_path), "#samples")
    for name in opened.cards():
        opened.go(f"#samples?editor={EDITORS[2]}&sample={name}")
        opened.page.wait_for_selector("#facts h3")
        shares |= opened.page.eval_on_selector_all(
            ".criteria li",
            """bars => Object.fromEntries(bars.map(bar => [
                bar.querySelector('b').textContent,
                Number(bar.querySelector('.meter').style.getPropertyValue('--share')),
            ]))""",
        )
    assert {"5", "3"} <= shares.keys()
    assert shares == {value: (float(value) - 1) / 4 for value in shares}
    # the chart's axis is the rubric's too
    axis = opened.page.text_content("#category-physical .chart >> nth=1").split()
    assert "5" in axis and "10" not in axis


def test_an_address_that_was_cut_off_still_opens_the_page(large, open_page):
    opened = open_page(page_of(large), "#category-%E7%89%9")
    opened.go("#samples?sort=lowest&more=%E5%A4%9")
    assert len(opened.cards()) == PAGE
    opened.follow("nav a[href='#results']")
    assert opened.page.inner_text("#results h1") == opened.page.title()


def test_what_the_readme_shows_can_be_made(large, open_page, tmp_path, request):
    """With --fix the screenshots in docs/ are made anew, of the demo's results."""
    shown, folder = large, tmp_path
    if request.config.getoption("--fix"):
        shown, folder = ROOT / "results" / "demo", ROOT / "docs"
    opened = open_page(page_of(shown), viewport={"width": 1280, "height": 910})
    opened.page.screenshot(path=folder / "report.png")
    chosen = records.read_manifest(shown / "manifest" / "environmental.jsonl")[0].id
    opened.go(f"#samples?sample={chosen}")
    opened.page.wait_for_selector("#facts h3")
    opened.page.wait_for_function(
        "[...document.querySelectorAll('#stage img')].every(image => image.complete)"
    )
    opened.page.screenshot(path=folder / "sample.png")
    assert (folder / "sample.png").stat().st_size > 50_000


def test_a_control_stands_apart_and_has_no_rank(with_control, open_page):
    opened = open_page(page_of(with_control))
    rows = opened.page.locator("table.headline tbody.controls tr").all_inner_texts()
    assert len(rows) == 1 and "control" in rows[0] and EDITORS[2] in rows[0]
    assert rows[0].split()[0] == "–"
    assert opened.page.locator("table.headline tbody").first.locator("tr").count() == 2
    told = json.loads((with_control / "report" / "report.json").read_text(encoding="utf-8"))
    assert EDITORS[2] not in {row["editor"] for row in told["leaderboard"]}
    # nor is it among the best and the worst
    opened.page.wait_for_selector("#extremes-best .card")
    assert EDITORS[2] not in opened.page.inner_text("#extremes-worst")


def test_the_first_view_shows_the_best_the_worst_and_the_most_disputed_edits(
    large, samples, open_page
):
    opened = open_page(page_of(large))
    opened.page.wait_for_selector("#extremes-disagreed .card")
    by_id = {one["sample"].id: one for one in samples}

    def shown(kind):
        cards = opened.page.locator(f"#extremes-{kind} .card").evaluate_all(
            "cards => cards.map(card => card.dataset.id)"
        )
        return [by_id[name] for name in cards]

    best = sorted((max(values(one, "score"), default=0) for one in samples), reverse=True)
    worst = sorted(min(values(one, "score"), default=11) for one in samples)
    apart = sorted(
        (max(values(one, "score"), default=0) - min(values(one, "score"), default=0))
        for one in samples
    )
    found = [max(values(one, "score")) for one in shown("best")]
    assert found == pytest.approx(best[:4], abs=0.01)
    found = [min(values(one, "score")) for one in shown("worst")]
    assert found == pytest.approx(worst[:4], abs=0.01)
    found = [max(values(o, "score")) - min(values(o, "score")) for o in shown("disagreed")]
    assert found == pytest.approx(apart[::-1][:4], abs=0.02)
    name = shown("worst")[0]["sample"].id
    opened.follow("#extremes-worst .card")
    opened.page.wait_for_selector("#facts h3")
    assert opened.page.inner_text("#viewer-title") == name


def test_a_table_sorts_by_any_column_and_back(large, open_page):
    opened = open_page(page_of(large), "#numbers")
    table = opened.page.locator("#numbers table").first

    def column(number):
        cells = table.locator(f"tbody tr:not(.overall) > :nth-child({number})")
        return cells.all_inner_texts()

    before = column(2)
    head = table.locator("thead th").nth(1)
    for order, reverse in (("descending", True), ("ascending", False)):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        assert column(2) == sorted(before, key=float, reverse=reverse)
    # what is of all rows stays below them
    assert table.locator("tbody tr").last.inner_text().startswith("overall (macro)")
    table.locator("thead button").first.click()
    assert column(1) == sorted(column(1)) and head.get_attribute("aria-sort") is None


def test_every_number_says_what_it_is(large, open_page):
    opened = open_page(page_of(large), "#numbers")
    tip = opened.page.locator("#tip")
    opened.page.locator("#numbers thead [data-term=coverage] button").first.hover()
    assert tip.inner_text() == language.plain("en", "terms.coverage.says")
    opened.page.mouse.move(0, 0)
    assert not tip.is_visible()
    # with the keyboard too
    opened.page.locator("#numbers thead [data-term=std] button").first.focus()
    assert tip.inner_text() == language.plain("en", "terms.std.says")
    unexplained = opened.page.locator("thead th:not([data-term])").all_text_contents()
    assert unexplained == []
    opened.go("#glossary")
    assert language.plain("en", "terms.coverage.says") in opened.page.inner_text("#glossary")


def test_a_note_is_kept_in_the_browser_and_saved_as_a_file(large, samples, open_page, tmp_path):
    first, second = ids(samples)[:2]
    opened = open_page(page_of(large), f"#samples?sample={first}")
    opened.page.fill("#facts textarea", 'the hand is gone, "really"')
    opened.go(f"#samples?sample={second}")
    opened.page.fill("#facts textarea", "=1+1")
    opened.go(f"#samples?sample={first}")
    assert opened.page.input_value("#facts textarea") == 'the hand is gone, "really"'
    opened.go("#samples?noted=yes")
    assert opened.cards() == [first, second]
    with opened.page.expect_download() as saved:
        opened.page.click("#save-notes")
    saved.value.save_as(tmp_path / "notes.csv")
    category = samples[0]["sample"].category
    assert (tmp_path / "notes.csv").read_text(encoding="utf-8").splitlines() == [
        "category,id,note",
        f'{category},{first},"the hand is gone, ""really"""',
        f"{category},{second},'=1+1",
    ]
    opened.go(f"#samples?sample={second}")
    opened.page.fill("#facts textarea", " ")
    opened.go("#samples?noted=yes")
    assert opened.cards() == [first]


def test_the_main_chart_uses_the_width_and_a_phone_has_its_own(large, open_page):
    for width, shown, hidden in ((1300, "wide", "narrow"), (390, "narrow", "wide")):
        opened = open_page(page_of(large), viewport={"width": width, "height": 844})
        chart = opened.page.locator("#results .chart").first
        assert not chart.locator(f".{hidden}-only").is_visible()
        box = chart.locator(f".{shown}-only svg").bounding_box()
        assert box["width"] > 0.8 * width and box["x"] + box["width"] <= width
    # its tabs fit too, and no table of the wide page scrolls
    assert opened.page.evaluate("document.querySelector('nav').scrollWidth") <= 390
    opened = open_page(page_of(large), "#preservation", viewport={"width": 1300, "height": 844})
    wider = "boxes => boxes.filter(b => b.offsetParent && b.scrollWidth > b.clientWidth).length"
    assert opened.page.eval_on_selector_all(".scroll", wider) == 0


def test_side_by_side_shows_the_scores_and_reasons_of_all_editors(large, samples, open_page):
    one = next(one for one in samples if all(r["status"] == "ok" for r in one["rows"].values()))
    opened = open_page(page_of(large), f"#samples?sample={one['sample'].id}")
    opened.page.wait_for_selector("#facts h3")
    assert one["sample"].description in opened.page.inner_text("#facts")
    opened.page.click("text=Side by side")
    figures = opened.page.locator("#stage figure")
    assert figures.count() == 1 + len(EDITORS)
    for number, editor in enumerate(EDITORS, 1):
        told = figures.nth(number).inner_text()
        row = one["rows"][editor]
        assert editor in told and f"{row['score']:.2f}" in told and row["reasoning"].strip() in told


def test_a_chinese_report_says_everything_in_chinese(with_control, open_page):
    opened = open_page(page_of(with_control / "zh"))
    assert opened.page.get_attribute("html", "lang") == "zh-Hans"
    assert opened.page.locator("nav a").all_inner_texts()[:2] == ["结果", "样本"]
    for view in VIEWS:
        opened.go(f"#{view}")
        assert Axe().run(opened.page).response["violations"] == [], view
    opened.go("#samples")
    assert "个样本" in opened.found()
    assert "物理" in opened.page.inner_text("#cards .card >> nth=0")
    markdown = (with_control / "zh" / "report" / "report.md").read_text(encoding="utf-8")
    assert "## 排行榜" in markdown and "| 物理 |" in markdown
