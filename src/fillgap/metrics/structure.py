"""Alignment of pairs, uniformity of each modality, and the structure that both share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_integer, check_random_state, check_real, unit_rows
from fillgap.kernel import MEMORY_BYTES, block_rows
from fillgap.metrics.distances import mean_squared_distance
from fillgap.metrics.geometry import check_spread, paired_moments
from fillgap.metrics.pool import Sides, as_pair
from fillgap.moments import to_numpy
from fillgap.pair import EmbeddingPair

#: Rows of each modality that measures with a cost beyond one pass look at; more are sampled.
MAX_ROWS = 5000


def alignment(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the mean of ‖x − y‖² over pairs of unit rows: 0 where pairs coincide.

    Source: Wang and Isola 2020. It is `mean_squared_distance` on unit rows.
    """
    return mean_squared_distance(X, Y, image_index)


def uniformity(
    X: Any,
    Y: Any = None,
    *,
    t: float = 2.0,
    max_rows: int = MAX_ROWS,
    random_state: int | None = 0,
) -> Sides:
    """Compute log mean exp(−t ‖z − z'‖²) over two different rows of one modality.

    0 where all rows are equal; the lower, the more evenly they fill the sphere. Source: Wang and
    Isola 2020.

    Parameters
    ----------
    X, Y
        As for `mean_distance`.
    t : float
        Sharpness of the kernel.
    max_rows : int
        Rows of each modality that are compared at most; more are sampled.
    random_state : int or None
        Seed of the sample.
    """
    check_real(t, "t", low=0.0, open_low=True)
    rng = check_random_state(random_state)
    values = []
    for side, what in _sampled(as_pair(X, Y), max_rows, rng):
        rows = unit_rows(side, what)
        n, xp = len(rows), array_namespace(rows)
        step, total = block_rows(n, 8, MEMORY_BYTES), 0.0
        for start in range(0, n, step):  # over all ordered pairs; a row with itself adds 1
            kernel = xp.exp((rows[start : start + step] @ rows.T - 1.0) * (2.0 * t))
            total += float(xp.sum(xp.astype(kernel, xp.float64)))
        values.append(float(np.log((total - n) / (n * (n - 1)))))
    return Sides(*values)


