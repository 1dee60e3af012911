"""What people say of edits: their files, their agreement, and a judge's with them."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lockstep.config.load import of_job
from lockstep.config.report import HumanScale, ReportSettings
from lockstep.errors import ConfigError
from lockstep.figures import human_files, people, raters
from lockstep.records.columns import COLUMNS
from lockstep.report.part import Agreement, Raters, Votes
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT
from tests.unit.test_command_line import run

NAN = math.nan
RATINGS = [
    [0.0, 0.5, 1.0, 1.0, 0.0, NAN, 0.5, 0.5, 1.0, 2.0],
    [0.0, 0.5, 0.5, 1.0, NAN, NAN, 0.0, 0.5, 1.0, 1.0],
    [0.5, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0, NAN, 1.0, 2.0],
]
"""Three raters of ten units, the sixth of which has one rating."""

REFERENCE = {
    "nominal": 0.44700460829493094,
    "ordinal": 0.7880119709277469,
    "interval": 0.7257142857142858,
    "kappa": 0.44736842105263147,
}
"""Of krippendorff 0.9.0, and of statsmodels 0.15.0 over the units with three ratings."""


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_a_reference_implementation(level):
    assert raters.krippendorff_alpha(np.array(RATINGS), level) == pytest.approx(
        REFERENCE[level], abs=1e-9
    )


def test_kappa_is_that_of_a_reference_implementation():
    found = raters.fleiss_kappa(np.array(RATINGS))
    assert found.value == pytest.approx(REFERENCE["kappa"], abs=1e-9)
    assert (found.units, found.ratings) == (7, 3)


def test_ordinal_alpha_is_krippendorffs_metric_written_out():
    values = np.array(RATINGS)
    shared = values[:, (~np.isnan(values)).sum(axis=0) > 1]
    every = shared[~np.isnan(shared)]
    kinds, marginals = np.unique(every, return_counts=True)

    def metric(one, other):
        low, high = sorted((one, other))
        between = marginals[(kinds >= low) & (kinds <= high)].sum()
        ends = marginals[(kinds == low)].sum() + marginals[(kinds == high)].sum()
        return (between - ends / 2) ** 2

    observed = 0.0
    for unit in shared.T:
        own = unit[~np.isnan(unit)]
        observed += sum(metric(a, b) for a in own for b in own) / (len(own) - 1)
    expected = sum(metric(a, b) for a in every for b in every) / (len(every) - 1)
    alpha = raters.krippendorff_alpha(values, "ordinal")
    assert alpha == pytest.approx(1 - observed / expected, abs=1e-12)


@pytest.mark.parametrize(
    "values",
    [[[3.0, 3.0], [3.0, 3.0]], [[3.0, NAN], [NAN, 4.0]], [[1.0, 2.0]], [[], []]],
    ids=["constant", "nothing shared", "one rater", "nothing"],
)
def test_where_nothing_can_be_told_there_is_no_number(values):
    given = np.array(values)
    assert raters.krippendorff_alpha(given) is None
    assert raters.krippendorff_alpha(given, "ordinal") is None
    assert raters.fleiss_kappa(given).value is None
    assert raters.pairwise(given) == []


def test_kappa_is_of_the_most_frequent_number_of_ratings():
    # three units with two ratings, three with three: the higher number
    values = np.array([[1.0, 2, 1, 1, 2, 2], [1, 2, 2, 1, 2, 2], [NAN, NAN, NAN, 1, 2, 1]])
    assert raters.fleiss_kappa(values)[1:] == (3, 3)
    assert raters.fleiss_kappa(values[:, :5])[1:] == (3, 2)


def test_the_deviation_is_pooled_over_units():
    values = np.array([[1.0, 2, 5], [3, 2, NAN], [NAN, 5, NAN]])
    # squared deviations 1 + 1 of two ratings and 1 + 1 + 4 of three
    assert raters.deviation(values) == pytest.approx(math.sqrt((2 + 6) / (1 + 2)))
    assert raters.deviation(values[:, 2:]) is None


def test_correlations_of_raters_are_scipys_over_what_they_share():
    generator = np.random.default_rng(0)
    values = np.round(generator.normal(generator.normal(size=30), 0.7, (3, 30)), 1)
    values[2, 8:] = NAN  # eight shared units say nothing
    (found,) = raters.pairwise(values)
    assert found == spearmanr(values[0], values[1]).statistic
    others = raters.with_others(values)
    expected = np.where(np.arange(30) < 8, values[1:].sum(axis=0) / 2, values[1])
    assert others[0] == pytest.approx(spearmanr(values[0], expected.round(10)).statistic)
    assert others[2] is None


def test_a_judge_that_knows_the_truth_reaches_the_ceiling():
    generator = np.random.default_rng(1)
    truth = generator.normal(size=4000)
    for count, noise in ((1, 1.0), (3, 1.0), (5, 2.0)):
        values = truth + noise * generator.normal(size=(count, len(truth)))
        more = truth + noise * generator.normal(size=(2, len(truth)))
        r = raters.fisher_mean(raters.pairwise(more))
        found = spearmanr(truth, values.mean(axis=0)).statistic
        assert raters.ceiling(r, [count] * 10) == pytest.approx(found, abs=0.03)
    assert raters.ceiling(-0.1, [3]) is raters.ceiling(None, [3]) is None


CRITERIA = ["editing_success", "restraint", "naturalness", "cleanness"]
EDITORS = ["e", "f"]
VIESCORE = read_rubric(ROOT / "config" / "rubrics" / "viescore.yaml")
RUBRICS = {"physical": VIESCORE, "social": VIESCORE}


@pytest.fixture
def tables(tmp_path):
    """Write tables of two editors in two categories, twenty samples in each."""
    generator, found = np.random.default_rng(2), {}
    for editor in EDITORS:
        for category in RUBRICS:
            frame = pd.DataFrame({c: [None] * 20 for c in (*COLUMNS, *CRITERIA)})
            frame["id"] = [f"{category}-{i}" for i in range(20)]
            frame["category"] = category
            frame[CRITERIA] = generator.integers(0, 11, size=(20, 4))
            frame["score"] = frame[CRITERIA].mean(axis=1)
            path = tmp_path / f"{editor}-{category}.csv"
            frame.to_csv(path, index=False)
            found.setdefault(editor, {})[category] = path
    return found


def written(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def judged(tables):
    return {
        (editor, row["id"]): row
        for editor, own in tables.items()
        for path in own.values()
        for row in pd.read_csv(path).to_dict("records")
    }


def study(tables, names=("Ann", "Bo", "王芳"), noise=2.0):
    """Return rows of raters who see the judge's score with noise, and semantic as its least."""
    generator = np.random.default_rng(3)
    rows = []
    for (editor, name), row in judged(tables).items():
        for rater in names:
            semantic = min(row["editing_success"], row["restraint"])
            given = {
                "score": round(float(np.clip(row["score"] + generator.normal(0, noise), 0, 10)), 1),
                "semantic": int(np.clip(semantic + generator.integers(-1, 2), 0, 10)),
            }
            rows.append({"id": name, "editor": editor, "rater": rater, **given})
    return rows


