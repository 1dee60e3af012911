"""What report.json and compare.json hold; their JSON schemas in docs/ are generated from this.

`schema_version` is raised when a key is renamed, removed or changes its meaning; new keys may come
with the same version.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field

from lockstep.report.part import (
    Agreement,
    Control,
    Cut,
    Interval,
    Judges,
    Part,
    Power,
    Raters,
    Rewriting,
    Seeds,
    Served,
    Unfinished,
    Votes,
)

SCHEMA_VERSION: Final = 4


class Summary(Part):
    """Scores of some samples. A failed sample has no score and moves no mean."""

    mean: float | None
    """Over the scored samples; null where there are none."""
    std: float | None
    """Standard deviation of the population (ddof 0)."""
    median: float | None
    min: float | None
    max: float | None
    ci95: Interval | None
    """95% interval of the mean; null with too few clusters (docs/report.md)."""
    ci95_method: Literal["clustered", "too few"] | None
    """Whether there is an interval; null where there is no mean."""
    clusters: int
    """Source images of the scored samples; only these are independent."""
    threshold_share: float | None
    """Share of the scored samples with at least the threshold."""
    count: int
    """Scored samples."""
    failed: int
    """Samples without a score."""
    failures: dict[str, int]
    """Samples without a score by kind: edit_failed, judge_failed, missing."""
    skipped: int
    """Samples that the editor does not take. They count in no other number."""
    coverage: float | None
    """count / (count + failed)."""
    bounds: Interval | None
    """The mean if all failed samples had the lowest score, and if all had the highest."""
    criteria: dict[str, float | None]
    """Mean of each criterion; over several categories, only of criteria that all of them have."""
    criteria_std: dict[str, float | None]
    """Standard deviation of each of these criteria (ddof 0)."""


class Seconds(Part):
    """Sums over the samples; cached ones count with the time that they took."""

    edit: float
    wait: float
    judge: float


class Distribution(Part):
    """Quantiles over the edits where the number is known."""

    low: float
    """5% of the edits have less."""
    median: float
    high: float
    """5% of the edits have more."""


class Preservation(Part):
    """What edits kept of their sources, measured on the pixels; no part of a score."""

    measured: int
    """Edits whose images could be read."""
    exact_copies: int
    """Edits that have the source's pixels."""
    near_copies: int
    """Edits that differ from the source only by noise."""
    other_size: int
    """Edits that the editor returned in another size than that of the source."""
    registered: int
    """Edits with a shift and a zoom."""
    shifted: int
    """Number of these that are moved by more than one pixel of the source."""
    zoomed: int
    """Number of these that are larger or smaller by more than 0.5%."""
    clip_text_cut: int
    """Edits for which CLIP read only the beginning of the instruction."""
    distribution: dict[str, Distribution | None]
    """By number: psnr (dB), ssim, changed_share, colour_cast (ΔE), shift (length, pixels),
    shift_x, shift_y, zoom_percent; where they were asked for (`metrics`) also clip_similarity,
    clip_text, dino_similarity (cosines) and lpips."""


class CategorySummary(Summary):
    """Scores of one editor in one category, and where they come from; also summary.json."""

    status: dict[str, int]
    """Samples by status, ok included."""
    means: dict[str, float | None]
    """Means of the judge's other numbers: expected_score, uncertainty, spread, swapped_score."""
    preservation: Preservation
    """What the edits kept of their sources."""
    rubric: str
    """SHA-256 of the rubric."""
    judges: dict[str, Any]
    """Judges and their software, by fingerprint."""
    versions: dict[str, dict[str, list[str]]]
    """Software of edits and judgements, by package."""
    seconds: Seconds


class Overall(Part):
    micro: Summary
    """Over samples."""
    macro: Summary
    """Over categories, each with the same weight: mean, std, median, min and max are those of
    their means; counts are of samples."""


class Headline(Part):
    """The number that editors are ranked by."""

    number: Literal["score", "accuracy"]
    """Accuracy is the share of samples with the highest value of each criterion."""
    aggregate: Literal["micro", "macro"]
    """Whether it is a mean over samples or over the categories' means."""
    scale: Interval
    """Lowest and highest value."""
    protocol: str | None
    """Name of the protocol's benchmark; null without a protocol."""


class Ranked(Part):
    """An editor's headline number."""

    mean: float | None
    ci95: Interval | None
    ci95_method: Literal["clustered", "too few"] | None
    clusters: int
    """Source images of the scored samples."""
    categories: dict[str, float | None]
    """Mean by category."""


class OwnScale(Part):
    """Possible scores of a category."""

    scale: Interval
    threshold: float
    """Lowest score that counts in `threshold_share`."""


class Editor(Part):
    """Numbers of one editor."""

    headline: Ranked

    categories: Mapping[str, Summary]
    difficulties: dict[str, Summary]
    """By difficulty, over all categories; empty if the benchmark knows none."""
    tags: dict[str, Summary]
    """By tag, over all categories; a sample counts for each of its tags."""
    overall: Overall


class EditorOfRun(Editor):
    """Numbers of one editor of this run."""

    categories: Mapping[str, CategorySummary]
    preservation: Preservation
    """What the edits of all categories kept of their sources."""
    lockstep: dict[str, Any]
    """How well its devices kept step (docs/waves.md)."""
    served: Served | None = None
    """Requests to its server, and answers; null for an editor on devices."""
    rewriting: Rewriting | None = None
    """Its rewriter; null if it has none."""


