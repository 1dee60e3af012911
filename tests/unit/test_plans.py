"""The plan that a run says once, before it edits."""

import json

import pytest

from lockstep import layout, records
from lockstep.config.load import of_job
from lockstep.jobs import plans

SERVED = {"type": "openai_images", "model": "m", "url": "http://localhost:1/v1", "concurrency": 8}


@pytest.fixture
def settings(tmp_path):
    def made(*editors, **devices):
        return of_job(
            {
                "results": str(tmp_path),
                "benchmark": {"path": "b.csv", "format": "table", "categories": ["a", "b"]},
                "editors": [{"name": own, "type": "identity"} for own in editors],
                "judge": {"type": "precomputed", "folder": "replies"},
                "devices": devices,
            }
        )

    return made


def edit(editor, category, shard=0):
    own = {"editor": editor, "category": category, "shard": str(shard), "shards": "4"}
    return ("scripts/rules/edit_shard.py", own)


def test_editors_that_edit_alike_share_a_line(settings, monkeypatch):
    monkeypatch.delenv("LOCKSTEP_SLOTS", raising=False)
    counts = {"a": 5, "b": 1}
    assert list(plans.lines(settings("x"), 4, counts)) == [
        "plan of x: 6 samples in 2 categories, 4 devices, in lockstep, 2 waves"
    ]
    several = settings("v", "w", "x", "y", "z", schedule="free")
    assert list(plans.lines(several, 1, {"a": 1})) == [
        "plan of v, w, x and 2 others: 1 sample in 1 category, 1 device, free, no device waits "
        "for another"
    ]
    monkeypatch.setenv("LOCKSTEP_SLOTS", "1")
    (line,) = plans.lines(settings("x", "y"), 3, counts)
    assert line.startswith("plan of x and y: ")
    assert line.endswith(", 2 waves; only 1 of 3 run at a time and keep step")


def test_editors_behind_servers_have_a_line_of_their_own(settings, monkeypatch):
    monkeypatch.delenv("LOCKSTEP_SLOTS", raising=False)
    data = json.loads(settings("x").model_dump_json())
    data["editors"].append({"name": "served", **SERVED})
    first, second = plans.lines(of_job(data), 4, {"a": 4})
    assert first.startswith("plan of x: ")
    assert second == (
        "plan of served: 4 samples in 1 category, through a server, 2 at a time in each of 4 jobs"
    )


def test_a_start_tells_what_it_edits_and_leaves_the_rest_to_who_reads_the_benchmark(
    settings, monkeypatch, tmp_path
):
    monkeypatch.delenv("LOCKSTEP_SLOTS", raising=False)
    own = settings("x", "y")
    records.write_json(layout.counts(tmp_path), {"a": 4, "b": 2})
    jobs = [edit("y", "b", shard) for shard in range(4)]
    assert list(plans.at_start(own, 4, jobs)) == [
        "plan of y: 2 samples in 1 category, 4 devices, in lockstep, 1 wave"
    ]
    assert list(plans.at_start(own, 4, [*jobs, ("prepare_manifests.py", {})])) == []
    assert list(plans.at_start(own, 4, [("write_report.py", {})])) == []
