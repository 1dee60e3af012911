"""The report's numbers as text: Markdown, and the main table as CSV and LaTeX."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jinja2
import pandas as pd

from lockstep.foreign import media
from lockstep.report import language as languages
from lockstep.rubrics.ties import settled

FAILURES = ("edit_failed", "judge_failed", "missing")


def markdown(template: str, report: Mapping[str, Any], language: str = "en", **further: Any) -> str:
    """Return a template of this package, filled with the numbers of a report.

    Args:
        report: as in report.json.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report.write"),
        # every text passes `media.markdown`, but for what is marked as Markdown
        autoescape=True,
        finalize=_safe,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digits = _digits(report)
    environment.globals |= {"digits": digits, "say": languages.markdown(language)}
    environment.globals |= {
        "named": partial(languages.category, language),
        "warnings": partial(warnings, language=language),
        "headline_name": headline_name(report["headline"], language),
    }
    environment.filters |= {
        **headline_filters(report, language),
        "number": lambda value: number(value, digits),
        "signed": lambda value: "–" if value is None else f"{value:+.{digits}f}",
        "interval": partial(interval, digits=digits, language=language),
        "p": p_value,
        "percent": percent,
        "counts": counts,
        "fenced": media.fenced,
    }
    return environment.get_template(template).render(report=report, **further)


def _safe(value: Any) -> Any:
    """Return what a template writes of a value."""
    if value is None:
        return ""
    return media.markdown(value) if isinstance(value, str) else value


def warnings(report: Mapping[str, Any], language: str = "en") -> list[str]:
    """Return what a reader must know before any number, the worst first; nothing if all is well."""
    say = partial(languages.plain, language)
    found = []
    if report.get("partial"):
        found.append(_partial(report, say))
    elif report["incomplete"]:
        places = [
            say("warnings.place", **{**row, "coverage": percent(row["coverage"])})
            for row in sorted(report["incomplete"], key=lambda row: row["coverage"])
        ]
        least, named = percent(report["min_coverage"]), _some(places, 3, say)
        found.append(say("warnings.incomplete", least=least, places=named))
    if report.get("random_weights"):
        found.append(say("warnings.random", names=", ".join(report["random_weights"])))
    if report.get("miniature"):
        found.append(say("warnings.miniature", names=", ".join(report["miniature"])))
    if report["scales"]:
        scales = [
            f"{category} " + _between(f"{own['scale'][0]:g}", f"{own['scale'][1]:g}", language)
            for category, own in report["scales"].items()
        ]
        found.append(say("warnings.scales", scales=_some(scales, 5, say)))
    if any(row["same_judge"] is False for row in report["comparisons"]):
        found.append(say("warnings.judges"))
    asked = list(map(_asked, report["editors"].values()))
    if any(own != asked[0] for own in asked):
        found.append(say("warnings.samples"))
    return found


def _partial(report: Mapping[str, Any], say: Callable[..., str]) -> str:
    """Return what a report says of itself whose run was not finished."""
    lacking = [
        say(
            "warnings.lacking",
            **own,
            edits_left=own["samples"] - own["edits"],
            scores_left=own["samples"] - own["scores"],
        )
        for own in report["partial"]
        if own["scores"] < own["samples"]
    ]
    key = "warnings.partial" if lacking else "warnings.partial-whole"
    told = say(key, date=report["date"], lacking="; ".join(lacking))
    first, *others = [judge["name"] for judge in report["settings"].get("judges") or [{"name": ""}]]
    if not others:
        return told
    samples = sum(own["samples"] for own in report["partial"])
    each = [
        say(
            "warnings.partial-judge",
            name=name,
            scores=sum(own["further"].get(name, 0) for own in report["partial"]),
            samples=samples,
        )
        for name in others
    ]
    return f"{told} {say('warnings.partial-judges', first=first, others=', '.join(each))}"


def _some(names: Sequence[str], most: int, say: Callable[..., str]) -> str:
    """Return a list of names of which at most some are told."""
    more = say("warnings.more", count=len(names) - most) if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _asked(editor: Mapping[str, Any]) -> dict[str, int]:
    """Return how many samples an editor was asked of each category."""
    asked = {
        category: row["count"] + row["failed"] + row["skipped"]
        for category, row in editor["categories"].items()
    }
    return {category: count for category, count in asked.items() if count}


