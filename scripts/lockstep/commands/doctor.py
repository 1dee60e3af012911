"""`python -m lockstep doctor`: check everything that is knowable before a run; change nothing."""

import os
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lockstep import layout, records, workflow
from lockstep.benchmark import outline
from lockstep.benchmark.intake import not_configured
from lockstep.benchmark.outline import Outline
from lockstep.commands import machine, weights, work
from lockstep.commands.finding import Finding, errors
from lockstep.commands.weights import Weights
from lockstep.config import checks, hub, load
from lockstep.config.run import Config
from lockstep.demo.files import TINY_FILES
from lockstep.devices.device import Device
from lockstep.editors.precomputed import SUFFIXES, PrecomputedEditorSettings
from lockstep.editors.settings import EditorSettings
from lockstep.errors import LockstepError, SampleError, counted
from lockstep.foreign.files import find_file
from lockstep.jobs import stale
from lockstep.jobs.needed import Needed, needed
from lockstep.models.backend import BackendSettings, Lacking, absent
from lockstep.models.served_settings import ServedSettings
from lockstep.records import recovery
from lockstep.rubrics.rubric import read_rubric
from lockstep.workflow import Run

SHOWN = 3
"""Reasons of rejected samples that are told."""


def examine(file: Path) -> Iterator[Finding]:
    """Yield what each check of a configuration and of this machine finds.

    Args:
        file: the configuration.
    """
    source, left_out, lost = str(file), list[str](), ""
    try:
        data = load.given(file)
        if workflow.only_compares(data):
            yield from _comparison(workflow.load(data, source), source)
            return
        lost = _lost(data)
        # what else is wrong is told all the same
        made = (*TINY_FILES, lost) if lost else TINY_FILES
        settings = load.typed(data, source, made, left_out.append)
    except LockstepError as error:
        yield from _mistakes(error, source, lost)
        yield from machine.without_configuration()
        return
    yield Finding("ok", "configuration", f"{source}: every key and value can be read")
    yield from (Finding("warning", "configuration", sentence) for sentence in left_out)
    yield from _with_rest(settings, source, list(_absent(lost)))


def _lost(data: Mapping[str, Any]) -> str:
    """Return the path of a benchmark that is not there; '' of another."""
    benchmark = data.get("benchmark")
    path = benchmark.get("path") if isinstance(benchmark, Mapping) else None
    own = os.path.expanduser(path) if isinstance(path, str) else ""
    return own if list(_absent(own)) else ""


def _absent(path: str) -> Iterator[Lacking]:
    if path:
        yield from absent("benchmark.path", path, TINY_FILES)


def _mistakes(error: LockstepError, source: str, lost: str) -> Iterator[Finding]:
    """Yield the mistakes of a configuration; a benchmark that is not there may explain others."""
    for _, sentence in _absent(lost):
        yield Finding("error", "configuration", f"{source}: benchmark.path: {sentence}")
    for found in errors("configuration", error):
        if not lost or not found.text.startswith(f"{source}: benchmark."):
            yield found


def _comparison(run: Run, source: str) -> Iterator[Finding]:
    yield Finding("ok", "configuration", f"{source}: every key and value can be read")
    try:
        files = sum(map(len, run.compared.values()))
    except LockstepError as error:
        yield from errors("compare", error)
        return
    sources = counted(len(run.compared), "source")
    yield Finding("ok", "compare", f"{sources} with {counted(files, 'file')} of scores")


def _with_rest(settings: Config, source: str, lacking: list[Lacking]) -> Iterator[Finding]:
    """Yield all findings, and at the end those of a run's own checks that are not among them."""
    told, bad = "", False
    for found in _of_run(settings, source, lacking):
        told, bad = f"{told}\n{found.text}", bad or found.state == "error"
        yield found
    if bad:
        # a run would stop at one of them
        return
    try:
        run = workflow.with_devices(settings)
        for sentence in workflow.checked(run, source, {}, dry=True):
            own = sentence.partition(f"{source}: ")[2] or sentence.partition(": ")[2]
            if own not in told:
                yield Finding("warning", "run", sentence)
    except LockstepError as error:
        yield from errors("run", error)


