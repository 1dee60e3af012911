"""The report: one JSON of all numbers, the same as Markdown, and pages to look at.

`results/report/` links to the images of the results beside it; it opens from disk.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from lockstep import layout, records
from lockstep.config.run import Config
from lockstep.editors.settings import ServedEditorSettings
from lockstep.figures import drift, served
from lockstep.figures.apart import begun
from lockstep.figures.tables import read_table
from lockstep.foreign import media
from lockstep.records import EditRecord, RewriteRecord
from lockstep.report import gallery, page, seeds, texts
from lockstep.report import language as languages
from lockstep.report.asked import of_results
from lockstep.report.numbers import of_run
from lockstep.report.part import Unfinished
from lockstep.report.series import Place, places
from lockstep.report.sheets import sheet, worst
from lockstep.report.terms import Frames
from lockstep.report.thumbnails import make_thumbnails

DRAWING = 4
"""Threads for each process that draws charts, as it takes half a second until it begins."""

Tables = Mapping[str, Mapping[str, Path]]
"""Editor → category → file."""

PLOTTED = {
    "timeline": ("device", "kind", "start", "seconds", "wave", "category"),
    "curve": ("category", "seconds", "images"),
}
"""What is drawn and stands in a CSV, not in report.json: columns by key of `drift.measure`."""


def write_report(
    settings: Config,
    tables: Tables,
    summaries: Tables,
    edits: Mapping[str, Mapping[str, Sequence[Path]]],
    rejected: Path,
    further: Mapping[str, Sequence[Path]],
    folder: Path,
    threads: int = 1,
    unfinished: Sequence[Unfinished] = (),
) -> None:
    """Write report.json, report.md, report.html, what the page loads, config.yaml and tables.

    `scores.csv` and `scores.tex` hold the main table. For each editor,
    `lockstep-{editor}-timeline.csv` and `lockstep-{editor}-curve.csv` hold what its plots show;
    times are seconds. `means.csv`, `distribution-{category}.csv` and `criteria-{category}.csv` hold
    what the charts of scores show. `sheets/` holds contact sheets; `data/` and `thumbs/` belong to
    the page.

    Args:
        tables: `table.csv` of each editor and category.
        summaries: `summary.json` of each editor and category.
        edits: the edits' records of each editor and category, a file for each shard.
        rejected: the benchmark's rejected samples.
        further: JSON lists of rows that join the report as `anchors` (drift from their recorded
            scores), `arena` (comparisons in pairs) and `judges` (several judges), and an object
            `agreement` of such lists (people and the judge), each if there is one.
        folder: the report's folder.
        threads: thumbnails, contact sheets and charts that are made at a time.
        unfinished: what was there of each editor, of a run that is not finished.
    """
    folder, results = Path(folder), Path(settings.results)
    frames = {
        editor: {category: read_table(path) for category, path in files.items()}
        for editor, files in tables.items()
    }
    measured = {editor: _measure(editor, files, settings) for editor, files in edits.items()}
    plotted = begun(threads, _plot, measured, settings.report.language)
    steps = {}
    for editor, step in measured.items():
        for key, columns in PLOTTED.items():
            path = folder / f"lockstep-{editor}-{key}.csv"
            records.write_text(path, _csv(step[key], columns))
        steps[editor] = {key: value for key, value in step.items() if key not in PLOTTED}
    asked = _asked(settings, edits, results)
    rewriting = _rewriting(settings, results)
    told = (asked, rewriting, rejected, further, threads)
    made = frames if not unfinished else _made(frames)
    numbers = of_run(settings, made, summaries, steps, *told)
    report = _unranked(numbers.model_dump(mode="json"), unfinished)
    parts = max(1, threads // DRAWING)
    # charts of scores show the means over the seeds
    shown = seeds.averaged_scores(settings.seeds, made)
    drawings = [
        begun(threads, page.draw, report, settings, shown, part, parts) for part in range(parts)
    ]
    records.write_json(folder / "report.json", report)
    failures = page.failures(report, frames)
    plain = settings.model_dump(mode="json")
    effective = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
    records.write_text(folder / "config.yaml", effective)
    records.write_text(
        folder / "report.md",
        texts.markdown(
            "report.md.j2", report, settings.report.language, config=effective, failures=failures
        ),
    )
    records.write_text(folder / "scores.csv", texts.csv_table(report))
    records.write_text(folder / "scores.tex", texts.latex_table(report))
    _write_images(settings, frames, folder, threads, places(report))
    drawn = {name: chart for drawing in drawings for name, chart in drawing().items()}
    records.write_text(folder / "means.svg", drawn["means"].svg)
    for chart in drawn.values():
        records.write_text(folder / f"{chart.name}.csv", _csv(chart.rows, list(chart.rows[0])))
    text = page.render(report, settings, frames, drawn, plotted(), effective, failures)
    records.write_text(folder / "report.html", text)
    _forget_others(folder, list(frames), list(settings.benchmark.named), settings.series)


def _made(frames: Frames) -> Frames:
    """Return tables without what is still to be made, which has not failed."""
    return {
        editor: {key: frame[frame["status"] != "missing"] for key, frame in own.items()}
        for editor, own in frames.items()
    }


def _unranked(report: dict[str, Any], unfinished: Sequence[Unfinished]) -> dict[str, Any]:
    """Return a report that says what was there; while anything is missing it ranks nothing."""
    missing = any(own.scores < own.samples for own in unfinished)
    told = [own.model_dump(mode="json") for own in unfinished]
    return {**report, "partial": told, **({"leaderboard": []} if missing else {})}


def _forget_others(
    folder: Path, editors: Sequence[str], categories: Sequence[str], series: Iterable[str]
) -> None:
    """Remove files of editors and categories that are no longer reported."""
    # a partial report lies elsewhere
    results = folder.parent
    own = {folder / path.name for path in layout.report(results, editors, categories, series)}
    for editor in editors:
        for category in categories:
            own.update(_sheets(folder, editor, category).values())
    names = ("lockstep", "distribution", "criteria", "series")
    for pattern in (*(f"{name}-*.csv" for name in names), "sheets/*.jpg"):
        for path in set(folder.glob(pattern)) - own:
            path.unlink()


def _measure(editor: str, files: Mapping[str, Sequence[Path]], settings: Config) -> dict[str, Any]:
    """Return how an editor's devices kept step."""
    edits = records.each_record(chain(*files.values()), EditRecord)
    step = drift.measure(edits, settings.report.straggler_margin)
    # where no model works, times say nothing of the devices
    return step if settings.editor(editor).on_device else {**step, "slow": {}}


