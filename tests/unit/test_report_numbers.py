"""The report's numbers, from tables to report.json."""

import pytest

from lockstep.report import schema
from tests.conftest import ROOT

SCHEMAS = {"report": schema.Report, "compare": schema.Comparison}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_of_the_json_is_in_step(name, pytestconfig):
    path = ROOT / "docs" / f"{name}.schema.json"
    if pytestconfig.getoption("--fix"):
        path.write_text(schema.json_schema(SCHEMAS[name]), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == schema.json_schema(SCHEMAS[name]), (
        "run pytest with --fix"
    )
