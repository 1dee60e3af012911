"""A judge behind a server, as the workflow runs it."""

import re
from pathlib import Path

import pytest

from lockstep.commands import doctor
from tests.fake_server import answer, problem
from tests.workflow.conftest import EDITOR, make

KEY = "sk-very-secret-0123456789"


def judge_by_the_prompt(body):
    """Give a 7 for each criterion that the prompt ends with."""
    prompt = body["messages"][1]["content"][2]["text"]
    return answer(reply="As asked. " + prompt[prompt.rindex("{") :].replace("<0-10>", "7"))


@pytest.fixture
def workflow(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server = serve(judge_by_the_prompt)
    made = make(
        tmp_path / "work",
        Path("no models"),
        per_category=2,
        editors=[{"name": EDITOR, "type": "identity"}],
        judge={
            "type": "openai",
            "url": server.url,
            "model": "some/judge",
            "api_key_variable": "JUDGE_KEY",
            "rubrics": str(Path(__file__).parents[2] / "config" / "rubrics"),
        },
    )
    made.config["benchmark"]["categories"] = ["physical", "social"]
    made.server = server
    return made


def judges(workflow, monkeypatch):
    """Return what `doctor` says of the judge, while nothing is wrong."""
    workflow.command()
    with monkeypatch.context() as own:
        own.chdir(workflow.folder)
        found = list(doctor.examine(Path("config.yaml")))
    assert not [each for each in found if each.state == "error"]
    return [each.text.partition(" that is running")[0] for each in found if each.name == "judge"]


def test_a_served_judge_scores_without_a_device_and_its_key_stays_secret(workflow, monkeypatch):
    printed = workflow.run()
    found = workflow.records("scores")
    assert [record["status"] for record in found] == ["ok"] * 4
    assert {record["score"] for record in found} == {7.0}
    assert len(workflow.server.requests) == 4
    assert "requests, 0 failed" in workflow.logs("score/**/*.log")

    # where and how it is asked decides no score; the report alone tells of it
    judge = workflow.config["judge"]
    judge |= {"url": "http://127.0.0.1:9/v1", "concurrency": 3, "input_price": 1}
    assert "Nothing to be done" in workflow.run("-n", "physical", "social")
    assert judges(workflow, monkeypatch) == [
        "the judge: openai, some/judge at http://127.0.0.1:9/v1",
        "nothing is due, so the run asks no server (judge.url: expected a server",
    ]

    # another model does, and needs no device for it
    judge |= {"url": workflow.server.url, "model": "another/judge"}
    printed += workflow.run("physical", "social")
    assert len(workflow.server.requests) == 8
    assert workflow.server.requests[-1][2]["model"] == "another/judge"

    workflow.server.answers = [problem(401, message=f"wrong key: {KEY}")]
    judge["model"] = "a/third"
    failed = workflow.run("physical", check=False)
    assert "judge: the server answered 401" in failed
    written = b"".join(p.read_bytes() for p in workflow.folder.rglob("*") if p.is_file())
    assert KEY.encode() not in written
    assert KEY not in printed + failed


def test_what_the_judge_needs_is_known_before_the_first_edit(workflow, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY")
    sentence = "judge.api_key_variable: expected a variable of the environment that holds"
    failed = workflow.run(check=False)
    assert sentence in failed
    assert "Before anything can be judged: config.yaml: judge.api_key_variable" in workflow.run(
        "-n"
    )
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", "socks5://")

    judge = workflow.config["judge"]
    judge["url"], there = "http://127.0.0.1:9/v1", judge["url"]
    failed += workflow.run(check=False)
    assert "tried GET http://127.0.0.1:9/v1/models: found no answer" in failed
    judge["url"] = "http://api.example.org/v1"
    failed += workflow.run(check=False)
    assert "all_proxy: expected the address of a proxy" in failed
    assert "Traceback" not in failed
    assert not workflow.results.joinpath(EDITOR).exists()

    # a table needs nothing of it once all is judged
    judge["url"] = there
    workflow.run("physical")
    monkeypatch.delenv("JUDGE_KEY")
    judge["url"] = "http://127.0.0.1:9/v1"
    (workflow.results / EDITOR / "physical" / "table.csv").unlink()
    workflow.run("physical")


def test_what_judging_takes_is_said_before_and_a_budget_stops_it_and_goes_on(workflow):
    judge, server = workflow.config["judge"], workflow.server
    workflow.config["benchmark"]["categories"] = ["physical"]
    # each answer takes 100 prompt tokens, and a judgement claims some thousand
    judge |= {"input_price": 1_000_000, "output_price": 0, "budget": 1, "concurrency": 1}
    assert "judge: 2 judgements are due, 0 are cached" in workflow.run("import")
    assert not (workflow.results / "manifest").exists()

    failed = workflow.run(check=False)
    assert "judge: 2 judgements are due, 0 are cached" in failed, "by who reads the benchmark"
    assert "judge.budget: 0.00 of 1 is spent over all runs, so the run may stop" in failed
    claimed = re.findall(r"found 0\.0000 spent and up to (\d+)\.0000 needed", failed)
    assert not server.requests

    # one judgement, but not another one
    judge["budget"] = min(map(int, claimed)) + 50
    failed = workflow.run(check=False)
    assert f"judge.budget: expected at most {judge['budget']} spent over all runs" in failed
    assert len(server.requests) == 1

    judge["budget"] = 1e9
    printed = workflow.run()
    assert "judge: 1 judgement is due, 1 is cached" in printed
    assert "about 100 prompt and 20 reply tokens (by the mean of 1 that are cached)" in printed
    assert "judge.budget: 100.00 of 1e+09 is spent over all runs, which suffices" in printed
    assert len(server.requests) == 2, "what was judged is not asked for again"
