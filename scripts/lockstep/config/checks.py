"""What a configuration names on this machine, looked for before anything runs."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lockstep import layout
from lockstep.benchmark.categories import BY_FORMAT
from lockstep.benchmark.detect import lacking_category
from lockstep.config.run import Config
from lockstep.editors.rewriting import ChatRewriteSettings
from lockstep.editors.settings import ServedEditorSettings
from lockstep.errors import BenchmarkError, ConfigError, suggest
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import Lacking, absent, without_files
from lockstep.rubrics.rubric import read_rubric

NEEDS = {
    "agreement": "report.human_scores",
    "anchors": "judge.anchors",
    "arena": "two editors and a judge with a model",
    "compare": "compare.sources",
    "protocol": "rubrics with a protocol (judge.rubrics)",
    "rewrite": "an editor with a rewriter (editors[].rewrite)",
}
"""Settings that a target needs, by the target; it is not there without them."""

TARGETS = "LOCKSTEP_TARGETS"
"""Environment variable with the names of all targets, with blanks between them."""


def tell_targets(names: Iterable[str]) -> None:
    """Let who writes to the terminal know all targets."""
    os.environ[TARGETS] = " ".join(names)


def no_target(wanted: str) -> str | None:
    """Return a sentence on a target that nothing makes; None where nobody knows the targets."""
    if TARGETS not in os.environ:
        return None
    if wanted in NEEDS:
        return f"target {wanted!r}: expected {NEEDS[wanted]} in the configuration, found none"
    names = sorted(os.environ[TARGETS].split())
    return (
        f"found no target {wanted!r}{suggest(wanted, names)}; expected one of {', '.join(names)}, "
        "or a path below results"
    )


def check_files(config: Config, source: str, made: Collection[str]) -> None:
    """Look for the files that a configuration names.

    Args:
        source: what to call it in messages.
        made: paths that the workflow makes itself, which need not exist yet.

    Raises:
        ConfigError: naming the first that is not there, or not whole.
    """
    for key, sentence in lacking(config, made):
        raise ConfigError(f"{source}: {key}: {sentence}")


def check_judges(config: Config, asked: Collection[str], reach: bool) -> None:
    """Check what judges need beside files, before the first judgement.

    Args:
        asked: which of `Config.each_judge`.
        reach: whether their servers must be there.

    Raises:
        ConfigError: for the first mistake.
    """
    for name in asked:
        config.each_judge[name].check_environment(reach)


def check_scores(config: Config) -> None:
    """Check scores that judges have already.

    Raises:
        ConfigError: for the first mistake.
        RubricError: if a rubric is none.
    """
    names = [editor.name for editor in config.editors]
    for judge in config.each_judge.values():
        keys = config.benchmark.categories
        judge.check_scores(names, {k: read_rubric(Path(judge.rubric_file(k)), k) for k in keys})


def check_editors(
    config: Config, editing: Collection[str], rewriting: Collection[str], reach: bool
) -> None:
    """Check what editors and rewriters behind servers need, before the first edit.

    Args:
        editing: names of the editors that are to edit.
        rewriting: names of those whose instructions are to be rewritten.
        reach: whether their servers must be there.

    Raises:
        ConfigError: for the first mistake.
    """
    for editor in config.editors:
        if editor.name in rewriting and isinstance(editor.rewrite, ChatRewriteSettings):
            editor.rewrite.check_environment(reach)
        if editor.name in editing and isinstance(editor, ServedEditorSettings):
            editor.check_environment(reach)


def lacking(config: Config, made: Collection[str]) -> Iterator[Lacking]:
    """Yield each file that a configuration names and that is not there, or not whole.

    Args:
        made: as `check_files` takes it.
    """
    for path in (Path(config.results), *Path(config.results).parents):
        if path.exists() and not path.is_dir():
            yield Lacking("results", f"found a file {str(path)!r}, expected a folder")
    yield from _below("benchmark", _of_benchmark(config, made))
    for editor in config.editors:
        key = f"editors[{config.place(editor)}]"
        yield from _below(key, editor.missing(made))
        if editor.rewrite is not None:
            yield from _below(f"{key}.rewrite", editor.rewrite.missing(made))
    names = [editor.name for editor in config.editors]
    for judge in config.each_judge.values():
        yield from _below(judge.option, judge.missing(made))
        yield from _below(judge.option, judge.lacking_of(names))
        yield from _below(judge.option, _of_anchors(config, judge.anchors, made))
        yield from _below(judge.option, _of_rubrics(config, judge))
    yield from _below("metrics", config.metrics.missing())
    for file in config.report.human_files:
        yield from absent("report.human_scores", file, made)


def _below(key: str, lacking: Iterator[Lacking]) -> Iterator[Lacking]:
    return (Lacking(f"{key}.{field}", sentence) for field, sentence in lacking)


def _of_benchmark(config: Config, made: Collection[str]) -> Iterator[Lacking]:
    own = config.benchmark
    if own.images is not None:
        yield from absent("images", own.images, made)
        if Path(own.images).is_dir():
            yield from without_files("images", own.images, ("",))
    if Path(own.path).is_dir() and own.format not in ("kris", "gedit", "table"):
        yield Lacking("path", f"expected a file, found a folder {own.path!r}")
    if BY_FORMAT[own.format] is None and own.path not in made:
        # what is wrong with the file itself is told by who reads it
        with suppress(BenchmarkError):
            if sentence := lacking_category(Path(own.path), own.format, own.categories):
                yield Lacking("categories", sentence)


def _of_rubrics(config: Config, judge: JudgeSettings) -> Iterator[Lacking]:
    for category in config.benchmark.categories:
        file = judge.rubric_file(category)
        if not Path(file).is_file():
            yield Lacking(
                "rubrics",
                f"found no file {file!r}, the rubric of {category!r}; expected a file for each "
                "category, or the path of one .yaml file for all",
            )


def _of_anchors(config: Config, anchors: str | None, made: Collection[str]) -> Iterator[Lacking]:
    if anchors is None:
        return
    for path in layout.anchor_files(Path(anchors)):
        yield from absent("anchors", str(path), made)
    if Path(anchors).resolve() == layout.anchor_set(Path(config.results)).resolve():
        yield Lacking(
            "anchors",
            f"expected a copy elsewhere, found {anchors!r}, which is made anew of each run",
        )
