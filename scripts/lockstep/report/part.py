"""What all parts of report.json share, and the parts on what was asked of others."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]
"""Low and high end."""


class Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Unfinished(Part):
    """An editor's finished work at the time of a partial report."""

    editor: str
    samples: int
    edits: int
    """Edited, failed and skipped samples."""
    scores: int
    """Samples with a score, and samples that will have none."""
    further: dict[str, int] = {}
    """The same of each judge but the first one."""


class Cut(Part):
    """An edit for which a text encoder read only the beginning of the prompt."""

    editor: str
    category: str
    id: str
    prompt_cut: str
    """Number of tokens that were read, and the encoder."""


class Control(Part):
    """How well the judge tells edits from controls that deserve no score."""

    editor: str
    category: str
    control: Literal["identity", "swapped"]
    auc: float | None
    mean: float | None
    control_mean: float | None
    count: int
    controls: int


class Served(Part):
    """Requests to an editor's server, and its answers; null where the server says nothing."""

    requests: int
    """Sent over all runs into these results, further tries included."""
    images: int
    """Edits of this report."""
    input_tokens: int | None
    """Of these edits, as far as the server gives them."""
    output_tokens: int | None
    price: float | None
    """Of these edits and the one that was repeated for the seed; null without a price."""
    seed: Literal["honoured", "ignored", "unknown"]
    """Whether the same request with the same seed gave the same pixels again."""
    models: list[str]
    """Names that the server gives its model."""
    warnings: dict[str, int]
    """Oddities of edits that are no failures: sentence → number of edits."""


class Rewriting(Part):
    """The rewriter of an editor's instructions, and its costs; null where they are unknown."""

    by: str
    """Model, or file."""
    rewritten: int
    """Instructions with a rewritten text."""
    failed: int
    """Instructions without one; their samples are not edited."""
    requests: int | None
    """Sent over all runs into these results, further tries included; null of a file."""
    input_tokens: int | None
    """Of the texts in this report."""
    output_tokens: int | None
    price: float | None
    """Of the texts in this report; null without a price."""
    models: list[str]
    """Names that the server gives its model."""


class Seeds(Part):
    """An editor with several seeds for each sample; its own numbers use the means over them."""

    editor: str
    names: list[str]
    """The editor with each seed, in order of the seeds."""
    samples: int
    """Samples with a score for any seed."""
    edits: int
    """Edits with all seeds, without skipped samples."""
    failed: int
    """Edits without a score."""
    means: list[float | None]
    """Mean of each seed's scores, in the headline number."""
    best: float | None
    """Mean over the samples of the best score among their seeds, in the headline number."""
    within_std: float | None
    """Standard deviation between seeds of one sample, pooled over samples; null where no sample has
    two scores."""
    between_std: float | None
    """Standard deviation between samples, without what seeds add to their means."""


class Power(Part):
    """Which differences of two editors, neighbours in the ranking, a run could find.

    A paired test at 5% finds them in 80% of all cases, by the variances between samples and seeds.
    """

    first: str
    second: str
    samples: int
    """Samples for which both have a score."""
    difference: float
    """Mean of first − second."""
    within_std: float
    """Of the difference between seeds: both editors' variances together."""
    between_std: float
    """Of the difference between samples, without what seeds add."""
    seeds: list[int]
    """Numbers of seeds to which the lists below belong."""
    detectable: dict[str, list[float]]
    """Smallest difference that a run finds, by number of samples."""
    needed: list[int | None]
    """Samples that are needed to find this difference; null if there is no difference."""


class ByJudge(Part):
    """Scores of one editor by one judge, or by all together."""

    mean: float | None
    """Over the scored samples; null where there are none."""
    ci95: Interval | None
    """Null with too few clusters."""
    clusters: int
    """Source images of the scored samples."""
    count: int
    """Scored samples."""
    failed: int
    """Edits that are to be judged and have no score."""
    place: int | None
    """1 + the number of editors with a higher mean, whether or not that is clear; null where too
    few edits have a score (`report.min_coverage`)."""


class JudgePair(Part):
    """Two judges over the edits that both scored."""

    first: str
    second: str
    count: int
    """Edits that both scored."""
    clusters: int
    """Source images of these edits."""
    spearman: float | None
    """Of their scores; null with too few or only equal scores."""
    spearman_ci95: Interval | None
    kendall: float | None
    """tau-b"""
    kendall_ci95: Interval | None
    pearson: float | None
    pearson_ci95: Interval | None
    difference: float | None
    """Mean of first − second."""
    editors_kendall: float | None
    """tau-b of the editors' means; null with less than three editors."""
    same_order: int
    """Pairs of editors whose means have the same order."""
    other_order: int
    """Pairs of editors whose means have the opposite order."""
    editor_pairs: int
    """Pairs of editors with means by both judges."""


