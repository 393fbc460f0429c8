"""Alignment of pairs, uniformity of each modality, and the structure that both share."""

from __future__ import annotations

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

#: Rows of each modality that measures with a cost beyond one pass look at; more are sampled.
MAX_ROWS = 5000


def alignment(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the mean of ‖x − y‖² over pairs of unit rows: 0 where pairs coincide.

    Source: Wang and Isola 2020. It is `mean_squared_distance` on unit rows.

    Parameters
    ----------
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image.
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
        As for `alignment`.
    t : float
        Sharpness of the kernel.
    max_rows : int
        Rows of each modality that are compared at most; more are sampled.
    random_state : int or None
        Seed of the sample.
    """
    check_real(t, "t", low=0.0, open_low=True)
    pair = as_pair(X, Y)
    rng = check_random_state(random_state)
    return Sides(
        *(
            _uniformity(unit_rows(side[choose_rows(len(side), max_rows, rng)], what), t)
            for side, what in ((pair.images, "images"), (pair.texts, "texts"))
        )
    )


def choose_rows(n: int, max_rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return all of n rows, or a sorted sample of `max_rows` of them."""
    check_integer(max_rows, "max_rows", low=2)
    return np.arange(n) if n <= max_rows else np.sort(rng.choice(n, max_rows, replace=False))


def _uniformity(rows: Any, t: float) -> float:
    """Sum the kernel over all ordered pairs block by block; a row with itself adds 1."""
    n, xp = len(rows), array_namespace(rows)
    step = block_rows(n, 8, MEMORY_BYTES)
    total = 0.0
    for start in range(0, n, step):
        kernel = xp.exp((rows[start : start + step] @ rows.T - 1.0) * (2.0 * t))
        total += float(xp.sum(xp.astype(kernel, xp.float64)))
    return float(np.log((total - n) / (n * (n - 1))))


def linear_cka(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute linear CKA: ‖S_xy‖² / (‖S_xx‖ ‖S_yy‖), with centred scatters in Frobenius norm.

    1 where one modality is the other up to rotation, shift and scale; about 0 where they share no
    structure. Biased upwards where rows are few for the dimensions. Source: Kornblith et al. 2019.

    Parameters
    ----------
    X : array, EmbeddingPair or PairMoments
        As for `alignment`; moments must hold the cross scatter.
    Y, image_index
        As for `alignment`.
    """
    moments = check_spread(paired_moments(X, Y, image_index), "to share structure")
    cross = 0.0 if moments.cross is None else np.linalg.norm(moments.cross)
    return float(cross**2 / np.linalg.norm(moments.x.scatter) / np.linalg.norm(moments.y.scatter))


@dataclass(frozen=True)
class Clusters:
    """How clusters of the mixed pool relate to modality and to meaning.

    Attributes
    ----------
    value : float
        Entropy of the modality within a cluster, averaged over items, relative to that of the pool:
        0 where every cluster holds one modality, 1 where each is mixed as the pool is.
    nmi, ari : float or None
        Normalised mutual information and adjusted Rand index with the labels, where there are any.
    n_clusters : int
        Number of clusters.
    """

    value: float
    nmi: float | None
    ari: float | None
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
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both; rows are scaled to length one.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image: a text has the label of its image.
    labels : array of int of shape (n_images,), optional
        Classes of the images; those of the pair where left out.
    n_clusters : int, optional
        As many as there are classes, or 10 without labels.
    max_rows : int
        Rows of each modality that are used at most; more are sampled.
    random_state : int or None
        Seed of the sample and of the initial centres.
    """
    from sklearn.cluster import KMeans

    pair = as_pair(X, Y, image_index)
    classes = _classes(pair, pair.labels if labels is None else labels)
    k = n_clusters if n_clusters is not None else 10 if classes is None else len(set(classes[0]))
    rng = check_random_state(random_state)
    chosen = [choose_rows(n, max_rows, rng) for n in (pair.n_images, pair.n_texts)]
    k = check_integer(k, "n_clusters", low=1, high=sum(len(rows) for rows in chosen))
    pool = np.concatenate(
        [
            unit_rows(to_numpy(side[rows]), what)
            for side, rows, what in zip(
                (pair.images, pair.texts), chosen, ("images", "texts"), strict=True
            )
        ]
    )
    if len(np.unique(pool, axis=0)) < k:
        raise InputError(
            f"embeddings must be at least {k} different rows for {k} clusters, got fewer. "
            "Use fewer clusters, or look for an encoder that ignores its input."
        )
    found = KMeans(k, n_init=4, random_state=random_state).fit_predict(pool)
    modality = np.repeat([0, 1], [len(rows) for rows in chosen])
    nmi, ari = _agreement(found, classes, chosen)
    return Clusters(_mixing(found, modality), nmi, ari, k)


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


def _agreement(
    found: NDArray[Any], classes: Any, chosen: list[NDArray[np.intp]]
) -> tuple[float | None, float | None]:
    if classes is None:
        return None, None
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    truth = np.concatenate([of[rows] for of, rows in zip(classes, chosen, strict=True)])
    return (
        float(normalized_mutual_info_score(truth, found)),
        float(adjusted_rand_score(truth, found)),
    )


def _mixing(found: NDArray[Any], modality: NDArray[Any]) -> float:
    """Return H(modality | cluster) / H(modality)."""
    counts = np.zeros((found.max() + 1, 2))
    np.add.at(counts, (found, modality), 1.0)
    inside = sum(_entropy(row) * row.sum() for row in counts) / counts.sum()
    return float(inside / _entropy(counts.sum(axis=0)))


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
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both; rows are scaled to length one.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
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
    rows = [
        unit_rows(to_numpy(side[choose_rows(len(side), max_rows, rng)]), what)
        for side, what in ((pair.images, "images"), (pair.texts, "texts"))
    ]
    labels = np.repeat([0, 1], [len(side) for side in rows])
    accuracy = cross_val_score(
        LogisticRegression(C=C, max_iter=1000, class_weight="balanced"),
        np.concatenate(rows),
        labels,
        cv=StratifiedKFold(n_folds, shuffle=True, random_state=random_state),
        scoring="balanced_accuracy",
    )
    return float(accuracy.mean())
