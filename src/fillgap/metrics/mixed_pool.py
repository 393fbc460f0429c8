"""Retrieval from images and texts together, and from the other modality alone.

Every function takes image and text embeddings, an `EmbeddingPair`, or a `PoolScan` that is ready:
scan once, then ask for as many measures as needed. The query itself is never in its own list.
Sources: "Fill the Gap" (arXiv:2505.03703) 2.2.2 for ITR, TIR, IMR, TMR and the mixed recall.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap._checks import InputError, check_integer
from fillgap.metrics.per_query import exposure, mean, ndcg, nearest_is_same, recall, reciprocal_rank
from fillgap.metrics.pool import PoolScan, QueryScan
from fillgap.metrics.results import Directions, Ratio
from fillgap.metrics.scan import scan_pool

__all__ = [
    "exposure_at_k",
    "imr",
    "itr",
    "mixed_mrr",
    "mixed_ndcg_at_k",
    "mixed_recall_at_k",
    "mrr",
    "ndcg_at_k",
    "recall_at_k",
    "tir",
    "tmr",
]

Values = NDArray[np.float64]


def as_scan(X: Any, Y: Any, image_index: ArrayLike | None, *, n_neighbors: int = 1) -> PoolScan:
    """Return `X` where it is a scan, and a scan of all queries otherwise."""
    if isinstance(X, PoolScan):
        return X
    return scan_pool(X, Y, image_index, n_neighbors=n_neighbors, n_own=1, max_queries=None)


def both(scan: PoolScan, values: Callable[[QueryScan], Values]) -> Directions:
    """Return the means of a value per query in both directions."""
    return Directions(mean(values(scan.image_queries)), mean(values(scan.text_queries)))


def check_paired(scan: PoolScan) -> PoolScan:
    """Refuse a scan of sets of which it is not known what belongs together."""
    if not scan.is_paired:
        raise InputError(
            "images and texts must be paired for a measure of retrieval, got unpaired sets. "
            "Pass image_index, the row of each text's image."
        )
    return scan


def _ratio(values: Values) -> Ratio:
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
    return _ratio(nearest_is_same(as_scan(X, Y, image_index).image_queries))


def tir(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Ratio:
    """Compute TIR: text queries with a text nearest / text queries with an image nearest.

    Parameters and result as for `itr`.
    """
    return _ratio(nearest_is_same(as_scan(X, Y, image_index).text_queries))


def tmr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute TMR: the mean rank, from 1, of the best text over image queries.

    Parameters as for `itr`.
    """
    return float(as_scan(X, Y, image_index).image_queries.best_other_rank.mean())


def imr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute IMR: the mean rank, from 1, of the best image over text queries.

    Parameters as for `itr`.
    """
    return float(as_scan(X, Y, image_index).text_queries.best_other_rank.mean())


def exposure_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute how much of the other modality a query sees in its first k, relative to its share.

    Parameters
    ----------
    X, Y, image_index
        As for `itr`.
    k : int
        Length of the list; at most the neighbours that a scan kept.

    Returns
    -------
    Directions
        The share of the other modality in the list divided by its share of the pool without the
        query: 1 is fair, 0 is blind. Where items are level at the end of the list each of them
        counts in part.
    """
    scan = as_scan(X, Y, image_index, n_neighbors=check_integer(k, "k", low=1))
    return both(scan, lambda queries: exposure(queries, k))


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

    Returns
    -------
    Directions
        Between 0 and 1.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: recall(queries, k, mixed=True))


def recall_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute recall among the items of the other modality alone: the usual cross-modal recall.

    It is what the embedding could do in the mixed pool if there were no gap. Parameters and result
    as for `mixed_recall_at_k`.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: recall(queries, k, mixed=False))


def mixed_mrr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Directions:
    """Compute the mean of 1 / rank of the best item of a query's own in the mixed pool.

    Parameters and result as for `mixed_recall_at_k`.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: reciprocal_rank(queries, mixed=True))


def mrr(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> Directions:
    """Compute the mean of 1 / rank of the best item of a query's own in the other modality.

    Parameters and result as for `mixed_recall_at_k`.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: reciprocal_rank(queries, mixed=False))


def mixed_ndcg_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute the NDCG at k of a query's own items in the mixed pool.

    The ideal list begins with all relevant items, whether they were retrieved or not. Parameters
    and result as for `mixed_recall_at_k`.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: ndcg(queries, k, mixed=True))


def ndcg_at_k(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> Directions:
    """Compute the NDCG at k of a query's own items in the other modality alone.

    Parameters and result as for `mixed_recall_at_k`.
    """
    scan = check_paired(as_scan(X, Y, image_index))
    return both(scan, lambda queries: ndcg(queries, k, mixed=False))
