"""Faults: whatever ends a run, the next one completes and redoes at most what was in hand.

An edit takes as long as a test wants: in place of the sample's source image stands a pipe, which
the worker reads until it is killed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from PIL import Image

from lockstep import records
from lockstep.plan import shard_file
from lockstep.records import notes
from tests.workflow.conftest import judge_by_files, make, misfits, until

EDITOR = "control"
FOLDER = f"results/{EDITOR}/physical"
EDITS = [f"{FOLDER}/edits/shard-{k}-of-2.jsonl" for k in range(2)]
PROMPTLY = 5
"""Seconds within which processes end that have nothing left to do."""


def workflow_of(folder, models, samples):
    """Return a workflow of one category on two CPU slots, with the editor that needs no model."""
    return make(
        folder,
        models,
        per_category=samples,
        benchmark={"path": "benchmark.json", "categories": ["物理"]},
        editors=[{"name": EDITOR, "type": "identity"}],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, models):
    """Six samples, nothing edited yet."""
    workflow = workflow_of(tmp_path_factory.mktemp("prepared") / "work", models, samples=6)
    workflow.run("results/manifest/physical.jsonl")
    return workflow


@pytest.fixture(scope="module")
def scored(tmp_path_factory, models):
    """Four samples, all the way to the report."""
    workflow = workflow_of(tmp_path_factory.mktemp("scored") / "work", models, samples=4)
    judge_by_files(workflow)
    workflow.run()
    return workflow


class Held:
    """A sample whose edit does not end."""

    def __init__(self, workflow, position, category="physical"):
        manifest = workflow.results / "manifest"
        line = (manifest / f"{category}.jsonl").read_text(encoding="utf-8").splitlines()[position]
        self._source = manifest / json.loads(line)["image"]
        self._image = self._source.read_bytes()
        self._source.unlink()
        os.mkfifo(self._source)
        self._pipe = None

    def in_hand(self):
        """Say whether a worker has begun with it; from then on that one waits for the image."""
        if self._pipe is None:
            try:
                self._pipe = os.open(self._source, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return False
        return True

    def worker(self):
        """Return the process that has it in hand."""
        path = str(self._source)

        def found():
            # not among a run's children: whose child a worker is changes as jobs end
            others = (p for p in psutil.process_iter() if p.pid != os.getpid())
            return next((p for p in others if path in open_paths(p)), None)

        return until(found, PROMPTLY)

    def give(self):
        """Give the image to who reads the pipe, and put it back for whoever looks from now on."""
        self.release()
        os.set_blocking(self._pipe, True)
        with os.fdopen(self._pipe, "wb") as pipe:
            pipe.write(self._image)

    def release(self):
        """Put the image back, for whoever looks from now on; who reads the pipe still waits."""
        path = self._source.with_suffix(".tmp")
        path.write_bytes(self._image)
        path.replace(self._source)


def children(process):
    return psutil.Process(process.pid).children(recursive=True)


def is_edit_job(process):
    """Tell whether a process does the script of an edit's job."""
    with contextlib.suppress(psutil.Error):
        # a run's first process of a job may have handed it over
        does = "LOCKSTEP_SCRIPTS" not in process.environ()
        named = any("edit_shard.py" in argument for argument in process.cmdline())
        return process.name() == "edit_shard" or (does and named)
    return False


def open_paths(process):
    paths = set()
    for link in Path(f"/proc/{process.pid}/fd").glob("*"):
        # it may have been closed in between, or belong to another user
        with contextlib.suppress(FileNotFoundError, PermissionError):
            paths.add(os.readlink(link))
    return paths


