"""Agreement of several raters of the same things."""

import numpy as np


def krippendorff_alpha(values: np.ndarray) -> float:
    """Return Krippendorff's alpha of interval data: 1 is full agreement, 0 what chance gives.

    Args:
        values: ratings of shape (raters, units), NaN where a rater gives none.

    Returns:
        1 − observed / expected disagreement by squared differences (Krippendorff, Content Analysis,
        2013, chapter 12); NaN where no two ratings of one unit can be compared, or all are equal.
    """
    shared = values[:, (~np.isnan(values)).sum(axis=0) > 1]
    counts = (~np.isnan(shared)).sum(axis=0)
    every = shared[~np.isnan(shared)]
    if not len(every) or np.ptp(every) == 0:
        return float("nan")
    # the sum of squared differences of all pairs of n values is n² times their variance
    observed = (counts**2 * np.nanvar(shared, axis=0) / (counts - 1)).sum() / len(every)
    expected = len(every) * np.var(every) / (len(every) - 1)
    return float(1 - observed / expected)
