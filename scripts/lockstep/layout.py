"""Where each output lies below the folder of results."""

from collections.abc import Sequence
from pathlib import Path

from lockstep import plan


def manifest(results: Path, category: str) -> Path:
    return results / "manifest" / f"{category}.jsonl"


def counts(results: Path) -> Path:
    return results / "manifest" / "counts.json"


def rejected(results: Path) -> Path:
    return results / "manifest" / "rejected.jsonl"


def sources(results: Path) -> Path:
    """Return the list of files of the benchmark's that source images were read from."""
    return results / "manifest" / "sources.jsonl"


def edits(results: Path, editor: str, category: str, shard: int, shards: int) -> Path:
    return results / editor / category / "edits" / plan.shard_file(shard, shards)


def all_edits(results: Path, editor: str, category: str, shards: int) -> list[Path]:
    return [edits(results, editor, category, shard, shards) for shard in range(shards)]


def scores(results: Path, editor: str, category: str, shard: int, shards: int) -> Path:
    return results / editor / category / "scores" / plan.shard_file(shard, shards)


def images(results: Path, editor: str, category: str) -> Path:
    """Return the folder of edited images."""
    return results / editor / category / "images"


def log(results: Path, stage: str, editor: str, category: str, shard: int, shards: int) -> Path:
    """Return the log of the job of a shard.

    Args:
        stage: edit or score.
    """
    name = Path(plan.shard_file(shard, shards)).with_suffix(".log")
    return results / "logs" / stage / editor / category / name


def table(results: Path, editor: str, category: str) -> Path:
    return results / editor / category / "table.csv"


def summary(results: Path, editor: str, category: str) -> Path:
    return results / editor / category / "summary.json"


def report(results: Path, editors: Sequence[str], categories: Sequence[str]) -> list[Path]:
    """Return the files of the report, the page first, but for those that only the page loads."""
    names = ["report.html", "report.md", "report.json", "config.yaml", "scores.tex"]
    names += ["means.csv", "data/index.js"]
    names += [f"{plot}-{key}.csv" for plot in ("distribution", "criteria") for key in categories]
    names += [f"lockstep-{editor}-{key}.csv" for editor in editors for key in ("timeline", "curve")]
    return [results / "report" / name for name in names]


def sheets(results: Path, editor: str, category: str) -> dict[str, Path]:
    """Return the contact sheets of an editor and category, by what they show."""
    folder = results / "report" / "sheets"
    return {kind: folder / f"{editor}-{category}-{kind}.jpg" for kind in ("source", "edited")}


def note(results: Path, output: Path) -> Path:
    """Return the note of what an output was made of."""
    return results / "provenance" / f"{output.relative_to(results)}.json"
