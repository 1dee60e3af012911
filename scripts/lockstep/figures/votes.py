"""Votes of people on pairs of edits, and a judge's agreement with them, as GenAI-Bench counts it.

A row has `human_vote` (or `vote_type`): leftvote, rightvote, tievote or bothbad_vote; and the
judge's reply in the first of the columns `judge_vote`, `model_vote` and `response` that is there.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import binomtest

from lockstep.benchmark.score_files import read_rows
from lockstep.errors import ConfigError, counted, suggest
from lockstep.rubrics.replies import Vote, vote_in

BY_HUMANS: dict[str, Vote] = {
    "leftvote": "A better",
    "rightvote": "B better",
    "tievote": "both good",
    "bothbad_vote": "both bad",
}

EQUAL = ("both good", "both bad", "equal")

HUMAN_COLUMNS = ("human_vote", "vote_type")

JUDGE_COLUMNS = ("judge_vote", "model_vote", "response")


class Voted(NamedTuple):
    """One vote of people, and the judge's."""

    human: Vote
    judge: Vote | None
    """None where it gave no valid one."""


def read_votes(path: Path) -> list[Voted]:
    """Read votes from a CSV, JSON, JSON lines or Parquet file.

    Raises:
        ConfigError: if it has none, or a vote of people that is none of the four.
    """
    columns, rows = read_rows(path)
    if not rows:
        raise ConfigError(f"{path}: expected votes, found none")
    human, judge = (_column(path, columns, names) for names in (HUMAN_COLUMNS, JUDGE_COLUMNS))
    return [
        Voted(human_vote(place, human, row.get(human)), vote_in(row.get(judge)))
        for place, row in rows
    ]


def human_vote(place: str, column: str, value: Any) -> Vote:
    """Return a vote of people.

    Raises:
        ConfigError: if it is none of the four.
    """
    if not isinstance(value, str) or value not in BY_HUMANS:
        expected = ", ".join(BY_HUMANS)
        hint = suggest(value, list(BY_HUMANS)) if isinstance(value, str) else ""
        raise ConfigError(f"{place}: {column}: expected {expected}, found {value!r:.60}{hint}")
    return BY_HUMANS[value]


def vote_agreement(votes: Sequence[Voted]) -> dict[str, Any]:
    """Return how often a judge votes as people do.

    Returns:
        `count` of pairs, `equal` votes and their `share` with its `ci95` (Wilson 1927), as
        GenAI-Bench publishes it: a vote that is not valid counts as another one, and an `equal` of
        the judge fits both kinds of people's. `valid` votes and `valid_share`, the share of them;
        `three_way_share`, of all pairs, with both kinds of equal taken for one; and `table`, the
        number of pairs by people's vote and the judge's (`not valid` last).
    """
    count = len(votes)
    equal = sum(_same(vote) for vote in votes)
    valid = [vote for vote in votes if vote.judge is not None]
    three = sum(vote.judge == vote.human or {*vote} <= {*EQUAL} for vote in votes)
    pairs = Counter(votes)
    names = (*BY_HUMANS.values(), "equal", None)
    interval = binomtest(equal, count).proportion_ci(method="wilson") if count else None
    return {
        "count": count,
        "equal": equal,
        "share": equal / count if count else None,
        "ci95": None if interval is None else [float(interval.low), float(interval.high)],
        "valid": len(valid),
        "valid_share": equal / len(valid) if valid else None,
        "three_way_share": three / count if count else None,
        "table": {
            human: {name or "not valid": pairs[Voted(human, name)] for name in names}
            for human in BY_HUMANS.values()
        },
    }


def lines(agreement: dict[str, Any]) -> list[str]:
    """Return an agreement as lines of text, in percent."""
    low, high = agreement["ci95"]
    three, valid_share = agreement["three_way_share"], agreement["valid_share"]
    valid = "–" if valid_share is None else f"{valid_share:.2%}"
    columns = list(agreement["table"]["A better"])
    pairs = counted(agreement["count"], "pair")
    return [
        f"The judge votes as people do on {agreement['share']:.2%} of {pairs} "
        f"({agreement['equal']}; 95% interval {low:.2%} to {high:.2%}).",
        f"Of its {agreement['valid']} valid votes: {valid}.",
        f"With both good and both bad as one vote: {three:.2%}.",
        "",
        " ".join(f"{name:>10}" for name in ("humans", *columns)),
        *(
            " ".join(f"{cell:>10}" for cell in (human, *row.values()))
            for human, row in agreement["table"].items()
        ),
    ]


def _same(vote: Voted) -> bool:
    return vote.judge == vote.human or (vote.judge == "equal" and vote.human in EQUAL)


def _column(path: Path, columns: Sequence[str], names: Sequence[str]) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        expected, there = " or ".join(names), ", ".join(columns)
        raise ConfigError(f"{path}: expected a column {expected}, found {there}")
    return found
