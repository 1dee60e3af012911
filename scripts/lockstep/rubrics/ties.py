"""When two scores are equal: the one rule for everything that compares them.

Roots and sums leave equal scores with other last digits: the geometric mean of 2 and 8 comes out
as 4.000000000000001. Scores are therefore rounded to a grid, where they are made and again where
they are compared. A tolerance would not do: a may be within it of b and b of c, but not a of c.
"""

from collections.abc import Sequence

import numpy as np

DECIMALS = 10
"""Decimals of the grid: finer than any judge, coarser than rounding errors of scores up to 1e5."""


def settled(scores: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """Return scores on the grid; two of them are equal exactly if these are."""
    return np.round(np.asarray(scores, dtype=float), DECIMALS)
