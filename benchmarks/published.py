"""Reproduce a published summary from the raw scores behind it.

python benchmarks/published.py FOLDER

The folder holds `scores.csv` (editor, category, id, score) and `published.json`, which gives `mean`
and `count` by category and editor. Scores are taken from 0 to 1; `--scale 0 10` says otherwise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, nargs=2, default=(0, 1))
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    published = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    found = aggregate(folder / "scores.csv", arguments.scale)
    cells = equal = 0
    for category, editors in published.items():
        for editor, expected in editors.items():
            row = found["editors"][editor]["categories"][category]
            same = f"{row['mean']:.4f}" == f"{expected['mean']:.4f}"
            same &= row["count"] == expected["count"]
            cells, equal = cells + 1, equal + same
            if not same:
                print(f"{category}, {editor}: {row['mean']:.4f} of {row['count']}, not {expected}")
    print(f"{equal} of {cells} published cells come out to four decimals, with their counts")
    sys.exit(equal != cells)


def aggregate(scores: Path, scale: tuple[float, float]) -> dict:
    """Return what the target compare makes of a file of scores."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        given = {"compare": {"sources": {"published": str(scores)}, "scale": list(scale)}}
        config.write_text(json.dumps(given), encoding="utf-8")
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        run = [*snakemake, "--directory", folder, "--configfile", str(config)]
        subprocess.run(run, check=True)
        report = Path(folder) / "results" / "compare" / "compare.json"
        return json.loads(report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