class Disagreement(Part):
    """An edit that the judges see differently."""

    editor: str
    category: str
    id: str
    spread: float
    """Highest − lowest of the judges' standardised scores."""
    scores: dict[str, float]
    """By judge."""


class Judges(Part):
    """Scores of several judges for the edits of a category, or for all (overall)."""

    category: str
    edits: int
    """Edits that are to be judged."""
    shared: int
    """Edits that every judge scored."""
    judges: dict[str, dict[str, ByJudge]]
    """By judge (the ranking judge comes first), and by editor."""
    pairs: list[JudgePair]
    alpha: float | None
    """Krippendorff's alpha of all scores by all judges (interval); null where there is none."""
    ensemble: dict[str, ByJudge] | None
    """By editor: mean of the judges' standardised scores; null without `report.ensemble`."""
    disagreements: list[Disagreement]
    """At most 20, the largest first."""


class Agreement(Part):
    """A judge beside people, over the edits of a category, or of all (overall)."""

    scale: str
    """Column of people's scores."""
    judge: str
    """The judge's number: score, a criterion or an aspect of the rubric."""
    category: str
    editor: str | None
    """Null over all editors."""
    count: int
    """Edits that both scored."""
    clusters: int
    """Source images of these edits."""
    spearman: float | None
    """Of the judge and the raters' mean; null of too few edits, or too equal scores."""
    spearman_ci95: Interval | None
    kendall: float | None
    """tau-b"""
    kendall_ci95: Interval | None
    pearson: float | None
    pearson_ci95: Interval | None
    each_fisher: float | None
    """Mean by Fisher's z of the judge's Spearman correlations with each rater; null of raters that
    the file does not name."""
    raters: int
    """Raters in this mean: those with at least 10 edits that the judge scored."""
    ceiling: float | None
    """Highest Spearman correlation with the raters' mean that their disagreement allows."""
    spearman_fisher: float | None = None
    """Mean of the editors' Spearman correlations by Fisher's z; null in a row of one editor."""
    editors: int | None = None
    """Editors in this mean; null in a row of one editor."""


class OneRater(Part):
    """Ratings of one rater, over all edits."""

    rater: str
    ratings: int
    mean: float
    others: float | None
    """Spearman correlation with the mean of all other raters; null of less than 10 shared edits."""
    judge: float | None
    """Spearman correlation with the judge."""


class Raters(Part):
    """People who rate edits on one scale: how far they agree with each other."""

    scale: str
    """Column of people's scores."""
    category: str
    editor: str | None
    """Null over all editors."""
    level: Literal["ordinal", "interval"]
    """The alpha that fits the scale."""
    edits: int
    """Edits with a rating."""
    shared: int
    """Edits with at least two ratings."""
    ratings: int
    missing: int
    """Rows of the file without a value."""
    alpha_ordinal: float | None
    """Krippendorff's alpha; null without shared edits, or if all ratings are equal."""
    alpha_interval: float | None
    kappa: float | None
    """Fleiss' kappa over the edits with the most frequent number of ratings."""
    kappa_edits: int
    kappa_ratings: int
    """Number of ratings of each of these edits."""
    std: float | None
    """Standard deviation between raters of one edit, pooled over edits (ddof 1)."""
    rater_pairs: int
    """Pairs of raters that share at least 10 edits, and whose ratings vary."""
    spearman: float | None
    """Mean of their Spearman correlations."""
    spearman_fisher: float | None
    """Their mean by Fisher's z."""
    others_fisher: float | None
    """Mean by Fisher's z of each rater's correlation with the mean of all others."""
    ceiling: float | None
    """Highest Spearman correlation with the raters' mean that their disagreement allows."""
    raters: list[OneRater]
    """In the row over all categories and editors; else empty."""


class Votes(Part):
    """People's votes on pairs of edits; the row of an editor covers the pairs with this editor."""

    category: str
    editor: str | None
    """Null over all editors."""
    pairs: int
    shared: int
    """Pairs with at least two votes."""
    votes: int
    equal_votes: int
    """Votes that name neither edit."""
    raters: int
    """Raters whose names are in the file."""
    alpha_nominal: float | None
    """Krippendorff's alpha; null without shared pairs, or if all votes are equal."""
    kappa: float | None
    """Fleiss' kappa over the pairs with the most frequent number of votes."""
    kappa_pairs: int
    kappa_votes: int
    """Number of votes on each of these pairs."""
    raters_share: float | None
    """How often two raters' votes on one pair are equal, as a mean over the pairs."""
    judged: int
    """Votes on pairs for which the judge scored both edits."""
    judge_share: float | None
    """Share of these that agree with the judge, which votes for its higher score."""
    judge_ci95: Interval | None
    best_share: float | None
    """Share that the most frequent vote on each pair has: no judge can reach more."""
    agree: int
    """Votes with a winner that has the judge's higher score."""
    oppose: int
    """Votes with a winner that has the judge's lower score."""
    same: int
    """Votes with a winner on two edits with the same score."""
