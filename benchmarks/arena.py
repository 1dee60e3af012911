"""Simulate comparisons in pairs: whether intervals hold the truth, and what the design saves.

    python benchmarks/arena.py
    python benchmarks/arena.py --tournaments 100

The judge is scripted. Each edit has a merit, its editor's strength plus Gumbel noise; being shown
first is worth `bias`; edits within `margin` of each other are equal. Its noise is of the edit, so
that both orders and all pairs of a sample see the same, or of the reply, drawn anew each time.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from lockstep import plan
from lockstep.figures import design
from lockstep.figures.pairs import Comparison, Reply, position_bias
from lockstep.figures.strengths import ANCHOR, POINT, strengths

SPREAD = 4.0
"""Strongest editor less weakest, in log odds: 695 rating points."""

BIAS = 0.4
"""Being shown first is worth 69 rating points."""

MARGIN = 0.2

Judge = Callable[[design.Pair], Comparison]


class Setting(NamedTuple):
    """One kind of tournament."""

    editors: int
    samples: int
    every: bool
    """Whether all pairs are compared, instead of those that the design chooses."""
    noise: Literal["edit", "reply"]

    @property
    def names(self) -> list[str]:
        return [f"editor-{k}" for k in range(self.editors)]

    @property
    def strengths(self) -> np.ndarray:
        return np.linspace(SPREAD / 2, -SPREAD / 2, self.editors)


class Outcome(NamedTuple):
    """Results of one simulated tournament."""

    comparisons: int
    held: np.ndarray
    """Whether each editor's interval holds its true rating."""
    width: float
    """Mean of the intervals' widths, in rating points."""
    bias_held: bool
    bias_found: bool
    """Whether the interval of the bias is above 0."""
    disagree: float
    """Share of comparisons in which the order decides."""
    ordered: bool
    """Whether all ratings stand in the true order."""
    contradicted: bool
    """Whether an editor is clearly above a stronger one."""


def judge(setting: Setting, generator: np.random.Generator) -> Judge:
    """Return a scripted judge of samples that are called 0, 1, …"""
    place = {name: number for number, name in enumerate(setting.names)}
    merits = setting.strengths + generator.gumbel(size=(setting.samples, setting.editors))

    def reply(sample: int, first: int, second: int) -> Reply:
        if setting.noise == "edit":
            x = merits[sample, first] - merits[sample, second] + BIAS
        else:
            difference = setting.strengths[first] - setting.strengths[second]
            x = difference + BIAS + generator.logistic()
        return "first" if x > MARGIN else "second" if x < -MARGIN else "equal"

    def compare(pair: design.Pair) -> Comparison:
        sample, one, other = int(pair.sample), place[pair.one], place[pair.other]
        return Comparison(*pair, reply(sample, one, other), reply(sample, other, one))

    return compare


def compared(setting: Setting, compare: Judge) -> list[Comparison]:
    """Return all comparisons of a tournament, round by round."""
    samples = {str(number): setting.names for number in range(setting.samples)}
    rounds = design.budgets(setting.samples, setting.editors)
    if setting.every:
        rounds = [setting.samples * setting.editors * (setting.editors - 1) // 2]
    done: list[Comparison] = []
    for budget in rounds:
        done += map(compare, design.choose(samples, setting.names, done, budget))
    return done


def tournament(setting: Setting, seed: int) -> Outcome:
    """Play a tournament and look at what is found of it."""
    done = compared(setting, judge(setting, np.random.default_rng(seed)))
    found = strengths(done, setting.names)
    rows = [found["editors"][name] for name in setting.names]
    truth = ANCHOR + POINT * setting.strengths
    low, high = np.array([row["ci95"] for row in rows]).T
    bias: dict[str, Any] = found["bias"]
    ratings = [row["rating"] for row in rows]
    return Outcome(
        comparisons=len(done),
        held=(low <= truth) & (truth <= high),
        width=float(np.mean(high - low)),
        bias_held=bias["ci95"][0] <= POINT * BIAS <= bias["ci95"][1],
        bias_found=bias["ci95"][0] > 0,
        disagree=position_bias(done)["share"],
        ordered=ratings == sorted(ratings, reverse=True),
        # editors are listed from strong to weak
        contradicted=any(row["clear"] and row["difference"] < 0 for row in found["differences"]),
    )


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return means over tournaments."""
    held = np.array([outcome.held for outcome in outcomes])
    return {"held": float(held.mean()), "least": float(held.mean(0).min())} | {
        name: float(np.mean([getattr(outcome, name) for outcome in outcomes]))
        for name in Outcome._fields
        if name != "held"
    }


def saving(noise: Literal["edit", "reply"], tournaments: int) -> None:
    """Print how wide intervals of the design are, against those of all pairs of 40 samples."""
    every = [tournament(Setting(8, 40, True, noise), seed) for seed in range(tournaments)]
    most, width = every[0].comparisons, np.mean([outcome.width for outcome in every])
    print(f"noise of {noise}: all pairs of 40 samples: {most} comparisons, width {width:.0f}")
    for samples in (40, 70):
        own = [tournament(Setting(8, samples, False, noise), seed) for seed in range(tournaments)]
        count, mean = own[0].comparisons, np.mean([outcome.width for outcome in own])
        print(
            f"noise of {noise}: design on {samples} samples: {count} comparisons "
            f"({count / most:.0%}), width {mean:.0f} ({mean / width:.2f} times)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tournaments", type=int, default=1000)
    tournaments = parser.parse_args().tournaments
    columns = (
        "editors",
        "samples",
        "comparisons",
        "noise of",
        "intervals that hold the truth (least of an editor)",
        "bias: interval holds it, is above 0",
        "orders disagree",
        "order right",
        "clear but wrong",
        "width",
    )
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for setting in (
        Setting(4, 50, True, "edit"),
        Setting(4, 50, True, "reply"),
        Setting(8, 50, False, "edit"),
        Setting(8, 50, False, "reply"),
    ):
        own = summary([tournament(setting, seed) for seed in range(tournaments)])
        kind = "all pairs" if setting.every or setting.editors <= plan.FEW_EDITORS else "design"
        print(
            f"| {setting.editors} | {setting.samples} | {own['comparisons']:.0f} ({kind}) | "
            f"{setting.noise} | {own['held']:.1%} ({own['least']:.1%}) | {own['bias_held']:.1%}, "
            f"{own['bias_found']:.1%} | {own['disagree']:.1%} | {own['ordered']:.1%} | "
            f"{own['contradicted']:.1%} | {own['width']:.0f} |",
            flush=True,
        )
    for noise in ("edit", "reply"):
        saving(noise, max(1, tournaments // 10))


if __name__ == "__main__":
    main()
