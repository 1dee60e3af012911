"""What comparisons in pairs were made of; see `provenance`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lockstep import layout, plan
from lockstep.config.run import Config
from lockstep.editors.settings import EditorSettings
from lockstep.jobs.code import code, module_of
from lockstep.jobs.provenance import of_backend, tables_of
from lockstep.judges.settings import JudgeSettings, ModelJudgeSettings
from lockstep.records.notes import Output, digest, joint, sha256
from lockstep.rubrics.pairs import read_pairs


def can_compare(settings: Config) -> bool:
    """Tell whether there are edits to compare, and a judge to ask."""
    return len(_editors(settings)) > 1 and isinstance(settings.judge, ModelJudgeSettings)


def shards(settings: Config, devices: int) -> int:
    """Return the number of shards of a round's comparisons."""
    return devices // settings.judge.together


def rounds(settings: Config) -> int:
    return plan.pair_rounds(len(_editors(settings)))


def edits(settings: Config, category: str, devices: int) -> dict[str, list[Path]]:
    """Return the records of a category's edits by editor."""
    return {
        editor.name: layout.all_edits(
            Path(settings.results), editor.name, category, devices // editor.together
        )
        for editor in _editors(settings)
    }


def _editors(settings: Config) -> list[EditorSettings]:
    """Return the editors that are compared, each with its first seed alone."""
    return [editor for editor in settings.editors if editor.further_seed is None]


def every_edit(settings: Config, category: str, devices: int) -> list[Path]:
    return [path for paths in edits(settings, category, devices).values() for path in paths]


def found(settings: Config, category: str, number: int, devices: int) -> list[Path]:
    """Return what a round's comparisons found, of all shards."""
    count = shards(settings, devices)
    own = (Path(settings.results), category, number)
    return [layout.pairs(*own, shard, count) for shard in range(count)]


def earlier(settings: Config, category: str, number: int, devices: int) -> list[Path]:
    """Return what the rounds before one found."""
    return [path for k in range(number) for path in found(settings, category, k, devices)]


def every_pair(settings: Config, devices: int) -> list[Path]:
    """Return what all comparisons found."""
    keys, count = settings.benchmark.categories, rounds(settings)
    return [path for key in keys for path in earlier(settings, key, count, devices)]


def chosen(settings: Config, category: str, number: int, devices: int) -> Output:
    """Return the pairs that a round compares."""
    results = Path(settings.results)
    every = edits(settings, category, devices)
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": digest({editor: joint(paths) for editor, paths in every.items()}),
        "pairs": joint(earlier(settings, category, number, devices)),
        "code": code("figures.design"),
    }
    return Output(results, [layout.chosen_pairs(results, category, number)], made_of)


def compared(
    judge: JudgeSettings,
    results: Path,
    category: str,
    number: int,
    edits: Mapping[str, Sequence[Path]],
    shard: int,
    count: int,
) -> Output:
    """Return what a shard of a round's comparisons found.

    Args:
        count: of shards.
    """
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": digest({editor: joint(paths) for editor, paths in edits.items()}),
        "pairs": sha256(layout.chosen_pairs(results, category, number)),
        "judge": of_backend(judge),
        "rubric": read_pairs(judge.pairs_file).sha256,
        "code": code("scoring.pairs", module_of(judge)),
    }
    if judge.instruction_shown != "original":
        folders = [layout.folder(results, editor, category) for editor in edits]
        made_of["rewritten"] = joint(list(map(layout.rewritten, folders)))
    return Output(results, [layout.pairs(results, category, number, shard, count)], made_of)


def summed_up(settings: Config, devices: int) -> Output:
    """Return what the comparisons say of the editors."""
    results = Path(settings.results)
    made_of = {
        "pairs": joint(every_pair(settings, devices)),
        "tables": joint(tables_of(settings)),
        "config": digest([editor.name for editor in settings.editors]),
        "code": code("figures.arena"),
    }
    return Output(results, [layout.arena(results)], made_of)


def outputs(settings: Config, devices: int) -> Iterator[Output]:
    """Yield all outputs of comparisons, and what they say."""
    yield from comparisons(settings, devices)
    yield summed_up(settings, devices)


def comparisons(settings: Config, devices: int) -> Iterator[Output]:
    """Yield the chosen pairs and what was found of them, round by round."""
    for category in settings.benchmark.categories:
        every = edits(settings, category, devices)
        for number in range(rounds(settings)):
            yield chosen(settings, category, number, devices)
            count = shards(settings, devices)
            own = (settings.judge, Path(settings.results), category, number, every)
            yield from (compared(*own, shard, count) for shard in range(count))