def _of_run(settings: Config, source: str, lacking: list[Lacking]) -> Iterator[Finding]:
    lacking = [*lacking, *checks.lacking(settings, TINY_FILES)]
    for sentence in hub.lacking(settings, source):
        key, _, text = sentence.removeprefix(f"{source}: ").partition(": ")
        lacking.append(Lacking(key, text))
    planned: Sequence[Device] = ()
    is_cluster = settings.cluster is not None
    try:
        planned = workflow.with_devices(settings).devices
        yield from machine.devices(planned, settings.devices, is_cluster)
    except LockstepError as error:
        yield from errors("devices", error)
    needed: list[Weights] = []
    for found, own in (*_editors(settings, lacking), *_judges(settings, lacking)):
        yield found
        needed += [] if own is None else [own]
    yield from machine.memory(needed, () if is_cluster else planned)
    yield from _rubrics(settings, lacking)
    yield from _told(lacking, "metrics", "metrics")
    benchmark = yield from _benchmark(settings, lacking)
    yield from _given_scores(settings, lacking, benchmark)
    yield from machine.fonts(settings, [] if benchmark is None else benchmark.instructions)
    yield from _results(settings, lacking)
    yield from _work(settings, benchmark, len(planned))


def _told(lacking: list[Lacking], key: str, name: str) -> Iterator[Finding]:
    """Yield what is not there of a part of the configuration."""
    for own in lacking:
        if own.field == key or own.field.startswith((f"{key}.", f"{key}[")):
            yield Finding("error", name, f"{own.field}: {own.sentence}")


def _editors(settings: Config, lacking: list[Lacking]) -> Iterator[weights.Model]:
    first = (own for own in settings.editors if own.further_seed is None)
    for place, members in groupby(first, settings.place):
        editor, *others = members
        owner = f"{editor.name} and {len(others)} more" if others else editor.name
        if faults := list(_told(lacking, f"editors[{place}]", "editor")):
            yield from (weights.Model(fault, None) for fault in faults)
            continue
        own = weights.model(owner, "editor", editor, editor.together)
        yield from _served(settings, editor, own)


def _served(
    settings: Config, editor: EditorSettings, own: weights.Model
) -> Iterator[weights.Model]:
    faults = list[Finding]()
    for rewrites in (True, False):
        rewriting, editing = ([editor.name], []) if rewrites else ([], [editor.name])
        try:
            checks.check_editors(settings, editing, rewriting, reach=settings.cluster is None)
        except LockstepError as error:
            due = _needed(settings)
            has_work = editor.name in (due.rewriting if rewrites else due.editing)
            faults += _fault("editor", error, has_work)
    if not any(fault.state == "error" for fault in faults):
        yield own
        faults = faults or list(_named(settings, editor, "editor"))
    yield from (weights.Model(fault, None) for fault in faults)


def _judges(settings: Config, lacking: list[Lacking]) -> Iterator[weights.Model]:
    for below, judge in settings.each_judge.items():
        faults = [
            fault
            for fault in _told(lacking, judge.option, "judge")
            if not fault.text.startswith(f"{judge.option}.rubrics: ")
        ]
        try:
            checks.check_judges(settings, [below], reach=settings.cluster is None)
        except LockstepError as error:
            faults += _fault("judge", error, below in _needed(settings).judging)
        if not any(fault.state == "error" for fault in faults):
            owner = "the judge" if judge.name is None else judge.name
            yield weights.model(owner, "judge", judge, judge.together)
            faults = faults or list(_named(settings, judge, "judge"))
        yield from (weights.Model(fault, None) for fault in faults)


def _needed(settings: Config) -> Needed:
    """Return who has work in a run; all, where that cannot be told."""
    try:
        run = workflow.with_devices(settings)
        found = stale.stale(settings, len(run.devices), run.rubrics)
        return needed(settings, len(run.devices), found)
    except LockstepError:
        editors = {editor.name for editor in settings.editors}
        return Needed(editors, editors, set(settings.each_judge))


def _fault(name: str, error: LockstepError, has_work: bool) -> Iterator[Finding]:
    """Yield what is wrong with a server; a run asks none that has no work."""
    if has_work:
        yield from errors(name, error)
    else:
        yield Finding("ok", name, f"nothing is due, so the run asks no server ({error})")


def _named(settings: Config, own: BackendSettings, name: str) -> Iterator[Finding]:
    """Yield that a server that is there lists its models and not this one."""
    if not isinstance(own, ServedSettings) or settings.cluster is not None:
        return
    listed = own.listed()
    if listed and own.model not in listed:
        found = ", ".join(listed[:5])
        text = f"{own.option}.model: expected a model that the server lists ({found}), found"
        yield Finding("warning", name, f"{text} {own.model!r}")


