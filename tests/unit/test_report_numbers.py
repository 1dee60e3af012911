"""The report's numbers, from tables to report.json and its texts."""

import json
import re

import pandas as pd
import pytest

from lockstep import records
from lockstep.benchmark import score_files
from lockstep.config.load import load_comparison
from lockstep.config.report import CompareSettings, ReportSettings
from lockstep.errors import ConfigError
from lockstep.foreign.ids import safe_id
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.records.columns import COLUMNS
from lockstep.report import numbers, schema, sources, texts
from lockstep.report.compare import write_comparison
from lockstep.report.terms import Terms
from lockstep.rubrics.rubric import SCALE
from tests.conftest import ROOT

SCHEMAS = {"report": schema.Report, "compare": schema.Comparison}

PUBLISHED = {
    ("iedit", "ObjectRemoval"): (range(1, 140), {61, 66, 103, 104, 130}),
    ("iedit", "Replacement"): (range(1, 137), {27, 44, 72, 73, 98, 104}),
    ("hive", "ObjectRemoval"): (
        range(140),
        {1, 7, 26, 46, 55, 57, 65, 67, 73, 85, 104, 109, 120, 124, 126, 134, 136, 138},
    ),
    ("instructpix2pix", "ObjectRemoval"): (
        range(140),
        {47, 57, 67, 77, 81, 109, 113, 126, 134, 138},
    ),
}
"""Of I2EBench: by editor and dimension the samples, and those with a 1; all others have a 0."""

SUMMARY = {
    ("iedit", "ObjectRemoval"): ("0.0360", 139),
    ("iedit", "Replacement"): ("0.0441", 136),
    ("hive", "ObjectRemoval"): ("0.1286", 140),
    ("instructpix2pix", "ObjectRemoval"): ("0.0714", 140),
}
"""What its authors published: mean and count."""


def table(category, rows, criteria=(), **columns):
    """Return a table of rows of id, status and score, and further columns."""
    frame = pd.DataFrame(rows, columns=["id", "status", "score"])
    frame = frame.assign(category=category, **columns)
    frame = frame.reindex(columns=[*COLUMNS, *criteria])
    return frame.astype(dict.fromkeys(["score", *criteria], "Float64"))


def scored(category, scores, **columns):
    rows = [(f"{category}-{i}", "ok", score) for i, score in enumerate(scores)]
    return table(category, rows, **columns)


