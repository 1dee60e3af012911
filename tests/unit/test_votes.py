"""Votes of people on pairs of edits, and a judge's agreement with them."""

import json

import pandas as pd
import pytest

from lockstep.errors import ConfigError
from lockstep.figures.votes import lines, read_votes, vote_agreement
from lockstep.rubrics.replies import vote_in
from tests.unit.test_command_line import run

HUMAN = ["leftvote", "rightvote", "tievote", "bothbad_vote"]
JUDGE = ["[[A>B]]", "[[B>A]]", "[[A=B=Good]]", "[[A=B=Bad]]", "[[A=B]]", "neither"]
ROWS = [
    {"id": f"{human}-{number}", "human_vote": human, "judge_vote": judge}
    for human in HUMAN
    for number, judge in enumerate(JUDGE)
]
"""Each vote of people with each vote of a judge."""


def written(path, rows):
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_votes_are_counted_as_their_authors_count(suffix, tmp_path):
    found = vote_agreement(read_votes(written(tmp_path / f"votes.{suffix}", ROWS)))
    # four that are the same, and two of people's equal with a plain one; what is not valid is wrong
    assert (found["count"], found["equal"], found["share"]) == (24, 6, 6 / 24)
    assert (found["valid"], found["valid_share"]) == (20, 6 / 20)
    # two equal votes by three more
    assert found["three_way_share"] == 8 / 24
    assert found["table"]["both bad"] == dict.fromkeys(
        ["A better", "B better", "both good", "both bad", "equal", "not valid"], 1
    )
    low, high = found["ci95"]
    assert low < 6 / 24 < high


def test_a_wilson_interval_is_the_published_one():
    # Newcombe 1998, table I: 81 of 263
    rows = [{"human_vote": "leftvote", "judge_vote": JUDGE[k >= 81]} for k in range(263)]
    found = vote_agreement([vote for row in rows for vote in [as_voted(row)]])
    assert found["ci95"] == pytest.approx([0.2553, 0.3662], abs=5e-5)


def as_voted(row):
    from lockstep.figures.votes import BY_HUMANS, Voted

    return Voted(BY_HUMANS[row["human_vote"]], vote_in(row["judge_vote"]))


@pytest.mark.parametrize(
    ("reply", "vote"),
    [
        ("I think so.\n[[A>B]] is my choice", "A better"),
        ("[[B>>A]]", "B better"),
        ("[[A=B]]", "equal"),
        ("[[A>B]] or [[B>A]]", None),
        ("[[a>b]]", None),
        ("A>B", None),
        ("[[A>\nB]]", None),
        ("", None),
        (None, None),
        (float("nan"), None),
        (7, None),
    ],
)
def test_a_judges_vote_is_what_stands_in_double_brackets(reply, vote):
    assert vote_in(reply) == vote


def test_files_as_the_benchmark_writes_them_are_read(tmp_path):
    rows = [
        {"idx": 0, "response": "so [[A>B]]", "model_vote": "[[A>B]]", "human_vote": "leftvote"},
        {"idx": 1, "response": "no", "model_vote": None, "human_vote": "leftvote"},
    ]
    assert vote_agreement(read_votes(written(tmp_path / "v.json", rows)))["share"] == 0.5
    rows = [{"vote_type": "tievote", "response": "well, [[A=B=Good]]"}]
    assert vote_agreement(read_votes(written(tmp_path / "v.jsonl", rows)))["share"] == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "expected votes, found none"),
        (
            [{"judge_vote": "[[A>B]]"}],
            "expected a column human_vote or vote_type, found judge_vote",
        ),
        ([{"human_vote": "leftvote"}], "expected a column judge_vote or model_vote or response"),
        ([*ROWS[:1], {**ROWS[0], "human_vote": "left_vote"}], "item 2: human_vote: expected"),
        ([{**ROWS[0], "human_vote": None}], "item 1: human_vote: expected leftvote, rightvote"),
        ([{**ROWS[0], "human_vote": ["leftvote"]}], "found ['leftvote']"),
        ([1], "item 1: expected an object, found 1"),
    ],
)
def test_what_is_no_file_of_votes_is_one_sentence(rows, said, tmp_path):
    path = written(tmp_path / "votes.json", rows)
    with pytest.raises(ConfigError, match="votes") as raised:
        read_votes(path)
    assert said in str(raised.value)


def test_a_command_tells_the_agreement(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / "votes.json", ROWS)
    assert not run(monkeypatch, "votes", str(path))
    printed = capsys.readouterr().out
    assert "The judge votes as people do on 25.00% of 24 pairs (6;" in printed
    assert "Of its 20 valid votes: 30.00%." in printed
    assert run(monkeypatch, "votes", str(tmp_path / "none.json")).startswith("Error: ")
    path.write_text("[{}, ", encoding="utf-8")
    assert "broken JSON" in run(monkeypatch, "votes", str(path))


def test_a_judge_without_a_valid_vote_agrees_with_nobody(tmp_path):
    path = written(tmp_path / "votes.json", [ROWS[5]])
    found = vote_agreement(read_votes(path))
    assert (found["share"], found["valid_share"]) == (0, None)
    assert "Of its 0 valid votes: –." in "\n".join(lines(found))