def _rubrics(settings: Config, lacking: list[Lacking]) -> Iterator[Finding]:
    for judge in settings.each_judge.values():
        if faults := list(_told(lacking, f"{judge.option}.rubrics", "rubrics")):
            # one file for all categories is lacking once
            yield from faults[: 1 if judge.rubrics.endswith(".yaml") else None]
            continue
        files = {}
        try:
            for category in settings.benchmark.categories:
                files[category] = judge.rubric_file(category)
                read_rubric(Path(files[category]), category)
        except LockstepError as error:
            yield from errors("rubrics", error)
            continue
        few = sorted(set(files.values()))
        each = f"each of {len(files)} categories has one"
        own = few[0] if len(few) == 1 else judge.rubrics
        yield Finding("ok", "rubrics", f"{own}: {each if len(few) > 1 else 'for all categories'}")


def _given_scores(
    settings: Config, lacking: list[Lacking], benchmark: Outline | None
) -> Iterator[Finding]:
    """Yield whether finished scores, of a judge or of people, can be read and fit the benchmark."""
    if faults := list(_told(lacking, "report", "people")):
        yield from faults
        return
    if any(own.field.split(".")[-1] in ("rubrics", "scores") for own in lacking):
        # what is read needs both
        return
    try:
        checks.check_scores(settings)
    except LockstepError as error:
        yield from errors("judge", error)
    if settings.report.human_files:
        # it takes pandas
        from lockstep.figures import human_files

        try:
            given = human_files.of_run(settings, Run(settings).rubrics)
            if benchmark is not None:
                human_files.check_samples(given, benchmark.ids)
        except LockstepError as error:
            yield from errors("people", error)
        else:
            files = ", ".join(settings.report.human_files)
            yield Finding("ok", "people", f"{files}: can be read")


def _benchmark(
    settings: Config, lacking: list[Lacking]
) -> Generator[Finding, None, Outline | None]:
    """Yield what the benchmark holds, and return it; None where it cannot be used."""
    own = settings.benchmark
    if faults := list(_told(lacking, "benchmark", "benchmark")):
        yield from faults
        return None
    if not Path(own.path).exists():
        yield Finding("ok", "benchmark", f"{own.path}: made by the run")
        return None
    try:
        found = outline.outline(own)
        outline.check(found, own)
    except LockstepError as error:
        yield from errors("benchmark", error)
        return None
    counts = ", ".join(f"{count} {category}" for category, count in found.counts.items())
    samples = counted(found.samples, "sample")
    yield Finding("ok", "benchmark", f"{own.path}: {own.format}, {samples}: {counts}")
    if left_out := not_configured(found.intake.left_out):
        yield Finding("ok", "benchmark", left_out)
    for reason, count in found.reasons[:SHOWN]:
        text = (
            f"{own.path}: {counted(count, 'sample')} cannot be used for a reason such as: {reason}"
        )
        yield Finding("warning", "benchmark", text)
    yield from _finished(settings, found.ids.values())
    return found


def _finished(settings: Config, ids: Collection[str]) -> Iterator[Finding]:
    """Yield how many samples have a finished image, of each editor that takes such."""
    for editor in settings.editors:
        if not isinstance(editor, PrecomputedEditorSettings) or not Path(editor.folder).is_dir():
            continue
        there = sum(_has_image(editor.folder, own) for own in ids)
        of = counted(len(ids), "sample")
        text = f"{editor.name}: {there} of {of} have an image in {editor.folder}"
        yield Finding("ok" if there == len(ids) else "warning", "editor", text)


def _has_image(folder: str, sample: str) -> bool:
    try:
        return find_file(Path(folder), sample, SUFFIXES) is not None
    except SampleError:
        # several of one sample are of no use
        return False


def _results(settings: Config, lacking: list[Lacking]) -> Iterator[Finding]:
    results = Path(settings.results)
    faults = list(_told(lacking, "results", "results"))
    try:
        if not faults:
            recovery.check_writable(results)
            recovery.check_tree(results)
    except LockstepError as error:
        faults += errors("results", error)
    yield from faults
    if not faults:
        there = "there already" if results.exists() else "a new folder"
        yield Finding("ok", "results", f"{results}: {there}")
        # to ask makes a lock where none is
        if (results / recovery.LOCK).exists() and recovery.is_held(results):
            yield Finding("warning", "results", recovery.held_by(results))


def _work(settings: Config, benchmark: Outline | None, devices: int) -> Iterator[Finding]:
    """Yield what the run has to do, and whether there is room for it."""
    results = Path(settings.results)
    if benchmark is None:
        yield from machine.disk(results, None)
        return
    counts = benchmark.counts
    try:
        if work.is_read(settings):
            # images that cannot be decoded are known by then
            counts = records.read_json(layout.counts(results))
        found = work.edits(settings, counts)
        yield from machine.disk(results, work.room(settings, found, benchmark.size))
        yield from work.sentences(settings, found, devices)
    except LockstepError as error:
        yield from errors("to do", error)
