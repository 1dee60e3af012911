"""Comparisons of edits in pairs: verdicts, wins, position bias, and agreement with scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import kendalltau, spearmanr

from lockstep.records import PairRecord
from lockstep.rubrics.ties import settled

Reply = Literal["first", "second", "equal"]
"""The edit that a judge names, by the place in which it is shown."""

Verdict = Literal["one", "other", "tie"]

SHOWN = 20
"""Most comparisons that are listed against scores."""


class Comparison(NamedTuple):
    """Two editors' edits of a sample, judged in both orders."""

    sample: str
    one: str
    """Editor whose edit is shown first in the order `forward`."""
    other: str
    forward: Reply
    backward: Reply
    """With `other` shown first."""

    @property
    def verdict(self) -> Verdict:
        """The edit that both orders name; a tie where they call them equal or disagree."""
        if (self.forward, self.backward) == ("first", "second"):
            return "one"
        if (self.forward, self.backward) == ("second", "first"):
            return "other"
        return "tie"

    @property
    def disagrees(self) -> bool:
        """Whether the order decides the reply."""
        return self.verdict == "tie" and (self.forward, self.backward) != ("equal", "equal")


def comparisons(found: Sequence[PairRecord]) -> list[Comparison]:
    """Return the comparisons that have both replies."""
    return [
        Comparison(f"{each.category}/{each.id}", each.one, each.other, each.forward, each.backward)
        for each in found
        if each.status == "ok" and each.forward is not None and each.backward is not None
    ]


def matrix(comparisons: Sequence[Comparison], editors: Sequence[str]) -> list[dict[str, Any]]:
    """Return `wins`, `ties` and `losses` of each editor against each other that it met.

    `disagreeing` are those of the ties in which the two orders disagree.
    """
    cells: dict[tuple[str, str], Counter[str]] = {}
    for each in comparisons:
        for editor, other, won in ((each.one, each.other, "one"), (each.other, each.one, "other")):
            what = "ties" if each.verdict == "tie" else "wins" if each.verdict == won else "losses"
            cell = cells.setdefault((editor, other), Counter())
            cell.update([what])
            cell.update(["disagreeing"] if each.disagrees else [])
    names = ("wins", "ties", "losses", "disagreeing")
    return [
        {"editor": a, "against": b, **{name: cells[a, b][name] for name in names}}
        for a in editors
        for b in editors
        if (a, b) in cells
    ]


def position_bias(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Tell how often the order of showing decides.

    Returns:
        `comparisons`, the number of those that `disagree` with their `share`, of these those that
        name the `first` in both orders, or the `second`; the rest calls edits equal in one order.
    """
    disagreeing = [each for each in comparisons if each.disagrees]
    both = Counter(each.forward for each in disagreeing if each.forward == each.backward)
    return {
        "comparisons": len(comparisons),
        "disagree": len(disagreeing),
        "share": len(disagreeing) / len(comparisons) if comparisons else None,
        "first": both["first"],
        "second": both["second"],
    }


def against_scores(
    comparisons: Sequence[Comparison],
    ratings: Mapping[str, float],
    scores: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Compare verdicts and ratings with scores of the same edits.

    Args:
        ratings: of editors, by comparisons.
        scores: of samples, by editor; edits without a score are in no number.

    Returns:
        Over editors, by their ratings and their mean scores: `editors` that have both, `spearman`
        and `kendall` (tau-b) of them (None for fewer than three, or equal numbers), and `reversed`,
        the pairs of editors that the two order otherwise. Over comparisons with a winner: how many
        winners have the higher score (`agree`), the lower one (`oppose`), or the same (`same`),
        and `opposed`, the comparisons with the largest differences against the verdict.
    """
    means = {editor: float(settled(fmean(own.values()))) for editor, own in scores.items() if own}
    known = [editor for editor in ratings if editor in means]
    pairs = settled(np.array([(ratings[e], means[e]) for e in known])).reshape(-1, 2)
    varied = len(known) > 2 and bool((np.ptp(pairs, axis=0) > 0).all())
    differences = []
    for each in comparisons:
        own = [scores.get(editor, {}).get(each.sample) for editor in (each.one, each.other)]
        if each.verdict != "tie" and None not in own:
            won = (own[0] - own[1]) * (1 if each.verdict == "one" else -1)  # type: ignore[operator]
            differences.append((float(settled(won)), each))
    opposed = sorted((item for item in differences if item[0] < 0), key=lambda item: item[0])
    return {
        "editors": len(known),
        "spearman": float(spearmanr(*pairs.T).statistic) if varied else None,
        "kendall": float(kendalltau(*pairs.T).statistic) if varied else None,
        "reversed": [
            {"better_in_pairs": a, "better_by_scores": b}
            for a in known
            for b in known
            if ratings[a] > ratings[b] and means[a] < means[b]
        ],
        "agree": sum(difference > 0 for difference, _ in differences),
        "oppose": len(opposed),
        "same": sum(difference == 0 for difference, _ in differences),
        "opposed": [
            {
                "sample": each.sample,
                "winner": each.one if each.verdict == "one" else each.other,
                "loser": each.other if each.verdict == "one" else each.one,
                "difference": difference,
            }
            for difference, each in opposed[:SHOWN]
        ],
    }
