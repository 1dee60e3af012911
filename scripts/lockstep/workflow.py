"""What the rules compute: devices, shards, claims, priorities and inputs, and checks before a run.

The workflow engine is known here by plain values alone: it gives a configuration, wildcards and
limits, and gets names, numbers and sentences.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, product
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from lockstep import layout, plan, records
from lockstep.benchmark import score_files
from lockstep.config import checks, hub
from lockstep.config.load import load_comparison, load_config
from lockstep.config.load import of_job as config_of_job
from lockstep.config.run import Comparison, Config
from lockstep.demo.files import TINY_FILES
from lockstep.devices import device
from lockstep.devices.device import Device
from lockstep.errors import ConfigError, LockstepError
from lockstep.jobs import ahead, allocation, early, paired, provenance, several, workers
from lockstep.jobs import run as jobs_run
from lockstep.jobs import stale as outputs_that_do_not_fit
from lockstep.jobs.ahead import Planned
from lockstep.jobs.claims import Claims, claimed, limited
from lockstep.models.backend import BackendSettings
from lockstep.records import notes, recovery
from lockstep.rubrics.rubric import Rubric, read_rubric

STAGES = {
    **{"rewrite_instructions": "rewrite", "edit_shard": "edit", "score_shard": "score"},
    **{"judge_anchors": "anchors", "judge_pairs": "pairs"},
}
"""Stages that need models, by their scripts; who includes the rules may call them otherwise."""


@dataclass(frozen=True)
class Run:
    """What the rules are made of: a configuration, and the device of each shard."""

    settings: Config | Comparison
    devices: Sequence[Device] = ()
    left_out: Sequence[str] = ()
    """Sentences on what the configuration names and the run does without."""

    @property
    def whole(self) -> Config:
        """Return the configuration of a run that edits and judges."""
        assert isinstance(self.settings, Config)
        return self.settings

    @property
    def only_compares(self) -> bool:
        return isinstance(self.settings, Comparison)

    @property
    def results(self) -> Path:
        return Path(self.settings.results)

    @cached_property
    def editors(self) -> list[str]:
        return [] if self.only_compares else [editor.name for editor in self.whole.editors]

    @cached_property
    def series(self) -> dict[str, list[str]]:
        """Return the editors of each training run's checkpoints."""
        return {} if self.only_compares else self.whole.series

    @cached_property
    def categories(self) -> list[str]:
        return [] if self.only_compares else list(self.whole.benchmark.categories or ())

    @cached_property
    def judges(self) -> list[str]:
        """Return the judges beside the first one."""
        return [] if self.only_compares else several.beside(self.whole)

    def shards(self, editor: str, judge: str | None = None) -> int:
        """Return the number of shards of an editor's edits, or of a judge's scores of them."""
        edits = len(self.devices) // self.whole.editor(editor).together
        return edits if judge is None else edits // self.whole.share(editor, judge)

    @property
    def counts(self) -> list[int]:
        """Return all numbers of shards that there are."""
        judges = (None, "", *self.judges)
        return sorted({self.shards(editor, name) for editor in self.editors for name in judges})

    @cached_property
    def rubrics(self) -> dict[str, Rubric]:
        """Return the rubric of each category, or raise RubricError if one is none."""
        file = self.whole.judge.rubric_file
        return {key: read_rubric(Path(file(key)), key) for key in self.categories}

    def edits(self, editor: str, category: str) -> list[str]:
        """Return the records of all edits of an editor and category."""
        own = (self.results, editor, category, self.shards(editor))
        return list(map(str, layout.all_edits(*own)))

    def rewritten(self, editor: str, category: str) -> list[str]:
        """Return what an editor is told in place of a category's instructions, if anything is."""
        path = layout.rewritten(layout.folder(self.results, editor, category))
        return [] if self.whole.editor(editor).rewrite is None else [str(path)]

    def judged(self, editor: str, category: str, shard: int, judge: str = "") -> list[str]:
        """Return the records of the edits that one shard of a judge's scores judges."""
        own = plan.edit_shards(shard, self.whole.share(editor, judge))
        return self.edits(editor, category)[own.start : own.stop]

    def scores(self, editor: str, category: str, judge: str = "") -> list[str]:
        """Return the records of all scores of an editor and category by a judge."""
        own = (self.results, editor, category, self.shards(editor, judge), judge)
        return list(map(str, layout.all_scores(*own)))

    def done(self, editors: Iterable[str], categories: Iterable[str]) -> list[str]:
        """Return the tables of some editors and categories, and all judges' scores of them."""
        pairs = list(product(editors, categories))
        scores = (self.scores(*own, judge) for judge in self.judges for own in pairs)
        return [*(self.table(*own) for own in pairs), *chain(*scores)]

    def table(self, editor: str, category: str) -> str:
        return str(layout.table(self.results, editor, category))

    @property
    def tables(self) -> list[str]:
        """Return the tables of all editors and categories."""
        return [self.table(*own) for own in product(self.editors, self.categories)]

    @property
    def report(self) -> list[str]:
        """Return the report's files, the page first."""
        names = (self.editors, self.categories, self.series)
        return list(map(str, layout.report(self.results, *names)))

    @property
    def compares_pairs(self) -> bool:
        """Return whether editors can be compared in pairs."""
        return not self.only_compares and paired.can_compare(self.whole)

    @property
    def protocol(self) -> list[str]:
        """Return what sums the editors up as the benchmark does; nothing without a protocol."""
        if self.whole.judge.protocol_file is None:
            return []
        return list(map(str, layout.protocol(self.results)))

    @property
    def comparison(self) -> list[str]:
        return list(map(str, layout.comparison(self.results)))

    @property
    def finished(self) -> list[str]:
        """Return what a run that is asked for nothing else makes."""
        return self.comparison if self.only_compares else [*self.report, *self.protocol]

    @cached_property
    def compared(self) -> dict[str, list[str]]:
        """Return the files of each source of a comparison; this run's own tables are made first.

        Raises:
            LockstepError: if a source is none, or a folder that leads out of itself.
        """
        sources = {} if self.settings.compare is None else self.settings.compare.sources
        for path in filter(os.path.isdir, sources.values()):
            recovery.check_tree(Path(path))
        return {
            name: self.tables if self._is_own(path) else score_files.source_files(path)
            for name, path in sources.items()
        }

    def _is_own(self, path: str) -> bool:
        same = os.path.normpath(path) == os.path.normpath(self.settings.results)
        return same and not self.only_compares

    def priority(self, stage: str, editor: str, category: str, judge: str = "") -> int:
        """Rewrite, edit, score; one judge, editor and category after the other, as configured.

        No two of them have the same priority: all devices take them in the same order, so the
        shards of one never hold devices that the shards of another, which hold the rest, wait for.
        """
        order = [(name, key) for name in self.editors for key in self.categories]
        judges = [("score", name) for name in ("", *self.judges)]
        later = [*judges[::-1], ("edit", ""), ("rewrite", "")].index((stage, judge))
        return (later + 1) * len(order) - order.index((editor, category))