def read(*paths, scales=None, editors=EDITORS):
    scales = {name: HumanScale.model_validate(own) for name, own in (scales or {}).items()}
    return human_files.read_people(paths, editors, scales, human_files.columns_of(RUBRICS))


def checked(folder, rows, **report):
    """Read rows as a run does, and check them against its samples a and b."""
    path = written(folder / "humans.csv", rows)
    samples = written(folder / "samples.csv", [{"id": name, "category": "c"} for name in "ab"])
    data = {
        "benchmark": {"path": str(samples), "format": "table", "categories": ["c"]},
        "editors": [{"name": name, "type": "identity"} for name in EDITORS],
        "judge": {"type": "precomputed", "folder": str(folder)},
        "report": {"human_scores": str(path), **report},
    }
    data["judge"]["rubrics"] = str(ROOT / "config" / "rubrics" / "physical.yaml")
    sample = {"category": "c", "image": "", "image_sha256": "", "width": 1, "height": 1}
    sample |= {"instruction": "", "index": 0}
    manifest = folder / "c.jsonl"
    manifest.write_text("".join(json.dumps({"id": name, **sample}) + "\n" for name in "ab"))
    settings = of_job(data)
    human_files.check(settings, [])
    human_files.check(settings, [manifest])


def test_a_score_is_on_the_judges_scale_unless_another_one_is_stated(tmp_path):
    row = {"id": "a", "editor": EDITORS[0]}
    for column in ("score", "physics", "preservation"):
        checked(tmp_path, [{**row, column: 10}])
        with pytest.raises(
            ConfigError, match=rf"line 2: {column}: expected a number from 0 to 10"
        ) as error:
            checked(tmp_path, [{**row, column: 50}])
        assert "found 50 (report.human_scales can state another scale)" in str(error.value)
        checked(tmp_path, [{**row, column: 50}], human_scales={column: {"scale": [0, 100]}})
        with pytest.raises(ConfigError, match="from 0 to 10"):
            checked(tmp_path, [{**row, column: -1}], human_scales={column: {"level": "ordinal"}})
    # of a number that the judge does not have nobody knows the scale
    checked(tmp_path, [{**row, "mos": 50}], human_scales={"mos": {}})


