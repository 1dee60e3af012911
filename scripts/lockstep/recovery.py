"""What a power loss or a foreign hand may leave behind, found before a run builds on it."""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from lockstep import plan, records
from lockstep.errors import ConfigError


def check_writable(folder: Path) -> None:
    """Raise ConfigError unless the results' folder, or the one to make it in, can be written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"results: found {str(folder)!r} not writable (its owner, its mode, or a file system "
            "that is mounted read-only), accepted is a folder that this user can write"
        )


def forget_other_counts(folder: Path, count: int) -> None:
    """Delete records that were written for another number of shards.

    They may speak of images that this run replaces. What they knew is in images and judgements.
    """
    for path in folder.glob("shard-*-of-*.jsonl"):
        if not path.stem.endswith(f"-of-{count}"):
            path.unlink(missing_ok=True)


def remove_incomplete(results: Path, shards: int, together: int = 1) -> list[Path]:
    """Remove outputs that hold less than what was written, and what was made from them.

    No kill leaves such files, a power loss may, and a workflow engine takes any file for complete.
    Images and judgements stay: each tells by itself whether it is whole, so nothing is redone that
    takes a model.

    Args:
        results: the folder of all results.
        shards: number of shards of each category's edits.
        together: how many of them one judge scores.

    Returns:
        those that were incomplete: without a line for each sample of their shard (a row for each
        sample, in a table), or with a broken one. What is older than its manifest may well be of
        other samples, and only a broken line tells.
    """
    listed = results / "manifest" / "counts.json"
    counts = _read_whole(listed) or {}
    found, stale = [listed] if listed.exists() and not counts else [], []
    for manifest in results.glob("manifest/*.jsonl"):
        samples = _count_lines(manifest)
        if samples < counts.get(manifest.stem, 0):
            found.append(manifest)
        for folder in results.glob(f"*/{manifest.stem}/"):
            # the least of any shard, where it is not known on which one the category begins
            sizes = [samples // shards] * shards
            if manifest.stem in counts:
                first = plan.place(counts, manifest.stem)
                sizes = [len(plan.shard_indices(samples, k, shards, first)) for k in range(shards)]
            expected = {
                folder / "edits" / plan.shard_file(k, shards): size for k, size in enumerate(sizes)
            }
            judges = shards // together
            for j in range(judges):
                path = folder / "scores" / plan.shard_file(j, judges)
                expected[path] = sum(sizes[k] for k in plan.edit_shards(j, together))
            expected |= {folder / "table.csv": samples, folder / "summary.json": 1}
            made = [path for path in expected if path.exists()]
            of_these = {path for path in made if _time(path) >= _time(manifest)}
            broken = [p for p in made if _count(p) < (expected[p] if p in of_these else 0)]
            found += broken
            stale += made if manifest in found else made[made.index(broken[0]) :] if broken else []
    pages = [path for path in results.glob("report/*") if path.is_file()]
    found += [path for path in pages if path.stat().st_size == 0]
    for path in (*found, *stale, *(pages if found else ())):
        path.unlink(missing_ok=True)
    return found


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _count(path: Path) -> int:
    """Count what a file of lines, of rows or of one value holds; −1 if it is broken."""
    match path.suffix:
        case ".jsonl":
            return _count_lines(path)
        case ".csv":
            return _count_rows(path)
        case _:
            return -1 if _read_whole(path) is None else 1


def _count_lines(path: Path) -> int:
    """Count the lines of a JSON lines file; −1 if one is broken."""
    try:
        with open(path, "rb") as file:
            return sum(isinstance(json.loads(line), dict) for line in file)
    except ValueError:
        return -1


def _count_rows(path: Path) -> int:
    """Count the rows of a table; −1 if one is broken."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            widths = Counter(len(row) for row in csv.reader(file, strict=True))
    except (ValueError, csv.Error):
        return -1
    return widths.total() - 1 if len(widths) < 2 else -1


def _read_whole(path: Path) -> Any:
    """Return what a JSON file holds, None if it is not there or broken."""
    try:
        return records.read_json(path)
    except (FileNotFoundError, ValueError):
        return None
