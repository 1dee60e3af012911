"""Jobs that run on a device: here, or in the worker that holds the device's model.

A worker gets a job as JSON and does what this process would do.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lockstep import layout, records
from lockstep.config.run import AnyJudge
from lockstep.devices.device import joined
from lockstep.devices.pinning import Loaded, loaded
from lockstep.jobs import ahead, paired, provenance, workers
from lockstep.jobs.types import AnchorJob, EditJob, Job, PairJob, Request, ScoreJob
from lockstep.jobs.workers import Wanted
from lockstep.models import fingerprints, staging
from lockstep.models.backend import BackendSettings
from lockstep.records import notes, progress
from lockstep.records.progress import Work
from lockstep.rubrics.rubric import Rubric, read_rubric

if TYPE_CHECKING:
    from lockstep.scoring.judgements import Place

LIBRARY = Path(__file__).parents[1]

LITTLE = 2**30
"""Bytes of a device that even a small model takes."""


def run(job: Job, terminal: IO[str], judge: AnyJudge | None = None) -> None:
    """Run a job where its model is.

    Args:
        terminal: where it says what a user should know.
        judge: of what is edited, which stands by meanwhile.

    Raises:
        LockstepError: if the job fails.
    """
    if not (job.resident and job.backend.on_device and workers.in_run()):
        run_here(job, terminal, loaded)
        return
    request = Request(job=job, later=ahead.later(job), last=ahead.is_last(job))
    first = None
    if isinstance(job, EditJob) and judge is not None and judge.on_device:
        first = ahead.first_score(job, judge)

    def load_judge() -> None:
        if first is not None:
            stand_by(first)

    warm = workers.run(request.model_dump_json(), wanted(job), terminal, load_judge)
    if warm and first is None and judge is not None and judge.on_device:
        _stand_by_to_judge(job, judge)


def wanted(job: Job) -> Wanted:
    """Return the worker that a job needs."""
    key = model_key(job.backend.held)
    results, imports = Path(job.results), job.backend.imports
    return Wanted(job.own, key, job.model_name, job.settings, results, imports)


def stand_by(job: Job) -> None:
    """Have a job's worker load its model now, so that the job finds it there."""
    workers.stand_by(wanted(job), job.model_dump_json())


def _stand_by_to_judge(job: Job, judge: AnyJudge) -> None:
    """Let the judge of what is edited stand by; the first of its devices does so for all."""
    first = job.shard * len(job.own)
    if first % judge.together == 0:
        own = job.devices[first : first + judge.together]
        key, results = model_key(judge), Path(job.results)
        workers.stand_by(Wanted(own, key, judge.called, job.settings, results, judge.imports))


def load(job: Job, torch_device: str) -> Any:
    """Load a job's model, which is still to come."""
    with progress.loading(work(job)):
        return staging.nearby(job.backend, job.node_local).load(torch_device)


def take(job: Job, model: Any) -> None:
    """Make a model in memory, loaded for another job, the one of this job."""
    staging.nearby(job.backend, job.node_local).take(model)


def room(job: Job) -> int | None:
    """Return the bytes that a job's model takes of each device; None where that is not known."""
    model, revision = job.backend.model_name, getattr(job.backend, "revision", None)
    files = set(fingerprints.local_files(model, revision) if model else [])
    if files:
        # parts and adapters that lie elsewhere
        files.update(job.backend.files().values())
    size = sum(path.stat().st_size for path in files)
    return LITTLE + size // len(job.own) if files else None


def run_here(
    job: Job,
    terminal: IO[str],
    loaded: Loaded[Any],
    later: Sequence[Job] = (),
    claimed: Callable[[], None] = lambda: None,
) -> None:
    """Run a job in this process.

    Args:
        loaded: gives the job's model on its device.
        later: jobs of the same model that come after it.
        claimed: called before anything but items is written; returns once the job has come.
    """
    with progress.reported(work(job)):
        match job:
            case EditJob():
                _edit(job, terminal, loaded, claimed)
            case ScoreJob():
                _score(job, terminal, loaded, later, claimed)
            case AnchorJob():
                _judge_anchors(job, terminal, loaded)
            case PairJob():
                _compare(job, terminal, loaded)


def work(job: Job) -> Work:
    """Return what a job's reports are of."""
    device = "" if job.backend.served else joined(job.own)
    match job:
        case EditJob():
            return Work("edit", job.editor.name, job.category, "", job.shard, device)
        case ScoreJob():
            return Work("score", job.editor, job.category, job.below, job.shard, device)
        case AnchorJob():
            return Work("anchors", shard=job.shard, device=device)
        case PairJob():
            return Work("pairs", "", job.category, f"round {job.round}", job.shard, device)


