"""Edit jobs that ask a server: several requests at a time, nothing lost, a budget, seeds."""

import io
import itertools
import re
import threading
from pathlib import Path

import pytest
from PIL import Image

from lockstep import layout, records
from lockstep.devices.device import Device
from lockstep.devices.settings import DeviceSettings
from lockstep.editing.shard import Shard, edit_shard
from lockstep.editors.openai_images import OpenAIImagesSettings
from lockstep.errors import ServerError
from lockstep.figures import drift
from lockstep.foreign import transport
from lockstep.records import EditRecord
from tests.conftest import make_sample
from tests.fake_server import CUT, edit_as_asked, edited, problem

REFUSAL = problem(400, code="content_policy_violation")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)


class Job:
    """The samples of a category, edited through a server by one or more jobs."""

    def __init__(self, folder, count, server, **given):
        folder.mkdir(exist_ok=True)
        self.results = folder / "results"
        self.manifest = self.results / "manifest" / "physical.jsonl"
        self.folder = layout.folder(self.results, "e", "physical")
        made = [
            make_sample(folder, f"s{i}", index=i, instruction=f"Do number {i}.")
            for i in range(count)
        ]
        records.write_records(self.manifest, made)
        given = {"attempts": 1, **given}
        self.editor = OpenAIImagesSettings(
            type="openai_images", name="e", model="m", url=server.url, **given
        )

    def run(self, shard=0, shards=1):
        # GPUs that are not there: none is pinned or locked
        devices = [Device("cuda", str(number)) for number in range(shards)]
        edit_shard(
            self.editor,
            self.manifest,
            self.folder,
            Shard(shard, devices, slots=shards, run="now"),
            io.StringIO(),
            seed=1,
            settings=DeviceSettings(join_timeout=60),
        )
        path = layout.shard(self.folder, "edits", shard, shards)
        return records.read_records(path, EditRecord)

    def saved(self):
        return sorted(path.stem for path in (self.folder / "images").glob("*.png"))


def by_sample(answers):
    """Answer by the number of the sample that a request asks for."""

    def give(form):
        number = int(re.search("Do number ([0-9]+)", form["prompt"])[1])
        return answers[number] if number in answers else edit_as_asked(form)

    return give


def without_a_seed():
    """Return what edits as a server that ignores seeds."""
    count = itertools.count()
    return lambda form: edited(Image.new("RGB", (8, 8), (next(count), 0, 0)))


def test_a_server_gets_its_requests_side_by_side_and_records_are_in_order(serve, tmp_path):
    together = threading.Barrier(3)

    def give(form):
        if "number 0" not in form["prompt"]:
            together.wait(10)
        return edit_as_asked(form)

    server = serve(give)
    server.delay = 0.01
    found = Job(tmp_path, 7, server, concurrency=3).run()
    assert [record.id for record in found] == [f"s{i}" for i in range(7)]
    assert {(r.status, r.device, r.wait_seconds, r.telemetry) for r in found} == {
        ("ok", "server", 0, None)
    }
    assert server.most == 3
    # one of them twice, to see whether it honours the seed
    assert len(server.requests) == 8
    assert {record.served.seed for record in found} == {"honoured"}


def test_any_number_of_jobs_gives_the_same(serve, tmp_path):
    found = {}
    for shards in (1, 2, 3):
        server = serve(edit_as_asked)
        job = Job(tmp_path / str(shards), 5, server)
        own = [record for shard in range(shards) for record in job.run(shard, shards)]
        assert len(server.requests) == 6
        found[shards] = {
            r.id: (r.key, r.pixels_sha256, r.seed, r.served.model_dump_json()) for r in own
        }
    assert found[1] == found[2] == found[3]


@pytest.mark.parametrize("size", ["native", "source"])
def test_whether_seeds_are_honoured_is_found_out_once(serve, tmp_path, size):
    server = serve(without_a_seed())
    job = Job(tmp_path, 3, server, concurrency=1, size=size)
    assert {record.served.seed for record in job.run()} == {"ignored"}
    # what is there keeps it, and is not asked for again
    assert {(record.served.seed, record.cached) for record in job.run()} == {("ignored", True)}
    assert len(server.requests) == 4
    # another request may be treated otherwise
    server.answers = [edit_as_asked]
    job.editor = job.editor.model_copy(update={"request": {"steps": 4}, "size": size})
    assert {record.served.seed for record in job.run()} == {"honoured"}


def test_a_job_that_was_ended_before_it_knew_asks_once_more(serve, tmp_path):
    server = serve(edit_as_asked)
    job = Job(tmp_path, 3, server)
    job.run()
    layout.seed(job.results, "e").unlink()
    assert {record.served.seed for record in job.run()} == {"honoured"}
    assert len(server.requests) == 5


