"""The report of a run that is not finished: the same page, of what is there.

Nothing of the run is written, locked or waited for. Tables are made in a folder that goes again,
and the page's folder is put in place when it is whole.
"""

import os
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lockstep import layout, records
from lockstep.config.run import Config
from lockstep.editing import shard as editing
from lockstep.editors.settings import EditorSettings
from lockstep.errors import ConfigError
from lockstep.figures import preservation, tables
from lockstep.jobs import provenance
from lockstep.records import EditRecord, ScoreRecord
from lockstep.report import language
from lockstep.report.part import Unfinished
from lockstep.report.write import write_report
from lockstep.rubrics.rubric import SCALE, read_rubric
from lockstep.scoring import shard as scoring


class _There(NamedTuple):
    """What is there of an editor and category."""

    edits: list[EditRecord]
    scores: list[ScoreRecord]
    further: dict[str, int]
    """Scores of each judge but the first one."""


def write_partial(settings: Config, folder: Path, threads: int = 1) -> list[Unfinished]:
    """Write the report's files of what is there, and return how much that is of each editor.

    Args:
        folder: of the page; an earlier one is replaced.

    Raises:
        ConfigError: if the benchmark is not read yet, or as another configuration has it, if
            something else is in the page's place, or if nothing can be written there.
    """
    results = Path(settings.results)
    _check_place(folder)
    if not provenance.fitting_manifests(settings):
        found = "those of another configuration" if layout.counts(results).exists() else "none yet"
        raise ConfigError(
            f"{results}: expected the samples of this configuration (manifest/), found {found}; "
            "they are there once the run has read the benchmark"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(prefix=f".{folder.name[:40]}-", dir=folder.parent)
    except OSError as error:
        raise ConfigError(
            f"{folder}: expected a place for a folder, found none ({error.strerror})"
        ) from None
    with tempfile.TemporaryDirectory() as scratch, place as beside:
        new = Path(beside)
        for old in (layout.page(results).parent, folder):
            _link_thumbnails(old, new)
        told = _write(settings, Path(scratch), new, threads)
        _replace(folder, new)
    return told


def _check_place(folder: Path) -> None:
    """Refuse to replace anything but an earlier page of this kind."""
    found, numbers = "a file", folder / layout.numbers(folder).name
    if folder.is_dir():
        found = "a folder with something else in it"
        try:
            if not any(folder.iterdir()) or records.read_json(numbers)["partial"]:
                return
        except (OSError, ValueError, LookupError, TypeError):
            pass
    elif not os.path.lexists(folder):
        return
    raise ConfigError(
        f"{folder}: expected a new folder or that of an earlier partial report, found {found}"
    )


def _write(settings: Config, scratch: Path, folder: Path, threads: int) -> list[Unfinished]:
    results, told = Path(settings.results), []
    found: dict[str, dict[str, dict[str, list[Path]]]] = {"table": {}, "summary": {}, "edits": {}}
    for editor in settings.editors:
        samples = edits = scores = 0
        further_scores = Counter[str]()
        for category in settings.benchmark.named:
            own = layout.folder(scratch, editor.name, category)
            there = _there(settings, editor, category, own)
            samples += len(there.edits)
            edits += sum(edit.status != "missing" for edit in there.edits)
            scores += sum(score.status != "missing" for score in there.scores)
            further_scores.update(there.further)
            for kind, path in _tabulate(settings, editor.name, category, own).items():
                found[kind].setdefault(editor.name, {})[category] = [path]
        counts = {"samples": samples, "edits": edits, "scores": scores, "further": further_scores}
        told.append(Unfinished.model_validate({"editor": editor.name, **counts}))
    one = {
        kind: {name: {key: paths[0] for key, paths in own.items()} for name, own in each.items()}
        for kind, each in found.items()
    }
    further: dict[str, list[Path]] = {"anchors": [], "agreement": []}
    given = (one["table"], one["summary"], found["edits"], layout.rejected(results), further)
    write_report(settings, *given, folder, threads, told)
    return told


def _there(settings: Config, editor: EditorSettings, category: str, scratch: Path) -> _There:
    """Return what is there, with records of their own for what is missing, and write it."""
    results = Path(settings.results)
    manifest, folder = layout.manifest(results, category), _folder(settings, editor.name, category)
    say = partial(language.plain, settings.report.language)
    nothing = {"category": category, "status": "missing"}
    edit = {**nothing, "key": "", "seed": 0, "wave": 0, "shard": 0, "device": ""}
    edit["error"] = say("partial.not-edited")
    edits = [
        record
        or EditRecord.model_validate({**edit, "id": sample.id, "error": say("partial.not-edited")})
        for sample, record in editing.kept(editor, manifest, folder, settings.seed)
    ]
    path = layout.shard(scratch, "edits", 0, 1)
    records.write_records(path, edits)
    first, *others = (
        scoring.Shard(
            *(judge, manifest, [path], read_rubric(Path(judge.rubric_file(category))), folder),
            *(settings.seed, below),
        )
        for below, judge in settings.each_judge.items()
    )
    unscored = {**nothing, "error": say("partial.not-judged")}
    scores = [
        score or ScoreRecord.model_validate({**unscored, "id": own.id})
        for own, score in zip(edits, scoring.kept(first), strict=True)
    ]
    records.write_records(layout.shard(scratch, "scores", 0, 1), scores)
    further = {own.below: sum(map(_is_there, scoring.kept(own))) for own in others}
    return _There(edits, scores, further)


def _is_there(score: ScoreRecord | None) -> bool:
    return score is not None and score.status != "missing"


def _folder(settings: Config, editor: str, category: str) -> Path:
    return layout.folder(Path(settings.results), editor, category)


def _tabulate(settings: Config, editor: str, category: str, scratch: Path) -> dict[str, Path]:
    """Write table and summary, and return them and the edits' records by kind."""
    results = Path(settings.results)
    manifest, folder = layout.manifest(results, category), _folder(settings, editor, category)
    edits, scores = (layout.known_shards(scratch, kind) for kind in ("edits", "scores"))
    rubric = read_rubric(Path(settings.judge.rubric_file(category)))
    # what was not measured yet is measured by the run
    measured = preservation.known(preservation.all_edits(manifest, edits, folder), folder)
    frame = tables.table(manifest, edits, scores, rubric, folder, measured)
    place = layout.place(scratch)
    table, summary = layout.table(*place), layout.summary(*place)
    records.write_text(table, tables.to_csv(frame))
    threshold = settings.report.threshold_on(SCALE)
    # what is still to be made has not failed
    made = frame[frame["status"] != "missing"]
    records.write_json(summary, tables.summary(made, edits, scores, rubric, threshold))
    return {"table": table, "summary": summary, "edits": edits[0]}


def _link_thumbnails(old: Path, new: Path) -> None:
    """Take over the thumbnails of a report, so that only those of new edits are made."""
    for path in old.glob("thumbs/**/*.jpg"):
        target = new / path.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        # the run may replace it meanwhile, and a file system may know no links
        with suppress(OSError):
            target.unlink(missing_ok=True)
            os.link(path, target)


def _replace(folder: Path, new: Path) -> None:
    """Put a whole folder in place of another one."""
    # a temporary folder is its owner's alone
    new.chmod(0o755)
    if folder.exists():
        away = new.with_name(f"{new.name}.old")
        os.rename(folder, away)
        os.rename(new, folder)
        shutil.rmtree(away, ignore_errors=True)
    else:
        os.rename(new, folder)
    # what cleans up finds its folder
    new.mkdir()
