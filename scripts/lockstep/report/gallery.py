"""The samples of the page, as scripts that it loads when it needs them.

A page that was opened from disk may not fetch files, but it may load scripts. Each script here
hands one value to `lockstep.receive(name, value)`:

- `index`: columns over all samples, all that filters and sorting need but for texts;
- `texts-{n}`: instruction and further searched text of `TEXTS` samples each;
- `details-{n}`: everything else of `DETAILS` samples each;
- `asked-{n}`: what the judge was asked of the same samples, and what it replied.
"""

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from lockstep import records
from lockstep.figures import preservation
from lockstep.foreign import media
from lockstep.records.columns import COLUMNS, MEASURES, SIMILARITIES
from lockstep.report.asked import Asked, exchanges
from lockstep.report.series import Place
from lockstep.report.terms import Frames, colour
from lockstep.report.thumbnails import edit_thumbnail, source_thumbnail

TEXTS = 5000
"""Samples whose texts are in one script, and that are in memory at a time."""

DETAILS = 50
"""Samples whose details are in one script."""

STATUSES = ("ok", "edit_failed", "judge_failed", "missing", "skipped")

Row = dict[str, Any]

Pictured = Callable[[Sequence[Mapping[str, Row]]], Container[str]]
"""Gives the thumbnails that there are of some samples, relative to the report."""


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return a table's rows with None where there is nothing."""
    cells = frame.astype(object).to_numpy(copy=True)
    cells[frame.isna().to_numpy()] = None
    names = [str(name) for name in frame]
    return [dict(zip(names, row, strict=True)) for row in cells.tolist()]


class Samples:
    """Each sample's row by editor, category after category in the tables' order.

    Rows are made whenever they are asked for: all of them at once take ten times what tables do.
    """

    def __init__(self, frames: Frames) -> None:
        categories = dict.fromkeys(category for own in frames.values() for category in own)
        self._frames = {
            category: {editor: own[category] for editor, own in frames.items() if category in own}
            for category in categories
        }
        self._ids = {
            category: pd.Index(pd.concat([frame["id"] for frame in own.values()]).unique())
            for category, own in self._frames.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self._ids.values()))

    def __iter__(self) -> Iterator[dict[str, Row]]:
        for category, ids in self._ids.items():
            frames = self._frames[category]
            # each table's row of each sample, −1 where it has none
            places = {e: pd.Index(frame["id"]).get_indexer(ids) for e, frame in frames.items()}
            for start in range(0, len(ids), TEXTS):
                found: dict[str, dict[str, Row]] = {i: {} for i in ids[start : start + TEXTS]}
                for editor, frame in frames.items():
                    own = places[editor][start : start + TEXTS]
                    for row in rows(frame.iloc[own[own >= 0]]):
                        found[row["id"]][editor] = row
                yield from found.values()


