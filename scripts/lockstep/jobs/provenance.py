"""What each output was made of, and which outputs do not fit what is asked for now.

Every job leaves a note of its outputs in `provenance/`, below the results: hashes of what decided
them, part by part, and of the files themselves. The notes travel with the results, so outputs are
known for what they are in any working folder. An output without a note, or with another one than
is asked for now, is made again; what takes a model has keys of its own and is kept.

Models are known here by the sizes and times of their files. Their contents are in the keys of
edits and judgements.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep import layout, plan, records
from lockstep.benchmark.detect import deciding_files
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config.report import CompareSettings, ReportSettings
from lockstep.config.run import Config
from lockstep.editors.settings import EditorSettings
from lockstep.errors import DamagedError
from lockstep.jobs.code import code, module_of
from lockstep.judges.settings import JudgeSettings
from lockstep.models import fingerprints
from lockstep.models.backend import BackendSettings
from lockstep.records.notes import (
    Output,
    check,
    digest,
    joint,
    misfit,
    read_note,
    sha256,
)
from lockstep.rubrics.rubric import Rubric

READERS = ("gedit", "imgedit", "kris", "re_edit", "rise", "table", "uniredit")

READING = ("benchmark.intake", *(f"benchmark.{form}" for form in READERS))
EDITING = ("editing.shard",)
JUDGING = ("scoring.shard",)
TABLES = ("figures.tables", "figures.measuring", "figures.similarity")
"""Modules that make each kind of output; with all that they import, they decide it."""


def check_scored(settings: Config, editor: str, category: str, shards: int, rubric: Rubric) -> None:
    """Refuse edits and scores that are not what is asked for, before they are read.

    Args:
        shards: of edits.

    Raises:
        DamagedError: naming the first.
    """
    own = settings.editor(editor)
    results = Path(settings.results)
    check(edited(results, settings.seed, own, category, k, shards) for k in range(shards))
    share = settings.share(editor)
    judged = (results, settings.judge, settings.seed, editor, category)
    check(scored(*judged, k, shards, share, rubric) for k in range(shards // share))


def check_tabulated(settings: Config, devices: int, rubrics: Mapping[str, Rubric]) -> None:
    """Refuse tables that are not what is asked for, before they are read.

    Args:
        devices: number of them all.
        rubrics: by category.

    Raises:
        DamagedError: naming the first.
    """
    check(
        tabulated(settings, editor.name, category, devices // editor.together, rubrics[category])
        for editor in settings.editors
        for category in settings.benchmark.categories
    )


def check_reported(results: Path, tables: Sequence[Path]) -> None:
    """Refuse tables of a run that were made anew since its report.

    Args:
        tables: all that the report lists, in its order.

    Raises:
        DamagedError: if they are others.
    """
    page = layout.page(results)
    note = read_note(layout.note(results, page))
    both = [p for table in tables for p in (table, layout.summary(*layout.of_table(table)))]
    if note is not None and note.made_of.get("tables") != joint(both):
        raise DamagedError(
            f"{page}: found it made of other tables than are there now; finish that run first"
        )


def of_backend(settings: BackendSettings) -> str:
    """Return what changes when settings do that decide results, or the files that they name."""
    apart = {*settings.neutral, *settings.places}
    if settings.model_folder is not None:
        apart.add("model")
    plain = settings.model_dump(mode="json", exclude=apart)
    return digest(plain, settings.plugin(), settings.state())


def prepared(settings: Config) -> Output:
    """Return the manifests, what was rejected, and the counts of samples."""
    results, own = Path(settings.results), settings.benchmark
    files = [layout.counts(results), layout.rejected(results), layout.sources(results)]
    files += [layout.manifest(results, category) for category in own.categories]
    made_of = {
        "benchmark": digest(
            own.model_dump(mode="json", exclude={"path", "images", "max_rejected_share"}),
            _read(own),
        ),
        "code": code(*READING),
    }
    return Output(results, files, made_of)


def fitting_manifests(settings: Config) -> list[Path]:
    """Return the manifests, if the benchmark was read as it is; else nothing."""
    made = prepared(settings)
    is_read = made.files[0].exists() and misfit(made) is None
    return [layout.manifest(made.results, key) for key in settings.benchmark.categories if is_read]


def _read(settings: BenchmarkSettings) -> list[list[Any]]:
    """Return names and states of a benchmark's files; those that it names are listed elsewhere."""
    archive = [settings.images] if settings.images and os.path.isfile(settings.images) else []
    paths = [*map(str, deciding_files(Path(settings.path), settings.format)), *archive]
    names = map(os.path.basename, paths)
    return [list(pair) for pair in zip(names, fingerprints.files_state(paths), strict=True)]


