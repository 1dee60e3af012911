"""The report: one JSON of all numbers, the same as Markdown, and pages to look at.

`results/report/` links to the images of the results beside it; it opens from disk.
"""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from lockstep import config, drift, records
from lockstep.records import EditRecord
from lockstep.report import plots, texts
from lockstep.report.numbers import of_run
from lockstep.rubric import COLUMNS
from lockstep.tables import read_table

Tables = Mapping[str, Mapping[str, Path]]
"""Editor → category → file."""

PLOTTED = {
    "timeline": ("device", "kind", "start", "seconds", "wave", "category"),
    "curve": ("category", "seconds", "images"),
}
"""What is drawn and stands in a CSV, not in report.json: columns by key of `drift.measure`."""


def write_report(
    settings: config.Config,
    tables: Tables,
    summaries: Tables,
    edits: Mapping[str, Mapping[str, Sequence[Path]]],
    rejected: Path,
    further: Mapping[str, Sequence[Path]],
    folder: Path,
) -> None:
    """Write report.json, report.md, report.html, a page per category, config.yaml and tables.

    `scores.csv` and `scores.tex` hold the main table. For each editor,
    `lockstep-{editor}-timeline.csv` and `lockstep-{editor}-curve.csv` hold what its plots show;
    times are seconds.

    Args:
        tables: `table.csv` of each editor and category.
        summaries: `summary.json` of each editor and category.
        edits: the edits' records of each editor and category, a file for each shard.
        rejected: the benchmark's rejected samples.
        further: JSON lists of rows that join the report as `anchors` (drift from their recorded
            scores) and `agreement` (with human scores), each if there is one.
        folder: the report's folder.
    """
    folder = Path(folder)
    frames = {
        editor: {category: read_table(path) for category, path in files.items()}
        for editor, files in tables.items()
    }
    steps = {
        editor: drift.measure(_edits(files.values()), settings.report.straggler_margin)
        for editor, files in edits.items()
    }
    told = {editor: {k: v for k, v in s.items() if k not in PLOTTED} for editor, s in steps.items()}
    numbers = of_run(settings, frames, summaries, told, rejected, further)
    report = numbers.model_dump(mode="json")
    environment = _environment()
    records.write_json(folder / "report.json", report)
    plain = settings.model_dump(mode="json", exclude_none=True)
    effective = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
    records.write_text(folder / "config.yaml", effective)
    records.write_text(
        folder / "report.md", texts.markdown("report.md.j2", report, config=effective)
    )
    records.write_text(folder / "scores.csv", texts.csv_table(report))
    records.write_text(folder / "scores.tex", texts.latex_table(report))
    page = environment.get_template("report.html.j2").render(
        report=report, config=effective, plots=_plots(steps)
    )
    records.write_text(folder / "report.html", page)
    for editor, step in steps.items():
        for key, columns in PLOTTED.items():
            records.write_text(folder / f"lockstep-{editor}-{key}.csv", _csv(step[key], columns))
    for category in settings.benchmark.categories:
        by_editor = {editor: frames[editor][category] for editor in frames}
        text = environment.get_template("category.html.j2").render(
            report=report, category=category, samples=_samples(by_editor, folder)
        )
        records.write_text(folder / f"{category}.html", text)


def _edits(files: Iterable[Sequence[Path]]) -> list[EditRecord]:
    return [r for paths in files for path in paths for r in records.read_records(path, EditRecord)]


def _plots(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Markup]]:
    """Return the SVGs of each editor that has something to draw; its text is escaped in there."""
    return {
        editor: [
            Markup(plots.timeline(editor, step)),
            Markup(plots.drift_curve(editor, step)),
        ]
        for editor, step in steps.items()
        if step["edits"]
    }


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _samples(by_editor: Mapping[str, pd.DataFrame], folder: Path) -> list[dict[str, Any]]:
    """Return what a category's page shows of each sample, editors side by side."""
    rows = {editor: _rows(frame) for editor, frame in by_editor.items()}
    samples = []
    for editor, own in rows.items():
        for position, row in enumerate(own):
            if len(samples) <= position:
                samples.append(
                    {
                        "id": row["id"],
                        "instruction": row["instruction"],
                        "source": _link(row["source"], folder),
                        "edits": [],
                    }
                )
            samples[position]["edits"].append(
                {
                    **{key: row[key] for key in ("status", "score", "reasoning", "error")},
                    "editor": editor,
                    "edited": _link(row["edited"], folder),
                    "criteria": {
                        key: f"{value:g}"
                        for key, value in row.items()
                        if key not in COLUMNS and value is not None
                    },
                }
            )
    return samples


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _link(path: str | None, folder: Path) -> str | None:
    """Return a path as a URL relative to the report."""
    return None if path is None else quote(os.path.relpath(path, folder))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["chinese"] = texts.CHINESE
    environment.filters["number"] = texts.number
    environment.filters["percent"] = texts.percent
    environment.filters["interval"] = texts.interval
    environment.filters["counts"] = texts.counts
    environment.filters["reasons"] = _reasons
    return environment


def _reasons(status: Mapping[str, int]) -> str:
    """Return the failures of a category by kind, such as '2 edit_failed'."""
    return texts.counts({kind: count for kind, count in status.items() if kind != "ok"})
