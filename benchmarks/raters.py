"""Reproduce the published agreement of ImagenHub's raters.

python benchmarks/raters.py FOLDER

The folder holds `Subject-Driven_IE_rater{1,2,3}.tsv` (uid, and a column of [SC, PR] for each
editor) of TIGER-AI-Lab/ImagenHub. They are written as a file of people's scores, which
`python -m lockstep agreement` reads.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

SCALES = ("SC", "PR", "overall")

PUBLISHED = {
    "BLIPDiffusion_Edit": {"SC": (0.44, 0.50), "PR": (0.26, 0.33), "overall": (0.41, 0.47)},
    "DreamEdit": {"SC": (0.45, 0.57), "PR": (0.13, 0.18), "overall": (0.33, 0.52)},
    "PhotoSwap": {"SC": (0.33, 0.44), "PR": (0.15, 0.23), "overall": (0.35, 0.46)},
}
"""Fleiss' kappa and Krippendorff's alpha (ordinal) of three raters, by editor and scale."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder) / "humans.csv"
        write_scores(arguments.folder, scores)
        printed = agreement(scores)
    print(printed)
    header, *rows = [line.split("  ") for line in printed.splitlines()]
    names = [cell.strip() for cell in header if cell.strip()]
    found = [
        dict(zip(names, [cell.strip() for cell in row if cell.strip()], strict=True))
        for row in rows
    ]
    equal = count = 0
    for editor, scales in PUBLISHED.items():
        for scale, expected in scales.items():
            (row,) = [
                row
                for row in found
                if (row["scale"], row["category"], row["editor"]) == (scale, "overall", editor)
            ]
            for name, value in zip(("kappa", "alpha (ordinal)"), expected, strict=True):
                same = f"{float(row[name]):.2f}" == f"{value:.2f}"
                count, equal = count + 1, equal + same
                if not same:
                    print(f"{editor}, {scale}: {name} {row[name]}, not {value}")
    print(f"{equal} of {count} published figures come out to two decimals")
    sys.exit(equal != count)


def write_scores(folder: Path, path: Path) -> None:
    """Write the raters' files as one file of scores."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "editor", "rater", *SCALES])
        for number in (1, 2, 3):
            source = folder / f"Subject-Driven_IE_rater{number}.tsv"
            with source.open(newline="", encoding="utf-8") as rows:
                for row in csv.DictReader(rows, delimiter="\t"):
                    for editor in PUBLISHED:
                        consistency, realism = json.loads(row[editor])
                        overall = math.sqrt(consistency * realism)
                        values = (consistency, realism, overall)
                        writer.writerow([row["uid"], editor, f"rater{number}", *values])


def agreement(scores: Path) -> str:
    """Return what the command prints of a file of scores."""
    command = [sys.executable, "-m", "lockstep", "agreement", str(scores), "--scales", *SCALES]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