def edited(
    results: Path, seed: int, editor: EditorSettings, category: str, shard: int, shards: int
) -> Output:
    """Return the records of a shard's edits."""
    manifest = layout.manifest(results, category)
    made_of = {
        "manifest": digest(sha256(manifest), _first(results, category) % shards),
        "seed": str(seed),
        "editor": of_backend(editor),
        "code": code(*EDITING, module_of(editor)),
    }
    if editor.rewrite is not None:
        made_of["rewritten"] = _rewritten(results, editor.name, category)
    path = layout.edits(results, editor.name, category, shard, shards)
    return Output(results, [path], made_of)


def rewritten(results: Path, editor: EditorSettings, category: str) -> Output:
    """Return what an editor is told in place of a category's instructions."""
    assert editor.rewrite is not None
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "rewriter": of_backend(editor.rewrite),
        "code": code("editing.rewriting"),
    }
    path = layout.rewritten(layout.folder(results, editor.name, category))
    return Output(results, [path], made_of)


def _rewritten(results: Path, editor: str, category: str) -> str:
    return sha256(layout.rewritten(layout.folder(results, editor, category)))


def _first(results: Path, category: str) -> int:
    """Return the place of a category's first sample, 0 where that is not known."""
    try:
        return plan.place(records.read_json(layout.counts(results)), category)
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def scored(
    results: Path,
    judge: JudgeSettings,
    seed: int,
    editor: str,
    category: str,
    shard: int,
    shards: int,
    share: int,
    rubric: Rubric,
    below: str = "",
) -> Output:
    """Return the records of a shard's scores.

    Args:
        shards: of edits.
        share: how many of them one shard of scores judges.
        below: folder of the judge among others; the first one has none.
    """
    edits = [
        layout.edits(results, editor, category, k, shards) for k in plan.edit_shards(shard, share)
    ]
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": joint(edits),
        "judge": of_backend(judge),
        "seed": str(seed) if judge.repeats > 1 else "",
        "rubric": rubric.sha256,
        "code": code(*JUDGING, module_of(judge)),
    }
    if judge.instruction_shown != "original":
        made_of["rewritten"] = _rewritten(results, editor, category)
    folder = layout.folder(results, editor, category)
    path = layout.shard(folder, "scores", shard, shards // share, below)
    return Output(results, [path], made_of)


def tabulated(settings: Config, editor: str, category: str, shards: int, rubric: Rubric) -> Output:
    """Return the table and the summary of an editor and category.

    Args:
        shards: of edits.
    """
    results, judges = Path(settings.results), shards // settings.share(editor)
    edits = layout.all_edits(results, editor, category, shards)
    scores = layout.all_scores(results, editor, category, judges)
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": joint(edits),
        "scores": joint(scores),
        "rubric": rubric.sha256,
        "config": digest(settings.report.model_dump(mode="json", include={"threshold"})),
        "metrics": digest(settings.metrics.state()),
        # it names the images where they are
        "place": settings.results,
        "code": code(*TABLES),
    }
    files = [layout.table(results, editor, category), layout.summary(results, editor, category)]
    return Output(results, files, made_of)


def tables_of(settings: Config) -> list[Path]:
    """Return the tables and summaries of all editors and categories."""
    results = Path(settings.results)
    return [
        place(results, editor.name, category)
        for editor in settings.editors
        for category in settings.benchmark.categories
        for place in (layout.table, layout.summary)
    ]


