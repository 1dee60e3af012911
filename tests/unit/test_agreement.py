"""Agreement of a judge with humans."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from lockstep.errors import ConfigError
from lockstep.figures import human_files, people
from lockstep.figures.raters import fisher_mean
from lockstep.records.columns import COLUMNS
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT

MEASURES = {
    "spearman": scipy_stats.spearmanr,
    "kendall": scipy_stats.kendalltau,
    "pearson": scipy_stats.pearsonr,
}

JUDGE = [1.0, 4.0, 3.0, 8.0, 9.0, 6.0, 5.0, 7.0]
HUMAN = [10, 30, 40, 70, 90, 90, 20, 60]


@pytest.fixture
def tables(tmp_path):
    """Write the tables of one editor in two categories."""
    found = {}
    for category, scores in {"physical": JUDGE, "social": [5.0, 5.0, 5.0]}.items():
        frame = pd.DataFrame({column: [None] * len(scores) for column in COLUMNS})
        frame["id"] = [f"{category}-{i}" for i in range(len(scores))]
        frame["category"], frame["score"] = category, scores
        found[category] = tmp_path / f"{category}.csv"
        frame.to_csv(found[category], index=False)
    return {"e": found}


def agreement(tables, path):
    rubric = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")
    rubrics = dict.fromkeys(("physical", "social"), rubric)
    given = human_files.read_people([path], list(tables), {}, human_files.columns_of(rubrics))
    return people.agreement(tables, given, rubrics)["agreement"]


def humans(folder, rows, columns="id,score"):
    path = folder / "humans.csv"
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]))
    return path


def test_correlations_are_scipys_and_of_few_samples_have_no_interval(tables, tmp_path):
    rows = [(f"physical-{i}", score) for i, score in enumerate(HUMAN)]
    rows += [("social-0", 10), ("social-1", 20), ("social-2", 30)]
    physical, social, overall = agreement(tables, humans(tmp_path, rows))
    assert (physical["category"], physical["count"]) == ("physical", 8)
    for name, measure in MEASURES.items():
        assert physical[name] == pytest.approx(measure(JUDGE, HUMAN).statistic)
        assert (physical[f"{name}_ci95"], physical["clusters"]) == (None, 8)
    # the judge said the same of all: nothing correlates, and nothing is made up
    assert (social["count"], social["spearman"], social["spearman_ci95"]) == (3, None, None)
    assert overall["count"] == 11


def test_samples_of_one_source_image_are_one_cluster(tables, tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({column: [None] * 60 for column in COLUMNS})
    frame["id"], frame["category"] = [f"{i}" for i in range(60)], "physical"
    frame["score"] = generator.integers(0, 11, 60).astype(float)
    given = frame["score"] + generator.normal(size=60)
    found = {}
    for name, sources in {"own": range(60), "shared": np.arange(60) // 2, "few": [0] * 60}.items():
        frame["source"] = [f"/results/{name}/images/{source}.png" for source in sources]
        path = tmp_path / f"{name}.csv"
        frame.to_csv(path, index=False)
        (found[name],) = agreement(
            {"e": {"physical": path}}, humans(tmp_path, zip(frame["id"], given, strict=True))
        )[:1]
    assert [row["clusters"] for row in found.values()] == [60, 30, 1]
    assert found["own"]["pearson"] == found["shared"]["pearson"]
    assert found["own"]["pearson_ci95"] != found["shared"]["pearson_ci95"]
    assert found["few"]["pearson_ci95"] is None


def test_several_people_count_by_their_mean(tables, tmp_path):
    rows = [(f"physical-{i}", score) for i, score in enumerate(HUMAN)]
    once, *_ = agreement(tables, humans(tmp_path, rows))
    twice = [
        (name, score + sign * 5 * place)
        for place, (name, score) in enumerate(rows)
        for sign in (-1, 1)
    ]
    again, *_ = agreement(tables, humans(tmp_path, twice))
    assert again == once


def test_edits_without_a_score_of_the_judge_do_not_count(tables, tmp_path):
    frame = pd.read_csv(tables["e"]["physical"])
    frame.loc[0, "score"] = None
    frame.to_csv(tables["e"]["physical"], index=False)
    rows = [(f"physical-{i}", score) for i, score in enumerate(HUMAN)]
    physical, *_ = agreement(tables, humans(tmp_path, rows))
    assert physical["count"] == 7
    assert physical["pearson"] == pytest.approx(scipy_stats.pearsonr(JUDGE[1:], HUMAN[1:])[0])


def test_scores_that_only_rounding_tells_apart_are_tied(tables, tmp_path):
    settled = [4.0, 4.0, 4.0, 4.0, 9.0, 1.0, 1.0, 6.0]
    human = [10, 40, 30, 20, 90, 15, 5, 60]
    frame = pd.read_csv(tables["e"]["physical"])
    frame["score"] = [4 + 4e-15, 4.0, 4 - 4e-15, 4 + 8e-15, 9.0, 1.0, 1 + 2e-16, 6.0]
    frame.to_csv(tables["e"]["physical"], index=False)
    # people, too: 0.1 + 0.2 is not 0.3
    rows = [(f"physical-{i}", score) for i, score in enumerate(human)]
    physical, *_ = agreement(tables, humans(tmp_path, rows))
    for name, measure in MEASURES.items():
        assert physical[name] == pytest.approx(measure(settled, human).statistic, abs=1e-12)
    split = scipy_stats.spearmanr(frame["score"], human).statistic
    assert abs(physical["spearman"] - split) > 0.01


def test_a_published_correlation_with_many_ties_is_found_again(tables, tmp_path):
    """Gemini's scores of DiffEdit's edits against three raters, 0.0947 in VIEScore's notebook.

    Source: TIGER-AI-Lab/VIEScore, MIT, Copyright (c) 2024 Max W.F. Ku, commit 2cbea4e,
    paper_implementation: two values of semantic consistency and two of perceptual quality, and
    each rater's pair of both.
    """
    rubric = read_rubric(ROOT / "config" / "rubrics" / "viescore.yaml")
    given = pd.read_csv(ROOT / "tests" / "unit" / "viescore_diffedit.csv")
    frame = pd.DataFrame({column: [None] * len(given) for column in COLUMNS})
    frame["id"] = [f"physical-{i}" for i in range(len(given))]
    frame["category"] = "physical"
    frame["score"] = [
        combine.score(rubric, dict(zip(rubric.names, row[:4], strict=True)))
        for row in given.to_numpy()
    ]
    frame.to_csv(tables["e"]["physical"], index=False)
    rows = [
        (f"physical-{i}", np.sqrt(row[f"sc{k}"] * row[f"pq{k}"]))
        for i, row in given.iterrows()
        for k in (1, 2, 3)
    ]
    physical, *_ = agreement(tables, humans(tmp_path, rows))
    assert physical["count"] == 179
    assert round(physical["spearman"], 4) == 0.0947


def test_each_editor_has_its_own_correlation_and_all_their_mean_by_fishers_z(tables, tmp_path):
    frame = pd.read_csv(tables["e"]["physical"])
    frame["score"] = other = [2.0, 1.0, 5.0, 4.0, 3.0, 8.0, 6.0, 9.0]
    frame.to_csv(tmp_path / "other.csv", index=False)
    several = {"e": tables["e"], "f": {"physical": tmp_path / "other.csv"}}
    rows = [(f"physical-{i}", score, e) for e in "ef" for i, score in enumerate(HUMAN)]
    found = agreement(several, humans(tmp_path, rows, "id,score,editor"))
    assert [(row["category"], row["editor"], row["count"]) for row in found] == [
        ("physical", None, 16),
        ("physical", "e", 8),
        ("physical", "f", 8),
        ("overall", None, 16),
        ("overall", "e", 8),
        ("overall", "f", 8),
    ]
    own = [scipy_stats.spearmanr(scores, HUMAN).statistic for scores in (JUDGE, other)]
    assert [row["spearman"] for row in found[1:3]] == pytest.approx(own)
    z = sum(0.5 * np.log((1 + rho) / (1 - rho)) for rho in own) / 2
    mean = (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1)
    assert found[0]["spearman_fisher"] == pytest.approx(mean)
    assert found[0]["editors"] == 2
    assert "spearman_fisher" not in found[1]
    assert {row["scale"] for row in found} == {row["judge"] for row in found} == {"score"}


def test_the_mean_by_fishers_z_at_its_ends():
    assert fisher_mean([0.5]) == pytest.approx(0.5)
    assert fisher_mean([0.3, -0.3]) == pytest.approx(0, abs=1e-12)
    assert fisher_mean([1.0, 0.2]) == 1
    assert fisher_mean([1.0, -1.0]) is fisher_mean([]) is None


@pytest.mark.parametrize(
    ("columns", "row", "sentence"),
    [
        (
            "id,score",
            ("physical-9", 1),
            "line 2: id: expected edits of this run, found a row of another ('physical-9'",
        ),
        ("id,mark", ("physical-0", 1), "found no 'score'"),
        ("name,score", ("physical-0", 1), "found no 'id'"),
        ("id,score", ("physical-0", "good"), "line 2: score: expected a number"),
        ("id,score", ("physical-0", ""), "line 2: score: expected a number, found ''"),
        ("id,score", ("physical-0", "inf"), "expected a number in plain digits, or nothing"),
        ("id,score", ("physical-0", "1e999"), "line 2: score: expected a number, found '1e999'"),
        ("id,score", ("physical-0", "nan"), "found 'nan'"),
        ("id,score", ("physical-0", "1_0"), "found '1_0'"),
        ("id,score", ("physical-0", "５"), "found '５'"),
        ("id,score", ("physical-0", 1, 9), "line 2: expected 2 cells, found 3"),
        ("id,score", ("physical-0",), "line 2: expected 2 cells, found 1"),
        ("id,score,score", ("physical-0", 1, 9), "expected each column once, found 'score' twice"),
        (
            "id,score,editor",
            ("physical-0", 1, "f"),
            "line 2: editor: expected an editor of this run, e",
        ),
        ("id,score,editor", ("physical-0", 1, ""), "line 2: editor: expected a text, found ''"),
        ("id,score", ("", 1), "line 2: id: expected a text, found ''"),
        ("id,score", ("NA", 1), "found a row of another ('NA' by 'e')"),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(tables, tmp_path, columns, row, sentence):
    with pytest.raises(ConfigError) as error:
        agreement(tables, humans(tmp_path, [row], columns))
    assert sentence in str(error.value)


def test_humans_are_read_from_any_file_of_scores(tables, tmp_path):
    rows = [(f"physical-{i}", score) for i, score in enumerate(HUMAN)]
    expected = agreement(tables, humans(tmp_path, rows))
    frame = pd.DataFrame(rows, columns=["id", "score"])
    frame.to_parquet(tmp_path / "h.parquet")
    frame.to_json(tmp_path / "h.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "h.json", orient="records")
    for name in ("h.parquet", "h.jsonl", "h.json"):
        assert agreement(tables, tmp_path / name) == expected
    (tmp_path / "h.xlsx").touch()
    with pytest.raises(
        ConfigError, match=r"a file of kind \.csv, \.json, \.jsonl, \.parquet, found '\.xlsx'"
    ):
        agreement(tables, tmp_path / "h.xlsx")


def test_an_id_in_another_form_is_the_same_edit(tables, tmp_path):
    rows = [(f"physical-{i}", score) for i, score in enumerate(HUMAN)]
    expected = agreement(tables, humans(tmp_path, rows))
    rows[0] = ("PHYSICAL-０", HUMAN[0])
    assert agreement(tables, humans(tmp_path, rows)) == expected


def test_with_several_editors_the_file_must_name_them(tables, tmp_path):
    several = {**tables, "f": tables["e"]}
    with pytest.raises(ConfigError, match="found no 'editor'"):
        agreement(several, humans(tmp_path, [("physical-0", 1)]))
    rows = [(f"physical-{i}", score, "f") for i, score in enumerate(HUMAN)]
    physical, *_ = agreement(several, humans(tmp_path, rows, "id,score,editor"))
    assert physical["count"] == 8
