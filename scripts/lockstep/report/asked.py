"""What the judge was asked and replied, as the page shows it: a script for some samples each.

The texts of samples share most of their lines, so a script has each line once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep import layout, records
from lockstep.records import Asked as JudgementAsked
from lockstep.records import AskedRecord
from lockstep.report.terms import Frames

Asked = Callable[[str, str, str], AskedRecord | None]
"""Gives what was asked of an edit, by editor, category and sample; None where that is unknown."""

TEXTS = ("system", "prompt", "rejected", "correction", "reply")


def of_results(results: Path, frames: Frames, judges: Sequence[str] = ("",)) -> Asked:
    """Return what gives the judgements of a run's edits; each is read when it is asked for.

    Args:
        judges: folders of all judges; that of the first one is ''.

    Raises:
        DamagedError: if a line of a file is none.
    """
    found: dict[tuple[str, str, str], list[Any]] = {}
    compared: dict[tuple[str, str], list[tuple[Sequence[AskedRecord], int]]] = {}
    for category in dict.fromkeys(category for own in frames.values() for category in own):
        for path in layout.known_pairs_asked(results, category):
            kept = records.rows_of(path, AskedRecord)
            for place, each in enumerate(kept):
                compared.setdefault((category, each.id), []).append((kept, place))
    for editor, category in ((editor, key) for editor, own in frames.items() for key in own):
        for judge in judges:
            for path in layout.known_asked(results, editor, category, judge):
                kept = records.rows_of(path, AskedRecord)
                for place, each in enumerate(kept):
                    found.setdefault((editor, category, each.id), []).append((judge, kept, place))

    def asked(editor: str, category: str, sample: str) -> AskedRecord | None:
        by_judge = [
            (judge, kept[place]) for judge, kept, place in found.get((editor, category, sample), ())
        ]
        if not by_judge:
            return None
        judgements = [_named(one, judge) for judge, record in by_judge for one in record.judgements]
        pairs = (kept[place] for kept, place in compared.get((category, sample), ()))
        judgements += [one for each in pairs if editor in each.editors for one in each.judgements]
        return by_judge[0][1].model_copy(update={"judgements": judgements})

    return asked


def _named(judgement: JudgementAsked, judge: str) -> JudgementAsked:
    which = f"{judge} {judgement.which}".strip()
    return judgement.model_copy(update={"which": which}) if judge else judgement


def exchanges(
    samples: Sequence[Mapping[str, Mapping[str, Any]]], editors: Sequence[str], asked: Asked
) -> dict[str, Any]:
    """Return what was asked of some samples, and what the judge replied.

    Args:
        samples: rows of the tables by editor.

    Returns:
        `lines`, and in `samples`, for each sample and editor, a list of judgements whose texts are
        lists of places in `lines`.
    """
    lines: dict[str, int] = {}

    def numbers(text: str | None) -> list[int] | None:
        if text is None:
            return None
        return [lines.setdefault(line, len(lines)) for line in text.split("\n")]

    def judgements(row: Mapping[str, Any] | None, editor: str) -> list[dict[str, Any]]:
        record = None if row is None else asked(editor, row["category"], row["id"])
        if record is None:
            return []
        return [
            {
                "which": one.which,
                "shown": one.shown,
                "error": one.error,
                **{name: numbers(getattr(one, name)) for name in TEXTS},
            }
            for one in record.judgements
        ]

    found = [[judgements(own.get(editor), editor) for editor in editors] for own in samples]
    return {"lines": list(lines), "samples": found}
