"""All numbers of the report, from tables to what `schema` describes."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lockstep import __version__, records
from lockstep.config.report import ReportSettings
from lockstep.config.run import Config
from lockstep.figures import preservation, published, stats, tables
from lockstep.figures.apart import begun
from lockstep.models.fingerprints import MINIATURE, RANDOM, is_marked
from lockstep.records import Rejected
from lockstep.report import schema, seeds, series
from lockstep.report.comparisons import leaderboard, pairs, twins
from lockstep.report.terms import Frames, Headlines, Scale, Terms
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.rubric import SCALE, read_rubric


def of_run(
    settings: Config,
    frames: Frames,
    summaries: Mapping[str, Mapping[str, Path]],
    steps: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Mapping[str, Any]],
    rewriting: Mapping[str, Mapping[str, Any]],
    rejected: Path,
    further: Mapping[str, Sequence[Path]],
    processes: int = 1,
) -> schema.Report:
    """Return the numbers of a run.

    Args:
        summaries: `summary.json` of each editor and category.
        steps: how each editor's devices kept step, without what is only drawn.
        asked: what the edits of editors behind servers came to.
        rewriting: what the rewriting of editors' instructions came to.
        rejected: the benchmark's rejected samples.
        further: JSON lists of rows by the report's key that they join, or objects of such lists.
        processes: that this one may have beside it.
    """
    rejects = records.read_records(rejected, Rejected)
    categories = {
        editor: {category: records.read_json(path) for category, path in files.items()}
        for editor, files in summaries.items()
    }
    each, (each_headline, headline) = frames, _headlines(settings, frames)
    frames, headlines = seeds.averaged(settings.seeds, each, each_headline)
    categories = seeds.summaries(settings.seeds, frames, categories, settings.report)
    terms = Terms(settings.report, SCALE, {}, headline)
    best = series.best_of(settings.series, frames, headlines, terms)
    standing = series.shown(list(settings.seeds), settings.series, best)
    comparisons = begun(processes, pairs, {e: frames[e] for e in standing}, headlines, terms)
    controls = [e.name for e in settings.editors if e.copies_source]
    rivals = [editor for editor in standing if editor not in controls]
    steps_of = {e.name: e.member.step for e in settings.editors if e.member is not None}
    told = (settings.series, steps_of, best, frames, headlines, terms)
    checkpoints = begun(processes if best else 1, series.compared, *told)
    editors = {
        editor: {
            "categories": categories[editor],
            **_over_categories(own, terms),
            "preservation": preservation.summarise(
                pd.concat(each[editor].values(), ignore_index=True)
            ),
            "lockstep": steps[editor],
            "served": asked.get(editor),
            "rewriting": rewriting.get(editor),
        }
        for editor, own in frames.items()
    }
    ranked = sorted(
        standing, key=lambda editor: -(editors[editor]["overall"]["micro"]["mean"] or 0)
    )
    report = {
        **_compared(frames, headlines, editors, terms, comparisons(), rivals),
        "series": checkpoints(),
        **seeds.told(settings.seeds, each, each_headline, ranked),
        "twins": twins(settings.editors, frames, headlines, terms),
        "partial": [],
        "control_editors": controls,
        "random_weights": _marked(settings, RANDOM),
        "miniature": _marked(settings, MINIATURE),
        "controls": _controls(settings, each),
        **{
            name: rows
            for key, paths in further.items()
            for found in map(records.read_json, paths)
            for name, rows in (found.items() if isinstance(found, dict) else [(key, found)])
        },
        "rejected": {
            "count": len(rejects),
            "samples": [reject.model_dump(mode="json") for reject in rejects],
        },
        "skipped": _skipped(each),
        "cut": _cut(each),
        "settings": settings.model_dump(mode="json"),
        "versions": {
            "lockstep": __version__,
            "python": platform.python_version(),
            **_versions(row for rows in categories.values() for row in rows.values()),
        },
    }
    return schema.Report.model_validate(report)


def of_tables(
    frames: Frames,
    settings: ReportSettings,
    scale: Scale,
    sources: Mapping[str, Mapping[str, Any]],
    scales: Mapping[str, Scale] | None = None,
) -> schema.Comparison:
    """Return the numbers of tables alone, whoever made them.

    Args:
        scale: lowest and highest score possible.
        sources: where they come from, as in `schema.Source`.
        scales: of categories that have another scale.
    """
    keys = dict.fromkeys(category for own in frames.values() for category in own)
    found = {key: (scales or {}).get(key, scale) for key in keys}
    if len(set(found.values())) == 1:
        (scale,), found = set(found.values()), {}
    terms = Terms(settings, scale, found, _headline(scale))
    editors = {
        editor: {
            "categories": {
                category: _describe(frame, tables.criteria(frame), terms.of(category), settings)
                for category, frame in own.items()
            },
            **_over_categories(own, terms),
        }
        for editor, own in frames.items()
    }
    headlines = _scores(frames)
    comparisons = pairs(frames, headlines, terms)
    compared = _compared(frames, headlines, editors, terms, comparisons)
    return schema.Comparison.model_validate({**compared, "sources": sources})


def _headline(scale: Scale) -> dict[str, Any]:
    """Return the headline without a protocol: the mean score over samples."""
    return {"number": "score", "aggregate": "micro", "scale": scale, "protocol": None}


def _scores(frames: Frames) -> Headlines:
    return {
        editor: {category: frame["score"] for category, frame in own.items()}
        for editor, own in frames.items()
    }


def _headlines(settings: Config, frames: Frames) -> tuple[Headlines, dict[str, Any]]:
    """Return what editors are ranked by: the protocol's headline where there is a protocol."""
    if settings.judge.protocol_file is None:
        return _scores(frames), _headline(SCALE)
    protocol = read_protocol(Path(settings.judge.protocol_file))
    if protocol.headline == "accuracy" and not _all_have_criteria(frames):
        # finished scores tell no accuracy
        protocol = protocol.model_copy(update={"headline": "score"})
    keys = dict.fromkeys(category for own in frames.values() for category in own)
    rubrics = {key: read_rubric(Path(protocol.rubric_file(key))) for key in keys}
    found = {
        editor: {
            category: published.headlines(protocol, frame, rubrics[category])
            for category, frame in own.items()
        }
        for editor, own in frames.items()
    }
    scale = protocol.scale if protocol.headline == "score" else (0.0, 1.0)
    aggregate = {"number": protocol.headline, "aggregate": protocol.aggregate}
    return found, {**aggregate, "scale": scale, "protocol": protocol.name}