def model_key(model: BackendSettings) -> str:
    """Return the SHA-256 over what a model in memory was made of: settings, weights, code.

    Weights are known by their files' sizes and times here, which takes no reading.
    """
    stats = [(str(path), path.stat()) for path in model.files().values()]
    made_of = {
        "settings": in_memory(model),
        "weights": [[path, s.st_size, s.st_mtime_ns, s.st_ino] for path, s in stats],
        "code": [records.sha256(path.read_bytes()) for path in sorted(LIBRARY.rglob("*.py"))],
        "plugin": model.plugin(),
        "python": sys.prefix,
    }
    return records.sha256(records.canonical_json(made_of).encode())


def in_memory(model: BackendSettings) -> str:
    """Return the SHA-256 over the settings of a model in memory.

    Who is called otherwise, or is told other instructions, shares it.
    """
    settings = model.model_dump(mode="json", exclude={"name", "preset", "rewrite"})
    return records.sha256(records.canonical_json(settings).encode())


def _edit(
    job: EditJob, terminal: IO[str], loaded: Loaded[Any], claimed: Callable[[], None]
) -> None:
    from lockstep.editing.shard import Shard, edit_shard

    results, count = Path(job.results), len(job.groups)
    with notes.noted(
        provenance.edited(results, job.seed, job.editor, job.category, job.shard, count)
    ):
        edit_shard(
            job.editor,
            manifest=layout.manifest(results, job.category),
            folder=layout.folder(results, job.editor.name, job.category),
            shard=Shard(job.shard, job.devices, job.slots, job.run, job.first, job.editor.together),
            terminal=terminal,
            seed=job.seed,
            settings=job.settings,
            node_local=job.node_local,
            loaded=loaded,
            claimed=claimed,
        )


def _score(
    job: ScoreJob,
    terminal: IO[str],
    loaded: Loaded[Any],
    later: Sequence[Job],
    claimed: Callable[[], None],
) -> None:
    from lockstep.scoring.shard import Shard, score_shard

    def shard_of(job: ScoreJob, rubric: Rubric) -> Shard:
        folder = layout.folder(results, job.editor, job.category)
        manifest = layout.manifest(results, job.category)
        return Shard(job.judge, manifest, job.edits, rubric, folder, job.seed, job.below)

    results = Path(job.results)
    # read once, so that the note is of what the scores were made with
    told = read_rubric(Path(job.rubric))
    title = " ".join(filter(None, ("score", job.category, job.below)))
    place = _place(job, title, terminal, loaded)
    asked = (job.judge, job.seed, job.editor, job.category, job.shard)
    shards = len(job.devices) // job.edited_by
    with notes.noted(provenance.scored(results, *asked, shards, job.share, told, job.below)):
        ready = (
            shard_of(another, read_rubric(Path(another.rubric)))
            for another in later
            if isinstance(another, ScoreJob) and ahead.is_ready(another)
        )
        score_shard(shard_of(job, told), place, ready, claimed)


def _judge_anchors(job: AnchorJob, terminal: IO[str], loaded: Loaded[Any]) -> None:
    from lockstep.scoring.anchors import score_anchors

    place = _place(job, "score anchors", terminal, loaded)
    rubrics = {category: read_rubric(Path(file)) for category, file in job.rubrics.items()}
    results = Path(job.results)
    with notes.noted(provenance.anchored(results, job.judge, rubrics)):
        score_anchors(job.judge, rubrics, results=layout.anchors(results), place=place)


def _compare(job: PairJob, terminal: IO[str], loaded: Loaded[Any]) -> None:
    from lockstep.scoring.pairs import Round, compare_pairs

    place = _place(job, f"pairs {job.category}", terminal, loaded)
    edits = {editor: list(map(Path, paths)) for editor, paths in job.edits.items()}
    own = Round(job.judge, Path(job.results), job.category, job.round, edits)
    with notes.noted(paired.compared(*own, job.shard, len(job.groups))):
        compare_pairs(own, place)


def _place(
    job: ScoreJob | AnchorJob | PairJob, title: str, terminal: IO[str], loaded: Loaded[Any]
) -> "Place":
    """Return where judgements are made, and where it is counted what they take."""
    from lockstep.scoring.judgements import Place

    return Place(
        job.groups,
        job.shard,
        f"{title} {joined(job.own)}",
        terminal,
        job.settings,
        job.node_local,
        loaded,
        layout.judge_spent(Path(job.results), job.below if isinstance(job, ScoreJob) else ""),
    )