def rows(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row of numbers for each editor, and each category, difficulty, tag and overall."""
    for editor, numbers in report["editors"].items():
        groups = {
            "category": numbers["categories"],
            "difficulty": numbers["difficulties"],
            "tag": numbers["tags"],
            "overall": numbers["overall"],
        }
        for group, summaries in groups.items():
            for name, summary in summaries.items():
                yield {"editor": editor, "group": group, "name": name, **_flat(summary)}


def csv_table(report: Mapping[str, Any]) -> str:
    """Return the main table as CSV, all digits kept; see `rows`."""
    frame = media.cells(pd.DataFrame(list(rows(report))))
    return frame.to_csv(index=False, lineterminator="\n")


def latex_table(report: Mapping[str, Any]) -> str:
    """Return the means by editor and category as a LaTeX table, for the package booktabs.

    Bold are, in a complete report of several editors, the best of a column and those that the
    comparisons do not tell apart from it. With a protocol these compare its headline number, which
    has a column of its own.
    """
    digits = _digits(report)
    headline, shown = report["headline"], headline_filters(report)
    title = headline_name(headline)
    categories = list(dict.fromkeys(c for e in report["editors"].values() for c in e["categories"]))
    cells: dict[str, dict[str, str]] = {}
    for editor, numbers in report["editors"].items():
        cells[editor] = {
            category: number(numbers["categories"].get(category, {"mean": None})["mean"], digits)
            for category in categories
        }
        for kind, summary in numbers["overall"].items():
            cells[editor][f"overall ({kind})"] = number(summary["mean"], digits)
        micro = numbers["overall"]["micro"]
        if headline["protocol"] is None:
            cells[editor]["95% interval (micro)"] = interval(micro["ci95"], micro["mean"], digits)
        else:
            own = numbers["headline"]
            cells[editor][title] = shown["headline"](own["mean"])
            cells[editor]["95% interval"] = shown["headline_interval"](own["ci95"], own["mean"])
        cells[editor]["coverage"] = percent(micro["coverage"])
    frame = pd.DataFrame.from_dict(cells, orient="index")
    bold = pd.DataFrame("", index=frame.index, columns=frame.columns)
    for category in (*categories, "overall"):
        overall = "overall (micro)" if headline["protocol"] is None else title
        for editor in _best(report, category):
            bold.loc[editor, overall if category == "overall" else category] = "textbf:--rwrap;"
    styler = frame.style.apply(lambda _: bold, axis=None).format(_latex)
    styler.format_index(_latex, axis=0).format_index(_latex, axis=1)
    text = styler.to_latex(hrules=True, column_format="l" + "r" * len(frame.columns))
    head = [*warnings(report), f"{report['title']}, {report['date']}"]
    return "".join(f"% {media.line(line)}\n" for line in head) + text


def _latex(cell: object) -> str:
    return media.latex(str(cell))


def _best(report: Mapping[str, Any], category: str) -> set[str]:
    """Return the editor with the highest headline, and those that are not clearly worse."""
    comparisons = [row for row in report["comparisons"] if row["category"] == category]
    if not report["complete"] or not comparisons:
        return set()
    found = {
        editor: own["headline"]["mean"]
        if category == "overall"
        else own["headline"]["categories"].get(category)
        for editor, own in report["editors"].items()
        if any(editor in (row["first"], row["second"]) for row in comparisons)
    }
    means = {name: float(settled(mean)) for name, mean in found.items() if mean is not None}
    if not means:
        return set()
    best = max(means, key=means.__getitem__)
    clear = [{row["first"], row["second"]} for row in comparisons if row["clear"]]
    several = {editor for editor in means if {best, editor} not in clear}
    # what stands beside every name tells nothing
    return several if several < set(means) else set()


def _flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary with one value for each column of a CSV."""
    low, high = summary["ci95"] or (None, None)
    least, most = summary["bounds"] or (None, None)
    return {
        **{key: summary[key] for key in ("mean", "std", "median", "min", "max")},
        **{"ci95_low": low, "ci95_high": high, "ci95_method": summary["ci95_method"]},
        "clusters": summary["clusters"],
        **{key: summary[key] for key in ("threshold_share", "count", "failed")},
        **{kind: summary["failures"].get(kind, 0) for kind in FAILURES},
        **{"skipped": summary["skipped"], "coverage": summary["coverage"]},
        **{"bound_low": least, "bound_high": most},
        **{f"criterion_{name}": mean for name, mean in summary["criteria"].items()},
        **{f"criterion_{name}_std": std for name, std in summary["criteria_std"].items()},
    }


def _digits(report: Mapping[str, Any]) -> int:
    """Return the decimals of a score: two from 0 to 10, more on finer scales."""
    return max(map(digits_on, [report["scale"], *(s["scale"] for s in report["scales"].values())]))


def digits_on(scale: Sequence[float]) -> int:
    """Return the decimals of a score on a scale."""
    width = scale[1] - scale[0]
    return 2 if width >= 10 else 3 if width > 1 else 4


def headline_name(headline: Mapping[str, Any], language: str = "en") -> str:
    """Return what the number is called that editors are ranked by."""
    if headline["protocol"] is None:
        return languages.plain(language, "terms.mean.name")
    return f"{headline['protocol']} {headline['number']}"


def headline_filters(
    report: Mapping[str, Any], language: str = "en"
) -> dict[str, Callable[..., str]]:
    """Return how headline numbers, their intervals and differences are written."""
    headline = report["headline"]
    digits = digits_on(headline["scale"])
    if headline["number"] == "accuracy":
        return {
            "headline": percent,
            "headline_interval": partial(interval, form=".1%", language=language),
            "headline_signed": lambda value: "–" if value is None else f"{value:+.1%}",
        }
    return {
        "headline": lambda value: number(value, digits),
        "headline_interval": partial(interval, digits=digits, language=language),
        "headline_signed": lambda value: "–" if value is None else f"{value:+.{digits}f}",
    }


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def interval(
    bounds: Sequence[float] | None,
    value: float | None = None,
    digits: int = 2,
    language: str = "en",
    form: str | None = None,
) -> str:
    """Return an interval as text; in its place says that a value has too few samples for one.

    Args:
        value: what the interval is of; None where there is none.
        form: of its ends, such as `.1%`.
    """
    if bounds is None:
        return "–" if value is None else languages.plain(language, "page.few")
    form = form or f".{digits}f"
    return _between(f"{bounds[0]:{form}}", f"{bounds[1]:{form}}", language)


def _between(low: str, high: str, language: str) -> str:
    return languages.plain(language, "page.between", low=low, high=high)


def p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts as text, the highest first, such as '12 sw_power_cap, 1 hw_slowdown'."""
    return ", ".join(f"{count} {kind}" for kind, count in Counter(numbers).most_common())
