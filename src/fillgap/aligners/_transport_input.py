"""What a transport fit reads: a sample of the rows, at unit length, with their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_random_state, unit_rows
from fillgap.moments import to_numpy
from fillgap.rows import iter_blocks

__all__ = ["row_weights", "sample_rows", "unit_matrix"]

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]


def sample_rows(n: int, m: int, max_samples: int | None, random_state: int) -> tuple[Rows, Rows]:
    """Return the numbers of the images and of the texts to fit on, in order.

    Equally many of both give the same numbers, so that pairs stay pairs.
    """
    rng = check_random_state(random_state)
    images, texts = (
        np.sort(rng.choice(count, min(count, max_samples or count), replace=False))
        for count in (n, m)
    )
    return images, images if n == m else texts


def row_weights(weights: Any | None, what: str, n: int, chosen: Rows) -> Matrix:
    """Return the weights of the chosen ones of `n` rows, scaled to sum 1.

    Raises
    ------
    InputError
        If they are not `n` positive numbers with sum 1.
    """
    if weights is None:
        return np.full(len(chosen), 1 / len(chosen))
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,):
        raise InputError(
            f"{what} must be one number for each of {n} rows, got shape {given.shape}. "
            "Pass a weight for each row."
        )
    bad = given[~(np.isfinite(given) & (given > 0))]
    if len(bad):
        raise InputError(
            f"{what} must be positive, got {bad[0]:g}. Leave out rows that should not count."
        )
    if abs(given.sum() - 1) > 1e-6:
        raise InputError(f"{what} must be of sum 1, got {given.sum():g}. Divide them by their sum.")
    return given[chosen] / given[chosen].sum()


def unit_matrix(side: Any, what: str, chosen: Rows) -> Matrix:
    """Return the chosen rows at unit length in float64; the side is read in blocks."""
    out = np.empty((len(chosen), side.shape[1]))
    for start, block in iter_blocks(side, what):
        first, last = np.searchsorted(chosen, (start, start + block.shape[0]))
        rows = unit_rows(to_numpy(block), what, first_row=start)
        out[first:last] = rows[chosen[first:last] - start]
    return out
