"""Simulate how often intervals hold the truth, and how often equal editors are called apart.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --replicates 400 --seed 7

Scores are bounded, skewed, tied or rarely 0, and depend on each other as those of a benchmark do:
each comes of a normal number that is partly its source image's, partly its sample's and partly its
own, and that a distribution's quantiles turn into a score. So each distribution has a mean that is
known, whatever depends on what.

A line is a number of samples, how many source images they share and how scores are distributed.
Each cell is the share of intervals that hold the truth, in percent; `too few` where there is none.
*Called clear* is how often two equal editors are called clearly apart. At the end stand all cells
that are not between 93 and 98, and the highest share of equal editors that are called apart.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import ndtr

from lockstep.figures import clusters
from lockstep.figures.correlations import MEASURES, correlations
from lockstep.figures.strengths import ANCHOR, POINT, of_counts

SCALE = (0.0, 10.0)

DIFFERENCES = (-10.0, 10.0)

SAMPLES = (10, 20, 30, 40, 50, 70, 100, 270, 1000)

SHARES = (0.3, 0.25, 0.2, 0.15, 0.1)
"""Of the samples in each of five categories."""

LOWER = (0.0, 1.5, 0.5, 2.5, 3.5)
"""By how much the scores of each category are lower."""

CLEAR = "called clear"

OF_MEANS = ("mean", "micro", "macro", "difference of equal editors", "of unequal editors", CLEAR)

POINTS = 4000
"""Quantiles that a distribution is made of."""

EXPECTED = (93.0, 98.0)


def quantiles() -> dict[str, np.ndarray]:
    """Return distributions of scores, each as its quantiles."""
    generator = np.random.default_rng(0)
    even = np.clip(np.round(generator.normal(6.5, 2.2, POINTS), 1), *SCALE)
    high = np.clip(np.round(generator.normal(8.5, 1, POINTS)), *SCALE)
    high[: POINTS // 20] = 0
    ties = np.repeat([0.0, 3, 5, 8, 10], np.array([5, 10, 15, 40, 30]) * POINTS // 100)
    found = {
        "even": even,
        "skewed": np.round(10 * generator.beta(4, 1, POINTS), 1),
        "five values": ties,
        "high, 5% 0": high,
        "0 or 10": np.repeat([0.0, 10], [POINTS // 5, POINTS - POINTS // 5]),
    }
    return {name: np.sort(own) for name, own in found.items()}


class Layout(NamedTuple):
    """How samples share source images and seeds."""

    name: str
    per_image: float
    """Samples of a source image, in the mean."""
    seeds: int = 1
    """Edits of each sample whose mean is its score."""

    def images(self, samples: int) -> int:
        return max(1, round(samples / self.per_image))


LAYOUTS = (
    Layout("own image", 1),
    Layout("5 samples on 3 images", 5 / 3),
    Layout("5 samples on 3 images, 3 seeds", 5 / 3, 3),
)


class Drawn(NamedTuple):
    """Normal numbers, and the cluster of each sample."""

    shared: np.ndarray
    """The part of a sample that both editors share: (replicates, samples, 1), variance 1."""
    first: np.ndarray
    """Of the first editor, of shape (replicates, samples, seeds), variance 1."""
    second: np.ndarray
    images: np.ndarray


def drawn(generator: np.random.Generator, replicates: int, samples: int, layout: Layout) -> Drawn:
    """Draw two editors' normal numbers: a third is the image's, a third the sample's."""
    count = layout.images(samples)
    further = generator.integers(0, count, samples - count)
    images = generator.permutation(np.concatenate([np.arange(count), further]))
    shared = generator.normal(size=(replicates, count))[:, images]
    shared = (shared + generator.normal(size=shared.shape))[..., None] / np.sqrt(2)
    own = generator.normal(size=(2, replicates, samples, layout.seeds))
    first, second = (np.sqrt(2) * shared + own) / np.sqrt(3)
    return Drawn(shared, first, second, images)