class Pair(Part):
    """Two editors, compared by the headline number over the samples for which both have a score."""

    category: str
    """Key of a category, or overall."""
    first: str
    second: str
    count: int
    """Samples for which both have a score."""
    same_judge: bool | None
    """Whether one judge, by its fingerprint, scored both; null if unknown."""
    differing: int
    """Samples with the same id but different instructions, which are left out."""
    first_mean: float | None
    second_mean: float | None
    difference: float | None
    """Mean of first − second; overall it is micro or macro as the headline is."""
    ci95: Interval | None
    """95% interval of the difference; null with too few clusters (docs/report.md)."""
    ci95_method: Literal["clustered", "too few"] | None
    clusters: int
    """Source images of these samples."""
    p_value: float | None
    """Two-sided, for no difference; null with too few clusters."""
    p_value_method: Literal["clustered", "too few"] | None
    p_holm: float | None
    """Corrected for all pairs of editors in the same category, for all differences that stand of a
    series, or for all of twins (Holm 1979)."""
    clear: bool
    """Whether the difference is clear: p_holm is below 0.05 and ci95 does not contain 0."""
    wins: int
    """Samples for which the first has the higher score."""
    ties: int
    losses: int


class Rank(Part):
    """One line of the leaderboard, the best first."""

    rank: int
    """1 + the number of editors that are clearly better."""
    editor: str
    mean: float
    """The headline number."""
    ci95: Interval | None
    clusters: int
    """Source images of the scored samples; with too few, no difference is clear."""
    count: int
    """Scored samples."""
    coverage: float
    tied_with: list[str]
    """Editors without a clear difference from it."""


class Incomplete(Part):
    """An editor and category below the least coverage."""

    editor: str
    category: str
    coverage: float


class Numbers(Part):
    """Scores of editors, and how they compare."""

    schema_version: Literal[4] = SCHEMA_VERSION
    title: str
    date: str
    scale: Interval
    """Lowest and highest score possible."""
    threshold: float
    """Lowest score that counts in `threshold_share`."""
    scales: dict[str, OwnScale]
    """By category where they differ, else empty. There is then no number over several categories,
    and nothing is ranked."""
    headline: Headline
    min_coverage: float
    complete: bool
    """Whether every editor and category has the least coverage; if not, nothing is ranked."""
    incomplete: list[Incomplete]
    editors: Mapping[str, Editor]
    """In the configured order."""
    comparisons: list[Pair]
    """Of all pairs of editors, by category and overall; a series stands with its best
    checkpoint."""
    leaderboard: list[Rank]
    """Empty if the report is incomplete, or if categories have different scales."""


class Source(Part):
    """A source of scores."""

    path: str
    editors: list[str]
    """Their names in the comparison."""


class Comparison(Numbers):
    """compare.json: numbers of several runs, or of scores that others made."""

    sources: dict[str, Source]


class Rejects(Part):
    """Samples of the benchmark that could not be used."""

    count: int
    samples: list[dict[str, Any]]


class Skipped(Part):
    """Samples that an editor does not take, for one reason; they are no failures."""

    editor: str
    category: str
    reason: str
    ids: list[str]


class Step(Part):
    """A checkpoint of a training run, and how it differs from others, over all categories."""

    editor: str
    step: int
    from_first: Pair | None
    """First is this checkpoint, second the first one; null of that one itself."""
    from_previous: Pair | None
    from_best: Pair | None


class Series(Part):
    """The checkpoints of a training run."""

    name: str
    steps: list[Step]
    """In their order."""
    best: str | None
    """Editor with the highest headline number, the earliest of equal ones; null where no checkpoint
    has the least coverage."""
    earliest: str | None
    """Editor of the earliest checkpoint that is not clearly different from the best; null where no
    checkpoint is the best, or where too few samples tell nothing apart."""


class Twins(Part):
    """An editor that sees rewritten instructions beside the same editor without a rewriter."""

    rewritten: str
    direct: str
    difference: Pair
    """Over all categories: first is the rewritten one, second the direct one."""


class Report(Numbers):
    """report.json: all numbers of a run."""

    editors: Mapping[str, EditorOfRun]
    series: list[Series] = Field(default=[])
    seeds: list[Seeds] = Field(default=[])
    """Of the editors that edit each sample several times."""
    power: list[Power] = Field(default=[])
    twins: list[Twins] = Field(default=[])
    partial: list[Unfinished]
    """All editors, if the report was made before the run was finished; otherwise empty."""
    control_editors: list[str]
    """Editors that return their source. They show which score the judge gives to an unchanged
    source, and have no rank."""
    random_weights: list[str]
    """Models with random weights; if there are any, scores mean nothing."""
    miniature: list[str] = Field(default=[])
    """Models of the miniature, which know a drawn world alone; scores mean nothing beyond it."""
    controls: list[Control]
    anchors: list[dict[str, Any]] = Field(default=[])
    """Drift from the anchor set's recorded scores."""
    agreement: list[Agreement] = Field(default=[])
    """The judge beside people: a row for each scale, category and editor."""
    raters: list[Raters] = Field(default=[])
    """Agreement of people with each other: rows as in `agreement`."""
    votes: list[Votes] = Field(default=[])
    """People's votes on pairs: a row for each category and editor."""
    arena: list[dict[str, Any]] = Field(default=[])
    """Results of comparisons in pairs (docs/pairs.md): a row for each category."""
    judges: list[Judges] = Field(default=[])
    """Agreement of several judges: a row for each category, and overall; empty with one judge."""
    rejected: Rejects
    skipped: list[Skipped]
    cut: list[Cut] = Field(default=[])
    settings: dict[str, Any]
    """The effective configuration."""
    versions: dict[str, str]


def json_schema(model: type[Part]) -> str:
    """Return the JSON schema of a model's file."""
    schema = model.model_json_schema(mode="serialization")
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"
