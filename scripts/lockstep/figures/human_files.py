"""What people gave: their scores of edits, and their votes on pairs of edits.

A file of scores has `id`, a column for each scale, and optionally `editor`, `category` and `rater`.
A file of votes has `id`, `first`, `second` and `human_vote`, and optionally `category` and `rater`.
Other columns are passed over.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lockstep import records
from lockstep.benchmark.categories import known_key
from lockstep.benchmark.score_files import number_in, read_rows, text_in
from lockstep.config.report import HumanScale
from lockstep.config.run import Config
from lockstep.errors import ConfigError, suggest
from lockstep.figures.votes import HUMAN_COLUMNS, human_vote
from lockstep.foreign.ids import same_id
from lockstep.rubrics.rubric import SCALE, Rubric, read_rubric

WHOSE = ["editor", "form", "id", "category", "rater", "place"]
"""Columns of every rating: the id as it is compared (by `same_id`; without a run within its
category) and as the file has it, the rater (None where the file names none), and where the row
stands."""

VOTED = ["form", "id", "category", "first", "second", "vote", "rater", "place"]

LARGEST = 1e100
"""Of a score; squares of far larger ones are more than a number can be."""

Row = tuple[str, Mapping[str, Any]]

Ends = Mapping[str, tuple[float, float]]
"""Lowest and highest possible value by column."""


class People(NamedTuple):
    """Scores and votes of people."""

    ratings: pd.DataFrame
    """`WHOSE`, and a column for each scale with NaN where a rater gives no score."""
    scales: dict[str, HumanScale]
    """Column → its scale."""
    votes: pd.DataFrame
    """`VOTED`; `vote` is 1 for the first edit, −1 for the second, 0 for neither."""


def columns_of(rubrics: Mapping[str, Rubric]) -> list[str]:
    """Return the names of a judge's numbers: score, criteria and aspects."""
    valued = [own for rubric in rubrics.values() for own in rubric.valued]
    aspects = [own.aspect for own in valued if own.aspect is not None]
    return list(dict.fromkeys(["score", *(own.name for own in valued), *aspects]))


def ends_of(rubrics: Mapping[str, Rubric]) -> Ends:
    """Return the scale of a judge's numbers, over all categories that have them."""
    found: dict[str, set[tuple[float, float]]] = {"score": {SCALE}}
    for rubric in rubrics.values():
        for own in rubric.valued:
            found.setdefault(own.name, set()).add(own.kind.scale or rubric.scale)
            if own.aspect is not None:
                found.setdefault(own.aspect, set()).add(rubric.scale)
    return {
        name: (min(low for low, _ in scales), max(high for _, high in scales))
        for name, scales in found.items()
    }


def of_run(settings: Config, rubrics: Mapping[str, Rubric]) -> People:
    """Return what `report.human_scores` names; see `read_people`.

    Columns that the judge has numbers in are on its scale, unless `report.human_scales` states
    another one.

    Args:
        rubrics: by category.
    """
    own, editors = settings.report, [editor.name for editor in settings.editors]
    files, ends = list(map(Path, own.human_files)), ends_of(rubrics)
    return read_people(files, editors, own.human_scales, columns_of(rubrics), ends)


def check(settings: Config, manifests: Iterable[Path]) -> None:
    """Check what `report.human_scores` names before anything is edited.

    Args:
        manifests: of the benchmark's categories; nothing where it was not read yet.

    Raises:
        ConfigError: as `read_people`, and if people rated samples that the benchmark lacks.
    """
    keys = settings.benchmark.categories
    rubrics = {key: read_rubric(Path(settings.judge.rubric_file(key)), key) for key in keys}
    given, read = of_run(settings, rubrics), list(manifests)
    if read:
        samples = (sample for path in read for sample in records.read_manifest(path))
        check_samples(given, {same_id(sample.id) for sample in samples})


def check_samples(given: People, forms: Collection[str]) -> None:
    """Refuse rows of people on samples that a benchmark lacks.

    Args:
        forms: ids of the benchmark's samples, as `same_id` returns them.

    Raises:
        ConfigError: naming the first.
    """
    for frame in (given.ratings, given.votes):
        check_known(frame, ~frame["form"].isin(forms).to_numpy(), "sample")


