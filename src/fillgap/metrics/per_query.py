"""One value for each query of a scan: what averages, intervals and paired tests are made of.

Every function returns an array of shape (n_queries,). Where a query has no relevant item the value
is NaN, and averages leave it out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_integer
from fillgap.metrics.pool import QueryScan

__all__ = [
    "best_rank",
    "exposure",
    "mean",
    "ndcg",
    "nearest_is_same",
    "recall",
    "reciprocal_rank",
    "share_seen",
]

Values = NDArray[np.float64]


def share_seen(queries: QueryScan, k: int) -> Values:
    """Return the share of the other modality among the first k of the mixed pool.

    Raises
    ------
    InputError
        If the scan kept fewer than k neighbours.
    """
    if check_integer(k, "k", low=1) > queries.n_neighbors:
        raise InputError(
            f"k must be at most the {queries.n_neighbors} neighbours of this scan, got {k}. "
            "Scan with a larger n_neighbors, and not for more than the pool holds."
        )
    return queries.other[:, :k].mean(axis=1, dtype=np.float64)


def exposure(queries: QueryScan, k: int) -> Values:
    """Return `share_seen` divided by the share of the other modality in the pool."""
    return share_seen(queries, k) / queries.share


def nearest_is_same(queries: QueryScan) -> Values:
    """Return 1 where the nearest item is of the query's own modality, a share where tied."""
    return 1.0 - share_seen(queries, 1)


def best_rank(queries: QueryScan, *, mixed: bool) -> Values:
    """Return the rank of the best relevant item, in the mixed pool or in its own modality."""
    ranks = queries.mixed_rank if mixed else queries.cross_rank
    best = np.full(len(queries.rows), np.inf)
    np.minimum.at(best, queries.pair_query, ranks)
    return np.where(np.isfinite(best), best, np.nan)


def recall(queries: QueryScan, k: int, *, mixed: bool) -> Values:
    """Return 1 where a relevant item is among the first k (any of several counts)."""
    check_integer(k, "k", low=1)
    best = best_rank(queries, mixed=mixed)
    return np.where(np.isnan(best), np.nan, best <= k)


def reciprocal_rank(queries: QueryScan, *, mixed: bool) -> Values:
    """Return 1 / rank of the best relevant item."""
    return 1.0 / best_rank(queries, mixed=mixed)


def ndcg(queries: QueryScan, k: int, *, mixed: bool) -> Values:
    """Return the normalised discounted cumulative gain at k of the relevant items.

    Gain 1 for each, discount 1 / log2(1 + rank); the ideal list begins with all relevant items,
    found or not (Järvelin and Kekäläinen 2002).
    """
    check_integer(k, "k", low=1)
    ranks = queries.mixed_rank if mixed else queries.cross_rank
    n = len(queries.rows)
    gains = np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)
    found = np.bincount(queries.pair_query, gains, minlength=n)
    relevant = np.bincount(queries.pair_query, minlength=n)
    ideal = np.concatenate([[np.nan], np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))])
    return found / ideal[np.minimum(relevant, k)]


def mean(values: Values) -> float:
    """Return the mean over the queries that have a value."""
    return float(np.nanmean(values))