def _asked(
    settings: Config, edits: Mapping[str, Mapping[str, Sequence[Path]]], results: Path
) -> dict[str, dict[str, Any]]:
    """Return what the edits of each editor behind a server came to."""
    return {
        editor.name: served.sum_up(
            records.each_record(chain(*edits[editor.name].values()), EditRecord),
            editor,
            records.counted(layout.requests(results, editor.name)),
        )
        for editor in settings.editors
        if isinstance(editor, ServedEditorSettings)
    }


def _rewriting(settings: Config, results: Path) -> dict[str, dict[str, Any]]:
    """Return what the rewriting of each editor's instructions came to."""
    found = {}
    for editor in settings.editors:
        if editor.rewrite is not None:
            folders = (
                layout.folder(results, editor.name, c) for c in settings.benchmark.categories
            )
            texts = records.each_record(map(layout.rewritten, folders), RewriteRecord)
            requests = records.counted(layout.rewrite_requests(results, editor.name))
            found[editor.name] = served.rewriting(texts, editor.rewrite, requests)
    return found


def _plot(measured: Mapping[str, Mapping[str, Any]], language: str) -> dict[str, list[str]]:
    """Return the plots of how each editor's devices kept step, as SVG."""
    # slow to import, and needed where plots are drawn
    from lockstep.report import plots

    say = partial(languages.plain, language)
    # two names would take the room of both
    named = partial(languages.category, language) if language == "zh" else str

    return {
        editor: [
            draw(editor, step, width, say, named)
            for width in plots.WIDTHS
            for draw in (plots.timeline, plots.drift_curve)
            if step["edits"]
        ]
        for editor, step in measured.items()
    }


def _write_images(
    settings: Config, frames: Frames, folder: Path, threads: int, placed: Mapping[str, Place]
) -> None:
    """Write thumbnails, what the page loads, and contact sheets."""
    shown: set[str] = set()

    def pictured(some: Iterable[Mapping[str, gallery.Row]]) -> set[str]:
        images = gallery.images_of(some, folder)
        made = make_thumbnails(images, settings.benchmark.background, threads)
        names = {path.relative_to(folder).as_posix() for path in made}
        shown.update(names)
        return names

    asked = of_results(Path(settings.results), frames, list(settings.each_judge))
    gallery.write_gallery(gallery.Samples(frames), list(frames), folder, pictured, placed, asked)
    for path in (folder / "thumbs").rglob("*.jpg"):
        if path.relative_to(folder).as_posix() not in shown:
            path.unlink()
    with ThreadPoolExecutor(threads) as pool:
        written = []
        for editor, own in frames.items():
            for category, frame in own.items():
                shown_here = worst(frame)
                for kind, whose in (("source", None), ("edited", editor)):
                    path = _sheets(folder, editor, category)[kind]
                    written.append(pool.submit(_write_sheet, path, shown_here, whose, folder))
        for one in written:
            one.result()


def _sheets(folder: Path, editor: str, category: str) -> dict[str, Path]:
    """Return the contact sheets in a report's folder, which may be a partial one's."""
    sheets = layout.sheets(folder.parent, editor, category)
    return {kind: folder / path.parent.name / path.name for kind, path in sheets.items()}


def _write_sheet(path: Path, shown: Sequence[gallery.Row], whose: str | None, folder: Path) -> None:
    records.write_bytes(path, sheet(shown, whose, folder))


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: media.cell(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()
