"""A file of rewritten instructions, by the ids of samples."""

from collections.abc import Mapping

from lockstep.benchmark import items, score_files
from lockstep.errors import ConfigError, SampleError
from lockstep.foreign.ids import same_id

TEXT = ("rewritten", "instruction", score_files.OF_ID)
"""Columns of the text, the first that a file has: a run's own file has two of them."""

Texts = Mapping[str, str | SampleError]
"""By what is equal of ids that may be mixed up: the text, or why there is none."""


def read_texts(path: str) -> Texts:
    """Read a file of rewritten instructions.

    Raises:
        ConfigError: if it cannot be read, or a row does not say which sample it is of.
    """
    columns, rows = score_files.read_rows(path)
    if not rows:
        raise ConfigError(f"{path}: expected rewritten instructions, found none")
    column = next((name for name in TEXT if name in columns), None)
    if "id" not in columns or column is None:
        raise ConfigError(
            f"{path}: expected the columns id and rewritten (or instruction), found "
            f"{', '.join(columns) or 'none'}"
        )
    found: dict[str, str | SampleError] = {}
    first: dict[str, str] = {}
    for place, row in rows:
        own = score_files.text_in(place, "id", row.get("id"))
        key = same_id(own)
        if key in found:
            found[key] = SampleError(
                f"{place}: expected each id once, found {own!r} a second time, after {first[key]}"
            )
            continue
        first[key] = place.removeprefix(f"{path}: ")
        try:
            found[key] = items.needed(row, column)
        except SampleError as error:
            found[key] = SampleError(f"{place}: sample {own!r}: {error}")
    return found
