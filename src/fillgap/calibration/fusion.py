"""Fusion of lists: from scores of each list to new ones, which sorted together rank all documents.

A document that is not in a query's list has the score -inf there; it keeps it and takes no place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fillgap.errors import InputError, InputTypeError, as_array, check_integer, check_real
from fillgap.linalg import Matrix


def reciprocal_rank_fusion(lists: Sequence[Any], *, constant: float = 60.0) -> list[Matrix]:
    """Return 1 / (constant + rank): only the place within its own list counts.

    Parameters
    ----------
    lists : sequence of array of shape (n_queries, n_documents)
        Scores; level scores share their mean rank.
    constant : float
        Large values make the first places less important.

    References
    ----------
    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet" (SIGIR 2009).

    Examples
    --------
    >>> import numpy as np
    >>> reciprocal_rank_fusion([np.array([[0.9, 0.1]]), np.array([[0.2]])], constant=1)
    [array([[0.5       , 0.33333333]]), array([[0.5]])]
    """
    from scipy.stats import rankdata

    check_real(constant, "constant", low=0)
    return [
        np.where(np.isfinite(scores), 1.0 / (constant + rankdata(-scores, axis=1)), -np.inf)
        for scores in _checked(lists)
    ]


def distribution_based_fusion(lists: Sequence[Any], *, depth: int | None = None) -> list[Matrix]:
    """Return each score between the mean ± 3 standard deviations of its query's own list.

    Parameters
    ----------
    lists : sequence of array of shape (n_queries, n_documents)
        Scores.
    depth : int, optional
        Take mean and deviation over the best `depth` of each list, as an engine that fetches so
        many would; left out, over the whole list.

    References
    ----------
    DBSF, Qdrant's distribution-based score fusion, which clips to [0, 1]; here nothing is clipped,
    so that the order within a list stays.
    """
    fused = []
    for scores in _checked(lists):
        mean, deviation = moments_of_best(scores, depth)
        width = np.where(deviation > 0, 6 * deviation, 1.0)
        fused.append((scores - mean) / width + 0.5)
    return fused


def min_max_fusion(lists: Sequence[Any], *, depth: int | None = None) -> list[Matrix]:
    """Return each score scaled so that its query's own list goes from 0 to 1.

    Parameters
    ----------
    lists : sequence of array of shape (n_queries, n_documents)
        Scores.
    depth : int, optional
        The list is the best `depth`, as an engine that fetches so many would see it; what lies
        below it gets less than 0. Left out, the whole list.

    References
    ----------
    Lee, "Analyses of multiple evidence combination" (SIGIR 1997).
    """
    fused = []
    for scores in _checked(lists):
        best = _best(scores, depth)
        there = np.isfinite(best)
        low = best.min(axis=1, keepdims=True, where=there, initial=np.inf)
        high = best.max(axis=1, keepdims=True, where=there, initial=-np.inf)
        width = np.where(high > low, high - low, 1.0)
        fused.append((scores - np.where(there.any(axis=1, keepdims=True), low, 0.0)) / width)
    return fused


def moments_of_best(
    scores: Matrix, depth: int | None, *, leave_out: int = 0
) -> tuple[Matrix, Matrix]:
    """Return mean and standard deviation of the best `depth` of each list, as columns.

    What is not in a list is -inf; None takes the whole list. So many of the best as `leave_out`
    says take no part, and at most half of the list.
    """
    best = _best(scores, depth).astype(np.float64, copy=False)
    part = best > -np.inf
    if leave_out:
        best = -np.sort(-best, axis=1)
        there = (best > -np.inf).sum(axis=1, keepdims=True)
        place = np.arange(best.shape[1])
        part = (place >= np.minimum(leave_out, there // 2)) & (place < there)
    count = np.maximum(part.sum(axis=1, keepdims=True), 1)
    mean = np.where(part, best, 0.0).sum(axis=1, keepdims=True) / count
    squares = np.where(part, best - mean, 0.0) ** 2
    return mean, np.sqrt(squares.sum(axis=1, keepdims=True) / count)


def _best(scores: Matrix, depth: int | None) -> Matrix:
    if depth is None or check_integer(depth, "depth", low=1) >= scores.shape[1]:
        return scores
    return np.partition(scores, scores.shape[1] - depth, axis=1)[:, -depth:]


def _checked(lists: Sequence[Any]) -> list[Matrix]:
    if not isinstance(lists, Iterable):
        raise InputTypeError(
            f"lists must be arrays of numbers, got {type(lists).__name__}. "
            "Pass one array of scores for each list."
        )
    arrays = [as_array(scores, "lists") for scores in lists]
    if not arrays:
        raise InputError("lists must be one or more, got none. Pass the scores of each list.")
    for number, scores in enumerate(arrays):
        if scores.dtype.kind not in "fiu":
            raise InputTypeError(
                f"lists must be arrays of numbers, got {scores.dtype} in list {number}. "
                "Pass one array of scores for each list."
            )
        if scores.ndim != 2 or len(scores) != len(arrays[0]):
            raise InputError(
                "lists must be of shape (n_queries, n_documents) for the same queries, got shape "
                f"{scores.shape} in list {number}. Pass one row for each query."
            )
        if not (scores < np.inf).all():
            raise InputError(
                f"lists must be finite numbers, got NaN or infinity in list {number}. "
                "A document that is not in a list has -inf."
            )
    return [scores.astype(np.float64, copy=False) for scores in arrays]