def test_without_a_run_equal_ids_of_two_categories_are_two_samples(tmp_path):
    rows = [
        {"category": key, "id": "1", "editor": "e", "rater": rater, "score": score}
        for key, given in {"a": (1, 2), "b": (9, 9)}.items()
        for rater, score in zip(("Ann", "Bo"), given, strict=True)
    ]
    among = people.among(read(written(tmp_path / "s.csv", rows), editors=None))
    edits = {row["category"]: row["edits"] for row in among["raters"]}
    assert edits == {"a": 1, "b": 1, "overall": 2}
    assert one(among["raters"])["shared"] == 2
    pair = {"id": "1", "first": "e", "second": "f", "rater": "Ann", "human_vote": "leftvote"}
    path = written(tmp_path / "v.csv", [{**pair, "category": key} for key in "ab"])
    votes = people.among(read(path, editors=None))["votes"]
    assert {row["category"]: row["pairs"] for row in votes} == {"a": 1, "b": 1, "overall": 2}
    # without categories they are one, and a run has each id once
    for own, names in ((written(tmp_path / "n.csv", [pair, pair]), None), (path, EDITORS)):
        with pytest.raises(ConfigError, match="line 3: expected one row of rater 'Ann' for '1'"):
            read(own, editors=names)


def test_ids_that_the_benchmark_lacks_are_known_before_anything_is_edited(tmp_path):
    row, other = {"editor": EDITORS[0], "score": 1}, {"first": EDITORS[0], "second": EDITORS[1]}
    with pytest.raises(ConfigError, match=r"line 3: id: expected samples .* another \('z' by '"):
        checked(tmp_path, [{"id": "a", **row}, {"id": "z", **row}])
    votes = [{"id": name, **other, "human_vote": "tievote"} for name in ("a", "y", "z")]
    with pytest.raises(ConfigError, match=r"line 3: id: .* 2 rows of others \(the first is 'y'\)"):
        checked(tmp_path, votes)


def one(rows, scale="score", category="overall", editor=None):
    (row,) = [
        row
        for row in rows
        if (row.get("scale", scale), row["category"], row["editor"]) == (scale, category, editor)
    ]
    return row


