"""Settings of the page on which people rate edits."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from lockstep.config.section import Section

Rater = Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=64)]


def _once(raters: int | tuple[str, ...]) -> int | tuple[str, ...]:
    if isinstance(raters, tuple):
        # their files must not be mixed up
        forms = [name.casefold().strip() for name in raters]
        twice = [name for name, form in zip(raters, forms, strict=True) if forms.count(form) > 1]
        if twice or not raters:
            again = "twice" if twice[:1] == twice[1:2] else f"and {twice[-1]!r}"
            found = f"{twice[0]!r} {again}" if twice else "an empty list"
            raise ValueError(f"expected each rater's name once, found {found}")
    return raters


class RatingSettings(Section):
    """Plan of `snakemake rating`: the raters, the items, and how many items they share."""

    raters: Annotated[PositiveInt | tuple[Rater, ...], AfterValidator(_once)] = Field(
        1, description="Names of the people who rate, or their number."
    )
    overlap: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the items that every rater gets. Each other item goes to one rater.",
    )
    items: PositiveInt | None = Field(
        100, description="Number of edits or pairs to rate; null is all."
    )
    mode: Literal["criteria", "pairs"] = Field(
        "criteria",
        description="`criteria` asks for each criterion of the rubric, `pairs` asks which of two "
        "edits is better.",
    )
    language: Literal["en", "zh"] | None = Field(
        None,
        description="Language of the page; null is `report.language`. Instructions and rubrics "
        "stay as they are.",
    )
    seed: NonNegativeInt = Field(
        0, description="Seed for the choice of items, their order and their codes."
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the raters' names; those that have none are called by number."""
        if isinstance(self.raters, tuple):
            return self.raters
        return tuple(f"rater-{number}" for number in range(1, self.raters + 1))
