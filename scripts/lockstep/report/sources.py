"""What is compared: results folders of runs, and files of other people's scores, as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lockstep import layout, records
from lockstep.benchmark import score_files
from lockstep.benchmark.categories import CATEGORIES
from lockstep.benchmark.score_files import Row
from lockstep.config.report import CompareSettings
from lockstep.errors import ConfigError, suggest
from lockstep.figures.tables import criteria, read_table
from lockstep.foreign.ids import safe_id, same_id
from lockstep.records import notes
from lockstep.records.columns import COLUMNS, MEASURES, NUMBERS, SIMILARITIES
from lockstep.report.terms import Frames
from lockstep.rubrics.combine import combined


def read_sources(
    settings: CompareSettings, files: Mapping[str, Sequence[str]]
) -> tuple[Frames, dict[str, dict[str, Any]]]:
    """Return the tables of all sources, and where each editor comes from.

    With several sources an editor's name begins with its source's, as in `theirs/editor`.

    Args:
        files: of each source.

    Raises:
        ConfigError: if a file is none.
    """
    frames: dict[str, dict[str, pd.DataFrame]] = {}
    sources: dict[str, dict[str, Any]] = {}
    for name, path in settings.sources.items():
        if Path(path).is_dir():
            own = _of_results(list(map(Path, files[name])), settings)
        else:
            own = _of_file(path, settings, name)
        prefix = f"{name}/" if len(settings.sources) > 1 and [*own] != [name] else ""
        frames |= {f"{prefix}{editor}": tables for editor, tables in own.items()}
        sources[name] = {"path": path, "editors": [f"{prefix}{editor}" for editor in own]}
    _spell_alike(frames)
    known = sorted({category for own in frames.values() for category in own})
    for category in settings.scales:
        if category not in known:
            raise ConfigError(
                f"compare.scales: found {category!r}{suggest(category, known)}, expected a "
                f"category of the sources: {', '.join(known)}"
            )
    return frames, sources


def _spell_alike(frames: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """Give ids that may be mixed up the spelling of the first source that has them."""
    names: dict[tuple[str, str], str] = {}
    for tables in frames.values():
        for category, frame in tables.items():
            frame["id"] = [names.setdefault((category, same_id(n)), n) for n in frame["id"]]


def _of_results(
    files: Sequence[Path], settings: CompareSettings
) -> dict[str, dict[str, pd.DataFrame]]:
    order = list(CATEGORIES)
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for path in sorted(files, key=lambda path: _place(order, layout.of_table(path).category)):
        results, editor, category = layout.of_table(path)
        notes.check_whole(results, path)
        frame = read_table(path)
        for column in ("score", *criteria(frame)):
            _check_scale(frame, column, path, settings.scale_of(category))
        found.setdefault(editor, {})[category] = frame
    return dict(sorted(found.items()))


def _place(order: Sequence[str], category: str) -> tuple[int, str]:
    return (order.index(category) if category in order else len(order)), category


def _check_scale(frame: pd.DataFrame, column: str, path: Path, scale: tuple[float, float]) -> None:
    outside = frame[~frame[column].between(*scale) & frame[column].notna()]
    if len(outside):
        row = outside.iloc[0]
        raise ConfigError(
            f"{path}: {column}: expected a number from {scale[0]:g} to {scale[1]:g} "
            f"(compare.scale), found {row[column]:g} of sample {row['id']!r}"
        )


def _of_file(path: str, settings: CompareSettings, name: str) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the tables of a file of scores.

    What one editor has no row of while another has is `missing`; a row without a score is
    `judge_failed`.
    """
    file = score_files.read_score_file(path)
    columns = score_files.needed_columns(file, list(settings.criteria))
    names = [column for column in columns if column != "score"]
    samples: dict[str, dict[str, None]] = {}
    spelled: dict[tuple[str, str], str] = {}
    rows: dict[str, dict[tuple[str, str], Row]] = {}
    for row in file.rows:
        if row.category == "overall":
            raise ConfigError(
                f"{row.place}: category: expected another name than 'overall', which means all "
                "categories together, found 'overall'"
            )
        # as a run's tables call it
        sample = spelled.setdefault((row.category, same_id(row.id)), safe_id(row.id))
        samples.setdefault(row.category, {})[sample] = None
        editor = name if row.editor is None else row.editor
        rows.setdefault(editor, {})[row.category, sample] = row
    return {
        editor: {
            category: _frame(
                [
                    _cells(category, sample, own.get((category, sample)), columns, settings)
                    for sample in ids
                ],
                names,
            )
            for category, ids in samples.items()
        }
        for editor, own in rows.items()
    }


def _cells(
    category: str, sample: str, row: Row | None, columns: Sequence[str], settings: CompareSettings
) -> dict[str, Any]:
    """Return a row of a table."""
    cells: dict[str, Any] = {"id": sample, "category": category, "tags": None}
    if row is None:
        return {**cells, "status": "missing", "error": "found no row of this sample"}
    cells["tags"] = records.canonical_json(score_files.tags(row))
    values = score_files.numbers(row, columns, settings.scale_of(category))
    if None in values.values():
        empty = next(column for column, value in values.items() if value is None)
        return {**cells, "status": "judge_failed", "error": f"{row.place}: {empty}: found nothing"}
    if "score" in values:
        return {**cells, "status": "ok", **values}
    weights = settings.criteria
    parts = [(value, weights[c]) for c in columns if (value := values[c]) is not None]
    return {**cells, **values, "status": "ok", "score": combined(settings.combine, parts)}


def _frame(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *names])
    return frame.astype(dict.fromkeys([*NUMBERS, *MEASURES, *SIMILARITIES, *names], "Float64"))
