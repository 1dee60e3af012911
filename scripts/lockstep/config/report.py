"""What a user may say of the report, and of what is compared."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, field_validator

from lockstep.benchmark.categories import known_key
from lockstep.config.section import Name, PlainPath, Section
from lockstep.rubrics.rubric import SCALE, Combine


def _rising(scale: tuple[float, float]) -> tuple[float, float]:
    if scale[0] >= scale[1]:
        raise ValueError(f"expected the lowest score before the highest, found {list(scale)}")
    return scale


Scale = Annotated[tuple[float, float], AfterValidator(_rising)]


class HumanScale(Section):
    """A column of people's scores."""

    scale: Scale | None = Field(
        None,
        description="Lowest and highest possible value; a value outside is an error. null is the "
        "judge's scale if the judge has a number of this name, and no limit if it has none.",
    )
    level: Literal["ordinal", "interval"] | None = Field(
        None,
        description="`ordinal` if only the order of the values counts, `interval` if their "
        "differences do; null is ordinal for at most 7 different values.",
    )
    judge: str | None = Field(
        None,
        description="The judge's number to compare with: score, a criterion or an aspect of the "
        "rubric; null is the one of the same name.",
    )


class ReportSettings(Section):
    """The report: its title, and the limits that it applies."""

    title: str = Field("Image editing benchmark", description="Title of the report.")
    language: Literal["en", "zh"] = Field(
        "en",
        description="Language of the report, of the page to rate and of the message at the end; "
        "instructions, rubrics and replies stay as they are.",
    )
    straggler_margin: PositiveFloat = Field(
        0.1, description="Share by which a device may be slower than the others without a warning."
    )
    min_coverage: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Least share of samples with a score, for each editor and category. Below it "
        "the report is marked incomplete and ranks nothing.",
    )
    threshold: float | None = Field(
        None,
        description="The report shows the share of samples with at least this score; null is 7 of "
        "10, or the same share of another scale.",
    )
    ensemble: bool = Field(
        False,
        description="Also rank the editors by all judges together: by the mean of the judges' "
        "standardised scores.",
    )
    human_scores: PlainPath | tuple[PlainPath, ...] | None = Field(
        None,
        description="File of people's scores or of their votes on pairs (CSV, JSON, JSONL or "
        "Parquet), or a list of files, to compare with the judge.",
    )
    human_scales: dict[str, HumanScale] = Field(
        {},
        description="Description of each column of people's scores. Without any, the columns are "
        "score and the criteria and aspects of the rubric.",
    )

    @property
    def human_files(self) -> tuple[str, ...]:
        """Return the files of people's scores and votes."""
        given = self.human_scores
        return (given,) if isinstance(given, str) else given or ()

    def threshold_on(self, scale: tuple[float, float]) -> float:
        """Return the threshold on a scale from lowest to highest score."""
        low, high = scale
        return low + 0.7 * (high - low) if self.threshold is None else self.threshold


class CompareSettings(Section):
    """What `snakemake compare` compares."""

    sources: dict[Name, PlainPath] = Field(
        description="For each name a results folder, or a file of scores in the form of "
        "`judge.scores`.",
    )
    scale: Scale = Field(SCALE, description="Lowest and highest possible score in the sources.")
    scales: dict[str, Scale] = Field(
        {},
        description="For each category with a scale of its own, the lowest and highest score. If "
        "categories differ, nothing is averaged over them and nothing is ranked.",
    )
    criteria: dict[str, PositiveFloat] = Field(
        {}, description="For files with a column for each criterion, the weight of each column."
    )
    combine: Combine = Field(
        "weighted_mean", description="How the criteria make the score, as in rubrics."
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


def check_threshold(
    report: ReportSettings, compare: CompareSettings | None, scale: tuple[float, float]
) -> None:
    """Check that a threshold is on the scale, and not given for categories of several scales.

    Args:
        scale: lowest and highest score of what is reported.

    Raises:
        ValueError: if it is not, or is.
    """
    if report.threshold is None:
        return
    if compare is not None and compare.scales:
        raise ValueError(
            f"report.threshold: found {report.threshold:g} beside compare.scales, expected null: "
            "each category then has the threshold of its own scale"
        )
    low, high = scale
    if not low <= report.threshold <= high:
        raise ValueError(
            f"report.threshold: expected a score from {low:g} to {high:g}, found "
            f"{report.threshold:g}"
        )
