"""What the judges beside the first one make, and what all say together; see `provenance`."""

from collections.abc import Iterator
from pathlib import Path

from lockstep import layout
from lockstep.config.run import Config
from lockstep.jobs.code import code
from lockstep.jobs.provenance import scored, tables_of
from lockstep.records.notes import Output, digest, joint
from lockstep.rubrics.rubric import read_rubric


def beside(settings: Config) -> list[str]:
    """Return the folders of all judges but the first one."""
    return [folder for folder in settings.each_judge if folder]


def scores(settings: Config, judge: str, editor: str, category: str, devices: int) -> list[Path]:
    """Return a judge's scores of an editor and category.

    Args:
        judge: its folder.
        devices: number of them all.
    """
    shards = devices // settings.editor(editor).together // settings.share(editor, judge)
    return layout.all_scores(Path(settings.results), editor, category, shards, judge)


def all_scores(settings: Config, judge: str, devices: int) -> list[Path]:
    """Return a judge's scores of all editors and categories."""
    return [
        path
        for editor in settings.editors
        for category in settings.benchmark.categories
        for path in scores(settings, judge, editor.name, category, devices)
    ]


def every_score(settings: Config, devices: int) -> list[Path]:
    """Return all scores of all judges but the first one."""
    return [path for own in beside(settings) for path in all_scores(settings, own, devices)]


def targets(settings: Config, devices: int) -> dict[str, list[Path]]:
    """Return all scores of each of several judges, by its name."""
    each = zip(settings.judges, settings.each_judge, strict=False)
    return {str(judge.name): all_scores(settings, own, devices) for judge, own in each}


def judged(settings: Config, devices: int) -> Iterator[Output]:
    """Yield these scores."""
    for folder in beside(settings):
        judge = settings.each_judge[folder]
        for category in settings.benchmark.categories:
            rubric = read_rubric(Path(judge.rubric_file(category)))
            for editor in settings.editors:
                shards, share = devices // editor.together, settings.share(editor.name, folder)
                own = (Path(settings.results), judge, settings.seed, editor.name, category)
                for k in range(shards // share):
                    yield scored(*own, k, shards, share, rubric, folder)


def compared(settings: Config, devices: int) -> Output:
    """Return what all judges say together."""
    results = Path(settings.results)
    made_of = {
        "tables": joint(tables_of(settings)),
        "scores": joint(every_score(settings, devices)),
        "config": digest([judge.name for judge in settings.judges], settings.report.ensemble),
        "code": code("figures.judges"),
    }
    return Output(results, layout.judges(results), made_of)
