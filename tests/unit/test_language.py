"""The texts of the report and of the page to rate, in every language."""

import re
from typing import get_args

import pytest

from lockstep.report import language
from lockstep.report.page import OF_SCRIPTS, VIEWS
from tests.conftest import ROOT

REPORT = ROOT / "scripts" / "lockstep" / "report"
LANGUAGES = get_args(language.Language)
ENGLISH = language.catalogue("en")


@pytest.mark.parametrize("other", LANGUAGES)
def test_all_languages_say_the_same_things(other):
    own = language.catalogue(other)
    assert list(own) == list(ENGLISH)
    for key, text in own.items():
        assert text.strip() and set(places(text)) == set(places(ENGLISH[key])), key
    assert {f"tabs.{view}" for view in VIEWS} <= own.keys()


def places(text: str) -> list[str]:
    return re.findall(r"\{\w+\}|`|\*\*", text)


@pytest.mark.parametrize("kind", ["*.j2", "*.js"])
def test_every_text_that_is_asked_for_exists(kind):
    files = [path for path in (REPORT / "templates").rglob(kind) if path.parent.name != "rating"]
    asked = {key for path in files for key in re.findall(r'say\(\s*"([\w.-]+)"', path.read_text())}
    # what is put together of a part and a name is known by its part
    asked = {key for key in asked if not key.endswith((".", "-"))}
    known = {key.removesuffix(".many") for key in ENGLISH}
    assert len(asked) > 30 and asked <= known
    if kind == "*.js":
        assert {key.split(".")[0] for key in asked} <= set(OF_SCRIPTS)


def test_a_text_takes_values_as_texts_and_never_as_markup():
    values = {"samples": 3, "categories": 1, "editors": 2, "judge": "<b>{x}</b>", "date": "now"}
    assert "&lt;b&gt;{x}&lt;/b&gt;" in language.html("en")("results.lead", **values)
    said = language.markdown("zh")("results.lead", **{**values, "judge": "*a* | b"})
    assert r"\*a\* \| b" in said
    assert "<code>metrics</code>" in language.html("zh")("preservation.models")
    assert "**n**" in language.markdown("en")("series.earliest", editor="n")
    assert "<strong>n</strong>" in language.html("en")("series.earliest", editor="n")


@pytest.mark.parametrize("count", [1, 2])
def test_one_thing_has_another_text_than_many(count):
    said = language.plain("en", "failures.skipped-lead", count=count)
    assert said.startswith("1 sample was" if count == 1 else "2 samples were")


def test_a_category_is_called_by_its_chinese_name():
    assert [language.category(own, "physical") for own in LANGUAGES] == ["physical 物理", "物理"]
    assert [language.category(own, "style_change") for own in LANGUAGES] == ["style_change"] * 2
