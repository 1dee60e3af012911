"""Published arithmetic: a hand-computed example of at least twelve samples for each protocol."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from lockstep import records
from lockstep.benchmark.categories import BY_FORMAT
from lockstep.errors import RubricError
from lockstep.figures import clusters, published, tables
from lockstep.records import ScoreRecord
from lockstep.rubrics import combine
from lockstep.rubrics.protocol import PROTOCOL, read_protocol
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import Rubric, read_rubric
from lockstep.scoring import shard as scoring_shard
from tests import imgedit
from tests.conftest import ROOT

FOLDER = ROOT / "config" / "rubrics"
NAMES = ["gedit", "imgedit", "kris", "rise", "uniredit"]


def summed(name, values):
    """Sum up values by the protocol of a benchmark.

    Args:
        values: by category, those of each sample's criteria; None was not scored, and a last
            element that is a text is a tag.
    """
    protocol = read_protocol(FOLDER / name / PROTOCOL)
    rubrics = {key: read_rubric(protocol.rubric_file(key)) for key in values}
    frames = {key: frame(rubrics[key], key, rows) for key, rows in values.items()}
    return published.aggregate(protocol, frames, rubrics)


def frame(rubric, category, rows):
    found = []
    for number, row in enumerate(rows):
        tags = [value for value in row or () if isinstance(value, str)]
        criteria = dict(zip(rubric.names, row or (), strict=False))
        found.append(
            {
                "id": f"{category}{number}",
                "category": category,
                "source": None,
                "status": "judge_failed" if row is None else "ok",
                "tags": records.canonical_json(tags),
                "score": None if row is None else combine.score(rubric, criteria, tags),
                **(criteria or dict.fromkeys(rubric.names)),
            }
        )
    return pd.DataFrame(found)


def close(found, expected):
    return found == pytest.approx(expected, abs=1e-9, rel=0)


def test_gedit_is_the_geometric_mean_of_two_minima_over_tasks():
    found = summed(
        "gedit",
        {
            # editing_success, restraint | naturalness, cleanness
            "color_alter": [(9, 8, 7, 10), (4, 10, 9, 9), (0, 10, 10, 10), (10, 10, 10, 10), None],
            "text_change": [
                (2, 8, 8, 8),
                (6, 6, 6, 6),
                (3, 9, 12 / 4, 9),
                (8, 5, 5, 9),
                (1, 1, 4, 9),
            ],
            "ps_human": [(7, 9, 7, 9), (5, 5, 10, 5), (9, 1, 9, 9)],
        },
    )
    color = (math.sqrt(8 * 7) + math.sqrt(4 * 9) + 0 + 10) / 4
    text = (math.sqrt(2 * 8) + 6 + 3 + 5 + math.sqrt(1 * 4)) / 5
    human = (7 + 5 + math.sqrt(1 * 9)) / 3
    assert close(found["categories"]["color_alter"]["score"], color)
    overall = found["overall"]
    assert close(overall["score"], (color + text + human) / 3)
    semantic = ((8 + 4 + 0 + 10) / 4 + (2 + 6 + 3 + 5 + 1) / 5 + (7 + 5 + 1) / 3) / 3
    assert close(overall["semantic_consistency"], semantic)
    quality = ((7 + 9 + 10 + 10) / 4 + (8 + 6 + 3 + 5 + 4) / 5 + (7 + 5 + 9) / 3) / 3
    assert close(overall["perceptual_quality"], quality)
    assert overall["count"] == 12


def test_imgedit_is_the_mean_of_three_values_of_which_none_counts_above_the_first():
    found = summed(
        "imgedit",
        {
            "add": [(5, 4, 3), (1, 1, 1), (5, 5, 5), (2, 3, 3), (4, 4, 5)],
            "style": [(3, 3, 4), (1, 5, 5), (2, 2, 2), None],
            "action": [(5, 5, 4), (4, 3, 2), (1, 2, 1), (3, 1, 1)],
        },
    )
    add = (12 + 3 + 15 + 6 + 12) / 3 / 5
    assert close(found["categories"]["add"]["score"], add)
    # an untouched copy, (1, 5, 5), is worth 1
    style = (9 + 3 + 6) / 3 / 3
    action = (14 + 9 + 3 + 5) / 3 / 4
    assert close(found["overall"]["score"], (add + style + action) / 3)
    assert close(found["overall"]["instruction_following"], (17 / 5 + 6 / 3 + 13 / 4) / 3)
    assert close(found["overall"]["seamlessness"], (16 / 5 + 6 / 3 + 10 / 4) / 3)
    assert (found["overall"]["count"], found["overall"]["failed"]) == (12, 1)


def test_no_reply_lifts_an_imgedit_score_by_what_was_kept():
    rubric = read_rubric(FOLDER / "imgedit" / "rubric.yaml")
    copy = parse_reply(
        '{"instruction_following": 1, "seamlessness": 5, "detail_preservation": 5}', rubric
    )
    assert combine.score(rubric, copy.criteria) == 0
    assert "may be higher than the first" in rubric.template
    extract = read_rubric(read_protocol(FOLDER / "imgedit" / PROTOCOL).rubric_file("extract"))
    assert extract.names == ["instruction_following", "mask_precision", "visual_quality"]
    assert combine.score(extract, dict.fromkeys(extract.names, 5)) == 10


@pytest.mark.parametrize("model", imgedit.ROWS)
def test_imgedit_is_published_as_the_mean_of_its_nine_types(model):
    *types, overall = imgedit.ROWS[model]
    given = {
        category: imgedit.values(mean, count)
        for (category, count), mean in zip(imgedit.COUNTS.items(), types, strict=True)
    }
    found = summed("imgedit", given)
    for category, mean in zip(imgedit.COUNTS, types, strict=True):
        assert found["categories"][category]["score"] == pytest.approx(mean, abs=0.01)
    assert found["overall"]["score"] == pytest.approx(overall, abs=0.01)
    assert found["overall"]["count"] == 737


def test_each_judgement_is_decided_by_itself():
    protocol = read_protocol(FOLDER / "gedit" / PROTOCOL)
    rubric = read_rubric(protocol.rubric_file("color_alter"))
    # one says that nothing was done, the other that all was changed
    told = [(0, 10, 10, 10), (10, 0, 10, 10)]
    given = judged(rubric, "color_alter", told)
    found = published.aggregate(protocol, {"color_alter": given}, {"color_alter": rubric})
    overall = found["overall"]
    assert overall["score"] == overall["semantic_consistency"] == 0
    assert overall["perceptual_quality"] == 10

    protocol = read_protocol(FOLDER / "rise" / PROTOCOL)
    rubric = read_rubric(protocol.rubric_file("temporal_reasoning"))
    told = [(5, 5, 5), (5, 5, 5), (5, 1, 5)]
    given = judged(rubric, "temporal_reasoning", told)
    found = published.aggregate(
        protocol, {"temporal_reasoning": given}, {"temporal_reasoning": rubric}
    )
    assert close(found["overall"]["accuracy"], 2 / 3)
    # halved where the reasoning is 1, in that judgement alone
    assert close(found["overall"]["score"], 25 * ((5 + 5 + (1.5 + 0.5 + 1) / 2) / 3 - 1))

    protocol = read_protocol(FOLDER / "imgedit" / PROTOCOL)
    rubric = read_rubric(protocol.rubric_file("add"))
    found = published.aggregate(
        protocol, {"add": judged(rubric, "add", [(1, 5, 5), (5, 1, 1)])}, {"add": rubric}
    )
    assert close(found["overall"]["score"], (1 + 7 / 3) / 2)
    assert close(found["overall"]["seamlessness"], 1)


def judged(rubric, category, told):
    """Return the table of one sample that was judged several times."""
    criteria = [dict(zip(rubric.names, values, strict=True)) for values in told]
    several = [
        ScoreRecord(
            id="x", category=category, status="ok", score=combine.score(rubric, c), criteria=c
        )
        for c in criteria
    ]
    scored = tables._scored(scoring_shard._mean(several), rubric.names)
    return pd.DataFrame([{"id": "x", "category": "c", "source": None, "tags": "[]", **scored}])


def test_kris_maps_one_to_five_to_a_hundred_and_has_knowledge_where_it_is_asked_for():
    found = summed(
        "kris",
        {
            # consistency, instruction_following, quality
            "color_change": [(5, 5, 5), (1, 1, 1), (4, 2, 3), (5, 3, 4)],
            "size_adjustment": [(3, 3, 3), (2, 5, 4)],
            # consistency, instruction_following, knowledge, quality
            "physics": [(5, 4, 3, 2), (1, 1, 1, 5), (4, 4, 4, 4)],
            "humanities": [(5, 5, 5, 5), (2, 3, 2, 3), (1, 5, 2, 4)],
        },
    )
    color = [100, 0, 50, 75]
    assert close(found["categories"]["color_change"]["score"], sum(color) / 4)
    assert close(
        found["categories"]["color_change"]["instruction_following"], (100 + 0 + 25 + 50) / 4
    )
    size = [50, (25 + 100 + 75) / 3]
    physics = [(100 + 75 + 50 + 25) / 4, 100 / 4, 75]
    humanities = [100, (25 + 50 + 25 + 50) / 4, (0 + 100 + 25 + 75) / 4]
    assert close(found["groups"]["factual attribute"]["score"], sum(color + size) / 6)
    assert close(found["overall"]["score"], sum(color + size + physics + humanities) / 12)
    knowledge = (50 + 0 + 75 + 100 + 25 + 25) / 6
    assert close(found["overall"]["knowledge"], knowledge)
    assert found["groups"]["procedural logical"]["score"] is None
    assert close(found["groups"]["factual knowledge"]["score"], sum(color + size) / 6)
    conceptual = sum(physics + humanities) / 6
    assert close(found["groups"]["conceptual knowledge"]["score"], conceptual)
    assert found["groups"]["procedural knowledge"]["count"] == 0


def test_rise_is_a_weighted_sum_and_the_share_of_samples_with_fives_only():
    found = summed(
        "rise",
        {
            # consistency, reasoning, plausibility
            "temporal_reasoning": [(5, 5, 5), (4, 5, 5), (5, 1, 5), (1, 1, 1)],
            "causal_reasoning": [
                (3, 2, 4),
                (2, 5, 5, "State Transition", "consistency_free"),
                (1, 4, 5, "State Transition", "consistency_free"),
            ],
            "spatial_reasoning": [(5, 4, 3), (2, 2, 2), None],
            # consistency, reasoning: right or wrong
            "logical_reasoning": [(5, 5), (5, 1), (1, 5), (1, 1)],
        },
    )
    # where the reasoning is 1, half of it and no less than 1
    temporal = [5, 0.3 * 4 + 2.5 + 1, (1.5 + 0.5 + 1) / 2, 1]
    causal = [0.9 + 1 + 0.8, 0.8 * 5 + 0.2 * 5, 0.8 * 4 + 0.2 * 5]
    spatial = [1.5 + 2 + 0.6, 2]
    logical = [5, (0.3 * 5 + 0.7) / 2, 0.3 + 0.7 * 5, 1]
    every = temporal + causal + spatial + logical
    assert len(every) == 13
    percent = [25 * (score - 1) for score in every]
    assert close(found["overall"]["score"], sum(percent) / 13)
    logical_percent = sum(25 * (score - 1) for score in logical) / 4
    assert close(found["categories"]["logical_reasoning"]["score"], logical_percent)
    # one of four, one of three (its consistency is not judged), none, one of four
    assert close(found["overall"]["accuracy"], 3 / 13)
    assert close(found["categories"]["causal_reasoning"]["accuracy"], 1 / 3)
    # its authors count a reply that does not parse as wrong, and leave it out of the score
    assert close(found["overall"]["accuracy_of_all"], 3 / 14)
    assert close(found["categories"]["spatial_reasoning"]["accuracy_of_all"], 0)
    transition = found["tags"]["State Transition"]
    assert close(transition["score"], sum(25 * (score - 1) for score in causal[1:]) / 2)
    assert (transition["accuracy"], transition["count"]) == (0.5, 2)
    assert found["tags"]["Puzzle Solving"]["count"] == 0
    text = published.markdown({"a|b": found})
    assert "| **overall** accuracy | 23.1% (" in text
    assert "| **overall** accuracy_of_all | 21.4% (" in text
    assert "| State Transition accuracy | 50.0% (" in text
    assert "| spatial_reasoning accuracy_of_all | 0.0% (too few) |" in text
    assert "Puzzle Solving" not in text
    assert text.endswith("| scored samples | 13 |\n| failed samples | 1 |\n")


def test_uniredit_is_a_weighted_sum_over_samples():
    values = [
        *((5, 5, 5), (1, 1, 1), (3, 4, 5), (2, 2, 4), (5, 1, 5), (4, 4, 4)),
        *((5, 5, 4), (1, 5, 3), (2, 3, 3), (4, 1, 2), (5, 5, 5), (3, 3, 1)),
    ]
    found = summed("uniredit", {"viewpoint": values[:5], "sokoban": [*values[5:], None]})
    scores = [25 * (0.3 * c + 0.5 * r + 0.2 * p - 1) for c, r, p in values]
    assert close(found["overall"]["score"], sum(scores) / 12)
    assert close(found["overall"]["accuracy"], 2 / 12)
    assert close(
        found["overall"]["instruction_reasoning"], sum(25 * (r - 1) for _, r, _ in values) / 12
    )
    assert close(found["categories"]["viewpoint"]["score"], sum(scores[:5]) / 5)


def test_the_published_numbers_have_intervals():
    values = {"color_alter": [(9,) * 4, (4,) * 4, (6,) * 4], "text_change": [(1,) * 4, (3,) * 4]}
    few = summed("gedit", values)["overall"]
    assert set(few["ci95"]) == {*few} - {"ci95", "count", "failed"}
    # five samples are too few
    assert set(few["ci95"].values()) == {None}
    overall = summed("gedit", {name: rows * 12 for name, rows in values.items()})["overall"]
    parts = [np.array([9.0, 4, 6] * 12), np.array([1.0, 3] * 12)]
    expected = clusters.interval(clusters.mean(parts, [range(36), range(36, 60)], True), (0, 10))
    assert overall["ci95"]["score"] == pytest.approx(expected)
    assert expected[0] < overall["score"] < expected[1]


def test_a_score_without_criteria_is_published_and_is_neither_right_nor_wrong():
    protocol = read_protocol(FOLDER / "rise" / PROTOCOL)
    rubric = read_rubric(protocol.rubric_file("spatial_reasoning"))
    row = {"id": "x", "category": "c", "source": None, "status": "ok", "score": 10.0, "tags": None}
    given = pd.DataFrame([row])
    found = published.aggregate(
        protocol, {"spatial_reasoning": given}, {"spatial_reasoning": rubric}
    )
    assert found["overall"]["score"] == 100
    assert "accuracy" not in found["overall"] and "accuracy_of_all" not in found["overall"]


def test_a_macro_mean_that_lacks_a_category_is_none():
    values = {"color_alter": [(5, 5, 5, 5)], "text_change": [None]}
    assert summed("gedit", values)["overall"]["score"] is None


@pytest.mark.parametrize("name", NAMES)
def test_each_protocol_has_a_rubric_for_each_category_and_names_its_source(name, sample):
    protocol = read_protocol(FOLDER / name / PROTOCOL)
    assert "/" in protocol.source
    told = sample.model_copy(update={"expected": "A black banana."})
    for category in BY_FORMAT[name] or ["anything"]:
        rubric = read_rubric(protocol.rubric_file(category))
        prompt = rubric.prompt(told)
        assert name == "gedit" or "A black banana." in prompt
        assert prompt.endswith(rubric.example)
    known = {*(BY_FORMAT[name] or ())}
    named = [*protocol.rubrics.values(), *protocol.groups.values()]
    assert {category for several in named for category in several} <= known


def test_a_protocol_that_is_none_is_told(tmp_path):
    path = tmp_path / PROTOCOL
    path.write_text("name: x\naggregat: micro\n")
    with pytest.raises(RubricError, match="aggregat"):
        read_protocol(path)


def test_values_of_another_scale_are_the_only_ones_that_count():
    rubric = read_rubric(FOLDER / "rise" / "logical.yaml")
    assert rubric.reply_schema["properties"]["instruction_reasoning"]["enum"] == [1, 5]
    with pytest.raises(ValueError, match="expected 1 or 5, found"):
        rubric.reply_model.model_validate({"consistency": 1, "instruction_reasoning": 3})
    assert (
        combine.expected_score(rubric, {"consistency": (0.5, 0.5), "instruction_reasoning": (0, 1)})
        == 8.5
    )
    assert "(1 or 5)" in rubric.correction("x")
    fields = rubric.model_dump()
    with pytest.raises(ValueError, match="found no anchor for"):
        Rubric.model_validate({**fields, "reply": {**fields["reply"], "enum": None}})


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_says_what_differs_and_from_which_commit(name):
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    protocol = read_protocol(FOLDER / name / PROTOCOL)
    title = protocol.name.removesuffix(" basic")
    section = text.split(f"\n### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    # the repositories that the protocol names, each at the commit that was read
    named = re.findall(r"`([\w.-]+/[\w.-]+)`\s+at\s+`([0-9a-f]{40})`", section)
    repositories = {repository for repository, _ in named}
    known = [known for known in repositories if known in protocol.source]
    assert known, f"none of {sorted(repositories)} is in the protocol's source"
    assert "\n| theirs | ours | reason |\n|---|---|---|\n| " in section


def test_where_authors_count_a_failure_both_numbers_stand_side_by_side():
    protocol = read_protocol(FOLDER / "gedit" / PROTOCOL)
    values = {"color_alter": [(9,) * 4, (4,) * 4, None], "text_change": [(2,) * 4]}
    rubrics = {key: read_rubric(protocol.rubric_file(key)) for key in values}
    frames = {key: frame(rubrics[key], key, rows) for key, rows in values.items()}
    counted = protocol.model_copy(update={"failed_as": 1.0})
    found = published.aggregate(counted, frames, rubrics)
    assert close(found["overall"]["score"], (6.5 + 2) / 2)
    assert close(found["overall"]["score_of_all"], (14 / 3 + 2) / 2)
    assert close(found["categories"]["color_alter"]["score_of_all"], 14 / 3)
    assert "| color_alter score_of_all | 4.667 (" in published.markdown({"e": found})
    assert "score_of_all" not in published.aggregate(protocol, frames, rubrics)["overall"]
    headlines = published.headlines(counted, frames["color_alter"], rubrics["color_alter"])
    assert headlines.isna().tolist() == [False, False, True]