def _all_have_criteria(frames: Frames) -> bool:
    return all(
        frame.loc[frame["status"] == "ok", tables.criteria(frame)].notna().all(axis=None)
        for own in frames.values()
        for frame in own.values()
    )


def _describe(
    frame: pd.DataFrame, criteria: Sequence[str], scale: Scale, settings: ReportSettings
) -> dict[str, Any]:
    return tables.describe(frame, settings.threshold_on(scale), criteria, scale)


def _compared(
    frames: Frames,
    headlines: Headlines,
    editors: Mapping[str, Any],
    terms: Terms,
    comparisons: list[dict[str, Any]],
    standing: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return what all numbers begin with: editors, how they compare, and whether that counts.

    Args:
        standing: the editors that are ranked; all by default.
    """
    settings = terms.settings
    ranked = {
        editor: {**numbers, "headline": _ranked(frames[editor], headlines[editor], numbers, terms)}
        for editor, numbers in editors.items()
    }
    incomplete = [
        {"editor": editor, "category": category, "coverage": summary["coverage"]}
        for editor, numbers in editors.items()
        for category, summary in numbers["categories"].items()
        if summary["coverage"] is not None and summary["coverage"] < settings.min_coverage
    ]
    return {
        "title": settings.title,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "scale": terms.scale,
        "threshold": settings.threshold_on(terms.scale),
        "scales": {
            category: {"scale": scale, "threshold": settings.threshold_on(scale)}
            for category, scale in terms.scales.items()
        },
        "headline": terms.headline,
        "min_coverage": settings.min_coverage,
        "complete": not incomplete,
        "incomplete": incomplete,
        "editors": ranked,
        "comparisons": comparisons,
        "leaderboard": []
        if incomplete or terms.scales
        else leaderboard({e: ranked[e] for e in standing or ranked}, comparisons),
    }


def _ranked(
    frames: Mapping[str, pd.DataFrame],
    headlines: Mapping[str, pd.Series],
    numbers: Mapping[str, Any],
    terms: Terms,
) -> dict[str, Any]:
    """Return an editor's headline number, as in `schema.Ranked`."""
    overall, aggregate = numbers["overall"], terms.headline["aggregate"]
    categories = {category: row["mean"] for category, row in numbers["categories"].items()}
    if terms.headline["protocol"] is not None:
        groups = {
            category: tables.group(frame)._replace(
                scores=own.dropna().to_numpy(),
                clusters=tables.clusters(frame[own.notna()]).tolist(),
            )
            for category, frame in frames.items()
            for own in [headlines[category]]
        }
        overall = stats.overall(groups, 0, terms.headline["scale"])
        categories = {
            category: float(np.mean(group.scores)) if len(group.scores) else None
            for category, group in groups.items()
        }
    row = overall[aggregate]
    kept = ("mean", "ci95", "ci95_method", "clusters")
    return {key: row[key] for key in kept} | {"categories": categories}


UNKNOWN = ("mean", "std", "median", "min", "max", "ci95", "ci95_method", "threshold_share")
"""What no several categories have together that have scales of their own; and bounds."""


def _over_categories(own: Mapping[str, pd.DataFrame], terms: Terms) -> dict[str, Any]:
    """Return an editor's numbers by difficulty, by tag and overall."""
    scale, settings = terms.scale, terms.settings
    overall = stats.overall(
        {category: tables.group(frame) for category, frame in own.items()},
        settings.threshold_on(scale),
        scale,
    )
    if terms.scales:
        nothing: dict[str, Any] = dict.fromkeys((*UNKNOWN, "bounds"))
        nothing |= {"criteria": {}, "criteria_std": {}}
        overall = {kind: {**row, **nothing} for kind, row in overall.items()}
        return {"difficulties": {}, "tags": {}, "overall": overall}
    # copies of texts, a row at a time, are what would take memory
    needed = ["id", "category", "source", "status", "score", "difficulty", "tags"]
    every = pd.concat(
        [frame[[*needed, *tables.criteria(frame)]] for frame in own.values()], ignore_index=True
    )
    # what the editor does not take says nothing of it
    asked = [frame for frame in own.values() if (frame["status"] != "skipped").any()]
    # a criterion that only some categories have says nothing of all
    known = [tables.criteria(frame) for frame in asked]
    shared = [name for name in tables.criteria(every) if all(name in names for names in known)]

    def describe(frame: pd.DataFrame) -> dict[str, Any]:
        return _describe(frame, shared, scale, settings)

    by_category = [tables.means(frame, shared) for frame in asked]
    criteria = {
        "micro": {
            "criteria": tables.means(every, shared),
            "criteria_std": tables.spreads(every, shared),
        },
        "macro": {
            "criteria": _over(np.mean, by_category, shared),
            "criteria_std": _over(np.std, by_category, shared),
        },
    }
    return {
        "difficulties": {
            str(difficulty): describe(frame)
            for difficulty, frame in every.groupby("difficulty", sort=False)
        },
        "tags": {tag: describe(every.loc[rows]) for tag, rows in tables.tags(every).items()},
        "overall": {kind: {**row, **criteria[kind]} for kind, row in overall.items()},
    }


def _over(
    measure: Callable[[Sequence[float]], float],
    rows: Sequence[Mapping[str, float | None]],
    names: Sequence[str],
) -> dict[str, float | None]:
    """Return a measure over categories of the means of each criterion that all have a mean of."""
    found: dict[str, float | None] = {}
    for name in names:
        known = [mean for row in rows if (mean := row[name]) is not None]
        found[name] = float(measure(known)) if rows and len(known) == len(rows) else None
    return found


def _marked(settings: Config, marker: str) -> list[str]:
    """Return whose models have a marker in their folder: editors, and judges."""
    models = {editor.name: editor.model_folder for editor in settings.editors}
    models |= {judge.called: judge.model_folder for judge in settings.each_judge.values()}
    return [name for name, own in models.items() if own is not None and is_marked(own, marker)]


def _controls(settings: Config, frames: Frames) -> list[dict[str, Any]]:
    """Return how well the judge tells edits from what deserves no score, for each control.

    Controls are the edits of an editor that returns the source, and the edits themselves, judged
    against another sample's instruction.
    """
    copies = [e.name for e in settings.editors if e.copies_source]
    rows = []
    for editor, own in frames.items():
        for name, members in {**{c: [c] for c in own}, "overall": list(own)}.items():
            controls = {
                "swapped": [s for c in members for s in own[c]["swapped_score"].dropna()],
            }
            if copies and editor not in copies:
                untouched = frames[copies[0]]
                controls["identity"] = [s for c in members for s in _scored(untouched[c])]
            edits = [s for c in members for s in _scored(own[c])]
            rows += [
                {"editor": editor, "category": name, "control": control}
                | stats.separation(edits, scores)
                for control, scores in controls.items()
                if scores
            ]
    return rows


def _scored(frame: pd.DataFrame) -> stats.Scores:
    return tables.group(frame).scores


def _skipped(frames: Frames) -> list[dict[str, Any]]:
    """Return the samples that editors do not take, by editor, category and reason."""
    return [
        {"editor": editor, "category": category, "reason": str(reason), "ids": list(ids)}
        for editor, own in frames.items()
        for category, frame in own.items()
        for reason, ids in frame[frame["status"] == "skipped"].groupby("error", sort=False)["id"]
    ]


def _cut(frames: Frames) -> list[dict[str, Any]]:
    """Return the edits whose prompt a text encoder cut, by editor and category."""
    return [
        {"editor": editor, "category": category, "id": sample, "prompt_cut": cut}
        for editor, own in frames.items()
        for category, frame in own.items()
        for sample, cut in frame.loc[frame["prompt_cut"].notna(), ["id", "prompt_cut"]].to_numpy()
    ]


def _versions(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the software that edited and judged; several versions where they differ."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for versions in row["versions"].values():
            for package, known in versions.items():
                found.setdefault(package, set()).update(known)
    return {package: " and ".join(sorted(found[package])) for package in sorted(found)}