def _choose_rows(n: int, max_rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return all of n rows, or a sorted sample of `max_rows` of them."""
    check_integer(max_rows, "max_rows", low=2)
    return np.arange(n) if n <= max_rows else np.sort(rng.choice(n, max_rows, replace=False))


def _sampled(
    pair: EmbeddingPair, max_rows: int, rng: np.random.Generator
) -> Iterator[tuple[Any, str]]:
    """Yield the rows of each modality, all of them or a sample, and what they are."""
    for side, what in ((pair.images, "images"), (pair.texts, "texts")):
        yield side[_choose_rows(len(side), max_rows, rng)], what


def linear_cka(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute linear CKA: ‖S_xy‖² / (‖S_xx‖ ‖S_yy‖), with centred scatters in Frobenius norm.

    1 where one modality is the other up to rotation, shift and scale; about 0 where they share no
    structure. Biased upwards where rows are few for the dimensions. Source: Kornblith et al. 2019.
    Parameters as for `mean_distance`, or `PairMoments` with the cross scatter.
    """
    moments = check_spread(paired_moments(X, Y, image_index), "to share structure")
    cross = 0.0 if moments.cross is None else np.linalg.norm(moments.cross)
    return float(cross**2 / np.linalg.norm(moments.x.scatter) / np.linalg.norm(moments.y.scatter))


@dataclass(frozen=True)
class Clusters:
    """How clusters of the mixed pool relate to modality and to meaning."""

    value: float  # entropy of the modality within a cluster, relative to that of the pool
    nmi: float | None  # normalised mutual information with the labels, where there are any
    ari: float | None  # adjusted Rand index with them
    n_clusters: int


def cluster_mixing(
    X: Any,
    Y: Any = None,
    image_index: ArrayLike | None = None,
    *,
    labels: ArrayLike | None = None,
    n_clusters: int | None = None,
    max_rows: int = MAX_ROWS,
    random_state: int | None = 0,
) -> Clusters:
    """Cluster images and texts together by k-means, and see what the clusters follow.

    Parameters
    ----------
    X, Y, image_index
        As for `mean_distance`; a text has the label of its image.
    labels : array of int of shape (n_images,), optional
        Classes of the images; those of the pair where left out.
    n_clusters : int, optional
        As many as there are classes, or 10 without labels.
    max_rows : int
        Rows of each modality that are used at most; more are sampled.
    random_state : int or None
        Seed of the sample and of the initial centres.

    Returns
    -------
    Clusters
        Its `value` is 0 where every cluster holds one modality, 1 where each is mixed as the pool
        is; `nmi` and `ari` say how the clusters agree with the labels.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    pair = as_pair(X, Y, image_index)
    classes = _classes(pair, pair.labels if labels is None else labels)
    k = n_clusters if n_clusters is not None else 10 if classes is None else len(set(classes[0]))
    rng = check_random_state(random_state)
    chosen = [_choose_rows(n, max_rows, rng) for n in (pair.n_images, pair.n_texts)]
    k = check_integer(k, "n_clusters", low=1, high=sum(len(rows) for rows in chosen))
    images, texts = to_numpy(pair.images[chosen[0]]), to_numpy(pair.texts[chosen[1]])
    pool = np.concatenate([unit_rows(images, "images"), unit_rows(texts, "texts")])
    if len(np.unique(pool, axis=0)) < k:
        raise InputError(
            f"embeddings must be at least {k} different rows for {k} clusters, got fewer. "
            "Use fewer clusters, or look for an encoder that ignores its input."
        )
    cluster = KMeans(k, n_init=4, random_state=random_state).fit_predict(pool)
    counts = np.zeros((cluster.max() + 1, 2))  # images and texts in each cluster
    np.add.at(counts, (cluster, np.repeat([0, 1], [len(rows) for rows in chosen])), 1.0)
    inside = sum(_entropy(row) * row.sum() for row in counts) / counts.sum()
    value, nmi, ari = float(inside / _entropy(counts.sum(axis=0))), None, None
    if classes is not None:
        truth = np.concatenate([of[rows] for of, rows in zip(classes, chosen, strict=True)])
        nmi = float(normalized_mutual_info_score(truth, cluster))
        ari = float(adjusted_rand_score(truth, cluster))
    return Clusters(value, nmi, ari, k)


def _classes(pair: Any, labels: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the class of each image and of each text, where both are known."""
    if labels is None or pair.image_index is None:
        return None
    of_images = np.asarray(labels)
    if of_images.shape != (pair.n_images,):
        raise InputError(
            f"labels must be one for each of the {pair.n_images} images, got shape "
            f"{of_images.shape}. Pass them in the order of the images."
        )
    return of_images, of_images[np.asarray(pair.image_index)]


def _entropy(counts: NDArray[np.float64]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-np.sum(p * np.log(p)))


def linear_separability(
    X: Any,
    Y: Any = None,
    *,
    C: float = 1.0,
    n_folds: int = 5,
    max_rows: int = 2000,
    random_state: int | None = 0,
) -> float:
    """Compute the held-out balanced accuracy of a logistic regression that names the modality.

    1: one hyperplane separates images from texts; .5: a guess does as well.

    Parameters
    ----------
    X, Y
        As for `mean_distance`.
    C : float
        Inverse strength of the penalty, as in scikit-learn.
    n_folds : int
        Folds of the cross-validation.
    max_rows : int
        Rows of each modality that are used at most; more are sampled.
    random_state : int or None
        Seed of the sample and of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    check_real(C, "C", low=0.0, open_low=True)
    check_integer(n_folds, "n_folds", low=2)
    pair = as_pair(X, Y)
    fewest = min(pair.n_images, pair.n_texts)
    if fewest < n_folds:
        raise InputError(
            f"each modality must be at least {n_folds} rows for {n_folds} folds, got {fewest}. "
            "Use more rows or fewer folds."
        )
    rng = check_random_state(random_state)
    rows = [unit_rows(to_numpy(side), what) for side, what in _sampled(pair, max_rows, rng)]
    labels = np.repeat([0, 1], [len(side) for side in rows])
    accuracy = cross_val_score(
        LogisticRegression(C=C, max_iter=1000, class_weight="balanced"),
        np.concatenate(rows),
        labels,
        cv=StratifiedKFold(n_folds, shuffle=True, random_state=random_state),
        scoring="balanced_accuracy",
    )
    return float(accuracy.mean())
