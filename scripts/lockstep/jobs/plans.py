"""The plan of a run's edits, said once before they begin: what is edited where, in step or not."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lockstep import layout, plan, records
from lockstep.config.run import Config
from lockstep.devices.settings import Schedule
from lockstep.editors.settings import EditorSettings, ServedEditorSettings
from lockstep.errors import counted
from lockstep.jobs.ahead import SLOTS

NAMED = 3
"""Most editors that a line names."""

SCHEDULES: Mapping[Schedule, str] = {
    "lockstep": "in lockstep",
    "free": "free, no device waits for another",
    "queue": "from a queue, the next sample goes to whichever device is free",
}


def at_start(
    settings: Config, devices: int, jobs: Iterable[tuple[str, Mapping[str, str]]]
) -> Iterator[str]:
    """Yield the plan of a run that begins.

    Nothing is known before the benchmark is read; the job that reads it says it then.

    Args:
        devices: of the run.
        jobs: script and wildcards of all jobs that are to run.
    """
    found = [(Path(script).stem, wildcards) for script, wildcards in jobs]
    edits = [own for stem, own in found if stem == "edit_shard"]
    if edits and not any(stem == "prepare_manifests" for stem, _ in found):
        counts = records.read_json(layout.counts(Path(settings.results)))
        editors, keys = ({own[kind] for own in edits} for kind in ("editor", "category"))
        own = {key: count for key, count in counts.items() if key in keys}
        yield from lines(settings, devices, own, editors)


def lines(
    settings: Config, devices: int, counts: Mapping[str, int], editors: Iterable[str] | None = None
) -> Iterator[str]:
    """Yield a line for all editors that edit in the same way.

    Args:
        devices: of the run.
        counts: samples by category.
        editors: names of those that edit; None is all.
    """
    total = sum(counts.values())
    samples = f"{counted(total, 'sample')} in {counted(len(counts), 'category', 'categories')}"
    groups: dict[str, list[str]] = {}
    for editor in settings.editors:
        if editors is None or editor.name in editors:
            how = _how(settings, editor, devices // editor.together, total)
            groups.setdefault(how, []).append(editor.name)
    for how, names in groups.items():
        yield f"plan of {_listed(names)}: {samples}, {how}"


def _how(settings: Config, editor: EditorSettings, shards: int, samples: int) -> str:
    if isinstance(editor, ServedEditorSettings):
        at_once = editor.at_once(shards)
        return f"through a server, {at_once} at a time in each of {counted(shards, 'job')}"
    schedule = settings.devices.schedule
    together = f" of {counted(editor.together, 'device')}" if editor.together > 1 else ""
    where = f"{counted(shards, 'group' if together else 'device')}{together}"
    found = f"{where}, {SCHEDULES[schedule]}"
    if schedule != "lockstep":
        return found
    slots = max(1, int(os.environ.get(SLOTS) or shards) // editor.together)
    step = f"; only {slots} of {shards} run at a time and keep step" if slots < shards else ""
    return f"{found}, {counted(plan.wave_count(samples, shards), 'wave')}{step}"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {counted(len(names) - NAMED, 'other')}"
    return f"{', '.join(first)} and {last}" if first else last