def agreed(settings: Config, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the judge's agreement with people, and theirs with each other."""
    results, own = Path(settings.results), settings.report
    scales = own.model_dump(mode="json", include={"human_scales"})
    made_of = {
        "human_scores": digest([*(sha256(Path(file)) for file in own.human_files), scales]),
        "tables": joint(tables_of(settings)),
        "rubric": _of_rubrics(rubrics),
        "code": code("figures.people"),
    }
    return Output(results, [layout.agreement(results)], made_of)


def anchored(results: Path, judge: JudgeSettings, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the scores of the anchor set and their drift."""
    anchors = Path(str(judge.anchors))
    made_of = {
        "anchors": joint(layout.anchor_files(anchors)),
        "judge": of_backend(judge),
        "rubric": _of_rubrics(rubrics),
        "code": code("scoring.anchors", *JUDGING, module_of(judge)),
    }
    return Output(results, layout.anchor_scores(layout.anchors(results)), made_of)


def collected(settings: Config) -> Output:
    """Return the anchor set that is made of this run."""
    results = Path(settings.results)
    names, shown = [editor.name for editor in settings.editors], settings.judge.instruction_shown
    made_of = {
        "tables": joint(tables_of(settings)),
        "config": digest(names if shown == "original" else [*names, {"shown": shown}]),
    }
    return Output(results, layout.anchor_files(layout.anchor_set(results)), made_of)


def rated(settings: Config, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the page on which people rate edits, and its plan."""
    results = Path(settings.results)
    named = [layout.manifest(results, category) for category in settings.benchmark.named]
    plain = settings.rating.model_dump(mode="json")
    made_of = {
        "config": digest(plain, settings.report.language, settings.benchmark.background),
        "manifest": joint(named),
        "tables": joint(tables_of(settings)),
        "rubric": _of_rubrics(rubrics),
        "code": code("report.rating.page", templates=True),
    }
    return Output(results, layout.rating(results), made_of)


def summed_up(settings: Config, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the numbers of the benchmark's protocol."""
    results = Path(settings.results)
    made_of = {
        "protocol": _of_protocol(settings),
        "rubric": _of_rubrics(rubrics),
        "tables": joint(tables_of(settings)),
        "code": code("figures.published", "figures.tables"),
    }
    return Output(results, layout.protocol(results), made_of)


def compared(
    results: Path,
    compare: CompareSettings,
    report: ReportSettings,
    files: Mapping[str, Sequence[str]],
) -> Output:
    """Return the comparison of several sources.

    Args:
        files: of each source.
    """
    made_of = {
        "config": digest(compare.model_dump(mode="json"), report.model_dump(mode="json")),
        "compared": digest({name: joint(map(Path, own)) for name, own in files.items()}),
        "code": code("report.compare", templates=True),
    }
    return Output(results, layout.comparison(results), made_of)


def _of_config(settings: Config) -> str:
    # a job on a cluster loads its own model, and results may be moved
    apart: Any = {"results": True, "devices": {"resident"}}
    return digest(settings.model_dump(mode="json", exclude=apart))


def _of_protocol(settings: Config) -> str:
    file = settings.judge.protocol_file
    return "" if file is None else sha256(Path(file))


def _of_rubrics(rubrics: Mapping[str, Rubric]) -> str:
    return digest([rubric.sha256 for rubric in rubrics.values()])


def reported(settings: Config, devices: int, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the report.

    Args:
        devices: number of them all.
        rubrics: by category.
    """
    results = Path(settings.results)
    names = [editor.name for editor in settings.editors]
    categories = settings.benchmark.categories
    edits = [
        path
        for editor in settings.editors
        for category in categories
        for path in layout.all_edits(results, editor.name, category, devices // editor.together)
    ]
    rewriters = [editor.name for editor in settings.editors if editor.rewrite is not None]
    # digests of reports without comparisons stay what they were
    further = [layout.arena(results)] if settings.judge.pairs else []
    further += layout.judges(results)[:1] if len(settings.judges) > 1 else []
    _, drift = layout.anchor_scores(layout.anchors(results))
    made_of = {
        "manifest": sha256(layout.rejected(results)),
        "edits": joint(edits),
        "tables": joint(tables_of(settings)),
        "rubric": _of_rubrics(rubrics),
        "protocol": _of_protocol(settings),
        "config": _of_config(settings),
        "files": digest([sha256(path) for path in (drift, layout.agreement(results), *further)]),
        "code": code("report.write", templates=True),
    }
    if rewriters:
        told = [
            _rewritten(results, name, category) for name in rewriters for category in categories
        ]
        made_of["rewritten"] = digest(told)
    files = layout.report(results, names, categories, settings.series)
    files += [results / "report" / name for name in ("means.svg", "scores.csv")]
    for editor in names:
        for category in categories:
            files += layout.sheets(results, editor, category).values()
    # not what the judge was asked (asked-*.js), which hashing at each start would take longer for
    return Output(results, files, made_of, also="report/data/[!a]*.js")
