"""The samples of the page, as scripts that it loads when it needs them.

A page that was opened from disk may not fetch files, but it may load scripts. Each script here
hands one value to `lockstep.receive(name, value)`:

- `index`: columns over all samples, all that filters and sorting need but for texts;
- `texts-{n}`: instruction and further searched text of `TEXTS` samples each;
- `details-{n}`: everything else of `DETAILS` samples each.
"""

import json
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from lockstep import records, tables
from lockstep.report.charts import colour

TEXTS = 5000
"""Samples whose texts are in one script."""

DETAILS = 50
"""Samples whose details are in one script."""

STATUSES = ("ok", "edit_failed", "judge_failed", "missing", "skipped")

Frames = Mapping[str, Mapping[str, pd.DataFrame]]
"""Editor → category → table."""

Row = dict[str, Any]


def source_thumbnail(row: Row) -> str:
    """Return where a sample's source has its thumbnail, relative to the report."""
    return f"thumbs/sources/{row['category']}/{row['id']}.jpg"


def edit_thumbnail(row: Row, editor: str) -> str:
    """Return where a sample's edit has its thumbnail, relative to the report."""
    return f"thumbs/edits/{editor}/{row['category']}/{row['id']}.jpg"


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return a table's rows with None where there is nothing."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def rows_of(frames: Frames) -> list[dict[str, Row]]:
    """Return each sample's row by editor, category after category in the tables' order."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for editor, own in frames.items():
        for category, frame in own.items():
            for row in rows(frame):
                found.setdefault((category, row["id"]), {})[editor] = row
    categories = list(dict.fromkeys(category for own in frames.values() for category in own))
    # a stable sort keeps the samples' order
    return sorted(found.values(), key=lambda own: categories.index(_any(own)["category"]))


def images_of(samples: Sequence[Mapping[str, Row]], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each image and where it has its thumbnail in the report's folder."""
    for own in samples:
        first = _any(own)
        yield Path(first["source"]), folder / source_thumbnail(first)
        for editor, row in own.items():
            if row["edited"]:
                yield Path(row["edited"]), folder / edit_thumbnail(row, editor)


def write_gallery(
    samples: Sequence[Mapping[str, Row]],
    editors: Sequence[str],
    folder: Path,
    thumbnails: set[Path],
) -> None:
    """Write the scripts into the report's folder; older ones in there go.

    Arguments are those of `scripts`; images are linked where they are.
    """
    found = scripts(
        samples,
        editors,
        {path.relative_to(folder).as_posix() for path in thumbnails},
        lambda path, _: quote(os.path.relpath(path, folder)),
    )
    written = set()
    for name, text in found:
        with records.atomic(folder / name, durable=False) as file:
            file.write(text)
        written.add(folder / name)
    for path in set((folder / "data").glob("*.js")) - written:
        path.unlink()


def scripts(
    samples: Sequence[Mapping[str, Row]],
    editors: Sequence[str],
    thumbnails: Container[str],
    link: Callable[[str, str], str],
) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each script, relative to the report, and its text.

    Args:
        samples: rows by editor, as `rows_of` gives them.
        thumbnails: those that there are, relative to the report.
        link: gives the URL of an image by its path and that of its thumbnail.
    """
    yield _script("index", _index(samples, editors, thumbnails))
    for number, part in enumerate(_parts(samples, TEXTS)):
        yield _script(f"texts-{number}", [_texts(own) for own in part])
    for number, part in enumerate(_parts(samples, DETAILS)):
        yield _script(f"details-{number}", [_details(own, editors, link) for own in part])


def _script(name: str, value: Any) -> tuple[str, bytes]:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"data/{name}.js", f'lockstep.receive("{name}",{text});\n'.encode()


def _parts(samples: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _any(own: Mapping[str, Row]) -> Row:
    """Return one of a sample's rows, which all say the same of the sample itself."""
    return next(iter(own.values()))


def _index(
    samples: Sequence[Mapping[str, Row]], editors: Sequence[str], thumbnails: Container[str]
) -> dict[str, Any]:
    firsts = [_any(own) for own in samples]
    categories = list(dict.fromkeys(row["category"] for row in firsts))
    difficulties = list(dict.fromkeys(row["difficulty"] for row in firsts if row["difficulty"]))
    tagged = [json.loads(row["tags"]) if row["tags"] else [] for row in firsts]
    tags = sorted({tag for own in tagged for tag in own})
    numbers = {tag: number for number, tag in enumerate(tags)}
    return {
        "categories": categories,
        "difficulties": difficulties,
        "tags": tags,
        "statuses": STATUSES,
        "details": DETAILS,
        "texts": TEXTS,
        "id": [row["id"] for row in firsts],
        "category": [categories.index(row["category"]) for row in firsts],
        "difficulty": [
            difficulties.index(row["difficulty"]) if row["difficulty"] else -1 for row in firsts
        ],
        "tagged": [[numbers[tag] for tag in dict.fromkeys(own)] for own in tagged],
        "pictured": _flags(source_thumbnail(row) in thumbnails for row in firsts),
        "editors": [
            {
                "name": editor,
                "colour": colour(number),
                "status": "".join(
                    str(STATUSES.index(own[editor]["status"])) if editor in own else "3"
                    for own in samples
                ),
                "score": [_number(own, editor, "score", 2) for own in samples],
                "uncertainty": [_number(own, editor, "uncertainty", 3) for own in samples],
                "pictured": _flags(
                    editor in own and edit_thumbnail(own[editor], editor) in thumbnails
                    for own in samples
                ),
            }
            for number, editor in enumerate(editors)
        ],
    }


def _flags(values: Iterator[bool]) -> str:
    return "".join("1" if value else "0" for value in values)


def _number(own: Mapping[str, Row], editor: str, key: str, digits: int) -> float | None:
    value = own[editor][key] if editor in own else None
    return None if value is None else round(float(value), digits)


def _texts(own: Mapping[str, Row]) -> list[str]:
    """Return the instruction, and what else is searched."""
    first = _any(own)
    errors = dict.fromkeys(row["error"] for row in own.values() if row["error"])
    return [first["instruction"] or "", "\n".join(filter(None, (first["rationale"], *errors)))]


def _details(
    own: Mapping[str, Row], editors: Sequence[str], link: Callable[[str, str], str]
) -> dict[str, Any]:
    first = _any(own)
    return {
        "rationale": first["rationale"],
        "source": link(first["source"], source_thumbnail(first)),
        "edits": [
            _edit(own[editor], editor, link) if editor in own else None for editor in editors
        ],
    }


def _edit(row: Row, editor: str, link: Callable[[str, str], str]) -> dict[str, Any]:
    return {
        "edited": link(row["edited"], edit_thumbnail(row, editor)) if row["edited"] else None,
        "criteria": {
            name: round(float(row[name]), 2)
            for name in row
            if name not in tables.COLUMNS and row[name] is not None
        },
        **{key: row[key] for key in ("expected_score", "spread", "swapped_score")},
        **{key: row[key] for key in ("reasoning", "error", "judge")},
    }
