"""What a run came to, told at its end."""

import logging
import types

import pandas as pd
import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_lockstep as plugin
from lockstep import layout
from lockstep.errors import SharedError, counted
from lockstep.figures import outcomes, tables
from lockstep.records.columns import COLUMNS
from lockstep.records.failures import sentence
from snakemake_logger_plugin_lockstep.failures import Failures, Job


def table(folder, name, *rows):
    """Write a table of rows of status and error."""
    frame = pd.DataFrame({column: [None] * len(rows) for column in COLUMNS})
    frame["id"], frame["category"] = [f"{name}-{i}" for i in range(len(rows))], "c"
    frame["status"], frame["error"] = zip(*rows, strict=True)
    path = folder / f"{name}.csv"
    path.write_text(tables.to_csv(frame), encoding="utf-8")
    return {"c": path}


OK, SKIPPED = ("ok", None), ("skipped", "two images")


def lost(error="no image"):
    return ("edit_failed", error)


def unread(error="no score"):
    return ("judge_failed", error)


def test_a_run_tells_the_commonest_reasons_of_what_failed(tmp_path):
    first = table(tmp_path, "a", OK, lost("a-1: gone"), lost("a-2: gone"), lost("slow"), SKIPPED)
    second = table(tmp_path, "b", unread())
    assert outcomes.told({"one": first, "other": second}, ()) == [
        "3 of 5 edits failed, 2 of them for this reason: …: gone",
        "1 of 2 judgements failed: no score",
    ]
    assert outcomes.told({"one": table(tmp_path, "c", OK, SKIPPED)}, ()) == []
    assert outcomes.told({"one": table(tmp_path, "d", SKIPPED)}, ()) == []


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([lost("of x")], "at least one edit that succeeded, found none: 1 of 1 edit failed: of x;"),
        ([lost("x"), lost("y"), SKIPPED], "2 of 2 edits failed, 1 of them for this reason: x;"),
        ([unread(), lost()], "at least one judgement that succeeded, found none: 1 of 1 judgement"),
    ],
)
def test_a_run_in_which_nothing_succeeded_is_no_success(tmp_path, rows, told):
    files = {"one": table(tmp_path, "a", *rows)}
    with pytest.raises(SharedError, match=told):
        outcomes.told(files, ())
    # a copy of the source does not make it one, and another editor does
    beside = {**files, "two": table(tmp_path, "b", OK)}
    with pytest.raises(SharedError, match=told):
        outcomes.told(beside, ["two"])
    assert outcomes.told(beside, ())


def test_a_reason_of_one_sample_keeps_its_id():
    assert sentence([("s1", "s1: gone")], 3, "edit") == "1 of 3 edits failed: s1: gone"
    assert sentence([("s1", None)], 1, "edit") == "1 of 1 edit failed: no reason given"
    assert sentence([], 1, "edit") == ""


def test_numbers_and_nouns_agree():
    assert [counted(number, "edit") for number in (0, 1, 2)] == ["0 edits", "1 edit", "2 edits"]
    assert counted(2, "category", "categories") == "2 categories"


@pytest.mark.parametrize("final", [True, False])
def test_a_job_that_no_other_try_would_help_is_said_to_have_failed_once(
    tmp_path, monkeypatch, final
):
    monkeypatch.setenv("LOCKSTEP_RUN", "one")
    log = tmp_path / "prepare.log"
    layout.given_up(log).write_text(
        f"12:00:00 not tried again in run {'one' if final else 'another'}\n\0no"
    )
    settings = types.SimpleNamespace(
        quiet=None, show_failed_logs=False, dryrun=False, verbose=False
    )
    lines = plugin._Lines(settings, counts=False)

    def said(text, **further):
        record = logging.LogRecord("s", logging.INFO, "", 0, text, (), None)
        vars(record).update(further)
        return lines.format(record)

    failed = {"event": LogEvent.JOB_ERROR, "jobid": 7, "rule_name": "prepare", "log": [str(log)]}
    told = [said("", **failed), said("Trying to restart job 7."), said("", **failed)]
    assert "FAILED prepare" in told[0] and told[0].startswith("Error: no\n") == final
    assert [bool(line) for line in told[1:]] == [not final] * 2


def test_what_all_shards_fail_of_is_told_once_with_their_number():
    failures = Failures()

    def told(category, shard, reason="no GPU (cpu0)", what="editing {} with e, shard {}"):
        job = Job(what.format(category, shard), {"category": category, "shard": str(shard)})
        return failures.told(job, reason, f"FAILED {category} {shard}")

    assert told("物理", 1) == "Error: no GPU (cpu0)\nFAILED 物理 1"
    assert told("物理", 0, "no GPU (cpu1)") == ""
    assert told("social", 0) == "FAILED social 0"
    assert told("物理", 11, "no disk") == "Error: no disk\nFAILED 物理 11"
    # what is no shard is always told
    assert [told("a", 0, "x", "reading") for _ in range(2)] == [
        "Error: x\nFAILED a 0",
        "FAILED a 0",
    ]
    assert failures.summary() == "FAILED editing 物理 with e: 2 shards alike\n"
