"""report.html: one page over all samples, with what it loads beside it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from lockstep.config.run import Config
from lockstep.figures import judges, tables
from lockstep.foreign import media
from lockstep.records import canonical_json
from lockstep.records.failures import by_reason
from lockstep.report import language, series, texts
from lockstep.report.gallery import Row, Samples
from lockstep.report.terms import Chart, Frames, colour
from lockstep.rubrics.rubric import read_rubric

VIEWS = (
    *("results", "samples", "failures", "numbers", "preservation", "judge", "lockstep"),
    *("settings", "glossary"),
)
"""Of the page, in their order."""

SCRIPTS = (
    *("wipe", "keep", "texts", "data", "notes", "query", "gallery", "viewer", "extremes"),
    *("tables", "page"),
)
"""Of the page, each after those that it uses."""

OF_SCRIPTS = ("page", "samples", "status", "terms", "viewer")
"""Parts of the texts that the scripts show."""

REASONS = 100
"""Most reasons of failures, and of skipping samples, that are listed."""

IDS = 20
"""Most samples that are listed of each reason."""


def draw(
    report: Mapping[str, Any], settings: Config, frames: Frames, part: int = 0, parts: int = 1
) -> dict[str, Chart]:
    """Draw the charts of scores, by name; one part of them, of which each takes as long."""
    # slow to import, and needed where charts are drawn
    from lockstep.report import charts

    labels = _labels(report, settings.report.language)
    say = partial(language.plain, settings.report.language)
    scales = _scales(settings)
    places = series.places(report)
    standing = [editor for editor, place in places.items() if place.standing]
    drawn = [partial(charts.means, report, labels, standing, say)]
    for one in report["series"]:
        number = places[one["steps"][0]["editor"]].number
        drawn.append(partial(charts.series, one, report, labels, number, say))
    for category in labels:
        scores = {
            editor: [float(score) for score in tables.group(own[category]).scores]
            for editor, own in frames.items()
            if editor in standing
        }
        drawn.append(partial(charts.distribution, category, scores, report["scale"], say))
        criteria = {
            editor: own["categories"][category]["criteria"]
            for editor, own in report["editors"].items()
            if editor in standing
        }
        drawn.append(partial(charts.criteria, category, criteria, scales[category], say))
    return {chart.name: chart for chart in (one() for one in drawn[part::parts])}


def render(
    report: Mapping[str, Any],
    settings: Config,
    frames: Frames,
    drawn: Mapping[str, Chart],
    plots: Mapping[str, Sequence[str]],
    effective: str,
    failures: Mapping[str, Any],
) -> str:
    """Return the page's HTML.

    Args:
        report: what `schema.Report` describes.
        drawn: the charts of `draw`.
        plots: how each editor's devices kept step, as SVG.
        effective: the configuration as YAML.
        failures: as `failures` returns them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report.write"),
        autoescape=True,
        finalize=media.html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = settings.report.language
    say = language.html(own)
    environment.globals |= {"chinese": language.CHINESE, "colour": colour, "inline": inline}
    environment.globals |= {
        "say": say,
        "language": own,
        "category": partial(language.category, own),
    }
    environment.globals |= {"link": _link, "scripts": SCRIPTS}
    places = series.places(report)
    environment.globals["headline_name"] = texts.headline_name(report["headline"], own)
    environment.filters |= FILTERS | texts.headline_filters(report, own)
    environment.filters["interval"] = partial(texts.interval, language=own)
    return environment.get_template("report.html.j2").render(
        report=report,
        tag=language.TAGS[own],
        texts=canonical_json(_of_scripts(own)),
        # notes of one report are not those of another
        notes_of=f"{settings.results} {report['title']}",
        terms=language.terms(own),
        warnings=texts.warnings(report, own),
        views=VIEWS,
        labels=_labels(report, own),
        places=places,
        standing=[editor for editor, place in places.items() if place.standing],
        samples=len(Samples(frames)),
        charts=drawn,
        plots=plots,
        failures=failures,
        skipped=sum(len(own["ids"]) for own in report["skipped"]),
        limits={"reasons": REASONS, "ids": IDS},
        controls=[editor.name for editor in settings.editors if editor.copies_source],
        without_model=[
            editor.name for editor in settings.editors if not (editor.on_device or editor.served)
        ],
        judge=settings.judge.model_name or say("judge.precomputed"),
        judges=_judges(report, settings),
        rubrics={
            category: Path(settings.judge.rubric_file(category)).read_text(encoding="utf-8")
            for category in settings.benchmark.named
        },
        scales=canonical_json(_scales(settings)),
        config=effective,
        command=f"snakemake --cores all --configfile {settings.results}/report/config.yaml",
    )