def check_known(given: pd.DataFrame, lost: np.ndarray, what: str) -> None:
    """Refuse rows of people on what is not part of a run.

    Args:
        lost: whether a row is one.
        what: names what the run has, in the singular.

    Raises:
        ConfigError: naming the first.
    """
    if lost.any():
        first = given[lost].iloc[0]
        by = f" by {first['editor']!r}" if "editor" in first else ""
        count = int(lost.sum())
        others = "a row of another (" if count == 1 else f"{count} rows of others (the first is "
        raise ConfigError(
            f"{first['place']}: id: expected {what}s of this run, found {others}"
            f"{first['id']!r}{by})"
        )


def read_people(
    paths: Sequence[Path],
    editors: Sequence[str] | None,
    scales: Mapping[str, HumanScale],
    of_judge: Collection[str],
    ends: Ends = MappingProxyType({}),
) -> People:
    """Read files of people's scores and votes.

    Args:
        editors: of the run; None takes any.
        scales: columns of scores; if there are none, `score` and those in `of_judge`.
        of_judge: columns that the judge has numbers in.
        ends: lowest and highest value of columns for which `scales` states none.

    Raises:
        ConfigError: naming file and line, if a file is none of the two or has no rows, if a rater
            gives the same edit or pair two rows, if a value is no number or not on its scale.
    """
    for name, scale in scales.items():
        if scale.judge is not None and scale.judge not in of_judge:
            raise ConfigError(
                f"report.human_scales.{name}.judge: expected {' or '.join(of_judge)}, found "
                f"{scale.judge!r}{suggest(scale.judge, of_judge)}"
            )
    files = [(path, *read_rows(path)) for path in paths]
    for path, _, rows in files:
        if not rows:
            raise ConfigError(f"{path}: expected rows of scores or votes, found none")
    scored = [file for file in files if not set(HUMAN_COLUMNS) & set(file[1])]
    known = _scales(scored, scales, of_judge)
    ratings = [row for file in scored for row in _ratings(*file, editors, known, ends)]
    votes = [row for file in files if file not in scored for row in _votes(*file, editors)]
    given = pd.DataFrame(ratings, columns=[*WHOSE, *known])
    cast = pd.DataFrame(votes, columns=VOTED)
    _once(given, ["editor", "form"])
    pairs = ["\0".join(sorted(pair)) for pair in zip(cast["first"], cast["second"], strict=True)]
    _once(cast.assign(pair=pairs), ["form", "pair"])
    return People(given.astype(dict.fromkeys(known, float)), known, cast)


def _scales(
    files: Sequence[tuple[Path, Sequence[str], Sequence[Row]]],
    scales: Mapping[str, HumanScale],
    of_judge: Collection[str],
) -> dict[str, HumanScale]:
    """Return the scales that files hold; each file must have one."""
    every = list(dict.fromkeys(name for _, columns, _ in files for name in columns))
    own = [name for name in every if name in of_judge]
    wanted = scales or {name: HumanScale() for name in sorted(own, key="score".__ne__)}
    for name in scales if files else ():
        if name not in every:
            raise ConfigError(
                f"{files[0][0]}: expected a column {name!r} of that scale, found no such column"
                f"{suggest(name, every)}"
            )
    for path, columns, _ in files:
        if not set(wanted) & set(columns):
            names = list(scales or ["score"])
            raise ConfigError(
                f"{path}: expected the columns id, editor, {' or '.join(names)}, found no "
                f"{names[0]!r}"
            )
    return dict(wanted)


