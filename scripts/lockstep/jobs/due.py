"""What a run's judge has still to do, said before it begins."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lockstep import layout
from lockstep.config.run import Config
from lockstep.jobs import provenance
from lockstep.judges.settings import ModelJudgeSettings
from lockstep.records import Sample
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring import due
from lockstep.scoring.due import Due


def at_start(settings: Config, jobs: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[str]:
    """Yield sentences on the judgements of a run that begins.

    Nothing is known before the benchmark is read; the job that reads it says it then.

    Args:
        jobs: script and wildcards of all jobs that are to run.
    """
    found = [(Path(script).stem, wildcards) for script, wildcards in jobs]
    if any(stem == "prepare_manifests" for stem, _ in found):
        return
    wanted: dict[str, dict[tuple[str, str], None]] = {}
    for stem, own in found:
        if stem == "score_shard":
            wanted.setdefault(own.get("judge", ""), {})[own["editor"], own["category"]] = None
    for below, places in wanted.items():
        yield from _of_samples(settings, below, places)


def of_samples(settings: Config) -> Iterator[str]:
    """Yield sentences on the judgements of samples that are known."""
    every = [(e.name, key) for e in settings.editors for key in settings.benchmark.named]
    for below in settings.each_judge:
        yield from _of_samples(settings, below, every)


def _of_samples(settings: Config, below: str, wanted: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield sentences on one judge.

    Args:
        wanted: editors and categories.
    """
    judge, results = settings.each_judge[below], Path(settings.results)
    if not isinstance(judge, ModelJudgeSettings):
        return
    whole = Due()
    for editor, category in wanted:
        manifest = layout.manifest(results, category)
        folder = layout.folder(results, editor, category)
        rubric = read_rubric(Path(judge.rubric_file(category)))
        whole.add(due.of_category(judge, rubric, manifest, folder, settings.seed, below))
    yield from due.sentences(whole, judge, layout.judge_spent(results, below))


def of_benchmark(
    settings: Config, counts: Mapping[str, int], some: Mapping[str, list[Sample]]
) -> Iterator[str]:
    """Yield sentences on the judgements of a benchmark that was read.

    Args:
        counts: samples by category.
        some: samples of each category that stand for all.
    """
    if provenance.fitting_manifests(settings):
        yield from of_samples(settings)
        return
    for below, judge in settings.each_judge.items():
        if not isinstance(judge, ModelJudgeSettings):
            continue
        whole, kept = Due(), False
        for editor in settings.editors:
            for category, samples in some.items():
                folder = layout.folder(Path(settings.results), editor.name, category)
                rubric = read_rubric(Path(judge.rubric_file(category)))
                own = (folder, settings.seed, counts[category])
                whole.add(due.estimated(judge, rubric, samples, *own))
                kept = kept or layout.judgement(folder, "", "_").parent.is_dir()
        ledger = layout.judge_spent(Path(settings.results), below)
        yield from due.sentences(whole, judge, ledger, is_known=not kept)
