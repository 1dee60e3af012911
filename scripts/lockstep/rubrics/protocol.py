"""Protocols: which rubrics a published benchmark is judged by, and how it sums scores up.

A protocol is a folder of rubrics with a `protocol.yaml`. The words are ours, the arithmetic is the
benchmark's; each file names where that is written. A sample without a score is left out of all
means, whatever the original does with it (docs/benchmarks.md).
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from lockstep.config.section import Written
from lockstep.errors import RubricError
from lockstep.foreign.yaml_files import read_yaml

PROTOCOL = "protocol.yaml"
"""Name of the file in a folder of rubrics that makes it a protocol."""


class Protocol(Written):
    """How a benchmark sums up; a file `protocol.yaml`.

    With `like: file`, it is that protocol with other rubrics and whatever else it says itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1)]
    """Name of the benchmark."""
    source: Annotated[str, Field(min_length=1)]
    """Where the arithmetic is written."""
    aggregate: Literal["micro", "macro"]
    """Whether the overall numbers are means over samples or over the categories' means."""
    scale: tuple[float, float]
    """What the lowest and the highest score are published as; linear in between."""
    accuracy: bool = False
    """Whether the share of samples with the highest value of each criterion is published."""
    failed_as: float | None = None
    """What authors count a sample without a score as, on the published scale: `score_of_all` then
    stands beside the score."""
    headline: Literal["score", "accuracy"] = "score"
    """The number that editors are ranked by."""
    rubric: str
    """Rubric of every category that `rubrics` does not name; relative to the file."""
    rubrics: dict[str, tuple[str, ...]] = Field({})
    """Other rubrics, with their categories."""
    groups: dict[str, tuple[str, ...]] = Field({})
    """Categories that are published together, by name."""
    tags: tuple[str, ...] = ()
    """Tags whose samples are published together, whatever their category."""
    folder: str = ""
    """Where the file is; not part of it."""

    @model_validator(mode="after")
    def _sane(self) -> "Protocol":
        if not self.scale[0] < self.scale[1]:
            raise ValueError(
                f"scale: expected the lowest before the highest, found {list(self.scale)}"
            )
        if self.headline == "accuracy" and not self.accuracy:
            raise ValueError("headline: expected accuracy: true beside it, found accuracy alone")
        named = [category for several in self.rubrics.values() for category in several]
        if twice := sorted({category for category in named if named.count(category) > 1}):
            raise ValueError(f"rubrics: expected each category once, found {twice[0]!r} twice")
        return self

    def rubric_file(self, category: str) -> str:
        """Return the path of a category's rubric."""
        named = (file for file, several in self.rubrics.items() if category in several)
        return str(Path(self.folder) / next(named, self.rubric))


def read_protocol(path: Path) -> Protocol:
    """Read a protocol's file.

    Raises:
        RubricError: with a clause for each mistake.
    """
    return _read(Path(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _: int) -> Protocol:
    """Read a file as it is at a time: it is asked for once for each category and job."""
    value = read_yaml(path, RubricError)
    if isinstance(value, dict) and "like" in value:
        value = _like(path, value)
    return _validated(path, value)


def _validated(path: Path, value: Any) -> Protocol:
    if not isinstance(value, dict) or "folder" in value:
        raise RubricError(f"{path}: found no protocol")
    try:
        return Protocol.model_validate({**value, "folder": str(path.parent)})
    except ValidationError as error:
        mistakes = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RubricError(f"{path}: {'; '.join(mistakes)}") from None


def _like(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Return a protocol's values with those of the one that it is like."""
    named = value["like"]
    if not isinstance(named, str):
        raise RubricError(f"{path}: like: expected a protocol's file, found {named!r:.60}")
    other = path.parent / named
    try:
        known = _validated(other, read_yaml(other, RubricError))
    except OSError:
        raise RubricError(f"{path}: like: expected the file {other}, found none") from None
    given = known.model_dump(exclude_unset=True, exclude={"folder", "rubric", "rubrics"})
    return {**given, **{name: own for name, own in value.items() if name != "like"}}