def _ratings(
    path: Path,
    columns: Sequence[str],
    rows: Sequence[Row],
    editors: Sequence[str] | None,
    scales: Mapping[str, HumanScale],
    ends: Ends,
) -> list[dict[str, Any]]:
    own = {name: scale for name, scale in scales.items() if name in columns}
    alone = editors[0] if editors is not None and len(editors) == 1 else ""
    needed = ["id"] if alone or editors is None else ["id", "editor"]
    _need(path, columns, needed, "id, editor, score")
    found = []
    for place, values in rows:
        named = _text(place, values, columns, "editor")
        editor = alone if named is None else _editor(place, "editor", named, editors)
        given = {name: _score(place, name, values.get(name), own[name], ends) for name in own}
        if all(map(math.isnan, given.values())):
            name = next(iter(own))
            expected = f"{name}: expected a number" if len(own) == 1 else "expected a score"
            raise ConfigError(f"{place}: {expected}, found {values.get(name)!r:.60}")
        found.append({"editor": editor, **_shared(place, values, columns, editors), **given})
    return found


def _votes(
    path: Path, columns: Sequence[str], rows: Sequence[Row], editors: Sequence[str] | None
) -> list[dict[str, Any]]:
    _need(path, columns, ["id", "first", "second"], "id, first, second, human_vote")
    column = next(name for name in HUMAN_COLUMNS if name in columns)
    found = []
    for place, values in rows:
        first, second = (
            _editor(place, name, text_in(place, name, values.get(name)), editors)
            for name in ("first", "second")
        )
        if first == second:
            raise ConfigError(f"{place}: second: expected another editor than first, found {first}")
        vote = human_vote(place, column, values.get(column))
        winner = {"A better": 1, "B better": -1}.get(vote, 0)
        row = {"first": first, "second": second, "vote": winner}
        found.append({**row, **_shared(place, values, columns, editors)})
    return found


def _shared(
    place: str,
    values: Mapping[str, Any],
    columns: Sequence[str],
    editors: Sequence[str] | None,
) -> dict[str, Any]:
    name = text_in(place, "id", values.get("id"))
    named = _text(place, values, columns, "category")
    category = None if named is None else known_key(named)
    # a run has each id once; elsewhere each category may have its own
    apart = "" if editors is not None or category is None else f"{category}\0"
    return {
        "form": f"{apart}{same_id(name)}",
        "id": name,
        "category": category,
        "rater": _text(place, values, columns, "rater"),
        "place": place,
    }


def _need(path: Path, columns: Sequence[str], needed: Sequence[str], expected: str) -> None:
    for column in needed:
        if column not in columns:
            raise ConfigError(f"{path}: expected the columns {expected}, found no {column!r}")


def _text(place: str, values: Mapping[str, Any], columns: Sequence[str], column: str) -> str | None:
    """Return a column's text; None where the file has no such column."""
    return text_in(place, column, values.get(column)) if column in columns else None


def _editor(place: str, column: str, name: str, editors: Sequence[str] | None) -> str:
    if editors is not None and name not in editors:
        raise ConfigError(
            f"{place}: {column}: expected an editor of this run, {', '.join(editors)}, found "
            f"{name!r:.60}{suggest(name, editors)}"
        )
    return name


def _score(place: str, column: str, value: Any, own: HumanScale, ends: Ends) -> float:
    number = number_in(place, column, value)
    if number is None:
        return math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{place}: {column}: expected a number, found {value!r:.60}")
    if abs(number) > LARGEST:
        raise ConfigError(
            f"{place}: {column}: expected a number from {-LARGEST:g} to {LARGEST:g}, found "
            f"{number:g}"
        )
    scale = own.scale or ends.get(column)
    if scale is not None and not scale[0] <= number <= scale[1]:
        low, high = scale
        hint = "" if own.scale else " (report.human_scales can state another scale)"
        raise ConfigError(
            f"{place}: {column}: expected a number from {low:g} to {high:g}, found {number:g}{hint}"
        )
    return number


def _once(rows: pd.DataFrame, whose: Sequence[str]) -> None:
    """Refuse a second row of a rater for the same edit or pair."""
    named = rows[rows["rater"].notna()]
    again = named[named.duplicated(["rater", *whose])]
    if len(again):
        second = again.iloc[0]
        same = (named[["rater", *whose]] == second[["rater", *whose]]).all(axis=1)
        raise ConfigError(
            f"{second['place']}: expected one row of rater {second['rater']!r} for "
            f"{second['id']!r}, found a second one after {named[same].iloc[0]['place']}"
        )
