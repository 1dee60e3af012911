"""The whole workflow, from a benchmark to tables, reaches the quality of the demo."""

import json

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.conftest import Workflow


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Workflow:
    """The demo's own configuration, one sample of each category, on one CPU slot."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text(encoding="utf-8"))
    config["benchmark"] |= {"path": str(ROOT / config["benchmark"]["path"]), "limit": 1}
    config["editors"] = [e for e in config["editors"] if e["name"] in ("final", "identity")]
    for section in (*config["editors"], config["judge"]):
        for key in ("model", "rubrics"):
            if key in section:
                section[key] = str(ROOT / section[key])
    config["devices"]["device_ids"] = [0]
    workflow = Workflow(tmp_path_factory.mktemp("demo"), config)
    workflow.run()
    return workflow


def scores(demo: Workflow, editor: str) -> list[dict]:
    """Return the records of an editor's scores, one of each category."""
    files = sorted(demo.results.glob(f"{editor}/*/scores/*.jsonl"))
    found = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(found) == 5
    return found


def test_right_edits_get_the_highest_score_and_no_edits_next_to_none(demo):
    assert min(record["score"] for record in scores(demo, "final")) >= 9
    assert max(record["score"] for record in scores(demo, "identity")) <= 1
