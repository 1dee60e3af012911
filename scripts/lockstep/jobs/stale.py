"""Which outputs do not fit what is asked for now, and which have lost a file."""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from lockstep import layout, records
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.config.run import Config
from lockstep.errors import ConfigError, DamagedError
from lockstep.jobs import paired, several
from lockstep.jobs.paired import can_compare
from lockstep.jobs.provenance import (
    agreed,
    anchored,
    check_reported,
    collected,
    edited,
    prepared,
    rated,
    reported,
    rewritten,
    scored,
    summed_up,
    tabulated,
)
from lockstep.models import fingerprints
from lockstep.records.notes import (
    LOST,
    Output,
    misfit,
)
from lockstep.rubrics.rubric import Rubric

SHOWN = re.compile(rb'"image":"images/([^"]*)"')
"""An image in a manifest, whose lines are canonical JSON; its name holds no quotation mark."""


EDITED = re.compile(rb'"image":"images/([^"]*)","image_bytes":(\d+),"image_time":(\d+)')
"""An edited image with its size and time in a file of records."""


def stale(settings: Config, devices: int, rubrics: Mapping[str, Rubric]) -> dict[Path, str]:
    """Return the outputs that do not fit what is asked for, each with the reason.

    Nothing is changed. What has never been made is not among them, nor is what is only made of
    something that does not fit.

    Args:
        devices: number of them all.
        rubrics: by category.

    Returns:
        the first file of each output, with a name out of REASONS, LOST, ALTERED or UNKNOWN.
    """
    found: dict[Path, str] = {}

    def look(output: Output, is_lost: Callable[[], bool] = lambda: False) -> None:
        reason = misfit(output) or (LOST if output.files[0].exists() and is_lost() else None)
        if reason is not None:
            found[output.files[0]] = reason

    categories = settings.benchmark.categories
    manifests = prepared(settings)
    look(manifests, lambda: _lost_source(manifests.results, settings.benchmark))
    for editor in settings.editors:
        shards, share = devices // editor.together, settings.share(editor.name)
        for category in categories:
            folder = layout.folder(manifests.results, editor.name, category)
            if editor.rewrite is not None:
                look(rewritten(manifests.results, editor, category))
            there = _states(layout.edited_images(folder))
            for k in range(shards):
                edits = edited(manifests.results, settings.seed, editor, category, k, shards)
                look(edits, partial(_lost_image, edits.files[0], there))
            own = (settings, editor.name, category)
            judged = (manifests.results, settings.judge, settings.seed, editor.name, category)
            for k in range(shards // share):
                look(scored(*judged, k, shards, share, rubrics[category]))
            look(tabulated(*own, shards, rubrics[category]))
    if len(settings.judges) > 1:
        for output in (*several.judged(settings, devices), several.compared(settings, devices)):
            look(output)
    if settings.judge.anchors is not None:
        look(anchored(manifests.results, settings.judge, rubrics))
    if settings.report.human_files:
        look(agreed(settings, rubrics))
    if settings.judge.protocol_file is not None:
        look(summed_up(settings, rubrics))
    if can_compare(settings):
        for output in paired.outputs(settings, devices):
            look(output)
    look(collected(settings))
    look(rated(settings, rubrics))
    look(reported(settings, devices, rubrics))
    return found


def _lost_image(edits: Path, there: Mapping[str, tuple[int, int] | None]) -> bool:
    """Tell whether an image of a file of edits is not there, or has another size or time."""
    found = EDITED.findall(edits.read_bytes())
    return any(there.get(image.decode()) != (int(size), int(time)) for image, size, time in found)


def _lost_source(results: Path, settings: BenchmarkSettings) -> bool:
    """Tell whether an image of a manifest is not there, or a file that it was read from changed."""
    there = _states(layout.source_images(results))
    for category in settings.categories:
        found = SHOWN.findall(layout.manifest(results, category).read_bytes())
        if any(_is_lost(there, image.decode()) for image in found):
            return True
    # many times as fast as line by line
    listed = layout.sources(results).read_bytes().splitlines()
    sources = json.loads(b"[%s]" % b",".join(listed))
    root = str(settings.images_path)
    return any(fingerprints.state_of(f"{root}/{path}") != state for path, *state in sources)


def _is_lost(there: Mapping[str, tuple[int, int] | None], name: str) -> bool:
    state = there.get(name, (0, 0))
    return state is not None and state[0] == 0


def _states(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Return bytes and time of each file in a folder; None of what is no regular file."""
    try:
        with os.scandir(folder) as entries:
            return {e.name: records.file_state(e.stat()) if e.is_file() else None for e in entries}
    except FileNotFoundError:
        return {}


def older_page(results: Path, tables: Iterable[str]) -> Path | None:
    """Return a report's page that was made of other tables than are there now; None without one.

    Args:
        tables: all that the report lists, in its order.
    """
    page = layout.page(results)
    try:
        check_reported(results, list(map(Path, tables)))
    except DamagedError:
        return page if page.is_file() else None
    return None


def mark(reason: str, outputs: Iterable[Path], folder: Path) -> str:
    """Make the file of a reason anew, newer than every output that is made again.

    Args:
        folder: where it lies, called by the reason.
    """
    path = folder / reason
    # what has the same content is taken for the same
    records.write_bytes(path, uuid.uuid4().hex.encode(), durable=False)
    # older than what is made from now on
    newer = max([time.time(), *(when + 0.001 for when, _ in _times(outputs))])
    os.utime(path, (newer, newer))
    return str(path)


def check_clock(outputs: Iterable[Path], results: Path) -> None:
    """Refuse outputs from the future, which nothing that is made now would be newer than.

    Raises:
        ConfigError: naming the latest.
    """
    when, latest = max(_times(outputs), default=(0.0, None))
    if when > time.time() + 1:
        raise ConfigError(
            f"{latest}: found a time in the future, by the clock of this machine, and cannot tell "
            f"what is newer; set the clock, or the times: find {results} -exec touch {{}} +"
        )


def _times(paths: Iterable[Path]) -> list[tuple[float, Path]]:
    return [(path.stat().st_mtime, path) for path in paths if path.exists()]