def scored(normal: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the mean over seeds of the scores of normal numbers."""
    places = np.minimum((ndtr(normal) * len(table)).astype(int), len(table) - 1)
    return np.asarray(table[places].mean(axis=-1))


def holds(ends: Sequence[float] | None, truth: float) -> float:
    """Return whether an interval holds the truth; NaN if there is none."""
    return np.nan if ends is None else float(ends[0] - 1e-9 <= truth <= ends[1] + 1e-9)


def of_means(
    generator: np.random.Generator,
    replicates: int,
    samples: int,
    layout: Layout,
    table: np.ndarray,
) -> dict[str, list[float]]:
    """Tell of means of one category, of five (micro, macro), and of two editors' difference."""
    sizes = [round(share * samples) for share in SHARES[1:]]
    starts = np.cumsum([0, samples - sum(sizes), *sizes])
    parts = [slice(*ends) for ends in itertools.pairwise(starts)]
    lower = [np.maximum(table - each, 0) for each in LOWER]
    truths = np.array([own.mean() for own in lower])
    weights = np.diff(starts) / samples
    found: dict[str, list[float]] = {name: [] for name in OF_MEANS}
    own = drawn(generator, replicates, samples, layout)
    labels = [own.images[part] for part in parts]
    for first, second in zip(own.first, own.second, strict=True):
        one, two = scored(first, table), scored(second, table)
        values = [scored(first[part], each) for part, each in zip(parts, lower, strict=True)]
        mean = clusters.mean([one], [own.images])
        micro, macro = (clusters.mean(values, labels, each) for each in (False, True))
        worse = scored(second, lower[1])
        alike, apart = (
            clusters.mean([(one - other)[part] for part in parts], labels) for other in (two, worse)
        )
        ends = clusters.interval(alike, DIFFERENCES, True)
        p = clusters.p_value(alike, DIFFERENCES)
        told = (
            holds(clusters.interval(mean, SCALE), table.mean()),
            holds(clusters.interval(micro, SCALE), float(weights @ truths)),
            holds(clusters.interval(macro, SCALE), float(truths.mean())),
            holds(ends, 0),
            holds(clusters.interval(apart, DIFFERENCES, True), truths[0] - truths[1]),
            np.nan if p is None else float(p < clusters.LEVEL and not holds(ends, 0)),
        )
        for name, each in zip(OF_MEANS, told, strict=True):
            found[name].append(each)
    return found


def edits(generator: np.random.Generator, shared: np.ndarray, editors: int) -> np.ndarray:
    """Return normal numbers of the judge and of people, of shape (2, samples, editors).

    Args:
        shared: what all edits of a sample share, of variance 1.
    """
    better = np.linspace(-0.8, 0.8, editors) if editors > 1 else np.zeros(1)
    quality = shared[:, None] + better + generator.normal(size=(len(shared), editors))
    seen = quality + generator.normal(size=(2, *quality.shape)) / 2
    return np.asarray(seen / np.sqrt(2.25 + better.var()))


def rated(normal: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the scores of the judge and those of people, who give 1 to 5."""
    people = np.repeat([1.0, 2, 3, 4, 5], np.array([10, 15, 25, 30, 20]) * POINTS // 100)
    both = zip(normal, (table, people), strict=True)
    return np.column_stack([scored(own.reshape(-1, 1), of) for own, of in both])


def of_correlations(
    generator: np.random.Generator,
    replicates: int,
    samples: int,
    layout: Layout,
    table: np.ndarray,
    editors: int,
    truth: Mapping[str, float],
) -> dict[str, list[float]]:
    """Tell of the judge's correlation with people, over some editors' edits of each sample."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    own = drawn(generator, replicates, samples, layout)
    for shared in own.shared[..., 0]:
        pairs = rated(edits(generator, shared, editors), table)
        row = correlations(pairs, np.repeat(own.images, editors))
        for name, results in found.items():
            results.append(holds(row[f"{name}_ci95"], truth[name]))
    return found


BIAS, MARGIN = 0.4, 0.3
"""Advantage of the edit shown first, and largest difference of edits called equal."""


def of_strengths(
    generator: np.random.Generator,
    replicates: int,
    samples: int,
    layout: Layout,
    spread: float,
    editors: int = 4,
) -> dict[str, list[float]]:
    """Tell of the strengths of editors that meet in all pairs, of their differences and the bias.

    Half of the samples have their image's merits, so that edits of one image win together.

    Args:
        spread: strongest editor less weakest, in log odds.
    """
    truth = np.linspace(spread / 2, -spread / 2, editors)
    names = [f"editor-{k}" for k in range(editors)]
    one, other = np.triu_indices(editors, 1)
    count = layout.images(samples)
    found: dict[str, list[float]] = {"rating": [], "difference": [], "bias": []}
    for _ in range(replicates):
        images = np.concatenate([np.arange(count), generator.integers(0, count, samples - count)])
        of_image = generator.gumbel(size=(count, editors))[images]
        same = generator.random((samples, 1)) < 0.5
        merits = truth + np.where(same, of_image, generator.gumbel(size=(samples, editors)))
        counts = np.zeros((samples, editors, editors, 3))
        for a, b in ((one, other), (other, one)):
            x = merits[:, a] - merits[:, b] + BIAS
            reply = np.where(x > MARGIN, 0, np.where(x < -MARGIN, 1, 2))
            counts[np.arange(samples)[:, None], a, b, reply] = 1
        told = of_counts(counts, images, names)
        first = told["editors"][names[0]]["ci95"]
        found["rating"].append(holds(first, ANCHOR + POINT * truth[0]))
        apart = POINT * (truth[0] - truth[1])
        found["difference"].append(holds(told["differences"][0]["ci95"], apart))
        found["bias"].append(holds(told["bias"]["ci95"], POINT * BIAS))
    return found


RARE = (1, 2, 3, 3.5, 4, 5, 8)


def of_nothing(generator: np.random.Generator, replicates: int, samples: int, rare: float) -> float:
    """Return how often editors are called clearly apart whose differences are all but equal.

    All differences are one small number, but for a few that are as far the other way as can be, so
    that the mean of all is 0.

    Args:
        rare: number of the latter that there are in the mean.
    """
    share = rare / samples
    clear = 0
    for _ in range(replicates):
        differences = np.full(samples, 10 * share / (1 - share))
        differences[generator.random(samples) < share] = -10
        found = clusters.mean([differences], [range(samples)])
        p = clusters.p_value(found, DIFFERENCES)
        clear += p is not None and p < clusters.LEVEL
    return 100 * clear / replicates


class Table:
    """Lines as Markdown, and the cells that are not as expected."""

    outside: ClassVar[list[str]] = []
    every: ClassVar[list[float]] = []
    clear: ClassVar[list[float]] = []

    def __init__(self, title: str, names: Sequence[str]) -> None:
        self.title = title
        print(f"\n{title}\n\n| samples | images | {' | '.join(names)} |")
        print("|---" * (len(names) + 2) + "|")

    def line(self, samples: int, layout: Layout, cells: dict[str, list[float]]) -> None:
        head = [str(samples), layout.name]
        for name, held in cells.items():
            share = 100 * float(np.mean(held))
            head.append("too few" if np.isnan(share) else f"{share:.1f}")
            if name == CLEAR:
                self.clear.append(share)
            elif not np.isnan(share):
                self.every.append(share)
                if not EXPECTED[0] <= share <= EXPECTED[1]:
                    cell = f"{self.title}: {samples} samples, {layout.name}, {name}"
                    self.outside.append(f"{cell}: {share:.1f}")
        print(f"| {' | '.join(head)} |", flush=True)

    @classmethod
    def end(cls) -> None:
        low, high = EXPECTED
        print(f"\n{len(cls.every)} cells hold {min(cls.every):.1f} to {max(cls.every):.1f}%")
        print(f"{len(cls.outside)} are not between {low:g} and {high:g}%:")
        print("\n".join(cls.outside))
        print(f"equal editors are called clearly apart in at most {np.nanmax(cls.clear):.1f}%")


def sizes(replicates: int, layouts: Sequence[Layout]) -> Iterator[tuple[int, Layout, int]]:
    """Yield numbers of samples, what they share, and how often to draw them."""
    for samples, layout in itertools.product(SAMPLES, layouts):
        few = layout.images(samples) < clusters.FEWEST
        yield samples, layout, 1 if few else replicates


def means(generator: np.random.Generator, replicates: int) -> None:
    """Print of means and differences of scores."""
    for name, table in quantiles().items():
        lines = Table(f"Scores: {name}", OF_MEANS)
        for samples, layout, count in sizes(replicates, LAYOUTS):
            cells = of_means(generator, count, samples, layout, table)
            lines.line(samples, layout, cells)


def agreement(generator: np.random.Generator, replicates: int) -> None:
    """Print of correlations of a judge with people."""
    tables = quantiles()
    for name, editors in itertools.product(("skewed", "high, 5% 0"), (1, 8)):
        title = f"Correlation with people: {name}, {editors} editor{'s' * (editors > 1)}"
        lines = Table(title, list(MEASURES))
        many = generator.normal(size=1_000_000 // editors)
        every = rated(edits(generator, many, editors), tables[name])
        truth = {name: own(*every.T).value for name, own in MEASURES.items()}
        for samples, layout, count in sizes(replicates, LAYOUTS[:2]):
            told = (generator, count, samples, layout, tables[name], editors, truth)
            lines.line(samples, layout, of_correlations(*told))


def pairs(generator: np.random.Generator, replicates: int) -> None:
    """Print of strengths from comparisons in pairs."""
    for spread in (0.0, 4.0):
        title = f"Strengths of four editors, the first {POINT * spread:.0f} above the last"
        lines = Table(title, ("rating", "difference", "position bias"))
        for samples, layout, count in sizes(replicates, LAYOUTS[:2]):
            cells = of_strengths(generator, count, samples, layout, spread)
            lines.line(samples, layout, cells)


def nothing(generator: np.random.Generator, replicates: int) -> None:
    """Print of equal editors whose differences are all but equal."""
    print("\nEqual editors called clearly apart, %, whose differences are all but equal\n")
    print("| samples |", " | ".join(f"{rare:g} far ones" for rare in RARE), "|")
    print("|---" * (len(RARE) + 1) + "|")
    most = 0.0
    for samples in SAMPLES:
        row = [of_nothing(generator, replicates, samples, rare) for rare in RARE]
        most = max(most, *row)
        print(f"| {samples} | " + " | ".join(f"{share:.1f}" for share in row) + " |", flush=True)
    print(f"\nat most {most:.1f}%")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicates", type=int, default=4000, help="of each cell")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    replicates, seed, start = arguments.replicates, arguments.seed, time.monotonic()
    print(f"{replicates} replicates a cell, seed {seed}; % of intervals that hold the truth")
    for number, part in enumerate((means, agreement, pairs, nothing)):
        part(np.random.default_rng([seed, number]), replicates)
    Table.end()
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
