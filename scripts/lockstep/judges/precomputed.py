"""Judges that need no model: finished replies from a folder, or finished scores from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lockstep import models, records
from lockstep.errors import ConfigError, SampleError, suggest
from lockstep.foreign_files import find_file, read_file
from lockstep.ids import same_id
from lockstep.judges import Finished, Judgement, Pair
from lockstep.rubric import SCALE, Rubric
from lockstep.score_files import Row, ScoreFile, needed_columns, numbers, read_score_file

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
        folder = self._folder / pair.editor
        try:
            path = find_file(folder, pair.id, [SUFFIX])
            if path is None:
                wanted = str(folder / f"{pair.id}{SUFFIX}")
                return Judgement(None, error=f"found no reply {wanted!r}, accepted is a text file")
            if path.suffix != SUFFIX:
                # files of other suffixes are no part of what decides a score
                raise SampleError(f"expected the suffix {SUFFIX}, found {path.suffix}")
            data = read_file(path, path.name, MAX_REPLY)
            known = models.folder_hashes(str(self._folder))
            if known.get(str(path.relative_to(self._folder))) != records.sha256(data):
                raise SampleError("expected the reply that was there at first, found another")
            return Judgement(data.decode("utf-8-sig"))
        except (SampleError, OSError, UnicodeDecodeError) as error:
            return Judgement(
                None, error=f"{folder}: found no readable reply of {pair.id!r} ({error})"
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
        editor = pair.editor if "editor" in self._file.columns else None
        row = self._rows.get((editor, pair.category, same_id(pair.id)))
        if row is None:
            by = "" if editor is None else f" by {editor!r}"
            return Judgement(None, error=f"{self._file.path}: found no row of this sample{by}")
        given = _given(row, needed_columns(self._file, pair.rubric.names), pair.rubric)
        for column, value in given.items():
            if value is None:
                return Judgement(None, error=f"{row.place}: {column}: found nothing")
        if "score" in given:
            return Judgement(None, finished=Finished({}, given["score"]))
        return Judgement(None, finished=Finished(given, pair.rubric.score(given, pair.tags)))


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
                f"{file.path}: found no column 'editor', accepted is one that tells "
                f"{' and '.join(editors)} apart"
            )
        return
    known = sorted({row.editor for row in file.rows})
    for editor in editors:
        if editor not in known:
            raise ConfigError(
                f"{file.path}: found no scores of editor {editor!r}{suggest(editor, known)}, "
                f"it has those of {', '.join(known)}"
            )