def test_several_raters_and_scales_beside_the_judge(tables, tmp_path):
    rows = study(tables)
    path = written(tmp_path / "humans.csv", rows)
    scales = {
        "score": {"scale": [0, 10]},
        "semantic": {"scale": [0, 10], "judge": "semantic_consistency", "level": "ordinal"},
    }
    found = people.agreement(tables, read(path, scales=scales), RUBRICS)
    for model, key in ((Agreement, "agreement"), (Raters, "raters")):
        for row in found[key]:
            model.model_validate(row)
        whose = [(r["scale"], r["category"], r["editor"]) for r in found[key]]
        assert len(set(whose)) == len(whose) == 2 * 3 * 3
    given = pd.DataFrame(rows)
    wide = given.pivot(index=["editor", "id"], columns="rater", values="score")
    judge = pd.Series({key: row["score"] for key, row in judged(tables).items()})[wide.index]
    overall, among = one(found["agreement"]), one(found["raters"])
    assert overall["count"] == among["edits"] == among["shared"] == 80
    assert (among["ratings"], among["missing"], among["level"]) == (240, 0, "interval")
    mean = wide.mean(axis=1).round(10)
    assert overall["spearman"] == pytest.approx(spearmanr(judge, mean).statistic)
    each = [spearmanr(judge, wide[name]).statistic for name in wide]
    assert overall["each_fisher"] == pytest.approx(np.tanh(np.arctanh(each).mean()))
    assert overall["raters"] == 3
    values = wide.to_numpy().T
    assert among["alpha_interval"] == raters.krippendorff_alpha(values)
    pairs = [spearmanr(values[a], values[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert among["spearman"] == pytest.approx(np.mean(pairs))
    assert among["ceiling"] == overall["ceiling"] > overall["spearman"] * 0.9
    assert {row["rater"]: row["ratings"] for row in among["raters"]} == dict.fromkeys(wide, 80)
    assert [row["judge"] for row in among["raters"]] == pytest.approx(
        [spearmanr(judge, wide[row["rater"]]).statistic for row in among["raters"]]
    )
    own = [one(found["agreement"], editor=editor)["spearman"] for editor in EDITORS]
    assert overall["spearman_fisher"] == pytest.approx(np.tanh(np.arctanh(own).mean()))
    # the least of two criteria is an aspect of the rubric
    semantic = one(found["agreement"], "semantic")
    assert semantic["judge"] == "semantic_consistency"
    assert semantic["spearman"] > 0.9
    assert one(found["raters"], "semantic")["level"] == "ordinal"


def test_a_scale_of_few_values_is_ordinal_and_one_that_the_judge_lacks_stands_alone(
    tables, tmp_path
):
    rows = [{**row, "likert": 1 + number % 7} for number, row in enumerate(study(tables))]
    path = written(tmp_path / "humans.csv", rows)
    found = people.agreement(tables, read(path, scales={"likert": {}}), RUBRICS)
    assert found["agreement"] == []
    assert one(found["raters"], "likert")["level"] == "ordinal"
    rows[0]["likert"] = 8
    written(path, rows)
    found = people.agreement(tables, read(path, scales={"likert": {}}), RUBRICS)
    assert one(found["raters"], "likert")["level"] == "interval"


def test_without_scales_score_criteria_and_aspects_are_read(tables, tmp_path):
    rows = [{**row, "restraint": 5, "seconds": 3.5} for row in study(tables)]
    assert list(read(written(tmp_path / "humans.csv", rows)).scales) == ["score", "restraint"]


def test_missing_values_are_counted_and_a_rater_of_two_edits_has_no_correlation(tables, tmp_path):
    rows = study(tables)
    for row in rows[:9]:
        row["semantic"] = None
    first = {"id": "physical-0", "editor": "e", "rater": "Cy", "score": 3, "semantic": 3}
    rows += [first, {**first, "id": "physical-1"}]
    path = written(tmp_path / "humans.csv", rows)
    scales = {"score": {}, "semantic": {"judge": "semantic_consistency"}}
    found = people.agreement(tables, read(path, scales=scales), RUBRICS)
    among = one(found["raters"], "semantic")
    assert (among["missing"], among["ratings"]) == (9, 240 - 9 + 2)
    (last,) = [row for row in among["raters"] if row["rater"] == "Cy"]
    assert (last["ratings"], last["others"], last["judge"]) == (2, None, None)
    assert among["rater_pairs"] == 3
    assert one(found["agreement"])["raters"] == 3


def test_one_rater_alone_says_nothing_of_agreement(tables, tmp_path):
    path = written(tmp_path / "humans.csv", study(tables, names=["Ann"]))
    found = people.agreement(tables, read(path), RUBRICS)
    among = one(found["raters"])
    names = ("alpha_ordinal", "alpha_interval", "kappa", "std", "spearman", "ceiling")
    assert among["shared"] == 0 and {among[name] for name in names} == {None}
    assert one(found["agreement"])["spearman"] is not None


def test_raters_without_names_agree_too_but_have_no_correlations(tables, tmp_path):
    rows = study(tables)
    named = people.agreement(tables, read(written(tmp_path / "a.csv", rows)), RUBRICS)
    for row in rows:
        del row["rater"]
    found = people.agreement(tables, read(written(tmp_path / "b.csv", rows)), RUBRICS)
    for name in ("alpha_ordinal", "alpha_interval", "kappa", "std", "shared"):
        assert one(found["raters"])[name] == pytest.approx(one(named["raters"])[name])
    assert one(found["raters"])["spearman"] is one(found["agreement"])["each_fisher"] is None
    assert one(found["raters"])["raters"] == []
    assert one(found["agreement"])["spearman"] == one(named["agreement"])["spearman"]


def test_several_files_are_one_study_whatever_their_order(tables, tmp_path):
    rows = study(tables)
    whole = people.agreement(tables, read(written(tmp_path / "all.csv", rows)), RUBRICS)
    files = [
        written(tmp_path / f"{name}.csv", [row for row in rows if row["rater"] == name])
        for name in ("王芳", "Ann", "Bo")
    ]
    parts = people.agreement(tables, read(*files), RUBRICS)
    for key in ("alpha_ordinal", "kappa", "spearman", "ceiling"):
        assert one(parts["raters"])[key] == pytest.approx(one(whole["raters"])[key])


RATING = {"id": "physical-0", "editor": "e", "rater": "Ann", "score": 5, "semantic": 4}


@pytest.mark.parametrize("text", ["", "id,editor,rater,score\n", "id,first,second,human_vote\n"])
def test_a_file_without_rows_is_told_as_such(tmp_path, text):
    file = tmp_path / "humans.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"humans\.csv: expected rows of scores or votes"):
        human_files.read_people([file], None, {}, ["score"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "humans.csv: line 3: expected one row of rater 'Ann' for 'physical-0', found a second "
            "one after {}/humans.csv: line 2",
        ),
        ({"id": "PHYSICAL-0"}, "line 3: expected one row of rater 'Ann' for 'PHYSICAL-0'"),
        ({"rater": ""}, "line 3: rater: expected a text, found ''"),
        ({"editor": "ee"}, "line 3: editor: expected an editor of this run, e, f, found 'ee' (did"),
        ({"id": "x", "score": 11}, "line 3: score: expected a number from 0 to 10, found 11"),
        ({"id": "x", "score": "", "semantic": ""}, "line 3: expected a score, found ''"),
        ({"id": "x", "score": "inf"}, "line 3: score: expected a number"),
        ({"id": "x", "score": 1e200}, "line 3: score: expected a number from -1e+100 to 1e+100"),
    ],
)
def test_a_row_that_is_none_is_named_with_file_and_line(tmp_path, changes, sentence):
    path = written(tmp_path / "humans.csv", [RATING, {**RATING, **changes}])
    with pytest.raises(ConfigError) as raised:
        read(path, scales={"score": {"scale": [0, 10]}, "semantic": {}})
    assert sentence.format(tmp_path) in str(raised.value)


def test_a_scale_that_is_none_is_named(tmp_path):
    path = written(tmp_path / "humans.csv", [RATING])
    with pytest.raises(ConfigError, match=r"humans.csv: expected a column 'sem' of that scale"):
        read(path, scales={"sem": {}})
    with pytest.raises(
        ConfigError, match=r"human_scales.semantic.judge: expected score or editing"
    ):
        read(path, scales={"semantic": {"judge": "semantics"}})
    with pytest.raises(ValueError, match="expected the lowest score before the highest"):
        ReportSettings.model_validate({"human_scales": {"semantic": {"scale": [1, 0]}}})


def test_the_configuration_names_one_file_or_several():
    def files(given):
        return ReportSettings.model_validate({"human_scores": given}).human_files

    assert files(None) == files([]) == ()
    assert files("a.csv") == ("a.csv",)
    assert files(["a.csv", "./b.csv"]) == ("a.csv", "b.csv")


def votes_of(tables, names=("Ann", "Bo", "王芳"), wrong=0.2):
    """Return votes that follow the judge's scores but for some, either edit first."""
    generator, scores = np.random.default_rng(4), judged(tables)
    rows = []
    for name in dict.fromkeys(name for _, name in scores):
        for rater in names:
            first, second = EDITORS if generator.random() < 0.5 else EDITORS[::-1]
            better = scores[first, name]["score"] - scores[second, name]["score"]
            better *= -1 if generator.random() < wrong else 1
            vote = "leftvote" if better > 0 else "rightvote" if better < 0 else "bothbad_vote"
            rows.append({"id": name, "first": first, "second": second, "rater": rater})
            rows[-1]["human_vote"] = vote
    return rows


def test_votes_on_pairs_beside_each_other_and_the_judge(tables, tmp_path):
    path = written(tmp_path / "votes.csv", votes_of(tables, wrong=0))
    found = people.agreement(tables, read(path), RUBRICS)
    assert found["agreement"] == found["raters"] == []
    assert [(r["category"], r["editor"]) for r in found["votes"]] == [
        (category, None) for category in (*dict.fromkeys(r["category"] for r in found["votes"]),)
    ]
    overall = one(found["votes"])
    # whichever edit was shown first
    assert overall["alpha_nominal"] == overall["kappa"] == overall["raters_share"] == 1
    assert overall["judge_share"] == overall["best_share"] == 1
    assert (overall["pairs"], overall["shared"], overall["votes"], overall["raters"]) == (
        40,
        40,
        120,
        3,
    )
    assert overall["agree"] + overall["equal_votes"] == 120
    written(path, votes_of(tables))
    overall = one(people.agreement(tables, read(path), RUBRICS)["votes"])
    Votes.model_validate(overall)
    assert 0.5 < overall["judge_share"] < overall["best_share"] < 1
    assert overall["agree"] + overall["oppose"] + overall["equal_votes"] == 120
    low, high = overall["judge_ci95"]
    assert low < overall["judge_share"] < high


def test_votes_by_hand(tables, tmp_path):
    frame = pd.read_csv(tables["e"]["physical"])
    for editor, scores in (("e", [5, 5, 3]), ("f", [4, 5, 6])):
        own = frame.assign(score=[*scores, *[None] * 17])
        own.to_csv(tables[editor]["physical"], index=False)
    cast = [
        ("physical-0", "e", "f", "Ann", "leftvote"),
        ("physical-0", "f", "e", "Bo", "leftvote"),
        ("physical-0", "f", "e", "Cy", "rightvote"),
        ("physical-1", "e", "f", "Ann", "tievote"),
        ("physical-1", "e", "f", "Bo", "bothbad_vote"),
        ("physical-2", "e", "f", "Ann", "leftvote"),
        ("physical-3", "e", "f", "Ann", "leftvote"),
    ]
    columns = ["id", "first", "second", "rater", "human_vote"]
    path = tmp_path / "votes.csv"
    pd.DataFrame(cast, columns=columns).to_csv(path, index=False)
    row = one(people.agreement(tables, read(path), RUBRICS)["votes"])
    assert (row["pairs"], row["shared"], row["votes"], row["judged"]) == (4, 2, 7, 6)
    # one of three pairs of raters agrees on the first, the only one on the second
    assert row["raters_share"] == pytest.approx((1 / 3 + 1) / 2)
    assert row["judge_share"] == 4 / 6 and row["best_share"] == 5 / 6
    assert (row["agree"], row["oppose"], row["same"], row["equal_votes"]) == (2, 2, 0, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"first": "f", "second": "e"}, "line 3: expected one row of rater 'Ann' for 'physical-0'"),
        ({"second": "e"}, "line 3: second: expected another editor than first, found e"),
        (
            {"rater": "Bo", "first": "g"},
            "line 3: first: expected an editor of this run, e, f, found",
        ),
        ({"rater": "Bo", "human_vote": "left"}, "line 3: human_vote: expected leftvote, rightvote"),
    ],
)
def test_a_vote_that_is_none_is_named_with_file_and_line(tmp_path, changes, sentence):
    vote = {"id": "physical-0", "first": "e", "second": "f", "rater": "Ann"}
    vote["human_vote"] = "leftvote"
    path = written(tmp_path / "votes.csv", [vote, {**vote, **changes}])
    with pytest.raises(ConfigError) as raised:
        read(path)
    assert sentence in str(raised.value)