def of(frames, scale=SCALE, **report):
    return numbers.of_tables(frames, ReportSettings(**report), scale, {})


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_of_the_json_is_in_step(name, pytestconfig):
    path = ROOT / "docs" / f"{name}.schema.json"
    if pytestconfig.getoption("--fix"):
        path.write_text(schema.json_schema(SCHEMAS[name]), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == schema.json_schema(SCHEMAS[name]), (
        "run pytest with --fix"
    )


def test_a_published_summary_comes_out_of_its_raw_scores(tmp_path):
    lines = ["editor,category,id,score"]
    for (editor, category), (ids, ones) in PUBLISHED.items():
        lines += [f"{editor},{category},{i},{float(i in ones)}" for i in ids]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    compare = CompareSettings(sources={"I2EBench": str(path)}, scale=(0, 1))
    write_comparison(compare, ReportSettings(), {"I2EBench": [str(path)]}, tmp_path)
    found = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    schema.Comparison.model_validate(found)
    cells = {
        (editor, category): (f"{row['mean']:.4f}", row["count"])
        for editor, own in found["editors"].items()
        for category, row in own["categories"].items()
        if row["count"]
    }
    assert cells == SUMMARY
    # hive has a score of sample 0 and iedit has not
    iedit = found["editors"]["iedit"]["categories"]["ObjectRemoval"]
    assert iedit["failures"] == {"missing": 1}
    assert iedit["bounds"] == [5 / 140, 6 / 140]
    # two editors have no score at all of Replacement
    assert not found["complete"] and found["leaderboard"] == []
    assert (tmp_path / "compare.md").read_text(encoding="utf-8").startswith("> **INCOMPLETE: ")
    assert "| 0.0360 |" in (tmp_path / "compare.md").read_text(encoding="utf-8")


def test_groups_by_difficulty_and_tag_run_over_all_categories():
    frames = {
        "physical": scored(
            "physical", [2, 4], difficulty=["easy", "hard"], tags=['["a", "a"]', '["a", "b"]']
        ),
        "social": table(
            "social",
            [("x", "ok", 9.0), ("y", "judge_failed", None)],
            difficulty=["hard", "hard"],
            tags=["[]", '["b"]'],
        ),
    }
    editor = of({"e": frames}).editors["e"]
    assert {name: (row.mean, row.count) for name, row in editor.difficulties.items()} == {
        "easy": (2, 1),
        "hard": (6.5, 2),
    }
    assert editor.difficulties["hard"].failures == {"judge_failed": 1}
    # a tag that a sample has twice counts once
    assert {name: (row.mean, row.count, row.failed) for name, row in editor.tags.items()} == {
        "a": (3, 2, 0),
        "b": (4, 1, 1),
    }


def test_criteria_that_only_some_categories_have_have_no_overall_mean():
    frames = {
        "physical": scored(
            "physical", [2, 4], criteria=["quality", "physics"], quality=[1, 3], physics=[5, 5]
        ),
        "social": scored("social", [6], criteria=["quality", "custom"], quality=[8], custom=[9]),
    }
    # of which an editor that takes none of its samples is asked nothing
    frames["causal"] = table("causal", [("x", "skipped", None)], criteria=["quality", "cause"])
    editor = of({"e": frames}).editors["e"]
    assert editor.categories["physical"].criteria == {"quality": 2, "physics": 5}
    assert editor.overall.micro.criteria == {"quality": 4}
    assert editor.overall.macro.criteria == {"quality": 5}


def test_below_the_least_coverage_nothing_is_ranked_and_the_first_line_says_so():
    complete = {"physical": scored("physical", [5.0] * 10)}
    rows = [(f"physical-{i}", "ok" if i else "edit_failed", 6.0 if i else None) for i in range(10)]
    frames = {"good": complete, "poor": {"physical": table("physical", rows)}}
    report = of(frames, min_coverage=0.9)
    assert report.complete and [row.editor for row in report.leaderboard] == ["poor", "good"]
    report = of(frames, min_coverage=0.91)
    assert not report.complete and report.leaderboard == []
    (place,) = report.incomplete
    assert (place.editor, place.category, place.coverage) == ("poor", "physical", 0.9)
    told = report.model_dump(mode="json")
    text = texts.markdown("compare.md.j2", told)
    assert text.startswith("> **INCOMPLETE: less than 91.0% of the samples have a score (poor in p")
    assert "Leaderboard" not in text
    assert "\\textbf" not in texts.latex_table(told)
    assert texts.latex_table(told).startswith("% INCOMPLETE")
    assert texts.latex_table(of(frames).model_dump(mode="json")).startswith("% INCOMPLETE")


def test_a_skipped_sample_is_counted_apart_and_is_in_no_other_number():
    rows = [("a", "ok", 4.0), ("b", "skipped", None), ("c", "edit_failed", None)]
    frames = {
        "physical": table("physical", rows, difficulty="hard"),
        "social": table("social", [("d", "skipped", None)], difficulty="hard"),
    }
    editor = of({"e": frames}).editors["e"]
    groups = {**editor.categories, "hard": editor.difficulties["hard"]}
    groups |= {"micro": editor.overall.micro, "macro": editor.overall.macro}
    assert {
        name: (row.count, row.failed, row.skipped, row.coverage, row.mean)
        for name, row in groups.items()
    } == {
        "physical": (1, 1, 1, 0.5, 4),
        "social": (0, 0, 1, None, None),
        "hard": (1, 1, 2, 0.5, 4),
        "micro": (1, 1, 2, 0.5, 4),
        "macro": (1, 1, 2, 0.5, 4),
    }
    assert editor.overall.micro.failures == {"edit_failed": 1}
    told = of({"e": frames}).model_dump(mode="json")
    text = texts.markdown("compare.md.j2", told)
    assert "| failed | skipped | coverage |" in text
    assert "| 1 | 1 | 2 | 50.0% |" in text
    assert "skipped" not in texts.markdown("compare.md.j2", plain())
    assert next(texts.rows(told))["skipped"] == 1


def plain():
    return of({"e": {"physical": scored("physical", [2, 4])}}).model_dump(mode="json")


def test_editors_are_compared_over_the_samples_that_both_have_a_score_for():
    first = {"physical": scored("physical", [9, 8, 7, 6, 5, 4, 9, 8], instruction="Do.")}
    rows = [(f"physical-{i}", "ok", score) for i, score in enumerate([1, 2, 1, 2, 1, 2])]
    rows += [("physical-6", "judge_failed", None), ("elsewhere", "ok", 10)]
    second = {"physical": table("physical", rows, instruction=["Undo.", *["Do."] * 7])}
    (own, overall) = of({"first": first, "second": second}).comparisons
    assert (own.category, overall.category) == ("physical", "overall")
    # 8−2, 7−1, 6−2, 5−1, 4−2: the first sample asks for something else, the seventh failed
    assert (own.count, own.differing, own.wins, own.losses) == (5, 1, 5, 0)
    assert own.difference == pytest.approx((6 + 6 + 4 + 4 + 2) / 5)
    assert own.same_judge is None


def test_another_judge_is_named_as_such():
    frames = {
        "mine": {"physical": scored("physical", [1, 2, 3], judge="one")},
        "theirs": {"physical": scored("physical", [1, 2, 3], judge="other")},
    }
    report = of(frames).model_dump(mode="json")
    assert report["comparisons"][-1]["same_judge"] is False
    assert texts.warnings(report) == [
        "Different judges: scores of one may not be scores of the other."
    ]


def test_scores_of_the_miniature_are_named_as_such():
    report = of({"mine": {"physical": scored("physical", [1, 2, 3])}}).model_dump(mode="json")
    report["miniature"] = ["the judge"]
    assert texts.warnings(report) == [
        "These scores come from small models of the demo (the judge). They have learnt drawn "
        "scenes alone, so the scores say nothing about real models or photos."
    ]
    assert texts.warnings(report, "zh")[0].startswith("这些分数来自演示用的小模型（the judge）。")


def test_editors_of_other_samples_are_named_as_such():
    shared = scored("physical", [1, 2, 3])
    frames = {"a": {"physical": shared}, "b": {"physical": shared, "social": scored("social", [9])}}
    (warning,) = texts.warnings(of(frames).model_dump(mode="json"))
    assert warning.startswith("Different samples: ")
    frames["a"]["social"] = table("social", [("social-0", "skipped", None)])
    assert texts.warnings(of(frames).model_dump(mode="json")) == []


def test_the_table_for_papers_is_escaped_and_sets_what_is_best_in_bold():
    scores = [3, 5, 4, 6, 5, 7, 4, 6, 5, 3] * 4
    frames = {
        "my_model & co": {"物理_50%": scored("a", [s + 3 for s in scores])},
        "peer": {"物理_50%": scored("a", [s + 2.9 + 0.3 * (i % 2) for i, s in enumerate(scores)])},
        "old": {"物理_50%": scored("a", scores)},
    }
    text = texts.latex_table(of(frames).model_dump(mode="json"))
    rows = dict(re.findall(r"^(.+?) & (.+?) & ", text, re.MULTILINE))
    assert rows[r"my\_model \& co"] == r"\textbf{7.80}"
    assert rows["peer"] == r"\textbf{7.85}"
    assert rows["old"] == "4.80"
    assert r"物理\_50\%" in text
    assert text.count(r" & 100.0\% \\") == 3


def test_the_csv_has_a_row_for_each_group(tmp_path):
    frames = {"e": {"physical": scored("physical", [2, 4], difficulty="easy", tags='["t"]')}}
    (tmp_path / "scores.csv").write_text(texts.csv_table(of(frames).model_dump(mode="json")))
    found = pd.read_csv(tmp_path / "scores.csv").set_index(["group", "name"])
    assert list(found.index) == [
        ("category", "physical"),
        ("difficulty", "easy"),
        ("tag", "t"),
        ("overall", "micro"),
        ("overall", "macro"),
    ]
    assert (found["mean"] == 3).all()


def test_texts_from_elsewhere_are_inert_in_markdown():
    frames = {"<img src=x>|y": {"<script>": scored("a", [2, 4])}}
    text = texts.markdown("compare.md.j2", of(frames).model_dump(mode="json"))
    assert "<script" not in text and "<img" not in text
    assert "&lt;img src=x>\\|y" in text


MIXED = [
    *(("Counting", f"{i}", float(i % 2)) for i in range(6)),
    *(("Clarity", f"{i}", 10.0 + 4 * i) for i in range(6)),
]


def mixed(folder, rows=MIXED, **compare):
    """Compare two editors of a file whose categories have scales of their own."""
    path = folder / "scores.csv"
    lines = [f"{e},{c},{i},{score}" for e in ("one", "two") for c, i, score in rows]
    path.write_text("\n".join(["editor,category,id,score", *lines]), encoding="utf-8")
    given = CompareSettings(sources={"s": str(path)}, **compare)
    frames, found = sources.read_sources(given, {"s": [str(path)]})
    return numbers.of_tables(frames, ReportSettings(), given.scale, found, given.scales)


def test_categories_with_scales_of_their_own_are_not_averaged(tmp_path):
    lost = [*MIXED, ("Counting", "6", ""), ("Clarity", "6", "")]
    found = mixed(tmp_path, lost, scale=(0, 1), scales={"Clarity": (10, 34)})
    one = found.editors["one"]
    assert one.categories["Counting"].bounds == (3 / 7, 4 / 7)
    assert one.categories["Clarity"].bounds == ((120 + 10) / 7, (120 + 34) / 7)
    # 0.7 and 26.8: three of six, and one of six
    assert one.categories["Counting"].threshold_share == 0.5
    assert one.categories["Clarity"].threshold_share == pytest.approx(1 / 6)
    assert found.scales["Clarity"].threshold == pytest.approx(26.8)
    for row in (one.overall.micro, one.overall.macro):
        assert row.mean is row.ci95 is row.bounds is row.threshold_share is None
        assert (row.count, row.failed) == (12, 2)
    assert one.difficulties == one.tags == {}
    assert [row.category for row in found.comparisons] == ["Counting", "Clarity"]
    assert found.leaderboard == []
    told = found.model_dump(mode="json")
    assert texts.warnings(told)[-1] == (
        "Categories have scales of their own (Counting 0 to 1, Clarity 10 to 34), so nothing is "
        "averaged over them and nothing is ranked."
    )
    text = texts.markdown("compare.md.j2", told)
    assert "Each category has a scale of its own, mean over the scored samples" in text
    assert "| **overall (micro)** | – |" in text
    assert "| one & 0.5000 & 20.0000 & –" in f"| {texts.latex_table(told)}".replace("\n", "\n| ")
    assert "Leaderboard" not in text


def test_a_scale_that_all_categories_share_is_the_scale(tmp_path):
    rows = [row for row in MIXED if row[0] == "Clarity"]
    found = mixed(tmp_path, rows, scales={"Clarity": (10, 34)})
    assert (found.scale, found.scales) == ((10, 34), {})
    assert found.threshold == pytest.approx(26.8)
    assert found.editors["one"].overall.micro.mean == 20
    assert len(found.leaderboard) == 2


def test_a_scale_is_of_a_category_that_is_there_and_its_scores_lie_on_it(tmp_path):
    with pytest.raises(ConfigError, match=r"compare\.scales: found 'Clarty' \(did you mean"):
        mixed(tmp_path, scale=(0, 34), scales={"Clarty": (10, 34)})
    with pytest.raises(ConfigError, match="expected a number from 20 to 34, found 10"):
        mixed(tmp_path, scale=(0, 34), scales={"Clarity": (20, 34)})
    given = {"compare": {"sources": {"s": "x"}, "scales": {"a": [0, 1]}}}
    with pytest.raises(ConfigError, match=r"report\.threshold: found 7 beside compare\.scales"):
        load_comparison({**given, "report": {"threshold": 7}}, source="x")


def test_samples_of_a_file_may_have_tags(tmp_path):
    rows = [
        {"category": "c", "id": 1, "score": 2, "tags": ["a", "b", "a"]},
        {"category": "c", "id": 2, "score": 4, "tags": "b, c"},
        {"category": "c", "id": 3, "score": 9},
    ]
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    compare = CompareSettings(sources={"s": str(path)})
    frames, _ = sources.read_sources(compare, {"s": [str(path)]})
    tags = of(frames).editors["s"].tags
    assert {tag: (row.mean, row.count) for tag, row in tags.items()} == {
        "b": (3, 2),
        "a": (2, 1),
        "c": (4, 1),
    }
    path.write_text(json.dumps({**rows[0], "tags": [1]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 1: tags: expected a list of texts, or a text"):
        sources.read_sources(compare, {"s": [str(path)]})


def test_criteria_have_a_standard_deviation(tmp_path):
    frames = {
        "a": scored("a", [2, 4], criteria=["quality"], quality=[1, 5]),
        "b": scored("b", [6], criteria=["quality"], quality=[6]),
    }
    report = of({"e": frames})
    editor = report.editors["e"]
    assert editor.categories["a"].criteria_std == {"quality": 2}
    assert editor.overall.micro.criteria_std["quality"] == pytest.approx((14 / 3) ** 0.5)
    # of the categories' means, as std itself
    assert editor.overall.macro.criteria_std == {"quality": 1.5}
    told = report.model_dump(mode="json")
    assert "quality 3.00 (std 2.00)" in texts.markdown("compare.md.j2", told)
    assert next(texts.rows(told))["criterion_quality_std"] == 2


class Judged:
    """As much of a configuration as says which protocol scores belong to."""

    def __init__(self, name):
        self.judge = PrecomputedJudgeSettings(
            type="precomputed", scores="x", rubrics=str(ROOT / "config" / "rubrics" / name)
        )


def test_the_headline_is_the_protocols():
    names = ("consistency", "instruction_reasoning", "plausibility")

    def spatial(rows):
        frame = scored("spatial_reasoning", [r[0] for r in rows], criteria=names)
        return frame.assign(**{n: [r[1][i] for r in rows] for i, n in enumerate(names)})

    # the first has the higher score, the second more samples that are right in all
    frames = {
        "score": {"spatial_reasoning": spatial([(9.0, (5, 4, 5)), (9.0, (5, 4, 5))])},
        "accuracy": {"spatial_reasoning": spatial([(10.0, (5, 5, 5)), (0.0, (1, 1, 1))])},
    }
    found, headline = numbers._headlines(Judged("rise"), frames)
    assert headline["number"] == "accuracy" and headline["scale"] == (0, 1)
    assert found["score"]["spatial_reasoning"].tolist() == [0, 0]
    assert found["accuracy"]["spatial_reasoning"].tolist() == [1, 0]
    # without criteria there is no accuracy
    frames["score"]["spatial_reasoning"]["plausibility"] = None
    found, headline = numbers._headlines(Judged("rise"), frames)
    assert (headline["number"], headline["scale"]) == ("score", (0, 100))
    assert found["score"]["spatial_reasoning"].tolist() == [90, 90]


def test_overall_comparisons_and_ranks_follow_the_headline():
    # over samples the first is better, over categories the second
    frames = {
        "many": {
            "color_alter": scored("c", [8.0, 9.0] * 20),
            "text_change": scored("t", [1, 2, 1]),
        },
        "few": {"color_alter": scored("c", [7.0, 8.0] * 20), "text_change": scored("t", [9, 9, 8])},
    }
    for own in frames.values():
        for category, frame in own.items():
            frame["category"] = category
    found, headline = numbers._headlines(Judged("gedit"), frames)
    assert headline == {
        "number": "score",
        "aggregate": "macro",
        "scale": (0, 10),
        "protocol": "GEdit-Bench",
    }
    terms = Terms(ReportSettings(), SCALE, {}, headline)
    editors = {
        name: {"categories": {}, **numbers._over_categories(own, terms)}
        for name, own in frames.items()
    }
    compared = numbers._compared(frames, found, editors, terms, numbers.pairs(frames, found, terms))
    few = compared["editors"]["few"]["headline"]
    assert few["mean"] == pytest.approx((7.5 + 26 / 3) / 2)
    assert few["ci95"] == compared["editors"]["few"]["overall"]["macro"]["ci95"]
    assert few["categories"] == {"color_alter": 7.5, "text_change": pytest.approx(26 / 3)}
    overall = compared["comparisons"][-1]
    assert overall["difference"] == pytest.approx((1 - 22 / 3) / 2)
    assert [row["editor"] for row in compared["leaderboard"]] == ["few", "many"]
    plain = of(frames).model_dump(mode="json")
    assert plain["headline"]["protocol"] is None
    assert [row["editor"] for row in plain["leaderboard"]] == ["many", "few"]


def test_criteria_of_a_file_are_combined_as_configured(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"category": "c", "id": 1, "SC": 8, "PQ": 2}\n', encoding="utf-8")
    given = {"sources": {"s": str(path)}, "criteria": {"SC": 3, "PQ": 1}}
    for how, score in (("weighted_mean", 6.5), ("min", 2), ("geometric_mean", (8**3 * 2) ** 0.25)):
        compare = CompareSettings(**given, combine=how)
        frames, _ = sources.read_sources(compare, {"s": [str(path)]})
        assert frames["s"]["c"]["score"].tolist() == pytest.approx([score])
        assert frames["s"]["c"]["SC"].tolist() == [8]


def test_a_file_may_call_its_samples_as_the_benchmark_does(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("category,id,score\nphysical,a/b c.png,4\n", encoding="utf-8")
    frames, _ = sources.read_sources(CompareSettings(sources={"s": str(path)}), {"s": [str(path)]})
    own = table("physical", [(safe_id("a/b c.png"), "ok", 3.0)])
    assert of({"e": {"physical": own}, **frames}).comparisons[-1].count == 1


def test_sources_that_spell_an_id_in_other_forms_are_compared(tmp_path):
    files = {}
    for name, row in {"a": "e,É_1", "b": "f,E\u0301_1", "c": "g,é_１"}.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(f"editor,id,category,score\n{row},physical,4\n", encoding="utf-8")
        files[name] = [str(path)]
    compare = CompareSettings(sources={name: paths[0] for name, paths in files.items()})
    frames, _ = sources.read_sources(compare, files)
    assert {row.count for row in of(frames).comparisons} == {1}
    # and in one file, by several editors
    path.write_text("editor,id,category,score\ne,A,c,4\nf,a,c,5\n", encoding="utf-8")
    frames, _ = sources.read_sources(CompareSettings(sources={"c": str(path)}), {"c": [str(path)]})
    assert {row.count for row in of(frames).comparisons} == {1}


def test_no_category_of_a_file_is_taken_for_all_of_them(tmp_path):
    path = tmp_path / "scores.csv"

    def compare(category):
        path.write_text(f"category,id,score\n{category},a,2\nphysical,b,4\n", encoding="utf-8")
        found = sources.read_sources(CompareSettings(sources={"s": str(path)}), {"s": [str(path)]})
        return of(found[0]).model_dump(mode="json")

    with pytest.raises(ConfigError, match=r"scores\.csv: line 2: category: expected another name"):
        compare("overall")
    rows = texts.latex_table(compare("macro")).splitlines()
    assert next(row for row in rows if row.startswith(" &")).startswith(" & macro & physical & ")
    assert next(row for row in rows if row.startswith("s &")).startswith("s & 2.00 & 4.00 & 3.00 ")


def test_editors_of_several_sources_are_told_apart(tmp_path):
    for name in ("mine", "yours"):
        frame = scored("physical", [1, 2])
        folder = tmp_path / name / "editor" / "physical"
        folder.mkdir(parents=True)
        # written before tables had these columns
        frame.drop(columns=["difficulty", "tags", "rationale"]).to_csv(folder / "table.csv")
        listed = {"editors": {"editor": {"categories": {"physical": {}}}}}
        records.write_json(tmp_path / name / "report" / "report.json", listed)
        # what is no longer part of the run
        (tmp_path / name / "editor" / "causal").mkdir()
        (tmp_path / name / "editor" / "causal" / "table.csv").write_text("id,score\n")
    (tmp_path / "theirs.csv").write_text("category,id,score\n物理,physical-0,1\n", encoding="utf-8")
    paths = {name: str(tmp_path / name) for name in ("mine", "yours", "theirs.csv")}
    paths["theirs"] = paths.pop("theirs.csv")
    files = {name: score_files.source_files(path) for name, path in paths.items()}
    frames, found = sources.read_sources(CompareSettings(sources=paths), files)
    assert list(frames) == ["mine/editor", "yours/editor", "theirs"]
    assert found["yours"] == {"path": paths["yours"], "editors": ["yours/editor"]}
    assert of(frames).comparisons[-1].count == 1
    with pytest.raises(ConfigError, match=r"a number from .*, found 2 of sample 'physical-1'"):
        sources.read_sources(CompareSettings(sources=paths, scale=(0, 1)), files)
    with pytest.raises(ConfigError, match="or the folder of a finished run"):
        score_files.source_files(str(tmp_path / "mine" / "editor"))
    records.write_json(
        tmp_path / "mine" / "report" / "report.json",
        {"editors": {"../yours/editor": {"categories": {"physical": {}}}}},
    )
    with pytest.raises(ConfigError, match=r"report\.json: found '\.\./yours/editor'"):
        score_files.source_files(str(tmp_path / "mine"))
    for damaged in ("{", "[]", '{"editors": 1}'):
        (tmp_path / "mine" / "report" / "report.json").write_text(damaged)
        with pytest.raises(ConfigError, match="found a file that is none"):
            score_files.source_files(str(tmp_path / "mine"))
