"""What is still to be judged, what it takes and what it costs, said before a run."""

import pytest

from lockstep import layout, records
from lockstep.config.load import load_config
from lockstep.errors import ServerError, counted
from lockstep.figures import survey
from lockstep.foreign import transport
from lockstep.jobs import due as of_runs
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.models.backend import Usage
from lockstep.records import EditRecord
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import due, tokens
from tests import formats
from tests.conftest import ROOT
from tests.fake_server import answer
from tests.unit.test_serving import ServedJob

RUBRIC = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("JUDGE_KEY", "sk-0123456789")


def found(job, **judge):
    settings = job.judge.model_copy(update=judge)
    return due.of_category(settings, RUBRIC, job.manifest, job.category, seed=0)


def said(job, **judge):
    settings = job.judge.model_copy(update=judge)
    return list(due.sentences(found(job, **judge), settings, layout.judge_spent(job.folder)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("abcd", 1),
        ("abcde", 2),
        ("日本", 2),
        ("abc日", 2),
        ("привет", 6),
        ("a" * 400, 100),
    ],
)
def test_tokens_of_a_text(text, expected):
    assert tokens.of_text(text) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [((28, 28), 1), ((29, 28), 2), ((1024, 1024), 37 * 37), ((1, 1), 1)]
)
def test_tokens_of_an_image(size, expected):
    assert tokens.of_image(*size) == expected


def test_before_anything_is_judged_all_is_due_and_estimated_by_the_rule(serve, tmp_path):
    job = ServedJob(tmp_path, 3, serve(answer()))
    own = found(job)
    assert (own.judgements, own.kept, own.exact) == (3, 0, True)
    sample = records.read_manifest(job.manifest)[0]
    prompt = tokens.of_text(RUBRIC.system) + tokens.of_text(RUBRIC.prompt(sample))
    images = tokens.of_image(sample.width, sample.height) + tokens.of_image(32, 32)
    assert own.usage == Usage(3 * (prompt + images), 3 * job.judge.longest_reply(RUBRIC))
    told = said(job)
    assert told[0] == "judge: 3 judgements are due, 0 are cached"
    assert "and at most" in told[1] and "estimated: 4 letters or 28×28 pixels a token" in told[1]
    assert told[2] == (
        "judge: their price is unknown, as judge.input_price and judge.output_price is not set"
    )


@pytest.mark.parametrize(
    ("judge", "each"),
    [({"repeats": 3}, 3), ({"swapped_instruction": True}, 2), ({"mode": "score_only"}, 1)],
)
def test_each_judgement_of_an_edit_counts(serve, tmp_path, judge, each):
    job = ServedJob(tmp_path, 4, serve(answer()))
    assert found(job, **judge).judgements == 4 * each
    job.judge = job.judge.model_copy(update=judge)
    job.run()
    assert (found(job).judgements, found(job).kept) == (0, 4 * each)
    assert said(job) == [f"judge: 0 judgements are due, {4 * each} are cached"]


def test_what_is_cached_is_what_fits_its_key(serve, tmp_path):
    job = ServedJob(tmp_path, 6, serve(answer()))
    job.run()
    paths = sorted(job.category.glob("judgements/*.json"))
    paths[0].unlink()
    paths[1].write_text("{")
    paths[2].write_text(paths[2].read_text().replace('"key":"', '"key":"0'))
    own = found(job)
    assert (own.judgements, own.kept) == (3, 3)
    assert own.usage == Usage(300, 60), "by the mean of those that are there"
    assert "300 prompt and 60 reply tokens (by the mean of 3 that are cached)" in said(job)[1]
    # another model has judged nothing, and what another one took says nothing
    other = found(job, model="other")
    assert (other.judgements, other.kept, other.known) == (6, 0, 0)


def test_edits_that_are_not_there_yet_are_due_and_failed_ones_are_not(serve, tmp_path):
    job = ServedJob(tmp_path, 5, serve(answer()))
    job.run()
    path = job.category / "edits" / "shard-0-of-1.jsonl"
    edits = records.read_records(path, EditRecord)
    edits[0] = edits[0].model_copy(update={"status": "edit_failed", "error": "no"})
    edits[1] = edits[1].model_copy(update={"pixels_sha256": "0" * 64})
    records.write_records(path, edits[:4])
    own = found(job)
    assert (own.judgements, own.kept) == (2, 2)


