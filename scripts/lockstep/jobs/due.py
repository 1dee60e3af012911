"""What a run's judge has still to do, said before it begins."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lockstep import layout
from lockstep.config.run import Config
from lockstep.jobs import provenance
from lockstep.judges.settings import ModelJudgeSettings
from lockstep.records import Sample, notes
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
    wanted = dict.fromkeys((w["editor"], w["category"]) for s, w in found if s == "score_shard")
    if wanted:
        yield from of_samples(settings, wanted)


def of_samples(settings: Config, wanted: Iterable[tuple[str, str]] | None = None) -> Iterator[str]:
    """Yield sentences on the judgements of samples that are known.

    Args:
        wanted: editors and categories; None takes all.
    """
    judge, results = settings.judge, Path(settings.results)
    if not isinstance(judge, ModelJudgeSettings):
        return
    every = ((e.name, key) for e in settings.editors for key in settings.benchmark.named)
    whole = Due()
    for editor, category in every if wanted is None else wanted:
        manifest = layout.manifest(results, category)
        folder = layout.folder(results, editor, category)
        rubric = read_rubric(Path(judge.rubric_file(category)))
        whole.add(due.of_category(judge, rubric, manifest, folder, settings.seed))
    yield from due.sentences(whole, judge, results)


def of_benchmark(
    settings: Config, counts: Mapping[str, int], some: Mapping[str, list[Sample]]
) -> Iterator[str]:
    """Yield sentences on the judgements of a benchmark that was read.

    Args:
        counts: samples by category.
        some: samples of each category that stand for all.
    """
    judge, prepared = settings.judge, provenance.prepared(settings)
    if prepared.files[0].exists() and notes.misfit(prepared) is None:
        yield from of_samples(settings)
        return
    if not isinstance(judge, ModelJudgeSettings):
        return
    whole, kept = Due(), False
    for editor in settings.editors:
        for category, samples in some.items():
            folder = layout.folder(prepared.results, editor.name, category)
            rubric = read_rubric(Path(judge.rubric_file(category)))
            own = (folder, settings.seed, counts[category])
            whole.add(due.estimated(judge, rubric, samples, *own))
            kept = kept or layout.judgement(folder, "", "_").parent.is_dir()
    yield from due.sentences(whole, judge, prepared.results, is_known=not kept)
