"""Paired permutation tests of a change, and Holm's correction for several of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap._checks import check_random_state

__all__ = ["holm", "paired_permutation_test", "paired_permutation_tests"]


def paired_permutation_test(
    differences: ArrayLike, *, n_permutations: int = 10_000, random_state: int = 0
) -> float:
    """Return the two-sided p-value of a mean difference, by flipping signs at random.

    Parameters
    ----------
    differences : array of shape (n_images,)
        One value for each independent unit: here the mean change over all queries of an image.
    n_permutations : int
        Random sign vectors; the smallest possible value is 1 / (n_permutations + 1).
    random_state : int
        Seed.

    References
    ----------
    Fisher (1935), "The Design of Experiments"; the added one: Phipson and Smyth (2010).
    """
    values = np.asarray(differences, dtype=np.float64)
    return float(paired_permutation_tests(values[:, None], n_permutations, random_state)[0])


def paired_permutation_tests(
    differences: ArrayLike, n_permutations: int, random_state: int = 0
) -> NDArray[np.float64]:
    """Return the p-value of each column of differences; all see the same random signs.

    Parameters
    ----------
    differences : array of shape (n_images, n_rivals)
        A unit without a value is 0 there, which no sign changes.
    n_permutations, random_state
        As for `paired_permutation_test`.
    """
    values = np.asarray(differences, dtype=np.float64)
    rng = check_random_state(random_state)
    observed = np.abs(values.sum(axis=0)) * (1 - 1e-12)  # rounding must not turn a tie into a loss
    as_far, done = np.zeros(values.shape[1], dtype=np.int64), 0
    while done < n_permutations:
        count = min(n_permutations - done, max(1, 4_000_000 // max(len(values), 1)))
        signs = rng.integers(0, 2, size=(count, len(values)), dtype=np.int8) * 2.0 - 1.0
        as_far += np.sum(np.abs(signs @ values) >= observed, axis=0)
        done += count
    return (1.0 + as_far) / (1 + n_permutations)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values corrected for their number by Holm's step-down method.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
