"""What a user may say of the report, and of what is compared."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, field_validator

from lockstep.benchmark.categories import known_key
from lockstep.config.section import Name, PlainPath, Section
from lockstep.rubrics.rubric import SCALE, Combine


class ReportSettings(Section):
    """What the report says of itself."""

    title: str = Field("Image editing benchmark", description="Title of the report.")
    language: Literal["en", "zh"] = Field(
        "en",
        description="Language of the report, of the page to rate and of the message at the end; "
        "instructions, rubrics and replies stay as they are.",
    )
    straggler_margin: PositiveFloat = Field(
        0.1, description="Share by which a device may be slower than its peers without a warning."
    )
    min_coverage: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Share of samples with a score, of each editor and category, below which the "
        "report is incomplete and ranks nothing.",
    )
    threshold: float | None = Field(
        None,
        description="Score from which on samples count into the reported share; null is 7 of 10, "
        "or as much of another scale.",
    )
    ensemble: bool = Field(
        False,
        description="Rank the editors by all judges together too: by the mean of their "
        "standardised scores.",
    )
    human_scores: PlainPath | None = Field(
        None,
        description="Human scores (CSV, JSON, JSONL or Parquet with id, score, editor) to compare "
        "the judge with.",
    )

    def threshold_on(self, scale: tuple[float, float]) -> float:
        """Return the threshold on a scale from lowest to highest score."""
        low, high = scale
        return low + 0.7 * (high - low) if self.threshold is None else self.threshold


def _rising(scale: tuple[float, float]) -> tuple[float, float]:
    if scale[0] >= scale[1]:
        raise ValueError(f"expected the lowest score before the highest, found {list(scale)}")
    return scale


Scale = Annotated[tuple[float, float], AfterValidator(_rising)]


class CompareSettings(Section):
    """What `snakemake compare` compares."""

    sources: dict[Name, PlainPath] = Field(
        description="Name → folder of results, or file of scores as `judge.scores` takes it.",
    )
    scale: Scale = Field(SCALE, description="Lowest and highest score possible in the sources.")
    scales: dict[str, Scale] = Field(
        {},
        description="Category → its own lowest and highest score. Where categories differ nothing "
        "is averaged over them and nothing is ranked.",
    )
    criteria: dict[str, PositiveFloat] = Field(
        {}, description="Column → weight, of files with a column for each criterion."
    )
    combine: Combine = Field(
        "weighted_mean", description="How criteria make the score, as in rubrics."
    )

    @field_validator("scales")
    @classmethod
    def _keyed(cls, scales: dict[str, Scale]) -> dict[str, Scale]:
        return {known_key(category): scale for category, scale in scales.items()}

    def scale_of(self, category: str) -> Scale:
        """Return the lowest and highest score possible in a category."""
        return self.scales.get(category, self.scale)

    @field_validator("sources")
    @classmethod
    def _some(cls, sources: dict[str, str]) -> dict[str, str]:
        if not sources:
            raise ValueError("expected a name and a path for each, found nothing to compare")
        return sources


def threshold_of_one_scale(report: ReportSettings, compare: CompareSettings | None) -> None:
    """Check that a threshold is not given for categories of several scales.

    Raises:
        ValueError: if it is.
    """
    if report.threshold is not None and compare is not None and compare.scales:
        raise ValueError(
            f"report.threshold: found {report.threshold:g} beside compare.scales, expected null: "
            "each category then has the threshold of its own scale"
        )