def test_votes_and_scores_stand_in_files_of_their_own(tables, tmp_path):
    scores = written(tmp_path / "scores.csv", study(tables))
    votes = written(tmp_path / "votes.csv", votes_of(tables))
    found = people.agreement(tables, read(votes, scores), RUBRICS)
    assert found["agreement"] and found["raters"] and found["votes"]
    path = written(tmp_path / "lost.csv", [{"id": "a", "human_vote": "leftvote"}])
    with pytest.raises(
        ConfigError,
        match=r"lost\.csv: expected the columns id, first, second, human_vote, found no",
    ):
        read(path)
    unknown = {"id": "nine", "first": "e", "second": "f", "human_vote": "leftvote"}
    path = written(tmp_path / "unknown.csv", [unknown])
    with pytest.raises(ConfigError, match="line 2: id: expected samples of this run, found a row"):
        people.agreement(tables, read(path), RUBRICS)


@pytest.mark.parametrize("page", ["report", "rating"])
def test_the_examples_of_the_documents_are_read(page, tmp_path):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    examples = re.findall(r"```csv\n(.*?)```", text, flags=re.DOTALL)
    paths = [tmp_path / f"{number}.csv" for number in range(len(examples))]
    for path, example in zip(paths, examples, strict=True):
        path.write_text(example, encoding="utf-8")
    editors = ["first-model", "other-model"]
    columns = ["score", "semantic", "quality", "instruction_following", "preservation"]
    found = human_files.read_people(paths, editors, {}, columns)
    assert len(found.ratings) and len(found.votes) == len(paths) == 2
    assert found.ratings["rater"].nunique() == found.votes["rater"].nunique() == 2


def test_a_command_tells_how_raters_agree(tmp_path, monkeypatch, capsys):
    rows = [
        {"id": unit, "rater": rater, "score": value, "same": 1}
        for rater, own in enumerate(RATINGS)
        for unit, value in enumerate(own)
        if not math.isnan(value)
    ]
    path = written(tmp_path / "humans.csv", rows)
    assert not run(monkeypatch, "agreement", str(path), "--scales", "score", "same")
    header, score, same = capsys.readouterr().out.splitlines()
    cells = score.split()
    assert cells[:7] == ["score", "overall", "all", "10", "9", "26", "0"]
    assert cells[7:10] == [f"{REFERENCE[name]:.4f}" for name in ("ordinal", "interval", "kappa")]
    assert "alpha (ordinal)" in header and same.count("all equal") == 3
    assert run(monkeypatch, "agreement", str(tmp_path / "none.csv")).startswith("Error: ")
    votes = {"id": 1, "first": "a", "second": "b", "rater": "x", "human_vote": "leftvote"}
    path.with_suffix(".json").write_text(json.dumps([votes, {**votes, "rater": "y"}]))
    assert not run(monkeypatch, "agreement", str(path.with_suffix(".json")))
    assert "all equal" in capsys.readouterr().out
