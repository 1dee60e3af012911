"""The jobs of a run that come later, which a worker begins before the workflow engine does.

The engine needs a second or two between two jobs of a device, and the device would wait. So a job
tells its worker which jobs of the same model come after it, and the worker begins the next one. Its
images or judgements go into the item cache; its records are written when the job has come.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lockstep import layout, plan, records
from lockstep.config.run import AnyJudge
from lockstep.jobs.types import EditJob, Job, ScoreJob

PLAN = "LOCKSTEP_PLAN"
"""Environment variable with what this invocation does, as JSON; not there if nobody knows."""

SLOTS = "LOCKSTEP_SLOTS"
"""Environment variable with the number of shards that can run at a time."""


class Planned(NamedTuple):
    """All jobs of one stage, editor, category and judge, of all shards."""

    stage: str
    """edit or score."""
    editor: str
    category: str
    judge: str = ""
    """Of several, but for the first one."""


def announce(
    planned: Sequence[Planned],
    held: Mapping[str, str] | None = None,
    together: Mapping[str, int] | None = None,
    rewriting: Sequence[Planned] = (),
    elsewhere: Sequence[str] = (),
) -> None:
    """Tell this invocation's jobs what it does.

    Args:
        planned: in the order in which it is done.
        held: what names the model in memory, which editors may share, by editor.
        together: devices of one job of each editor; 1 of those that are not there.
        rewriting: what is rewritten before it is edited.
        elsewhere: editors that need no device.
    """
    # the clock of files ticks in hundredths of a second
    plan = {"began": time.time() - 0.1, "jobs": planned, "held": held or {}}
    plan["together"], plan["rewriting"] = together or {}, rewriting
    plan["elsewhere"] = elsewhere
    os.environ[PLAN] = json.dumps(plan)


def later(job: Job) -> list[EditJob | ScoreJob]:
    """Return the jobs that the same model does after a job on the same devices, in their order."""
    if isinstance(job, EditJob):
        return [
            _edit_job(job, planned)
            for planned in _after(job)
            if (planned.stage, planned.editor) == ("edit", job.editor.name)
        ]
    if isinstance(job, ScoreJob):
        own = ("score", job.below)
        planned = (each for each in _after(job) if (each.stage, each.judge) == own)
        return [found for each in planned if (found := _score_job(job, each)) is not None]
    return []


def is_last(job: Job) -> bool:
    """Tell whether a job is its model's last one on its devices, and another model's come next."""
    if not isinstance(job, EditJob) or not (after := _after(job)):
        return False
    held = json.loads(os.environ[PLAN])["held"]
    own = held.get(job.editor.name, job.editor.name)
    return not any(p.stage == "edit" and held.get(p.editor, p.editor) == own for p in after)


def first_score(job: EditJob, judge: AnyJudge) -> ScoreJob | None:
    """Return the job that judges first on a device, if an edit job is the last one there.

    None of another judge than the first of several, none of a device that another one judges for,
    and none while the editor has edited nothing yet: nobody knows then what memory it takes.
    """
    after = _on_devices(_after(job))
    planned = next((planned for planned in after if planned.stage == "score"), None)
    own = [p for p in _plan()[1] if (p.stage, p.editor) == ("edit", job.editor.name)]
    if (
        planned is None
        or planned.judge
        or (job.shard * len(job.own)) % _apart(planned.editor, judge)
        or any(later.stage == "edit" for later in after)
        or own[0].category == job.category
    ):
        return None
    shared = ("results", "plugins", "settings", "devices", "node_local", "resident", "seed")
    given = {name: getattr(job, name) for name in shared}
    given |= {"editor": planned.editor, "category": planned.category, "log": job.log}
    rubric = judge.rubric_file(planned.category)
    given["shard"] = job.shard * len(job.own) // _apart(planned.editor, judge)
    given["edited_by"] = _together(planned.editor)
    return ScoreJob(**given, judge=judge, rubric=rubric)


def is_ready(job: Job) -> bool:
    """Tell whether all that a job reads is there, and made by this invocation where it makes it."""
    began, planned = _plan()
    if isinstance(job, EditJob):
        manifest = layout.manifest(Path(job.results), job.category)
        if job.editor.rewrite is None:
            return manifest.is_file()
        told = layout.rewritten(layout.folder(Path(job.results), job.editor.name, job.category))
        rewriting = json.loads(os.environ.get(PLAN, "{}")).get("rewriting", [])
        rewritten = Planned("rewrite", job.editor.name, job.category)
        made_now = rewritten in [Planned(*entry) for entry in rewriting]
        return manifest.is_file() and _are_made([told], began if made_now else 0)
    assert isinstance(job, ScoreJob)
    made_now = Planned("edit", job.editor, job.category) in planned
    return _are_made(job.edits, began if made_now else 0)


def _are_made(paths: Iterable[Path], since: float) -> bool:
    """Tell whether files are there, none of them older than a Unix time."""
    try:
        return all(path.stat().st_mtime >= since for path in paths)
    except OSError:
        return False


def _plan() -> tuple[float, list[Planned]]:
    """Return when this invocation began, and what it does; nothing where nobody knows."""
    given = json.loads(os.environ.get(PLAN, '{"began": 0, "jobs": []}'))
    return given["began"], [Planned(*entry) for entry in given["jobs"]]


def _after(job: EditJob | ScoreJob) -> list[Planned]:
    """Return what is done after a job; nothing where another device's job may be next."""
    own, planned = _planned(job), _plan()[1]
    if own not in planned or int(os.environ[SLOTS]) < len(job.devices):
        return []
    return planned[planned.index(own) + 1 :]


def _on_devices(planned: Iterable[Planned]) -> list[Planned]:
    """Return all but the edits of editors that need no device."""
    elsewhere = json.loads(os.environ.get(PLAN, "{}")).get("elsewhere", [])
    return [each for each in planned if each.stage != "edit" or each.editor not in elsewhere]


def _planned(job: EditJob | ScoreJob) -> Planned:
    if isinstance(job, EditJob):
        return Planned("edit", job.editor.name, job.category)
    return Planned("score", job.editor, job.category, job.below)


def _edit_job(job: EditJob, planned: Planned) -> EditJob:
    results, count = Path(job.results), len(job.groups)
    log = layout.log(results, *planned, job.shard, count)
    first = plan.place(records.read_json(layout.counts(results)), planned.category)
    return job.model_copy(update={"category": planned.category, "first": first, "log": str(log)})


def _score_job(job: ScoreJob, planned: Planned) -> ScoreJob | None:
    """Return the job of the same judge; None where one of other devices has its edits."""
    first, apart = job.shard * job.share * job.edited_by, _apart(planned.editor, job.judge)
    if first % apart:
        return None
    log = layout.log(Path(job.results), *planned, first // apart, len(job.devices) // apart)
    changes = {
        "editor": planned.editor,
        "category": planned.category,
        "shard": first // apart,
        "edited_by": _together(planned.editor),
        "rubric": job.judge.rubric_file(planned.category),
        "log": str(log),
    }
    return job.model_copy(update=changes)


def _together(editor: str) -> int:
    """Return how many devices one job of an editor takes."""
    together: dict[str, int] = json.loads(os.environ[PLAN])["together"]
    return together.get(editor, 1)


def _apart(editor: str, judge: AnyJudge) -> int:
    """Return how many devices lie between two judges of an editor's edits."""
    own = _together(editor)
    return own * plan.share(own, judge.together)