def images_of(samples: Iterable[Mapping[str, Row]], folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each image and where it has its thumbnail in the report's folder."""
    for own in samples:
        first = _any(own)
        yield Path(first["source"]), folder / source_thumbnail(first)
        for editor, row in own.items():
            if row["edited"]:
                yield Path(row["edited"]), folder / edit_thumbnail(row, editor)


def write_gallery(
    samples: Iterable[Mapping[str, Row]],
    editors: Sequence[str],
    folder: Path,
    pictured: Pictured,
    places: Mapping[str, Place],
    asked: Asked,
) -> None:
    """Write the scripts into the report's folder; older ones in there go.

    Arguments are those of `scripts`; images are linked where they are.
    """
    found = scripts(
        samples,
        editors,
        pictured,
        lambda path, _: quote(os.path.relpath(path, folder)),
        places,
        asked,
    )
    written = set()
    for name, text in found:
        with records.atomic(folder / name, durable=False) as file:
            file.write(text)
        written.add(folder / name)
    for path in set((folder / "data").glob("*.js")) - written:
        path.unlink()


def scripts(
    samples: Iterable[Mapping[str, Row]],
    editors: Sequence[str],
    pictured: Pictured,
    link: Callable[[str, str], str],
    places: Mapping[str, Place],
    asked: Asked,
) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each script, relative to the report, and its text.

    Args:
        samples: rows by editor, as in `Samples`.
        pictured: asked for some samples after the other.
        link: gives the URL of an image by its path and that of its thumbnail.
        places: of the editors on the page.
        asked: gives what was asked of an edit.
    """
    columns = []
    for number, part in enumerate(_parts(samples, TEXTS)):
        columns.append(_columns(part, editors, pictured(part)))
        yield _script(f"texts-{number}", [_texts(own) for own in part])
        for place, few in enumerate(_parts(part, DETAILS), number * (TEXTS // DETAILS)):
            yield _script(f"details-{place}", [_details(own, editors, link) for own in few])
            yield _script(f"asked-{place}", exchanges(few, editors, asked))
    yield _script("index", _index(columns, editors, places))


def _script(name: str, value: Any) -> tuple[str, bytes]:
    safe = media.script(value)
    if name == "index":
        # the page finds thumbnails by them
        safe["id"] = value["id"]
    text = json.dumps(safe, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"data/{name}.js", f'lockstep.receive("{name}",{text});\n'.encode()


def _parts(samples: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(samples)
    while part := list(islice(left, size)):
        yield part


def _any(own: Mapping[str, Row]) -> Row:
    """Return one of a sample's rows, which all say the same of the sample itself."""
    return next(iter(own.values()))


def _columns(
    samples: Sequence[Mapping[str, Row]], editors: Sequence[str], thumbnails: Container[str]
) -> dict[str, Any]:
    """Return what the index says of some samples, with words where it has their numbers."""
    firsts = [_any(own) for own in samples]
    return {
        "id": [row["id"] for row in firsts],
        "category": [row["category"] for row in firsts],
        "difficulty": [row["difficulty"] for row in firsts],
        "tagged": [list(dict.fromkeys(json.loads(row["tags"] or "[]"))) for row in firsts],
        "pictured": _flags(source_thumbnail(row) in thumbnails for row in firsts),
        "editors": [
            {
                "status": "".join(
                    str(STATUSES.index(own[editor]["status"])) if editor in own else "3"
                    for own in samples
                ),
                "score": [_number(own, editor, "score", 2) for own in samples],
                "uncertainty": [_number(own, editor, "uncertainty", 3) for own in samples],
                "signs": "".join(_signs(own.get(editor)) for own in samples),
                "pictured": _flags(
                    editor in own and edit_thumbnail(own[editor], editor) in thumbnails
                    for own in samples
                ),
            }
            for editor in editors
        ],
    }


def _index(
    parts: Sequence[dict[str, Any]], editors: Sequence[str], places: Mapping[str, Place]
) -> dict[str, Any]:
    """Return the index of all samples by the columns of some after the other."""

    def every(name: str) -> list[Any]:
        return [value for part in parts for value in part[name]]

    def of_editor(number: int, name: str) -> list[Any]:
        return [value for part in parts for value in part["editors"][number][name]]

    category, difficulty, tagged = every("category"), every("difficulty"), every("tagged")
    categories = list(dict.fromkeys(category))
    difficulties = list(dict.fromkeys(filter(None, difficulty)))
    tags = sorted({tag for own in tagged for tag in own})
    numbers = {tag: number for number, tag in enumerate(tags)}
    return {
        "categories": categories,
        "difficulties": difficulties,
        "tags": tags,
        "statuses": STATUSES,
        "signs": preservation.SIGNS,
        "details": DETAILS,
        "texts": TEXTS,
        "id": every("id"),
        "category": list(map(categories.index, category)),
        "difficulty": [difficulties.index(own) if own else -1 for own in difficulty],
        "tagged": [[numbers[tag] for tag in own] for own in tagged],
        "pictured": "".join(every("pictured")),
        "editors": [
            {
                "name": editor,
                "colour": colour(places[editor].number),
                "standing": places[editor].standing,
                "control": places[editor].control,
                "first_seed": places[editor].first_seed,
                "status": "".join(of_editor(number, "status")),
                "score": of_editor(number, "score"),
                "uncertainty": of_editor(number, "uncertainty"),
                "signs": "".join(of_editor(number, "signs")),
                "pictured": "".join(of_editor(number, "pictured")),
            }
            for number, editor in enumerate(editors)
        ],
    }


def _flags(values: Iterator[bool]) -> str:
    return "".join("1" if value else "0" for value in values)


def _signs(row: Row | None) -> str:
    """Return the signs of an edit as a hexadecimal digit, the first sign its lowest bit."""
    found = [] if row is None else preservation.signs(row)
    return f"{sum(1 << preservation.SIGNS.index(sign) for sign in found):x}"


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
        **{key: first[key] for key in ("description", "rationale")},
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
            if name not in COLUMNS and row[name] is not None
        },
        **{key: row[key] for key in ("expected_score", "spread", "swapped_score")},
        **{key: row[key] for key in ("reasoning", "error", "judge", "rewritten")},
        "kept": _kept(row) if row["copy_of_source"] else None,
    }


def _kept(row: Row) -> dict[str, Any]:
    """Return what an edit kept of its source; what models told only where they were asked."""
    told = {key: row[key] for key in (*SIMILARITIES, "clip_text_cut") if row[key] is not None}
    return {**{key: row[key] for key in (*MEASURES, "copy_of_source")}, **told}
