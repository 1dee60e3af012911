"""What the settings of all judges share."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from lockstep.config.section import Name, PlainPath
from lockstep.judges.protocol import Judge
from lockstep.models.backend import BackendSettings, Lacking
from lockstep.rubrics.pairs import PAIRS
from lockstep.rubrics.protocol import PROTOCOL, read_protocol
from lockstep.rubrics.questions import Question
from lockstep.rubrics.rubric import Rubric


class JudgeSettings(BackendSettings):
    """What all judges share."""

    neutral: ClassVar[frozenset[str]] = frozenset({"name", "rubrics", "anchors", "pairs"})
    semantics: ClassVar[int] = 4
    """Raised by hand when code changes the replies that the same settings give."""
    name: Name | None = Field(None, description="Name of the judge. Needed in `judges`.")
    rubrics: PlainPath = Field(
        "config/rubrics",
        description="Folder with one rubric for each category, folder with a protocol, or one "
        ".yaml file for all categories.",
    )

    def rubric_file(self, category: str) -> str:
        """Return the path of a category's rubric.

        Raises:
            RubricError: if the folder holds a protocol that is none.
        """
        if self.rubrics.endswith(".yaml"):
            return self.rubrics
        if self.protocol_file is not None:
            return read_protocol(Path(self.protocol_file)).rubric_file(category)
        return f"{self.rubrics}/{category}.yaml"

    @property
    def pairs_file(self) -> str | None:
        """Path of the question on two edits, where the folder of rubrics has one."""
        path = Path(self.rubrics) / PAIRS
        return str(path) if path.is_file() else None

    @property
    def protocol_file(self) -> str | None:
        """Path of the protocol that the rubrics belong to, where there is one."""
        path = Path(self.rubrics) / PROTOCOL
        return str(path) if path.is_file() else None

    if TYPE_CHECKING:
        # fields of a judge that is asked, constants of one that is not
        @property
        def mode(self) -> Literal["reasoned", "score_only"]: ...
        @property
        def repeats(self) -> int: ...
        @property
        def swapped_instruction(self) -> bool: ...
        @property
        def anchors(self) -> str | None: ...
        @property
        def instruction_shown(self) -> Literal["original", "rewritten", "both"]: ...
        @property
        def pairs(self) -> bool: ...

        # of one that is asked
        def longest_reply(self, question: Question) -> int: ...
        @property
        def temperature(self) -> float: ...

        # of one that is served
        @property
        def max_failed_share(self) -> float: ...

    @property
    def option(self) -> str:
        """What messages call its part of the configuration."""
        return "judge" if self.name is None else f"judges.{self.name}"

    @property
    def called(self) -> str:
        """What its model is called."""
        return "the judge" if self.name is None else f"the judge {self.name}"

    @property
    def together(self) -> int:
        """Devices over which one judge is spread."""
        return 1

    @property
    def finished(self) -> bool:
        """Whether it has scores of whole rubrics, without a reply to any call."""
        return False

    @property
    def least_mass(self) -> float:
        """Least probability that it must put on valid scores; 0 where it says none."""
        return 0.0

    @property
    def at_a_time(self) -> int | None:
        """Requests that its server may get at a time, of all jobs; None without a server."""
        return None

    def claims(self, jobs: int) -> dict[str, int]:
        """Return what a job that judges takes of devices (gpu) or of a server (requests).

        Args:
            jobs: that may judge at a time.
        """
        return {"gpu": self.together} if self.on_device else {}

    def identity(self) -> dict[str, Any]:
        """Return what decides its replies beside what it is shown and told."""
        raise NotImplementedError

    def lacking_of(self, editors: Sequence[str]) -> Iterator[Lacking]:
        """Yield what it needs for each editor and what is not there."""
        yield from ()

    def check_environment(self, reach: bool) -> None:
        """Check what it needs beside files: variables, addresses, keys.

        Args:
            reach: whether its server must be there.

        Raises:
            ConfigError: for the first mistake.
        """

    def check_scores(self, editors: Sequence[str], rubrics: Mapping[str, Rubric]) -> None:
        """Check scores that are there already.

        Args:
            editors: names of those that must have some.
            rubrics: by category.

        Raises:
            ConfigError: for the first mistake.
        """

    def told(self, *texts: str) -> dict[str, Any]:
        """Return what decides how it reads some texts, where that differs from text to text."""
        return {}

    def batch(self, judge: Judge) -> int:
        """Return how many pairs are judged in one call.

        Args:
            judge: as `load` returned it.
        """
        return 1

    def load(self, torch_device: str) -> Judge:
        """Load the judge.

        Args:
            torch_device: cpu or cuda, as `pinning.pin` returns it.

        Raises:
            ConfigError: if its model cannot be found.
        """
        raise NotImplementedError


class ModelJudgeSettings(JudgeSettings):
    """What all judges share that are asked."""

    mode: Literal["reasoned", "score_only"] = Field(
        "reasoned",
        description="reasoned lets the judge reason before the scores; score_only asks for the "
        "scores alone, for quick looks.",
    )
    repeats: PositiveInt = Field(
        1,
        le=100,
        description="Judgements of each edit. The mean is the score; the spread is reported.",
    )
    temperature: PositiveFloat = Field(
        0.7,
        description="Sampling temperature if `repeats` is above 1. A single judgement is greedy.",
    )
    max_reasoning_tokens: PositiveInt = Field(
        256, le=32_768, description="Most tokens of reasoning before the scores."
    )
    swapped_instruction: bool = Field(
        False,
        description="As a control, also judge each edit against another sample's instruction.",
    )
    instruction_shown: Literal["original", "rewritten", "both"] = Field(
        "original",
        description="For editors with `rewrite`, the instruction that the judge sees: the sample's "
        "own, the rewritten one, or both.",
    )
    pairs: bool = Field(
        False,
        description="Also compare the editors' edits in pairs, in both orders. `snakemake arena` "
        "always does so.",
    )
    anchors: PlainPath | None = Field(
        None,
        description="Folder of an anchor set, which is judged again to see whether the judge "
        "drifts.",
    )

    def longest_reply(self, question: Question) -> int:
        """Return the tokens of the longest reply: the reasoning, and one a character of the object.

        A server cuts off what is longer.
        """
        reasoning = 0 if self.mode == "score_only" else self.max_reasoning_tokens
        return reasoning + len(question.example)
