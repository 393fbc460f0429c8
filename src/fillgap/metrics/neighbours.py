"""Neighbourhoods: how the modalities mix in them, whether they agree, whether they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fillgap.errors import InputError, check_integer, check_real
from fillgap.metrics.pool import Directions, PoolScan, QueryScan, Values, as_pair
from fillgap.metrics.scan import scan_pool

#: Newton steps for the width of the kernel; each gains about as many digits as it has.
NEWTON_STEPS = 25


def _as_scan(X: Any, Y: Any, image_index: ArrayLike | None, k: int, what: str) -> PoolScan:
    """Return a scan that kept `k` neighbours of every query, or all there are."""
    check_integer(k, what, low=1)
    if not isinstance(X, PoolScan):
        return scan_pool(X, Y, image_index, n_neighbors=k, max_queries=None)
    kept = X.image_queries.n_neighbors
    if kept < min(k, X.n_images + X.n_texts - 1):
        raise InputError(
            f"{what} must be at most the {kept} neighbours of this scan, got {k}. "
            "Scan with a larger n_neighbors."
        )
    return X


def _over_pool(scan: PoolScan, values: Callable[..., Values], **parameters: float) -> float:
    """Return the mean over all items, whatever share of each modality was sampled."""
    images, texts = (values(side, **parameters) for side in (scan.image_queries, scan.text_queries))
    total = scan.n_images * images.mean() + scan.n_texts * texts.mean()
    return float(total / (scan.n_images + scan.n_texts))


def ilisi(
    X: Any,
    Y: Any = None,
    image_index: ArrayLike | None = None,
    *,
    perplexity: float = 30.0,
    n_neighbors: int = 90,
) -> float:
    """Compute iLISI: how many modalities an item's neighbourhood effectively holds, less one.

    The nearest items are weighted by a kernel of the given perplexity on their Euclidean distance
    (of unit rows); 1 / Σ p² over the modalities is the effective number. 0: one modality only;
    1: both in equal parts. Source: Korsunsky et al. 2019 (Harmony).

    Parameters
    ----------
    X, Y, image_index
        As for `itr`; pairs play no role.
    perplexity : float
        Effective number of neighbours; a third of `n_neighbors` at most.
    n_neighbors : int
        Neighbours that are looked at; fewer where the pool is smaller.
    """
    scan = _as_scan(X, Y, image_index, n_neighbors, "n_neighbors")
    return _over_pool(scan, ilisi_values, perplexity=perplexity, n_neighbors=n_neighbors)


def ilisi_values(queries: QueryScan, *, perplexity: float = 30.0, n_neighbors: int = 90) -> Values:
    """Return the scaled effective number of modalities around each query."""
    k = min(n_neighbors, queries.n_neighbors)
    check_real(perplexity, "perplexity", low=1.0)
    cosines = queries.similarities[:, :k].astype(np.float64)
    weights = _perplexity_weights(np.sqrt(np.maximum(2 - 2 * cosines, 0)), min(perplexity, k / 3))
    other = np.sum(weights * queries.other[:, :k], axis=1)
    return 1.0 / (other**2 + (1.0 - other) ** 2) - 1.0


def _perplexity_weights(distances: Values, perplexity: float) -> Values:
    """Return weights exp(−β d), of sum 1, with β such that their entropy is log(perplexity)."""
    shifted = distances - distances[:, :1]
    beta = 1.0 / np.maximum(shifted.mean(axis=1, keepdims=True), 1e-12)
    for _ in range(NEWTON_STEPS):
        kernel = np.exp(-beta * shifted)
        total = kernel.sum(axis=1, keepdims=True)
        weights = kernel / total
        mean = np.sum(weights * shifted, axis=1, keepdims=True)
        variance = np.sum(weights * (shifted - mean) ** 2, axis=1, keepdims=True)
        entropy = beta * mean + np.log(total)
        # dH / d log β = −β² var; where neighbours are level the entropy cannot reach the target,
        # and bounded steps end in equal weights for those that are level.
        slope = np.maximum(beta**2 * variance, 1e-12)
        step = np.clip((entropy - np.log(perplexity)) / slope, -1.0, 1.0)
        beta = beta * np.exp(step)
        if np.all(np.abs(step) < 1e-7):
            break
    kernel = np.exp(-beta * shifted)
    return kernel / kernel.sum(axis=1, keepdims=True)


def kbet(
    X: Any,
    Y: Any = None,
    image_index: ArrayLike | None = None,
    *,
    n_neighbors: int = 50,
    alpha: float = 0.05,
) -> float:
    """Compute the kBET acceptance rate: the share of well-mixed neighbourhoods.

    A χ² test with one degree of freedom compares the modalities among an item's neighbours with
    their shares of the pool; the rate is how often it does not reject at `alpha`. 1 − `alpha` is
    what perfect mixing gives. Source: Büttner et al. 2019.

    Parameters
    ----------
    X, Y, image_index
        As for `ilisi`.
    n_neighbors : int
        Neighbours that are looked at; fewer where the pool is smaller.
    alpha : float
        Level of the test.
    """
    scan = _as_scan(X, Y, image_index, n_neighbors, "n_neighbors")
    return _over_pool(scan, kbet_values, n_neighbors=n_neighbors, alpha=alpha)


def kbet_values(queries: QueryScan, *, n_neighbors: int = 50, alpha: float = 0.05) -> Values:
    """Return 1 where the test of a query's neighbourhood does not reject, else 0."""
    from scipy.special import chdtri  # scipy.stats takes seconds to import

    check_real(alpha, "alpha", low=0.0, high=1.0, open_low=True, open_high=True)
    k, share = min(n_neighbors, queries.n_neighbors), queries.share
    other = queries.other[:, :k].sum(axis=1, dtype=np.float64)
    statistic = (other - k * share) ** 2 / (k * share * (1.0 - share))
    return (statistic <= chdtri(1, alpha)).astype(np.float64)