def only_compares(data: Mapping[str, Any]) -> bool:
    """Tell whether a configuration without a benchmark compares what is there."""
    return "compare" in data and "benchmark" not in data


def load(data: Mapping[str, Any], source: str) -> Run:
    """Return the run that a configuration asks for.

    Args:
        source: what to call the configuration in messages.

    Raises:
        LockstepError: with a sentence for each mistake.
    """
    if not only_compares(data):
        left_out: list[str] = []
        settings = load_config(data, source, produced=TINY_FILES, say=left_out.append)
        return with_devices(settings, left_out)
    comparison = load_comparison(data, source)
    recovery.check_tree(Path(comparison.results))
    return Run(comparison)


def of_job(data: Mapping[str, Any]) -> Run:
    """Return the run of a job, which may run before what others look for is made."""
    only = only_compares(data)
    return Run(load_comparison(data, "job")) if only else with_devices(config_of_job(data))


def with_devices(settings: Config, left_out: Sequence[str] = ()) -> Run:
    devices = allocation.planned(settings)
    for judge in settings.each_judge.values():
        device.split(devices, judge.together, f"{judge.option}.gpus_per_judge")
    for editor in settings.editors:
        device.split(devices, editor.together, f"editors: {editor.name}: gpus_per_editor")
    return Run(settings, devices, left_out)


def checked(run: Run, source: str, limits: Mapping[str, Any], dry: bool) -> Iterator[str]:
    """Check, before anything is made, what a run needs. Nothing is changed.

    Args:
        source: what to call the configuration in messages.
        limits: of resources, as the command line gives them.
        dry: whether nothing is to be made, so that what would stop a run is said instead.

    Yields:
        sentences for the terminal.

    Raises:
        LockstepError: for the first mistake.
    """
    if run.only_compares:
        return
    yield from run.left_out
    settings = run.whole
    if settings.cluster is None:
        allocation.check_limits(limits, allocation.most_together(settings))
        device.check_visible(run.devices)
        if (sentence := device.without_gpu(run.devices, settings.devices)) is not None:
            yield f"devices: {sentence}"
    if dry:
        yield from hub.lacking(settings, source)
        yield from _told(partial(recovery.check_writable, run.results))
    else:
        recovery.check_writable(run.results)
    checks.check_scores(settings)
    if settings.report.human_files:
        # it takes pandas
        from lockstep.figures import human_files

        human_files.check(settings, provenance.fitting_manifests(settings))
    recovery.check_tree(run.results)
    if dry:
        for judge in settings.each_judge:
            for sentence in _told(partial(checks.check_judges, settings, [judge], reach=False)):
                yield f"Before anything can be judged: {source}: {sentence}"
        own = run.editors
        for sentence in _told(partial(checks.check_editors, settings, own, own, reach=False)):
            yield f"Before anything can be edited: {source}: {sentence}"


