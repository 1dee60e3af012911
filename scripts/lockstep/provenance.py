"""What each output was made of, and which outputs do not fit what is asked for now.

Every job leaves a note of its outputs in `provenance/`, below the results: hashes of what decided
them, part by part, and of the files themselves. The notes travel with the results, so outputs are
known for what they are in any working folder. An output without a note, or with another one than
is asked for now, is made again; what takes a model has keys of its own and is kept.

Models are known here by the sizes and times of their files. Their contents are in the keys of
edits and judgements.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from lockstep import config, layout, models, plan, records
from lockstep.benchmark.detect import deciding_files
from lockstep.errors import DamagedError
from lockstep.rubric import Rubric

LIBRARY = Path(__file__).parent

READING = ("benchmark/*.py", "categories.py", "foreign_files.py", "ids.py", "images.py")
READING += ("quarantine.py", "records.py")
EDITING = ("adapter_scale.py", "editing.py", "editors/*.py", "images.py", "models.py", "plan.py")
EDITING += ("foreign_files.py", "plain_text.py", "quarantine.py", "qwen_vl.py", "records.py")
EDITING += ("stages.py",)
JUDGING = ("images.py", "judges/__init__.py", "judging.py", "models.py", "plan.py", "records.py")
JUDGING += ("rubric.py", "sandbox.py", "scoring.py", "ties.py")
JUDGES = {
    "qwen3_vl": ("plain_text.py", "qwen_vl.py", "judges/[dqs]*.py"),
    "openai": ("judges/openai_api.py", "redaction.py", "transport.py"),
    "precomputed": ("foreign_files.py", "ids.py", "judges/precomputed.py", "score_files.py"),
}
TABLES = ("media.py", "rubric.py", "stats.py", "tables.py", "ties.py")
PROTOCOLS = ("protocol.py", "published.py")
REPORTING = ("drift.py", "report/*.py", "report/templates/**/*.*", *PROTOCOLS, *TABLES)
"""Code that decides each kind of output; a change of other code makes nothing again."""

REASONS = {
    "adapters": "made-with-other-adapters",
    "anchors": "made-of-other-anchors",
    "benchmark": "made-of-another-benchmark",
    "code": "made-by-another-version",
    "compared": "made-of-other-sources",
    "config": "made-with-another-configuration",
    "editor": "made-with-another-editor",
    "edits": "made-of-other-edits",
    "files": "made-of-other-files",
    "human_scores": "made-of-other-human-scores",
    "judge": "made-with-another-judge",
    "manifest": "made-of-other-samples",
    "place": "made-in-another-place",
    "protocol": "made-with-another-protocol",
    "rubric": "made-with-another-rubric",
    "scores": "made-of-other-scores",
    "seed": "made-with-another-seed",
    "tables": "made-of-other-tables",
}
"""Why an output is made again, by the part of its note that differs."""

LOST = "a-file-is-lost-or-changed"
ALTERED = "altered-or-cut-off"
UNKNOWN = "made-of-nobody-knows-what"

SHOWN = re.compile(rb'"image":"images/([^"]*)"')
"""An image in a manifest, whose lines are canonical JSON; its name holds no quotation mark."""

EDITED = re.compile(rb'"image":"images/([^"]*)","image_bytes":(\d+),"image_time":(\d+)')
"""An edited image with its size and time in a file of records."""


class Note(BaseModel):
    """What outputs of one job were made of."""

    model_config = ConfigDict(extra="forbid")

    made_of: dict[str, str]
    """SHA-256 of what decided them, by what it is."""
    files: dict[str, str]
    """SHA-256 of each, by its path below the results."""


class Output(NamedTuple):
    """What one job makes."""

    results: Path
    files: Sequence[Path]
    """The first one names the note."""
    made_of: Mapping[str, str]
    """As in the note of it, if it were made now."""
    also: str = ""
    """Pattern of further files, below the results, whose names the job alone knows."""

    @property
    def note(self) -> Path:
        return layout.note(self.results, self.files[0])


@contextmanager
def noted(output: Output) -> Iterator[None]:
    """Leave a note of what the block makes.

    Args:
        output: as it is asked for when the block begins.
    """
    output.note.unlink(missing_ok=True)
    yield
    made_of = dict(output.made_of)
    paths = [*output.files, *(sorted(output.results.glob(output.also)) if output.also else ())]
    files = {str(path.relative_to(output.results)): sha256(path) for path in paths}
    records.write_json(output.note, Note(made_of=made_of, files=files).model_dump(mode="json"))


def check_scored(
    settings: config.Config, editor: str, category: str, shards: int, rubric: Rubric
) -> None:
    """Refuse edits and scores that are not what is asked for, before they are read.

    Args:
        shards: of edits.

    Raises:
        DamagedError: naming the first.
    """
    own = settings.editor(editor)
    _check(edited(settings, own, category, k, shards) for k in range(shards))
    judges = shards // settings.judge.gpus_per_judge
    _check(scored(settings, editor, category, k, shards, rubric) for k in range(judges))


def check_tabulated(settings: config.Config, shards: int, rubrics: Mapping[str, Rubric]) -> None:
    """Refuse tables that are not what is asked for, before they are read.

    Args:
        shards: of edits.
        rubrics: by category.

    Raises:
        DamagedError: naming the first.
    """
    _check(
        tabulated(settings, editor.name, category, shards, rubrics[category])
        for editor in settings.editors
        for category in settings.benchmark.categories
    )


def check_whole(results: Path, output: Path) -> None:
    """Refuse an output that is not what was written, as far as a note tells.

    Raises:
        DamagedError: if it is another.
    """
    note = _read_note(layout.note(results, output))
    if note is not None and note.files.get(str(output.relative_to(results))) != sha256(output):
        raise DamagedError(
            f"{output}: found it altered or cut off, run that workflow again to have it made anew"
        )


def check_reported(results: Path, tables: Sequence[Path]) -> None:
    """Refuse tables of a run that were made anew since its report.

    Args:
        tables: all that the report lists, in its order.

    Raises:
        DamagedError: if they are others.
    """
    page = results / "report" / "report.html"
    note = _read_note(layout.note(results, page))
    both = [path for table in tables for path in (table, table.with_name("summary.json"))]
    if note is not None and note.made_of.get("tables") != _together(both):
        raise DamagedError(
            f"{page}: found it made of other tables than are there now; finish that run first"
        )


def _check(outputs: Iterable[Output]) -> None:
    for output in outputs:
        if reason := misfit(output):
            raise DamagedError(
                f"{output.files[0]}: found it {reason.replace('-', ' ')}, "
                "run again to have it made anew"
            )


def misfit(output: Output) -> str | None:
    """Return why an output must be made again; None if it fits, or was never made."""
    there = [path.is_file() for path in output.files]
    note = _read_note(output.note)
    if not any(there):
        return None if note is None else LOST
    if not all(there):
        return LOST
    if note is None:
        return UNKNOWN
    try:
        found = {name: sha256(records.below(output.results, name)) for name in note.files}
    except DamagedError:
        # it names a file elsewhere
        return UNKNOWN
    if not all(found.values()):
        return LOST
    if found != note.files:
        return ALTERED
    differing = {
        part
        for part in {*note.made_of, *output.made_of}
        if note.made_of.get(part) != output.made_of.get(part)
    }
    if differing:
        return REASONS[min(differing)]
    known = {str(path.relative_to(output.results)) for path in output.files} <= found.keys()
    return None if known else UNKNOWN


def _read_note(path: Path) -> Note | None:
    try:
        return Note.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


_known: dict[tuple, str] = {}
"""SHA-256 of files, by path, size, times and inode."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, "" if there is none; each is read once a process."""
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            # a device or a pipe may have no end
            return ""
        known = (str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        if known not in _known:
            _known[known] = records.sha256(Path(path).read_bytes())
        return _known[known]
    except OSError:
        return ""


def digest(*values: Any) -> str:
    """Return the SHA-256 over plain values."""
    return records.sha256(records.canonical_json(values).encode())


def _together(paths: Iterable[Path]) -> str:
    return digest([sha256(path) for path in paths])


@cache
def code(*patterns: str) -> str:
    """Return the SHA-256 over the text of the library's files of some names."""
    paths = {path for pattern in patterns for path in LIBRARY.glob(pattern) if path.is_file()}
    return digest([[str(path.relative_to(LIBRARY)), sha256(path)] for path in sorted(paths)])


def _state(folder: str | None) -> list[Any]:
    """Return what changes when a file of a model's folder does, wherever the folder lies."""
    if folder is None or not config.is_folder(folder):
        return [folder]
    paths = models.model_files(folder) if Path(folder).is_dir() else []
    return [
        [str(path.relative_to(folder)), state]
        for path, state in zip(paths, models.files_state(map(str, paths)), strict=True)
    ]


def _place_apart(settings: Any, *apart: str) -> dict[str, Any]:
    """Return settings without those that decide nothing, and without where a folder lies."""
    plain = settings.model_dump(mode="json", exclude={*apart, "adapters"})
    if "model" in plain and config.is_folder(plain["model"]):
        plain["model"] = None
    return plain


def prepared(settings: config.Config) -> Output:
    """Return the manifests, what was rejected, and the counts of samples."""
    results, own = Path(settings.results), settings.benchmark
    files = [layout.counts(results), layout.rejected(results), layout.sources(results)]
    files += [layout.manifest(results, category) for category in own.categories]
    made_of = {
        "benchmark": digest(own.model_dump(mode="json", exclude={"path", "images"}), _read(own)),
        "code": code(*READING),
    }
    return Output(results, files, made_of)


def _read(settings: config.Benchmark) -> list[list[Any]]:
    """Return names and states of a benchmark's files; those that it names are listed elsewhere."""
    archive = [settings.images] if settings.images and os.path.isfile(settings.images) else []
    paths = [*map(str, deciding_files(Path(settings.path), settings.format)), *archive]
    names = map(os.path.basename, paths)
    return [list(pair) for pair in zip(names, models.files_state(paths), strict=True)]


def edited(
    settings: config.Config, editor: config.AnyEditor, category: str, shard: int, shards: int
) -> Output:
    """Return the records of a shard's edits."""
    results = Path(settings.results)
    manifest = layout.manifest(results, category)
    made_of = {
        "manifest": digest(sha256(manifest), _first(results, category) % shards),
        "seed": str(settings.seed),
        "editor": _of_editor(editor),
        "adapters": digest([models.adapter_identity(own) for own in _adapters(editor)]),
        "code": code(*EDITING),
    }
    path = layout.edits(results, editor.name, category, shard, shards)
    return Output(results, [path], made_of)


def _of_editor(editor: config.AnyEditor) -> str:
    folder = getattr(editor, "folder", None)
    return digest(
        _place_apart(editor, "name", "preset", "offload", "folder"),
        _state(getattr(editor, "model", None)),
        None if folder is None else models.folder_state(folder),
    )


def _adapters(editor: config.AnyEditor) -> Sequence[config.Adapter]:
    return getattr(editor, "adapters", ())


def _first(results: Path, category: str) -> int:
    """Return the place of a category's first sample, 0 where that is not known."""
    try:
        return plan.place(records.read_json(layout.counts(results)), category)
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def scored(
    settings: config.Config,
    editor: str,
    category: str,
    shard: int,
    shards: int,
    rubric: Rubric,
) -> Output:
    """Return the records of a shard's scores.

    Args:
        shards: of edits; those of scores are fewer where a judge takes several devices.
    """
    results, together = Path(settings.results), settings.judge.gpus_per_judge
    edits = [
        layout.edits(results, editor, category, k, shards)
        for k in plan.edit_shards(shard, together)
    ]
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": _together(edits),
        "judge": _of_judge(settings.judge),
        "seed": str(settings.seed) if getattr(settings.judge, "repeats", 1) > 1 else "",
        "rubric": rubric.sha256,
        "code": code(*JUDGING, *JUDGES[settings.judge.type]),
    }
    path = layout.scores(results, editor, category, shard, shards // together)
    return Output(results, [path], made_of)


def _of_judge(judge: config.AnyJudge) -> str:
    folder, scores = getattr(judge, "folder", None), getattr(judge, "scores", None)
    return digest(
        _place_apart(judge, *judge.pace, "folder", "scores"),
        _state(getattr(judge, "model", None)) if judge.on_device else None,
        None if folder is None else models.folder_state(folder),
        None if scores is None else sha256(Path(scores)),
    )


def tabulated(
    settings: config.Config, editor: str, category: str, shards: int, rubric: Rubric
) -> Output:
    """Return the table and the summary of an editor and category.

    Args:
        shards: of edits.
    """
    results, judges = Path(settings.results), shards // settings.judge.gpus_per_judge
    edits = layout.all_edits(results, editor, category, shards)
    scores = [layout.scores(results, editor, category, k, judges) for k in range(judges)]
    made_of = {
        "manifest": sha256(layout.manifest(results, category)),
        "edits": _together(edits),
        "scores": _together(scores),
        "rubric": rubric.sha256,
        "config": digest(settings.report.model_dump(mode="json", include={"threshold"})),
        # it names the images where they are
        "place": settings.results,
        "code": code(*TABLES),
    }
    files = [layout.table(results, editor, category), layout.summary(results, editor, category)]
    return Output(results, files, made_of)


def _tables(settings: config.Config) -> list[Path]:
    """Return the tables and summaries of all editors and categories."""
    results = Path(settings.results)
    return [
        place(results, editor.name, category)
        for editor in settings.editors
        for category in settings.benchmark.categories
        for place in (layout.table, layout.summary)
    ]


def agreed(settings: config.Config) -> Output:
    """Return the judge's agreement with human scores."""
    results = Path(settings.results)
    made_of = {
        "human_scores": sha256(Path(settings.report.human_scores)),
        "tables": _together(_tables(settings)),
        "code": code("agreement.py", *TABLES),
    }
    return Output(results, [results / "agreement.json"], made_of)


def anchored(settings: config.Config, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the scores of the anchor set and their drift."""
    results, anchors = Path(settings.results), Path(settings.judge.anchors)
    made_of = {
        "anchors": _together([anchors / "anchors.jsonl", anchors / "recorded.jsonl"]),
        "judge": _of_judge(settings.judge),
        "rubric": _of_rubrics(settings, rubrics),
        "code": code("anchors.py", *JUDGING, *JUDGES[settings.judge.type]),
    }
    files = [results / "anchors" / name for name in ("scores.jsonl", "drift.json")]
    return Output(results, files, made_of)


def collected(settings: config.Config) -> Output:
    """Return the anchor set that is made of this run."""
    results = Path(settings.results)
    made_of = {
        "tables": _together(_tables(settings)),
        "config": digest([editor.name for editor in settings.editors]),
    }
    files = [results / "anchor_set" / name for name in ("anchors.jsonl", "recorded.jsonl")]
    return Output(results, files, made_of)


def summed_up(settings: config.Config, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the numbers of the benchmark's protocol."""
    results = Path(settings.results)
    made_of = {
        "protocol": _of_protocol(settings),
        "rubric": _of_rubrics(settings, rubrics),
        "tables": _together(_tables(settings)),
        "code": code(*PROTOCOLS, *TABLES),
    }
    files = [results / "report" / f"protocol.{form}" for form in ("json", "md")]
    return Output(results, files, made_of)


def compared(
    results: Path,
    compare: config.Compare,
    report: config.Report,
    files: Mapping[str, Sequence[str]],
) -> Output:
    """Return the comparison of several sources.

    Args:
        files: of each source.
    """
    made_of = {
        "config": digest(compare.model_dump(mode="json"), report.model_dump(mode="json")),
        "compared": digest({name: _together(map(Path, own)) for name, own in files.items()}),
        "code": code("score_files.py", *REPORTING),
    }
    names = ("compare.md", "compare.json", "scores.csv", "scores.tex")
    return Output(results, [results / "compare" / name for name in names], made_of)


def _of_config(settings: config.Config) -> str:
    # a job on a cluster loads its own model, and results may be moved
    apart: Any = {"results": True, "devices": {"resident"}}
    return digest(settings.model_dump(mode="json", exclude=apart))


def _of_protocol(settings: config.Config) -> str:
    file = settings.judge.protocol_file
    return "" if file is None else sha256(Path(file))


def _of_rubrics(settings: config.Config, rubrics: Mapping[str, Rubric]) -> str:
    return digest([rubrics[category].sha256 for category in settings.benchmark.categories])


def reported(settings: config.Config, shards: int, rubrics: Mapping[str, Rubric]) -> Output:
    """Return the report.

    Args:
        shards: of edits.
        rubrics: by category.
    """
    results = Path(settings.results)
    names = [editor.name for editor in settings.editors]
    categories = settings.benchmark.categories
    edits = [
        path
        for editor in names
        for category in categories
        for path in layout.all_edits(results, editor, category, shards)
    ]
    further = [results / "anchors" / "drift.json", results / "agreement.json"]
    made_of = {
        "manifest": sha256(layout.rejected(results)),
        "edits": _together(edits),
        "tables": _together(_tables(settings)),
        "rubric": _of_rubrics(settings, rubrics),
        "protocol": _of_protocol(settings),
        "config": _of_config(settings),
        "files": digest([sha256(path) for path in further]),
        "code": code(*REPORTING),
    }
    files = layout.report(results, names, categories)
    files += [results / "report" / name for name in ("means.svg", "scores.csv")]
    for editor in names:
        for category in categories:
            files += layout.sheets(results, editor, category).values()
    return Output(results, files, made_of, also="report/data/*.js")


def stale(settings: config.Config, shards: int, rubrics: Mapping[str, Rubric]) -> dict[Path, str]:
    """Return the outputs that do not fit what is asked for, each with the reason.

    Nothing is changed. What has never been made is not among them, nor is what is only made of
    something that does not fit.

    Args:
        shards: of edits.
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
    judges = shards // settings.judge.gpus_per_judge
    manifests = prepared(settings)
    look(manifests, lambda: _lost_source(manifests.results, settings.benchmark))
    for editor in settings.editors:
        for category in categories:
            folder = manifests.results / editor.name / category / "images"
            there = _states(folder)
            for k in range(shards):
                edits = edited(settings, editor, category, k, shards)
                look(edits, partial(_lost_image, edits.files[0], there))
            own = (settings, editor.name, category)
            for k in range(judges):
                look(scored(*own, k, shards, rubrics[category]))
            look(tabulated(*own, shards, rubrics[category]))
    if settings.judge.anchors is not None:
        look(anchored(settings, rubrics))
    if settings.report.human_scores is not None:
        look(agreed(settings))
    if settings.judge.protocol_file is not None:
        look(summed_up(settings, rubrics))
    look(collected(settings))
    look(reported(settings, shards, rubrics))
    return found


def _lost_image(edits: Path, there: Mapping[str, tuple[int, int] | None]) -> bool:
    """Tell whether an image of a file of edits is not there, or has another size or time."""
    found = EDITED.findall(edits.read_bytes())
    return any(there.get(image.decode()) != (int(size), int(time)) for image, size, time in found)


def _lost_source(results: Path, settings: config.Benchmark) -> bool:
    """Tell whether an image of a manifest is not there, or a file that it was read from changed."""
    there = _states(results / "manifest" / "images")
    for category in settings.categories:
        found = SHOWN.findall(layout.manifest(results, category).read_bytes())
        if any(_is_lost(there, image.decode()) for image in found):
            return True
    # many times as fast as line by line
    listed = layout.sources(results).read_bytes().splitlines()
    sources = json.loads(b"[%s]" % b",".join(listed))
    root = str(settings.images_path)
    return any(models.state_of(f"{root}/{path}") != state for path, *state in sources)


def _is_lost(there: Mapping[str, tuple[int, int] | None], name: str) -> bool:
    state = there.get(name, (0, 0))
    return state is not None and state[0] == 0


def file_state(status: os.stat_result) -> tuple[int, int]:
    """Return an image's bytes, and its time in whole seconds, as archives keep it."""
    return status.st_size, int(status.st_mtime)


def _states(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Return bytes and time of each file in a folder; None of what is no regular file."""
    try:
        with os.scandir(folder) as entries:
            return {e.name: file_state(e.stat()) if e.is_file() else None for e in entries}
    except FileNotFoundError:
        return {}