def hubness(X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10) -> float:
    """Compute the skewness of how often an item is among the k nearest of others.

    0: every item is found about equally often; large: a few hubs are found by everyone. Source:
    Radovanović et al. 2010.

    Parameters as for `itr`; k is the length of the lists.
    """
    scan = _as_scan(X, Y, image_index, k, "k")
    items = [queries.items[:, :k].ravel() for queries in (scan.image_queries, scan.text_queries)]
    counts = np.bincount(np.concatenate(items), minlength=scan.n_images + scan.n_texts)
    centred = counts - counts.mean()
    spread = np.mean(centred**2)
    return float(np.mean(centred**3) / spread**1.5) if spread > 0 else 0.0


def mutual_knn(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, k: int = 10
) -> float:
    """Compute how far images and texts agree on who is whose neighbour.

    The mean share of common members between the k nearest images of an image and the k nearest
    texts of its text. Source: Huh et al., "The Platonic Representation Hypothesis"
    (arXiv:2405.07987).

    Parameters as for `itr`; row i of the texts must belong to row i of the images, and k is at most
    the neighbours within a modality that a scan kept.
    """
    scan = _with_own(X if Y is None else as_pair(X, Y, image_index), k)
    return float(mutual_knn_values(scan, k=k).mean())


def mutual_knn_values(scan: PoolScan, *, k: int = 10) -> Values:
    """Return the share of common neighbours of each pair."""
    if not scan.one_to_one:
        raise InputError(
            "images and texts must be pairs, one text for each image in the same order, to compare "
            "their neighbours. Keep one text of each image."
        )
    return _overlap(scan.image_queries, scan.text_queries, k)


def neighbourhood_preservation(before: Any, after: Any, *, k: int = 10) -> Directions:
    """Compute how many of an item's k nearest within its modality another representation keeps.

    Both are an `EmbeddingPair` or a `PoolScan` of the same items in the same order. `image_to_text`
    is of the images, `text_to_image` of the texts; 1 where all are kept.
    """
    first, second = (_with_own(side, k) for side in (before, after))
    return Directions(
        float(kept_neighbours(first.image_queries, second.image_queries, k=k).mean()),
        float(kept_neighbours(first.text_queries, second.text_queries, k=k).mean()),
    )


def _with_own(given: Any, k: int) -> PoolScan:
    """Return a scan that kept k neighbours within a modality, where none is given."""
    check_integer(k, "k", low=1)
    if isinstance(given, PoolScan):
        return given
    return scan_pool(given, n_neighbors=1, n_own=k, max_queries=None)


def kept_neighbours(before: QueryScan, after: QueryScan, *, k: int = 10) -> Values:
    """Return the share of each query's k nearest in its modality that are the same in both."""
    if not np.array_equal(before.rows, after.rows):
        raise InputError(
            f"both representations must be of the same queries, got {len(before.rows)} and "
            f"{len(after.rows)} that differ. Scan them with the same max_queries and random_state."
        )
    return _overlap(before, after, k)


def _overlap(first: QueryScan, second: QueryScan, k: int) -> Values:
    kept = min(first.own_items.shape[1], second.own_items.shape[1])
    if k > kept:
        raise InputError(
            f"k must be at most the {kept} neighbours within a modality of this scan, got {k}. "
            "Scan with a larger n_own, and not for more than a modality holds."
        )
    a, b = first.own_items[:, :k], second.own_items[:, :k]
    return (a[:, :, None] == b[:, None, :]).any(axis=2).mean(axis=1)