def alive(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def held_locks(workflow):
    """Return the wave locks that some process holds; there must be one for each shard."""
    paths = sorted((workflow.folder / FOLDER / "waves").glob("*.lock"))
    assert len(paths) == 2
    held = []
    for path in paths:
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.append(path.name)
        finally:
            os.close(lock)
    return held


def times(workflow, pattern):
    return {path: path.stat().st_mtime_ns for path in (workflow.folder / FOLDER).glob(pattern)}


def edit_records(workflow):
    """Return the records by position in the category."""
    found = workflow.records("edits", editor=EDITOR)
    return [r for _, r in sorted((r["wave"] * 2 + r["shard"], r) for r in found)]


def assert_completes(workflow, kept):
    """Run the edits again: what was finished is kept as it is, the rest is there and whole."""
    workflow.run(*EDITS)
    found = edit_records(workflow)
    assert [record["status"] for record in found] == ["ok"] * 6
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    cached = {record["image"] for record in found if record["cached"]}
    assert {path.name for path in kept} >= {os.path.basename(image) for image in cached}
    for record in found:
        path = workflow.folder / FOLDER / record["image"]
        assert records.read_provenance(path)["key"] == record["key"]
    assert not list(workflow.results.rglob(".*.tmp"))


@pytest.mark.parametrize("retries", [0, 1])
def test_a_killed_worker_costs_the_edit_in_its_hand_and_holds_nobody_up(
    prepared, tmp_path, retries
):
    workflow = prepared.copy(tmp_path / "work")
    held = Held(workflow, 2)
    run = workflow.start(*EDITS, "--retries", str(retries))
    until(held.in_hand, 60, workflow.printed)
    images = workflow.folder / FOLDER / "images"
    # its peer has done its part of the wave, and may not begin the next
    until(lambda: len(list(images.glob("*.png"))) == 3, 60, workflow.printed)
    kept = times(workflow, "images/*.png")
    worker = held.worker()
    held.release()
    assert run.poll() is None
    worker.kill()
    until(lambda: run.poll() is not None, 60, workflow.printed)
    assert "FAILED editing physical with control, shard 0" in workflow.printed()
    assert "Traceback" not in workflow.printed()
    if retries:
        assert run.returncode == 0
    else:
        assert run.returncode != 0
        assert [path.name for path in times(workflow, "edits/*")] == ["shard-1-of-2.jsonl"]
        kept = times(workflow, "images/*.png")
        assert len(kept) == 4
    finished = times(workflow, "edits/*")
    assert_completes(workflow, kept)
    assert finished.items() <= times(workflow, "edits/*").items()
    # the peer was not run again: its records still say that it edited
    assert [r["cached"] for r in edit_records(workflow)] == [True] + [False] * 5


SLOW = """
import os, time

replace = os.replace


def slow(source, target, **settings):
    while str(target).endswith({image!r}) and os.path.exists({held!r}):
        time.sleep(0.01)
    return replace(source, target, **settings)


os.replace = slow
"""


class HeldDisk:
    """An image whose writing does not end: it does not get its final name."""

    def __init__(self, workflow, position):
        lines = (workflow.results / "manifest" / "physical.jsonl").read_text(encoding="utf-8")
        sample = json.loads(lines.splitlines()[position])
        self._held = workflow.folder / "held"
        self._held.touch()
        site = workflow.folder / "site"
        site.mkdir()
        code = SLOW.format(image=f"{FOLDER}/images/{sample['id']}.png", held=str(self._held))
        (site / "sitecustomize.py").write_text(code, encoding="utf-8")
        workflow.variables["PYTHONPATH"] = str(site)

    def release(self):
        """Let the file be written."""
        self._held.unlink()


def finished_waves(workflow, shard):
    path = workflow.folder / FOLDER / "waves" / f"shard-{shard}-of-2.json"
    return json.loads(path.read_bytes())["finished"] if path.exists() else 0


def test_a_worker_killed_while_it_saves_costs_that_image_and_the_next_and_holds_nobody_up(
    prepared, tmp_path
):
    workflow = prepared.copy(tmp_path / "work")
    held = HeldDisk(workflow, 0)
    run = workflow.start(*EDITS, "--retries", "0")
    # it went on to its second edit, and its peer has done all that it has to
    until(lambda: finished_waves(workflow, 0) == 2, 60, workflow.printed)
    until(lambda: len(times(workflow, "edits/*")) == 1, 60, workflow.printed)
    # a job lets go of its lock a moment after it has written its records
    until(lambda: len(jobs_in_waves(run)) == 1, PROMPTLY, workflow.printed)
    (job,) = jobs_in_waves(run)
    assert run.poll() is None
    kept = times(workflow, "images/*.png")
    assert len(kept) == 3
    job.kill()
    until(lambda: run.poll() is not None, 60, workflow.printed)
    assert run.returncode != 0
    held.release()
    assert times(workflow, "images/*.png") == kept
    assert_completes(workflow, kept)
    assert [r["cached"] for r in edit_records(workflow)] == [False] * 6


def test_in_a_queue_a_free_device_does_the_others_part_and_a_kill_costs_the_edit_in_hand(
    prepared, tmp_path
):
    workflow = prepared.copy(tmp_path / "work")
    workflow.config["devices"]["schedule"] = "queue"
    # each shard begins with one of its own: else who is early prepares the other's first sample
    held, others_first = Held(workflow, 0), Held(workflow, 1)
    run = workflow.start(*EDITS, "--retries", "1")
    until(lambda: held.in_hand() and others_first.in_hand(), 60, workflow.printed)
    others_first.give()
    until(lambda: len(times(workflow, "images/*.png")) == 5, 60, workflow.printed)
    kept = times(workflow, "images/*.png")
    worker = held.worker()
    held.release()
    assert run.poll() is None
    worker.kill()
    until(lambda: run.poll() is not None, 60, workflow.printed)
    assert run.returncode == 0, workflow.printed()
    assert "Traceback" not in workflow.printed()
    assert "samples: 6, devices: 2, from a queue" in workflow.logs("edit/**/*.log")
    assert_completes(workflow, kept)
    first, *others = sorted(workflow.records("edits", editor=EDITOR), key=place_of)
    assert {record["device"] for record in others} == {"cpu1"}
    assert first["status"] == "ok"
    # records stay with the shard that owns the sample
    assert [len(path.read_bytes().splitlines()) for path in times(workflow, "edits/*")] == [3, 3]


def place_of(record):
    """Return the place of a record's sample in its category, which its id begins with."""
    return int(record["id"].split("_")[0])


def jobs_in_waves(run):
    """Return the edit jobs that hold the lock of a shard."""
    return [
        job
        for job in {job.pid: job for job in children(run) if is_edit_job(job)}.values()
        if any(path.endswith(".lock") and "/waves/" in path for path in open_paths(job))
    ]


def test_jobs_end_by_themselves_when_snakemake_is_killed_and_leave_no_lock(prepared, tmp_path):
    workflow = prepared.copy(tmp_path / "work")
    both = [Held(workflow, 2), Held(workflow, 3)]
    run = workflow.start(*EDITS)
    until(lambda: all([held.in_hand() for held in both]), 60, workflow.printed)
    # the held samples are prepared while the ones before them are edited and saved
    until(lambda: len(times(workflow, "images/*.png")) == 2, 60, workflow.printed)
    jobs = children(run)
    assert {held.worker() for held in both} <= set(jobs)
    assert held_locks(workflow) == ["shard-0-of-2.lock", "shard-1-of-2.lock"]
    run.kill()
    run.wait()
    until(lambda: not alive(jobs), PROMPTLY, lambda: f"{alive(jobs)}\n{workflow.logs()}")
    # a process counts as gone a moment before the last of its threads lets go of its files
    until(lambda: not held_locks(workflow), PROMPTLY, workflow.logs)
    for held in both:
        held.release()
    kept = times(workflow, "images/*.png")
    assert len(kept) == 2
    workflow.run(*EDITS, "--unlock")
    assert_completes(workflow, kept)
    assert [record["cached"] for record in edit_records(workflow)] == [True] * 2 + [False] * 4


def test_jobs_end_by_themselves_when_snakemake_is_killed_as_they_start(prepared, tmp_path):
    workflow = prepared.copy(tmp_path / "work")
    both = [Held(workflow, 2), Held(workflow, 3)]
    run = workflow.start(*EDITS)
    until(lambda: any(map(is_edit_job, children(run))), 60, workflow.printed)
    jobs = children(run)
    run.kill()
    run.wait()
    try:
        # they would else wait for the held images for ever
        until(lambda: not alive(jobs), 2 * PROMPTLY, lambda: f"{alive(jobs)}\n{workflow.logs()}")
    finally:
        for job in alive(jobs):
            job.kill()
    for held in both:
        held.release()
    workflow.run(*EDITS, "--unlock")
    assert_completes(workflow, {})


def test_ctrl_c_ends_a_run_promptly_and_the_next_one_resumes(prepared, tmp_path):
    workflow = prepared.copy(tmp_path / "work")
    both = [Held(workflow, 2), Held(workflow, 3)]
    run = workflow.start(*EDITS)
    until(lambda: all([held.in_hand() for held in both]), 60, workflow.printed)
    until(lambda: len(times(workflow, "images/*.png")) == 2, 60, workflow.printed)
    jobs = children(run)
    os.killpg(run.pid, signal.SIGINT)
    run.wait(PROMPTLY)
    assert run.returncode != 0
    until(lambda: not alive(jobs), PROMPTLY, lambda: f"{alive(jobs)}\n{workflow.logs()}")
    # a process counts as gone a moment before the last of its threads lets go of its files
    until(lambda: not held_locks(workflow), PROMPTLY, workflow.logs)
    assert "Traceback" not in workflow.printed()
    for held in both:
        held.release()
    kept = times(workflow, "images/*.png")
    assert len(kept) == 2
    assert_completes(workflow, kept)


def test_a_second_run_in_the_same_working_folder_is_told_who_holds_the_results(prepared, tmp_path):
    workflow = prepared.copy(tmp_path / "work")
    held = Held(workflow, 2)
    run = workflow.start(*EDITS)
    until(held.in_hand, 60, workflow.printed)
    output = workflow.run(*EDITS, check=False)
    assert f"found it in use by process {run.pid} of " in output
    assert "Traceback" not in output
    assert len(output.splitlines()) <= 4
    held.give()
    until(lambda: run.poll() == 0, 60, workflow.printed)
    assert "Nothing to be done" in workflow.run(*EDITS)


def test_a_judge_killed_in_its_work_costs_the_judgement_in_its_hand(prepared, tmp_path):
    workflow = prepared.copy(tmp_path / "work")
    workflow.config["judge"]["batch_size"] = 1
    workflow.run(*EDITS)
    held = Held(workflow, 2)
    scores = [name.replace("/edits/", "/scores/") for name in EDITS]
    run = workflow.start(*scores, "--retries", "0")
    until(held.in_hand, 60, workflow.printed)
    # its peer judges all that it has to
    until(lambda: len(times(workflow, "judgements/*.json")) == 4, 60, workflow.printed)
    until(lambda: len(times(workflow, "scores/*")) == 1, 60, workflow.printed)
    held.worker().kill()
    until(lambda: run.poll() is not None, 60, workflow.printed)
    assert run.returncode != 0
    held.release()
    kept = times(workflow, "judgements/*.json")
    assert len(kept) == 4
    workflow.run(*scores)
    assert kept.items() <= times(workflow, "judgements/*.json").items()
    found = workflow.records("scores", editor=EDITOR)
    judged = {record["id"]: record["cached"] for record in found}
    order = [record["id"] for record in edit_records(workflow)]
    # the peer was not run again: its records still say that it judged
    assert [judged[name] for name in order] == [True] + [False] * 5


def test_jobs_take_the_devices_that_the_run_began_with(models, tmp_path, monkeypatch):
    workflow = workflow_of(tmp_path / "work", models, samples=2)
    workflow.config["devices"]["device_ids"] = "auto"
    # as a driver that is updated meanwhile: new processes find other devices
    code = "import os; os.cpu_count = lambda: 1 if 'LOCKSTEP_RUN' in os.environ else 2"
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    workflow.run(*EDITS)
    (record,) = records.read_records(workflow.folder / EDITS[1], records.EditRecord)
    assert (record.status, record.device) == ("ok", "cpu1")


# power loss: files that are shorter than what was written


def cut(data):
    """In the middle of the last line."""
    return data[:-20]


def lose_lines(data):
    """All but the first line; what is left is well-formed."""
    return data.splitlines(keepends=True)[0]


def empty(data):
    return b""


def damage(paths, how, keep_times=False):
    paths = list(paths)
    assert paths
    for path in paths:
        status = path.stat()
        path.write_bytes(how(path.read_bytes()))
        if keep_times:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


KINDS = {
    "manifest": ["manifest/physical.jsonl"],
    "edits": [f"{EDITOR}/physical/edits/*.jsonl"],
    "scores": [f"{EDITOR}/physical/scores/*.jsonl"],
    "tables": [f"{EDITOR}/physical/table.csv", f"{EDITOR}/physical/summary.json"],
}


def file_of(shard):
    return shard_file(shard, 2)


def numbers(workflow):
    """Return what the report says of the category, without what it says of times."""
    row = workflow.report()["editors"][EDITOR]["categories"]["physical"]
    return {key: value for key, value in row.items() if key != "seconds"}


def work(workflow):
    """Return what took a model, with the time at which it was written."""
    return times(workflow, "images/*.png") | times(workflow, "judgements/*.json")


def files_of(workflow, *kinds):
    patterns = [pattern for kind in kinds for pattern in KINDS[kind]]
    return {path for pattern in patterns for path in workflow.results.glob(pattern)}


@pytest.mark.parametrize("how", [cut, lose_lines, empty])
@pytest.mark.parametrize("kind", KINDS)
def test_what_lost_its_end_is_found_whatever_its_time(scored, tmp_path, monkeypatch, kind, how):
    workflow = scored.copy(tmp_path / "work")
    damage(files_of(workflow, kind), how, keep_times=True)
    before = {path: path.read_bytes() for path in workflow.results.rglob("*") if path.is_file()}
    found = misfits(workflow, monkeypatch)
    first = {
        "manifest": {"manifest/counts.json": notes.ALTERED},
        "edits": {f"{EDITOR}/physical/edits/{file_of(k)}": notes.ALTERED for k in range(2)},
        "scores": {f"{EDITOR}/physical/scores/{file_of(k)}": notes.ALTERED for k in range(2)},
        "tables": {f"{EDITOR}/physical/table.csv": notes.ALTERED},
    }
    assert first[kind].items() <= found.items()
    earlier = {key for other in list(KINDS)[: list(KINDS).index(kind)] for key in first[other]}
    assert not earlier & found.keys()
    assert {path: path.read_bytes() for path in before} == before


# what is found is what decides, so each kind need be seen but once
@pytest.mark.parametrize(
    ("kind", "how"), list(zip(KINDS, (cut, lose_lines, empty, cut), strict=True)), ids=KINDS
)
def test_records_and_tables_that_lost_their_end_are_made_again(scored, tmp_path, kind, how):
    workflow = scored.copy(tmp_path / "work")
    before = work(workflow)
    paths = files_of(workflow, kind)
    damage(paths, how)
    planned = workflow.run("-n")
    workflow.run()
    assert "altered or cut off" in planned
    assert numbers(workflow) == numbers(scored)
    assert work(workflow) == before
    for path in paths:
        lines = len((scored.folder / path.relative_to(workflow.folder)).read_text().splitlines())
        assert len(path.read_text().splitlines()) == lines


def test_nothing_is_read_from_damaged_files_that_look_up_to_date(scored, tmp_path):
    workflow = scored.copy(tmp_path / "work")
    for patterns in KINDS.values():
        for pattern in patterns:
            damage(workflow.results.glob(pattern), lose_lines, keep_times=True)
    shutil.rmtree(workflow.results / "report")
    before = work(workflow)
    workflow.run()
    assert numbers(workflow) == numbers(scored)
    assert work(workflow) == before


def test_images_that_lost_their_end_are_edited_again_and_only_they(scored, tmp_path):
    workflow = scored.copy(tmp_path / "work")
    images = sorted((workflow.folder / FOLDER / "images").glob("*.png"))
    whole = [records.read_provenance(path)["pixels_sha256"] for path in images]
    damage(images[:1], cut)
    damage(images[1:2], empty)
    for path in workflow.results.glob("logs/edit/*/*/*.log"):
        # within a character
        path.write_bytes(path.read_bytes() + "物".encode()[:2])
    for path in (*images, *(workflow.folder / name for name in EDITS)):
        name = f".{records.sha256(path.name.encode())[:16]}.tmp"
        path.with_name(name).write_bytes(b"\x89PNG half-written")
    kept = {path: path.stat().st_mtime_ns for path in images[2:]}
    for name in EDITS:
        (workflow.folder / name).unlink()
    workflow.run(*EDITS)
    assert [record["cached"] for record in edit_records(workflow)] == [False] * 2 + [True] * 2
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    for path, pixels in zip(images, whole, strict=True):
        assert records.read_provenance(path)["status"] == "ok"
        with Image.open(path) as image:
            assert records.pixels_sha256(image) == pixels
    assert not list((workflow.folder / FOLDER / "edits").glob(".*"))


def test_an_image_that_lost_its_end_gets_no_score_until_it_is_edited_again(scored, tmp_path):
    workflow = scored.copy(tmp_path / "work")
    (image, *_) = sorted((workflow.folder / FOLDER / "images").glob("*.png"))
    damage([image], cut)
    # a run that may only score
    workflow.run("--allowed-rules", "score", "tabulate", "report", "--forcerun", "score")
    row = numbers(workflow)
    assert (row["count"], row["failed"], row["status"]) == (3, 1, {"ok": 3, "missing": 1})
    (record,) = (r for r in workflow.records("scores", editor=EDITOR) if r["status"] != "ok")
    assert record["score"] is None
    assert "found no complete edit, run the edit again (--forcerun edit)" in record["error"]
    workflow.run()
    assert numbers(workflow) == numbers(scored)


def test_judgements_that_lost_their_end_are_judged_again_and_only_they(scored, tmp_path):
    workflow = scored.copy(tmp_path / "work")
    judgements = sorted((workflow.folder / FOLDER / "judgements").glob("*.json"))
    damage(judgements[:1], cut)
    damage(judgements[1:2], empty)
    workflow.run("--forcerun", "score")
    found = sorted(workflow.records("scores", editor=EDITOR), key=lambda record: record["id"])
    assert [record["cached"] for record in found] == [False] * 2 + [True] * 2
    assert numbers(workflow) == numbers(scored)


# disks


class Disk:
    """A small file system of its own for the results."""

    def __init__(self, folder):
        self._folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=64m", "none")

    def _mount(self, *arguments):
        done = subprocess.run(
            ["mount", *arguments, str(self._folder)], capture_output=True, text=True
        )
        if done.returncode:
            raise OSError(done.stderr.strip())

    def leave(self, free):
        """Make it as small as what it holds and some bytes more."""
        status = os.statvfs(self._folder)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self._mount("-o", f"remount,size={used + free}")

    def read_only(self, value):
        self._mount("-o", "remount,ro" if value else "remount,rw")


@pytest.fixture
def on_disk(prepared, tmp_path, capsys):
    """A copy of the prepared workflow whose results lie on a disk of their own."""
    folder = tmp_path / "work"
    shutil.copytree(prepared.folder, folder, ignore=shutil.ignore_patterns("results"))
    workflow = type(prepared)(folder, prepared.config)
    try:
        disk = Disk(workflow.results)
    except OSError as error:
        reason = f"needs to mount a tmpfs, as root: {error}"
        with capsys.disabled():
            print(f"\nskipped: {reason}")
        pytest.skip(reason)
    try:
        shutil.copytree(prepared.results, workflow.results, dirs_exist_ok=True)
        yield workflow, disk
    finally:
        subprocess.run(["umount", str(workflow.results)], check=True)


@pytest.mark.parametrize("free", [0, 16 * 1024, 64 * 1024])
def test_a_full_disk_fails_no_sample_and_the_run_resumes_when_there_is_room(on_disk, free):
    workflow, disk = on_disk
    disk.leave(free)
    output = workflow.run(*EDITS, check=False)
    assert "No space left on device" in output
    assert "what is finished is kept, make room and run again" in output
    assert "At least one job did not complete successfully" in output
    assert "Traceback" not in output
    # of a shard that came to its end nothing is recorded as the sample's fault
    assert all(r["status"] == "ok" for r in workflow.records("edits", editor=EDITOR))
    kept = times(workflow, "images/*.png")
    assert len(kept) < 6
    assert all(records.read_provenance(path) for path in kept)
    disk.leave(32 * 2**20)
    assert_completes(workflow, kept)


def test_results_that_cannot_be_written_are_a_sentence_and_later_the_run_resumes(on_disk):
    workflow, disk = on_disk
    workflow.run(*EDITS)
    for record in edit_records(workflow)[::2]:
        (workflow.folder / FOLDER / record["image"]).unlink()
    (workflow.folder / EDITS[0]).unlink()
    kept = times(workflow, "images/*.png")
    assert len(kept) == 3
    disk.read_only(True)
    output = workflow.run(*EDITS, check=False)
    assert "found 'results' not writable" in output
    assert "Traceback" not in output
    # one may still look
    assert "1 job: 1 edit" in workflow.run(*EDITS, "-n")
    disk.read_only(False)
    assert_completes(workflow, kept)