def _scales(settings: Config) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of the criteria of each category."""
    keys = settings.benchmark.named
    return {key: read_rubric(Path(settings.judge.rubric_file(key))).scale for key in keys}


def _of_scripts(own: str) -> dict[str, str]:
    """Return the texts that the scripts show, by key."""
    names = {f"categories.{key}": name for key, name in language.CHINESE.items()}
    found = {
        f"{part}.{key}": text
        for part in OF_SCRIPTS
        for key, text in language.part(own, part).items()
    }
    return found | (names if own == "zh" else {})


def _link(path: str, name: str = "") -> Markup:
    """Return a link to a file beside the page."""
    return Markup('<a href="{}">{}</a>').format(path, name or path)


def inline(name: str) -> Markup:
    """Return a file of the templates as it is."""
    path = Path(__file__).parent / "templates" / name
    return Markup(path.read_text(encoding="utf-8").rstrip())


def _labels(report: Mapping[str, Any], own: str) -> dict[str, str]:
    """Return category → how it is called, in the configured order."""
    keys = dict.fromkeys(key for own in report["editors"].values() for key in own["categories"])
    return {key: language.category(own, key) for key in keys}


def _failing(frames: Frames) -> Frames:
    """Return the rows of the samples that failed for any editor."""
    every = [frame for own in frames.values() for frame in own.values()]
    lost = [frame.loc[~frame["status"].isin(["ok", "skipped"]), "id"] for frame in every]
    failed = pd.concat(lost).unique()
    return {
        editor: {key: frame[frame["id"].isin(failed)] for key, frame in own.items()}
        for editor, own in frames.items()
    }


def failures(report: Mapping[str, Any], frames: Frames) -> dict[str, Any]:
    """Return what failed: numbers overall and by category, and reasons, the most frequent first."""
    return _failures(report, Samples(_failing(frames)))


def _failures(report: Mapping[str, Any], samples: Iterable[Mapping[str, Row]]) -> dict[str, Any]:
    found: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    # what a run that goes on has still to make has not failed
    passed = ("ok", "skipped", *(["missing"] if report.get("partial") else []))
    for own in samples:
        for editor, row in own.items():
            if row["status"] not in passed:
                found.setdefault((editor, row["status"]), []).append((row["id"], row["error"]))
    ordered = [
        (editor, status, error, ids)
        for (editor, status), failed in found.items()
        for error, ids in by_reason(failed)
    ]
    ordered.sort(key=lambda item: -len(item[-1]))
    editors = report["editors"].items()
    unfinished = {own["editor"]: own for own in report.get("partial", ())}
    by_judge: dict[str, int] = {}
    if report.get("judges"):
        first, *_ = report["judges"][-1]["judges"]
        lost = judges.failures(report["judges"][-1])
        # those of the first one are in the tables
        by_judge = {name: count for name, count in lost.items() if name != first}
    return {
        "total": sum(map(len, found.values())) + sum(by_judge.values()),
        "by_judge": by_judge,
        "overall": [
            (name, "", _with_missing(own["overall"]["micro"], unfinished.get(name)))
            for name, own in editors
        ],
        "by_category": [
            (name, key, row)
            for name, own in editors
            for key, row in own["categories"].items()
            if row["failed"]
        ],
        "left_out": max(0, len(ordered) - REASONS),
        "reasons": [
            {"editor": name, "status": status, "error": error, "count": len(ids), "ids": ids[:IDS]}
            for name, status, error, ids in ordered[:REASONS]
        ],
    }


def _with_missing(row: dict[str, Any], unfinished: Mapping[str, int] | None) -> dict[str, Any]:
    """Return an editor's numbers with what a run that goes on has still to make."""
    if unfinished is None:
        return row
    missing = unfinished["samples"] - unfinished["scores"]
    return {**row, "failures": {**row["failures"], "missing": missing}}


def _judges(report: Mapping[str, Any], settings: Config) -> list[dict[str, Any]]:
    """Return what judged, each with its fingerprint by category, which covers the rubric too.

    A judge knows its model by a hash of its files; what it is called stands in the settings.
    """
    named = {"model": settings.judge.model_name} if settings.judge.model_name else {}
    found: dict[str, dict[str, Any]] = {}
    for own in report["editors"].values():
        for category, row in own["categories"].items():
            for fingerprint, told in row["judges"].items():
                shown = {**told, "judge": {**named, **told["judge"]}, "fingerprints": {}}
                judge = found.setdefault(canonical_json(told), shown)
                judge["fingerprints"][category] = fingerprint
    return list(found.values())


def _text(value: Any) -> str:
    """Return a value of any shape as plain text."""
    if isinstance(value, Mapping) and value and not any(_nested(v) for v in value.values()):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, (Mapping, list)):
        return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).strip()
    return "–" if value is None else str(value)


def _nested(value: Any) -> bool:
    return isinstance(value, (Mapping, list))


FILTERS = {
    "counts": texts.counts,
    "number": texts.number,
    "p": texts.p_value,
    "percent": texts.percent,
    "plain": lambda value: f"{value:g}",
    "query": lambda values: urlencode({key: value for key, value in values.items() if value}),
    "signed": lambda value: "–" if value is None else f"{value:+.2f}",
    "text": _text,
    "words": lambda key: str(key).replace("_", " "),
}
