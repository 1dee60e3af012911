"""Each published format, the whole way: an editor and a judge of tiny models, and its protocol.

Not among all tests: each format takes half a minute (`make formats`).
"""

import json

import pytest

from tests import formats
from tests.workflow.conftest import ROOT, Workflow, configuration

RUBRICS = {"re-edit": "", "table": "viescore.yaml"}
"""Of the formats that have no protocol."""

ONE = {
    "kris": "physics",
    "rise": "logical_reasoning",
    "uniredit": "sokoban",
    "table": "室内",
}
"""The category that goes the way, where it is not the first one."""

VARIANTS = [
    *((name, {}) for name in formats.MAKERS),
    ("re-edit", {"english": True}),
    ("gedit", {"saved": True}),
    ("imgedit", {"archive": "tar"}),
    ("table", {"form": "parquet"}),
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=str)
def test_a_published_format_goes_the_whole_way(tmp_path, models, name, variant):
    made = formats.MAKERS[name](tmp_path / "work" / "benchmark", 22, **variant)
    config = configuration(models)
    config["editors"][0]["model"] = str(models / "plus")
    config["benchmark"] = {**made.settings, "limit": 1}
    config["devices"]["device_ids"] = [0]
    config["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / RUBRICS.get(name, name))
    config["benchmark"]["categories"] = [ONE.get(name) or next(iter(formats.BY_FORMAT[name]))]
    workflow = Workflow(tmp_path / "work", config)
    workflow.run()
    rows = workflow.report()["editors"]["small"]["categories"]
    assert [(row["count"], row["failed"]) for row in rows.values()] == [(1, 0)]
    if name not in RUBRICS:
        numbers = json.loads((workflow.results / "report" / "protocol.json").read_text())
        overall = numbers["small"]["overall"]
        assert overall["count"] == 1
        low, high = numbers["small"]["scale"]
        assert low <= overall["score"] <= high