def _told(check: Callable[[], None]) -> Iterator[str]:
    try:
        check()
    except LockstepError as error:
        yield str(error)


def begin(
    run: Run, source: str, jobs: Iterable[tuple[str, Mapping[str, str]]], only_touches: bool
) -> BaseFileLock:
    """Hold a run's results, look for its models, remove what earlier runs left, load what is slow.

    Args:
        source: what to call the configuration in messages.
        jobs: script and wildcards of all jobs that are to run.
        only_touches: whether the jobs make nothing.

    Returns:
        The lock of the results, to be kept for as long as the run lasts.

    Raises:
        LockstepError: if another run holds the results, or a model or server is not there.
    """
    settings, jobs = run.whole, list(jobs)
    stages = stages_of(script for script, _ in jobs)
    lock = recovery.hold(run.results)
    if lacking := hub.lacking(settings, source, stages):
        raise ConfigError("\n".join(lacking))
    workers.sweep()
    records.sweep(run.results)
    planned = _planned(run, jobs, "edit", "score")
    # what only a judgement needs is asked for where any is to be made
    judging = {own.judge for own in planned if own.stage == "score"}
    judging |= {""} if stages & {"anchors", "pairs"} else set()
    rewriting = _planned(run, jobs, "rewrite")
    if not only_touches:
        reach = settings.cluster is None
        editing = {own.editor for own in planned if own.stage == "edit"}
        asking = {own.editor for own in rewriting}
        try:
            checks.check_judges(settings, judging, reach)
            checks.check_editors(settings, editing, asking, reach)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None
    ahead.announce(
        planned,
        {editor.name: jobs_run.in_memory(editor.held) for editor in settings.editors},
        {editor.name: editor.together for editor in settings.editors},
        rewriting,
        [editor.name for editor in settings.editors if not editor.on_device],
    )
    loaded = [p for p in planned if p.stage == "edit" and settings.editor(p.editor).on_device]
    # a model that the run makes itself is not there yet
    if loaded and not only_touches and not made_here(settings.editor(loaded[0].editor)):
        early.load(settings, run.devices, loaded[0])
    return lock


def _planned(
    run: Run, jobs: Iterable[tuple[str, Mapping[str, str]]], *stages: str
) -> list[Planned]:
    """Return what jobs of some stages do, in the order in which they do it."""
    found = {
        Planned(stage, wildcards["editor"], wildcards["category"], wildcards.get("judge", ""))
        for script, wildcards in jobs
        if (stage := STAGES.get(Path(script).stem)) in stages
    }
    return sorted(found, key=lambda planned: run.priority(*planned), reverse=True)


def stages_of(scripts: Iterable[str]) -> set[str]:
    """Return the stages that need models, of jobs that run some scripts."""
    return {STAGES[name] for name in (Path(path).stem for path in scripts) if name in STAGES}


def claims(run: Run) -> Claims:
    """Return what jobs claim of this machine, or ask a cluster's scheduler for."""
    none = Claims({}, {}, {}, {}, {}, {}, {})
    return none if run.only_compares else claimed(run.whole, len(run.devices))


def limits(run: Run) -> dict[str, int]:
    """Return limits of resources that hold whatever the command line says."""
    return {} if run.only_compares else limited(run.whole, len(run.devices))


def slots(run: Run, *limits: Any) -> int:
    """Return the number of shards that can run at a time.

    Args:
        limits: of resources; what is no number limits nothing.
    """
    return min([len(run.devices), *(limit for limit in limits if isinstance(limit, int))])


def made_here(model: BackendSettings) -> list[str]:
    """Return the files of a model's folder that the workflow makes itself; none of another."""
    if model.model_folder is None:
        return []
    folder = os.path.normpath(model.model_folder)
    return [path for path in TINY_FILES if path.startswith(f"{folder}/")]


def library_files(*names: str) -> list[str]:
    """Return files of this library as inputs of a rule."""
    return [os.path.relpath(Path(__file__).parent / name) for name in names]


def stale(run: Run) -> dict[Path, str]:
    """Return the outputs that do not fit what is asked for, each with the reason; change nothing.

    Raises:
        LockstepError: if a source of a comparison is not to be used.
    """
    found = {}
    if not run.only_compares:
        found = outputs_that_do_not_fit.stale(run.whole, len(run.devices), run.rubrics)
    compare = run.settings.compare
    if compare is not None:
        for name, path in compare.sources.items():
            if not run._is_own(path) and os.path.isdir(path):
                provenance.check_reported(Path(path), list(map(Path, run.compared[name])))
        output = provenance.compared(run.results, compare, run.settings.report, run.compared)
        if reason := notes.misfit(output):
            found[output.files[0]] = reason
    return found
