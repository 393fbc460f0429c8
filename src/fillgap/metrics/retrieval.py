"""Measures of retrieval: one value for each query of a scan, or NaN, and what averages them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fillgap.errors import InputError, check_integer, check_real
from fillgap.metrics.pool import Directions, PoolScan, QueryScan, Ratio, Values
from fillgap.metrics.scan import scan_pool


def share_seen(queries: QueryScan, k: int) -> Values:
    """Return the share of the other modality among the first k of the mixed pool."""
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


def as_scan(X: Any, Y: Any, image_index: ArrayLike | None, *, n_neighbors: int = 1) -> PoolScan:
    """Return `X` where it is a scan, and a scan of all queries otherwise."""
    if isinstance(X, PoolScan):
        return X
    return scan_pool(X, Y, image_index, n_neighbors=n_neighbors, n_own=1, max_queries=None)


def _both(scan: PoolScan, values: Callable[..., Values], **parameters: Any) -> Directions:
    """Return the means of a value per query in both directions."""
    return Directions(
        mean(values(scan.image_queries, **parameters)),
        mean(values(scan.text_queries, **parameters)),
    )


def _of_pairs(
    given: tuple[Any, Any, ArrayLike | None], values: Callable[..., Values], **parameters: Any
) -> Directions:
    """Return the same of arrays, a pair or a scan of which it is known what belongs together."""
    scan = as_scan(*given)
    if not scan.is_paired:
        raise InputError(
            "images and texts must be paired for a measure of retrieval, got unpaired sets. "
            "Pass image_index, the row of each text's image."
        )
    return _both(scan, values, **parameters)


def _ratio(queries: QueryScan) -> Ratio:
    values = nearest_is_same(queries)
    same = float(values.sum())
    return Ratio(same, len(values) - same)


def itr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Ratio:
    """Compute ITR: image queries with an image nearest / image queries with a text nearest.

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PoolScan
        Image embeddings, or all that is needed.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image; plays no role here.

    Returns
    -------
    Ratio
        Infinite where no image has a text nearest; 1 without a gap.
    """
    return _ratio(as_scan(X, Y, image_index).image_queries)


def tir(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Ratio:
    """Compute TIR: text queries with a text nearest / with an image nearest; see `itr`."""
    return _ratio(as_scan(X, Y, image_index).text_queries)


def tmr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute TMR: the mean rank, from 1, of the best text over image queries; see `itr`."""
    return float(as_scan(X, Y, image_index).image_queries.best_other_rank.mean())


def imr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute IMR: the mean rank, from 1, of the best image over text queries; see `itr`."""
    return float(as_scan(X, Y, image_index).text_queries.best_other_rank.mean())


def exposure_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute how much of the other modality a query sees in its first k, relative to its share.

    The share of the other modality in the list is divided by its share of the pool without the
    query: 1 is fair, 0 is blind. Where items are level at the end of the list each of them counts
    in part; k is at most the neighbours that a scan kept. Parameters as for `itr`.
    """
    scan = as_scan(X, Y, image_index, n_neighbors=check_integer(k, "k", low=1))
    return _both(scan, exposure, k=k)


def mixed_recall_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute the share of queries with an item of their own among the first k of the mixed pool.

    Parameters
    ----------
    X, Y, image_index
        As for `itr`; the sets must be paired. With several texts for an image any of them counts.
    k : int
        Length of the list.
    """
    return _of_pairs((X, Y, image_index), recall, k=k, mixed=True)


def recall_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute recall among the items of the other modality alone: the usual cross-modal recall.

    It is what the embedding could do in the mixed pool if there were no gap.
    """
    return _of_pairs((X, Y, image_index), recall, k=k, mixed=False)


def mixed_mrr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Directions:
    """Compute the mean of 1 / rank of a query's best own item in the mixed pool."""
    return _of_pairs((X, Y, image_index), reciprocal_rank, mixed=True)


def mrr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Directions:
    """Compute the mean of 1 / rank of a query's best own item in the other modality alone."""
    return _of_pairs((X, Y, image_index), reciprocal_rank, mixed=False)


def mixed_ndcg_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute the NDCG at k of a query's own items in the mixed pool.

    The ideal list begins with all relevant items, whether they were retrieved or not.
    """
    return _of_pairs((X, Y, image_index), ndcg, k=k, mixed=True)


def ndcg_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute the NDCG at k of a query's own items in the other modality alone."""
    return _of_pairs((X, Y, image_index), ndcg, k=k, mixed=False)


def expected_calibration_error(probabilities: Any, relevant: Any, *, n_bins: int = 15) -> float:
    """Compute the mean distance between what was promised and what came, over equal-count bins.

    Parameters
    ----------
    probabilities : array of any shape
        Promised probabilities of relevance, between 0 and 1.
    relevant : array of bool of the same shape
        What is relevant.
    n_bins : int
        Bins of equally many probabilities; level ones stay together.

    Returns
    -------
    float
        Between 0 and 1; 0 is perfect. Where few documents are relevant it is small anyway: leave
        out those that nobody would be shown.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
    binning"; equal-count bins: Nixon et al. (2019), "Measuring calibration in deep learning".

    Examples
    --------
    >>> expected_calibration_error([0.0, 0.0, 1.0, 1.0], [False, False, True, True])
    0.0
    """
    p, y = _checked(probabilities, relevant)
    check_integer(n_bins, "n_bins", low=1)
    if p.min() < 0 or p.max() > 1:
        raise InputError(
            f"probabilities must be between 0 and 1, got {p.min():g} to {p.max():g}. "
            "Pass probabilities, not scores or log-odds."
        )
    edges = np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1)[1:-1]))
    bins = np.searchsorted(edges, p, side="left")
    count = np.bincount(bins)
    gap = np.abs(np.bincount(bins, p) - np.bincount(bins, y))[count > 0]
    return float(gap.sum() / len(p))


def precision_at_threshold(scores: Any, relevant: Any, *, threshold: float) -> float:
    """Compute the share of relevant documents among those at or above a threshold.

    Parameters
    ----------
    scores : array of any shape
        Scores or probabilities.
    relevant : array of bool of the same shape
        What is relevant.
    threshold : float
        In the unit of the scores.

    Returns
    -------
    float
        NaN where no score reaches the threshold.

    Examples
    --------
    >>> precision_at_threshold([0.2, 0.6, 0.9], [False, False, True], threshold=0.5)
    0.5
    """
    s, y = _checked(scores, relevant)
    shown = s >= check_real(threshold, "threshold")
    return float(y[shown].mean()) if shown.any() else float("nan")


def _checked(scores: Any, relevant: Any) -> tuple[Values, Values]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(relevant)
    if s.shape != y.shape or s.size == 0:
        raise InputError(
            f"scores and relevant must be of one shape and not empty, got {s.shape} and {y.shape}. "
            "Pass a mark for every score."
        )
    if not np.isfinite(s).all():
        raise InputError("scores must be finite numbers, got NaN or infinity. Leave those out.")
    return s.ravel(), y.ravel().astype(np.float64)
