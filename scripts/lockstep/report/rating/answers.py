"""What people answered: the files that their pages saved, with the plan's codes resolved."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, model_validator

from lockstep import records
from lockstep.benchmark.score_files import number_in, read_rows, text_in
from lockstep.errors import ConfigError, ReplyError, counted
from lockstep.figures.votes import BY_HUMANS
from lockstep.foreign import media
from lockstep.rubrics import combine
from lockstep.rubrics.kinds import Kind
from lockstep.rubrics.rubric import Rubric

VOTES = dict(zip(("first", "second", "both good", "both bad"), BY_HUMANS, strict=True))
"""A page's vote → that of people, as `figures.votes` reads it."""


class Answers(NamedTuple):
    """What raters gave the items of a plan."""

    columns: list[str]
    rows: list[dict[str, Any]]
    unfinished: int
    """Items with an answer missing, which are left out."""


def read_answers(plan: Path, files: Sequence[Path]) -> Answers:
    """Read what pages saved; who is asked twice for an item must have said the same.

    Returns:
        rows of `editor`, `category`, `id`, `rater`, each criterion's value and the `score` that
        they make; or, of pairs, of `category`, `id`, `first`, `second`, `rater` and `human_vote`.

    Raises:
        ConfigError: if a file is none that the plan's page saved.
    """
    told = _read_plan(plan)
    found: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = {}
    for place, values in (row for file in files for row in read_rows(file)[1]):
        rater, code = (text_in(place, name, values.get(name)) for name in ("rater", "code"))
        if code not in told.items:
            raise ConfigError(f"{place}: code: expected one of {plan}, found {code!r:.60}")
        if rater not in told.raters:
            known = ", ".join(told.raters)
            raise ConfigError(f"{place}: rater: expected one of {known:.200}, found {rater!r:.60}")
        before = found.setdefault((rater, code), (place, values))
        if before[1] != values:
            raise ConfigError(
                f"{place}: expected one answer of {rater!r} to {code!r}, found another one than in "
                f"{before[0]}"
            )
    pairs = told.mode == "pairs"
    named = ["vote"] if pairs else [v.name for own in told.rubrics.values() for v in own.valued]
    if found and not any(name in values for _, values in found.values() for name in named):
        place, values = next(iter(found.values()))
        raise ConfigError(
            f"{place}: expected a file that the page saved, "
            f"with {', '.join(dict.fromkeys(named))}, found {', '.join(map(str, values)):.200}"
        )
    resolved = list((_votes if pairs else _scores)(told, found))
    rows = [row for row in resolved if row is not None]
    first = ["category", "id", "first", "second", "rater", "human_vote"]
    if not pairs:
        criteria = dict.fromkeys(name for row in rows for name in row)
        first = ["editor", "category", "id", "rater"]
        first += [name for name in criteria if name not in (*first, "score")] + ["score"]
    return Answers(first, rows, len(resolved) - len(rows))


def write_answers(answers: Answers, path: Path) -> None:
    """Write a CSV of scores, or of votes on pairs, that `report.human_scores` reads."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, answers.columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: media.cell(v) for k, v in row.items()} for row in answers.rows)
    records.write_text(path, buffer.getvalue())


class _Item(BaseModel):
    category: str
    id: str
    editors: list[str] = Field(min_length=1, max_length=2)
    """One, or the two of a pair."""
    tags: list[str]


class _Plan(BaseModel):
    """What is read of a plan."""

    mode: Literal["criteria", "pairs"]
    raters: dict[str, list[str]]
    """Codes of each rater's items."""
    items: dict[str, _Item]
    rubrics: dict[str, Rubric]

    @model_validator(mode="after")
    def _as_its_mode_has_them(self) -> "_Plan":
        count = 2 if self.mode == "pairs" else 1
        if any(len(item.editors) != count for item in self.items.values()):
            raise ValueError(f"expected items of {counted(count, 'editor')}")
        return self


def _read_plan(path: Path) -> _Plan:
    try:
        told = _Plan.model_validate(records.read_json(path))
        if not {item.category for item in told.items.values()} <= told.rubrics.keys():
            raise LookupError
        return told
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: expected the plan that `snakemake rating` writes, found no file"
        ) from None
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(f"{path}: expected a plan of ratings, found another file") from error


Found = Mapping[tuple[str, str], tuple[str, Mapping[str, Any]]]


def _votes(told: _Plan, found: Found) -> Iterator[dict[str, Any] | None]:
    for (rater, code), (place, values) in found.items():
        item, vote = told.items[code], values.get("vote")
        if vote is None or vote == "":
            yield None
            continue
        if not isinstance(vote, str) or vote not in VOTES:
            raise ConfigError(f"{place}: vote: expected {', '.join(VOTES)}, found {vote!r:.60}")
        first, second = item.editors
        whose = {"category": item.category, "id": item.id, "first": first, "second": second}
        yield {**whose, "rater": rater, "human_vote": VOTES[vote]}


def _scores(told: _Plan, found: Found) -> Iterator[dict[str, Any] | None]:
    for (rater, code), (place, values) in found.items():
        item = told.items[code]
        rubric, tags = told.rubrics[item.category], item.tags
        asked = combine.counted(rubric, tags)
        kinds = {v.name: v.kind for v in rubric.valued if v.kind.scale and v.name in asked}
        if any(values.get(name) in (None, "") for name in kinds):
            yield None
            continue
        given = {name: _value(place, name, kind, values[name]) for name, kind in kinds.items()}
        known = {name: value for name, value in given.items() if value is not None}
        try:
            score = combine.score(rubric, known, tags)
        except ReplyError:
            # only answers that do not count
            yield None
            continue
        whose = {"editor": item.editors[0], "category": item.category, "id": item.id}
        yield {**whose, "rater": rater, **known, "score": score}


def _value(place: str, name: str, kind: Kind, answer: Any) -> float | None:
    """Return what an answer counts; None of one that does not count."""
    by_text = dict(kind.options)
    if isinstance(answer, str) and answer in by_text:
        return by_text[answer]
    # a spreadsheet writes 7.0 as 7
    numbers = [option.value for option in kind.options if not option.text.isalpha()]
    if numbers and (number := number_in(place, name, answer)) in numbers:
        return number
    raise ConfigError(f"{place}: {name}: expected {kind.said}, found {answer!r:.60}")
