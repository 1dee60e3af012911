"""Several seeds a sample: names, seeds, means over them, and how many it takes to tell editors."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from lockstep import plan
from lockstep.config.load import load_config
from lockstep.editors import keys
from lockstep.errors import ConfigError
from lockstep.figures import seeds
from lockstep.jobs.run import model_key
from lockstep.records import canonical_json
from lockstep.records.columns import COLUMNS
from tests.conftest import ROOT


def config(editors, **given):
    return {
        "benchmark": {"path": str(ROOT / "README.md"), "format": "re-edit"},
        "editors": editors,
        "judge": {
            "type": "qwen3_vl",
            "model": "Qwen/Qwen3-VL-8B-Instruct",
            "rubrics": str(ROOT / "config" / "rubrics"),
        },
        **given,
    }


MODEL = {"name": "own", "type": "diffusers", "model": "some/model"}


def test_an_editor_stands_once_for_each_seed_and_one_that_no_seed_changes_once(
    tmp_path, models, sample
):
    for number in range(3):
        (tmp_path / f"seed-{number}").mkdir()
        (tmp_path / f"seed-{number}" / "a.png").touch()
    finished = {"name": "theirs", "type": "precomputed"}
    editors = [
        {"name": "control", "type": "identity"},
        {**MODEL, "model": str(models / "editor")},
        {**finished, "folder": f"{tmp_path}/seed-{{seed}}"},
        {**finished, "name": "once", "folder": f"{tmp_path}/seed-0"},
    ]
    settings = load_config(config(editors, seeds_per_sample=3), "c.yaml")
    assert settings.seeds == {
        "control": ["control"],
        "own": ["own", "own-seed1", "own-seed2"],
        "theirs": ["theirs", "theirs-seed1", "theirs-seed2"],
        "once": ["once"],
    }
    assert settings.targets["own"] == ["own", "own-seed1", "own-seed2"]
    assert settings.targets["own-seed2"] == ["own-seed2"]
    assert settings.editor("theirs-seed2").folder == f"{tmp_path}/seed-2"
    own = [settings.editor(name) for name in settings.seeds["own"]]
    assert [editor.seed_number for editor in own] == [0, 1, 2]
    assert len({model_key(editor.held) for editor in own}) == 1
    assert len({settings.place(editor) for editor in own}) == 1
    # the seed alone tells their keys apart
    assert len({canonical_json(keys.identity(editor, sample)) for editor in own}) == 1
    # what a report writes down gives the same, and fewer or more can be asked for
    written = json.loads(json.dumps(settings.model_dump(mode="json")))
    assert load_config(written, "c.yaml") == settings
    for count in (2, 4):
        names = load_config({**written, "seeds_per_sample": count}, "c.yaml").seeds["own"]
        assert names == ["own", *(f"own-seed{number}" for number in range(1, count))]


def test_one_seed_leaves_a_configuration_as_it_was():
    settings = load_config(config([MODEL]), "c.yaml")
    assert [editor.name for editor in settings.editors] == ["own"]
    assert "further_seed" not in settings.model_dump(mode="json")["editors"][0]


@pytest.mark.parametrize(
    ("editors", "given", "sentence"),
    [
        ([MODEL], 0, "seeds_per_sample: expected greater than 0"),
        ([MODEL], 1.5, "seeds_per_sample"),
        ([MODEL, {**MODEL, "name": "own-seed1"}], 2, "each name once, found 'own-seed1' twice"),
        ([{**MODEL, "name": "o" * 60}], 2, "'o+-seed1', which has 66 characters"),
        (
            [{**MODEL, "further_seed": {"editor": "other", "number": 1}}],
            2,
            "expected an editor 'other' beside its further seeds",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(editors, given, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_config(config(editors, seeds_per_sample=given), "c.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_the_first_seed_of_a_sample_is_what_it_was_and_the_others_differ():
    # as results that are there have it
    assert plan.sample_seed(7, "a") == 165017094767488
    found = [plan.sample_seed(7, "a", None, number) for number in range(100)]
    assert len(set(found)) == 100 and found[0] == plan.sample_seed(7, "a")
    assert plan.sample_seed(7, "a", found[3], 3) not in found
    # no base seed gives another one's further seeds
    assert not set(found[1:]) & {plan.sample_seed(base, "a") for base in range(200)}


def table(rows):
    """Return a table with rows of id, status, score and the criterion c."""
    own = [dict(zip(("id", "status", "score", "c"), row, strict=True)) for row in rows]
    frame = pd.DataFrame(own)
    return frame.assign(**{name: None for name in COLUMNS if name not in frame})


def test_a_sample_counts_with_the_mean_over_the_seeds_that_have_a_score():
    failed = ("edit_failed", None, None)
    one = table([("a", "ok", 4.0, 2.0), ("b", *failed), ("c", *failed), ("d", "ok", 1.0, 1.0)])
    two = table([("a", "ok", 7.0, 4.0), ("b", "ok", 5.0, 6.0), ("c", *failed), ("d", *failed)])
    frames, ranked = [one, two], [one["score"] / 10, two["score"] / 10]
    whole, headline = seeds.averaged(frames, ranked)
    assert whole[["id", "status"]].to_numpy().tolist() == [
        *(["a", "ok"], ["b", "ok"]),
        *(["c", "edit_failed"], ["d", "ok"]),
    ]
    assert whole["score"].dropna().tolist() == [5.5, 5.0, 1.0]
    assert whole["c"].dropna().tolist() == [3.0, 6.0, 1.0]
    assert headline.dropna().tolist() == pytest.approx([0.55, 0.5, 0.1])
    scores = seeds.values(frames, ranked).to_numpy(dtype=float)
    assert seeds.best(scores).tolist() == pytest.approx([0.7, 0.5, 0.1])


def test_a_text_that_only_a_further_seed_has_is_no_error():
    first = table([("a", "ok", 5.0, 1.0), ("b", "ok", 6.0, 1.0)]).assign(error=float("nan"))
    second = table([("a", "ok", 7.0, 1.0), ("b", "edit_failed", None, None)])
    second["error"] = [float("nan"), "no image"]
    frame, headline = seeds.averaged([first, second], [first["score"], second["score"]])
    assert list(frame["score"]) == list(headline) == [6, 6]
    assert frame["error"].isna().all()


def test_spread_is_that_of_a_one_way_analysis_of_variance():
    scores = np.array([[1.0, 3.0], [4.0, 8.0], [2.0, 2.0]])
    own = seeds.spread(scores)
    # (2 + 8 + 0) / 3 within, means 2, 6, 2 between
    assert own.within == pytest.approx(10 / 3)
    assert own.between == pytest.approx(16 / 3 - 10 / 6)
    assert seeds.spread(scores[:, :1]) is None
    assert seeds.spread(scores[:1]) is None
    lacking = np.array([[1.0, 3.0], [4.0, np.nan], [np.nan, np.nan]])
    assert seeds.spread(lacking).within == pytest.approx(2.0)


def scored(rng, samples, count, level, between, within, common):
    own = level + common + rng.normal(0, between, samples)
    values = own[:, None] + rng.normal(0, within, (samples, count))
    return pd.DataFrame(values)


def test_detectable_differences_are_those_of_a_simulation_by_resampling():
    rng = np.random.default_rng(5)
    common = rng.normal(0, 2, 300)
    one = scored(rng, 300, 3, 6.0, 0.6, 1.0, common)
    two = scored(rng, 300, 3, 5.5, 0.5, 0.7, common)
    own = seeds.power(one, two)
    assert own["samples"] == 300
    values = [frame.to_numpy() for frame in (one, two)]
    for samples in (100, 500):
        for place, count in enumerate(seeds.SEEDS):
            if count > 3:
                continue
            means = []
            for _ in range(600):
                rows = rng.integers(0, 300, samples)
                drawn = [
                    rng.permuted(each[rows], axis=1)[:, :count].mean(axis=1) for each in values
                ]
                means.append((drawn[0] - drawn[1]).mean())
            simulated = 2.8 * np.std(means)
            assert own["detectable"][str(samples)][place] == pytest.approx(simulated, rel=0.2)
    # the number that is needed finds this very difference
    needed = own["needed"][0]
    variance = own["between_std"] ** 2 + own["within_std"] ** 2
    assert abs(own["difference"]) >= 2.8 * math.sqrt(variance / needed) > 0
