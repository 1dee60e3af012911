"""The report: one JSON of all numbers, the same as Markdown, and pages to look at.

`results/report/` links to the images of the results beside it; it opens from disk.
"""

import os
import platform
import time
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import yaml

from lockstep import __version__, config, records, stats, tiny
from lockstep.categories import CATEGORIES
from lockstep.records import Rejected
from lockstep.rubric import COLUMNS
from lockstep.tables import read_table

SCHEMA_VERSION = 1

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "snakemake", "pillow")
"""Whose versions the report names."""

Tables = Mapping[str, Mapping[str, Path]]
"""Editor → category → file."""


def write_report(
    settings: config.Config, tables: Tables, summaries: Tables, rejected: Path, folder: Path
) -> None:
    """Write report.json, report.md, report.html, a page per category and config.yaml.

    Args:
        tables: `table.csv` of each editor and category.
        summaries: `summary.json` of each editor and category.
        rejected: the benchmark's rejected samples.
        folder: the report's folder.
    """
    folder = Path(folder)
    frames = {
        editor: {category: read_table(path) for category, path in files.items()}
        for editor, files in tables.items()
    }
    report = _numbers(settings, frames, summaries, rejected)
    environment = _environment()
    records.write_json(folder / "report.json", report)
    plain = settings.model_dump(mode="json", exclude_none=True)
    effective = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
    records.write_text(folder / "config.yaml", effective)
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.j2").render(report=report, config=effective)
        records.write_text(folder / name, text)
    for category in settings.benchmark.categories:
        by_editor = {editor: frames[editor][category] for editor in frames}
        text = environment.get_template("category.html.j2").render(
            report=report, category=category, samples=_samples(by_editor, folder)
        )
        records.write_text(folder / f"{category}.html", text)


def _numbers(
    settings: config.Config,
    frames: Mapping[str, Mapping[str, pd.DataFrame]],
    summaries: Tables,
    rejected: Path,
) -> dict[str, Any]:
    rejects = records.read_records(rejected, Rejected)
    return {
        "schema_version": SCHEMA_VERSION,
        "title": settings.report.title,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "random_weights": [
            name
            for name, model in _models(settings).items()
            if config.is_folder(model) and tiny.is_random(model)
        ],
        "editors": {
            editor: {
                "categories": {
                    category: yaml.safe_load(path.read_text(encoding="utf-8"))
                    for category, path in summaries[editor].items()
                },
                "overall": stats.overall(
                    {
                        category: frame.loc[frame["status"] == "ok", "score"].tolist()
                        for category, frame in by_category.items()
                    },
                    samples=sum(map(len, by_category.values())),
                ),
            }
            for editor, by_category in frames.items()
        },
        "rejected": {
            "count": len(rejects),
            "samples": [reject.model_dump(mode="json") for reject in rejects],
        },
        "settings": settings.model_dump(mode="json"),
        "versions": {
            "lockstep": __version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in PACKAGES},
        },
    }


def _models(settings: config.Config) -> dict[str, str]:
    models = {
        editor.name: editor.model
        for editor in settings.editors
        if isinstance(editor, config.DiffusersEditor)
    }
    return {**models, "the judge": settings.judge.model}


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
                        key: int(value)
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
    chinese = {category.key: category.chinese for category in CATEGORIES.values()}
    environment.globals["chinese"] = chinese
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value:.1%}"
    environment.filters["reasons"] = _reasons
    return environment


def _reasons(status: Mapping[str, int]) -> str:
    """Return the failures of a category by kind, such as '2 edit_failed'."""
    failed = Counter({kind: count for kind, count in status.items() if kind != "ok"})
    return ", ".join(f"{count} {kind}" for kind, count in failed.most_common())
