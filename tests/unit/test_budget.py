"""A budget of money: what judgements cost is counted over runs and processes, and never passed."""

import multiprocessing
import threading

import pytest
from pydantic import ValidationError

from lockstep import layout, records
from lockstep.errors import DamagedError, ServerError
from lockstep.foreign import transport
from lockstep.judges.openai_api import OpenAISettings
from lockstep.models.backend import Usage
from lockstep.models.budget import Budget, Exhausted, Spent, spent
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT
from tests.fake_server import CUT, answer, problem
from tests.unit.test_serving import ServedJob

PRICES = {"input_price": 1_000_000, "output_price": 0}
"""A prompt token costs 1, a reply nothing: each answer of the fake server costs 100."""


@pytest.fixture(autouse=True)
def _quick_and_with_a_key(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("JUDGE_KEY", "sk-0123456789")


def asks(**given):
    settings = {"type": "openai", "model": "m", "url": "http://127.0.0.1:9/v1", **PRICES}
    return OpenAISettings(**{**settings, "budget": 10, **given})


@pytest.mark.parametrize("missing", ["input_price", "output_price"])
def test_a_budget_needs_prices_and_says_which_is_missing(missing):
    with pytest.raises(ValidationError, match=f"expected {missing} beside budget"):
        asks(**{missing: None})
    assert asks(**{missing: 0}).budget == 10
    assert asks(**{missing: None, "budget": None}).budget is None


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "much"])
def test_a_budget_is_a_number_above_0(budget):
    with pytest.raises(ValidationError, match="budget"):
        asks(budget=budget)


def test_a_budget_needs_a_longest_reply():
    rubric = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")
    with pytest.raises(ValidationError, match="expected a limit of replies beside budget"):
        asks(request={"max_tokens": None})
    other = asks(request={"max_tokens": None, "max_completion_tokens": 700})
    assert other.longest_reply(rubric) == 700
    assert asks().longest_reply(rubric) == 256 + len(rubric.example)
    assert asks(mode="score_only").longest_reply(rubric) == len(rubric.example)


def budget(tmp_path, most):
    return Budget("judge.budget", most, lambda used: used.prompt_tokens, tmp_path / "spent")


def begin(own, each, requests):
    with own.item(each, requests):
        raise AssertionError("it began")


def test_what_an_item_did_not_take_is_given_back(tmp_path):
    own = budget(tmp_path, 10)
    with own.item(Usage(4, 1), 2):
        assert spent(tmp_path / "spent") == Spent(2, 8, 2)
        own.spend()
        own.paid(Usage(3, 1))
    assert spent(tmp_path / "spent") == Spent(1, 3, 1)


def test_a_request_of_unknown_cost_counts_with_the_most(tmp_path):
    own = budget(tmp_path, 10)
    with own.item(Usage(4, 1), 2):
        own.spend()
    assert spent(tmp_path / "spent") == Spent(1, 4, 1)


def test_an_item_that_may_pass_the_budget_does_not_begin(tmp_path):
    own = budget(tmp_path, 10)
    with own.item(Usage(6, 0), 1):
        own.spend()
    with pytest.raises(Exhausted, match=r"at most 10 spent .* found 6\.0000 spent and up to 5\.0"):
        begin(own, Usage(5, 0), 1)
    assert spent(tmp_path / "spent").prompt_tokens == 6
    with own.item(Usage(4, 0), 1):
        own.spend()
    assert spent(tmp_path / "spent").prompt_tokens == 10


def test_one_more_request_than_was_claimed_is_refused_where_nothing_is_left(tmp_path):
    own = budget(tmp_path, 10)
    with own.item(Usage(4, 0), 2):
        own.spend()
        own.spend()
        with pytest.raises(Exhausted):
            own.spend()
    assert spent(tmp_path / "spent") == Spent(2, 8, 0)


def test_a_dearer_answer_than_expected_is_what_is_expected_next(tmp_path):
    own = budget(tmp_path, 20)
    with own.item(Usage(4, 0), 1):
        own.spend()
        own.paid(Usage(11, 0))
    with pytest.raises(Exhausted, match=r"11\.0000 spent and up to 11\.0000"):
        begin(own, Usage(4, 0), 1)


