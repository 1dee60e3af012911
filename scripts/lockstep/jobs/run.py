"""Jobs that run on a device: here, or in the worker that holds the device's model.

A worker gets a job as JSON and does what this process would do.
"""

import sys
from pathlib import Path
from typing import IO, Any

from lockstep import layout, records
from lockstep.devices.device import joined, split
from lockstep.devices.pinning import Loaded, loaded
from lockstep.jobs import provenance, workers
from lockstep.jobs.types import AnchorJob, EditJob, Job, ScoreJob
from lockstep.jobs.workers import Wanted
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import BackendSettings
from lockstep.records import notes
from lockstep.rubrics.rubric import read_rubric

LIBRARY = Path(__file__).parents[1]


def run(job: Job, terminal: IO[str], judge: JudgeSettings | None = None) -> None:
    """Run a job where its model is.

    Args:
        terminal: where progress is shown.
        judge: of what is edited, which stands by meanwhile.

    Raises:
        LockstepError: if the job fails.
    """
    if not (job.resident and job.backend.on_device and workers.in_run()):
        run_here(job, terminal, loaded)
        return
    key = model_key(job.backend)
    wanted = Wanted(job.own, key, job.model_name, job.settings, Path(job.results))
    warm = workers.run(job.model_dump_json(), wanted, terminal)
    if warm and judge is not None and judge.on_device:
        _stand_by_to_judge(job, judge)


def _stand_by_to_judge(job: Job, judge: JudgeSettings) -> None:
    """Let the judge of what is edited stand by; the first of its devices does so for all."""
    together = judge.together
    if job.shard % together == 0:
        own = split(job.devices, together)[job.shard // together]
        wanted = Wanted(own, model_key(judge), "the judge", job.settings, Path(job.results))
        workers.stand_by(wanted, judge.imports)


def run_here(job: Job, terminal: IO[str], loaded: Loaded[Any]) -> None:
    """Run a job in this process.

    Args:
        loaded: gives the job's model on its device.
    """
    match job:
        case EditJob():
            _edit(job, terminal, loaded)
        case ScoreJob():
            _score(job, terminal, loaded)
        case AnchorJob():
            _judge_anchors(job, terminal, loaded)


def model_key(model: BackendSettings) -> str:
    """Return the SHA-256 over what a model in memory was made of: settings, weights, code.

    Weights are known by their files' sizes and times here, which takes no reading.
    """
    stats = [(str(path), path.stat()) for path in model.files().values()]
    made_of = {
        "settings": model.model_dump(mode="json"),
        "weights": [[path, s.st_size, s.st_mtime_ns, s.st_ino] for path, s in stats],
        "code": [records.sha256(path.read_bytes()) for path in sorted(LIBRARY.rglob("*.py"))],
        "plugin": model.plugin(),
        "python": sys.prefix,
    }
    return records.sha256(records.canonical_json(made_of).encode())


def _edit(job: EditJob, terminal: IO[str], loaded: Loaded[Any]) -> None:
    from lockstep.editing.shard import Shard, edit_shard

    results, count = Path(job.results), len(job.devices)
    with notes.noted(
        provenance.edited(results, job.seed, job.editor, job.category, job.shard, count)
    ):
        edit_shard(
            job.editor,
            manifest=layout.manifest(results, job.category),
            folder=layout.folder(results, job.editor.name, job.category),
            shard=Shard(job.shard, job.devices, job.slots, job.run, job.first),
            terminal=terminal,
            seed=job.seed,
            settings=job.settings,
            node_local=job.node_local,
            loaded=loaded,
        )


def _score(job: ScoreJob, terminal: IO[str], loaded: Loaded[Any]) -> None:
    from lockstep.scoring.judgements import Place
    from lockstep.scoring.shard import score_shard

    results = Path(job.results)
    # read once, so that the note is of what the scores were made with
    told = read_rubric(Path(job.rubric))
    title = f"score {job.category} {joined(job.own)}"
    place = Place(job.groups, job.shard, title, terminal, job.settings, job.node_local, loaded)
    own = (job.judge, job.seed, job.editor, job.category, job.shard)
    with notes.noted(provenance.scored(results, *own, len(job.devices), told)):
        score_shard(
            job.judge,
            manifest=layout.manifest(results, job.category),
            edits=job.edits,
            rubric=told,
            folder=layout.folder(results, job.editor, job.category),
            seed=job.seed,
            place=place,
        )


def _judge_anchors(job: AnchorJob, terminal: IO[str], loaded: Loaded[Any]) -> None:
    from lockstep.scoring.anchors import score_anchors
    from lockstep.scoring.judgements import Place

    title = f"score anchors {joined(job.own)}"
    place = Place(job.groups, job.shard, title, terminal, job.settings, job.node_local, loaded)
    rubrics = {category: read_rubric(Path(file)) for category, file in job.rubrics.items()}
    results = Path(job.results)
    with notes.noted(provenance.anchored(results, job.judge, rubrics)):
        score_anchors(job.judge, rubrics, results=layout.anchors(results), place=place)
