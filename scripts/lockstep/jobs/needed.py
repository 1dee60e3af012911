"""Which editors, rewriters and judges a run has jobs for, by the outputs that are there."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from lockstep import layout
from lockstep.config.run import Config
from lockstep.jobs import paired, provenance, several


class Needed(NamedTuple):
    """Who has work in a run; a run asks no other one's server."""

    editing: set[str]
    """Names of editors."""
    rewriting: set[str]
    """Names of editors whose instructions are to be rewritten."""
    judging: set[str]
    """Judges by their folders, as in `Config.each_judge`."""


def needed(settings: Config, devices: int, stale: Collection[Path]) -> Needed:
    """Return who has work in a run of all that is configured.

    Args:
        devices: number of them all.
        stale: the outputs that are there and do not fit, as `stale.stale` returns them.
    """
    results, found = Path(settings.results), Needed(set(), set(), set())

    def lacks(paths: Iterable[Path]) -> bool:
        return any(path in stale or not path.is_file() for path in paths)

    prepared = lacks(provenance.prepared(settings).files)
    for editor in settings.editors:
        for category in settings.benchmark.categories:
            own = (results, editor.name, category)
            told = layout.rewritten(layout.folder(*own))
            rewrites = editor.rewrite is not None and (prepared or lacks([told]))
            edits = layout.all_edits(*own, devices // editor.together)
            is_edited = prepared or rewrites or lacks(edits)
            found.rewriting.update([editor.name] if rewrites else [])
            found.editing.update([editor.name] if is_edited else [])
            found.judging.update(
                below
                for below in settings.each_judge
                if is_edited
                or lacks(several.scores(settings, below, editor.name, category, devices))
            )
    further = list(layout.anchor_scores(layout.anchors(results))) if settings.judge.anchors else []
    if settings.judge.pairs and paired.can_compare(settings):
        further += paired.every_pair(settings, devices)
    if lacks(further) or (further and found.editing):
        found.judging.add("")
    return found
