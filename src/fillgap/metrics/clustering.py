"""Clusters of images and texts together: one of the uses that the gap spoils."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap._checks import InputError, check_integer, check_random_state, unit_rows
from fillgap.metrics.pool import as_pair
from fillgap.metrics.structure import MAX_ROWS, choose_rows
from fillgap.moments import to_numpy

__all__ = ["Clusters", "cluster_mixing"]


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