@pytest.mark.parametrize("same_process", [True, False])
def test_who_is_refused_waits_for_what_others_give_back(tmp_path, same_process):
    """Two budgets on one ledger are two processes: their locks exclude each other as well."""
    own = budget(tmp_path, 10)
    other = own if same_process else budget(tmp_path, 10)
    begun = threading.Event()

    def work():
        with other.item(Usage(6, 0), 1):
            other.spend()
            begun.set()

    thread = threading.Thread(target=work)
    with own.item(Usage(6, 0), 1):
        own.spend()
        thread.start()
        assert not begun.wait(0.2), "6 are claimed, and 6 more would pass the budget"
        own.paid(Usage(3, 0))
    thread.join(10)
    assert begun.is_set()
    assert spent(tmp_path / "spent").prompt_tokens == 9


def _ask(folder, count):
    own = budget(folder, 300)
    for _ in range(count):
        try:
            with own.item(Usage(4, 0), 2):
                own.spend()
                own.paid(Usage(3, 0))
        except Exhausted:
            return


def test_processes_share_what_is_left(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ask, args=(tmp_path, 60)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    # the last one needs up to 8
    assert spent(tmp_path / "spent") == Spent(98, 294, 0)


def test_a_ledger_that_is_none_is_said_to_be(tmp_path):
    (tmp_path / "spent").write_text("much")
    with pytest.raises(DamagedError, match="spent: expected 3 numbers"):
        spent(tmp_path / "spent")
    with pytest.raises(DamagedError, match="spent: expected 3 numbers"):
        begin(budget(tmp_path, 1), Usage(1, 0), 1)


class Budgeted(ServedJob):
    """A score job with a budget for about as many judgements."""

    def __init__(self, folder, count, server, judgements, **judge):
        super().__init__(folder, count, server, **PRICES, concurrency=1, **judge)
        # one claims two requests of some 1,100 tokens each, and takes 100
        self.of(judgements)

    def of(self, judgements):
        self.judge = self.judge.model_copy(update={"budget": 100 * (judgements - 1) + 3_300})

    @property
    def spent(self):
        return spent(layout.judge_spent(self.folder))


def test_a_job_stops_before_the_budget_is_passed_and_goes_on_with_more(serve, tmp_path):
    server = serve(answer())
    job = Budgeted(tmp_path, 20, server, 5)
    with pytest.raises(ServerError, match=r"judge\.budget: expected at most 3700 spent") as found:
        job.run()
    made = len(job.judged())
    assert 0 < made < 20 and len(server.requests) == made
    assert f"; {20 - made} of 20 judgements of this job are left" in str(found.value)
    assert str(found.value).endswith("what is judged is kept; raise it and run again")
    assert job.spent == Spent(made, 100 * made, 20 * made)
    with pytest.raises(ServerError, match="budget"):
        job.run()
    assert len(server.requests) == made, "the next run has no more to spend"
    job.of(100)
    assert all(record.status == "ok" for record in job.run().values())
    assert len(server.requests) == 20
    assert job.spent == Spent(20, 2_000, 400)


def test_the_correction_of_a_reply_is_within_the_budget_and_loses_nothing(serve, tmp_path):
    server = serve(answer(reply="I give it 7/10."), answer())
    job = Budgeted(tmp_path, 1, server, 1)
    (record,) = job.run().values()
    assert record.status == "ok"
    assert job.spent == Spent(2, 200, 40)


@pytest.mark.parametrize(
    ("first", "spent_of_it"), [(problem(503), 0), (problem(429), 0), (CUT, None)]
)
def test_an_error_costs_nothing_and_no_answer_the_most(serve, tmp_path, first, spent_of_it):
    job = Budgeted(tmp_path, 1, serve(first, answer()), 9)
    (record,) = job.run().values()
    assert record.status == "ok"
    assert job.spent.requests == 2
    if spent_of_it == 0:
        assert job.spent.prompt_tokens == 100
    else:
        assert job.spent.prompt_tokens > 900


def test_a_server_that_tells_no_usage_is_counted_with_the_most(serve, tmp_path):
    body = '{"choices": [{"message": {"content": "x"}}]}'
    job = Budgeted(tmp_path, 3, serve(answer(body=body)), 99)
    job.run()
    assert job.spent.requests == 6 and job.spent.prompt_tokens > 3_000


def test_requests_are_counted_without_a_budget(serve, tmp_path):
    job = ServedJob(tmp_path, 3, serve(answer()))
    job.run()
    assert spent(layout.judge_spent(tmp_path)) == Spent(3, 300, 60)
    assert records.claimed(tmp_path / "none", 3) == [0, 0, 0]