def test_without_a_seed_nothing_is_found_out(serve, tmp_path):
    server = serve(without_a_seed())
    (record,) = Job(tmp_path, 1, server, request={"seed": None}).run()
    assert (record.served.seed, record.served.requested_seed) == ("unknown", None)
    assert len(server.requests) == 1


def test_a_repeated_request_that_fails_says_nothing(serve, tmp_path):
    server = serve(edited(Image.new("RGB", (8, 8))), REFUSAL)
    job = Job(tmp_path, 1, server)
    assert {record.served.seed for record in [*job.run(), *job.run()]} == {"unknown"}
    assert len(server.requests) == 2


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"GIF89a")])
def test_edits_whose_source_is_gone_are_kept_and_seeds_unknown_for_now(serve, tmp_path, spoil):
    job = Job(tmp_path, 2, serve(edit_as_asked))
    job.run()
    layout.seed(job.results, "e").unlink()
    source = Path(records.read_manifest(job.manifest)[0].image)
    kept = source.read_bytes()
    spoil(source)
    found = job.run()
    assert [(r.status, r.cached, r.served.seed) for r in found] == [("ok", True, "unknown")] * 2
    source.write_bytes(kept)
    assert {record.served.seed for record in job.run()} == {"honoured"}


def test_refusals_are_failed_edits_and_end_nothing(serve, tmp_path):
    server = serve(by_sample(dict.fromkeys((0, 1, 2, 3), REFUSAL)))
    found = Job(tmp_path, 5, server, max_failed_share=0, concurrency=1, attempts=3).run()
    assert [record.status for record in found] == ["edit_failed"] * 4 + ["ok"]
    assert found[0].error.startswith("the server's content filter refused to edit (")
    assert (found[0].image, found[0].served) == (None, None)
    # five edits and one for the seed
    assert len(server.requests) == 6


def test_too_many_failures_end_the_job_and_lose_nothing(serve, tmp_path):
    server = serve(by_sample(dict.fromkeys(range(4, 30), problem(500))))
    job = Job(tmp_path, 30, server, concurrency=1)
    with pytest.raises(ServerError, match=r"editors.e: expected .* 5 of 9; what is edited is"):
        job.run()
    assert job.saved() == ["s0", "s1", "s2", "s3"]
    server.answers = [edit_as_asked]
    asked = len(server.requests)
    assert {record.status for record in job.run()} == {"ok"}
    assert len(server.requests) - asked == 26 + 1


def test_a_job_that_goes_on_stops_no_sooner_than_one_that_was_never_ended(serve, tmp_path):
    job = Job(tmp_path, 4, serve(by_sample({1: problem(400), 2: problem(400)})))
    job.editor = job.editor.model_copy(update={"max_failed_share": 0.5})
    expected = ["ok", "edit_failed", "edit_failed", "ok"]
    assert [record.status for record in job.run()] == expected
    # what is left are those that fail
    assert [record.status for record in job.run()] == expected


def test_what_is_under_way_when_a_job_ends_is_kept(serve, tmp_path):
    together = threading.Barrier(3)

    def give(form):
        together.wait(10)
        return by_sample({0: problem(401)})(form)

    job = Job(tmp_path, 20, serve(give), concurrency=3)
    with pytest.raises(ServerError, match="answered 401"):
        job.run()
    assert job.saved() == ["s1", "s2"]


def test_a_budget_holds_over_all_runs_and_tries(serve, tmp_path):
    server = serve(by_sample({0: CUT}))
    job = Job(tmp_path, 9, server, max_requests=6, attempts=2, max_failed_share=1, concurrency=2)
    for _ in range(2):
        with pytest.raises(ServerError, match="max_requests: found all 6 requests sent"):
            job.run()
    assert len(server.requests) == 6
    job.editor = job.editor.model_copy(update={"max_requests": 20})
    assert [record.status for record in job.run()] == ["edit_failed"] + ["ok"] * 8
    # the rest, the first one's two tries, and one for the seed
    assert len(server.requests) == 6 + (8 - 4) + 2 + 1


def test_two_editors_at_one_server_have_budgets_of_their_own(tmp_path):
    path = layout.requests(tmp_path, "a")
    assert [records.count(path, 2) for _ in range(3)] == [True, True, False]
    assert records.count(layout.requests(tmp_path, "b"), 2)
    assert all(records.count(path, None) for _ in range(3))


def test_a_server_keeps_step_with_nobody(serve, tmp_path):
    found = Job(tmp_path, 3, serve(by_sample({1: REFUSAL}))).run()
    assert drift.measure(found, 0.1)["edits"] == 0
