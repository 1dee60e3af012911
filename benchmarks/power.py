"""Hold the report's detectable differences against a simulation by resampling samples and seeds.

    snakemake --configfile config/demo.yaml --config seeds_per_sample=3 results=results/seeds
    python benchmarks/power.py results/seeds

For each two editors of the report's tables, many runs of some size are drawn from this one: samples
with replacement, and of each so many seeds without. 2.80 standard deviations of their differences
stand beside the difference that the report says could be found.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from lockstep import layout
from lockstep.figures import seeds
from lockstep.figures.tables import read_table

RUNS = 3000
ERRORS = 2.8016
"""Standard errors of a difference that a two-sided test at 5% finds in 80% of all cases."""


def scores(results: Path, names: list[str], categories: list[str]) -> pd.DataFrame:
    """Return the score of each sample (row) and seed (column)."""
    found = {}
    for category in categories:
        frames = [read_table(layout.table(results, name, category)) for name in names]
        found[category] = seeds.values(frames, [frame["score"] for frame in frames])
    return pd.concat(found).dropna()


def simulated(
    first: np.ndarray, second: np.ndarray, samples: int, count: int, rng: np.random.Generator
) -> float:
    """Return the detectable difference of runs with so many samples and seeds."""
    differences = []
    for _ in range(RUNS):
        rows = rng.integers(0, len(first), samples)
        one, two = (rng.permuted(own[rows], axis=1)[:, :count] for own in (first, second))
        differences.append(one.mean() - two.mean())
    return ERRORS * float(np.std(differences))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    results = parser.parse_args().results
    report = json.loads((results / "report" / "report.json").read_text(encoding="utf-8"))
    names = {one["editor"]: one["names"] for one in report["seeds"]}
    rng = np.random.default_rng(0)
    for own in report["power"]:
        categories = list(report["editors"][own["first"]]["categories"])
        one, two = (scores(results, names[own[e]], categories) for e in ("first", "second"))
        both = one.index.intersection(two.index)
        values = [each.loc[both].to_numpy(dtype=float) for each in (one, two)]
        print(f"{own['first']} and {own['second']}: samples, seeds, report, simulation, ratio")
        for samples, row in own["detectable"].items():
            for count, told in zip(own["seeds"], row, strict=True):
                if count <= values[0].shape[1]:
                    drawn = simulated(*values, int(samples), count, rng)
                    print(f"{samples:>6} {count:>3} {told:8.3f} {drawn:8.3f} {told / drawn:6.2f}")


if __name__ == "__main__":
    main()
