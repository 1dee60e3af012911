"""Judges that need no model: finished replies from a folder, or finished scores from a file."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, model_validator

from lockstep import records
from lockstep.benchmark.score_files import Row, ScoreFile, needed_columns, numbers, read_score_file
from lockstep.config.section import PathText, PlainPath
from lockstep.errors import NO_UTF8, ConfigError, SampleError, suggest
from lockstep.foreign.files import find_file, read_file
from lockstep.foreign.ids import same_id
from lockstep.judges.protocol import Finished, Judge, Judgement, Pair
from lockstep.judges.settings import JudgeSettings
from lockstep.models import fingerprints
from lockstep.models.backend import Lacking, absent, without_files
from lockstep.models.fingerprints import all_files, file_sha256, folder_state, model_identity
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import SCALE, Rubric

SUFFIX = ".txt"
"""Of a reply."""

MAX_REPLY = 2**20
"""Bytes of a reply."""


class PrecomputedReplies:
    """Finished replies by editor and sample id.

    Args:
        folder: holds `{editor}/{id}.txt`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: Pair) -> Judgement:
        folder = self._folder / pair.editor / pair.call
        try:
            path = find_file(folder, pair.id, [SUFFIX])
            if path is None:
                wanted = str(folder / f"{pair.id}{SUFFIX}")
                return Judgement(None, error=f"expected a text file {wanted!r}, found none")
            if path.suffix != SUFFIX:
                # files of other suffixes are no part of what decides a score
                raise SampleError(f"expected the suffix {SUFFIX}, found {path.suffix}")
            data = read_file(path, path.name, MAX_REPLY)
            known = fingerprints.folder_hashes(str(self._folder))
            if known.get(str(path.relative_to(self._folder))) != records.sha256(data):
                raise SampleError("expected the reply that was there at first, found another")
            return Judgement(data.decode("utf-8-sig"))
        except (SampleError, OSError, UnicodeDecodeError) as error:
            why = NO_UTF8 if isinstance(error, UnicodeDecodeError) else error
            return Judgement(
                None, error=f"{folder}: found no readable reply of {pair.id!r} ({why})"
            )


class PrecomputedScores:
    """Finished scores by editor, category and sample id.

    Args:
        path: a file as `score_files` reads it. Where it has a column for each criterion of a
            rubric, the rubric combines them, and `score` is passed over.
    """

    def __init__(self, path: str) -> None:
        self._file = read_score_file(path)
        self._rows = {
            (row.editor, category, same_id(row.id)): row
            for row in self._file.rows
            for category in row.categories
        }

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: Pair) -> Judgement:
        rubric = cast(Rubric, pair.rubric)
        editor = pair.editor if "editor" in self._file.columns else None
        row = self._rows.get((editor, pair.category, same_id(pair.id)))
        if row is None:
            by = "" if editor is None else f" by {editor!r}"
            return Judgement(None, error=f"{self._file.path}: found no row of this sample{by}")
        columns = needed_columns(self._file, rubric.names)
        given: dict[str, float] = {}
        for column, value in _given(row, columns, rubric).items():
            if value is None:
                return Judgement(None, error=f"{row.place}: {column}: found nothing")
            given[column] = value
        if "score" in given:
            return Judgement(None, finished=Finished({}, given["score"]))
        return Judgement(None, finished=Finished(given, combine.score(rubric, given, pair.tags)))


def check_scores(path: str, editors: Sequence[str], rubrics: Mapping[str, Rubric]) -> None:
    """Check a file of scores before it is needed.

    Args:
        editors: names that it must have scores of; a single one needs no column.
        rubrics: by category.

    Raises:
        ConfigError: for the first mistake.
    """
    file = read_score_file(path)
    _check_editors(file, editors)
    columns = {category: needed_columns(file, r.names) for category, r in rubrics.items()}
    for row in file.rows:
        for category in sorted(row.categories & columns.keys()):
            _given(row, columns[category], rubrics[category])


def _given(row: Row, columns: Sequence[str], rubric: Rubric) -> dict[str, float | None]:
    """Return a row's numbers: scores from 0 to 10, criteria on their rubric's scale."""
    return numbers(row, columns, SCALE if "score" in columns else rubric.scale)


def _check_editors(file: ScoreFile, editors: Sequence[str]) -> None:
    if "editor" not in file.columns:
        if len(editors) > 1:
            raise ConfigError(
                f"{file.path}: expected a column 'editor' that tells {' and '.join(editors)} "
                "apart, found none"
            )
        return
    known = sorted({row.editor for row in file.rows if row.editor is not None})
    for editor in editors:
        if editor not in known:
            raise ConfigError(
                f"{file.path}: found no scores of editor {editor!r}{suggest(editor, known)}, "
                f"it has those of {', '.join(known)}"
            )


class PrecomputedJudgeSettings(JudgeSettings):
    """Finished replies from a folder (`{editor}/{id}.txt`), or finished scores from a file."""

    places: ClassVar[frozenset[str]] = frozenset({"folder", "scores"})
    mode: ClassVar[Literal["reasoned", "score_only"]] = "reasoned"
    repeats: ClassVar[int] = 1
    swapped_instruction: ClassVar[bool] = False
    instruction_shown: ClassVar[Literal["original", "rewritten", "both"]] = "original"
    anchors: ClassVar[str | None] = None
    pairs: ClassVar[bool] = False

    @property
    def finished(self) -> bool:
        return self.scores is not None

    type: Literal["precomputed"]
    folder: PathText | None = Field(None, description="Folder of the replies.")
    scores: PlainPath | None = Field(
        None,
        description="CSV, JSON, JSONL or Parquet file with the columns category, id, a column for "
        "each criterion or one score, and optionally editor.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "PrecomputedJudgeSettings":
        if (self.folder is None) == (self.scores is None):
            found = "neither" if self.folder is None else "both"
            raise ValueError(f"expected folder or scores, found {found}")
        return self

    def identity(self) -> dict[str, Any]:
        if self.scores is None:
            return model_identity(str(self.folder), None)
        return {"scores_sha256": file_sha256(self.scores)}

    def files(self) -> dict[str, Path]:
        if self.folder is not None:
            return all_files(self.folder)
        return {} if self.scores is None else {"scores": Path(self.scores)}

    def state(self) -> list[Any]:
        if self.folder is not None:
            return [folder_state(self.folder)]
        return [] if self.scores is None else [file_sha256(self.scores)]

    def missing(self, made: Collection[str]) -> Iterator[Lacking]:
        if self.scores is not None:
            yield from absent("scores", self.scores, made)

    def check_scores(self, editors: Sequence[str], rubrics: Mapping[str, Rubric]) -> None:
        if self.scores is not None:
            check_scores(self.scores, editors, rubrics)

    def lacking_of(self, editors: Sequence[str]) -> Iterator[Lacking]:
        for editor in editors if self.folder is not None else ():
            folder = f"{self.folder}/{editor}"
            yield from list(absent("folder", folder, ())) or without_files(
                "folder", folder, (SUFFIX,)
            )

    def load(self, torch_device: str) -> Judge:
        if self.scores is None:
            return PrecomputedReplies(str(self.folder))
        return PrecomputedScores(self.scores)