def test_prices_and_the_budget_are_part_of_it(serve, tmp_path):
    job = ServedJob(tmp_path, 5, serve(answer()), concurrency=1)
    prices = {"input_price": 1_000_000, "output_price": 0}
    job.judge = job.judge.model_copy(update={**prices, "budget": 3_000})
    with pytest.raises(ServerError):
        job.run()
    made = len(job.judged())
    assert 0 < made < 5
    told = said(job)
    due = counted(5 - made, "judgement is", "judgements are")
    assert told[0] == f"judge: {due} due, {counted(made, 'is', 'are')} cached"
    price = 100 * (5 - made)
    assert told[2].startswith(f"judge: they cost about {price:,.2f} (judge.input_price 1e+06")
    assert told[3] == (
        f"judge.budget: {100 * made:,.2f} of 3000 is spent over all runs, which suffices"
    )
    assert said(job, budget=100 * made + 10)[3].endswith("so the run may stop before its end")
    assert len(said(job, budget=None)) == 3
    assert "judge.output_price is not set" in said(job, output_price=None)[2]


def test_a_judge_on_devices_has_no_price(serve, tmp_path):
    job = ServedJob(tmp_path, 2, serve(answer()))
    job.judge = Qwen3VLSettings(type="qwen3_vl", model="org/name")
    told = said(job)
    assert told[0] == "judge: 2 judgements are due, 0 are cached"
    assert len(told) == 2


def test_of_many_samples_some_stand_for_all(serve, tmp_path, monkeypatch):
    job = ServedJob(tmp_path, 9, serve(answer()))
    job.run()
    monkeypatch.setattr(due, "LOOKED_AT", 3)
    for number in (0, 3, 6):
        (job.category / "judgements" / f"s{number}.json").unlink()
    own = found(job)
    assert (own.judgements, own.kept, own.exact) == (9, 0, False)
    assert said(job)[0] == "judge: about 9 judgements are due, about 0 are cached"


def config(tmp_path, made, judge):
    return load_config(
        {
            "results": str(tmp_path / "results"),
            "benchmark": made.settings,
            "editors": [{"name": name, "type": "identity"} for name in ("a", "b")],
            "judge": judge,
        },
        "c.yaml",
    )


SERVED = {"type": "openai", "model": "m", "url": "http://localhost/v1"}


def test_a_survey_says_what_will_be_due(tmp_path):
    made = formats.re_edit(tmp_path / "b", 6)
    settings = config(tmp_path, made, {**SERVED, "input_price": 1, "output_price": 0})
    told = list(survey.lines(survey.survey(settings.benchmark), settings, 1))
    assert "judge: 12 judgements are due, 0 are cached" in told
    assert any(line.startswith("judge: they cost at most 0.0") for line in told)
    records.write_text(layout.judgement(tmp_path / "results" / "a" / "physical", "", "x"), "{}")
    told = list(survey.lines(survey.survey(settings.benchmark), settings, 1))
    assert (
        "judge: at most 12 judgements are due, how many of them are cached is known once "
        "`prepare` has run"
    ) in told


def test_nothing_is_due_of_a_judge_that_is_not_asked(tmp_path):
    made = formats.re_edit(tmp_path / "b", 2)
    for editor in ("a", "b"):
        records.write_text(tmp_path / "replies" / editor / "x.txt", "x")
    settings = config(tmp_path, made, {"type": "precomputed", "folder": str(tmp_path / "replies")})
    assert list(of_runs.of_benchmark(settings, {"physical": 2}, {})) == []
    assert list(of_runs.of_samples(settings)) == []


def test_a_start_says_it_of_what_it_scores_and_leaves_it_to_who_reads_the_benchmark(
    serve, tmp_path, monkeypatch
):
    job = ServedJob(tmp_path, 3, serve(answer()))
    made = formats.re_edit(tmp_path / "b", 3)
    settings = config(tmp_path, made, SERVED).model_copy(update={"results": str(tmp_path)})
    monkeypatch.chdir(ROOT)
    whose = {"editor": "e", "category": "physical", "shard": "0", "shards": "1"}
    score = ("scripts/rules/score_shard.py", whose)
    told = list(of_runs.at_start(settings, [score, score]))
    assert told[0] == "judge: 3 judgements are due, 0 are cached"
    assert list(of_runs.at_start(settings, [("a/edit_shard.py", whose)])) == []
    assert list(of_runs.at_start(settings, [score, ("a/prepare_manifests.py", {})])) == []
    assert job.judged() == []
