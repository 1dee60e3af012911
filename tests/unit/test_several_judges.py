"""Several judges in one run: configuration, jobs, judgements that are kept, and agreement."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.stats import kendalltau

from lockstep import layout, records, workflow
from lockstep.config.load import load_config, with_rubrics
from lockstep.devices.device import Device
from lockstep.errors import ConfigError
from lockstep.figures import judges
from lockstep.figures.raters import krippendorff_alpha
from lockstep.jobs import ahead, due, provenance, stale
from lockstep.jobs.ahead import Planned
from lockstep.jobs.types import ScoreJob
from lockstep.judges import keys
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.records import ScoreRecord
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import due as of_scoring
from lockstep.scoring import shard as scoring_shard
from lockstep.scoring.judgements import Place
from tests.conftest import ROOT
from tests.score_job import Job

RUBRICS = str(ROOT / "config" / "rubrics")
LOCAL = {"type": "qwen3_vl", "model": "some/model", "rubrics": RUBRICS}
SERVED = {"type": "openai", "model": "m", "url": "http://127.0.0.1:9/v1", "rubrics": RUBRICS}
A, B = {"name": "a", **LOCAL}, {"name": "b", **LOCAL}
C = {"name": "c", **SERVED}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "benchmark.json"
    item = {
        "id": 1,
        "instruction": "Drop it.",
        "category": "physical",
        "edit_category": "物理",
    }
    path.write_text(json.dumps([item]), encoding="utf-8")
    return path


@pytest.fixture
def given(benchmark):
    return {
        "benchmark": {"path": str(benchmark), "format": "re-edit", "categories": ["physical"]},
        "editors": [{"name": "x", "type": "identity"}, {"name": "y", "type": "identity"}],
        "devices": {"accelerator": "cpu", "device_ids": [0, 1, 2, 3]},
    }


def test_the_first_of_several_judges_stands_for_the_one(given):
    several = load_config({**given, "judges": [A, B, C]}, "c.yaml")
    one = load_config({**given, "judge": LOCAL}, "c.yaml")
    assert several.judge == several.judges[0] and several.judge.name == "a"
    assert list(several.each_judge) == ["", "b", "c"] and list(one.each_judge) == [""]
    # what was given is written down, and can be read again
    for config, key, other in ((several, "judges", "judge"), (one, "judge", "judges")):
        dumped = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
        assert key in dumped and other not in dumped
        assert load_config(dumped, "c.yaml") == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"judges": [A, A]}, "judges: expected each name once, found 'a' twice"),
        ({"judges": [A, B], "judge": LOCAL}, "judges: expected judge or judges, found both"),
        ({}, "judge: expected a value, found nothing"),
        ({"judges": []}, "judges: expected at least one judge, found an empty list"),
        ({"judges": [A, LOCAL]}, "judges[1].name: expected a value, found nothing"),
        ({"judges": [A, B | {"name": "a/b"}]}, "judges[1].name: expected letters, digits"),
        ({"judges": [A, B | {"name": "calls"}]}, "judges: found name 'calls', which the workflow"),
        ({"judges": [A, B | {"name": "repeat-3"}]}, "judges: found name 'repeat-3', which"),
        ({"judges": [A, B | {"name": "swapped"}]}, "judges: found name 'swapped', which"),
        ({"judges": [A, B | {"name": "s1.json"}]}, "judges: found name 's1.json', which"),
        ({"judges": [A, B | {"name": "x"}]}, "judges: found name 'x', which the workflow uses"),
        ({"judges": [A, B, C | {"name": "score_b"}]}, "judges: found name 'score_b', which"),
        ({"judges": [A | {"name": "score_b"}, B]}, "judges: found name 'b', which the workflow"),
        ({"judges": [A | {"name": "report"}, B]}, "judges: found name 'report', which"),
        ({"judges": [A, B | {"name": "物理"}]}, "judges[1].name: expected letters, digits"),
        ({"judges": [A, B | {"name": "physical"}]}, "judges: found name 'physical', which"),
        ({"judges": [A, B | {"pairs": True}]}, "judges[1].pairs: expected none but at the first"),
        ({"judges": [A, B | {"type": "opnai"}]}, "judges[1].type: found 'opnai' (did you mean"),
        ({"judges": [A, C | {"urll": 1}]}, "judges[1].urll: found an unknown key (did you mean"),
        ({"judges": [A, B | {"repeats": 0}]}, "judges[1].repeats: expected greater than 0"),
        ({"judges": [A, B | {"rubrics": "no"}]}, "judges.b.rubrics: found no file 'no/physical"),
        (
            {"judge": LOCAL, "report": {"ensemble": True}},
            "report.ensemble: expected several judges beside it, found one",
        ),
    ],
)
def test_one_sentence_for_each_mistake(given, changes, sentence):
    with pytest.raises(ConfigError) as error:
        load_config({**given, **changes}, "c.yaml")
    assert str(error.value).startswith(f"c.yaml: {sentence}")
    assert "\n" not in str(error.value)


def test_rubrics_of_each_judge_are_found_beside_the_workflow(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {**given, "judges": [A | {"rubrics": "config/rubrics"}, B | {"rubrics": "none"}]}
    found = with_rubrics(data, [ROOT])["judges"]
    assert [judge["rubrics"] for judge in found] == [RUBRICS, "none"]


def test_a_judge_comes_after_all_jobs_of_the_one_before_it(given):
    run = workflow.of_job({**given, "judges": [A, B, C]})
    alone = workflow.of_job({**given, "judge": LOCAL})
    order = [(e, "physical", judge) for judge in ("", "b", "c") for e in ("x", "y")]
    found = [run.priority("score", *names) for names in order]
    assert found == sorted(found, reverse=True) and len({*found}) == len(found)
    edits = [run.priority("edit", editor, "physical") for editor in ("x", "y")]
    assert min(edits) > max(found)
    assert min(run.priority("rewrite", e, "physical") for e in ("x", "y")) > max(edits)
    assert [alone.priority("score", e, "physical") for e in ("x", "y")] == [2, 1]


def test_targets_and_records_are_those_of_each_judge(given):
    run = workflow.of_job({**given, "judges": [A, B | {"gpus_per_judge": 2}]})
    scores = "results/x/physical/scores"
    assert run.scores("x", "physical") == [f"{scores}/shard-{k}-of-4.jsonl" for k in range(4)]
    beside = [f"{scores}/b/shard-{k}-of-2.jsonl" for k in range(2)]
    assert run.scores("x", "physical", "b") == beside
    assert run.done(["x"], ["physical"]) == ["results/x/physical/table.csv", *beside]
    assert run.judged("x", "physical", 1, "b") == run.edits("x", "physical")[2:]
    assert run.counts == [2, 4]
    alone = workflow.of_job({**given, "judge": LOCAL})
    assert alone.done(["x"], ["physical"]) == ["results/x/physical/table.csv"]


def test_local_judges_claim_devices_and_servers_their_requests(given):
    further = C | {"name": "d", "concurrency": 4}
    elsewhere = C | {"name": "e", "url": "http://127.0.0.1:8/v1", "concurrency": 6}
    data = {**given, "judges": [A, B, C | {"concurrency": 8}, further, elsewhere]}
    claims = workflow.claims(workflow.of_job(data))
    own = SimpleNamespace(editor="x", shard="2")
    local = claims.beside["b"]
    assert {name: value(own) if callable(value) else value for name, value in local.items()} == {
        **{"gpu0": None, "gpu1": None, "gpu2": 1, "gpu3": None},
        "gpu": 1,
    }
    # one address has one limit, the highest of its judges
    assert [claims.beside[name] for name in "cde"] == [
        {"requests": 2},
        {"requests": 1},
        {"judge_requests1": 1},
    ]
    limits = workflow.limits(workflow.of_job(data))
    assert {k: n for k, n in limits.items() if "requests" in k} == {
        "requests": 8,
        "judge_requests1": 6,
    }
    cluster = {"shards": 2, "allocation": "shard", "partition": "gpus", "cpu_partition": "cpus"}
    data = {**data, "cluster": cluster, "devices": {"accelerator": "cpu"}}
    claims = workflow.claims(workflow.of_job(data))
    assert claims.beside["b"] == claims.judge
    assert claims.beside["e"]["slurm_partition"] == "cpus"


def test_what_comes_later_is_of_the_same_judge(given, monkeypatch):
    config = load_config({**given, "judges": [A, B]}, "c.yaml")
    planned = [Planned("score", e, "physical", judge) for judge in ("", "b") for e in ("x", "y")]
    ahead.announce(planned)
    monkeypatch.setenv(ahead.SLOTS, "1")
    for below in ("", "b"):
        job = ScoreJob(
            **config.for_jobs(),
            judge=config.each_judge[below],
            editor="x",
            category="physical",
            seed=0,
            rubric=config.judge.rubric_file("physical"),
            devices=(Device("cpu", "0", "cpu0"),),
            shard=0,
            log="x.log",
            below=below,
        )
        (found,) = ahead.later(job)
        assert (found.editor, found.below, found.judge) == ("y", below, job.judge)
        name = f"y/physical/{below}/shard" if below else "y/physical/shard"
        assert found.log == f"results/logs/score/{name}-0-of-1.log"
    monkeypatch.delenv(ahead.PLAN)


class Scored:
    """Scores of two edits by judges with replies of their own."""

    def __init__(self, folder):
        images = [Image.new("RGB", (8, 8), (10 * k, 0, 0)) for k in range(2)]
        (folder / "results").mkdir()
        self.job, self.folder = Job(folder / "results", images), folder
        rubric = read_rubric(self.job.rubric)
        self.rubric = rubric

    def judge(self, name, value):
        replies = self.folder / name / "e"
        replies.mkdir(parents=True, exist_ok=True)
        for k in range(2):
            reply = json.dumps(dict.fromkeys(self.rubric.names, value + k))
            (replies / f"s{k}.txt").write_text(reply, encoding="utf-8")
        return PrecomputedJudgeSettings(type="precomputed", folder=str(self.folder / name))

    def run(self, judge, below, loads):
        edits = [self.job.category / "edits" / "shard-0-of-1.jsonl"]
        own = (judge, self.job.manifest, edits, self.rubric, self.job.category, 0, below)
        device = Device("cpu", "0", "cpu0")
        load = type(judge).load

        def counted(settings, torch_device):
            loads.append(below)
            return load(settings, torch_device)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(judge), "load", counted)
            scoring_shard.score_shard(
                scoring_shard.Shard(*own), Place([[device]], 0, "score", self.job.terminal)
            )
        path = layout.shard(self.job.category, "scores", 0, 1, below)
        return [record.score for record in records.read_records(path, ScoreRecord)]


def test_judges_write_side_by_side_and_keep_judgements_wherever_they_stand(tmp_path, monkeypatch):
    scored, loads = Scored(tmp_path), []
    one, other = scored.judge("one", 5), scored.judge("other", 7)
    assert scored.run(one, "", loads) == [5, 6]
    first = {p: p.read_bytes() for p in scored.job.category.rglob("*.json*")}
    assert scored.run(other, "b", loads) == [7, 8]
    assert loads == ["", "b"]
    # the first one's files are what they are without another
    assert all(path.read_bytes() == data for path, data in first.items())
    assert {p.name for p in (scored.job.category / "judgements" / "b").iterdir()} == {
        "s0.json",
        "s1.json",
    }
    # the order turned round, then the first one removed, and then both as they were
    assert scored.run(other, "", loads) == [7, 8]
    assert scored.run(one, "b", loads) == [5, 6]
    assert scored.run(one, "", loads) == [5, 6]
    assert scored.run(other, "c", loads) == [7, 8]
    assert loads == ["", "b"]
    # a sentence on what is due knows them too
    monkeypatch.setattr(of_scoring.tokens, "longest", lambda item: 1)
    own = (scored.rubric, scored.job.manifest, scored.job.category, 0)
    for judge in (one, other):
        for below in ("", "b", "c"):
            found = of_scoring.of_category(judge, *own, below)
            assert (found.judgements, found.kept) == (0, 2)


def test_records_of_other_counts_are_forgotten_of_one_judge_alone(tmp_path):
    scored, loads = Scored(tmp_path), []
    judge = scored.judge("one", 4)
    old = [layout.shard(scored.job.category, "scores", 0, 3, below) for below in ("", "b", "c")]
    for path in old:
        records.write_text(path, "")
        records.write_text(layout.note(scored.job.folder, path), "{}")
    scored.run(judge, "b", loads)
    assert [path.exists() for path in old] == [True, False, True]
    assert [layout.note(scored.job.folder, p).exists() for p in old] == [True, False, True]


def test_what_is_due_is_said_of_each_judge(given, tmp_path, monkeypatch):
    config = load_config({**given, "judges": [A, C | {"input_price": 1, "output_price": 2}]}, "c")
    asked = []
    monkeypatch.setattr(
        due.due, "of_category", lambda judge, *own: asked.append(own[-1]) or due.Due(judgements=3)
    )
    score = "rules/score_shard.py"
    jobs = [(score, {"editor": "x", "category": "physical", "judge": "c"})]
    said = list(due.at_start(config, jobs))
    assert asked == ["c"] and all(text.startswith("judges.c: ") for text in said)
    assert "(judges.c.input_price 1, judges.c.output_price 2)" in said[-1]
    assert [t.split(":")[0] for t in due.of_samples(config)] == [
        *["judges.a"] * 2,
        *["judges.c"] * 3,
    ]
    assert layout.judge_spent(tmp_path, "c").name == "judge-c.spent"


def frame_of(values, editors=None):
    """Return what `judges.scores` gives of scores by judge; of one category unless it is told."""
    count = len(next(iter(values.values())))
    table = pd.DataFrame({judges.column(name): own for name, own in values.items()}, dtype=float)
    table["editor"] = editors or ["x"] * count
    table["category"], table["id"] = "physical", [f"s{k}" for k in range(count)]
    table["cluster"] = table["id"]
    standard = judges._standardised(table[[judges.column(name) for name in values]].to_numpy())
    return table.assign(ensemble=standard.mean(axis=1), spread=np.ptp(standard, axis=1))


def test_alpha_is_that_of_a_known_example():
    # Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, part D: four observers of 12
    # units with missing values; interval 0.849
    nan = math.nan
    values = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert krippendorff_alpha(np.array(values)) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(np.array([[1.0, 2], [1, 2]])) == 1
    assert krippendorff_alpha(np.array([[3.0, 3], [3, 3]])) is None
    assert krippendorff_alpha(np.array([[3.0, nan], [nan, 4]])) is None


def test_agreement_places_and_the_ensemble_by_hand():
    editors = ["x", "x", "y", "y", "z", "z"]
    values = {"a": [8, 6, 4, 4, 2, math.nan], "b": [5, 7, 6, 4, 1, 1]}
    frame = frame_of(values, editors)
    (row,) = judges.compared(["a", "b"], frame, ensemble=True, min_coverage=0.5)
    assert (row["edits"], row["shared"]) == (6, 5)
    assert {e: own["mean"] for e, own in row["judges"]["a"].items()} == {"x": 7, "y": 4, "z": 2}
    assert {e: own["place"] for e, own in row["judges"]["b"].items()} == {"x": 1, "y": 2, "z": 3}
    assert row["judges"]["a"]["z"]["count"] == 1
    # a failure is counted and told, and too many of them give no place
    assert judges.failures(row) == {"a": 1}
    assert judges.sentence(row).endswith("5 of 6 edits scored by all judges; a gave no score to 1")
    (strict,) = judges.compared(["a", "b"], frame, ensemble=True, min_coverage=0.8)
    assert [own["place"] for own in strict["judges"]["a"].values()] == [1, 2, None]
    (pair,) = row["pairs"]
    assert (pair["count"], pair["same_order"], pair["other_order"]) == (5, 3, 0)
    assert pair["difference"] == pytest.approx((3 - 1 - 2 + 0 + 1) / 5)
    assert pair["kendall"] == pytest.approx(kendalltau([8, 6, 4, 4, 2], [5, 7, 6, 4, 1]).statistic)
    assert pair["editors_kendall"] == pytest.approx(1)
    # over the five edits that both scored: means 4.8 and 4.6, deviations by hand
    a = (np.array([8, 6, 4, 4, 2]) - 4.8) / np.sqrt(4.16)
    b = (np.array([5, 7, 6, 4, 1]) - 4.6) / np.sqrt(4.24)
    both = (a + b) / 2
    means = {"x": both[:2].mean(), "y": both[2:4].mean(), "z": both[4]}
    found = {editor: own["mean"] for editor, own in row["ensemble"].items()}
    assert found == pytest.approx(means)
    spread = np.abs(a - b)
    assert [own["id"] for own in row["disagreements"]] == [
        f"s{k}" for k in sorted(range(5), key=lambda k: -spread[k]) if spread[k] > 0
    ]
    assert row["disagreements"][0]["spread"] == pytest.approx(spread.max())
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "shared"),
    [
        ({"a": [math.nan] * 2, "b": [1, 2]}, 0),
        ({"a": [5, 5], "b": [1, 2]}, 2),
        ({"a": [5, 5], "b": [5, 5]}, 2),
        ({"a": [3], "b": [4]}, 1),
    ],
)
def test_what_cannot_be_told_is_null_and_no_number(values, shared):
    (row,) = judges.compared(["a", "b"], frame_of(values), ensemble=True, min_coverage=0.5)
    assert row["shared"] == shared
    assert row["pairs"][0]["spearman"] is None and row["pairs"][0]["editors_kendall"] is None
    assert (row["ensemble"]["x"]["mean"] is None) == (shared == 0)
    json.dumps(row, allow_nan=False)
    assert judges.sentence(row).startswith("physical: Krippendorff's alpha ")


def test_nothing_of_the_first_judge_changes_with_its_name_and_others(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {"type": "openai", "model": "m", "url": "http://127.0.0.1:9/v1", "rubrics": RUBRICS}
    one = load_config({**given, "judge": model}, "c.yaml")
    several = load_config({**given, "judges": [{"name": "a", **model}, B]}, "c.yaml")
    rubric = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")
    assert keys.identity(one.judge) == keys.identity(several.judge)
    assert provenance.of_backend(one.judge) == provenance.of_backend(several.judge)
    found = [
        provenance.scored(tmp_path, config.judge, 0, "x", "physical", 0, 1, 1, rubric)
        for config in (one, several)
    ]
    assert found[0] == found[1]
    assert stale.stale(several, 4, {"physical": rubric}) == {}
