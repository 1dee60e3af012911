"""Each published format, the whole way: an editor and a judge of tiny models, and its protocol.

Not among all tests: it takes some minutes (`make formats`).
"""

import json
from typing import Any

import pytest

from tests import formats
from tests.workflow.conftest import EDITOR, ROOT, Workflow, configuration

RUBRICS = {"re-edit": "", "table": "viescore.yaml"}
"""Of the formats that have no protocol."""

ONE = {
    "kris": "physics",
    "rise": "logical_reasoning",
    "uniredit": "sokoban",
    "table": "室内",
}
"""The category that goes the way, where it is not the first one."""

FORMS: dict[str, list[dict[str, Any]]] = {
    # the other tests of whole runs have the Chinese generation
    "re-edit": [{"english": True}],
    "gedit": [{}, {"saved": True}],
    "imgedit": [{}, {"archive": "tar"}],
    "table": [{}, {"form": "parquet"}],
}
"""How a format's files may lie on disk, where there are several ways; all give the same samples."""


@pytest.mark.parametrize("name", formats.MAKERS)
def test_a_published_format_goes_the_whole_way_in_whatever_form(tmp_path, models, name):
    first, *others = FORMS.get(name, [{}])
    made = formats.MAKERS[name](tmp_path / "work" / "benchmark", 22, **first)
    config = configuration(models)
    config["editors"][0]["model"] = str(models / "plus")
    asked = {"limit": 1, "categories": [ONE.get(name) or next(iter(formats.BY_FORMAT[name]))]}
    config["benchmark"] = {**made.settings, **asked}
    config["devices"]["device_ids"] = [0]
    config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / RUBRICS.get(name, name))
    workflow = Workflow(tmp_path / "work", config)
    workflow.run()
    rows = workflow.report()["editors"][EDITOR]["categories"]
    assert [(row["count"], row["failed"]) for row in rows.values()] == [(1, 0)]
    if name not in RUBRICS:
        numbers = json.loads((workflow.results / "report" / "protocol.json").read_text())
        overall = numbers[EDITOR]["overall"]
        assert overall["count"] == 1
        low, high = numbers[EDITOR]["scale"]
        assert low <= overall["score"] <= high
    for number, form in enumerate(others):
        made = formats.MAKERS[name](tmp_path / "work" / f"other-{number}", 22, **form)
        config["benchmark"] = {**made.settings, **asked}
        output = workflow.run()
        assert "reading" in output and "report ready" in output
        # neither model is loaded again
        again = [*workflow.records("edits"), *workflow.records("scores")]
        assert [record["cached"] for record in again] == [True, True]
        assert workflow.report()["editors"][EDITOR]["categories"] == rows
