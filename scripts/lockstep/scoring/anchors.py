"""Anchors: a fixed set of edits with recorded scores, which show whether a judge drifts.

A set is a folder with `anchors.jsonl`, `recorded.jsonl` and the images that they name. It is made
of a finished run and kept; every later run that names it judges it again.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lockstep import layout, records
from lockstep.judges import keys
from lockstep.judges.settings import JudgeSettings
from lockstep.records import EditRecord, Sample, ScoreRecord
from lockstep.rubrics.rubric import Rubric
from lockstep.rubrics.ties import settled
from lockstep.scoring.calls import asked, judge_calls, together
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging
from lockstep.scoring.shown import as_shown

PER_CATEGORY = 10
"""Edits of a category that make a set, from its lowest score to its highest."""


class Anchor(Sample):
    """A sample and an edit of it, a line of `anchors.jsonl`."""

    edited: str
    """Edited image; in the file relative to the set's folder, as `image`."""
    pixels_sha256: str
    """SHA-256 over mode, size and pixels of the edited image."""


class _Scored(NamedTuple):
    sample: Sample
    editor: str
    edit: EditRecord
    score: ScoreRecord
    path: Path
    """Edited image."""


def collect(
    manifests: Sequence[Path],
    editors: Sequence[str],
    results: Path,
    folder: Path,
    which: Literal["original", "rewritten", "both"] = "original",
) -> None:
    """Write an anchor set: of each category some edits that were scored, and their scores.

    Args:
        manifests: the categories' manifests.
        editors: whose edits may be taken.
        results: folder of all results.
        folder: the set's folder; what lies there is replaced.
        which: instruction the judge has seen.
    """
    if folder.exists():
        shutil.rmtree(folder)
    anchors, recorded = [], []
    for manifest in manifests:
        for scored in _spread(_scored(manifest, editors, results, which)):
            name = f"{scored.editor}.{scored.sample.id}"
            edited = f"edits/{name}.png"
            records.write_bytes(folder / edited, scored.path.read_bytes())
            sample = scored.sample.model_dump()
            references = [] if sample["reference"] is None else [sample["reference"]]
            for number, shown in enumerate((sample, *sample["more"], *references)):
                source = Path(shown["image"])
                place = f"sources/{number}" if number else "sources"
                shown["image"] = f"{place}/{name}{source.suffix}"
                records.write_bytes(folder / shown["image"], source.read_bytes())
            own = {"id": name, "edited": edited, "pixels_sha256": scored.edit.pixels_sha256}
            anchors.append(Anchor.model_validate({**sample, **own}))
            recorded.append(scored.score.model_copy(update={"id": name}))
    of_anchors, of_scores = layout.anchor_files(folder)
    records.write_records(of_scores, recorded)
    records.write_records(of_anchors, anchors)


def _scored(
    manifest: Path,
    editors: Sequence[str],
    results: Path,
    which: Literal["original", "rewritten", "both"],
) -> list[_Scored]:
    """Return the edits of a category that have a score, the lowest score first."""
    found = []
    for editor in editors:
        folder = layout.folder(results, editor, Path(manifest).stem)
        samples = {sample.id: sample for sample in as_shown(manifest, folder, which)}
        paths = layout.known_shards(folder, "edits")
        edits = {r.id: r for path in paths for r in records.read_records(path, EditRecord)}
        for path in layout.known_shards(folder, "scores"):
            found += [
                _Scored(
                    samples[r.id], editor, edits[r.id], r, records.below(folder, edits[r.id].image)
                )
                for r in records.read_records(path, ScoreRecord)
                if r.status == "ok"
            ]
    return sorted(found, key=lambda scored: (scored.score.score, scored.editor, scored.sample.id))


def _spread(scored: Sequence[_Scored]) -> list[_Scored]:
    """Return up to PER_CATEGORY of them, evenly from first to last."""
    count = min(PER_CATEGORY, len(scored))
    if count < 2:
        return list(scored[:count])
    return [scored[round(i * (len(scored) - 1) / (count - 1))] for i in range(count)]


def score_anchors(
    judge: JudgeSettings, rubrics: Mapping[str, Rubric], results: Path, place: Place
) -> None:
    """Judge an anchor set, greedily, and write `scores.jsonl` and `drift.json`.

    Args:
        rubrics: by category.
        results: where scores and judgements go.
    """
    identity, folder = keys.identity(judge), Path(str(judge.anchors))
    jobs: dict[str, Judging] = {}
    items = []
    of_anchors, of_scores = layout.anchor_files(folder)
    for anchor in records.read_records(of_anchors, Anchor):
        if anchor.category not in jobs:
            jobs[anchor.category] = Judging(judge, identity, rubrics[anchor.category], "anchors")
        sample = records.with_paths(anchor, folder)
        path = layout.anchor_judgement(results, anchor.id)
        edited, pixels = records.below(folder, anchor.edited), anchor.pixels_sha256
        items.append(asked(jobs[anchor.category], sample, edited, pixels, path))
    done = judge_calls(judge, items, place)
    scored = [together(item, done) for item in items]
    made, moved = layout.anchor_scores(results)
    records.write_records(made, scored)
    records.write_json(moved, drift(records.read_records(of_scores, ScoreRecord), scored))


def drift(recorded: Sequence[ScoreRecord], scored: Sequence[ScoreRecord]) -> list[dict[str, Any]]:
    """Tell how scores of the anchors differ from the recorded ones.

    Returns:
        for each category and overall: `count` of anchors with both scores, of `anchors`, the mean
        `difference` (new less recorded), the mean `distance` without its sign, the `largest` one
        (None where there is none), and whether it is the `same_judge`.
    """
    before = {record.id: record for record in recorded}
    categories = list(dict.fromkeys(record.category for record in scored))
    rows = []
    for name in (*categories, "overall"):
        own = [record for record in scored if name in (record.category, "overall")]
        both = [(before[r.id], r) for r in own if r.status == "ok" and r.id in before]
        differences = [
            float(settled(new.score - old.score))
            for old, new in both
            if new.score is not None and old.score is not None
        ]
        distances = [abs(difference) for difference in differences]
        count = len(differences)
        rows.append(
            {
                "category": name,
                "anchors": len(own),
                "count": count,
                "difference": sum(differences) / count if count else None,
                "distance": sum(distances) / count if count else None,
                "largest": max(distances, default=None),
                "same_judge": all(old.fingerprint == new.fingerprint for old, new in both),
            }
        )
    return rows
